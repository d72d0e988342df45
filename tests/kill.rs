//! `kill -9` at random instants under load, again and again over one file: nothing that was committed is lost, nothing is
//! doubled or left half done, and the provider never sees more requests than the account may make.
//!
//! A hundred lives in `cargo test`; `SEGSYNC_KILLS=1000 cargo test --release --test kill` for the long run.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, outside of #[test] functions")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};
use segsync::simulator::{Limit, OCTAVE_KEY, Provider, STATSIG_KEY, Settings, Simulator, octave, statsig};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Turns a hang into a failure; nothing takes so long.
const GUARD: Duration = Duration::from_secs(60);
/// Segments of each provider.
const SEGMENTS: usize = 12;
/// What both providers allow: so little that every life runs into it.
const LIMITS: [(usize, u64); 2] = [(10, 1), (60, 10)];

struct World {
    folder: TempDir,
    simulator: Simulator,
    random: fastrand::Rng,
}

impl World {
    async fn new(seed: u64) -> Self {
        let limits = LIMITS.map(|(requests, seconds)| Limit { requests, per: Duration::from_secs(seconds) });
        let simulator = Simulator::start(Settings::default().limited(&limits)).await.unwrap();
        for number in 0..SEGMENTS {
            simulator.statsig().add(statsig::Segment::new(&format!("seg_{number}"), "rule_based"));
            simulator.octave().add(octave::Segment::new(&format!("sg_{number}"), "Banks"));
        }
        let world = Self { folder: TempDir::new().unwrap(), simulator, random: fastrand::Rng::with_seed(seed) };
        world.configure();
        world
    }

    fn configure(&self) {
        let [(n1, t1), (n2, t2)] = LIMITS;
        let limits = format!("[{{ requests = {n1}, per = \"{t1}s\" }}, {{ requests = {n2}, per = \"{t2}s\" }}]");
        let named: Vec<String> = (0..SEGMENTS).map(|number| format!("seg_{number}")).collect();
        // What was in flight counts for one time-out longer.
        let mut text = "[store]\npath = \"x.db\"\n[poll]\nevery = \"100ms\"\ntimeout = \"500ms\"\n".to_owned();
        for (provider, name, key, fetch, segments) in [
            (Provider::Statsig, "statsig", STATSIG_KEY, "each", format!("{named:?}")),
            (Provider::Octave, "octave", OCTAVE_KEY, "list", "\"all\"".to_owned()),
        ] {
            let file = self.folder.path().join(name);
            std::fs::write(&file, key).unwrap();
            text += &format!(
                "[[source]]\nname = {name:?}\nprovider = {name:?}\nbase_url = {:?}\napi_key = {{ file = {file:?} }}\n\
                 fetch = {fetch:?}\nsegments = {segments}\nlimits = {limits}\nburst = 10\n",
                self.simulator.base_url(provider),
            );
        }
        std::fs::write(self.folder.path().join("segsync.toml"), text).unwrap();
    }

