//! Whose file it is, what a fresh one holds, and that there is one writer.

use rusqlite::Connection;
use segsync::model::Op;
use segsync::store::migrate::latest_version;
use segsync::store::{LogFilter, OpenError, Reader, Store};

use crate::store::world::{TIMEOUT, World, change, contents, tracking};

/// The refusal, after a check that it left every file as it was.
fn refused(world: &World) -> OpenError {
    let before = contents(world.folder.path());
    let error = Store::open(world.file(), &world.clock(), TIMEOUT).expect_err("refused");
    assert_eq!(contents(world.folder.path()), before, "nothing was touched");
    Reader::open(world.file()).expect_err("a reader refuses as well");
    assert_eq!(contents(world.folder.path()), before, "a reader touches nothing either");
    error
}

#[test]
fn a_fresh_file_has_the_columns_of_the_contract() {
    let world = World::new();
    drop(world.open());
    let raw = world.raw();
    let mut statement = raw
        .prepare(
            "SELECT t.type || ' ' || t.name || ': ' || group_concat(c.name, ', ')
             FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
             WHERE t.type IN ('table', 'view') AND t.name NOT LIKE 'sqlite_%' GROUP BY t.name ORDER BY t.type, t.rootpage, t.rowid",
        )
        .expect("prepared");
    let lines: Vec<String> =
        statement.query_map([], |row| row.get(0)).expect("rows").map(|line| line.expect("a line")).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    table sources: id, name, provider, base_url, state, state_since, last_error, held_until, pace
    table segments: id, source_id, key, tracked, state, first_seen_at, last_checked_at, last_changed_at, version, failures, last_error, etag, confirmed_at, checked_boot_ms, not_found
    table versions: id, segment_id, seq, op, cause, observed_at, valid_to, changed_after, modified_at, modified_by, revision, missed_revisions, hash, chain, document, poll_id, end_seal
    table polls: id, source_id, segment_id, kind, started_at, finished_at, outcome, http_status, bytes, usage, error, boot_ms
    table clock: boot_id, monotonic_ms, wall_ms, first_poll, one
    table schema_events: id, source_id, observed_at, path, kind, segments, last_seen_at
    table schema_versions: version_id
    table checkpoints: first_id, last_id, before, after, removed_at, seal
    table change_rows: version_id, ordinal, segment_id, observed_at, op, path_id, field_id, old, new
    table fields: id, field
    table paths: id, path
    view segment_now: source, segment, provider, name, state, version, valid_from, checked_at, modified_at, modified_by, document
    view segment_history: source, segment, version, op, valid_from, valid_to, changed_after, modified_at, modified_by, revision, missed_revisions, document
    view freshness: source, segment, state, checked_at, age_seconds, failures, last_error
    view poll_health: source, hour, outcome, polls, mean_ms, max_ms
    view statsig_segments: source, segment, name, type, is_enabled, id_type, description, count, tags, target_apps, holdout_ids, team, team_id, revision, created_at, creator_id, creator_name, creator_email, modified_at, modifier_id, modifier_name, modifier_email, rule_count
    view statsig_rules: source, segment, position, id, base_id, name, pass_percentage, environments, return_value, condition_count
    view statsig_conditions: source, segment, rule_position, rule_id, rule_name, position, type, operator, field, custom_id, target_value
    view octave_segments: source, segment, name, internal_name, description, active, unrecognized, rejected, created_at, updated_at, deleted_at, archived_at, user_id, user_name, workspace_id, data
    view octave_questions: source, segment, position, question, rationale, fit_type, weight, archived_at
    view segment_fields: source, segment, field, path, type, value
    view segment_gaps: source, segment, first_version, last_version, versions, gone_from, gone_to
    view changes: version_id, ordinal, segment_id, observed_at, op, path, field, old, new
    view change_log: observed_at, changed_after, source, segment, version, version_op, op, field, path, old, new, modified_by, summary
    ");
    assert_eq!(world.number("PRAGMA application_id"), 0x5345_4753);
    assert_eq!(world.number("PRAGMA user_version"), latest_version());
    let mode: String = raw.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("a mode");
    assert_eq!(mode, "wal");
}

#[test]
fn an_empty_file_is_as_good_as_none() {
    let world = World::new();
    std::fs::write(world.file(), "").expect("written");
    assert!(matches!(Reader::open(world.file()), Err(OpenError::Missing { .. })));
    drop(world.open());
    Reader::open(world.file()).expect("a database now");
}

#[test]
fn a_reader_makes_no_file() {
    let world = World::new();
    let error = Reader::open(world.file()).expect_err("nothing there");
    assert!(
        error.to_string().ends_with("there is no database yet; `segsync run` or `segsync sync` makes it"),
        "{error}"
    );
    assert!(matches!(Reader::open(world.folder.path().join("no/such.db")), Err(OpenError::Missing { .. })));
    assert_eq!(contents(world.folder.path()), []);
}

#[test]
fn other_peoples_files_are_left_alone() {
    let world = World::new();
    for text in ["x", &"a letter, not a database. ".repeat(100)] {
        std::fs::write(world.file(), text).expect("written");
        let error = refused(&world);
        assert!(matches!(error, OpenError::Foreign { .. }));
        assert!(error.to_string().ends_with("it is no SQLite database, not a segsync database; it is left as it is"));
    }
    std::fs::remove_file(world.file()).expect("removed");
    for set_up in [
        "CREATE TABLE t (x)",
        "PRAGMA application_id = 7; PRAGMA user_version = 1; CREATE TABLE u (x)",
        "PRAGMA journal_mode = WAL",
    ] {
        world.raw().execute_batch(set_up).expect(set_up);
        assert!(matches!(refused(&world), OpenError::Foreign { .. }), "{set_up}");
    }
    std::fs::remove_file(world.file()).expect("removed");
    std::fs::create_dir(world.file()).expect("made");
    assert!(matches!(refused(&world), OpenError::Foreign { what: "not a regular file", .. }));
}

