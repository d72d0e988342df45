//! segsync mirrors customer segments of several SaaS products into one SQLite file with a complete change history, and
//! never exceeds the providers' request budgets. This page is the house: what is where, and what must never happen.
//!
//! # The one straight way
//!
//! ```text
//! config ─> schedule ─> budget ─> provider ─> document ─> diff ─> store ─┬─> events ─> log line, demo
//!  what       when       may I      bytes      canonical    Δ     commit └─> cache ──> local HTTP API
//! ```
//!
//! # Floors
//!
//! A file imports from lower floors only: never up, never sideways. Files of one room import each other without circles,
//! in the rooms marked `/*` not at all: there they meet in `mod.rs`. `tests/tidy.rs` reads this table and holds it.
//!
//! | floor | modules | each one's work |
//! |---|---|---|
//! | 9 | `main` | dispatch |
//! | 8 | `cli/*` | a file per verb |
//! | 7 | `daemon` | the composition root: builds, spawns, reloads, joins, shuts down |
//! | 6 | `poll`, `http` | the straight way, one segment, one page or one file of observations: the only room that imports every stage; the local API |
//! | 5 | `cache`, `events` | moka in front of the store; committed versions to subscribers |
//! | 4 | `provider/*`, `store/*` | a vendor's URLs, paging and shape; the only SQL |
//! | 3 | `transport`, `schedule`, `diff`, `drift` | the only outgoing HTTP; who is due next, pure; what differs, pure; when a provider's schema changes, pure |
//! | 2 | `config`, `budget`, `document` | a checked configuration; the permits; canonical JSON, pure |
//! | 1 | `clock`, `secret`, `live`, `telemetry`, `metrics`, `systemd` | the only reader of clocks; keys that never print; how the daemon stands; logging; counters; notify |
//! | 0 | `model` | plain words: keys, limits, outcomes, changes, times |
//! | - | `simulator` | fake providers with a memory, for demo and tests: a wing of its own that imports nothing of the rest |
//!
//! # Invariants
//!
//! - Only `transport` sends to providers, and only against a [`budget::Permit`]; only `budget` makes one.
//! - A request's row is in `polls` before it is sent: the ledger survives any kill.
//! - Only `store` knows SQL. Only `clock` asks for the time; everything else is given `now`. Only `daemon` spawns tasks.
//! - `diff`, `document`, `drift` and `schedule` are functions of their arguments.
//! - A failed, empty or partial answer is never a deletion.
//! - Events, the cache and counters move after the commit, never before.
//! - Nothing outside of `provider`, the SQL views and the simulator names a vendor.
//! - No test-only code in production paths.

pub mod budget;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod diff;
pub mod document;
pub mod drift;
pub mod events;
pub mod http;
pub mod live;
pub mod metrics;
pub mod model;
pub mod poll;
pub mod provider;
pub mod schedule;
pub mod secret;
pub mod simulator;
pub mod store;
pub mod systemd;
pub mod telemetry;
pub mod transport;
