//! Versions that are no longer kept: what is left is as it was, says nothing about what is gone, and cannot be touched without
//! being found.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Cursor as Bytes};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection;
use segsync::clock::Clock;
use segsync::model::{Op, SegmentKey, SourceName, UnixMs};
use segsync::poll::{Import, import};
use segsync::store::{At, Cursor, Reader, Store};
use serde_json::json;

use crate::keep::verify::flip_every_cell;
use crate::keep::world::{is_whole, rows, segsync, vandal, verify};

/// When the histories begin.
const BEGIN: i64 = 1_700_000_000_000;

/// What may be seen of a segment.
#[derive(Clone, Debug)]
struct Seen {
    segment: usize,
    /// Milliseconds since what was seen before.
    wait: i64,
    /// `None` is gone; 9 is there but marked as deleted.
    value: Option<u8>,
}

fn seen() -> impl Strategy<Value = Seen> {
    let value = prop_oneof![6 => (0..5_u8).prop_map(Some), 1 => Just(None), 1 => Just(Some(9))];
    (0..3_usize, 0..3_i64, value).prop_map(|(segment, wait, value)| Seen { segment, wait, value })
}

fn key(segment: usize) -> SegmentKey {
    SegmentKey::new(SourceName::new("octave"), format!("s{segment}").as_str())
}

fn open(path: &Path) -> Store {
    Store::open(path, &Clock::system(), Duration::from_secs(1)).expect("opened")
}

/// Brings in what was seen; returns the time of the last.
fn bring(store: &Store, seen: &[Seen], mut at: i64) -> i64 {
    let mut lines = String::new();
    for Seen { segment, wait, value } in seen {
        at += wait;
        let document = value.map(|value| {
            json!({
                "name": format!("name {value}"), "n": value, "qualifyingQuestions": [{"question": "q", "weight": value}],
                "deletedAt": (value == 9).then_some("2020-01-01T00:00:00Z"),
            })
        });
        let line = json!({
            "source": "octave", "provider": "octave", "id": format!("s{segment}"), "observed_at": at,
            "document": document,
        });
        lines.push_str(&format!("{line}\n"));
    }
    take(store, &lines);
    at
}

fn take(store: &Store, lines: &str) {
    let how = Import { source: None, configured: Vec::new(), partial: false };
    import(store, Clock::system().now(), &mut Bytes::new(lines), how, &mut |_, _| ()).expect("imported");
}

/// Lets go what ended before `limit`; returns how many versions went.
fn compact(store: &Store, limit: i64, batch: usize) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (mut from, mut removed) = (Cursor::START, 0);
        loop {
            let done = store.compact(Clock::system().now(), UnixMs(limit), from, batch).await.expect("compacted");
            removed += done.removed;
            assert_eq!(done.odd, 0, "nobody has been at it");
            match done.next {
                Some(next) => from = next,
                None => return removed,
            }
        }
    })
}

/// What the file says of a segment at a time: number, op and document; and whether it says that this is gone.
type Answer = (Option<(i64, Op, Option<String>)>, bool);

fn answer(reader: &Reader, segment: usize, at: At) -> Answer {
    let found = reader.version(&key(segment), at).expect("read");
    let gone = found.is_none() && reader.gap(&key(segment), at).expect("read").is_some();
    let told = |found: segsync::store::StoredVersion| {
        let own = found.document.filter(|_| found.document_of.is_none());
        (found.entry.seq, found.entry.op, own.map(|own| own.to_string()))
    };
    (found.map(told), gone)
}

/// Every answer there is, by segment and by what is asked for.
fn answers(path: &Path, until: i64) -> BTreeMap<(usize, String), Answer> {
    let reader = Reader::open(path).expect("opened");
    let asked = |segment: usize| {
        let times = (BEGIN - 1..=until + 1).map(|at| At::Time(UnixMs(at)));
        times.chain((1..20).map(At::Seq)).chain([At::Latest]).map(move |at| (segment, at))
    };
    let all = (0..3).flat_map(asked);
    all.map(|(segment, at)| ((segment, format!("{at:?}")), answer(&reader, segment, at))).collect()
}

