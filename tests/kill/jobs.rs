//! Kills during work that is one thing: an import, a backup, pruning.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;
use segsync::clock::{self, Clock, Now};
use segsync::model::{Outcome, PollKind, SourceName, UnixMs};
use segsync::store::{BeginPoll, Cursor, DeclareSource, FinishPoll, SegmentEnd, Store};

use crate::kill::file::{check, duration, import, kill_within, number, observations, program, verify, versions};
use crate::kill::kills;

/// Lines of one import.
const LINES: usize = 300;

fn remove_logs(path: &Path) {
    for suffix in ["-wal", "-shm"] {
        drop(std::fs::remove_file(format!("{}{suffix}", path.display())));
    }
}

#[test]
fn an_import_is_there_as_a_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let longest = duration(import(&path, &observations("first", LINES))) * 3 / 2;
    let each = number(&path, "SELECT count(*) FROM versions");
    let (mut whole, mut nothing) = (0, 0);
    for turn in 0..kills(10, 6) {
        let (before, at) = (versions(&path), format!("import {turn}"));
        let prefix = format!("{turn}-");
        let has_ended = kill_within(import(&path, &observations(&prefix, LINES)).spawn().unwrap(), longest);
        check(&path, &before, &at);
        let made = number(&path, &format!("SELECT count(*) FROM segment_history WHERE segment LIKE '{prefix}%'"));
        assert!(made == each || made == 0 && !has_ended, "{at}: {made} of {each}, {has_ended}");
        if made == each {
            whole += 1;
        } else {
            nothing += 1;
        }
        verify(&path, &at);
        if number(&path, "SELECT count(*) FROM versions") > 20 * each {
            // The file is to stay small enough for a thousand turns.
            std::fs::remove_file(&path).unwrap();
            remove_logs(&path);
            duration(import(&path, &observations("first", LINES)));
        }
    }
    println!("imports: {whole} whole, {nothing} not at all");
}

#[test]
fn a_backup_is_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let (path, room) = (folder.path().join("x.db"), folder.path().join("room"));
    std::fs::create_dir(&room).unwrap();
    duration(import(&path, &observations("s", 3 * LINES)));
    let target = room.join("copy.db");
    let backup = || {
        let mut command = program(&path, &["backup"]);
        command.arg(&target);
        command
    };
    let longest = duration(backup()) * 3 / 2;
    let expected = versions(&path);
    let (mut whole, mut absent) = (0, 0);
    for turn in 0..kills(10, 6) {
        let at = format!("backup {turn}");
        drop(std::fs::remove_file(&target));
        let has_ended = kill_within(backup().spawn().unwrap(), longest);
        if target.exists() {
            // What is left of the one that was killed is not beside it, where SQLite would look.
            for suffix in ["-wal", "-journal", "-shm"] {
                assert!(!room.join(format!("copy.db{suffix}")).exists(), "{at}");
            }
            verify(&target, &at);
            assert_eq!(versions(&target), expected, "{at}");
            // A look leaves its own files.
            remove_logs(&target);
            whole += 1;
        } else {
            assert!(!has_ended, "{at}");
            absent += 1;
        }
        check(&path, &expected, &at);
    }
    drop(std::fs::remove_file(&target));
    duration(backup());
    let left: Vec<_> = std::fs::read_dir(&room).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["copy.db"], "the next one clears up");
    println!("backups: {whole} whole, {absent} absent");
}

const PRUNES: &str = "SEGSYNC_TEST_PRUNES";
/// How old a poll gets.
const KEEP: Duration = Duration::from_secs(100);

/// A clock that stands still.
struct Stopped(i64);

impl clock::Source for Stopped {
    fn wall(&self) -> UnixMs {
        UnixMs(self.0)
    }
    fn boot_ms(&self) -> i64 {
        self.0
    }
    fn boot_id(&self) -> Option<String> {
        Some("boot".to_owned())
    }
}

/// As a child: polls once a second of its own time and lets the old ones go, until it is killed.
#[tokio::test]
async fn child_prunes() {
    let Some(path) = std::env::var_os(PRUNES) else { return };
    let began = Connection::open(&path).unwrap();
    let began = began.query_row("SELECT max(started_at) FROM polls", [], |row| row.get(0)).unwrap_or(0);
    let clock = Clock::new(Stopped(began));
    let store = Store::open(&path, &clock, Duration::from_secs(1)).unwrap();
    let now = |second: i64| {
        let time = began + second * 1000;
        Now { wall: UnixMs(time), boot_ms: time, ..clock.now() }
    };
    let source = DeclareSource {
        name: SourceName::new("prod"),
        provider: "statsig".to_owned(),
        base_url: "http://127.0.0.1:9".to_owned(),
        segments: vec!["a".into()],
        all: false,
    };
    let declared = store.declare(vec![source], now(0)).await.unwrap();
    let (source, segment) = (declared.sources[0].id, declared.segments[0].id);
    println!("\nbegan");
    for second in 1.. {
        let begin = BeginPoll { source, segment: Some(segment), kind: PollKind::Get, now: now(second) };
        let poll = store.begin_poll(begin).await.unwrap();
        let end = SegmentEnd { id: segment, outcome: Outcome::Failed, etag: None, version: None };
        let finish = FinishPoll {
            poll,
            now: now(second),
            outcome: Outcome::Failed,
            http_status: None,
            bytes: None,
            usage: None,
            error: Some("nobody is there".to_owned()),
            segments: vec![end],
            source_state: None,
            held_until: None,
            pace: None,
        };
        store.finish_poll(finish).await.unwrap();
        println!("finished {}", poll.0);
        if second % 10 == 0 {
            let pruned = store.prune(now(second), KEEP, 7).await.unwrap();
            println!("pruned {pruned}");
        }
    }
}

