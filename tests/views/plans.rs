//! What must be fast is found by an index, in the bundled SQLite and in the system's.

use crate::views::database;
use crate::views::world::{rows, system};

/// Each query, the steps that its plan must have, and those that it must not.
const PLANS: &[(&str, &[&str], &[&str])] = &[
    (
        "SELECT document FROM segment_now WHERE source = 'first' AND segment = 'beta'",
        &["sqlite_autoindex_versions_1 (segment_id=? AND seq=?)"],
        &[],
    ),
    (
        "SELECT document FROM segment_history WHERE source = 'first' AND segment = 'beta'
         AND valid_from <= '2026-02-01' AND (valid_to IS NULL OR valid_to > '2026-02-01')",
        &["versions_as_of (segment_id=?)"],
        &[],
    ),
    (
        "SELECT source, segment, document FROM segment_history
         WHERE valid_from <= '2026-02-01' AND (valid_to IS NULL OR valid_to > '2026-02-01')",
        &["versions_by_shown_time (observed_at_text<?)"],
        &[],
    ),
    (
        "SELECT * FROM change_log WHERE observed_at >= '2026-02-01' ORDER BY observed_at DESC LIMIT 50",
        &["changes_by_shown_time (observed_at_text>?)", "versions_logged (observed_at_text>?)"],
        &["TEMP B-TREE"],
    ),
    (
        "SELECT observed_at, summary FROM change_log ORDER BY observed_at DESC LIMIT 50",
        &["changes_by_shown_time", "versions_logged"],
        &["TEMP B-TREE"],
    ),
    (
        "SELECT count(*) FROM change_log WHERE observed_at >= '2026-02-01' AND observed_at < '2026-02-02'",
        &["changes_by_shown_time (observed_at_text>? AND observed_at_text<?)"],
        &[],
    ),
    (
        "SELECT * FROM change_log WHERE field = 'a' ORDER BY observed_at DESC LIMIT 50",
        &["changes_by_shown_field (field_id=?)"],
        &["TEMP B-TREE"],
    ),
    (
        "SELECT * FROM change_log WHERE field = 'a' AND observed_at >= '2026-02-01' ORDER BY observed_at DESC",
        &["changes_by_shown_field (field_id=? AND observed_at_text>?)"],
        &["TEMP B-TREE"],
    ),
    (
        "SELECT * FROM change_log WHERE source = 'first' AND segment = 'beta' ORDER BY observed_at DESC LIMIT 50",
        &["changes_by_shown_segment (segment_id=?)", "versions_logged_by_segment (segment_id=?)"],
        &["TEMP B-TREE"],
    ),
    (
        // As `segsync export --format csv` asks for each version.
        "SELECT * FROM change_log WHERE source = 'first' AND segment = 'beta' AND version = 2",
        &["sqlite_autoindex_versions_1 (segment_id=? AND seq=?)", "PRIMARY KEY (version_id=?)"],
        &["changes_by_shown_segment"],
    ),
    (
        "SELECT * FROM change_log WHERE field GLOB 'a*'",
        &["sqlite_autoindex_fields_1 (field>? AND field<?)", "changes_by_shown_field (field_id=?)"],
        &[],
    ),
    (
        "SELECT * FROM statsig_rules WHERE source = 'first' AND segment = 'beta'",
        &[
            "sqlite_autoindex_segments_1 (source_id=? AND key=?)",
            "sqlite_autoindex_versions_1 (segment_id=? AND seq=?)",
        ],
        &[],
    ),
];

fn assert_plans(told: impl Fn(&str) -> Option<String>) {
    for (sql, steps, never) in PLANS {
        let Some(plan) = told(&format!("EXPLAIN QUERY PLAN {sql}")) else { return };
        for step in *steps {
            assert!(plan.contains(step), "{sql}\n{step} is missing in\n{plan}");
        }
        for step in *never {
            assert!(!plan.contains(step), "{sql}\n{step} is in\n{plan}");
        }
    }
}

#[test]
fn as_of_the_latest_and_the_change_log_are_found_by_indexes() {
    let connection = database();
    assert_plans(|sql| Some(rows(&connection, sql)));
}

#[test]
fn the_systems_sqlite3_finds_them_by_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.db");
    database().execute("VACUUM INTO ?1", [file.to_str()]).expect("written");
    assert_plans(|sql| system(&file, sql));
}
