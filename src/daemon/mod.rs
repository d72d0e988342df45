//! The composition root: builds the accounts from a configuration and the file, spawns, reloads, joins and shuts down.
//!
//! The only room that spawns tasks. Signals, the service manager and terminals belong to the verbs.

mod account;
mod prepare;
mod report;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::budget::{Budget, LONGEST_HOLD, Usage};
use crate::clock::Clock;
use crate::config::{Config, Segments, Source as SourceConfig};
use crate::events::Events;
use crate::model::{SegmentKey, SourceName, SourceState};
use crate::poll::{Poller, Source};
use crate::schedule::{Schedule, Target};
use crate::store::{DeclareSource, Declared, Known, Store};

use account::{Account, Crew, Desk, Mode, Worker, dispatch};
use prepare::{PreparedAccount, longest_timeout};

pub use account::Ending;
pub use prepare::Prepared;

/// How long requests in flight may take to end when the daemon stops.
const GRACE: Duration = Duration::from_secs(5);
/// How often old rows of `polls` are pruned …
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// … and how many in one transaction.
const PRUNE_BATCH: usize = 500;

/// What a running daemon is connected to.
#[derive(Debug)]
pub struct Wiring {
    /// Where the time comes from.
    pub clock: Clock,
    /// Where committed versions are announced.
    pub events: Events,
    /// Configurations that replace the running one.
    pub reloads: mpsc::Receiver<Prepared>,
    /// Ends the daemon in good order.
    pub shutdown: CancellationToken,
}

/// Runs until `shutdown`. `ready` is called once the database is open and the schedule stands; the network may be down.
pub async fn run(prepared: Prepared, wiring: Wiring, ready: impl FnOnce()) -> Result<()> {
    let Wiring { clock, events, mut reloads, shutdown } = wiring;
    let store = Store::open(&prepared.config.store.path, &clock, longest_timeout(&prepared.config))?;
    let mut keep = keep_polls(&prepared.config);
    let poller = Poller::new(store.clone(), events, clock.clone());
    let mut engine = Engine::start(prepared, &poller, &store, &clock, None).await?;
    info!("keeping {} segments fresh", engine.segments());
    ready();

    let mut prune = interval_at(clock.now().mono + PRUNE_EVERY, PRUNE_EVERY);
    prune.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(prepared) = reloads.recv() => {
                keep = keep_polls(&prepared.config);
                engine.stop().await;
                engine = Engine::start(prepared, &poller, &store, &clock, None).await?;
                info!("reloaded; keeping {} segments fresh", engine.segments());
            }
            _ = prune.tick() => prune_polls(&store, &clock, keep).await,
        }
    }
    info!("stopping");
    engine.stop().await;
    store.close().await.context("close the database")
}

/// What one pass has done.
#[derive(Debug)]
pub struct Pass {
    /// How each segment fared, in the order of their ends.
    pub endings: Vec<Ending>,
    /// What the accounts have used of their limits, each with the names of its sources.
    pub usage: Vec<(Vec<SourceName>, Usage)>,
}

/// Polls every segment of `prepared` that `wanted` names (all if `None`) once, and tells each end as it comes.
/// `shutdown` ends the pass early.
pub async fn pass(
    prepared: Prepared,
    wanted: Option<&[SegmentKey]>,
    clock: &Clock,
    shutdown: &CancellationToken,
    mut on_end: impl FnMut(&Ending),
) -> Result<Pass> {
    let store = Store::open(&prepared.config.store.path, clock, longest_timeout(&prepared.config))?;
    let poller = Poller::new(store.clone(), Events::default(), clock.clone());
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let once = Once { wanted: wanted.map(<[_]>::to_vec), endings: sender };
    let engine = Engine::start(prepared, &poller, &store, clock, Some(once)).await?;
    let mut endings = Vec::with_capacity(engine.segments());
    while endings.len() < engine.segments() {
        let ending = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ending) = receiver.recv() => ending,
            else => break,
        };
        on_end(&ending);
        endings.push(ending);
    }
    let usage = engine.usage();
    engine.stop().await;
    store.close().await.context("close the database")?;
    Ok(Pass { endings, usage })
}

/// One pass instead of a life.
struct Once {
    wanted: Option<Vec<SegmentKey>>,
    endings: mpsc::UnboundedSender<Ending>,
}

/// The accounts at work.
struct Engine {
    accounts: Vec<Arc<Account>>,
    crew: Crew,
}

impl Engine {
    /// Takes up the work where the file says that it was left.
    async fn start(
        prepared: Prepared,
        poller: &Poller,
        store: &Store,
        clock: &Clock,
        once: Option<Once>,
    ) -> Result<Self> {
        let declared = store.declare(declarations(&prepared.config), clock.now()).await?;
        let (mut accounts, crew) = (Vec::new(), Crew::default());
        for prepared in prepared.accounts {
            let account = Arc::new(account(prepared, &declared, poller, store, clock, once.as_ref()).await?);
            crew.tasks.spawn(dispatch(Arc::clone(&account), crew.clone()));
            accounts.push(account);
        }
        crew.tasks.close();
        Ok(Self { accounts, crew })
    }

