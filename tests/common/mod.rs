//! The bench of the end-to-end tests: both simulated providers, a configuration as an operator writes it, the real
//! daemon or one pass of it, and the file that it leaves.
//!
//! Nothing here sleeps to wait: a pass ends by itself, a daemon is watched by what arrives and by what it announces. The
//! guards only turn a hang into a failure.

pub(crate) mod file;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use segsync::clock::Clock;
use segsync::config::{self, Config};
use segsync::daemon::{self, Manager, Notice, Pass, Prepared, Wiring};
use segsync::events::Events;
use segsync::http::Listener;
use segsync::live::Live;
use segsync::model::{SegmentKey, SourceName};
use segsync::provider;
use segsync::simulator::{Fault, OCTAVE_KEY, On, Provider, STATSIG_KEY, Settings, Simulator, Times, octave, statsig};
use segsync::store::VersionEntry;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A segment that both providers have.
pub const ID: &str = "seg_1";
/// Both providers. Their sources bear the provider's name.
pub const BOTH: [Provider; 2] = [Provider::Statsig, Provider::Octave];
/// How often the daemon's manager wants a sign of life.
const WATCHDOG: Duration = Duration::from_millis(300);
/// No test takes so long unless it hangs.
const GUARD: Duration = Duration::from_secs(600);
/// Nothing that a test waits for takes so long unless it never comes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what is named here, and fails with that name where it does not come.
pub async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited {} s in vain for {what}", PATIENCE.as_secs()))
}

/// Looks again and again until it is so, for what can only be asked for.
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            yield_now().await;
        }
    };
    in_time(what, wait).await;
}

/// A source's name.
pub fn name(provider: Provider) -> &'static str {
    match provider {
        Provider::Statsig => "statsig",
        Provider::Octave => "octave",
    }
}

/// The key that a source is configured with.
pub fn api_key(provider: Provider) -> &'static str {
    match provider {
        Provider::Statsig => STATSIG_KEY,
        Provider::Octave => OCTAVE_KEY,
    }
}

/// Settings without limits.
pub fn unlimited() -> Settings {
    Settings::default().limited(&[])
}

/// What the configuration says; change it between two passes or before a reload.
pub struct Written {
    /// Lines of `[poll]`.
    pub poll: String,
    /// Lines of `[http]`; without any there is no local API.
    pub http: String,
    /// The `fetch` of each `[[source]]`.
    pub fetch: String,
    /// Lines of each `[[source]]`.
    pub source: String,
    /// Ids; a source without any is left out.
    pub statsig: Vec<String>,
    /// Ids.
    pub octave: Vec<String>,
    /// Instead of the simulator's.
    pub base_url: Option<String>,
    /// Instead of a file below the bench's folder.
    pub db: Option<PathBuf>,
}

/// Simulator, folder and clock.
pub struct Bench {
    pub simulator: Simulator,
    pub folder: TempDir,
    pub clock: Clock,
    pub written: Written,
}

/// A running daemon.
pub struct Running {
    pub events: broadcast::Receiver<Arc<VersionEntry>>,
    pub live: Live,
    pub notices: Arc<Mutex<Vec<Notice>>>,
    pub reload: mpsc::Sender<Prepared>,
    pub shutdown: CancellationToken,
    /// Where the local API answers, if it does.
    pub api: String,
}

/// Where a segment and its source stand, and how its last poll ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub outcome: Option<String>,
    pub kind: String,
    pub status: Option<u16>,
    pub error: Option<String>,
    pub state: String,
    pub version: i64,
    pub failures: i64,
    pub source_state: String,
}

impl Bench {
    /// Both providers without limits, each with one segment.
    pub async fn new() -> Self {
        Self::with(unlimited()).await
    }

    /// Both providers, each with one segment.
    pub async fn with(settings: Settings) -> Self {
        let bench = Self::empty(settings).await;
        bench.simulator.statsig().add(statsig::Segment::new(ID, "rule_based"));
        bench.simulator.octave().add(octave::Segment::new(ID, "Banks"));
        bench
    }

