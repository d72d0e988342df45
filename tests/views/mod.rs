//! The views that analysts read: what they say of known rows, in the bundled SQLite and in the system's `sqlite3`, that
//! their times are exact, and that what must be fast is found by an index.

mod plans;
mod typed;
mod world;

use proptest::prelude::*;
use rusqlite::Connection;
use segsync::model::UnixMs;
use segsync::store::migrate::{upgrade, upgrade_to};

use world::{assert_system_agrees, rows};

/// A file that was begun with the first step of the schema.
fn database() -> Connection {
    let mut connection = Connection::open_in_memory().expect("opened");
    upgrade_to(&mut connection, 1).expect("begun");
    connection.execute_batch(include_str!("../data/migrations/0001.sql")).expect("rows");
    upgrade(&mut connection).expect("upgraded");
    connection
}

const QUERIES: [&str; 5] = [
    "SELECT source, segment, provider, name, state, version, valid_from, checked_at, modified_at, modified_by, document
     FROM segment_now ORDER BY source, segment",
    "SELECT source, segment, version, op, valid_from, valid_to, changed_after, modified_at, modified_by, revision,
            missed_revisions, document
     FROM segment_history ORDER BY source, segment, version",
    "SELECT observed_at, changed_after, source, segment, version, version_op, op, field, path, old, new, modified_by,
            summary
     FROM change_log ORDER BY observed_at, segment, field",
    "SELECT source, segment, state, checked_at, age_seconds > 0, failures, last_error FROM freshness ORDER BY segment",
    "SELECT source, hour, outcome, polls, mean_ms, max_ms FROM poll_health ORDER BY source, outcome",
];

