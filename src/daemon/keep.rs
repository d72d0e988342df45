//! What is let go in the course of time: requests that have been logged for long enough, and versions that ended long ago.
//!
//! In small steps with pauses in between, so that others who write never wait long for it: how long a step took says how much
//! the next one may do.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::prepare::longest_timeout;
use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::model::UnixMs;
use crate::store::{Cursor, Error, Store};

/// How often old rows of `polls` are looked for …
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// … and old versions; also how long after the start, when a wrong clock may have been set right.
const COMPACT_EVERY: Duration = Duration::from_secs(3600);
/// How long the others who write have for themselves between two steps.
const PAUSE: Duration = Duration::from_millis(50);
/// A step that takes longer, its commit included, is followed by one of half the size …
const LONG: Duration = Duration::from_millis(5);
/// … and one that takes no longer than this by a larger one.
const SHORT: Duration = Duration::from_millis(2);
/// How many rows a step may remove: to begin with, at least and at most.
const FIRST: usize = 10;
const LEAST: usize = 5;
const MOST: usize = 5000;

/// How many rows the next step may remove.
#[derive(Clone, Copy, Debug)]
pub struct Steps(usize);

impl Default for Steps {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Steps {
    /// How many rows the next step may remove.
    pub fn size(self) -> usize {
        self.0
    }

    /// The last step removed so many rows and took so long, its commit included. One that had little to remove tells little.
    pub fn took(&mut self, time: Duration, removed: usize) {
        if time > LONG {
            self.0 = (self.0 / 2).max(LEAST);
        } else if time <= SHORT && removed >= self.0 / 2 {
            self.0 = (self.0 + self.0 / 4).min(MOST);
        }
    }
}

/// How long what is kept.
#[derive(Clone, Copy, Debug)]
struct Terms {
    polls: Duration,
    versions: Option<Duration>,
}

impl Terms {
    fn of(config: &Config) -> Self {
        let longest = config.sources.iter().flat_map(|source| &source.limits).map(|limit| limit.per).max();
        // Never shorter than a budget remembers them.
        let least = longest.unwrap_or_default() + longest_timeout(config) * 2;
        Self { polls: config.store.keep_polls.max(least), versions: config.store.keep_versions }
    }
}

/// Versions that are being let go.
#[derive(Clone, Copy, Debug)]
struct Round {
    ended_before: UnixMs,
    cursor: Cursor,
    removed: usize,
    odd: usize,
}

/// Lets go what is old enough, a step at a time.
pub(super) struct Keeper {
    terms: Terms,
    prune_at: Instant,
    compact_at: Instant,
    polls: Steps,
    versions: Steps,
    round: Option<Round>,
}

impl Keeper {
    pub(super) fn new(config: &Config, clock: &Clock) -> Self {
        let now = clock.now().mono;
        Self {
            terms: Terms::of(config),
            prune_at: now + PRUNE_EVERY,
            compact_at: now + COMPACT_EVERY,
            polls: Steps::default(),
            versions: Steps::default(),
            round: None,
        }
    }

    /// Goes by another configuration from now on.
    pub(super) fn reload(&mut self, config: &Config) {
        self.terms = Terms::of(config);
        self.round = None;
    }

    /// When the next step is due.
    pub(super) fn due(&self) -> Instant {
        if self.terms.versions.is_some() { self.prune_at.min(self.compact_at) } else { self.prune_at }
    }

    /// Takes a step.
    pub(super) async fn step(&mut self, store: &Store, clock: &Clock, metrics: &Metrics) {
        match self.terms.versions.filter(|_| self.compact_at < self.prune_at) {
            None => {
                let more = self.prune(store, clock).await.unwrap_or_else(|failure| tell(&failure));
                self.prune_at = clock.now().mono + if more { PAUSE } else { PRUNE_EVERY };
            }
            Some(keep) => {
                let more = self.compact(store, clock, keep, metrics).await.unwrap_or_else(|failure| tell(&failure));
                self.compact_at = clock.now().mono + if more { PAUSE } else { COMPACT_EVERY };
            }
        }
    }

    /// Removes some of the polls that are old enough; whether there may be more.
    async fn prune(&mut self, store: &Store, clock: &Clock) -> Result<bool, Error> {
        let now = clock.now();
        let removed = store.prune(now, self.terms.polls, self.polls.size()).await?;
        self.polls.took(clock.now().mono - now.mono, removed);
        Ok(removed > 0)
    }

