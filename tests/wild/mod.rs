//! What comes from outside and means no good: a provider's answers, certificates, echoes of keys and texts, and clocks
//! that are set.

mod answers;
mod desk;
mod secrets;
mod texts;
mod times;
mod tls;
mod wire;
