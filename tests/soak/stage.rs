//! The stage: both providers, the daemon that an operator restarts and reloads, and everybody who plays on it.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use segsync::config;
use segsync::daemon::{self, Manager, Prepared, Wiring};
use segsync::events::Events;
use segsync::live::Live;
use segsync::provider;
use segsync::simulator::{Limit, OCTAVE_KEY, Provider, STATSIG_KEY, Settings, Simulator, lively};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::soak::audit::Audit;
use crate::soak::time::{DAY, Flies, HOUR, MINUTE, Machine, SECOND, about, span};
use crate::soak::truth::Truth;

pub const BOTH: [Provider; 2] = [Provider::Statsig, Provider::Octave];
/// How a provider's segments are asked for, each by a source of its own.
pub const WAYS: [&str; 2] = ["each", "list"];
/// Segments of each provider; some of them are made in the course of time.
pub const SEGMENTS: usize = 8;
/// Segments on a page of a list.
pub const PAGE: usize = 5;
/// How often segments are polled one by one, and lists.
pub const EVERY: i64 = 3 * HOUR;
pub const LIST_EVERY: i64 = 2 * HOUR;
/// The interval of the one segment of each source that has its own.
pub const OWN: i64 = 90 * MINUTE;
pub const TIMEOUT: i64 = 10 * SECOND;
pub const KEEP_POLLS: i64 = 3 * DAY;
pub const KEEP_VERSIONS: i64 = 5 * DAY;

/// A time in which not everything can go well.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Whose; `None`: the daemon's own.
    pub provider: Option<Provider>,
    pub from: i64,
    pub to: i64,
    pub what: &'static str,
}

pub struct Stage {
    pub machine: Arc<Machine>,
    pub simulator: Simulator,
    pub truth: RefCell<Truth>,
    pub troubles: RefCell<Vec<Trouble>>,
    pub live: Live,
    pub flies: Flies,
    pub limits: Vec<Limit>,
    /// What was promised and not kept.
    pub waits: RefCell<Vec<String>>,
    folder: TempDir,
    seed: u64,
    /// When people and faults have done, and when all is over, in milliseconds since the start.
    quiet: i64,
    end: i64,
    lives: Cell<u32>,
    reloads: Cell<u32>,
    pub edits: Cell<u32>,
}

/// Something that goes on beside the rest.
type Play = Pin<Box<dyn Future<Output = ()>>>;

/// What came of it.
pub struct Story {
    pub findings: Vec<String>,
    figures: String,
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.figures)
    }
}

impl Stage {
    pub async fn new(seed: u64, quiet: i64, end: i64) -> Rc<Self> {
        fastrand::seed(seed);
        let limits = vec![Limit { requests: 6, per: span(MINUTE) }, Limit { requests: 40, per: span(HOUR) }];
        let settings = Settings { etags: true, gzip: true, max_page: PAGE, ..Settings::default() };
        let stage = Self {
            machine: Machine::new(),
            simulator: Simulator::start(settings.limited(&limits)).await.unwrap(),
            truth: RefCell::default(),
            troubles: RefCell::default(),
            live: Live::default(),
            flies: Flies::default(),
            limits,
            waits: RefCell::default(),
            // In memory where there is such a place: what a disk does is tested elsewhere.
            folder: tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap(),
            seed,
            quiet,
            end,
            lives: Cell::new(0),
            reloads: Cell::new(0),
            edits: Cell::new(0),
        };
        for provider in BOTH {
            for (place, id) in ids(provider).into_iter().enumerate() {
                if place < SEGMENTS - 2 {
                    stage.make(provider, &id);
                }
                stage.note(provider, &id);
            }
        }
        Rc::new(stage)
    }

    /// Lives the days, looking at the file each day.
    pub async fn play(self: Rc<Self>) -> Story {
        let room = LocalSet::new();
        room.run_until(async {
            let on = |play: fn(Rc<Self>) -> Play| spawn_local(play(Rc::clone(&self)));
            let plays = [
                on(|stage| Box::pin(async move { stage.machine.keep_slow(&stage.live, &stage.flies).await })),
                on(|stage| Box::pin(async move { stage.watch().await })),
                on(|stage| Box::pin(async move { stage.edit().await })),
                on(|stage| Box::pin(async move { stage.fail(Provider::Statsig).await })),
                on(|stage| Box::pin(async move { stage.fail(Provider::Octave).await })),
            ];
            let life = on(|stage| Box::pin(async move { stage.operate().await }));
            let mut audit = Audit::new(&self);
            let mut random = self.random("audit");
            for day in (1..).map(|day| day * DAY).take_while(|day| *day < self.end) {
                self.machine.until(day + random.i64(0..12 * HOUR)).await;
                audit.look();
            }
            life.await.unwrap();
            for play in plays.into_iter().filter(JoinHandle::is_finished) {
                play.await.expect("no panic");
            }
            audit.close();
            self.story(audit)
        })
        .await
    }

    fn story(&self, audit: Audit<'_>) -> Story {
        let mut figures = audit.figures();
        write!(
            figures,
            "{} edits, {} lives of the daemon, {} reloads, {} spells of faults",
            self.edits.get(),
            self.lives.get(),
            self.reloads.get(),
            self.troubles.borrow().iter().filter(|trouble| trouble.provider.is_some()).count(),
        )
        .unwrap();
        Story { findings: audit.findings, figures }
    }

    pub fn db_path(&self) -> PathBuf {
        self.folder.path().join("segsync.db")
    }