/// As of each moment the view says what the reader says, or nothing.
fn view_agrees(path: &Path, until: i64) {
    let (reader, raw) = (Reader::open(path).expect("opened"), Connection::open(path).expect("opened"));
    let mut statement = raw
        .prepare(
            "SELECT version FROM segment_history
             WHERE segment = ?1 AND valid_from <= ?2 AND (valid_to IS NULL OR valid_to > ?2)",
        )
        .expect("prepared");
    for (segment, at) in (0..3).flat_map(|segment| (BEGIN - 1..=until + 1).map(move |at| (segment, at))) {
        let rows =
            statement.query_map([format!("s{segment}"), UnixMs(at).to_string()], |row| row.get(0)).expect("rows");
        let told: Vec<i64> = rows.map(|row| row.expect("a row")).collect();
        let own: Vec<i64> = answer(&reader, segment, At::Time(UnixMs(at))).0.into_iter().map(|(seq, ..)| seq).collect();
        assert_eq!(told, own, "s{segment} at {at}");
    }
}

/// Each is the same answer as before, or says that it is gone.
fn only_gone(before: &BTreeMap<(usize, String), Answer>, after: &BTreeMap<(usize, String), Answer>) {
    for (asked, was) in before {
        let now = &after[asked];
        assert!(now == was || *now == (None, true), "{asked:?}: {was:?} → {now:?}");
    }
}

/// Versions that must not go: first, latest, the last with a document, and what had not ended before `limit`.
fn must_stay(path: &Path, limit: i64) -> Vec<String> {
    rows(
        path,
        &format!(
            "SELECT v.id FROM versions AS v JOIN segments AS s ON s.id = v.segment_id
             WHERE v.seq IN (1, s.version) OR v.valid_to >= {limit}
                OR v.seq = (SELECT max(d.seq) FROM versions AS d WHERE d.segment_id = s.id AND d.document IS NOT NULL)
             ORDER BY v.id"
        ),
    )
}

/// What somebody may do to the file by hand, as SQL; nothing where the file has no such place.
const TAMPERINGS: [&str; 14] = [
    "DELETE FROM checkpoints WHERE first_id = (SELECT first_id FROM checkpoints ORDER BY seal LIMIT 1)",
    "UPDATE checkpoints SET last_id = last_id + 1 WHERE first_id = (SELECT max(first_id) FROM checkpoints)",
    "UPDATE checkpoints SET first_id = first_id - 1 WHERE first_id = (SELECT min(first_id) FROM checkpoints)",
    "UPDATE checkpoints SET before = zeroblob(32) WHERE first_id = (SELECT max(first_id) FROM checkpoints)",
    "UPDATE checkpoints SET after = zeroblob(32) WHERE first_id = (SELECT max(first_id) FROM checkpoints)",
    "UPDATE checkpoints SET removed_at = removed_at + 1 WHERE first_id = (SELECT max(first_id) FROM checkpoints)",
    "INSERT INTO checkpoints SELECT id + 1, id + 2, zeroblob(32), zeroblob(32), 1, zeroblob(32)
     FROM versions ORDER BY id DESC LIMIT 1",
    "INSERT OR IGNORE INTO checkpoints SELECT id, id, chain, chain, 1, zeroblob(32) FROM versions ORDER BY id DESC LIMIT 1",
    // A version right after a run, and one right before it.
    "DELETE FROM change_rows WHERE version_id = (SELECT 1 + max(last_id) FROM checkpoints);
     DELETE FROM versions WHERE id = (SELECT 1 + max(last_id) FROM checkpoints)",
    "DELETE FROM change_rows WHERE version_id = (SELECT min(first_id) - 1 FROM checkpoints);
     DELETE FROM versions WHERE id = (SELECT min(first_id) - 1 FROM checkpoints)",
    "UPDATE versions SET valid_to = valid_to + 1 WHERE id = (SELECT max(id) FROM versions WHERE end_seal IS NOT NULL)",
    "UPDATE versions SET end_seal = NULL WHERE id = (SELECT max(id) FROM versions WHERE end_seal IS NOT NULL)",
    "UPDATE change_rows SET new = '77' WHERE version_id = (
        SELECT min(n.id) FROM versions AS v JOIN versions AS n ON n.segment_id = v.segment_id AND n.seq > v.seq
        JOIN change_rows AS c ON c.version_id = n.id WHERE v.end_seal IS NOT NULL)",
    // A version put into a gap.
    "INSERT INTO versions (id, segment_id, seq, op, observed_at, valid_to, hash, chain, document, poll_id)
     SELECT c.first_id, v.segment_id, v.seq + 1, 'update', v.valid_to, v.valid_to, v.hash, c.after, v.document, 1
     FROM versions AS v, (SELECT min(first_id) AS first_id, after FROM checkpoints) AS c
     WHERE v.end_seal IS NOT NULL AND c.first_id IS NOT NULL LIMIT 1",
];

