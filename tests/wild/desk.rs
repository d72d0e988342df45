//! The program itself, in a folder of its own, with one source of each provider.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use segsync::simulator::{Provider, Simulator};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::common::{BOTH, api_key, name};

/// Turns a hang into a failure; nothing takes so long.
pub const GUARD: Duration = Duration::from_secs(60);

/// A folder, a simulator, and what the configuration says.
pub struct Desk {
    pub folder: TempDir,
    pub simulator: Simulator,
    /// Lines before the sources.
    pub head: String,
    /// How each provider is asked.
    pub fetch: fn(Provider) -> &'static str,
    /// Further lines of each source.
    pub source: String,
    /// Variables of the program.
    pub env: Vec<(String, String)>,
}

/// How a verb ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Desk {
    pub fn new(simulator: Simulator, source: &str) -> Self {
        let folder = TempDir::new().unwrap();
        for provider in BOTH {
            std::fs::write(folder.path().join(format!("{}.key", name(provider))), api_key(provider)).unwrap();
        }
        let (head, source, env) = (String::new(), source.to_owned(), Vec::new());
        Self { folder, simulator, head, fetch: |_| "list", source, env }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration as it is meant now.
    pub fn configure(&self) {
        let mut text = format!("[store]\npath = \"x.db\"\n{}", self.head);
        for provider in BOTH {
            let base_url = self.simulator.base_url(provider);
            text += &format!(
                "[[source]]\nname = {name:?}\nprovider = {name:?}\nbase_url = {base_url:?}\napi_key = {{ file = {:?} }}\nfetch = {:?}\n{}\n",
                self.path(&format!("{}.key", name(provider))),
                (self.fetch)(provider),
                self.source,
                name = name(provider),
            );
        }
        std::fs::write(self.path("segsync.toml"), text).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segsync"));
        command.args(args).current_dir(self.folder.path()).kill_on_drop(true);
        command.env_remove("SEGSYNC_CONFIG").env_remove("SSL_CERT_DIR").env("NO_PROXY", "*");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a verb to its end.
    pub async fn run(&self, args: &[&str]) -> Ended {
        let output = timeout(GUARD, self.command(args).output()).await.expect("no hang").unwrap();
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ended { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Starts the daemon, with its log in this file.
    pub fn start(&self, log: &str) -> Child {
        let log = std::fs::File::create(self.path(log)).unwrap();
        self.command(&["run"]).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    pub fn query(&self, sql: &str) -> String {
        let file = Connection::open(self.path("x.db")).unwrap();
        file.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

/// Ends a daemon in good order.
pub async fn stop(mut child: Child) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    assert_eq!(timeout(GUARD, child.wait()).await.expect("no hang").unwrap().code(), Some(0));
}
