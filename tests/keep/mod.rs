//! The history kept: checked for every kind of damage, copied while it grows, written out and brought in again.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "clippy knows test functions, not their helpers"
)]

mod backup;
mod compact;
mod import;
mod roundtrip;
mod verify;
mod world;
