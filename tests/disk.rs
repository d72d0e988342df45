//! A file that cannot grow: the daemon says so in one line or goes on trying, keeps what it has, and is whole again by
//! itself once it can write.
//!
//! The limit is that of the process (`RLIMIT_FSIZE`, with its signal ignored), so that neither a mount nor root is needed; to
//! SQLite it is an error of a write, as a full disk is. `SEGSYNC_DISK=1 cargo test --test disk` tries every size.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, outside of #[test] functions")]

use std::process::Stdio;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use segsync::simulator::{Provider, STATSIG_KEY, Settings, Simulator, statsig};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// Turns a hang into a failure; nothing takes so long.
const GUARD: Duration = Duration::from_secs(60);
const SEGMENTS: usize = 4;
/// The unit of `ulimit -f`, in bytes.
const BLOCK: u64 = 512;

struct World {
    folder: TempDir,
    simulator: Simulator,
}

impl World {
    async fn new() -> Self {
        let simulator = Simulator::start(Settings::default().limited(&[])).await.unwrap();
        let world = Self { folder: TempDir::new().unwrap(), simulator };
        let ids: Vec<String> = (0..SEGMENTS).map(|number| format!("seg_{number}")).collect();
        for id in &ids {
            world.simulator.statsig().add(statsig::Segment::new(id, "rule_based"));
        }
        let key = world.folder.path().join("key");
        std::fs::write(&key, STATSIG_KEY).unwrap();
        let text = format!(
            "[store]\npath = \"x.db\"\n[poll]\nevery = \"200ms\"\n[[source]]\nname = \"prod\"\nprovider = \"statsig\"\n\
             base_url = {:?}\napi_key = {{ file = {key:?} }}\nfetch = \"each\"\nsegments = {ids:?}\nlimits = []\n",
            world.simulator.base_url(Provider::Statsig),
        );
        std::fs::write(world.folder.path().join("segsync.toml"), text).unwrap();
        world
    }

    fn describe(&self, text: &str) {
        for number in 0..SEGMENTS {
            self.simulator.statsig().edit(&format!("seg_{number}"), |segment| segment.describe(text)).unwrap();
        }
    }

    /// Starts the daemon; none of its files may grow beyond so many bytes.
    fn start(&self, bytes: Option<u64>) -> Daemon {
        let script = "trap '' XFSZ; ulimit -S -f \"$1\"; exec \"$0\" run -c segsync.toml";
        let size = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| (bytes / BLOCK).to_string());
        let mut command = Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_segsync"), &size]).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Daemon { child, log }
    }

    /// Waits until every segment has this description in the file.
    async fn sees(&self, text: &str) {
        let path = self.folder.path().join("x.db");
        let all = i64::try_from(SEGMENTS).unwrap();
        let sees = || {
            let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
            let sql = "SELECT count(*) FROM segment_now WHERE document ->> '$.description' = ?1";
            db.query_row(sql, [text], |row| row.get(0)).ok()
        };
        timeout(GUARD, self.simulator.arrivals_until(|_| sees() == Some(all))).await.unwrap_or_else(|_| {
            panic!("{text} is not seen: {:?}", sees());
        });
    }

    async fn verify(&self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segsync"));
        let output = command.args(["verify", "--db", "x.db"]).current_dir(self.folder.path()).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

struct Daemon {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Daemon {
    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()?).unwrap())
    }

    /// Its next line, if there is one.
    async fn line(&mut self) -> Option<String> {
        timeout(GUARD, self.log.next_line()).await.unwrap().unwrap()
    }

    /// The files may grow again.
    fn lift(&self) {
        let unlimited = Rlimit { current: None, maximum: None };
        prlimit(self.pid(), Resource::Fsize, unlimited).unwrap();
    }

    async fn end(mut self) -> Option<i32> {
        kill_process(self.pid().unwrap(), Signal::TERM).unwrap();
        // A full pipe must not keep it from ending.
        while self.line().await.is_some() {}
        timeout(GUARD, self.child.wait()).await.unwrap().unwrap().code()
    }
}

/// Starts under a limit that ends what can be written somewhere between nothing and the daemon's daily work.
async fn grows_to(bytes: u64) -> &'static str {
    let world = World::new().await;
    world.describe("before");
    let mut daemon = world.start(Some(bytes));
    let mut log = Vec::new();
    // Until it says something, or has had every reason to.
    loop {
        let answered = world.simulator.arrivals_until(|all| all.len() >= 12 * SEGMENTS);
        tokio::select! {
            line = daemon.line() => match line {
                Some(line) => log.push(line),
                None => break,
            },
            _ = answered => break,
        }
        if log.iter().any(|line| line.contains("\"level\":\"ERROR\"")) {
            break;
        }
    }
    let told = log.iter().any(|line| line.contains("\"level\":\"ERROR\""));
    world.describe("after");
    daemon.lift();
    // Either it ends by itself, or it goes on.
    let ended = loop {
        tokio::select! {
            line = daemon.line() => match line {
                Some(line) => log.push(line),
                None => break true,
            },
            () = world.sees("after") => break false,
        }
    };
    if ended {
        let code = timeout(GUARD, daemon.child.wait()).await.unwrap().unwrap().code();
        assert_eq!(code, Some(1), "{bytes}: {log:?}");
        let complaint: Vec<_> = log.iter().filter(|line| line.contains("\"level\":\"ERROR\"")).collect();
        assert_eq!(complaint.len(), 1, "{bytes}: {log:?}");
        assert!(complaint[0].contains("x.db"), "{bytes}: {log:?}");
        daemon = world.start(None);
        world.sees("after").await;
    }
    assert_eq!(daemon.end().await, Some(0), "{bytes}");
    world.verify().await;
    match (ended, told) {
        (true, _) => "refused to start",
        (false, true) => "went on trying",
        (false, false) => "never noticed",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_grow_is_told_and_survived() {
    let step = if std::env::var_os("SEGSYNC_DISK").is_some() { 1 } else { 24 };
    let mut went = Vec::new();
    for pages in (0..=240).step_by(step) {
        // Just short of a whole page, as a disk would be.
        let outcome = grows_to(pages * 4096 + 3584).await;
        println!("{pages} pages: {outcome}");
        went.push(outcome);
    }
    assert!(went.contains(&"refused to start") && went.contains(&"went on trying"), "{went:?}");
}
