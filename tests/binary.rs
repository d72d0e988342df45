//! The program as a service manager and an operator meet it: signals, exit codes, closing tables.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use segsync::simulator::lively::statsig;
use segsync::simulator::{Fault, On, Provider, STATSIG_KEY, Settings, Simulator, Times};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
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

    /// Adds the local API to the configuration.
    fn listen(&self, on: &str) {
        let path = self.path("segsync.toml");
        let text = std::fs::read_to_string(&path).expect("read");
        std::fs::write(path, format!("[http]\nlisten = {on:?}\n{text}")).expect("written");
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

    fn execute(&self, sql: &str) {
        let file = Connection::open(self.path("x.db")).expect("a database");
        file.execute_batch(sql).expect(sql);
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
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    let line: serde_json::Value = serde_json::from_str(&complaint).expect("into a pipe, the log is JSON");
    let message = line["message"].as_str().expect("a message");
    assert!(message.ends_with(&format!("another segsync (pid {pid}) is using it")), "{complaint}");
    assert_eq!(line["level"], "ERROR");
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

/// Asks the local API whether it is alive.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    timeout(GUARD, stream.read_to_string(&mut answer)).await.expect("no hang").expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_in_the_file_system_outlives_a_kill_but_not_a_stop() {
    let desk = Desk::new().await;
    desk.configure(r#"["staff"]"#);
    let path = desk.path("api.sock");
    desk.listen(&format!("unix:{}", path.display()));
    for (times, last) in [(1, Signal::KILL), (2, Signal::TERM)] {
        let mut child = desk.command(&["run"]);
        if times == 2 {
            // Due at once again, so that a request tells that it runs.
            desk.execute("UPDATE segments SET last_checked_at = 0, checked_boot_ms = NULL");
        }
        let child = child.spawn().expect("it starts");
        desk.asked_for("staff", times).await;
        let answer = ask(UnixStream::connect(&path).await.expect("it listens")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
        signal(&child, last);
        end(child).await;
        assert_eq!(path.exists(), last == Signal::KILL);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sockets_of_the_service_manager_are_taken_over() {
    let desk = Desk::new().await;
    desk.configure(r#"["staff"]"#);
    desk.listen("systemd");
    let (code, _, complaint) = desk.run(&["run"]).await;
    assert_eq!(code, 2);
    assert!(complaint.trim_end().ends_with("systemd passed no socket: enable and start segsync.socket"), "{complaint}");

    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = socket.local_addr().expect("an address");
    // What systemd does: the socket as descriptor 3, and variables that say so to this process alone.
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" run";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_segsync")]).current_dir(desk.folder.path()).kill_on_drop(true);
    shell.stdin(std::os::fd::OwnedFd::from(socket)).stdout(Stdio::null()).stderr(Stdio::null());
    let child = shell.spawn().expect("it starts");
    // Whoever comes before the daemon listens waits in the socket's queue.
    let answer = ask(TcpStream::connect(address).await.expect("it listens")).await;
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
    signal(&child, Signal::TERM);
    assert_eq!(end(child).await, Some(0));
}