    /// Both providers without segments; the configuration names [`ID`].
    pub async fn empty(settings: Settings) -> Self {
        let simulator = Simulator::start(settings).await.unwrap();
        let written = Written {
            poll: "every = \"1h\"\ntimeout = \"60s\"".to_owned(),
            http: String::new(),
            fetch: "each".to_owned(),
            source: "limits = []".to_owned(),
            statsig: vec![ID.to_owned()],
            octave: vec![ID.to_owned()],
            base_url: None,
            db: None,
        };
        Self { simulator, folder: tempfile::tempdir().unwrap(), clock: Clock::system(), written }
    }

    /// Names these segments of both sources.
    pub fn name(&mut self, ids: &[&str]) {
        self.written.statsig = ids.iter().map(|&id| id.to_owned()).collect();
        self.written.octave = self.written.statsig.clone();
    }

    /// The ids that a provider's source names.
    pub fn written_ids(&self, provider: Provider) -> Vec<String> {
        match provider {
            Provider::Statsig => self.written.statsig.clone(),
            Provider::Octave => self.written.octave.clone(),
        }
    }

    pub fn db_path(&self) -> PathBuf {
        self.written.db.clone().unwrap_or_else(|| self.folder.path().join("segsync.db"))
    }

    /// The configuration as it is written now.
    pub fn config(&self) -> Config {
        let mut text = format!("[store]\npath = {:?}\n[poll]\n{}\n", self.db_path(), self.written.poll);
        if !self.written.http.is_empty() {
            writeln!(text, "[http]\n{}", self.written.http).unwrap();
        }
        for (provider, ids) in BOTH.into_iter().zip([&self.written.statsig, &self.written.octave]) {
            let key = self.folder.path().join(format!("{}.key", name(provider)));
            std::fs::write(&key, format!("{}\n", api_key(provider))).unwrap();
            let base_url = self.written.base_url.clone().unwrap_or_else(|| self.simulator.base_url(provider));
            if !ids.is_empty() {
                writeln!(
                    text,
                    "[[source]]\nname = {name:?}\nprovider = {name:?}\nbase_url = {base_url:?}\n\
                     api_key = {{ file = {key:?} }}\nfetch = {fetch:?}\nsegments = {ids:?}\n{}",
                    self.written.source,
                    name = name(provider),
                    fetch = self.written.fetch,
                )
                .unwrap();
            }
        }
        config::parse(&text, "bench.toml", &provider::catalogue()).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    pub fn prepared(&self) -> Prepared {
        Prepared::new(self.config(), &self.clock).unwrap()
    }

    /// Asks both providers for a fault on so many requests.
    pub fn misbehave(&self, times: Times, fault: &Fault) {
        for provider in BOTH {
            self.simulator.misbehave(provider, On::Any, times, fault.clone());
        }
    }

    /// Both providers behave.
    pub fn behave(&self) {
        BOTH.into_iter().for_each(|provider| self.simulator.behave(provider));
    }

    /// Polls every segment once.
    pub async fn pass(&self) -> Pass {
        self.pass_of(None).await.unwrap()
    }

    /// Polls some segments once.
    pub async fn pass_of(&self, wanted: Option<&[SegmentKey]>) -> anyhow::Result<Pass> {
        let never = CancellationToken::new();
        timeout(GUARD, daemon::pass(self.prepared(), wanted, &self.clock, &never, |_, _| ())).await.unwrap()
    }

    /// A pass that is ended once so many more requests are answered: what is in flight then is committed. For answers
    /// after which a pass would wait.
    pub async fn pass_until(&self, answered: usize) -> Pass {
        let (end, before) = (CancellationToken::new(), self.simulator.arrivals().len());
        let pass = daemon::pass(self.prepared(), None, &self.clock, &end, |_, _| ());
        let watch = async {
            let is_answered = |arrival: &segsync::simulator::Arrival| arrival.status.is_some();
            let enough = move |all: &[_]| all.iter().skip(before).filter(|a| is_answered(a)).count() >= answered;
            self.simulator.arrivals_until(enough).await;
            end.cancel();
        };
        let both = async { tokio::join!(pass, watch) };
        timeout(GUARD, both).await.unwrap().0.unwrap()
    }

    /// A pass that sends nothing: how the budgets stand after a start.
    pub async fn look(&self) -> Pass {
        let end = CancellationToken::new();
        end.cancel();
        timeout(GUARD, daemon::pass(self.prepared(), None, &self.clock, &end, |_, _| ())).await.unwrap().unwrap()
    }

    /// Runs the daemon, plays once it is ready, and then ends it in good order.
    pub async fn run<T>(&self, play: impl AsyncFnOnce(&mut Running) -> T) -> T {
        let (reload, reloads) = mpsc::channel(1);
        let (events, live, shutdown) = (Events::default(), Live::default(), CancellationToken::new());
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = format!("http://{}", socket.local_addr().unwrap());
        let listener = (!self.written.http.is_empty()).then_some(Listener::from(socket));
        let notices = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&notices);
        let manager = Manager::new(Some(WATCHDOG), move |notice| heard.lock().unwrap().push(notice));
        let (live_too, shutdown_too) = (live.clone(), shutdown.clone());
        let mut running =
            Running { events: events.subscribe(), live: live_too, notices, reload, shutdown: shutdown_too, api };
        let clock = self.clock.clone();
        let wiring = Wiring { clock, events, live, manager, listener, reloads, shutdown: shutdown.clone() };
        let (ready, is_ready) = oneshot::channel();
        let daemon = Box::pin(daemon::run(self.prepared(), wiring, move || ready.send(()).unwrap()));
        let play = async {
            is_ready.await.expect("the daemon gets ready");
            let played = play(&mut running).await;
            shutdown.cancel();
            Ok(played)
        };
        let both = async { tokio::try_join!(daemon, play) };
        timeout(GUARD, both).await.expect("the daemon does not hang").expect("the daemon ends well").1
    }

