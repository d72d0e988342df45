//! The straight way for one segment or one page: ledger row, request, judgement, commit, then cache and events.
//!
//! The only room that imports every stage. It decides nothing about when or how often, and logs nothing: whoever started
//! the poll does.

mod health;
mod judge;
mod page;
mod roster;
mod sweep;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::budget::Permit;
use crate::cache::Cache;
use crate::clock::{Clock, Now};
use crate::events::Events;
use crate::model::{Op, Outcome, Path, PollKind, SegmentKey, SegmentState, SourceState};
use crate::provider::Provider;
use crate::store::{
    BeginPoll, Error, FinishPoll, Latest, NewVersion, PollId, SegmentEnd, SegmentId, SourceId, Store, VersionEntry,
};
use crate::transport::{Answer, NoAnswer, Transport};

use health::Health;
use judge::{Asked, Verdict, Wanted, judge};

pub use page::{Covered, Swept, Walk};
pub use roster::Roster;
pub use sweep::{PAGE_SIZE, Step, Sweep};

/// How often a judgement is made again when the file moved on meanwhile.
const TRIES: u32 = 3;

/// A source that can be polled.
#[derive(Debug)]
pub struct Source {
    id: SourceId,
    provider: &'static dyn Provider,
    transport: Transport,
    ignore: Vec<Path>,
    health: Mutex<Health>,
}

impl Source {
    /// The source that the file knows as `id`, last seen in `state`.
    pub fn new(
        id: SourceId,
        provider: &'static dyn Provider,
        transport: Transport,
        ignore: Vec<Path>,
        state: SourceState,
    ) -> Self {
        Self { id, provider, transport, ignore, health: Mutex::new(Health::new(state)) }
    }
}

/// How one poll ended.
#[derive(Debug)]
pub struct Polled {
    /// What became of it.
    pub outcome: Outcome,
    /// Why it is not a usable answer, in one line without the key.
    pub error: Option<String>,
    /// The source's new state, if it changed.
    pub source_state: Option<SourceState>,
    /// The versions that it made.
    pub committed: Vec<Arc<VersionEntry>>,
}

/// Polls segments into one store. Clones share it.
#[derive(Clone)]
pub struct Poller {
    store: Store,
    cache: Cache,
    events: Events,
    clock: Clock,
}

/// One segment to ask for.
#[derive(Clone, Copy, Debug)]
pub struct Get<'a> {
    /// Which one.
    pub key: &'a SegmentKey,
    /// Its row.
    pub segment: SegmentId,
    /// Why it is asked for.
    pub kind: PollKind,
    /// A whole list lacked it: one 404 is enough to call it deleted.
    pub is_unlisted: bool,
}

impl Poller {
    /// Polls into `store`.
    pub fn new(store: Store, events: Events, clock: Clock) -> Self {
        Self { cache: Cache::new(store.clone()), store, events, clock }
    }

    /// Asks `source` for one segment and commits what the answer means. Fails only where the store does; then the
    /// request was not sent, or its answer is lost and its row is closed at the next start.
    pub async fn get(&self, source: &Source, get: Get<'_>, permit: Permit) -> Result<Polled, Error> {
        let mut latest = self.cache.latest(get.segment).await?;
        // After a delete a validator could turn the way back into "not modified".
        let validator = latest.etag.clone().filter(|_| latest.state == SegmentState::Present);
        let mut request = source.provider.get(&get.key.id);
        request.if_none_match.clone_from(&validator);

        let begin = BeginPoll { source: source.id, segment: Some(get.segment), kind: get.kind, now: self.clock.now() };
        let poll = self.store.begin_poll(begin).await?;
        let answer = source.transport.send(permit, &request).await;
        let now = self.clock.now();

        let wanted = Wanted { id: &get.key.id, validator: validator.as_deref(), is_unlisted: get.is_unlisted };
        let mut tries = 1;
        loop {
            let Verdict { outcome, error, usage, etag, version } = judge(&answer, source.asked(), wanted, &latest);
            let next = after(&latest, version.as_ref(), etag.as_deref(), outcome);
            let segments = vec![SegmentEnd { id: get.segment, outcome, etag, version }];
            let ended = Ended { poll, now, outcome, error, usage };
            match self.finish(source, &answer, ended, segments).await {
                Ok(polled) => {
                    if next != *latest {
                        self.cache.put(get.segment, Arc::new(next)).await;
                    }
                    return Ok(polled);
                }
                // A page of a list brought a version of it meanwhile.
                Err(Error::Conflict { .. }) if tries < TRIES => {
                    latest = Arc::new(self.store.latest(get.segment).await?);
                }
                Err(error) => return Err(error),
            }
            tries += 1;
        }
    }

    /// Commits the end of a poll and announces what it brought.
    async fn finish(
        &self,
        source: &Source,
        answer: &Result<Answer, NoAnswer>,
        ended: Ended,
        segments: Vec<SegmentEnd>,
    ) -> Result<Polled, Error> {
        let Ended { poll, now, outcome, error, usage } = ended;
        let answer = answer.as_ref().ok();
        let (before, health) = source.after(outcome);
        let source_state = (health.state != before).then_some(health.state);
        let finish = FinishPoll {
            poll,
            now,
            outcome,
            http_status: answer.map(|answer| answer.status),
            bytes: answer.and_then(|answer| answer.body.as_ref().ok()).map(|body| body.len() as u64),
            usage,
            error: error.clone(),
            segments,
            // A 404 heals a source, too, and its text is no error of it.
            source_state: source_state.map(|state| (state, error.clone().filter(|_| state != SourceState::Ok))),
            held_until: answer.and_then(|answer| answer.hold).map(|hold| now.wall.plus(hold)),
        };
        let committed: Vec<_> = self.store.finish_poll(finish).await?.into_iter().map(Arc::new).collect();
        *source.health() = health;
        for version in &committed {
            self.events.announce(Arc::clone(version));
        }
        Ok(Polled { outcome, error, source_state, committed })
    }
}

/// How a poll ended, before it is committed.
struct Ended {
    poll: PollId,
    now: Now,
    outcome: Outcome,
    error: Option<String>,
    usage: Option<f64>,
}

/// What the file knows of a segment after a poll is finished.
fn after(latest: &Latest, version: Option<&NewVersion>, etag: Option<&str>, outcome: Outcome) -> Latest {
    let (etag, not_found) = (etag.map(str::to_owned), outcome == Outcome::NotFound);
    match version {
        None => Latest { etag, not_found, ..latest.clone() },
        Some(version) => Latest {
            seq: version.base + 1,
            state: if version.op == Op::Delete { SegmentState::Deleted } else { SegmentState::Present },
            document: version.document.clone(),
            revision: version.revision,
            etag,
            not_found,
        },
    }
}

impl Source {
    fn asked(&self) -> Asked<'_> {
        Asked { provider: self.provider, key: self.transport.key(), ignore: &self.ignore }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its state before and after one more outcome.
    fn after(&self, outcome: Outcome) -> (SourceState, Health) {
        let health = *self.health();
        (health.state, health.after(outcome))
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Poller")
    }
}
