//! `segsync plan`: its arithmetic against the schedule and the budget themselves, and the verb as people meet it.

#![allow(clippy::expect_used, reason = "a failed expectation is a failed test")]

mod truth;
mod verb;
