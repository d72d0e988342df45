//! Every kind of damage is found, and nothing else.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::Value;
use segsync::model::Check;

use crate::common::Bench;
use crate::keep::world::{checks, found, is_whole, lived, vandal, verify};

/// A copy of the history that somebody has been at.
fn after(bench: &Bench, name: &str, sql: &str) -> PathBuf {
    let path = bench.folder.path().join(format!("{name}.db"));
    std::fs::copy(bench.db_path(), &path).expect("copied");
    vandal(&path).execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    path
}

#[tokio::test]
async fn each_kind_of_tampering_is_found() {
    let bench = lived().await;
    let verified = is_whole(&bench.db_path());
    assert_eq!((verified.segments, verified.versions), (2, 10));
    let find = |name: &str, sql: &str| found(&after(&bench, name, sql));

    assert_eq!(
        find("document", "UPDATE versions SET document = replace(document, 'Two', 'Too') WHERE id = 3"),
        ["chain statsig/seg_1 v2", "hash statsig/seg_1 v2", "fold statsig/seg_1 v2", "fold statsig/seg_1 v3"]
    );
    assert_eq!(
        find(
            "field",
            "INSERT INTO fields (id, field) VALUES (99, 'x');
             UPDATE change_rows SET field_id = 99 WHERE version_id = 4 AND ordinal = 0"
        ),
        ["chain octave/seg_1 v2"]
    );
    assert_eq!(
        find("name", "UPDATE fields SET field = 'x' WHERE field = 'name'"),
        ["chain statsig/seg_1 v2", "chain octave/seg_1 v2"],
        "of every change that bears it"
    );
    assert_eq!(
        find("value", "UPDATE change_rows SET new = '\"Ten\"' WHERE new = '\"Two\"' AND version_id = 3"),
        ["chain statsig/seg_1 v2", "fold statsig/seg_1 v2"]
    );
    assert_eq!(
        find("lost change", "DELETE FROM change_rows WHERE version_id = 3 AND ordinal = 0"),
        ["chain statsig/seg_1 v2", "chain statsig/seg_1 v2", "fold statsig/seg_1 v2"]
    );
    assert_eq!(
        find(
            "middle",
            "DELETE FROM change_rows WHERE version_id = 3; DELETE FROM versions WHERE id = 3;
             UPDATE versions SET valid_to = (SELECT observed_at FROM versions WHERE id = 5) WHERE id = 1"
        ),
        ["chain", "chain octave/seg_1 v2", "order statsig/seg_1 v1"],
        "a row is missing, and the next one follows another"
    );
    assert_eq!(
        find(
            "last",
            "DELETE FROM change_rows WHERE version_id = 10; DELETE FROM versions WHERE id = 10;
             UPDATE versions SET valid_to = NULL WHERE id = 8;
             UPDATE segments SET version = 4, state = 'deleted', last_changed_at =
                (SELECT observed_at FROM versions WHERE id = 8) WHERE id = 2"
        ),
        ["chain"],
        "even where everything else was made to fit"
    );
    assert_eq!(
        find(
            "swapped",
            "UPDATE versions SET id = -3 WHERE id = 3; UPDATE versions SET id = 3 WHERE id = 5;
             UPDATE versions SET id = 5 WHERE id = -3;
             UPDATE change_rows SET version_id = -3 WHERE version_id = 3;
             UPDATE change_rows SET version_id = 3 WHERE version_id = 5;
             UPDATE change_rows SET version_id = 5 WHERE version_id = -3"
        ),
        ["chain statsig/seg_1 v3", "chain octave/seg_1 v2", "chain statsig/seg_1 v2", "chain octave/seg_1 v3"]
    );
    assert_eq!(
        find(
            "inserted",
            "INSERT INTO versions (segment_id, seq, op, observed_at, changed_after, hash, chain, document, poll_id)
             SELECT segment_id, 6, 'update', observed_at, changed_after, hash, chain, document, poll_id
             FROM versions WHERE id = 9;
             UPDATE versions SET valid_to = observed_at WHERE id = 9; UPDATE segments SET version = 6 WHERE id = 1"
        ),
        ["chain statsig/seg_1 v6"],
        "even where everything else was made to fit"
    );
    assert_eq!(find("orphan", "DELETE FROM sources WHERE id = 2").first().map(String::as_str), Some("reference"));
    assert_eq!(
        find("renamed", "UPDATE segments SET key = 'other' WHERE id = 2").len(),
        5,
        "a history that is called another segment's"
    );
}

#[tokio::test]
async fn every_cell_of_the_history_counts() {
    let bench = lived().await;
    let path = bench.db_path();
    let tried = flip_every_cell(&path);
    assert!(tried > 200, "{tried}");
    is_whole(&path);
}

