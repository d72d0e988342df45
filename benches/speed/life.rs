//! The daemon as a process: how long it takes to be ready, what it holds, and what it takes when there is little to do.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use segsync::clock::Clock;
use segsync::model::SourceName;
use segsync::store::{DeclareSource, Store};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::common::{Report, Took, World, id, median, of_process, seconds};

/// A daemon that tells a service manager's socket how it is.
pub struct Daemon {
    child: Child,
    socket: UnixDatagram,
    began: Instant,
}

impl Daemon {
    pub fn start(folder: &TempDir, config: &Path) -> Self {
        let path = folder.path().join("notify");
        drop(std::fs::remove_file(&path));
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let log = std::fs::File::create(folder.path().join("log")).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_segsync"));
        command.args(["run", "-c"]).arg(config).stdin(Stdio::null()).stderr(log);
        // As `systemd/segsync.service` sets it.
        command.env("NOTIFY_SOCKET", &path).env("MALLOC_ARENA_MAX", "1");
        let began = Instant::now();
        Self { child: command.kill_on_drop(true).spawn().expect("it starts"), socket, began }
    }

    /// Seconds from its start until it said that it is ready.
    pub fn ready(&self) -> f64 {
        let mut told = [0; 1024];
        loop {
            let length = self.socket.recv(&mut told).expect("a word");
            if String::from_utf8_lossy(&told[..length]).contains("READY=1") {
                return seconds(self.began.elapsed());
            }
        }
    }

    fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Seconds of CPU so far, and resident bytes.
    pub fn stand(&self) -> (f64, u64) {
        of_process(self.pid())
    }

    /// Seconds of CPU so far, exactly, of the threads that are still there.
    fn spent(&self) -> f64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        let stat = |thread: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            stat.split(' ').next()?.parse::<f64>().ok()
        };
        threads.filter_map(stat).sum::<f64>() / 1e9
    }

    pub async fn end(mut self) {
        self.child.kill().await.expect("ended");
    }
}

