//! All tests of whole rooms and of the program, in one crate: built and linked once, and run side by side. A room's are
//! `cargo test NAME::`, such as `cargo test sweeps::`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "clippy knows test functions, not their helpers"
)]

mod analysts;
mod answers;
mod binary;
mod cli;
mod common;
mod config;
mod daemon;
mod dependencies;
mod disk;
mod documents;
mod http;
mod keep;
mod kill;
mod laws;
mod live;
mod migrations;
mod oracle;
mod pace;
mod plan;
mod proof;
mod refusals;
mod remaining;
mod review;
mod simulator;
mod soak;
mod store;
mod sweeps;
mod tidy;
mod units;
mod views;
mod wild;
