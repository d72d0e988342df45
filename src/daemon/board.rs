//! What the daemon knows of its sources and copies while it runs, so that telling how it stands takes no query.
//!
//! Moved after the commit, never before: what stands here is in the file.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::plan::own_intervals;
use super::trouble::{Troubles, Word};
use crate::clock::Now;
use crate::config::Source as SourceConfig;
use crate::live::{Copies, SourceLive, StoreTrouble};
use crate::model::{Outcome, SegmentKey, SourceName, SourceState, UnixMs};
use crate::poll::Polled;
use crate::schedule::{Stretch, Work};
use crate::store::{self, Known, KnownSource};

/// The board of all accounts.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Standing>);

#[derive(Debug, Default)]
struct Standing {
    sources: BTreeMap<SourceName, Source>,
    /// What the ages of copies count from.
    start: Option<Now>,
    store_error: Option<StoreTrouble>,
    /// When the store last failed.
    store_failed_at: Option<Instant>,
}

#[derive(Debug)]
struct Source {
    provider: &'static str,
    /// How many of its intervals a copy may be old.
    stale_after: f64,
    state: SourceState,
    since: UnixMs,
    last_error: Option<String>,
    copies: Copies,
    troubles: Troubles,
}

/// What is news in a poll.
#[derive(Clone, Copy, Debug)]
pub(super) struct Story {
    /// Of the source's troubles.
    pub(super) word: Word,
    /// Of the segment's answers.
    pub(super) sense: Sense,
    /// For how long the source had been as it was, where that has changed.
    pub(super) state_lasted: Duration,
}

/// Whether the answers about a segment make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sense {
    /// As much as before.
    AsBefore,
    /// No more.
    Lost,
    /// Again, after so long.
    Found(Duration),
}

impl Standing {
    /// The time by which copies age: also while the machine sleeps.
    fn real(&mut self, now: Now) -> Instant {
        now.awake_since(*self.start.get_or_insert(now))
    }
}

