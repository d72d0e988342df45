//! Who can read the file, when: users who cannot write, after a clean stop, after a kill, and while the daemon runs.
//!
//! Some of these tests run this same test program again, as another user or to have a process that dies.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use segsync::clock::Clock;
use segsync::model::Op;
use segsync::store::{LogFilter, Reader, Store};

use crate::store::world::{World, begin, change, source, tracking};

const READ: &str = "SEGSYNC_TEST_READ";
const DIE: &str = "SEGSYNC_TEST_DIE";

/// This test program, made to run one test as a child.
fn child(runner: &[&str], test: &str, variable: &str, path: &Path) -> Command {
    let exe = std::env::current_exe().expect("this program");
    let mut command = match runner {
        [] => Command::new(exe),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(exe);
            command
        }
    };
    command.args(["--exact", test, "--nocapture"]).env(variable, path).stdin(Stdio::null());
    command
}

const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// Whether a process without rights can be started here, and reach this program.
fn can_be_nobody() -> bool {
    let exe = std::env::current_exe().expect("this program");
    let tried = Command::new(NOBODY[0]).args(&NOBODY[1..]).args(["test", "-x"]).arg(exe).status();
    tried.is_ok_and(|status| status.success())
}

/// As a child: reads the file that the parent names.
#[test]
fn child_reads() {
    let Some(path) = std::env::var_os(READ) else { return };
    std::fs::OpenOptions::new().append(true).open(&path).expect_err("this user cannot write");
    let entries = Reader::open(path).expect("opened").log(&LogFilter::default()).expect("read");
    println!("child saw {} versions", entries.len());
}

/// As a child: writes, and is gone without a goodbye.
#[test]
fn child_dies() {
    let Some(path) = std::env::var_os(DIE) else { return };
    let (clock, runtime) = (Clock::system(), tokio::runtime::Runtime::new().expect("a runtime"));
    runtime.block_on(async {
        let store = Store::open(path, &clock, Duration::from_secs(10)).expect("opened");
        let declared = store.declare(vec![source("main", &["a"])], clock.now()).await.expect("declared");
        // The parent's words need its world; only the words are used, never its file.
        let world = World::new();
        change(&world, &store, &declared.segments[0], 0, Op::Create, Some("{}")).await;
        begin(&world, &store, &declared.segments[0]).await;
    });
    std::process::abort();
}

fn opened_to_all(world: &World) {
    std::fs::set_permissions(world.folder.path(), std::fs::Permissions::from_mode(0o755)).expect("set");
    for entry in std::fs::read_dir(world.folder.path()).expect("a folder") {
        std::fs::set_permissions(entry.expect("an entry").path(), std::fs::Permissions::from_mode(0o644)).expect("set");
    }
}

/// What analysts ask: how many versions there are, and what the newest one is.
const ASK: &str =
    "SELECT count(*) || ' ' || (SELECT document FROM versions ORDER BY id DESC LIMIT 1) FROM segment_history";

/// The tools that they ask with, each told the file and the query.
const TOOLS: [&[&str]; 3] = [
    &["sqlite3"],
    &["python3", "-c", PYTHON],
    // Where the first one is only for its owner.
    &["/usr/bin/python3", "-c", PYTHON],
];
const PYTHON: &str = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])";

/// Says what is not tried here, past what the test harness swallows.
fn skipped(what: &str, why: &str) {
    writeln!(std::io::stderr(), "SKIPPED {what}: {why}").expect("told");
}

/// What somebody without any right to write sees.
fn nobody_sees(world: &World, versions: usize, newest: &str, when: &str) {
    opened_to_all(world);
    if !can_be_nobody() {
        return skipped(&format!("a user without rights, {when}"), "no other user can be had here");
    }
    let ran = child(&NOBODY, "store::access::child_reads", READ, &world.file()).output().expect("ran");
    let told = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(told.contains(&format!("child saw {versions} versions")), "{when}: {told}");
    let mut asked = Vec::new();
    for tool in TOOLS {
        let mut command = Command::new(NOBODY[0]);
        let ran = command.args(&NOBODY[1..]).args(tool).arg(world.file()).arg(ASK).output().expect("setpriv is here");
        // It is not there, or not for everybody.
        if !matches!(ran.status.code(), Some(126 | 127)) {
            assert_eq!(String::from_utf8_lossy(&ran.stderr), "", "{when}, {}", tool[0]);
            assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), format!("{versions} {newest}"), "{when}");
            asked.push(tool[0]);
        }
    }
    for name in ["sqlite3", "python3"] {
        if !asked.iter().any(|tool| tool.ends_with(name)) {
            skipped(&format!("{name} as a user without rights, {when}"), "it is not here");
        }
    }
}

