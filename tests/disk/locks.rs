//! Other programs at the file: a reader that stays, one that locks it, and many at once.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use tokio::process::Command;

use crate::disk::world::{SEGMENTS, World, is_long, skipped};

fn open(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::ZERO).unwrap();
    db
}

fn versions(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT count(*) FROM segment_history", [], |row| row.get(0))
}

/// Edits until the daemon has written so many more descriptions.
async fn goes_on(world: &World, rounds: usize) {
    for round in 0..rounds {
        let text = format!("round {round} {}", fastrand::u64(..));
        world.describe(&text);
        world.sees(&text).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stays_is_in_nobodys_way() {
    let world = World::new().await;
    let mut daemon = world.start();
    daemon.during(goes_on(&world, 1)).await;
    let analyst = open(&world.db());
    analyst.execute_batch("BEGIN").unwrap();
    let before = versions(&analyst).unwrap();
    let rounds = if is_long() { 200 } else { 10 };
    daemon.during(goes_on(&world, rounds)).await;
    assert_eq!(versions(&analyst).unwrap(), before, "it keeps its view");
    analyst.execute_batch("COMMIT").unwrap();
    let all = i64::try_from((rounds + 1) * SEGMENTS).unwrap();
    // What was edited twice between two polls is one version.
    assert!(versions(&analyst).unwrap() > before && versions(&analyst).unwrap() <= all + 4, "and then the newest one");
    assert!(daemon.errors().is_empty(), "{:?}", daemon.errors());
    assert_eq!(daemon.stop().await, Some(0));
    world.verify().await;
}

/// As for an hour, but by size: the daemon looks once a minute and tells above 64 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_makes_the_log_grow_is_named() {
    if !is_long() {
        return skipped("a reader named by the daemon", "it takes a minute: SEGSYNC_DISK=1");
    }
    let world = World::new().await;
    let mut daemon = world.start();
    daemon.during(goes_on(&world, 1)).await;
    let script = "import sqlite3,sys,time\n\
                  db = sqlite3.connect(sys.argv[1]); db.isolation_level = None\n\
                  db.execute('BEGIN'); print(db.execute('SELECT count(*) FROM versions').fetchone(), flush=True)\n\
                  sys.stdin.read()";
    let mut analyst = Command::new("python3");
    analyst.args(["-c", script]).arg(world.db());
    let mut analyst = analyst.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut told = tokio::io::BufReader::new(analyst.stdout.take().unwrap());
    tokio::io::AsyncBufReadExt::read_line(&mut told, &mut String::new()).await.unwrap();
    let log = world.disk().join("x.db-wal");
    let size = || log.metadata().unwrap().len();
    for number in 0.. {
        let text = format!("{number} {}", "x".repeat(2_000_000));
        world.describe(&text);
        daemon.during(world.sees(&text)).await;
        if size() > 72 << 20 {
            break;
        }
    }
    let line = daemon.says("the write-ahead log has grown to").await;
    assert!(line.contains(&format!("process {} keeps a transaction open", analyst.id().unwrap())), "{line}");
    drop(analyst.stdin.take());
    assert!(analyst.wait().await.unwrap().success());
    daemon.during(goes_on(&world, 5)).await;
    assert!(size() <= 8 << 20, "{}", size());
    daemon.says("the write-ahead log is small again").await;
    assert_eq!(daemon.stop().await, Some(0));
    world.verify().await;
}

/// The daemon waits five seconds for a lock, then says who is in its way, and goes on by itself afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_locks_the_file_is_waited_for() {
    let world = World::new().await;
    let mut daemon = world.start();
    daemon.during(goes_on(&world, 1)).await;
    let other = open(&world.db());
    // A commit on its way is waited for.
    other.busy_timeout(crate::disk::world::GUARD).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let locked_at = std::time::Instant::now();
    world.describe("locked");
    versions(&open(&world.db())).expect("readers do not wait");
    let said = daemon.readiness(|said| said.contains("cannot be written")).await;
    assert!(said.contains("503") && said.contains("another program has locked it"), "{said}");
    if is_long() {
        let thirty = Duration::from_secs(30).saturating_sub(locked_at.elapsed());
        daemon.during(tokio::time::sleep(thirty)).await;
    }
    assert_eq!(world.versions("locked"), 0);
    other.execute_batch("COMMIT").unwrap();
    println!("locked for {:?}", locked_at.elapsed());
    daemon.during(world.sees("locked")).await;
    daemon.is_ready().await;
    assert_eq!(daemon.errors().len(), 1, "{:?}", daemon.errors());
    assert_eq!(daemon.stop().await, Some(0));
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_readers_never_hear_that_it_is_busy() {
    let world = World::new().await;
    let mut daemon = world.start();
    daemon.during(goes_on(&world, 1)).await;
    let (over, path) = (AtomicBool::new(false), world.db());
    let reads: usize = std::thread::scope(|scope| {
        let reader = || {
            let mut last = 0;
            let mut reads = 0;
            while !over.load(Ordering::Relaxed) {
                // Without any patience: whoever has to wait fails.
                let now = versions(&open(&path)).unwrap_or_else(|error| panic!("a reader was told: {error}"));
                assert!(now >= last, "a reader saw {now} versions after {last}");
                (last, reads) = (now, reads + 1);
                std::thread::sleep(Duration::from_millis(50));
            }
            reads
        };
        let readers: Vec<_> = (0..100).map(|_| scope.spawn(reader)).collect();
        let rounds = if is_long() { 100 } else { 5 };
        // Whatever fails here, the readers must come to an end.
        let runtime = tokio::runtime::Handle::current();
        let work = async {
            daemon.during(goes_on(&world, rounds)).await;
            assert_eq!(daemon.stop().await, Some(0));
        };
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            tokio::task::block_in_place(|| runtime.block_on(work));
        }));
        over.store(true, Ordering::Relaxed);
        let reads = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        worked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        reads
    });
    println!("{reads} reads");
    assert!(reads >= 100);
    assert!(daemon.errors().is_empty(), "{:?}", daemon.errors());
    world.verify().await;
}