    pub fn random(&self, who: &str) -> fastrand::Rng {
        let salt = who.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        fastrand::Rng::with_seed(self.seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn is_quiet(&self) -> bool {
        self.machine.ms() >= self.quiet
    }

    /// Waits until something is on its way to a provider, and then for a part of the time that it may take.
    pub async fn meanwhile(&self, random: &mut fastrand::Rng) {
        tokio::select! {
            () = self.flies.tick.notified() => (),
            () = self.machine.until(self.quiet) => return,
        }
        let most = if random.u8(0..3) == 0 { TIMEOUT } else { SECOND };
        tokio::time::sleep(span(random.i64(0..most))).await;
    }

    pub fn begin(&self, provider: Option<Provider>, what: &'static str) -> usize {
        let mut troubles = self.troubles.borrow_mut();
        troubles.push(Trouble { provider, from: self.machine.wall(), to: i64::MAX, what });
        troubles.len() - 1
    }

    pub fn over(&self, place: usize) {
        self.troubles.borrow_mut()[place].to = self.machine.wall();
    }

    /// The daemon lives, is reloaded and restarted, at times while requests are on their way, at times with the machine.
    async fn operate(&self) {
        let mut random = self.random("operate");
        loop {
            let last = self.lives.get() > 0 && self.is_quiet();
            self.lives.set(self.lives.get() + 1);
            self.live_once(&mut random, last).await;
            if self.machine.ms() >= self.end {
                return;
            }
            let place = self.begin(None, "away");
            if random.bool() {
                tokio::time::sleep(about(&mut random, HOUR)).await;
            }
            if random.u8(0..3) == 0 {
                self.machine.reboot();
            }
            self.over(place);
        }
    }

    /// One life: until the end, or until somebody stops it.
    async fn live_once(&self, random: &mut fastrand::Rng, last: bool) {
        let (reload, reloads) = mpsc::channel(1);
        let shutdown = CancellationToken::new();
        let wiring = Wiring {
            clock: self.machine.clock(),
            events: Events::default(),
            live: self.live.clone(),
            manager: Manager::default(),
            listener: None,
            reloads,
            shutdown: shutdown.clone(),
        };
        let rule = async {
            loop {
                let wait = about(random, DAY);
                let stay = timeout(wait, self.machine.until(self.end)).await.is_ok();
                if stay || last {
                    self.machine.until(self.end).await;
                    break;
                }
                if self.is_quiet() {
                    continue;
                }
                if random.bool() {
                    self.meanwhile(random).await;
                }
                if random.bool() {
                    break;
                }
                let place = self.begin(None, "reload");
                self.reloads.set(self.reloads.get() + 1);
                reload.send(self.prepared()).await.unwrap();
                self.over(place);
            }
            if self.machine.ms() >= self.end {
                self.waits.borrow_mut().extend(self.live.snapshot().reasons());
            }
            shutdown.cancel();
        };
        let daemon = daemon::run(self.prepared(), wiring, || ());
        tokio::join!(async { daemon.await.unwrap() }, rule);
    }

    fn prepared(&self) -> Prepared {
        let mut text = format!(
            "[store]\npath = {:?}\nkeep_polls = \"{}d\"\nkeep_versions = \"{}d\"\n[poll]\ntimeout = \"{}s\"\n",
            self.db_path(),
            KEEP_POLLS / DAY,
            KEEP_VERSIONS / DAY,
            TIMEOUT / SECOND
        );
        let limits = self
            .limits
            .iter()
            .map(|limit| format!("{{ requests = {}, per = \"{}s\" }}", limit.requests, limit.per.as_secs()));
        let limits = limits.collect::<Vec<_>>().join(", ");
        for provider in BOTH {
            let file = self.folder.path().join(format!("{}.key", name(provider)));
            std::fs::write(&file, key(provider)).unwrap();
            for way in WAYS {
                let name = name(provider);
                let base_url = self.simulator.base_url(provider);
                writeln!(
                    text,
                    "[[source]]\nname = \"{name}-{way}\"\nprovider = {name:?}\nbase_url = {base_url:?}\n\
                     api_key = {{ file = {file:?} }}\nlimits = [{limits}]\nburst = 3\nfetch = {way:?}"
                )
                .unwrap();
                let (every, segments) = match way {
                    "each" => (EVERY, format!("{:?}", ids(provider))),
                    _ => (LIST_EVERY, "\"all\"".to_owned()),
                };
                let (every, own) = (every / MINUTE, OWN / MINUTE);
                writeln!(text, "every = \"{every}m\"\nsegments = {segments}").unwrap();
                writeln!(text, "[[source.segment]]\nid = {:?}\nevery = \"{own}m\"", own_id(provider)).unwrap();
            }
        }
        let config = config::parse(&text, "soak.toml", &provider::catalogue());
        let config = config.unwrap_or_else(|error| panic!("{error}\n{text}"));
        Prepared::new(config, &self.machine.clock()).unwrap()
    }
}

/// The ids that there may be, in the order of a list.
pub fn ids(provider: Provider) -> Vec<String> {
    let mut ids = lively::ids(provider, 0);
    ids.truncate(SEGMENTS);
    ids.sort_unstable();
    ids
}

/// The one of them that each source polls by itself, at an interval of its own.
pub fn own_id(provider: Provider) -> String {
    ids(provider).swap_remove(0)
}

pub fn name(provider: Provider) -> &'static str {
    match provider {
        Provider::Statsig => "statsig",
        Provider::Octave => "octave",
    }
}

pub fn key(provider: Provider) -> &'static str {
    match provider {
        Provider::Statsig => STATSIG_KEY,
        Provider::Octave => OCTAVE_KEY,
    }
}
