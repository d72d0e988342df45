//! Lives of the daemon under load, one after the other over one file.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use segsync::simulator::{Limit, OCTAVE_KEY, Provider, STATSIG_KEY, Settings, Simulator, octave, statsig};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::kill::file::{check, number, verify, versions};
use crate::kill::kills;

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
        let log = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().unwrap()
    }

    /// What all lives have said.
    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// People at work: edits, deletions and returns at both providers.
    fn edit(&mut self) {
        let number = self.random.usize(..SEGMENTS);
        // A long one now and then, so that the write-ahead log is moved on in some lives.
        let long = if self.random.u8(..6) == 0 { 20_000 } else { 0 };
        let text = format!("edit {} {}", self.random.u64(..), "x".repeat(long));
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

    fn number(&self, sql: &str) -> i64 {
        number(&self.path(), sql)
    }

    /// What the daemons have said that they committed: segments and the numbers of their versions.
    fn told(&self) -> Vec<(String, i64)> {
        let log = std::fs::read_to_string(self.log()).unwrap();
        let version = |line: &str| {
            // The last one of a killed daemon may be half a line.
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let fields = line.get("fields").unwrap_or(&line);
            let version = fields.get("version")?.as_i64()?;
            Some((format!("{}/{}", fields["source"].as_str()?, fields["segment"].as_str()?), version))
        };
        log.lines().filter_map(version).collect()
    }

    /// What was told is there.
    fn has_kept(&self, at: &str) {
        let told = self.told();
        if told.is_empty() {
            return;
        }
        let db = Connection::open(self.path()).unwrap();
        let mut rows = db.prepare("SELECT source || '/' || segment, version FROM segment_history").unwrap();
        let there: BTreeSet<(String, i64)> =
            rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
        let lost: Vec<_> = told.iter().filter(|version| !there.contains(*version)).collect();
        assert!(lost.is_empty(), "{at}: told, and lost: {lost:?}");
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kill_loses_or_doubles_anything() {
    let mut left = kills(60, 100);
    while left > 0 {
        // A file of its own for every hundred: the checks read all of it, every time.
        let lives = left.min(100);
        live(lives).await;
        left -= lives;
    }
}

async fn live(lives: usize) {
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
        let before = versions(&world.path());
        signal(&child, Signal::KILL);
        timeout(GUARD, child.wait()).await.unwrap().unwrap();
        let at = format!("seed {seed}, life {life}");
        check(&world.path(), &before, &at);
        if !versions(&world.path()).is_empty() {
            world.has_kept(&at);
            tokio::task::block_in_place(|| verify(&world.path(), &at));
        }
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
    let (versions, told) = (world.number("SELECT count(*) FROM versions"), world.told().len());
    assert!(told > 0, "it told of its versions");
    println!("{lives} lives, {sent} requests, {versions} versions, {told} of them told");
}
