//! Reading through: a copy that is too old for the caller is asked for anew, once for all who wait.
//!
//! Nothing is sent from here. The daemon puts the segment first in its line; its budget decides when it is sent.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::{Api, Problem};
use crate::cache::Cached;
use crate::config::show_duration;
use crate::model::SegmentKey;
use crate::store::time_since;

/// The longest wait, whatever a source's own time-out: callers give up, too.
const LONGEST: Duration = Duration::from_secs(45);

/// Whoever polls segments.
pub trait Desk: Send + Sync {
    /// Asks for one segment before everything that is merely due, or joins those who asked already. The error says why
    /// nothing is to be expected.
    fn ask(&self, key: &SegmentKey) -> Result<Asking, String>;

    /// How many callers wait for a poll that they asked for.
    fn waiting(&self) -> usize;
}

/// A poll that was asked for.
#[derive(Clone, Debug)]
pub struct Asking {
    /// Its end, once it is committed; closed when it is given up.
    pub told: watch::Receiver<Option<Told>>,
    /// How long it is worth waiting for.
    pub timeout: Duration,
}

/// How a poll ended that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The provider told what the segment is.
    Answered,
    /// It did not, and why.
    Failed(Arc<str>),
}

/// A segment after the wait.
pub(super) struct Fresh {
    pub(super) cached: Arc<Cached>,
    /// Why it is not as fresh as it was to be.
    pub(super) why_not: Option<String>,
}

impl Asking {
    /// Waits for the end; the error says why there was none.
    async fn end(mut self) -> Result<(), String> {
        let patience = self.timeout.min(LONGEST);
        match timeout(patience, self.told.wait_for(Option::is_some)).await {
            Ok(Ok(told)) => match &*told {
                Some(Told::Failed(why)) => Err(why.to_string()),
                Some(Told::Answered) | None => Ok(()),
            },
            Ok(Err(_)) => Err("the request was given up".to_owned()),
            Err(_) => Err(format!("neither budget nor provider allowed it within {}", show_duration(patience))),
        }
    }
}

impl Api {
    /// The segment, from the provider where the copy is older than `max_age` (always if that is nothing).
    pub(super) async fn fresh(&self, cached: Arc<Cached>, max_age: Duration) -> Result<Fresh, Problem> {
        let (before, now) = (cached.checked(), self.now());
        if before.is_some_and(|at| !max_age.is_zero() && time_since(at, now) <= max_age) {
            return Ok(Fresh { cached, why_not: None });
        }
        // The settings must not be held while waiting: a reload drops the desk, and with it those who are never told.
        let asking = self.settings().desk.ask(&cached.now.key);
        let ended = match asking {
            Ok(asking) => asking.end().await,
            Err(why) => Err(why),
        };
        let cached = self.find(&cached.now.key).await?;
        // Another poll may have brought what this one could not.
        let why_not = ended.err().filter(|_| cached.checked() == before);
        Ok(Fresh { cached, why_not })
    }
}

impl fmt::Debug for dyn Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}
