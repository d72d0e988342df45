//! Laws that hold for any input. The fuzzer (`fuzz/`) and the tests beside this folder call the same functions; one that
//! is broken panics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a broken law is a panic, and the fuzzer sees this as a crate"
)]

pub mod canonical;
pub mod changes;
pub mod config;
pub mod dice;
pub mod import;
pub mod local;
pub mod provider;
pub mod told;

/// Panics where an input breaks it.
pub type Law = fn(&[u8]);

/// What any input must pass: a target of the fuzzer each, by its name.
pub const ALL: &[(&str, Law)] = &[
    ("canonical", canonical::any),
    ("changes", changes::any),
    ("config", config::any),
    ("import", import::any),
    ("local", local::any),
    ("provider", provider::any),
    ("told", told::any),
];
