//! The composition root: builds the accounts from a configuration and the file, spawns, reloads, joins and shuts down.
//!
//! The only room that spawns tasks. Signals, the service manager and terminals belong to the verbs.

mod account;
mod asks;
mod board;
mod build;
mod flight;
mod front;
mod keep;
mod listing;
mod log;
mod manager;
mod plan;
mod prepare;
mod pulse;
mod report;
mod stand;
mod trouble;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::budget::Usage;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::{Config, Http, Segments, Source as SourceConfig};
use crate::events::Events;
use crate::http::{self, Api, Listener};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::model::{SegmentKey, SourceName, UnixMs};
use crate::poll::Poller;
use crate::secret::KeyPrint;
use crate::store::{DeclareSource, Readers, Store};

use account::{Account, Crew, dispatch};
use asks::Desk;
use board::Board;
use build::{Site, others};
use front::{Door, Front};
use keep::Keeper;
use log::{LOOK_EVERY, LogWatch};
use prepare::longest_timeout;
use stand::Watch;

pub use account::Ending;
pub use keep::Steps;
pub use manager::{Manager, Notice};
pub use plan::{Plan, Tracked, own_intervals, pages};
pub use prepare::{Prepared, terms};

/// How long requests in flight, of either side, may take to end when the daemon stops.
const GRACE: Duration = Duration::from_secs(5);
/// How often the log tells what each account has used.
const TELL_EVERY: Duration = Duration::from_secs(900);
/// How often a start that takes long asks for more time …
const EXTEND_EVERY: Duration = Duration::from_secs(5);
/// … and for how much.
const EXTEND_BY: Duration = Duration::from_secs(60);

/// What a running daemon is connected to.
#[derive(Debug)]
pub struct Wiring {
    /// Where the time comes from.
    pub clock: Clock,
    /// Where committed versions are announced.
    pub events: Events,
    /// Where the daemon tells how it stands.
    pub live: Live,
    /// Whoever manages the daemon.
    pub manager: Manager,
    /// The socket for the local API, bound already; `None`: it is bound where the configuration says.
    pub listener: Option<Listener>,
    /// Configurations that replace the running one.
    pub reloads: mpsc::Receiver<Prepared>,
    /// Ends the daemon in good order.
    pub shutdown: CancellationToken,
}

