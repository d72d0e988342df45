//! The bench: one source of either provider, its list at the simulator, passes and daemons over one file.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use segsync::clock::Clock;
use segsync::config;
use segsync::daemon::{self, Manager, Pass, Prepared, Wiring};
use segsync::events::Events;
use segsync::live::Live;
use segsync::provider;
use segsync::simulator::{Arrival, Asked, Fault, OCTAVE_KEY, On, Provider, STATSIG_KEY, Settings, Simulator, Times};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub const BOTH: [Provider; 2] = [Provider::Statsig, Provider::Octave];
/// No test takes so long unless it hangs.
const GUARD: Duration = Duration::from_secs(600);

/// Settings without limits.
pub fn unlimited() -> Settings {
    Settings::default().limited(&[])
}

/// One provider, one source `s`, one file.
pub struct World {
    pub provider: Provider,
    pub simulator: Simulator,
    folder: TempDir,
    /// Value of `segments`.
    pub segments: String,
    /// Value of `fetch`.
    pub fetch: &'static str,
    /// Value of `every`.
    pub every: &'static str,
    /// Further lines of the source.
    pub more: String,
    mark: usize,
}

/// A running daemon.
pub struct Running {
    pub reload: mpsc::Sender<Prepared>,
    pub shutdown: CancellationToken,
}

impl World {
    /// A provider with these segments, all of which are wanted, by list.
    pub async fn new(provider: Provider, segments: std::ops::Range<usize>) -> Self {
        Self::with(provider, segments, unlimited()).await
    }

    pub async fn with(provider: Provider, segments: std::ops::Range<usize>, settings: Settings) -> Self {
        let world = Self {
            provider,
            simulator: Simulator::start(settings).await.unwrap(),
            folder: tempfile::tempdir().unwrap(),
            segments: "\"all\"".to_owned(),
            fetch: "list",
            every: "1h",
            more: String::new(),
            mark: 0,
        };
        segments.for_each(|number| world.put(&id(number), "first"));
        world
    }

    /// Names these segments instead of all.
    pub fn name(mut self, ids: &[&str]) -> Self {
        self.segments = format!("{ids:?}");
        self
    }

    pub fn fetch(mut self, fetch: &'static str) -> Self {
        self.fetch = fetch;
        self
    }

    /// Makes a segment, or replaces it.
    pub fn put(&self, id: &str, text: &str) {
        match self.provider {
            Provider::Statsig => self.simulator.statsig().put_raw(id, &self.document(id, text)),
            Provider::Octave => self.simulator.octave().put_raw(id, &self.document(id, text)),
        }
    }

