//! Every migration meets rows: what a step's sample rows say must still be there after all later steps, and a step that
//! has been run before is not run again.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use segsync::store::migrate::{STEPS, upgrade, upgrade_to};

fn sample_rows(step: usize) -> String {
    let file = format!("{}/tests/data/migrations/{step:04}.sql", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(Path::new(&file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// How many rows each table holds.
fn counts(connection: &Connection) -> BTreeMap<String, i64> {
    let mut statement = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        .expect("prepared");
    let tables = statement.query_map([], |row| row.get::<_, String>(0)).expect("tables");
    tables
        .map(|table| {
            let table = table.expect("a name");
            let rows = count(connection, &table);
            (table, rows)
        })
        .collect()
}

fn count(connection: &Connection, table: &str) -> i64 {
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("counted")
}

#[test]
fn rows_of_every_step_live_on() {
    for step in 1..=STEPS.len() {
        let mut connection = Connection::open_in_memory().expect("opened");
        upgrade_to(&mut connection, step).expect("stepped");
        connection.execute_batch(&sample_rows(step)).unwrap_or_else(|error| panic!("rows of step {step}: {error}"));
        let before = counts(&connection);
        assert!(before.values().all(|rows| *rows > 0), "the samples of step {step} fill every table: {before:?}");
        upgrade(&mut connection).expect("upgraded");
        for (table, rows) in before {
            // A table of then may be a view of now.
            assert_eq!(count(&connection, &table), rows, "{table} after step {step}");
        }
        let broken: i64 = connection
            .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))
            .expect("checked");
        assert_eq!(broken, 0);
        let whole: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
        assert_eq!(whole, "ok");
    }
}

#[test]
fn every_table_is_strict_and_upgrading_twice_changes_nothing() {
    let mut connection = Connection::open_in_memory().expect("opened");
    upgrade(&mut connection).expect("upgraded");
    upgrade(&mut connection).expect("upgraded again");
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("a number");
    assert_eq!(usize::try_from(version), Ok(STEPS.len()));
    let id: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0)).expect("a number");
    assert_eq!(id, 0x5345_4753);
    let loose: i64 = connection
        .query_row(
            "SELECT count(*) FROM pragma_table_list WHERE type = 'table' AND strict = 0 AND name NOT LIKE 'sqlite_%'",
            [],
            |row| row.get(0),
        )
        .expect("counted");
    assert_eq!(loose, 0);
}
