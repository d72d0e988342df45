//! What comes from outside and means no good: a provider's answers, certificates, echoes of keys and texts, and clocks
//! that are set.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod answers;
mod desk;
mod secrets;
mod texts;
mod times;
mod tls;
mod wire;
