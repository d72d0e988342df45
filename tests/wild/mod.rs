//! What comes from outside and means no good: a provider's answers, certificates, echoes of keys and texts, clocks that
//! are set, and questions without an end.

mod answers;
mod desk;
mod long;
mod secrets;
mod texts;
mod times;
mod tls;
mod wire;