/// Few of them each time; `SEGSYNC_CASES=500 cargo test --test suite keep::compact` tries many.
fn cases() -> u32 {
    std::env::var("SEGSYNC_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_left_is_as_it_was(
        rounds in prop::collection::vec((prop::collection::vec(seen(), 1..30), 0..100_i64, 1..9_usize), 1..4),
    ) {
        let room = tempfile::tempdir().expect("a folder");
        let (path, copy) = (room.path().join("one.db"), room.path().join("two.db"));
        let store = open(&path);
        let mut until = BEGIN;
        for (events, share, batch) in rounds {
            until = bring(&store, &events, until);
            let limit = BEGIN + (until + 2 - BEGIN) * share / 99;
            let (before, stay) = (answers(&path, until), must_stay(&path, limit));
            compact(&store, limit, batch);
            is_whole(&path);
            let left = rows(&path, "SELECT id FROM versions ORDER BY id");
            prop_assert_eq!(&left, &stay);
            let after = answers(&path, until);
            only_gone(&before, &after);
            view_agrees(&path, until);
            let unused = "SELECT field FROM fields WHERE id NOT IN (SELECT field_id FROM change_rows)";
            prop_assert_eq!(rows(&path, unused), [""; 0], "no name is left that nothing bears");
            prop_assert_eq!(compact(&store, limit, batch), 0, "once is enough");
        }
        drop(store);

        // Out and in again, byte for byte, with the same answers.
        let first = segsync(&path, &["export"], "").well();
        let other = open(&copy);
        take(&other, &first);
        prop_assert_eq!(is_whole(&copy).removed, 0, "its own rows are all there");
        prop_assert_eq!(answers(&copy, until), answers(&path, until));
        view_agrees(&copy, until);
        take(&other, &first);
        drop(other);
        prop_assert_eq!(segsync(&copy, &["export"], "").well(), first);
        let told = "SELECT segment, first_version, last_version, versions, gone_from, gone_to FROM segment_gaps ORDER BY 1, 2";
        prop_assert_eq!(rows(&copy, told), rows(&path, told));
        let told = "SELECT segment, version, op, field, old, new, path, observed_at FROM change_log ORDER BY 1, 2, 4, 7";
        prop_assert_eq!(rows(&copy, told), rows(&path, told));

        for sql in TAMPERINGS {
            std::fs::copy(&path, &copy).expect("copied");
            let raw = vandal(&copy);
            raw.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
            let is_changed = raw.total_changes() > 0;
            drop(raw);
            let (findings, _) = verify(&copy);
            prop_assert!(!findings.is_empty() || !is_changed, "{sql}");
        }
    }
}

/// The first segment with these values, a second apart.
fn life(path: &Path, values: &[Option<u8>]) -> Store {
    let store = open(path);
    let seen = (0..).zip(values).map(|(at, value)| Seen { segment: 0, wait: 1000 * i64::from(at > 0), value: *value });
    let seen: Vec<Seen> = seen.collect();
    bring(&store, &seen, BEGIN);
    store
}