    /// Removes some of the versions that ended long enough ago; whether there may be more.
    async fn compact(
        &mut self,
        store: &Store,
        clock: &Clock,
        keep: Duration,
        metrics: &Metrics,
    ) -> Result<bool, Error> {
        let round = match self.round.take() {
            Some(round) => round,
            None => match store.long_ago(clock.now(), keep, self.terms.polls).await? {
                Some(ended_before) => Round { ended_before, cursor: Cursor::START, removed: 0, odd: 0 },
                None => return Ok(false),
            },
        };
        let now = clock.now();
        let done = store.compact(now, round.ended_before, round.cursor, self.versions.size()).await?;
        self.versions.took(clock.now().mono - now.mono, done.removed + done.odd);
        metrics.compacted(done.removed);
        let round = Round { removed: round.removed + done.removed, odd: round.odd + done.odd, ..round };
        self.round = done.next.map(|cursor| Round { cursor, ..round });
        if self.round.is_none() {
            round.tell();
        }
        Ok(self.round.is_some())
    }
}

impl Round {
    /// Logs what was done.
    fn tell(&self) {
        let Self { removed, odd, ended_before, .. } = *self;
        if removed > 0 {
            info!(removed, "{removed} versions that ended before {ended_before} are no longer kept");
        }
        if odd > 0 {
            warn!(
                odd,
                "{odd} versions are older than keep_versions but not as they were written, and stay; see `segsync verify`"
            );
        }
    }
}

/// Logs why a step failed; what is left is tried later.
fn tell(failure: &Error) -> bool {
    error!("failed to {failure}");
    false
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::sleep_until;

    use super::*;
    use crate::model::{Op, SourceName};
    use crate::provider;
    use crate::store::{NewVersion, Observed, PollId, StoredDocument};

    const HOUR: i64 = 3_600_000;

    /// A wall clock that goes with the test's time.
    struct Face(Instant);

    impl crate::clock::Source for Face {
        fn wall(&self) -> UnixMs {
            UnixMs(1_700_000_000_000 + self.boot_ms())
        }
        fn boot_ms(&self) -> i64 {
            i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX)
        }
        fn boot_id(&self) -> Option<String> {
            None
        }
    }

    fn config(kept: &str) -> Config {
        let text = format!(
            "[store]\npath = \"x\"\n{kept}\n[[source]]\nname = \"a\"\nprovider = \"octave\"\n\
             api_key = {{ env = \"K\" }}\nsegments = \"all\"\n"
        );
        let catalogue: Vec<_> = provider::by_name("octave").map(provider::Provider::entry).into_iter().collect();
        crate::config::parse(&text, "x.toml", &catalogue).expect("a configuration")
    }

    #[tokio::test(start_paused = true)]
    async fn old_versions_go_an_hour_after_the_start_and_then_as_they_grow_old() {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Clock::new(Face(Instant::now()));
        let store = Store::open(folder.path().join("a.db"), &clock, Duration::from_secs(1)).expect("opened");
        let now = clock.now();
        // A version an hour, the last of them now.
        let versions: i64 = 300;
        let made = store.import(now, |file| {
            let source = file.add_source(&SourceName::new("a"), "octave", "https://x.example")?;
            let poll = file.begin(source)?;
            let segment = file.add_segment(source, "s")?;
            for at in 0..versions {
                let text: Arc<str> = format!("{{\"n\":{at}}}").into();
                let document = Some(StoredDocument { hash: *blake3::hash(text.as_bytes()).as_bytes(), text });
                let op = if at == 0 { Op::Create } else { Op::Update };
                let version = NewVersion {
                    base: at,
                    op,
                    cause: None,
                    modified_at: None,
                    modified_by: None,
                    revision: None,
                    missed_revisions: None,
                    document,
                    changes: Vec::new(),
                };
                let observed = Observed { at: UnixMs(now.wall.0 - (versions - 1 - at) * HOUR), changed_after: None };
                file.add(segment, version, observed, poll, None)?;
            }
            file.finish(poll, crate::model::Outcome::Updated, 1, None)
        });
        made.expect("made");
        let reader = crate::store::Reader::open(store.path()).expect("opened");
        let left = || reader.tally_after(PollId(0)).expect("counted").versions;
        let metrics = Metrics::new(now.wall);
        let mut keeper = Keeper::new(&config(""), &clock);
        let live = async |keeper: &mut Keeper, hours: u64| {
            let end = clock.now().mono + Duration::from_secs(3600 * hours + 60);
            while keeper.due() <= end {
                sleep_until(keeper.due()).await;
                keeper.step(&store, &clock, &metrics).await;
            }
            sleep_until(end).await;
        };
        live(&mut keeper, 2).await;
        assert_eq!(left(), 300, "kept for ever");
        keeper = Keeper::new(&config("keep_versions = \"2d\""), &clock);
        live(&mut keeper, 0).await;
        assert_eq!(left(), 300, "not at once");
        // Three hours after the last version: those of the last 45 hours, the one that held then, and the first.
        live(&mut keeper, 1).await;
        live(&mut keeper, 0).await;
        assert_eq!(left(), 47);
        keeper.reload(&config("keep_versions = \"1d\""));
        live(&mut keeper, 3).await;
        assert_eq!(left(), 20);
        keeper.reload(&config(""));
        live(&mut keeper, 24).await;
        assert_eq!(left(), 20);
        assert!(metrics.page(crate::metrics::Gauges::default()).contains("segsync_compacted_versions_total 280\n"));
        store.close().await.expect("closed");
    }

    #[test]
    fn the_time_that_a_step_takes_rules_the_size_of_the_next() {
        let mut steps = Steps::default();
        // 0.1 ms a row, after which a step of 2 to 5 ms stays.
        for _ in 0..50 {
            let rows = u64::try_from(steps.size()).expect("few");
            steps.took(Duration::from_micros(100 * rows), steps.size());
        }
        assert!((20..=50).contains(&steps.size()), "{steps:?}");
        let size = steps.size();
        (0..50).for_each(|_| steps.took(Duration::ZERO, 0));
        assert_eq!(steps.size(), size, "nothing to remove");
        (0..50).for_each(|_| steps.took(Duration::ZERO, steps.size()));
        assert_eq!(steps.size(), MOST);
        (0..50).for_each(|_| steps.took(Duration::from_secs(1), steps.size()));
        assert_eq!(steps.size(), LEAST);
    }
}
