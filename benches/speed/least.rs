//! What the file's promises take by themselves: the bare loop, and around each request the rows that a poll has to have.
//!
//! In the daemon's own tables, one writer commits to the disk whatever waits, as the daemon does: a row before the request is
//! sent, its end after the answer, and of a changed segment the version and its change. There is no budget, schedule, cache or
//! log, and what is known of a segment is believed: whatever keeps these promises with this client has to do as much.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::common::{CONCURRENCY, Took, World, id};
use super::poll::{ask, client, timed};

/// What the writer is asked for.
enum Job {
    /// The row of a request of that segment.
    Begin { segment: i64, told: oneshot::Sender<Begun> },
    /// The end of it.
    End { segment: i64, poll: i64, bytes: i64, version: Option<Version> },
}

/// A poll's row, and the document before it where a change is expected.
struct Begun {
    poll: i64,
    document: Option<String>,
}

/// What an answer brings.
struct Version {
    document: String,
    hash: [u8; 32],
    old: String,
    new: String,
}

/// Whether answers are looked at, or only counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Segments {
    Unchanged,
    Changed,
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("a time")
}

/// A copy of the daemon's file.
fn copy(world: &World) -> Connection {
    let path = world.folder.path().join("least.db");
    if !path.exists() {
        let daemons = Connection::open(world.folder.path().join("speed.db")).expect("opened");
        daemons.execute("VACUUM INTO ?1", [path.to_str()]).expect("copied");
    }
    let file = Connection::open(path).expect("opened");
    file.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON").expect("set");
    file.set_prepared_statement_cache_capacity(32);
    file.execute_batch(
        "INSERT OR IGNORE INTO fields (id, field) VALUES (1, 'description');
         INSERT OR IGNORE INTO paths (id, path) VALUES (1, '$.description');",
    )
    .expect("written");
    file
}

/// Runs one statement.
fn run(group: &Transaction<'_>, sql: &str, values: impl rusqlite::Params) -> i64 {
    group.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).expect("written");
    group.last_insert_rowid()
}

fn begin(group: &Transaction<'_>, segment: i64, segments: Segments) -> Begun {
    let poll = run(
        group,
        "INSERT INTO polls (source_id, segment_id, kind, started_at, boot_ms) VALUES (1, ?1, 'get', ?2, 1)",
        params![segment, now()],
    );
    let document = (segments == Segments::Changed).then(|| {
        let sql =
            "SELECT document FROM segments AS s JOIN versions ON segment_id = s.id AND seq = s.version WHERE s.id = ?1";
        group.prepare_cached(sql).and_then(|mut found| found.query_row([segment], |row| row.get(0))).expect("read")
    });
    Begun { poll, document }
}

fn end(group: &Transaction<'_>, segment: i64, poll: i64, bytes: i64, version: Option<Version>) {
    let (outcome, now) = (if version.is_some() { "updated" } else { "unchanged" }, now());
    run(
        group,
        "UPDATE polls SET finished_at = ?2, outcome = ?3, http_status = 200, bytes = ?4, boot_ms = 2 WHERE id = ?1",
        params![poll, now, outcome, bytes],
    );
    run(
        group,
        "UPDATE segments SET last_checked_at = ?2, checked_boot_ms = 2, confirmed_at = ?2, failures = 0, version = version + ?3
         WHERE id = ?1",
        params![segment, now, version.is_some()],
    );
    let Some(version) = version else { return };
    run(
        group,
        "UPDATE versions SET valid_to = ?2
         WHERE segment_id = ?1 AND seq = (SELECT version - 1 FROM segments WHERE id = ?1)",
        params![segment, now],
    );
    let row = run(
        group,
        "INSERT INTO versions (segment_id, seq, op, observed_at, changed_after, modified_by, hash, chain, document, poll_id)
         SELECT ?1, version, 'update', ?2, ?2, 'Grace', ?3, ?3, ?4, ?5 FROM segments WHERE id = ?1",
        params![segment, now, version.hash, version.document, poll],
    );
    run(
        group,
        "INSERT INTO change_rows (version_id, ordinal, segment_id, observed_at, path_id, field_id, old, new)
         VALUES (?1, 0, ?2, ?3, 1, 1, ?4, ?5)",
        params![row, segment, now, version.old, version.new],
    );
}

/// Commits what waits until nobody is left who could ask.
fn write(mut file: Connection, jobs: &mpsc::Receiver<Job>, segments: Segments) {
    while let Ok(first) = jobs.recv() {
        let group = file.transaction_with_behavior(TransactionBehavior::Immediate).expect("begun");
        let mut begun = Vec::new();
        for job in std::iter::once(first).chain(jobs.try_iter()) {
            match job {
                Job::Begin { segment, told } => begun.push((told, begin(&group, segment, segments))),
                Job::End { segment, poll, bytes, version } => end(&group, segment, poll, bytes, version),
            }
        }
        group.commit().expect("committed");
        for (told, row) in begun {
            assert!(told.send(row).is_ok(), "somebody waits for it");
        }
    }
}

/// Reads an answer and the document before it, and tells what differs.
fn version(body: &[u8], before: &str) -> Version {
    let [mut answer, before]: [Value; 2] =
        [serde_json::from_slice(body).expect("JSON"), serde_json::from_str(before).expect("JSON")];
    let after = answer["data"].take();
    let document = after.to_string();
    let [old, new] = [&before, &after].map(|of| of["description"].to_string());
    assert_ne!(old, new, "it has changed");
    Version { hash: *blake3::hash(document.as_bytes()).as_bytes(), document, old, new }
}

/// The ids of the rows of all segments.
fn rows(file: &Connection) -> Vec<i64> {
    let mut sql = file.prepare("SELECT id FROM segments WHERE tracked ORDER BY key").expect("read");
    let rows = sql.query_map([], |row| row.get(0)).expect("read");
    rows.collect::<Result<_, _>>().expect("read")
}

/// What it takes to ask for every segment once, and to commit what the answers say.
pub async fn least(world: &World, segments: Segments) -> Took {
    let file = copy(world);
    let (rows, next) = (Arc::new(rows(&file)), Arc::new(AtomicUsize::new(0)));
    assert_eq!(rows.len(), world.segments);
    let (queue, jobs) = mpsc::channel();
    let writer = std::thread::spawn(move || write(file, &jobs, segments));
    let (client, base) = (client(), Arc::new(world.url.clone()));
    timed(async {
        let mut tasks = JoinSet::new();
        for _ in 0..CONCURRENCY {
            let (client, base, queue) = (client.clone(), Arc::clone(&base), queue.clone());
            let (rows, next) = (Arc::clone(&rows), Arc::clone(&next));
            tasks.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&segment) = rows.get(number) else { return };
                    let (told, begun) = oneshot::channel();
                    queue.send(Job::Begin { segment, told }).expect("it listens");
                    let Begun { poll, document } = begun.await.expect("it tells");
                    let body = ask(&client, format!("{base}/console/v1/segments/{}", id(number))).await;
                    let version = document.map(|before| version(&body, &before));
                    let bytes = i64::try_from(body.len()).expect("a length");
                    queue.send(Job::End { segment, poll, bytes, version }).expect("it listens");
                }
            });
        }
        drop(queue);
        while let Some(ended) = tasks.join_next().await {
            ended.expect("no panic");
        }
        writer.join().expect("no panic");
    })
    .await
}
