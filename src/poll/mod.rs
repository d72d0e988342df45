//! The straight way for one segment or one page: ledger row, request, judgement, commit, then cache and events.
//!
//! The only room that imports every stage. It decides nothing about when or how often, and logs nothing: whoever started
//! the poll does.

mod health;
mod import;
mod judge;
mod meaning;
mod overlap;
mod page;
mod roster;
mod schema;
mod sweep;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::budget::Permit;
use crate::cache::Cache;
use crate::clock::{Clock, Now};
use crate::drift::{Drift, Event};
use crate::events::Events;
use crate::metrics::Metrics;
use crate::model::{Op, Outcome, Path, PollKind, SegmentKey, SegmentState, SourceName, SourceState};
use crate::provider::Provider;
use crate::store::{
    Absence, Error, FinishPoll, KnownSource, Latest, Moment, PollId, Readers, SegmentEnd, SegmentId, SegmentNow,
    SourceId, Store, VersionEntry,
};
use crate::transport::{Answer, NoAnswer, Request, Transport};

use health::Health;
use meaning::Meanings;
use overlap::Overlap;
use schema::Weighed;

pub use import::{BadLine, Configured, Import, ImportError, Imported, import};
pub use judge::{Asked, Content, Entry, Listed, Refusal, Verdict, Wanted, judge, judge_page};
pub use meaning::Meaning;
pub use page::{Covered, Swept, Walk};
pub use roster::Roster;
pub use sweep::{Failing, PAGE_SIZE, Step, Sweep};

/// How often a judgement is made again when the file moved on meanwhile.
const TRIES: u32 = 3;

/// A source that can be polled.
#[derive(Debug)]
pub struct Source {
    id: SourceId,
    name: SourceName,
    provider: &'static dyn Provider,
    transport: Transport,
    ignore: Vec<Path>,
    health: Mutex<Health>,
    overlap: Overlap,
    /// The bodies of single answers.
    bodies: Meanings,
    /// The items of its list.
    items: Meanings,
    /// What is known of changes of its schema; `None` until it is read from the file.
    drift: tokio::sync::Mutex<Option<Drift<SegmentId>>>,
}

impl Source {
    /// The source as the file knows it.
    pub fn new(known: &KnownSource, provider: &'static dyn Provider, transport: Transport, ignore: Vec<Path>) -> Self {
        let (health, overlap) = (Mutex::new(Health::new(known.state)), Overlap::default());
        let drift = tokio::sync::Mutex::new(None);
        let (id, name, bodies, items) = (known.id, known.name.clone(), Meanings::default(), Meanings::default());
        Self { id, name, provider, transport, ignore, health, overlap, bodies, items, drift }
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
    /// The changes of the provider's schema that it showed first.
    pub schema: Vec<Event>,
}

/// Polls segments into one store. Clones share it.
#[derive(Clone)]
pub struct Poller {
    store: Store,
    readers: Readers,
    cache: Cache,
    events: Events,
    metrics: Metrics,
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
    /// Polls into `store`; `readers` read the same file, and `cache` is in front of it.
    pub fn new(store: Store, readers: Readers, cache: Cache, events: Events, metrics: Metrics, clock: Clock) -> Self {
        Self { store, readers, cache, events, metrics, clock }
    }

    /// The same with another cache.
    #[must_use]
    pub fn with_cache(self, cache: Cache) -> Self {
        Self { cache, ..self }
    }