#[test]
fn the_views_tell_the_rows() {
    let connection = database();
    insta::assert_snapshot!(rows(&connection, QUERIES[0]), @r#"
    first|beta|one|Beta|present|3|2026-01-31T09:32:00.001Z|2026-01-31T09:32:00.999Z|9223372036854775807||{"name":"Beta","tags":["x"]}
    first|gone|one|Gone|deleted|2|2026-01-31T09:31:00.999Z|2026-01-31T09:31:00.999Z|||
    second|old|two||present|1|2026-01-31T09:30:00.000Z|2026-01-31T09:30:00.000Z|||{}
    "#);
    insta::assert_snapshot!(rows(&connection, QUERIES[1]), @r#"
    first|beta|1|create|2026-01-31T09:30:00.000Z|2026-01-31T09:31:00.999Z||2026-01-31T09:28:20.000Z|Ann|1||{"a":1,"name":"Beta"}
    first|beta|2|update|2026-01-31T09:31:00.999Z|2026-01-31T09:32:00.001Z|2026-01-31T09:30:00.000Z|2026-01-31T09:30:50.000Z|Ben|4|2|{"a":2,"name":"Beta"}
    first|beta|3|update|2026-01-31T09:32:00.001Z||2026-01-31T09:31:00.999Z|9223372036854775807||5|0|{"name":"Beta","tags":["x"]}
    first|gone|1|create|2026-01-31T09:30:00.000Z|2026-01-31T09:31:00.999Z||||||{"name":"Gone"}
    first|gone|2|delete|2026-01-31T09:31:00.999Z||2026-01-31T09:30:00.000Z|||||
    second|old|1|create|2026-01-31T09:30:00.000Z|||||||{}
    "#);
    insta::assert_snapshot!(rows(&connection, QUERIES[2]), @r#"
    2026-01-31T09:30:00.000Z||first|beta|1|create|create|||||Ann|first/beta v1: created by Ann
    2026-01-31T09:30:00.000Z||first|gone|1|create|create||||||first/gone v1: created
    2026-01-31T09:30:00.000Z||second|old|1|create|create||||||second/old v1: created
    2026-01-31T09:31:00.999Z|2026-01-31T09:30:00.000Z|first|beta|2|update|replace|a|$.a|1|2|Ben|first/beta v2: a 1 → 2 by Ben
    2026-01-31T09:31:00.999Z|2026-01-31T09:30:00.000Z|first|gone|2|delete|delete||||||first/gone v2: deleted
    2026-01-31T09:32:00.001Z|2026-01-31T09:31:00.999Z|first|beta|3|update|remove|a|$.a|2|||first/beta v3: a removed 2
    2026-01-31T09:32:00.001Z|2026-01-31T09:31:00.999Z|first|beta|3|update|add|tags|$.tags||["x"]||first/beta v3: tags added ["x"]
    "#);
    insta::assert_snapshot!(rows(&connection, QUERIES[3]), @"
    first|beta|present|2026-01-31T09:32:00.999Z|1|0|
    first|gone|deleted|2026-01-31T09:31:00.999Z|1|0|
    second|new|pending|||4|time-out
    ");
    insta::assert_snapshot!(rows(&connection, QUERIES[4]), @"
    first|2026-01-31T09:00:00.000Z||1||
    first|2026-01-31T09:00:00.000Z|created|1|50.0|50
    first|2026-01-31T09:00:00.000Z|restored|1|1.0|1
    first|2026-01-31T09:00:00.000Z|updated|1|50.0|50
    second|2026-01-31T09:00:00.000Z|failed|1|10000.0|10000
    ");
}

#[test]
fn the_systems_sqlite3_tells_the_same() {
    assert_system_agrees(&database(), &QUERIES.map(str::to_owned));
}

#[test]
fn a_restore_with_changes_is_one_row_and_a_summary_one_short_line() {
    let connection = database();
    connection
        .execute_batch(
            "INSERT INTO versions (id, segment_id, seq, op, observed_at, hash, chain, document, poll_id) VALUES
                (7, 2, 3, 'restore', 1769851990000, zeroblob(32), zeroblob(32), '{}', 6),
                (8, 4, 2, 'update', 1769851990000, zeroblob(32), zeroblob(32), '{}', 6);
             INSERT INTO paths (id, path) VALUES (11, '$.name'), (12, '$.x'), (13, '$.rules[0]');
             INSERT INTO fields (id, field) VALUES (11, 'name'), (12, 'x'), (13, 'rules[b]'), (14, 'two' || char(10) || 'lines');
             INSERT INTO change_rows (version_id, ordinal, segment_id, observed_at, op, path_id, field_id, old, new) VALUES
                (7, 0, 2, 1769851990000, 'remove', 11, 11, '\"Gone\"', NULL),
                (7, 1, 2, 1769851990000, 'add', 12, 12, NULL, '1'),
                (8, 0, 4, 1769851990000, NULL, 12, 14, printf('%0100d', 7), 'null'),
                (8, 1, 4, 1769851990000, 'move', 13, 13, '1', '0');",
        )
        .expect("rows");
    let sql = "SELECT summary FROM change_log WHERE observed_at >= '2026-01-31T09:33' ORDER BY version, field DESC";
    insta::assert_snapshot!(rows(&connection, sql), @"
    second/old v2: two lines 00000000000000000000000000000000000000000000000000000000000… → null
    second/old v2: rules[b] moved from 1 to 0
    first/gone v3: restored
    ");
}

/// `valid_from` of a version that was observed at this time.
fn shown(connection: &Connection, at: i64) -> String {
    connection.execute("UPDATE versions SET observed_at = ?1, valid_to = NULL WHERE id = 3", [at]).expect("set");
    connection
        .query_row("SELECT valid_from FROM segment_history WHERE source = 'second'", [], |row| row.get(0))
        .expect("a time")
}

#[test]
fn every_millisecond_of_a_second_is_shown_exactly() {
    let connection = database();
    for second in [0, 1_769_851_859_000, 1_769_851_860_000, 253_402_200_000_000, -1_000, -62_135_596_800_000] {
        for at in (second..second + 1_000).step_by(if second == 1_769_851_859_000 { 1 } else { 37 }) {
            assert_eq!(shown(&connection, at), UnixMs(at).to_string());
        }
        assert_eq!(shown(&connection, second + 999), UnixMs(second + 999).to_string());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_time_is_shown_as_the_rest_of_the_program_shows_it(
        times in prop::collection::vec(-62_135_596_800_000_i64..253_402_200_000_000, 8)
    ) {
        let connection = database();
        for at in times {
            prop_assert_eq!(shown(&connection, at), UnixMs(at).to_string());
        }
    }
}