    /// What the provider answers for a segment, without an envelope.
    pub fn document(&self, id: &str, text: &str) -> String {
        match self.provider {
            Provider::Statsig => format!(r#"{{"id":"{id}","name":"{id}","description":"{text}"}}"#),
            Provider::Octave => format!(r#"{{"oId":"{id}","name":"{id}","description":"{text}"}}"#),
        }
    }

    /// The answer to a GET.
    pub fn answer(&self, id: &str, text: &str) -> String {
        match self.provider {
            Provider::Statsig => format!(r#"{{"message":"ok","data":{}}}"#, self.document(id, text)),
            Provider::Octave => self.document(id, text),
        }
    }

    /// A page of the list that tells nothing of other pages.
    pub fn page(&self, segments: &[(&str, &str)]) -> String {
        let documents: Vec<_> = segments.iter().map(|(id, text)| self.document(id, text)).collect();
        format!(r#"{{"data":[{}]}}"#, documents.join(","))
    }

    pub fn remove(&self, id: &str) {
        match self.provider {
            Provider::Statsig => self.simulator.statsig().remove(id).unwrap(),
            Provider::Octave => self.simulator.octave().remove(id).unwrap(),
        }
    }

    pub fn restore(&self, id: &str) {
        match self.provider {
            Provider::Statsig => self.simulator.statsig().restore(id).unwrap(),
            Provider::Octave => self.simulator.octave().restore(id).unwrap(),
        }
    }

    pub fn misbehave(&self, on: On, times: Times, fault: Fault) {
        self.simulator.misbehave(self.provider, on, times, fault);
    }

    /// The fault on the `nth` (from 1) of the next pages only.
    pub fn misbehave_on_page(&self, nth: usize, fault: Fault) {
        self.misbehave(On::List, Times::Next(nth - 1), Fault::answer());
        self.misbehave(On::List, Times::Next(1), fault);
    }

    pub fn key(&self) -> &'static str {
        match self.provider {
            Provider::Statsig => STATSIG_KEY,
            Provider::Octave => OCTAVE_KEY,
        }
    }

    pub fn refuse_key(&self, refuse: bool) {
        self.simulator.set_keys(self.provider, &[if refuse { "some other key" } else { self.key() }]);
    }

    pub fn db_path(&self) -> PathBuf {
        self.folder.path().join("segsync.db")
    }

    /// The configuration as it is written now.
    pub fn prepared(&self) -> Prepared {
        let provider = match self.provider {
            Provider::Statsig => "statsig",
            Provider::Octave => "octave",
        };
        let key = self.folder.path().join("key");
        std::fs::write(&key, self.key()).unwrap();
        let mut text = format!("[store]\npath = {:?}\n[poll]\ntimeout = \"60s\"\n", self.db_path());
        writeln!(
            text,
            "[[source]]\nname = \"s\"\nprovider = {provider:?}\nbase_url = {:?}\napi_key = {{ file = {key:?} }}\n\
             limits = []\nsegments = {}\nfetch = {:?}\nevery = {:?}\n{}",
            self.simulator.base_url(self.provider),
            self.segments,
            self.fetch,
            self.every,
            self.more
        )
        .unwrap();
        let config = config::parse(&text, "sweeps.toml", &provider::catalogue());
        Prepared::new(config.unwrap_or_else(|error| panic!("{error}\n{text}")), &Clock::system()).unwrap()
    }

    /// One pass, and what it asked for.
    pub async fn pass(&mut self) -> Vec<String> {
        self.full_pass().await;
        self.asked()
    }

    /// One pass.
    pub async fn full_pass(&self) -> Pass {
        let (clock, never) = (Clock::system(), CancellationToken::new());
        timeout(GUARD, daemon::pass(self.prepared(), None, &clock, &never, |_, _| ())).await.unwrap().unwrap()
    }

    /// A pass beside a play.
    pub async fn pass_and<T>(&self, play: impl Future<Output = T>) -> T {
        timeout(GUARD, async { tokio::join!(self.full_pass(), play) }).await.expect("no hang").1
    }

    /// Runs the daemon, plays once it is ready, and then ends it in good order.
    pub async fn run<T>(&self, play: impl AsyncFnOnce(&Running) -> T) -> T {
        let (reload, reloads) = mpsc::channel(1);
        let shutdown = CancellationToken::new();
        let running = Running { reload, shutdown: shutdown.clone() };
        let wiring = Wiring {
            clock: Clock::system(),
            events: Events::default(),
            live: Live::default(),
            manager: Manager::default(),
            listener: None,
            reloads,
            shutdown: shutdown.clone(),
        };
        let (ready, is_ready) = oneshot::channel();
        let daemon = daemon::run(self.prepared(), wiring, move || ready.send(()).unwrap());
        let play = async {
            is_ready.await.expect("the daemon gets ready");
            let played = play(&running).await;
            shutdown.cancel();
            Ok(played)
        };
        let both = async { tokio::try_join!(daemon, play) };
        timeout(GUARD, both).await.expect("the daemon does not hang").expect("the daemon ends well").1
    }

    /// Waits until so many requests that fit were answered since the mark.
    pub async fn answered(&self, count: usize, fits: impl Fn(&str) -> bool) {
        let is_answered = |arrival: &&Arrival| arrival.status.is_some() && fits(&words(arrival));
        let enough = |all: &[Arrival]| all.iter().skip(self.mark).filter(is_answered).count() >= count;
        timeout(GUARD, self.simulator.arrivals_until(enough)).await.expect("the requests come");
    }

    /// Waits until so many requests that fit have arrived since the mark.
    pub async fn arrived(&self, count: usize, fits: impl Fn(&str) -> bool) {
        let enough = |all: &[Arrival]| all.iter().skip(self.mark).filter(|one| fits(&words(one))).count() >= count;
        timeout(GUARD, self.simulator.arrivals_until(enough)).await.expect("the requests come");
    }

    /// Waits until so many requests in a row fit.
    pub async fn last_are(&self, count: usize, fits: impl Fn(&str) -> bool) {
        let enough = |all: &[Arrival]| all.len() >= count && all.iter().rev().take(count).all(|one| fits(&words(one)));
        timeout(GUARD, self.simulator.arrivals_until(enough)).await.expect("such requests come");
    }

    /// Waits until a query's rows are these; looked at after each arrival and each answer.
    pub async fn until(&self, sql: &str, rows: &[&str]) {
        let wait = self.simulator.arrivals_until(|_| self.rows(sql) == rows);
        if timeout(GUARD, wait).await.is_err() {
            assert_eq!(self.rows(sql), rows, "{sql}");
        }
    }

    /// What was asked for since the last call: pages in order, then single segments in order of their ids.
    pub fn asked(&mut self) -> Vec<String> {
        let arrivals = self.simulator.arrivals();
        let mut asked: Vec<String> = arrivals.iter().skip(self.mark).map(words).collect();
        self.mark = arrivals.len();
        asked.sort_by_key(|words| words.strip_prefix("get ").map(str::to_owned));
        asked
    }

    fn db(&self) -> Connection {
        Connection::open_with_flags(self.db_path(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
    }

    /// One number.
    pub fn count(&self, sql: &str) -> i64 {
        self.db().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// The rows of a query, their columns joined by blanks, NULL as `-`.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let db = self.db();
        let mut statement = db.prepare(sql).unwrap();
        let columns = statement.column_count();
        let text = |value| match value {
            Value::Null => "-".to_owned(),
            Value::Integer(number) => number.to_string(),
            Value::Real(number) => number.to_string(),
            Value::Text(text) => text,
            Value::Blob(blob) => format!("{} bytes", blob.len()),
        };
        let rows = statement.query_map([], |row| {
            Ok((0..columns).map(|at| row.get(at).map(text)).collect::<Result<Vec<_>, _>>()?.join(" "))
        });
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// The rows of `polls` since the one of that number: kind, outcome, segment.
    pub fn polls_after(&self, last: i64) -> Vec<String> {
        self.rows(&format!(
            "SELECT p.kind, p.outcome, s.key FROM polls AS p LEFT JOIN segments AS s ON s.id = p.segment_id
             WHERE p.id > {last} ORDER BY s.key, p.id"
        ))
    }

    pub fn last_poll(&self) -> i64 {
        self.count("SELECT coalesce(max(id), 0) FROM polls")
    }

    /// The ops of a segment's versions and its state: `create update present`.
    pub fn story(&self, id: &str) -> String {
        let mut story = self.rows(&format!("SELECT op FROM segment_history WHERE segment = '{id}' ORDER BY version"));
        story.extend(self.rows(&format!("SELECT state FROM segments WHERE key = '{id}'")));
        story.join(" ")
    }

    /// The descriptions that a segment had, in order.
    pub fn descriptions(&self, id: &str) -> Vec<String> {
        self.rows(&format!(
            "SELECT document ->> '$.description' FROM segment_history WHERE segment = '{id}' ORDER BY version"
        ))
    }

    /// Every request has one row, and every row is of a request.
    pub fn assert_one_row_per_request(&self) {
        let arrivals = i64::try_from(self.simulator.arrivals().len()).unwrap();
        assert_eq!(self.count("SELECT count(*) FROM polls"), arrivals);
        assert_eq!(self.count("SELECT count(*) FROM polls WHERE outcome IS NULL"), 0, "nothing is in flight");
        assert!(self.simulator.strays().is_empty(), "{:?}", self.simulator.strays());
    }
}

/// The id of a segment; in the list's order.
pub fn id(number: usize) -> String {
    format!("seg_{number:05}")
}

/// The names of pages, from 1.
pub fn pages(numbers: std::ops::RangeInclusive<usize>) -> Vec<String> {
    numbers.map(|number| format!("page {number}")).collect()
}

pub fn is_page(words: &str) -> bool {
    words.starts_with("page ")
}

/// A request in words: `page 2`, `get seg_00001`. Octave's pages are told by their offset in hundreds where that fits.
fn words(arrival: &Arrival) -> String {
    match &arrival.asked {
        Asked::StatsigList(Some(page)) => format!("page {}", page.start.unwrap_or(1)),
        Asked::OctaveList(Some(page)) => match page.start.unwrap_or(0) {
            start if start % 100 == 0 => format!("page {}", start / 100 + 1),
            start => format!("page +{start}"),
        },
        Asked::StatsigSegment(id) | Asked::OctaveSegment(Some(id)) => format!("get {id}"),
        other => format!("{other:?}"),
    }
}