    /// Where polls are counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Asks `source` for one segment and commits what the answer means; `None` when `leave` was given up before the
    /// answer. Fails only where the store does; then the request was not sent, or its answer is lost and its row is
    /// closed at the next start.
    pub async fn get(&self, source: &Source, get: Get<'_>, leave: Leave<'_>) -> Result<Option<Polled>, Error> {
        let pages = source.overlap.pages();
        let begun = self.store.begin_get(source.id, get.segment, get.kind, self.clock.now());
        let (poll, mut latest) = begun.await?;
        // After a delete a validator could turn the way back into "not modified".
        let validator = latest.etag.clone().filter(|_| latest.state == SegmentState::Present);
        let mut request = source.provider.get(&get.key.id);
        request.if_none_match.clone_from(&validator);
        let Some((answer, now)) = self.ask(source, poll, &request, leave).await? else { return Ok(None) };

        let _turn = source.overlap.single().await;
        let seq = latest.seq;
        if source.overlap.pages() != pages {
            latest = self.store.latest(get.segment).await?;
        }
        let is_overtaken = latest.seq != seq;
        let wanted = Wanted { id: &get.key.id, validator: validator.as_deref(), is_unlisted: get.is_unlisted };
        let mut tries = 1;
        loop {
            let verdict = source.judge(&answer, wanted, get.segment, &latest);
            let is_passed_by = is_overtaken && verdict.version.is_some();
            let verdict = if is_passed_by { verdict.yielding() } else { verdict };
            let Verdict { outcome, error, usage, etag, version, .. } = verdict;
            let end = SegmentEnd { id: get.segment, outcome, etag, version };
            // It saw something else than what is known, so it does not confirm that.
            let segments = if is_passed_by { Vec::new() } else { vec![end.clone()] };
            let ended = Ended { poll, now, outcome, error, usage };
            match self.finish(source, &answer, ended, segments, &[&latest], None).await {
                Ok(polled) if is_passed_by => return Ok(Some(polled)),
                Ok(polled) => {
                    source.overlap.note(&polled, get.segment);
                    let made = polled.committed.first().map(|made| &**made);
                    self.keep(get.key, &latest, &end, made, now).await;
                    return Ok(Some(polled));
                }
                Err(Error::Conflict { .. }) if tries < TRIES => latest = self.store.latest(get.segment).await?,
                Err(error) => return Err(error),
            }
            tries += 1;
        }
    }

    /// Sends one request, whose row is written. The answer and when it came; `None` when it was given up: then the row is
    /// closed, and tells nothing.
    async fn ask(
        &self,
        source: &Source,
        poll: PollId,
        request: &Request,
        leave: Leave<'_>,
    ) -> Result<Option<(Result<Answer, NoAnswer>, Now)>, Error> {
        let sent = self.clock.now().mono;
        let answer = leave.give_up.run_until_cancelled(source.transport.send(leave.permit, request)).await;
        let now = self.clock.now();
        self.metrics.requested(&source.name, now.mono - sent);
        if let Some(answer) = answer {
            if matches!(answer, Ok(Answer { status: 200 | 304, .. })) {
                (leave.answered)();
            }
            return Ok(Some((answer, now)));
        }
        let finish = FinishPoll {
            poll,
            now,
            outcome: Outcome::Failed,
            http_status: None,
            bytes: None,
            usage: None,
            error: Some("interrupted".to_owned()),
            segments: Vec::new(),
            source_state: None,
            held_until: None,
            pace: None,
        };
        self.store.finish_poll(finish).await?;
        self.metrics.polled(&source.name, Outcome::Failed);
        Ok(None)
    }

    /// Moves the cache after the commit.
    async fn keep(&self, key: &SegmentKey, latest: &Latest, end: &SegmentEnd, made: Option<&VersionEntry>, now: Now) {
        if is_confirmed(latest, end) {
            self.cache.confirm(key, latest.seq, checked(now)).await;
        } else {
            self.cache.renew(key, latest.seq, |known| after(known, end, made, now)).await;
        }
    }