/// Runs until `shutdown`. `ready` is called once the database is open and the schedule stands; the network may be down.
pub async fn run(prepared: Prepared, wiring: Wiring, ready: impl FnOnce()) -> Result<()> {
    let Wiring { clock, events, live, manager, listener, mut reloads, shutdown } = wiring;
    let Some(store) = open(&prepared, &clock, &manager, &shutdown).await? else { return Ok(()) };
    let mut keeper = Keeper::new(&prepared.config, &clock);
    let running_since = clock.now().wall;
    let metrics = Metrics::new(running_since);
    store.measure(metrics.clone());
    let readers = Readers::new(store.path());
    let cache = new_cache(&readers, &prepared, &metrics);
    let mut poller =
        Poller::new(store.clone(), readers.clone(), cache.clone(), events.clone(), metrics.clone(), clock.clone());
    let door = Door::open(prepared.listen(), listener, prepared.token().is_some()).await?;
    let served = Served::of(&prepared, cache);
    let mut engine = Engine::start(prepared, &poller, &store, &clock, Start::First).await?;
    live.running(engine.watch(&clock, running_since));
    // Readers of its own: those who ask for long answers must not hold the polls up.
    let own = Readers::new(store.path());
    let wiring = http::Wiring { readers: own, events, live: live.clone(), metrics, clock: clock.clone() };
    let api = Api::new(wiring, engine.api(served));
    let mut front = Front::new(door, &api);
    info!("keeping {} segments fresh", engine.segments());
    ready();

    let (at_work, seen) = watch::channel(engine.accounts.clone());
    let fed = manager.keep_fed(seen, &store, &clock);
    let told = manager.keep_told(&live);
    tokio::pin!(fed, told);
    let mut tell = interval_at(clock.now().mono + TELL_EVERY, TELL_EVERY);
    tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look = interval_at(clock.now().mono + LOOK_EVERY, LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut log = LogWatch::default();
    let displaced = loop {
        tokio::select! {
            () = shutdown.cancelled() => break None,
            // Whoever manages the daemon starts it again, with what is at the path then.
            failure = store.displaced() => break Some(failure),
            Some(prepared) = reloads.recv() => {
                manager.tell(Notice::Reloading);
                keeper.reload(&prepared.config);
                let before = Arc::clone(&engine.board);
                engine.stop().await;
                if shutdown.is_cancelled() {
                    break None;
                }
                // Anew, for what the configuration changes in the file does not pass through it.
                let cache = new_cache(&readers, &prepared, poller.metrics());
                poller = poller.with_cache(cache.clone());
                let (listen, served) = (prepared.listen().cloned(), Served::of(&prepared, cache));
                engine = Engine::start(prepared, &poller, &store, &clock, Start::Again(&before)).await?;
                live.running(engine.watch(&clock, running_since));
                at_work.send_replace(engine.accounts.clone());
                api.set(engine.api(served));
                front.reload(listen.as_ref(), &api).await;
                info!("reloaded; keeping {} segments fresh", engine.segments());
                manager.tell(Notice::Reloaded);
            }
            () = sleep_until(keeper.due()) => keeper.step(&store, &clock, poller.metrics()).await,
            _ = tell.tick() => engine.tell_usage(),
            _ = look.tick() => log.look(&store).await,
            () = &mut fed => (),
            () = &mut told => (),
        }
    };
    info!("stopping");
    live.stopping();
    tokio::join!(front.close(), engine.stop());
    let closed = store.close().await.context("close the database");
    displaced.map_or(closed, |failure| Err(failure.into()))
}

/// Opens the database, and upgrades it for as long as that takes; `None` when `shutdown` came before the end of that.
async fn open(
    prepared: &Prepared,
    clock: &Clock,
    manager: &Manager,
    shutdown: &CancellationToken,
) -> Result<Option<Store>> {
    let (path, longest) = (prepared.config.store.path.clone(), longest_timeout(&prepared.config));
    let goes_on = {
        let (clock, manager, shutdown, mut extended) = (clock.clone(), manager.clone(), shutdown.clone(), None);
        move || {
            let now = clock.now().mono;
            if extended.is_none_or(|last| now >= last + EXTEND_EVERY) {
                manager.tell(Notice::Extend(EXTEND_BY));
                extended = Some(now);
            }
            !shutdown.is_cancelled()
        }
    };
    match Store::open_in_background(path, clock, longest, goes_on).await {
        Err(_) if shutdown.is_cancelled() => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

/// What one pass has done.
#[derive(Debug)]
pub struct Pass {
    /// How each segment fared, in the order of their ends.
    pub endings: Vec<Ending>,
    /// How many segments there are.
    pub segments: usize,
    /// What the accounts have used of their limits, each with the names of its sources.
    pub usage: Vec<(Vec<SourceName>, Usage)>,
}

/// Polls every segment of `prepared` that `wanted` names (all if `None`) once, and tells each end as it comes, with how
/// many segments there are as far as known. `shutdown` ends the pass early.
pub async fn pass(
    prepared: Prepared,
    wanted: Option<&[SegmentKey]>,
    clock: &Clock,
    shutdown: &CancellationToken,
    mut on_end: impl FnMut(&Ending, usize),
) -> Result<Pass> {
    let store = Store::open(&prepared.config.store.path, clock, longest_timeout(&prepared.config))?;
    let metrics = Metrics::new(clock.now().wall);
    let readers = Readers::new(store.path());
    let cache = new_cache(&readers, &prepared, &metrics);
    let poller = Poller::new(store.clone(), readers, cache, Events::default(), metrics, clock.clone());
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let once = Once { wanted: wanted.map(<[_]>::to_vec), endings: sender };
    let engine = Engine::start(prepared, &poller, &store, clock, Start::Once(&once)).await?;
    let (mut endings, mut told) = (Vec::new(), HashSet::new());
    let mut take = |ending: Ending, segments: usize| {
        // A list may name a segment twice.
        if told.insert(ending.key.clone()) {
            on_end(&ending, segments);
            endings.push(ending);
        }
    };
    loop {
        tokio::select! {
            biased;
            Some(ending) = receiver.recv() => take(ending, engine.segments()),
            () = shutdown.cancelled() => break,
            () = engine.finished() => break,
        }
    }
    while let Ok(ending) = receiver.try_recv() {
        take(ending, engine.segments());
    }
    let segments = engine.segments();
    let usage = engine.usage();
    engine.stop().await;
    store.close().await.context("close the database")?;
    Ok(Pass { endings, segments, usage })
}

/// One pass instead of a life.
struct Once {
    wanted: Option<Vec<SegmentKey>>,
    endings: mpsc::UnboundedSender<Ending>,
}

/// What an engine starts for.
#[derive(Clone, Copy)]
enum Start<'a> {
    /// The life of a daemon.
    First,
    /// The same life with another configuration, after an engine with this board.
    Again(&'a Board),
    /// One pass.
    Once(&'a Once),
}

/// What the local API goes by, apart from the accounts.
struct Served {
    token: Option<KeyPrint>,
    hosts: Vec<String>,
    cache: Cache,
    sources: HashMap<SourceName, http::Source>,
}

impl Served {
    fn of(prepared: &Prepared, cache: Cache) -> Self {
        Self { token: prepared.token(), hosts: prepared.hosts(), cache, sources: prepared.served() }
    }
}

/// The accounts at work.
struct Engine {
    accounts: Vec<Arc<Account>>,
    board: Arc<Board>,
    crew: Crew,
}

impl Engine {
    /// Takes up the work where the file says that it was left.
    async fn start(
        prepared: Prepared,
        poller: &Poller,
        store: &Store,
        clock: &Clock,
        start: Start<'_>,
    ) -> Result<Self> {
        let declared = store.declare(declarations(&prepared.config), clock.now()).await?;
        let (once, before) = match start {
            Start::First => (None, None),
            Start::Again(before) => (None, Some(before)),
            Start::Once(once) => (Some(once), None),
        };
        let board = Arc::new(before.map_or_else(Board::default, Board::following));
        let site = Site { declared: &declared, poller, store, clock, once, board: &board, before };
        let others = others(&prepared, &declared);
        let (mut accounts, crew) = (Vec::new(), Crew::default());
        for prepared in prepared.accounts {
            let account = Arc::new(site.account(prepared, &others).await?);
            crew.tasks.spawn(dispatch(Arc::clone(&account), crew.clone()));
            accounts.push(account);
        }
        crew.tasks.close();
        Ok(Self { accounts, board, crew })
    }

    /// What the local API goes by from now on.
    fn api(&self, served: Served) -> http::Settings {
        let Served { token, hosts, cache, sources } = served;
        let desk = Box::new(Desk { accounts: self.accounts.clone(), stop: self.crew.stop.clone() });
        http::Settings { token, hosts, cache, desk, sources }
    }

    /// Lets the requests in flight end, for a while, and gives up the rest; at once where it has stopped.
    async fn stop(&self) {
        self.crew.stop.cancel();
        if timeout(GRACE, self.crew.tasks.wait()).await.is_err() {
            warn!("gave up requests that did not end within {} s", GRACE.as_secs());
            self.crew.give_up.cancel();
            self.crew.tasks.wait().await;
        }
        // Whoever still waits for a poll learns that there will be none.
        self.accounts.iter().for_each(|account| account.desk().asks.clear());
    }

    /// Tells how the daemon stands while this engine works.
    fn watch(&self, clock: &Clock, running_since: UnixMs) -> Arc<Watch> {
        let (accounts, board) = (self.accounts.clone(), Arc::clone(&self.board));
        Arc::new(Watch { accounts, board, clock: clock.clone(), running_since })
    }

    fn segments(&self) -> usize {
        self.accounts.iter().map(|account| account.roster.len()).sum()
    }

    /// Waits until every account has done its pass.
    async fn finished(&self) {
        self.crew.tasks.wait().await;
    }

    fn usage(&self) -> Vec<(Vec<SourceName>, Usage)> {
        self.accounts.iter().map(|account| (account.names(), account.budget.usage())).collect()
    }

    /// Logs what each account has used.
    fn tell_usage(&self) {
        for account in &self.accounts {
            let stretch = account.desk().schedule.stretch(account.budget.capacity().steady);
            report::usage(&account.names(), &account.budget.usage(), stretch);
        }
    }
}

/// An empty cache of the configured size.
fn new_cache(readers: &Readers, prepared: &Prepared, metrics: &Metrics) -> Cache {
    let usual = Http::default().cache;
    Cache::new(readers.clone(), prepared.config.http.as_ref().map_or(usual, |http| http.cache), metrics.clone())
}

/// What the configuration names, for the file.
fn declarations(config: &Config) -> Vec<DeclareSource> {
    let declare = |source: &SourceConfig| DeclareSource {
        name: source.name.clone(),
        provider: source.provider.to_owned(),
        base_url: source.base_url.to_string(),
        segments: source.segments.named().iter().map(|segment| Arc::clone(&segment.id)).collect(),
        all: matches!(source.segments, Segments::All { .. }),
    };
    config.sources.iter().map(declare).collect()
}