#[test]
fn a_newer_file_is_left_alone() {
    let world = World::new();
    drop(world.open());
    world.raw().pragma_update(None, "user_version", latest_version() + 1).expect("set");
    std::fs::remove_file(world.folder.path().join("segsync.db-lock")).expect("removed");
    let error = refused(&world);
    assert!(matches!(error, OpenError::Newer { .. }));
    let known = latest_version();
    let text = format!("a newer segsync wrote it (schema {}, this one knows {known}); it is left as it is", known + 1);
    assert!(error.to_string().ends_with(&text), "{error}");
}

#[test]
fn a_newer_file_whose_version_waits_in_the_log_is_left_alone() {
    let world = World::new();
    drop(world.open());
    let keeper = world.raw();
    keeper.pragma_update(None, "user_version", latest_version() + 1).expect("set");
    // As a kill would leave it: the database, and the log that was not moved into it.
    let killed = World::new();
    for suffix in ["", "-wal"] {
        let name = format!("segsync.db{suffix}");
        std::fs::copy(world.folder.path().join(&name), killed.folder.path().join(&name)).expect("copied");
    }
    let header = std::fs::read(killed.file()).expect("read");
    let in_header = i64::from(u32::from_be_bytes(header[60..64].try_into().expect("four bytes")));
    assert_eq!(in_header, latest_version(), "the header does not know");
    let (before, log) = (contents(killed.folder.path()), killed.folder.path().join("segsync.db-wal"));
    let error = Store::open(killed.file(), &killed.clock(), TIMEOUT).expect_err("refused");
    let known = latest_version();
    assert!(
        matches!(error, OpenError::Newer { found, known: ours, .. } if (found, ours) == (known + 1, known)),
        "{error}"
    );
    assert!(matches!(Reader::open(killed.file()), Err(OpenError::Newer { .. })));
    assert_eq!(std::fs::read(killed.file()).expect("read"), before[0].1);
    assert_eq!(std::fs::read(log).expect("read"), before[1].1);
    assert!(!killed.folder.path().join("segsync.db-lock").exists());
    drop(keeper);
}

#[test]
fn a_second_writer_is_refused_with_one_line_that_names_the_first() {
    let world = World::new();
    let first = world.open();
    let link = world.folder.path().join("link.db");
    std::os::unix::fs::symlink(world.file(), &link).expect("linked");
    for path in [world.file(), link] {
        let error = Store::open(path, &world.clock(), TIMEOUT).expect_err("refused").to_string();
        assert!(error.contains(&format!("another segsync (pid {}) is using it", std::process::id())), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
    Reader::open(world.file()).expect("readers are welcome");
    drop(first);
    world.open();
}

#[test]
fn a_damaged_file_is_an_error_and_no_panic() {
    let world = World::new();
    drop(world.open());
    world.raw().execute_batch("PRAGMA journal_mode = DELETE").expect("one file");
    let mut bytes = std::fs::read(world.file()).expect("read");
    bytes[100..4096].fill(0xff);
    std::fs::write(world.file(), bytes).expect("written");
    let error = Store::open(world.file(), &world.clock(), TIMEOUT).expect_err("damaged").to_string();
    assert!(error.contains("it is damaged"), "{error}");
    let error = Reader::open(world.file()).expect_err("damaged").to_string();
    assert!(error.contains("it is damaged"), "{error}");
}

/// A checkpoint writes page after page, the header first: what a kill or a full disk leaves is whole with its log.
#[tokio::test]
async fn a_file_whose_checkpoint_was_cut_short_is_whole() {
    let (world, cut) = (World::new(), World::new());
    let (store, declared) = tracking(&world, &["a"]).await;
    store.checkpoint().await.expect("an empty log");
    for n in 0..10 {
        let op = if n == 0 { Op::Create } else { Op::Update };
        let text = format!("\"{n}{}\"", "x".repeat(50_000));
        change(&world, &store, &declared.segments[0], n, op, Some(&text)).await;
    }
    for suffix in ["", "-wal"] {
        let name = format!("segsync.db{suffix}");
        std::fs::copy(world.folder.path().join(&name), cut.folder.path().join(&name)).expect("copied");
    }
    store.close().await.expect("closed");
    let (whole, mut part) = [&world, &cut].map(|world| std::fs::read(world.file()).expect("read")).into();
    assert!(part.len() < whole.len(), "its pages wait in the log");
    for pages in [1, 2, part.len() / 4096] {
        part[..pages * 4096].copy_from_slice(&whole[..pages * 4096]);
        std::fs::write(cut.file(), &part).expect("written");
        let reader = Reader::open(cut.file()).unwrap_or_else(|error| panic!("{pages} pages: {error}"));
        assert_eq!(reader.log(&LogFilter::default()).expect("read").len(), 10, "{pages} pages");
    }
    drop(Store::open(cut.file(), &cut.clock(), TIMEOUT).expect("opened"));
    assert_eq!(cut.number("SELECT count(*) FROM versions"), 10);
}

#[test]
fn a_reader_does_not_wait_for_a_writer() {
    let world = World::new();
    drop(world.open());
    let other = Connection::open(world.file()).expect("opened");
    other.execute_batch("BEGIN EXCLUSIVE").expect("locked");
    Reader::open(world.file()).expect("opened").sources().expect("read");
}