    /// Both sides accept other keys than the configured ones, or these again.
    pub fn refuse_keys(&self, refuse: bool) {
        for provider in BOTH {
            let key = if refuse { "another key, not that" } else { api_key(provider) };
            self.simulator.set_keys(provider, &[key]);
        }
    }

    /// Removes [`ID`] from both providers.
    pub fn remove(&self) {
        self.simulator.statsig().remove(ID).unwrap();
        self.simulator.octave().remove(ID).unwrap();
    }

    /// Brings [`ID`] back to both providers.
    pub fn restore(&self) {
        self.simulator.statsig().restore(ID).unwrap();
        self.simulator.octave().restore(ID).unwrap();
    }

    /// Describes [`ID`] otherwise at both providers.
    pub fn describe(&self, description: &str) {
        self.simulator.statsig().edit(ID, |segment| segment.describe(description)).unwrap();
        self.simulator.octave().edit(ID, |segment| segment.describe(description)).unwrap();
    }

    /// Puts the same members into [`ID`] of both providers.
    pub fn put(&self, members: &str) {
        BOTH.into_iter().for_each(|provider| put(&self.simulator, provider, ID, members));
    }

    /// Polls every segment once; how [`ID`] stands then, the same at both providers: `created present v1`.
    pub async fn step(&self) -> String {
        self.pass().await;
        self.both()
    }

    /// How [`ID`] stands, the same at both providers.
    pub fn both(&self) -> String {
        let [one, other] = BOTH.map(|provider| {
            let row = self.row(provider);
            format!("{} {} v{}", row.outcome.unwrap_or_default(), row.state, row.version)
        });
        assert_eq!(one, other, "the providers differ");
        one
    }

