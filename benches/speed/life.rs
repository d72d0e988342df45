//! The daemon as a process: how long it takes to be ready, what it holds, and what it takes when there is little to do.

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::common::{Report, World, id, median, of_process, seconds};
use super::import::{import, observations};

/// A daemon that tells a service manager's socket how it is.
struct Daemon {
    child: Child,
    socket: UnixDatagram,
    began: Instant,
}

impl Daemon {
    fn start(folder: &TempDir, config: &std::path::Path) -> Self {
        let path = folder.path().join("notify");
        drop(std::fs::remove_file(&path));
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let log = std::fs::File::create(folder.path().join("log")).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_segsync"));
        command.args(["run", "-c"]).arg(config).env("NOTIFY_SOCKET", &path).stdin(Stdio::null()).stderr(log);
        let began = Instant::now();
        Self { child: command.kill_on_drop(true).spawn().expect("it starts"), socket, began }
    }

    /// Seconds from its start until it said that it is ready.
    fn ready(&self) -> f64 {
        let mut told = [0; 1024];
        loop {
            let length = self.socket.recv(&mut told).expect("a word");
            if String::from_utf8_lossy(&told[..length]).contains("READY=1") {
                return seconds(self.began.elapsed());
            }
        }
    }

    fn stand(&self) -> (f64, u64) {
        of_process(self.child.id().expect("it runs"))
    }

    async fn end(mut self) {
        self.child.kill().await.expect("ended");
    }
}

/// Start to READY on a file of `versions` of `segments`, all of them tracked; the provider cannot be reached.
pub async fn start(segments: usize, versions: usize, rounds: usize) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = folder.path().join("lines");
    observations(&lines, versions, segments, 1);
    import(folder.path(), "speed", &lines);
    std::fs::remove_file(lines).expect("removed");
    let key = folder.path().join("key");
    std::fs::write(&key, "console-0123456789").expect("written");
    let ids: Vec<String> = (0..segments).map(id).collect();
    let config = folder.path().join("run.toml");
    let text = format!(
        "[store]\npath = \"speed.db\"\n[[source]]\nname = \"s\"\nprovider = \"statsig\"\nbase_url = \"http://127.0.0.1:1\"\n\
         api_key = {{ file = {key:?} }}\nsegments = {ids:?}\n"
    );
    std::fs::write(&config, text).expect("written");
    let mut all = Vec::new();
    // The first one declares the segments, and is not counted.
    for round in 0..=rounds {
        let daemon = Daemon::start(&folder, &config);
        let ready = daemon.ready();
        daemon.end().await;
        if round > 0 {
            all.push(ready);
        }
    }
    median(all)
}

/// Resident bytes after as many polls of each of `segments` as an hour at 5 minutes has, one after the other.
pub async fn memory(segments: usize) -> u64 {
    let world = World::new(segments).await;
    let daemon = Daemon::start(&world.folder, &world.configure("list", "1s"));
    daemon.ready();
    let pages = i64::try_from(segments.div_ceil(100) * 12).expect("few");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let file = Connection::open_with_flags(world.folder.path().join("speed.db"), flags).expect("opened");
    loop {
        let polls: i64 = file
            .query_row("SELECT count(*) FROM polls WHERE outcome IS NOT NULL", [], |row| row.get(0))
            .expect("counted");
        if polls >= pages {
            break;
        }
        sleep(Duration::from_millis(500)).await;
    }
    let (_, resident) = daemon.stand();
    daemon.end().await;
    world.end().await;
    resident
}

pub async fn measure_start(report: &Report, rounds: usize) {
    for (segments, most) in [(1_000, 50.0), (100_000, 400.0)] {
        let ready = start(segments, 1_000_000, rounds).await * 1e3;
        report.most(&format!("start to READY, {segments} segments, 1,000,000 versions"), "ms", ready, most, "");
    }
}

pub async fn measure_memory(report: &Report) {
    for (segments, most) in [(1_000, 20.0), (100_000, 120.0)] {
        let resident = memory(segments).await as f64 / f64::from(1 << 20);
        report.most(&format!("RSS, {segments} segments of 2 KB, after 12 sweeps"), "MiB", resident, most, "");
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
