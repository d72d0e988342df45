//! The laws of `tests/laws`, for the fuzzer.

#[path = "../tests/laws/law/mod.rs"]
pub mod law;