    /// The file, to be read.
    pub fn db(&self) -> Connection {
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
        let text = |row: &rusqlite::Row<'_>, at| {
            let value: rusqlite::types::Value = row.get(at)?;
            Ok::<_, rusqlite::Error>(match value {
                rusqlite::types::Value::Null => "-".to_owned(),
                rusqlite::types::Value::Integer(number) => number.to_string(),
                rusqlite::types::Value::Real(number) => number.to_string(),
                rusqlite::types::Value::Text(text) => text,
                rusqlite::types::Value::Blob(blob) => format!("{} bytes", blob.len()),
            })
        };
        let rows = statement
            .query_map([], |row| Ok((0..columns).map(|at| text(row, at)).collect::<Result<Vec<_>, _>>()?.join(" ")));
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// How the provider's [`ID`] stands.
    pub fn row(&self, provider: Provider) -> Row {
        self.row_of(provider, ID)
    }

    /// How a segment stands.
    pub fn row_of(&self, provider: Provider, id: &str) -> Row {
        let sql = "SELECT p.outcome, p.kind, p.http_status, p.error, s.state, s.version, s.failures, src.state
            FROM segments AS s JOIN sources AS src ON src.id = s.source_id JOIN polls AS p ON p.segment_id = s.id
            WHERE src.name = ?1 AND s.key = ?2 ORDER BY p.id DESC LIMIT 1";
        let row = |row: &rusqlite::Row<'_>| {
            Ok(Row {
                outcome: row.get(0)?,
                kind: row.get(1)?,
                status: row.get(2)?,
                error: row.get(3)?,
                state: row.get(4)?,
                version: row.get(5)?,
                failures: row.get(6)?,
                source_state: row.get(7)?,
            })
        };
        self.db().query_row(sql, [name(provider), id], row).unwrap()
    }

    /// The ops of a segment's versions, in order.
    pub fn ops(&self, provider: Provider) -> Vec<String> {
        let source = name(provider);
        self.rows(&format!(
            "SELECT op FROM segment_history WHERE source = '{source}' AND segment = '{ID}' ORDER BY version"
        ))
    }

    /// The current document of a provider's [`ID`].
    pub fn document(&self, provider: Provider) -> String {
        let sql = "SELECT document FROM segment_now WHERE source = ?1 AND segment = ?2";
        self.db().query_row(sql, [name(provider), ID], |row| row.get(0)).unwrap()
    }

    /// The changes of the latest version of a provider's [`ID`]: op, field, old, new.
    pub fn changes(&self, provider: Provider) -> Vec<String> {
        let source = name(provider);
        self.rows(&format!(
            "SELECT c.op, c.field, c.old, c.new FROM changes AS c JOIN versions AS v ON v.id = c.version_id
             JOIN segments AS s ON s.id = v.segment_id AND s.version = v.seq JOIN sources AS src ON src.id = s.source_id
             WHERE src.name = '{source}' AND s.key = '{ID}' ORDER BY c.ordinal"
        ))
    }

    /// Every request has one row, and every row is of a request.
    pub fn assert_one_row_per_request(&self) {
        let arrivals = i64::try_from(self.simulator.arrivals().len()).unwrap();
        assert_eq!(self.count("SELECT count(*) FROM polls WHERE kind <> 'import'"), arrivals);
        assert_eq!(self.count("SELECT count(*) FROM polls WHERE outcome IS NULL"), 0, "nothing is in flight");
        assert!(self.simulator.strays().is_empty(), "{:?}", self.simulator.strays());
    }
}

/// The segment `id` of a provider.
pub fn key(provider: Provider, id: &str) -> SegmentKey {
    SegmentKey::new(SourceName::new(name(provider)), id)
}

/// A document of the provider's shape with an id and these further members, as JSON text without braces.
pub fn raw(provider: Provider, id: &str, members: &str) -> String {
    let id = serde_json::to_string(id).unwrap();
    let comma = if members.is_empty() { "" } else { "," };
    match provider {
        Provider::Statsig => format!("{{\"id\":{id}{comma}{members}}}"),
        Provider::Octave => format!("{{\"oId\":{id}{comma}{members}}}"),
    }
}

/// Puts a raw document into the provider.
pub fn put(simulator: &Simulator, provider: Provider, id: &str, members: &str) {
    let text = raw(provider, id, members);
    match provider {
        Provider::Statsig => simulator.statsig().put_raw(id, &text),
        Provider::Octave => simulator.octave().put_raw(id, &text),
    }
}
