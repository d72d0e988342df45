//! The history kept: checked for every kind of damage, copied while it grows, written out and brought in again.

mod backup;
mod compact;
mod import;
mod roundtrip;
mod verify;
mod world;