/// A file of `versions` of `segments`, spread over a year, and a configuration that tracks all of them by name; the provider
/// cannot be reached. What the start does not read is not as a daemon would write it: hashes are noise, and there are no
/// changes.
async fn prepare(folder: &TempDir, segments: usize, versions: usize) -> PathBuf {
    let path = folder.path().join("speed.db");
    let store = Store::open(&path, &Clock::system(), Duration::from_secs(10)).expect("opened");
    let ids: Vec<String> = (0..segments).map(id).collect();
    let source = DeclareSource {
        name: SourceName::new("s"),
        provider: "statsig".to_owned(),
        base_url: "http://127.0.0.1:1/".to_owned(),
        segments: ids.iter().map(|id| id.as_str().into()).collect(),
        all: false,
    };
    let now = Clock::system().now();
    store.declare(vec![source], now).await.expect("declared");
    store.close().await.expect("closed");
    let file = Connection::open(&path).expect("opened");
    file.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000")
        .expect("set");
    // Indexes are made quicker afterwards.
    let indexes =
        "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'versions' AND sql IS NOT NULL";
    let indexes: Vec<(String, String)> = file
        .prepare(indexes)
        .and_then(|mut all| all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .expect("read");
    indexes.iter().for_each(|(name, _)| file.execute_batch(&format!("DROP INDEX {name}")).expect("dropped"));
    let [segments, versions] = [segments, versions].map(|count| i64::try_from(count).expect("few"));
    let (each, step) = (versions / segments, 365 * 86_400_000 / versions);
    file.execute(
        "INSERT INTO versions (segment_id, seq, op, observed_at, valid_to, modified_at, revision, hash, chain, document, poll_id)
         SELECT s.id, n.value, iif(n.value = 1, 'create', 'update'),
            ?2 - ((?1 - n.value) * ?4 + s.id) * ?3, iif(n.value = ?1, NULL, ?2 - ((?1 - n.value - 1) * ?4 + s.id) * ?3),
            ?2, n.value, randomblob(32), randomblob(32),
            printf('{\"description\":\"generation %d of what it is for\",\"id\":\"%s\",\"lastModifierName\":\"Ann\",\"tags\":[\"a\"]}', n.value, s.key), 1
         FROM segments AS s
         JOIN (WITH RECURSIVE n (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < ?1) SELECT value FROM n) AS n",
        params![each, now.wall.0, step, segments],
    )
    .expect("inserted");
    indexes.iter().for_each(|(_, sql)| file.execute_batch(sql).expect("made"));
    file.execute(
        "UPDATE segments SET state = 'present', version = ?1, first_seen_at = ?2, last_checked_at = ?2,
            last_changed_at = ?2, confirmed_at = ?2, checked_boot_ms = ?3",
        params![each, now.wall.0, now.boot_ms],
    )
    .expect("updated");
    drop(file);
    let key = folder.path().join("key");
    std::fs::write(&key, "console-0123456789").expect("written");
    let config = folder.path().join("run.toml");
    let text = format!(
        "[store]\npath = \"speed.db\"\n[[source]]\nname = \"s\"\nprovider = \"statsig\"\nbase_url = \"http://127.0.0.1:1\"\n\
         api_key = {{ file = {key:?} }}\nsegments = {ids:?}\n"
    );
    std::fs::write(&config, text).expect("written");
    config
}

/// Start to READY, in seconds of the clock and of CPU, each the median of `rounds`.
pub async fn start(folder: &TempDir, config: &Path, rounds: usize) -> Took {
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    // The first one finds the file in another state, and is not counted.
    for round in 0..=rounds {
        let daemon = Daemon::start(folder, config);
        let ready = daemon.ready();
        let spent = daemon.spent();
        daemon.end().await;
        if round > 0 {
            wall.push(ready);
            cpu.push(spent);
        }
    }
    Took { wall: median(wall), cpu: median(cpu) }
}

/// The same for a file that passes have written; as soon as it is ready, the daemon is ended.
pub async fn restart(world: &World, rounds: usize) -> Took {
    start(&world.folder, &world.configure("list", "1h"), rounds).await
}

/// Resident bytes of a daemon that has read the list so often, page after page.
pub async fn memory(world: &World, pages: usize) -> u64 {
    let daemon = Daemon::start(&world.folder, &world.configure("list", "1s"));
    daemon.ready();
    let ended = || world.highest("polls", "outcome IS NOT NULL");
    let enough = ended() + pages;
    while ended() < enough {
        sleep(Duration::from_millis(500)).await;
    }
    let (_, resident) = daemon.stand();
    eprintln!("{}", std::fs::read_to_string(format!("/proc/{}/smaps_rollup", daemon.pid())).expect("it tells"));
    daemon.end().await;
    resident
}

pub async fn measure_start(report: &Report, rounds: usize) {
    for (segments, most) in [(1_000, 50.0), (100_000, 400.0)] {
        let folder = tempfile::tempdir().expect("a folder");
        let config = prepare(&folder, segments, 1_000_000).await;
        let took = start(&folder, &config, rounds).await;
        let note = format!("{:.1} ms of CPU", took.cpu * 1e3);
        let what = format!("start to READY, {segments} segments, 1,000,000 versions");
        report.most(&what, "ms", took.wall * 1e3, most, &note);
    }
}

/// Requests that an account of the usual limits has in an hour.
const AN_HOUR: usize = 3_600;

/// An hour of a list that is read every 5 minutes, as far as the usual limits allow.
pub async fn measure_memory(report: &Report) {
    for (segments, most) in [(1_000, 20.0), (100_000, 120.0)] {
        let world = World::new(segments).await;
        let pages = (segments.div_ceil(100) * 12).min(AN_HOUR);
        let resident = memory(&world, pages).await as f64 / f64::from(1 << 20);
        world.end().await;
        report.most(&format!("RSS, {segments} segments of 2 KB, after {pages} pages"), "MiB", resident, most, "");
    }
}

/// CPU time of 300 segments, each asked for by itself every 5 minutes, for a while; scaled to an hour.
pub async fn idle(report: &Report, span: Duration) {
    let world = World::new(300).await;
    let daemon = Daemon::start(&world.folder, &world.configure("each", "5m"));
    daemon.ready();
    // The first pass is not idle.
    sleep(Duration::from_secs(10)).await;
    let (before, _) = daemon.stand();
    sleep(span).await;
    let (after, resident) = daemon.stand();
    let hour = (after - before) * 3600.0 / seconds(span);
    let note = format!("{} s, scaled; {} MiB", span.as_secs(), resident >> 20);
    report.most("idle: 300 segments every 5m, an hour", "CPU-seconds", hour, 5.0, &note);
    daemon.end().await;
    world.end().await;
}