#[tokio::test]
async fn somebody_who_cannot_write_reads_at_any_time() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    change(&world, &store, &declared.segments[0], 0, Op::Create, Some("{}")).await;
    nobody_sees(&world, 1, "{}", "while it runs");
    store.close().await.expect("closed");
    let log = world.folder.path().join("segsync.db-wal");
    assert_eq!(log.metadata().expect("it stays").len(), 0, "all of it is in the database");
    assert!(world.folder.path().join("segsync.db-shm").exists());
    nobody_sees(&world, 1, "{}", "after a clean stop");

    let store = world.open();
    change(&world, &store, &declared.segments[0], 1, Op::Update, Some("2")).await;
    drop(store);
    assert!(log.metadata().expect("it stays").len() > 0);
    nobody_sees(&world, 2, "2", "after it was dropped");
}

#[test]
fn a_kill_loses_nothing_that_was_told() {
    let world = World::new();
    let died = child(&[], "store::access::child_dies", DIE, &world.file()).output().expect("ran");
    assert!(!died.status.success(), "it aborted");
    nobody_sees(&world, 1, "{}", "after a kill");
    let reader = Reader::open(world.file()).expect("opened");
    assert_eq!(reader.log(&LogFilter::default()).expect("read").len(), 1);
    let store = Store::open(world.file(), &Clock::system(), Duration::from_secs(10)).expect("the lock died as well");
    assert_eq!(world.number("SELECT count(*) FROM polls WHERE error = 'interrupted'"), 1);
    drop(store);
}

#[tokio::test]
async fn somebody_who_cannot_write_reads_during_a_checkpoint() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    change(&world, &store, &declared.segments[0], 0, Op::Create, Some("{}")).await;
    let (slow, other) = (world.raw(), world.raw());
    slow.execute_batch("BEGIN; SELECT count(*) FROM versions").expect("a snapshot");
    change(&world, &store, &declared.segments[0], 1, Op::Update, Some("2")).await;
    other.busy_timeout(Duration::from_secs(60)).expect("set");
    let checkpoint = std::thread::spawn(move || {
        other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).expect("done")
    });
    // It waits for the slow reader in the middle of its work, with all of its locks.
    while !is_checkpointed(&world.folder.path().join("segsync.db-shm")) {
        assert!(!checkpoint.is_finished(), "it did not wait");
        std::thread::sleep(Duration::from_millis(1));
    }
    nobody_sees(&world, 2, "2", "during a checkpoint");
    assert!(!checkpoint.is_finished(), "it went on all the time");
    drop(slow);
    assert_eq!(checkpoint.join().expect("joined"), 0);
    nobody_sees(&world, 2, "2", "after a checkpoint");
    store.close().await.expect("closed");
}

/// Whether this process holds the lock of a checkpoint: <https://www.sqlite.org/walformat.html>, "WAL Locks".
fn is_checkpointed(index: &Path) -> bool {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return false };
    open.flatten().any(|entry| {
        let info = Path::new("/proc/self/fdinfo").join(entry.file_name());
        let locks = std::fs::read_to_string(info).unwrap_or_default();
        let is_held = |line: &str| line.contains("WRITE") && line.ends_with("121 121");
        // A checkpoint that writes holds the writers' lock, too, and the kernel shows the two as one.
        let is_held = |line: &str| is_held(line) || line.contains("WRITE") && line.ends_with("120 121");
        std::fs::read_link(entry.path()).is_ok_and(|target| target == index) && locks.lines().any(is_held)
    })
}

#[tokio::test]
async fn somebody_who_cannot_write_reads_during_a_backup() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    change(&world, &store, &declared.segments[0], 0, Op::Create, Some("{}")).await;
    let target = world.folder.path().join("copy.db");
    let mut steps = 0;
    let mut on_pages = |_, _| {
        steps += 1;
        nobody_sees(&world, 1, "{}", "during a backup");
    };
    let reader = Reader::open(world.file()).expect("opened");
    reader.backup(&target, false, &mut on_pages, &mut |_| (), &mut |_| ()).expect("copied");
    assert!(steps > 0);
    store.close().await.expect("closed");
}

