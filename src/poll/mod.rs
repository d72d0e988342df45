//! The straight way for one segment: ledger row, request, judgement, commit, then cache and events.
//!
//! The only room that imports every stage. It decides nothing about when or how often, and logs nothing: whoever started
//! the poll does.

mod health;
mod judge;
mod sweep;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::budget::Permit;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::events::Events;
use crate::model::{Op, Outcome, Path, PollKind, SegmentKey, SegmentState, SourceState};
use crate::provider::Provider;
use crate::store::{
    BeginPoll, Error, FinishPoll, Latest, NewVersion, SegmentEnd, SegmentId, SourceId, Store, VersionEntry,
};
use crate::transport::Transport;

use health::Health;
use judge::{Asked, Verdict, judge};

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
    /// The version that it made.
    pub committed: Option<Arc<VersionEntry>>,
}

/// Polls segments into one store. Clones share it.
#[derive(Clone)]
pub struct Poller {
    store: Store,
    cache: Cache,
    events: Events,
    clock: Clock,
}

impl Poller {
    /// Polls into `store`.
    pub fn new(store: Store, events: Events, clock: Clock) -> Self {
        Self { cache: Cache::new(store.clone()), store, events, clock }
    }

    /// Asks `source` for one segment and commits what the answer means. Fails only where the store does; then the
    /// request was not sent, or its answer is lost and its row is closed at the next start.
    pub async fn get(
        &self,
        source: &Source,
        key: &SegmentKey,
        segment: SegmentId,
        kind: PollKind,
        permit: Permit,
    ) -> Result<Polled, Error> {
        let latest = self.cache.latest(segment).await?;
        // After a delete a validator could turn the way back into "not modified".
        let validator = latest.etag.clone().filter(|_| latest.state == SegmentState::Present);
        let mut request = source.provider.get(&key.id);
        request.if_none_match.clone_from(&validator);

        let begin = BeginPoll { source: source.id, segment: Some(segment), kind, now: self.clock.now() };
        let poll = self.store.begin_poll(begin).await?;
        let answer = source.transport.send(permit, &request).await;
        let now = self.clock.now();

        let asked = Asked {
            provider: source.provider,
            key: source.transport.key(),
            ignore: &source.ignore,
            id: &key.id,
            validator: validator.as_deref(),
        };
        let Verdict { outcome, error, usage, etag, version } = judge(&answer, &asked, &latest);
        let answer = answer.ok();
        let source_state = source.observe(outcome);
        let next = after(&latest, version.as_ref(), etag.as_deref(), outcome);
        let finish = FinishPoll {
            poll,
            now,
            outcome,
            http_status: answer.as_ref().map(|answer| answer.status),
            bytes: answer.as_ref().and_then(|answer| answer.body.as_ref().ok()).map(|body| body.len() as u64),
            usage,
            error: error.clone(),
            segments: vec![SegmentEnd { id: segment, outcome, etag, version }],
            source_state: source_state.map(|state| (state, error.clone())),
            held_until: answer.and_then(|answer| answer.hold).map(|hold| now.wall.plus(hold)),
        };
        let committed = self.store.finish_poll(finish).await?.pop().map(Arc::new);

        if next != *latest {
            self.cache.put(segment, Arc::new(next)).await;
        }
        if let Some(committed) = &committed {
            self.events.announce(Arc::clone(committed));
        }
        Ok(Polled { outcome, error, source_state, committed })
    }
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
    fn observe(&self, outcome: Outcome) -> Option<SourceState> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).observe(outcome)
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Poller")
    }
}