impl Board {
    /// The same trouble with the store, and no sources yet.
    pub(super) fn following(before: &Self) -> Self {
        let before = before.lock();
        let (start, store_error) = (before.start, before.store_error.clone());
        Self(Mutex::new(Standing { start, store_error, ..Standing::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        // Every method leaves the board whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a source up with its tracked segments. One that was never answered waits since it stood on the board
    /// `before`.
    pub(super) fn take_up(
        &self,
        config: &SourceConfig,
        known: &KnownSource,
        segments: &[&Known],
        before: Option<&Self>,
        now: Now,
    ) {
        let now = self.lock().real(now);
        let own: HashMap<Arc<str>, Duration> = own_intervals(config);
        let before = before.map(Self::lock);
        let before = before.as_ref().and_then(|before| before.sources.get(&config.name));
        let mut copies = Copies::new(config.every, segments.len());
        for segment in segments {
            let id = Arc::clone(&segment.key.id);
            let answered = segment.checked_ago.and_then(|ago| now.checked_sub(ago));
            let waits_since = before.and_then(|source| source.copies.waits_since(&id)).unwrap_or(now);
            copies.take_up(Arc::clone(&id), own.get(&id).copied(), segment.state, answered, waits_since);
        }
        let source = Source {
            provider: config.provider,
            stale_after: config.stale_after,
            state: known.state,
            since: known.state_since,
            last_error: known.last_error.clone(),
            copies,
            troubles: Troubles::default(),
        };
        self.lock().sources.insert(config.name.clone(), source);
    }

    /// A poll was committed; what is news in it.
    pub(super) fn polled(&self, work: &Work, polled: &Polled, now: Now) -> Story {
        let mut story = Story { word: Word::Nothing, sense: Sense::AsBefore, state_lasted: Duration::ZERO };
        let mut board = self.lock();
        let Some(source) = board.sources.get_mut(work.source()) else { return story };
        if let Some(state) = polled.source_state {
            story.state_lasted = Duration::from_millis(u64::try_from(now.wall.since(source.since)).unwrap_or(0));
            let last_error = polled.error.clone().filter(|_| state != SourceState::Ok);
            (source.state, source.since, source.last_error) = (state, now.wall, last_error);
        }
        let troubles = &mut source.troubles;
        match (polled.outcome, work) {
            (Outcome::Malformed, Work::Get(_)) => {
                if troubles.is_odd(work, now.mono) {
                    story.sense = Sense::Lost;
                }
            }
            (Outcome::Failed | Outcome::Malformed | Outcome::Unauthorized, _) => {
                story.word = troubles.failed(work, now.mono);
            }
            (Outcome::Throttled, _) => (),
            _ => {
                story.sense = troubles.makes_sense(work, now.mono).map_or(Sense::AsBefore, Sense::Found);
                let answers_again = polled.source_state == Some(SourceState::Ok);
                story.word = if answers_again { troubles.over(now.mono) } else { troubles.answered(work, now.mono) };
            }
        }
        story
    }

    /// A list's page told about this segment, too.
    pub(super) fn covered(&self, key: &SegmentKey, outcome: Outcome, now: Now) {
        self.answered(key, outcome, now);
        let now = now.mono;
        if let Some(source) = self.lock().sources.get_mut(&key.source) {
            let get = Work::Get(key.clone());
            // The page itself is what is told.
            let (_, _) = (source.troubles.makes_sense(&get, now), source.troubles.answered(&get, now));
        }
    }

    /// What a committed poll said of one segment.
    pub(super) fn answered(&self, key: &SegmentKey, outcome: Outcome, now: Now) {
        let mut board = self.lock();
        let now = board.real(now);
        if let Some(source) = board.sources.get_mut(&key.source) {
            source.copies.polled(&key.id, outcome, now);
        }
    }

    /// The store failed; whether that is news. Two polls that do not fit each other are not its trouble, and one whose
    /// files are gone ends the daemon, which tells it then.
    pub(super) fn store_failed(&self, failure: &store::Error, now: Now) -> bool {
        if matches!(failure, store::Error::Conflict { .. }) {
            return false;
        }
        let ends = matches!(failure, store::Error::Displaced { .. });
        let mut board = self.lock();
        let since = board.store_error.as_ref().map(|trouble| trouble.since);
        board.store_failed_at = Some(now.mono);
        board.store_error = Some(StoreTrouble { since: since.unwrap_or(now.wall), error: failure.to_string() });
        since.is_none() && !ends
    }

    /// The store has done what was begun then; since when it had not worked, if so. What was begun before the last failure may
    /// have been done before it.
    pub(super) fn store_works(&self, begun: Instant) -> Option<UnixMs> {
        let mut board = self.lock();
        if board.store_failed_at.is_some_and(|failed| begun < failed) {
            return None;
        }
        board.store_error.take().map(|trouble| trouble.since)
    }

    pub(super) fn store_error(&self) -> Option<StoreTrouble> {
        self.lock().store_error.clone()
    }

    /// How a source stands, where the intervals of its account stretch so much.
    pub(super) fn source(&self, name: &SourceName, stretch: Stretch, now: Now) -> Option<SourceLive> {
        let mut board = self.lock();
        let now = board.real(now);
        let source = board.sources.get(name)?;
        let segments = source.copies.freshness(now, |interval| {
            let stretch = if interval.is_own { stretch.promises } else { stretch.wishes };
            let age = interval.every.as_secs_f64() * stretch * source.stale_after;
            Duration::try_from_secs_f64(age).unwrap_or(Duration::MAX)
        });
        Some(SourceLive {
            name: name.clone(),
            provider: source.provider,
            state: source.state,
            since: source.since,
            last_error: source.last_error.clone(),
            segments,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_was_begun_before_a_failure_does_not_end_it() {
        let board = Board(Mutex::new(Standing::default()));
        let at = |seconds| Now {
            mono: Instant::now() + Duration::from_secs(seconds),
            wall: UnixMs(i64::try_from(seconds).expect("few")),
            boot_ms: 0,
        };
        let failure = store::Error::Other { path: Path::new("a.db").into(), reason: "it is gone".into() };
        let (begun, failed, later) = (at(100), at(200), at(300));
        assert!(board.store_failed(&failure, failed));
        assert_eq!(board.store_works(begun.mono), None);
        assert!(!board.store_failed(&failure, failed), "no news");
        assert_eq!(board.store_works(later.mono), Some(failed.wall));
        assert!(board.store_failed(&failure, later));
    }
}