#[tokio::test]
async fn a_file_whose_log_was_removed_is_read_as_it_is() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    change(&world, &store, &declared.segments[0], 0, Op::Create, Some("{}")).await;
    store.close().await.expect("closed");
    for suffix in ["wal", "shm"] {
        std::fs::remove_file(world.folder.path().join(format!("segsync.db-{suffix}"))).expect("removed");
    }
    opened_to_all(&world);
    if !can_be_nobody() {
        return skipped("a file without its log", "no other user can be had here");
    }
    // An odd name, for it becomes part of a URI.
    let odd = world.folder.path().join("a b?c#d%41.db");
    std::fs::rename(world.file(), &odd).expect("renamed");
    let ran = child(&NOBODY, "store::access::child_reads", READ, &odd).output().expect("ran");
    assert!(String::from_utf8_lossy(&ran.stdout).contains("child saw 1 versions"), "{ran:?}");
}

#[tokio::test]
async fn a_reader_never_writes() {
    let world = World::new();
    let (store, _) = tracking(&world, &["a"]).await;
    store.close().await.expect("closed");
    let before = crate::store::world::contents(world.folder.path());
    let reader = Reader::open(world.file()).expect("opened");
    reader.sources().expect("read");
    drop(reader);
    let after = crate::store::world::contents(world.folder.path());
    // The index of the log holds the readers' marks; nothing else moves.
    let files = |all: &[(std::path::PathBuf, Vec<u8>)]| -> Vec<_> {
        all.iter().filter(|(path, _)| path.extension().is_none_or(|end| end != "db-shm")).cloned().collect()
    };
    assert_eq!(files(&after), files(&before));
}

#[tokio::test]
async fn a_reader_that_stays_does_not_keep_the_daemon_from_leaving() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let raw = world.raw();
    raw.execute_batch("BEGIN; SELECT count(*) FROM versions").expect("a snapshot");
    change(&world, &store, &declared.segments[0], 0, Op::Create, Some("{}")).await;
    assert!(store.wal_bytes() > 0);
    store.close().await.expect("closed");
    let seen = |raw: &rusqlite::Connection| -> i64 {
        raw.query_row("SELECT count(*) FROM versions", [], |row| row.get(0)).expect("counted")
    };
    assert_eq!(seen(&raw), 0, "it keeps its snapshot");
    assert_eq!(seen(&world.raw()), 1, "and nothing is lost");
}

#[tokio::test]
async fn the_log_grows_for_a_reader_that_is_known_and_shrinks_when_it_leaves() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let segment = &declared.segments[0];
    change(&world, &store, segment, 0, Op::Create, Some("{}")).await;
    assert_eq!(store.readers(), [0_u32; 0]);
    let raw = world.raw();
    raw.execute_batch("BEGIN; SELECT count(*) FROM versions").expect("a snapshot");
    if holds_lock(store.path()) {
        assert_eq!(store.readers(), [std::process::id()]);
    }
    let large = |n: i64| format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(1 << 20));
    for n in 1..=12 {
        change(&world, &store, segment, n, Op::Update, Some(&large(n))).await;
    }
    assert!(store.wal_bytes() > 12 << 20, "{}", store.wal_bytes());
    drop(raw);
    assert_eq!(store.readers(), [0_u32; 0]);
    for n in 13..=15 {
        change(&world, &store, segment, n, Op::Update, Some(&large(n))).await;
    }
    assert!(store.wal_bytes() <= 8 << 20, "{}", store.wal_bytes());
    store.close().await.expect("closed");
}

/// Whether this process holds a lock on this file, as the kernel tells.
fn holds_lock(path: &Path) -> bool {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return false };
    open.flatten().any(|entry| {
        let info = Path::new("/proc/self/fdinfo").join(entry.file_name());
        std::fs::read_link(entry.path()).is_ok_and(|target| target == path)
            && std::fs::read_to_string(info).is_ok_and(|info| info.contains("lock:"))
    })
}

#[tokio::test]
async fn a_reader_in_the_daemons_process_takes_no_lock_away_from_it() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    change(&world, &store, &declared.segments[0], 0, Op::Create, Some("{}")).await;
    let file = store.path().to_owned();
    if !holds_lock(&file) {
        println!("not tried: locks cannot be seen here");
        return;
    }
    // Without its lock, an older SQLite that comes and goes would remove the log below the daemon.
    drop(Reader::open(&file).expect("opened"));
    assert!(holds_lock(&file));
    Store::open(&file, &world.clock(), Duration::from_secs(10)).expect_err("it is taken");
    assert!(holds_lock(&file));
    store.close().await.expect("closed");
    assert!(!holds_lock(&file));
}
