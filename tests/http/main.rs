//! The local API, over real sockets on loopback: the daemon as it runs, and the simulator as the provider.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod client;
#[path = "../common/mod.rs"]
mod common;
mod listener;
mod safety;