    /// Commits the end of a poll and announces what it brought.
    async fn finish(
        &self,
        source: &Source,
        answer: &Result<Answer, NoAnswer>,
        ended: Ended,
        mut segments: Vec<SegmentEnd>,
        before: &[&Latest],
        absence: Option<Absence>,
    ) -> Result<Polled, Error> {
        let Ended { poll, now, outcome, error, usage } = ended;
        let answer = answer.as_ref().ok();
        // A page that makes no sense is the trouble of all its segments.
        let is_list_broken = outcome == Outcome::Malformed && segments.is_empty();
        let source_state = source.observe(if is_list_broken { Outcome::Failed } else { outcome });
        let pace = answer.map(|answer| answer.standing.pace).filter(|pace| source.health().pace != Some(*pace));
        let weighed = self.weigh(source, &mut segments, before, now.wall).await?;
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
            held_until: answer.and_then(|answer| answer.standing.hold).map(|hold| now.wall.plus(hold)),
            pace,
        };
        let seen = weighed.as_ref().map(|weighed| weighed.seen.clone()).unwrap_or_default();
        let made = self.store.finish_seen(finish, absence, seen).await?;
        let schema = weighed.map(Weighed::keep).unwrap_or_default();
        let committed: Vec<_> = made.into_iter().map(Arc::new).collect();
        let mut health = source.health();
        health.state = source_state.unwrap_or(health.state);
        health.pace = pace.or(health.pace);
        drop(health);
        self.metrics.polled(&source.name, outcome);
        for version in &committed {
            self.metrics.versioned(&source.name, version.op, version.changes.len());
            self.events.announce(Arc::clone(version));
        }
        Ok(Polled { outcome, error, source_state, committed, schema })
    }
}

/// The right to send one request, and when to give it up.
pub struct Leave<'a> {
    /// Spent by the request.
    pub permit: Permit,
    /// Cancelled when nobody waits for the answer any more.
    pub give_up: &'a CancellationToken,
    /// Called once the provider has told what was asked, before that is committed: the next request need not wait for it. What
    /// else an answer says may change whether there is a next one.
    pub answered: &'a (dyn Fn() + Send + Sync),
}

impl fmt::Debug for Leave<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leave").field("permit", &self.permit).finish_non_exhaustive()
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

fn checked(now: Now) -> Moment {
    Moment { wall: now.wall, boot_ms: Some(now.boot_ms) }
}

/// Whether a poll ended without anything new but that it did.
fn is_confirmed(latest: &Latest, end: &SegmentEnd) -> bool {
    end.outcome == Outcome::Unchanged && end.etag == latest.etag && !latest.not_found
}

/// What the file knows of a segment after a poll is finished at `now` that made that version, if any.
fn after(known: SegmentNow, end: &SegmentEnd, made: Option<&VersionEntry>, now: Now) -> SegmentNow {
    let (etag, not_found) = (end.etag.clone(), end.outcome == Outcome::NotFound);
    let answered = end.outcome.is_answer().then(|| checked(now));
    let checked = answered.or(known.checked);
    let Some(made) = made else {
        return SegmentNow { latest: Latest { etag, not_found, ..known.latest }, checked, ..known };
    };
    let state = if made.op == Op::Delete { SegmentState::Deleted } else { SegmentState::Present };
    let document = end.version.as_ref().and_then(|version| version.document.clone());
    SegmentNow {
        latest: Latest {
            seq: made.seq,
            state,
            document,
            modified_at: made.modified_at,
            modified_by: made.modified_by.clone(),
            revision: made.revision,
            etag,
            not_found,
        },
        observed_at: Some(made.observed_at),
        changed_after: made.changed_after,
        checked,
        ..known
    }
}

impl Source {
    /// What the answer means for the segment; read only where it is not the last one once more.
    fn judge(
        &self,
        answer: &Result<Answer, NoAnswer>,
        wanted: Wanted<'_>,
        segment: SegmentId,
        latest: &Latest,
    ) -> Verdict {
        let Ok(Answer { status: 200, body: Ok(body), etag, .. }) = answer else {
            return judge(answer, self.asked(), wanted, latest);
        };
        let known = self.bodies.known(segment, body);
        known.and_then(|meaning| Verdict::of_known(meaning, etag.as_deref(), latest)).unwrap_or_else(|| {
            let verdict = judge(answer, self.asked(), wanted, latest);
            verdict.meaning.into_iter().for_each(|meaning| self.bodies.note(segment, body, meaning));
            verdict
        })
    }

    fn asked(&self) -> Asked<'_> {
        Asked { provider: self.provider, key: self.transport.key(), ignore: &self.ignore }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state that follows one more outcome, if it is another one.
    fn observe(&self, outcome: Outcome) -> Option<SourceState> {
        let mut health = self.health();
        let state = health.observe(outcome);
        (state != health.state).then_some(state)
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Poller")
    }
}
