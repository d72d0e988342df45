//! The straight way for one segment: ledger row, request, judgement, commit, then cache and events.
//!
//! The only room that imports every stage. It decides nothing about when or how often, and logs nothing: whoever started
//! the poll does.

mod health;
mod judge;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::budget::Permit;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::events::Events;
use crate::model::{Outcome, Path, PollKind, SegmentKey, SegmentState, SourceState};
use crate::provider::Provider;
use crate::store::{self, BeginPoll, Committed, FinishPoll, Latest, SegmentEnd, SegmentId, SourceEnd, SourceId, Store};
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
    pub committed: Option<Arc<Committed>>,
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
    ) -> Result<Polled, Arc<store::Error>> {
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
        let next = version.as_ref().map(|version| latest.after(version));
        let finish = FinishPoll {
            poll,
            now,
            outcome,
            http_status: answer.as_ref().map(|answer| answer.status),
            bytes: answer.as_ref().and_then(|answer| answer.body.as_ref().ok()).map(|body| body.len() as u64),
            usage,
            error: error.clone(),
            segment: Some(SegmentEnd { id: segment, etag: etag.clone(), version }),
            source: SourceEnd {
                state: source_state,
                held_until: answer.and_then(|answer| answer.hold).map(|hold| now.wall.plus(hold)),
            },
        };
        let committed = self.store.finish_poll(finish).await?.map(Arc::new);

        let missing = outcome == Outcome::NotFound;
        self.remember(segment, &latest, next, etag, missing).await;
        if let Some(committed) = &committed {
            self.events.announce(Arc::clone(committed));
        }
        Ok(Polled { outcome, error, source_state, committed })
    }

    /// Moves the cache after a commit, where it has to.
    async fn remember(
        &self,
        segment: SegmentId,
        latest: &Arc<Latest>,
        next: Option<Latest>,
        etag: Option<String>,
        missing: bool,
    ) {
        let is_same = next.is_none() && latest.etag == etag && latest.missing == missing;
        if !is_same {
            let next = next.unwrap_or_else(|| Latest::clone(latest));
            self.cache.put(segment, Arc::new(Latest { etag, missing, ..next })).await;
        }
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
