//! segsync (the architecture page comes here).

pub mod budget;
pub mod clock;
pub mod diff;
pub mod document;
pub mod model;
pub mod provider;
pub mod schedule;
pub mod secret;
pub mod transport;
