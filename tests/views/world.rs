//! Databases with documents of one's own making, and ways to read views.

use std::path::Path;
use std::process::Command;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};
use segsync::store::migrate::upgrade;
use serde_json::Value;

/// The documents that the providers publish, with every member that they document.
pub(crate) fn documents(provider: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../data/documents.json")).expect("JSON");
    all[provider].as_array().expect("documents").clone()
}

/// An empty, up-to-date database.
pub(crate) fn empty() -> Connection {
    let mut connection = Connection::open_in_memory().expect("opened");
    upgrade(&mut connection).expect("upgraded");
    connection
}

/// A database with one present segment for each document of each provider, named by its number: `statsig/0`, `statsig/1`…
/// The sources bear the providers' names.
pub(crate) fn holding(documents: &[(&str, &[Value])]) -> Connection {
    let connection = empty();
    for (provider, documents) in documents {
        connection
            .execute(
                "INSERT INTO sources (name, provider, base_url, state, state_since) VALUES (?1, ?1, 'https://x', 'ok', 0)",
                [provider],
            )
            .expect("a source");
        let source = connection.last_insert_rowid();
        for (number, document) in documents.iter().enumerate() {
            connection
                .execute(
                    "INSERT INTO segments (source_id, key, tracked, state, version) VALUES (?1, ?2, 1, 'present', 1)",
                    params![source, number.to_string()],
                )
                .expect("a segment");
            connection
                .execute(
                    "INSERT INTO versions (segment_id, seq, op, observed_at, hash, chain, document, poll_id)
                     VALUES (?1, 1, 'create', 0, zeroblob(32), zeroblob(32), ?2, 1)",
                    params![connection.last_insert_rowid(), document.to_string()],
                )
                .expect("a version");
        }
    }
    connection
}

/// A cell as text; a number with a fraction, or one that is too large, as Rust's `{:?}` has it.
pub(crate) type Cell = Option<String>;

/// All rows.
pub(crate) fn table(connection: &Connection, sql: &str) -> Vec<Vec<Cell>> {
    let mut statement = connection.prepare(sql).expect(sql);
    let columns = statement.column_count();
    let mut found = statement.query([]).expect(sql);
    let mut table = Vec::new();
    while let Some(row) = found.next().expect(sql) {
        let cell = |at| match row.get_ref(at).expect("a column") {
            ValueRef::Null => None,
            ValueRef::Integer(number) => Some(number.to_string()),
            ValueRef::Real(number) => Some(format!("{number:?}")),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        };
        table.push((0..columns).map(cell).collect());
    }
    table
}

/// The rows as `sqlite3` prints them in its list mode.
pub(crate) fn rows(connection: &Connection, sql: &str) -> String {
    let line = |row: Vec<Cell>| row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|") + "\n";
    table(connection, sql).into_iter().map(line).collect()
}

/// What the system's `sqlite3` prints; `None`, said aloud, where there is no such program.
pub(crate) fn system(file: &Path, sql: &str) -> Option<String> {
    match Command::new("sqlite3").args(["-batch", "-init", "/dev/null"]).arg(file).arg(sql).output() {
        Ok(ran) => {
            assert_eq!(String::from_utf8_lossy(&ran.stderr), "", "{sql}");
            Some(String::from_utf8_lossy(&ran.stdout).into_owned())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("NOT TRIED with the system's sqlite3: there is none here");
            None
        }
        Err(error) => panic!("sqlite3: {error}"),
    }
}

/// Asserts that the system's `sqlite3` finds the same rows in a copy of the database.
pub(crate) fn assert_system_agrees(connection: &Connection, queries: &[String]) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.db");
    connection.execute("VACUUM INTO ?1", [file.to_str()]).expect("written");
    for sql in queries {
        let Some(printed) = system(&file, sql) else { return };
        let ours = rows(connection, sql);
        let differs = printed.lines().zip(ours.lines()).find(|(theirs, ours)| theirs != ours);
        assert!(printed == ours, "{sql}\n{differs:?}");
    }
}