    /// Lets the requests in flight end, for a while, and gives up the rest.
    async fn stop(self) {
        self.crew.stop.cancel();
        if timeout(GRACE, self.crew.tasks.wait()).await.is_err() {
            warn!("gave up requests that did not end within {} s", GRACE.as_secs());
            self.crew.give_up.cancel();
            self.crew.tasks.wait().await;
        }
    }

    fn segments(&self) -> usize {
        self.accounts.iter().map(|account| account.segments.len()).sum()
    }

    fn usage(&self) -> Vec<(Vec<SourceName>, Usage)> {
        let names = |account: &Account| {
            let mut names: Vec<SourceName> = account.sources.keys().cloned().collect();
            names.sort();
            names
        };
        self.accounts.iter().map(|account| (names(account), account.budget.usage())).collect()
    }
}

/// What the configuration names, for the file.
fn declarations(config: &Config) -> Vec<DeclareSource> {
    let declare = |source: &SourceConfig| DeclareSource {
        name: source.name.clone(),
        provider: source.provider.to_owned(),
        base_url: source.base_url.to_string(),
        segments: named(source).iter().map(|segment| Arc::clone(&segment.id)).collect(),
        all: false,
    };
    config.sources.iter().map(declare).collect()
}

fn named(source: &SourceConfig) -> &[crate::config::Segment] {
    match &source.segments {
        Segments::All { own: segments } | Segments::Named(segments) => segments,
    }
}

/// One account: its budget with what was spent before, its schedule as the file knows it.
async fn account(
    prepared: PreparedAccount,
    declared: &Declared,
    poller: &Poller,
    store: &Store,
    clock: &Clock,
    once: Option<&Once>,
) -> Result<Account> {
    let now = clock.now();
    let is_own = |name: &SourceName| prepared.sources.iter().any(|source| source.config.name == *name);
    let known_sources: Vec<_> = declared.sources.iter().filter(|source| is_own(&source.name)).collect();

    let budget = Budget::new(&prepared.terms, clock.clone(), fastrand::u64(..));
    let ids = known_sources.iter().map(|source| source.id).collect();
    budget.remember(store.spent(ids, prepared.terms.remembered(), prepared.terms.timeout, now).await?);
    let held = known_sources.iter().filter_map(|source| source.held_until).max();
    if let Some(left) = held.and_then(|until| u64::try_from(until.since(now.wall)).ok()).filter(|ms| *ms > 0) {
        budget.hold(Duration::from_millis(left).min(LONGEST_HOLD));
    }

    let configs: HashMap<_, _> = prepared.sources.iter().map(|s| (s.config.name.clone(), s.config.clone())).collect();
    let is_wanted =
        |key: &SegmentKey| once.is_none_or(|once| once.wanted.as_ref().is_none_or(|wanted| wanted.contains(key)));
    let known: Vec<&Known> =
        declared.segments.iter().filter(|known| is_own(&known.key.source) && is_wanted(&known.key)).collect();
    let target = |known: &&Known| target(known, &configs[&known.key.source], now.mono, once.is_some());
    let mut schedule = Schedule::new(known.iter().map(target).collect(), fastrand::u64(..));
    for source in known_sources.iter().filter(|source| source.state == SourceState::Unauthorized) {
        schedule.ask_again(&source.name, now.mono);
    }

    let mut sources = HashMap::new();
    for source in prepared.sources {
        let Some(known) = known_sources.iter().find(|known| known.name == source.config.name) else { continue };
        let polled =
            Source::new(known.id, source.provider, source.transport, source.config.ignore.clone(), known.state);
        let worker = Worker { source: polled, concurrency: usize::from(source.config.concurrency) };
        sources.insert(source.config.name, worker);
    }
    Ok(Account {
        budget,
        poller: poller.clone(),
        clock: clock.clone(),
        sources,
        segments: known.iter().map(|known| (known.key.clone(), known.id)).collect(),
        desk: Mutex::new(Desk { schedule, in_flight: HashMap::new() }),
        changed: Notify::new(),
        mode: once.map_or(Mode::Forever, |once| Mode::Once(once.endings.clone())),
    })
}

/// When a segment is due: as the file knows it, or at once in a single pass.
fn target(known: &Known, source: &SourceConfig, now: Instant, once: bool) -> Target {
    let own = named(source).iter().find(|segment| segment.id == known.key.id).and_then(|segment| segment.every);
    let last = known.checked_ago.and_then(|ago| now.checked_sub(ago));
    Target {
        key: known.key.clone(),
        every: own.unwrap_or(source.every),
        promise: own.is_some(),
        last: last.filter(|_| !once),
        failures: known.failures,
    }
}

/// How long rows of `polls` stay: never shorter than a budget remembers them.
fn keep_polls(config: &Config) -> Duration {
    let longest = config.sources.iter().flat_map(|source| &source.limits).map(|limit| limit.per).max();
    config.store.keep_polls.max(longest.unwrap_or_default() + longest_timeout(config) * 2)
}

async fn prune_polls(store: &Store, clock: &Clock, keep: Duration) {
    loop {
        match store.prune(clock.now(), keep, PRUNE_BATCH).await {
            Ok(0) => return,
            Ok(_) => (),
            Err(failure) => return error!("failed to {failure}"),
        }
    }
}