#[test]
fn every_verb_says_what_is_no_longer_kept() {
    let room = tempfile::tempdir().expect("a folder");
    let path = room.path().join("a.db");
    let store = life(&path, &[Some(0), Some(1), Some(2), Some(3), None, Some(4), Some(0)]);
    assert_eq!(compact(&store, BEGIN + 4500, 100), 3);
    drop(store);
    let failed = |args: &[&str]| segsync(&path, args, "").failed();
    insta::assert_snapshot!([
        failed(&["show", "s0", "--version", "2"]),
        failed(&["show", "s0", "--at", "2023-11-14T22:13:21Z"]),
        failed(&["show", "s0", "--version", "5"]),
        failed(&["show", "s0", "--version", "8"]),
        failed(&["diff", "s0", "3..7"]),
        failed(&["diff", "s0", "5"]),
        failed(&["diff", "s0", "2023-11-14T22:13:23.5Z.."]),
    ].concat(), @"
    segsync: version 2 of octave/s0 is no longer kept ([store] keep_versions; gone: versions 2 to 4)
    segsync: what octave/s0 was at 2023-11-14T22:13:21.000Z is no longer kept ([store] keep_versions; gone: versions 2 to 4)
    segsync: version 5 of octave/s0 is its deletion, and its last document, of version 4, is no longer kept ([store] keep_versions)
    segsync: octave/s0 has no version 8; the latest is 7
    segsync: version 3 of octave/s0 is no longer kept ([store] keep_versions; gone: versions 2 to 4)
    segsync: version 4 of octave/s0 is no longer kept ([store] keep_versions; gone: versions 2 to 4)
    segsync: what octave/s0 was at 2023-11-14T22:13:23.500Z is no longer kept ([store] keep_versions; gone: versions 2 to 4)
    ");
    let well = |args: &[&str]| segsync(&path, args, "").well();
    assert!(well(&["show", "s0", "--at", "2023-11-14T22:13:20.999Z"]).starts_with("octave/s0  v1 of 7, present"));
    let told = well(&["diff", "s0", "1..7"]);
    assert!(told.contains("3 versions and 3 that are no longer kept") && told.contains("no difference"), "{told}");
    let told = well(&["status", "s0"]);
    assert!(told.contains("7 (1 create, 1 delete, 1 restore, 1 update, 3 no longer kept)"), "{told}");
    let told = well(&["verify"]);
    assert!(told.contains("4 versions") && told.contains("3 versions no longer kept"), "{told}");
    assert_eq!(
        rows(&path, "SELECT * FROM segment_gaps"),
        ["octave|s0|Integer(2)|Integer(4)|Integer(3)|2023-11-14T22:13:21.000Z|2023-11-14T22:13:24.000Z"]
    );
}

#[test]
fn names_of_fields_go_with_the_last_change_that_bears_them() {
    let room = tempfile::tempdir().expect("a folder");
    let path = room.path().join("a.db");
    let store = life(&path, &[Some(0), Some(9), Some(0), Some(1), Some(2)]);
    let fields = "SELECT field FROM fields ORDER BY field";
    assert_eq!(rows(&path, fields), ["deletedAt", "n", "name", "qualifyingQuestions[q].weight"]);
    assert_eq!(compact(&store, BEGIN + 2500, 100), 1, "the delete");
    assert_eq!(rows(&path, fields), ["deletedAt", "n", "name", "qualifyingQuestions[q].weight"]);
    assert_eq!(compact(&store, BEGIN + 3500, 100), 1, "the restore");
    assert_eq!(rows(&path, fields), ["n", "name", "qualifyingQuestions[q].weight"]);
    drop(store);
    assert_eq!(is_whole(&path).removed, 2);
}

#[test]
fn every_cell_counts_beside_a_gap_as_well() {
    let room = tempfile::tempdir().expect("a folder");
    let path = room.path().join("a.db");
    let store = life(&path, &[Some(0), Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(compact(&store, BEGIN + 2500, 100), 1);
    assert_eq!(compact(&store, BEGIN + 3500, 100), 1, "a run grows");
    drop(store);
    let tried = flip_every_cell(&path);
    assert!(tried > 60, "{tried}");
    assert_eq!(is_whole(&path).removed, 2);
}

#[test]
fn what_is_not_as_it_was_written_is_not_buried() {
    let room = tempfile::tempdir().expect("a folder");
    let path = room.path().join("a.db");
    drop(life(&path, &[Some(0), Some(1), Some(2), Some(3), Some(4)]));
    vandal(&path).execute("UPDATE versions SET modified_by = 'Eve' WHERE seq = 3", []).expect("set");
    let (before, _) = verify(&path);
    let store = open(&path);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let done = runtime
        .block_on(store.compact(Clock::system().now(), UnixMs(i64::MAX), Cursor::START, 100))
        .expect("compacted");
    assert_eq!((done.removed, done.odd), (2, 1));
    assert_eq!(verify(&path).0, before);
}

#[test]
fn an_import_takes_a_gap_only_where_it_belongs() {
    let room = tempfile::tempdir().expect("a folder");
    let (path, other) = (room.path().join("a.db"), room.path().join("b.db"));
    let values = [Some(0), Some(1), Some(2), Some(3), Some(4)];
    let store = life(&path, &values);
    let whole = segsync(&path, &["export"], "").well();
    assert_eq!(compact(&store, BEGIN + 3500, 100), 2);
    drop(store);
    let lines = segsync(&path, &["export"], "").well();
    let import = |lines: &str| segsync(&other, &["import", "-"], lines);
    // What the gap hides here is known there.
    drop(life(&other, &values[..2]));
    insta::assert_snapshot!([
        import(&lines).failed(),
        import(&lines.replace("\"changes\":[{\"op\":\"replace\"", "\"changes\":[{\"op\":\"swap\"")).failed(),
        segsync(&path, &["import", "-"], &whole).failed(),
    ].concat(), @r#"
    segsync: standard input:2:1: version 4 of "s0" follows versions that are no longer kept, and what came before those is not version 2, the latest here; nothing of it was imported
    segsync: standard input:2:1: "swap" is nothing that a change does to a field; nothing of it was imported
    segsync: standard input:2:90: version 2 of "s0" is not kept here; nothing of it was imported
    "#);
    is_whole(&other);
    let store = open(&other);
    take(&store, &whole);
    take(&store, &lines);
    drop(store);
    assert_eq!(segsync(&other, &["export"], "").well(), whole, "all of the lines were known already");
}

/// How many versions the history has that a child compacts.
const LONG: usize = 400;

#[test]
#[ignore = "a process that is killed by another test"]
fn a_child_that_compacts() {
    let path = std::env::var_os("SEGSYNC_COMPACT").expect("a database");
    let store = open(Path::new(&path));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut from = Cursor::START;
    loop {
        let done = store.compact(Clock::system().now(), UnixMs(i64::MAX), from, 7);
        let done = runtime.block_on(done).expect("compacted");
        println!("removed {}", done.removed);
        let Some(next) = done.next else { return };
        from = next;
    }
}

#[test]
fn a_kill_leaves_the_file_whole() {
    let room = tempfile::tempdir().expect("a folder");
    let path = room.path().join("a.db");
    let store = open(&path);
    let seen: Vec<Seen> =
        (0..LONG).map(|at| Seen { segment: at % 3, wait: 1, value: u8::try_from(at % 5).ok() }).collect();
    let until = bring(&store, &seen, BEGIN);
    drop(store);
    let mut before = answers(&path, until);
    for steps in [1, 9, 30] {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "keep::compact::a_child_that_compacts", "--nocapture"])
            .env("SEGSYNC_COMPACT", &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let told = BufReader::new(child.stdout.take().expect("piped")).lines().map(|line| line.expect("a line"));
        let steps_told = told.filter(|line| line.contains("removed")).take(steps).count();
        assert_eq!(steps_told, steps, "it is not done yet");
        child.kill().expect("killed");
        child.wait().expect("gone");
        is_whole(&path);
        let after = answers(&path, until);
        only_gone(&before, &after);
        before = after;
    }
    compact(&open(&path), i64::MAX, 100);
    assert_eq!(is_whole(&path).versions, 6, "the first and the latest of each");
}
