//! The store as the daemon and the reading verbs use it: real files, real processes where a process must die, and clocks
//! that the test sets.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "clippy knows test functions, not their helpers"
)]

mod access;
mod clocks;
mod copies;
mod history;
mod opening;
pub(crate) mod world;
mod writing;