#[test]
fn pruning_takes_the_oldest_polls_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let mut pruned = 0;
    for turn in 0..kills(10, 6) {
        let at = format!("pruning {turn}");
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "kill::jobs::child_prunes", "--nocapture"]).env(PRUNES, &path).stdin(Stdio::null());
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "began"), "{at}");
        // From here on any instant will do.
        let enough = fastrand::usize(1..60);
        let mut told: Vec<String> = lines.by_ref().take(enough).collect();
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "{at}");
        told.extend(lines);
        let numbers =
            |word: &str| -> Vec<i64> { told.iter().filter_map(|line| line.strip_prefix(word)?.parse().ok()).collect() };
        pruned += numbers("pruned ").iter().sum::<i64>();
        let [first, last, count] =
            ["min(id)", "max(id)", "count(*)"].map(|what| number(&path, &format!("SELECT {what} FROM polls")));
        assert_eq!(count, last - first + 1, "{at}: a gap");
        assert!(numbers("finished ").iter().all(|told| *told <= last), "{at}: what was told is lost");
        let newest = number(&path, "SELECT max(started_at) FROM polls");
        let keep = i64::try_from(KEEP.as_millis()).unwrap();
        let young = number(&path, &format!("SELECT count(*) FROM polls WHERE started_at >= {newest} - {keep}"));
        assert!(young >= 100.min(last), "{at}: {young} young ones of {last}");
        assert!(number(&path, "SELECT count(*) FROM polls WHERE outcome IS NULL") <= 1, "{at}");
        check(&path, &versions(&path), &at);
        verify(&path, &at);
    }
    println!("pruning: {pruned} polls let go");
}

const COMPACTS: &str = "SEGSYNC_TEST_COMPACTS";

/// As a child: lets every old version go, a few at a time, until it is done or killed.
#[tokio::test]
async fn child_compacts() {
    let Some(path) = std::env::var_os(COMPACTS) else { return };
    let clock = Clock::system();
    let store = Store::open(&path, &clock, Duration::from_secs(1)).unwrap();
    println!("\nbegan");
    let mut cursor = Cursor::START;
    loop {
        let done = store.compact(clock.now(), UnixMs(i64::MAX), cursor, 20).await.unwrap();
        println!("removed {}", done.removed);
        match done.next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    store.close().await.unwrap();
    println!("done");
}

#[test]
fn old_versions_go_one_by_one_and_the_chain_stays_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let now = |path: &Path| -> Vec<(String, i64, String)> {
        let db = Connection::open(path).unwrap();
        let mut rows = db.prepare("SELECT segment, version, coalesce(document, '') FROM segment_now").unwrap();
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap().map(Result::unwrap).collect()
    };
    let (mut killed, mut ended) = (0, 0);
    for turn in 0..kills(10, 6) {
        let at = format!("compaction {turn}");
        if turn % 3 == 0 {
            // The last round may have let all go.
            drop(std::fs::remove_file(&path));
            remove_logs(&path);
            duration(import(&path, &observations("s", LINES)));
        }
        let (current, before) = (now(&path), number(&path, "SELECT count(*) FROM versions"));
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "kill::jobs::child_compacts", "--nocapture"]).env(COMPACTS, &path).stdin(Stdio::null());
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "began"), "{at}");
        let mut told: Vec<String> = lines.by_ref().take(fastrand::usize(1..12)).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        told.extend(lines);
        let removed: i64 = told.iter().filter_map(|line| line.strip_prefix("removed ")?.parse::<i64>().ok()).sum();
        if told.contains(&"done".to_owned()) {
            ended += 1;
        } else {
            killed += 1;
        }
        let after = number(&path, "SELECT count(*) FROM versions");
        assert!(after <= before - removed, "{at}: {removed} of {before} were told to be gone, {after} are left");
        assert_eq!(now(&path), current, "{at}");
        let whole: String =
            Connection::open(&path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(whole, "ok", "{at}");
        verify(&path, &at);
    }
    println!("compactions: {killed} killed, {ended} done before");
}
