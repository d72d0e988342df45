//! The program as a service manager and an operator meet it: signals, exit codes, closing tables.
#![allow(clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use segsync::simulator::lively::statsig;
use segsync::simulator::{Fault, On, Provider, STATSIG_KEY, Settings, Simulator, Times};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Turns a hang into a failure; nothing takes so long.
const GUARD: Duration = Duration::from_secs(60);

struct Desk {
    folder: TempDir,
    simulator: Simulator,
}

impl Desk {
    async fn new() -> Self {
        let simulator = Simulator::start(Settings::default()).await.expect("a simulator");
        for segment in statsig() {
            simulator.statsig().add(segment);
        }
        Self { folder: TempDir::new().expect("a folder"), simulator }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, segments: &str) {
        std::fs::write(self.path("key"), format!("{STATSIG_KEY}\n")).expect("written");
        let text = format!(
            "[store]\npath = \"x.db\"\n[[source]]\nname = \"prod\"\nprovider = \"statsig\"\nbase_url = {:?}\n\
             api_key = {{ file = {:?} }}\nfetch = \"each\"\nsegments = {segments}\n",
            self.simulator.base_url(Provider::Statsig),
            self.path("key"),
        );
        std::fs::write(self.path("segsync.toml"), text).expect("written");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segsync"));
        command.args(args).current_dir(self.folder.path()).env_remove("SEGSYNC_CONFIG").kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a verb to its end: exit code, standard output, standard error.
    async fn run(&self, args: &[&str]) -> (i32, String, String) {
        let output = timeout(GUARD, self.command(args).output()).await.expect("no hang").expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        (output.status.code().expect("no signal"), text(&output.stdout), text(&output.stderr))
    }

    /// Waits until `count` requests for `id` have arrived.
    async fn asked_for(&self, id: &str, count: usize) {
        let is_there =
            |log: &[segsync::simulator::Arrival]| log.iter().filter(|one| one.segment() == Some(id)).count() >= count;
        timeout(GUARD, self.simulator.arrivals_until(is_there)).await.expect("no hang");
    }

    fn query(&self, sql: &str) -> String {
        let file = Connection::open(self.path("x.db")).expect("a database");
        file.query_row(sql, [], |row| row.get::<_, String>(0)).expect(sql)
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().expect("it runs")).expect("a pid");
    kill_process(Pid::from_raw(pid).expect("a pid"), signal).expect("sent");
}

/// Waits for the end.
async fn end(mut child: Child) -> Option<i32> {
    timeout(GUARD, child.wait()).await.expect("no hang").expect("it ran").code()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_reloads_on_sighup_and_stops_cleanly_on_sigterm() {
    let desk = Desk::new().await;
    desk.configure(r#"["staff"]"#);
    let mut child = desk.command(&["run"]).spawn().expect("it starts");
    desk.asked_for("staff", 1).await;
    desk.configure(r#"["beta_users"]"#);
    signal(&child, Signal::HUP);
    desk.asked_for("beta_users", 1).await;
    std::fs::write(desk.path("segsync.toml"), "nonsense = 1").expect("written");
    signal(&child, Signal::HUP);
    let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
    let refusal = async {
        while let Some(line) = log.next_line().await.expect("UTF-8") {
            if line.contains("reload refused") {
                return line;
            }
        }
        panic!("no word of a refusal")
    };
    assert!(timeout(GUARD, refusal).await.expect("no hang").contains("nonsense"));
    signal(&child, Signal::TERM);
    assert_eq!(end(child).await, Some(0));
    let tracked = "SELECT group_concat(key || ' ' || tracked || ' ' || version, ', ' ORDER BY key) FROM segments";
    assert_eq!(desk.query(tracked), "beta_users 1 1, staff 0 1");
    assert_eq!(desk.query("SELECT count(*) || '' FROM polls WHERE outcome IS NULL"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_is_refused_with_the_pid_of_the_first() {
    let desk = Desk::new().await;
    desk.configure(r#"["staff"]"#);
    let child = desk.command(&["run"]).spawn().expect("it starts");
    desk.asked_for("staff", 1).await;
    let (code, _, complaint) = desk.run(&["run"]).await;
    let pid = child.id().expect("it runs");
    assert_eq!(code, 1);
    assert!(complaint.trim_end().ends_with(&format!("another segsync (pid {pid}) is using it")), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    signal(&child, Signal::INT);
    assert_eq!(end(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_tells_what_it_did_and_ends_as_it_went() {
    let desk = Desk::new().await;
    desk.configure(r#"["staff", "beta_users"]"#);
    let (code, table, complaint) = desk.run(&["sync"]).await;
    assert_eq!((code, complaint.as_str()), (0, ""));
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect()).collect();
    assert_eq!(rows[0], ["created", "2"]);
    assert_eq!(rows[1], ["new versions", "2"]);
    assert_eq!(rows[2][0], "time");
    assert_eq!(rows[3], ["requests of prod", "2/100 in 10s, 2/900 in 15m"]);

    desk.simulator.misbehave(Provider::Statsig, On::Segment("staff".into()), Times::Next(1), Fault::status(500));
    let (code, table, complaint) = desk.run(&["sync"]).await;
    assert_eq!(code, 3, "{table}");
    assert_eq!(complaint, "prod/staff: failed: HTTP 500, the provider failed\n");

    desk.simulator.misbehave(Provider::Statsig, On::Any, Times::Always, Fault::status(500));
    let (code, summary, _) = desk.run(&["sync", "staff", "--format", "json"]).await;
    assert_eq!(code, 1);
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert_eq!((&summary["segments"], &summary["outcomes"]["failed"]), (&1.into(), &1.into()));

    let (code, _, complaint) = desk.run(&["sync", "staf"]).await;
    assert_eq!(code, 2);
    assert!(complaint.contains("did you mean"), "{complaint}");
    std::fs::remove_file(desk.path("key")).expect("removed");
    let (code, _, complaint) = desk.run(&["sync"]).await;
    assert_eq!((code, complaint.lines().count()), (2, 1), "{complaint}");
    assert!(!complaint.contains(STATSIG_KEY));
}
