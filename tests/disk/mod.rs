//! What can happen to the disk and to the files below a running daemon: it says so in one line and either goes on trying
//! or ends, keeps what it has, and is whole again by itself once it can be.
//!
//! `SEGSYNC_DISK=1 cargo test --test suite disk::` tries every size, and waits as long as people would. Some tests need root (a
//! mount, another user) or `strace`; where they cannot have it they say so on the terminal.
#![allow(clippy::explicit_write, reason = "what is skipped must be seen past the test harness")]

mod files;
mod injected;
mod limit;
mod locks;
mod space;
mod world;
