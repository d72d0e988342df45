//! How the running daemon stands, right now: plain data, and the handle that asks for it.
//!
//! What the service manager, the readiness page, the status page and the gauges tell is rendered from one [`Snapshot`],
//! so that they cannot contradict each other. `daemon` answers; everybody else holds a [`Live`] and asks. Nothing here
//! reads a clock or a file, and a snapshot takes no longer when there are many segments, only when many are stale.

mod copies;
mod words;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::model::{Limit, SourceName, SourceState, UnixMs};

pub use copies::{Copies, Interval};
pub use words::span;

/// The daemon at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Snapshot {
    /// Where it is in its life.
    pub phase: Phase,
    /// When the snapshot was taken; `None` before the start.
    pub at: Option<UnixMs>,
    /// Since when it runs, across reloads; `None` before the start.
    pub running_since: Option<UnixMs>,
    /// The configured sources, by name.
    pub sources: Vec<SourceLive>,
    /// What shares a budget.
    pub accounts: Vec<AccountLive>,
    /// Why the last write to the database failed; `None` when it did not.
    pub store_error: Option<StoreTrouble>,
}

/// Where the daemon is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The database is not open yet, or the schedule does not stand.
    #[default]
    Starting,
    /// At work.
    Running,
    /// Asked to stop.
    Stopping,
}

/// A configured source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceLive {
    /// Its configured name.
    pub name: SourceName,
    /// The provider's word.
    pub provider: &'static str,
    /// How its last requests went.
    pub state: SourceState,
    /// Since when.
    pub since: UnixMs,
    /// Why it is not `ok`, in one line without the key.
    pub last_error: Option<String>,
    /// Its segments.
    pub segments: Freshness,
}

/// How fresh a source's copies are.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Freshness {
    /// Segments that are polled.
    pub tracked: usize,
    /// Those whose last answer is not older than it may be.
    pub fresh: usize,
    /// Those that are older, and those that should have been answered by now for the first time. The rest of the tracked
    /// ones waits for its first answer.
    pub stale: usize,
    /// Those that were never seen to be there.
    pub pending: usize,
    /// Those that are deleted at the provider.
    pub deleted: usize,
    /// The age of the oldest answer.
    #[serde(rename = "oldest_seconds", serialize_with = "maybe_seconds")]
    pub oldest: Option<Duration>,
    /// Some of the stale ones, the one that waits longest first; at most [`NAMED`].
    pub named: Vec<Stale>,
}

/// How many stale segments of a source are named.
pub const NAMED: usize = 10;

/// A stale segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stale {
    /// Its id within the source; a provider's text.
    pub id: Arc<str>,
    /// The time since its last answer, or since the daemon took it up where there was none.
    #[serde(rename = "waits_seconds", serialize_with = "seconds")]
    pub waits: Duration,
    /// The time after which it counts as stale.
    #[serde(rename = "stale_after_seconds", serialize_with = "seconds")]
    pub stale_after: Duration,
    /// Whether it was ever answered.
    pub is_answered: bool,
}

/// Sources that share one budget.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AccountLive {
    /// Their names, sorted.
    pub sources: Vec<SourceName>,
    /// The use of each limit, as scaled by the share; empty without limits.
    pub limits: Vec<Used>,
    /// How long nothing is sent from now on, as the provider asked.
    #[serde(rename = "hold_seconds", serialize_with = "maybe_seconds")]
    pub hold: Option<Duration>,
    /// The pacer's share of its full rate: less than 1 after a refusal.
    pub pace: f64,
    /// The factor by which the source's interval stretches.
    pub stretch: f64,
    /// The factor by which segments' own intervals stretch.
    pub own_stretch: f64,
    /// Requests on their way.
    pub in_flight: usize,
    /// When the next request can go out, as far as is known now; `None` while nothing is due.
    #[serde(rename = "next_poll_seconds", serialize_with = "maybe_seconds")]
    pub next_poll: Option<Duration>,
}

/// The use of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Used {
    /// The limit.
    pub limit: Limit,
    /// Requests that count for it.
    pub used: usize,
}

/// Why nothing can be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreTrouble {
    /// Since when.
    pub since: UnixMs,
    /// What the store says; reads after "failed to".
    pub error: String,
}

/// What can tell how the daemon stands.
pub trait Observe: Send + Sync {
    /// The daemon at this moment, at work.
    fn observe(&self) -> Snapshot;
}

/// Asks the running daemon how it stands, at any time. Clones share it.
#[derive(Clone, Default)]
pub struct Live(Arc<RwLock<Stage>>);

#[derive(Clone, Default)]
struct Stage {
    phase: Phase,
    observed: Option<Arc<dyn Observe>>,
}

impl Live {
    /// The daemon right now; says that it is starting until it runs.
    pub fn snapshot(&self) -> Snapshot {
        let Stage { phase, observed } = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let snapshot = observed.map_or_else(Snapshot::default, |observed| observed.observe());
        Snapshot { phase, ..snapshot }
    }

    /// From now on `observed` tells, and the daemon runs.
    pub fn running(&self, observed: Arc<dyn Observe>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) =
            Stage { phase: Phase::Running, observed: Some(observed) };
    }

    /// The daemon is on its way out.
    pub fn stopping(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).phase = Phase::Stopping;
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live")
    }
}

fn seconds<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(span.as_secs_f64())
}

fn maybe_seconds<S: Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    span.map(|span| span.as_secs_f64()).serialize(to)
}