    fn start(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segsync"));
        command.args(["run", "-c", "segsync.toml"]).current_dir(self.folder.path()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// People at work: edits, deletions and returns at both providers.
    fn edit(&mut self) {
        let number = self.random.usize(..SEGMENTS);
        let text = format!("edit {}", self.random.u64(..));
        let (one, other) = (format!("seg_{number}"), format!("sg_{number}"));
        // What is gone cannot be edited, and what is there cannot come back.
        match self.random.u8(..10) {
            0 => drop(self.simulator.statsig().remove(&one)),
            1 => drop(self.simulator.octave().soft_delete(&other)),
            2 | 3 => drop((self.simulator.statsig().restore(&one), self.simulator.octave().restore(&other))),
            _ => {
                self.simulator.statsig().edit(&one, |segment| segment.describe(&text)).ok();
                self.simulator.octave().edit(&other, |segment| segment.describe(&text)).ok();
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("x.db")
    }

    /// Every version that is committed: its number and its link of the chain. Empty while there is no file.
    fn versions(&self) -> BTreeMap<i64, Vec<u8>> {
        let Ok(db) = Connection::open_with_flags(self.path(), OpenFlags::SQLITE_OPEN_READ_ONLY) else {
            return BTreeMap::new();
        };
        let Ok(mut rows) = db.prepare("SELECT id, chain FROM versions") else { return BTreeMap::new() };
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    }

    fn number(&self, sql: &str) -> i64 {
        Connection::open(self.path()).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// The program's own judgement of its file.
    async fn verify(&self, at: &str) {
        if self.path().exists() && !self.versions().is_empty() {
            let mut command = Command::new(env!("CARGO_BIN_EXE_segsync"));
            let output = command.arg("verify").arg("--db").arg(self.path()).output();
            let output = timeout(GUARD, output).await.unwrap().unwrap();
            assert!(output.status.success(), "{at}: {}", String::from_utf8_lossy(&output.stdout));
        }
    }

    /// What must hold after every kill.
    fn check(&self, before: &BTreeMap<i64, Vec<u8>>, at: &str) {
        let after = self.versions();
        if after.is_empty() {
            return assert!(before.is_empty(), "{at}: the file is gone");
        }
        let lost = before.iter().find(|(id, chain)| after.get(id) != Some(chain));
        assert_eq!(lost, None, "{at}: a committed version is lost");
        let db = Connection::open(self.path()).unwrap();
        let whole: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(whole, "ok", "{at}");
        for (what, sql) in [
            ("a dangling reference", "SELECT count(*) FROM pragma_foreign_key_check"),
            (
                "a version twice, or out of order",
                "SELECT count(*) FROM (SELECT hash, op, seq, row_number() OVER w AS place, lag(hash) OVER w AS last
                 FROM versions WINDOW w AS (PARTITION BY segment_id ORDER BY id))
                 WHERE seq <> place OR (op = 'update' AND hash IS last)",
            ),
            (
                "a segment that stands elsewhere than its history",
                "SELECT count(*) FROM segments AS s
                 WHERE version <> (SELECT count(*) FROM versions AS v WHERE v.segment_id = s.id)",
            ),
            (
                "an update without its changes",
                "SELECT count(*) FROM versions WHERE op = 'update' AND id NOT IN (SELECT version_id FROM changes)",
            ),
            (
                "a version whose poll has not ended",
                "SELECT count(*) FROM versions AS v JOIN polls AS p ON p.id = v.poll_id WHERE p.outcome IS NULL",
            ),
        ] {
            assert_eq!(self.number(sql), 0, "{at}: {what}");
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kill_loses_or_doubles_anything() {
    let lives: usize = std::env::var("SEGSYNC_KILLS").map_or(100, |count| count.parse().unwrap());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut world = World::new(seed).await;
    for life in 0..lives {
        let arrived = world.simulator.arrivals().len();
        let mut child = world.start();
        // Some die before they have sent anything.
        if world.random.u8(..4) > 0 {
            timeout(GUARD, world.simulator.arrivals_reach(arrived + 1)).await.unwrap();
        }
        // Any instant will do: what follows does not wait for anything.
        for _ in 0..world.random.u8(..20) {
            world.edit();
            tokio::time::sleep(Duration::from_millis(world.random.u64(..20))).await;
        }
        let before = world.versions();
        signal(&child, Signal::KILL);
        timeout(GUARD, child.wait()).await.unwrap().unwrap();
        let at = format!("seed {seed}, life {life}");
        world.check(&before, &at);
        world.verify(&at).await;
    }

    // The last life ends in good order, and knows all that the providers say.
    (0..SEGMENTS).for_each(|number| {
        world.simulator.statsig().restore(&format!("seg_{number}")).ok();
        world.simulator.octave().restore(&format!("sg_{number}")).ok();
    });
    let child = world.start();
    let present = "SELECT count(*) FROM segments WHERE state = 'present'";
    let all = i64::try_from(2 * SEGMENTS).unwrap();
    timeout(GUARD, world.simulator.arrivals_until(|_| world.number(present) == all)).await.unwrap();
    signal(&child, Signal::TERM);
    let output = timeout(GUARD, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(world.number("SELECT count(*) FROM polls WHERE outcome IS NULL"), 0);
    let arrivals = world.simulator.arrivals();
    let sent = i64::try_from(arrivals.len()).unwrap();
    assert!(world.number("SELECT count(*) FROM polls") >= sent, "a request without a row");
    assert_eq!(world.simulator.violations(), 0, "of {sent} requests");
    assert!(world.number("SELECT count(*) FROM versions") > all, "it saw edits");
    println!("{lives} lives, {sent} requests, {} versions", world.number("SELECT count(*) FROM versions"));
}