/// Changes each cell, one after the other: every one of these is found. Returns how many there were.
pub(crate) fn flip_every_cell(path: &Path) -> usize {
    let raw = vandal(path);
    let mut tried = 0;
    for (table, columns) in [
        (
            "versions",
            "id, segment_id, seq, op, cause, observed_at, valid_to, changed_after, modified_at, modified_by, \
                      revision, missed_revisions, hash, chain, document, poll_id, end_seal",
        ),
        ("change_rows", "version_id, ordinal, segment_id, observed_at, op, path_id, field_id, old, new"),
        ("fields", "id, field"),
        ("paths", "id, path"),
        ("segments", "source_id, key, state, first_seen_at, last_changed_at, version"),
        ("checkpoints", "first_id, last_id, before, after, removed_at, seal"),
    ] {
        for column in columns.split(", ") {
            for (key, row) in keys(&raw, table) {
                let cell = format!("SELECT {column} FROM {table} WHERE {row}");
                let before: Value = raw.query_row(&cell, [], |row| row.get(0)).expect("a cell");
                let set = |value: &Value, row: &str| {
                    raw.execute(&format!("UPDATE {table} SET {column} = ?1 WHERE {row}"), [value])
                };
                let other = another(column, &before);
                // What a constraint of the table refuses cannot be in a file.
                if set(&other, &row).is_err() {
                    continue;
                }
                tried += 1;
                let (findings, _) = verify(path);
                assert!(!findings.is_empty(), "{table}.{column} of {row}: {before:?} → {other:?}");
                let row = match (&other, key.iter().find(|(name, _)| name == column)) {
                    (Value::Integer(other), Some((name, value))) => {
                        row.replace(&format!("{name} = {value}"), &format!("{name} = {other}"))
                    }
                    _ => row,
                };
                assert_eq!(set(&before, &row), Ok(1), "set back");
            }
        }
    }
    tried
}

/// The columns that tell a row from the others with their values, and the term that finds it.
fn keys(raw: &Connection, table: &str) -> Vec<(Vec<(String, i64)>, String)> {
    let names: &[&str] = match table {
        "change_rows" => &["version_id", "ordinal"],
        "checkpoints" => &["first_id"],
        _ => &["id"],
    };
    // Paths stay where the changes are gone.
    let used = if table == "paths" { "WHERE id IN (SELECT path_id FROM change_rows)" } else { "" };
    let mut statement = raw.prepare(&format!("SELECT {} FROM {table} {used}", names.join(", "))).expect("prepared");
    let rows = statement.query_map([], |row| {
        let key: rusqlite::Result<Vec<(String, i64)>> =
            names.iter().map(|name| Ok(((*name).to_owned(), row.get(*name)?))).collect();
        key
    });
    let term = |key: Vec<(String, i64)>| {
        let terms: Vec<String> = key.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        (key, terms.join(" AND "))
    };
    rows.expect("rows").map(|key| term(key.expect("a key"))).collect()
}

/// Another value of the same type: one bit of it is flipped.
fn another(column: &str, value: &Value) -> Value {
    match (column, value) {
        ("id", _) => Value::Integer(999),
        (_, Value::Integer(number)) => Value::Integer(number ^ 1),
        (_, Value::Blob(bytes)) => Value::Blob([&[bytes[0] ^ 1], &bytes[1..]].concat()),
        ("cause", _) => Value::Text("schema".to_owned()),
        ("op", Value::Text(op)) => {
            let words = ["create", "update", "delete", "restore", "add", "remove", "replace", "move"];
            let at = words.iter().position(|word| word == op).expect("an op");
            Value::Text(words[at ^ 1].to_owned())
        }
        ("state", Value::Text(state)) => Value::Text(if state == "present" { "deleted" } else { "present" }.to_owned()),
        (_, Value::Text(text)) => {
            let mut bytes = text.clone().into_bytes();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            Value::Text(String::from_utf8(bytes).expect("ASCII stays ASCII"))
        }
        (_, Value::Null | Value::Real(_)) => match column {
            "modified_by" | "document" | "old" | "new" => Value::Text("1".to_owned()),
            "op" => Value::Text("add".to_owned()),
            "hash" | "chain" | "end_seal" => Value::Blob(vec![1; 32]),
            _ => Value::Integer(1),
        },
    }
}

#[tokio::test]
async fn a_damaged_page_is_a_finding_and_no_failure() {
    let bench = lived().await;
    let path = bench.db_path();
    let raw = vandal(&path);
    let page = |name: &str| -> i64 {
        let root = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        raw.query_row(root, [name], |row| row.get(0)).expect("a page")
    };
    let (index, table) = (page("versions_as_of"), page("change_rows"));
    drop(raw);
    let damaged = |page: i64| {
        let copy = bench.folder.path().join(format!("page{page}.db"));
        std::fs::copy(&path, &copy).expect("copied");
        let mut file = std::fs::OpenOptions::new().write(true).open(&copy).expect("opened");
        file.seek(SeekFrom::Start(4096 * u64::try_from(page - 1).expect("positive"))).expect("there");
        file.write_all(&[0xff; 64]).expect("written");
        checks(&copy)
    };
    for checks in [damaged(index), damaged(table)] {
        assert_eq!(checks.first(), Some(&Check::File), "{checks:?}");
    }
}

#[tokio::test]
async fn a_daemon_may_write_meanwhile() {
    let bench = lived().await;
    let writer = vandal(&bench.db_path());
    let reader = segsync::store::Reader::open(bench.db_path()).expect("opened");
    let mut findings = 0;
    let mut on_step = |_| {
        writer.execute("UPDATE versions SET modified_by = 'Eve' WHERE id = 1", []).expect("it is not locked");
    };
    reader.verify(&mut on_step, &mut |_| findings += 1).expect("read");
    assert_eq!(findings, 0, "it looks at one moment");
    reader.verify(&mut |_| (), &mut |_| findings += 1).expect("read");
    assert_eq!(findings, 1, "and at another the next time");
}
