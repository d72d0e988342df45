//! A daemon with one source, in a folder of its own or on a small disk of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};
use segsync::simulator::{Provider, STATSIG_KEY, Settings, Simulator, statsig};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// Turns a hang into a failure; nothing takes so long.
pub(crate) const GUARD: Duration = Duration::from_secs(120);
pub(crate) const SEGMENTS: usize = 4;
/// Between two looks at what cannot be waited for.
const LOOK: Duration = Duration::from_millis(20);

/// Whether the long form was asked for.
pub(crate) fn is_long() -> bool {
    std::env::var_os("SEGSYNC_DISK").is_some()
}

/// Says what is not tried here, past what the test harness swallows.
pub(crate) fn skipped(what: &str, why: &str) {
    writeln!(std::io::stderr(), "SKIPPED {what}: {why}").unwrap();
}

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) simulator: Simulator,
}

impl World {
    pub(crate) async fn new() -> Self {
        let world = Self {
            folder: TempDir::new().unwrap(),
            simulator: Simulator::start(Settings::default().limited(&[])).await.unwrap(),
        };
        let ids: Vec<String> = (0..SEGMENTS).map(|number| format!("seg_{number}")).collect();
        for id in &ids {
            world.simulator.statsig().add(statsig::Segment::new(id, "rule_based"));
        }
        let folder = world.folder.path();
        std::fs::create_dir(folder.join("disk")).unwrap();
        std::fs::write(folder.join("key"), STATSIG_KEY).unwrap();
        let text = format!(
            "[store]\npath = {:?}\n[poll]\nevery = \"200ms\"\n[http]\nlisten = \"unix:{}\"\n[[source]]\nname = \"prod\"\n\
             provider = \"statsig\"\nbase_url = {:?}\napi_key = {{ file = {:?} }}\nfetch = \"each\"\nsegments = {ids:?}\n\
             limits = []\n",
            folder.join("disk/x.db"),
            folder.join("api").display(),
            world.simulator.base_url(Provider::Statsig),
            folder.join("key"),
        );
        std::fs::write(folder.join("segsync.toml"), text).unwrap();
        world
    }

    /// Edits every segment at the provider.
    pub(crate) fn describe(&self, text: &str) {
        for number in 0..SEGMENTS {
            self.simulator.statsig().edit(&format!("seg_{number}"), |segment| segment.describe(text)).unwrap();
        }
    }

    /// The folder of the database.
    pub(crate) fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.disk().join("x.db")
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    pub(crate) fn start(&self) -> Daemon {
        let mut command = self.command(env!("CARGO_BIN_EXE_segsync"));
        command.arg("run").arg("-c").arg(self.folder.path().join("segsync.toml"));
        self.spawn(command)
    }

    pub(crate) fn spawn(&self, mut command: Command) -> Daemon {
        let api = self.folder.path().join("api");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Daemon { child, lines, log: Vec::new(), api }
    }

    /// Waits until every segment has this description in the file.
    pub(crate) async fn sees(&self, text: &str) {
        let path = self.db();
        let all = i64::try_from(SEGMENTS).unwrap();
        let sees = || described(&path, text);
        timeout(GUARD, self.simulator.arrivals_until(|_| sees() == Some(all))).await.unwrap_or_else(|_| {
            panic!("{:.20} is not seen: {:?}", text, sees());
        });
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        look(&self.db()).and_then(|db| db.query_row(sql, [], |row| row.get(0))).unwrap()
    }

    /// How many versions of the history have this description.
    pub(crate) fn versions(&self, text: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM versions WHERE document ->> '$.description' = '{text}'");
        self.number(&sql)
    }

    pub(crate) async fn verify(&self) {
        self.verify_file(&self.db()).await;
    }

    pub(crate) async fn verify_file(&self, path: &Path) {
        let output = Command::new(env!("CARGO_BIN_EXE_segsync")).arg("verify").arg("--db").arg(path).output();
        let output = timeout(GUARD, output).await.unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

/// A database as its readers open it.
fn look(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// How many segments have this description now.
pub(crate) fn described(path: &Path, text: &str) -> Option<i64> {
    let sql = "SELECT count(*) FROM segment_now WHERE document ->> '$.description' = ?1";
    look(path).and_then(|db| db.query_row(sql, [text], |row| row.get(0))).ok()
}

/// A running daemon.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    /// Its log so far.
    pub(crate) log: Vec<String>,
    api: PathBuf,
}

impl Daemon {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Takes its next line into the log; whether there was one.
    pub(crate) async fn line(&mut self) -> bool {
        let line = timeout(GUARD, self.lines.next_line()).await.unwrap().unwrap();
        let is_there = line.is_some();
        self.log.extend(line);
        is_there
    }

    /// Lets `other` happen; a full pipe must not keep the daemon from anything.
    pub(crate) async fn during<T>(&mut self, other: impl Future<Output = T>) -> T {
        tokio::pin!(other);
        loop {
            tokio::select! {
                done = &mut other => return done,
                there = self.line() => assert!(there, "it has ended: {:?}", self.errors()),
            }
        }
    }

    /// Waits for a line that has this in it.
    pub(crate) async fn says(&mut self, text: &str) -> String {
        loop {
            assert!(self.line().await, "it has ended: {:?}", self.log);
            let last = self.log.last().unwrap();
            if last.contains(text) {
                return last.clone();
            }
        }
    }

    /// The lines that tell of an error.
    pub(crate) fn errors(&self) -> Vec<&String> {
        self.log.iter().filter(|line| line.contains("\"level\":\"ERROR\"")).collect()
    }

    /// What `/readyz` says, once that is `enough`; then the daemon is ready or not, and says why.
    pub(crate) async fn readiness(&mut self, enough: impl Fn(&str) -> bool) -> String {
        let api = self.api.clone();
        let asked = async {
            loop {
                let said = readyz(&api).await.unwrap_or_default();
                if enough(&said) {
                    return said;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        self.during(async { timeout(GUARD, asked).await.unwrap_or_else(|_| panic!("readyz")) }).await
    }

    pub(crate) async fn is_ready(&mut self) {
        self.readiness(|said| said.contains("200 OK")).await;
    }

    /// Waits for the end; the exit code, `None` after a signal.
    pub(crate) async fn ends(&mut self) -> Option<i32> {
        while self.line().await {}
        timeout(GUARD, self.child.wait()).await.unwrap().unwrap().code()
    }

    /// Stops it in good order.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.ends().await
    }
}

async fn readyz(api: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(api).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await?;
    Ok(said)
}
