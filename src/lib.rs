//! segsync (the architecture page comes here).

pub mod clock;
pub mod model;
pub mod secret;
