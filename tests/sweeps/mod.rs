//! Sweeps through the whole daemon: real sockets against the simulator, for either provider.
//!
//! Nothing here sleeps to wait: a pass ends by itself, a daemon is watched by what arrives at the simulator.

mod cost;
mod drift;
mod faults;
mod gone;
mod modes;
mod odd;
mod overlap;
mod pace;
mod schema;
mod trouble;
mod world;
