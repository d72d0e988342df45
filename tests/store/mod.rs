//! The store as the daemon and the reading verbs use it: real files, real processes where a process must die, and clocks
//! that the test sets.

mod access;
mod clocks;
mod copies;
mod history;
mod opening;
pub(crate) mod world;
mod writing;
