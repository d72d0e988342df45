//! What a file of observations may say, what it may not, and that it is taken whole or not at all.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use segsync::clock::Clock;
use segsync::simulator::Provider;
use segsync::store::Store;

use crate::common::{ID, key};
use crate::keep::world::{Ran, found, is_whole, lived, program, rows, segsync};

/// A folder with room for a database.
struct Room {
    _folder: tempfile::TempDir,
    db: PathBuf,
}

impl Room {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let db = folder.path().join("x.db");
        let config = "[store]\npath = 'x.db'\n[[source]]\nname = 'web'\nprovider = 'statsig'\n\
                      api_key = { env = 'NOBODY_READS_IT' }\nignore = ['$.n.volatile']\nsegments = ['a']\n";
        std::fs::write(folder.path().join("segsync.toml"), config).expect("written");
        Self { _folder: folder, db }
    }

    fn import(&self, args: &[&str], lines: &[&str]) -> Ran {
        let args = [&["import", "-", "-c", "segsync.toml"], args].concat();
        segsync(&self.db, &args, &lines.join("\n"))
    }

    /// The versions as `segment version op observed changed_after`, times as seconds.
    fn versions(&self) -> Vec<String> {
        rows(
            &self.db,
            "SELECT s.key || ' ' || v.seq || ' ' || v.op || ' ' || (v.observed_at / 1000) || ' '
                || coalesce(v.changed_after / 1000, '-') || ' ' || coalesce(v.document, '-')
             FROM versions AS v JOIN segments AS s ON s.id = v.segment_id ORDER BY v.id",
        )
    }
}

#[test]
fn observations_become_versions_as_if_polled() {
    let room = Room::new();
    let ran = room.import(
        &["--source", "web"],
        &[
            r#"{"id":"b","observed_at":500,"document":null}"#,
            r#"{"id":"a","observed_at":1000,"document":{"tags":["y","x"],"n":{"volatile":1,"m":1.0}}}"#,
            r#"{"id":"a","observed_at":2000,"document":{"tags":["y","x"],"n":{"volatile":1,"m":1.0}}}"#,
            r#"{"id":"a","observed_at":3000,"document":{"n":{"volatile":2,"m":1},"tags":["x","y"]}}"#,
            "",
            r#"{"id":"a","observed_at":"1970-01-01T00:00:04Z","document":{"n":{"m":2},"tags":["x","y"]}}"#,
            r#"{"id":"a","observed_at":5000,"document":null}"#,
            r#"{"id":"a","observed_at":6000,"document":null}"#,
            r#"{"id":"a","observed_at":7000,"document":{"id":"a"}}"#,
        ],
    );
    assert_eq!(
        ran.well().replace(room.db.to_str().expect("UTF-8"), "DB"),
        "standard input: 8 lines about 2 segments made 4 new versions in DB\n"
    );
    assert_eq!(
        room.versions(),
        [
            r#"a 1 create 1 - {"n":{"m":1},"tags":["x","y"]}"#,
            r#"a 2 update 4 3 {"n":{"m":2},"tags":["x","y"]}"#,
            "a 3 delete 5 4 -",
            r#"a 4 restore 7 6 {"id":"a"}"#,
        ]
    );
    is_whole(&room.db);
    assert_eq!(rows(&room.db, "SELECT op, path, old, new FROM changes"), ["replace|$.n.m|1|2"]);
    assert_eq!(
        rows(&room.db, "SELECT kind, outcome, started_at = finished_at, segment_id FROM polls"),
        ["import|updated|Integer(1)|Null"]
    );
    assert_eq!(rows(&room.db, "SELECT key FROM segments"), ["a"], "what was never there stays unknown");
    assert_eq!(
        rows(&room.db, "SELECT tracked, last_checked_at, confirmed_at FROM segments"),
        ["Integer(0)|Integer(7000)|Integer(7000)"]
    );
}

#[test]
fn a_line_that_is_known_is_no_news_and_one_from_before_is_refused() {
    let room = Room::new();
    let lines = [
        r#"{"id":"a","observed_at":500,"document":null}"#,
        r#"{"id":"a","observed_at":1000,"document":{"n":1}}"#,
        r#"{"id":"a","observed_at":2000,"document":{"n":1}}"#,
        r#"{"id":"a","observed_at":3000,"document":{"n":2}}"#,
        r#"{"id":"a","observed_at":3000,"document":{"n":3}}"#,
        r#"{"id":"a","observed_at":4000,"document":null}"#,
        r#"{"id":"a","observed_at":5000,"document":{"n":1}}"#,
    ];
    room.import(&["--source", "web"], &lines).well();
    let before = room.versions();
    assert_eq!(before.len(), 5);
    assert!(room.import(&["--source", "web"], &lines).well().contains("made 0 new versions"));
    assert_eq!(room.versions(), before);

    let refused = |lines: &[&str]| room.import(&["--source", "web"], lines).failed();
    assert_eq!(
        refused(&[lines[1], r#"{"id":"a","observed_at":1500,"document":{"n":7}}"#]),
        "segsync: standard input:2:25: 1970-01-01T00:00:01.500Z is before 1970-01-01T00:00:05.000Z, when \"a\" was last \
         observed; nothing of it was imported\n"
    );
    assert_eq!(room.versions(), before);
    assert_eq!(
        refused(&[r#"{"id":"a","observed_at":"2999-01-01","document":null}"#]),
        "segsync: standard input:1:25: 2999-01-01T00:00:00.000Z is in the future; nothing of it was imported\n"
    );
    assert_eq!(
        refused(&[r#"{"id":"a","observed_at":9000,"document":{"id":"b"}}"#]),
        "segsync: standard input:1:41: its document is of another segment: \"b\" is not \"a\"; \
         nothing of it was imported\n"
    );
    assert_eq!(
        refused(&[r#"{"id":"a","observed_at":9000,"document":{"a":{"b":[1 2]}}}"#]),
        "segsync: standard input:1:54: expected `,` or `]`; nothing of it was imported\n"
    );
    is_whole(&room.db);
}

#[test]
fn a_part_of_an_export_is_no_news_the_second_time() {
    let room = Room::new();
    let line = |version: i64, at: i64, n: i64| {
        format!(
            r#"{{"source":"web","provider":"statsig","id":"a","version":{version},"observed_at":{at},"document":{{"n":{n}}}}}"#
        )
    };
    // Its numbers are not those that the versions get here.
    let lines = [line(5, 1000, 1), line(6, 2000, 2), line(7, 2000, 1), line(8, 3000, 2)];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    room.import(&[], &lines).well();
    let before = room.versions();
    assert_eq!(before.len(), 4);
    for part in [&lines[..], &lines[1..], &lines[3..]] {
        assert!(room.import(&[], part).well().contains("made 0 new versions"), "{part:?}");
    }
    assert_eq!(room.versions(), before);
    is_whole(&room.db);
}

#[test]
fn all_or_nothing_unless_a_part_is_asked_for() {
    let room = Room::new();
    let lines = [r#"{"id":"a","observed_at":1000,"document":{}}"#, r#"{"id":"b","observed_at":1000}"#, "never read"];
    let err = room.import(&["--source", "web"], &lines).failed();
    assert_eq!(err, "segsync: standard input:2:29: it has no document; null deletes; nothing of it was imported\n");
    assert_eq!(rows(&room.db, "SELECT (SELECT count(*) FROM versions) + (SELECT count(*) FROM polls)"), ["Integer(0)"]);

    let ran = room.import(&["--source", "web", "--partial"], &lines);
    assert_eq!(ran.code, Some(1));
    assert_eq!(
        ran.err,
        "segsync: standard input:2:29: it has no document; null deletes; what comes before it was imported\n"
    );
    assert_eq!(room.versions(), ["a 1 create 1 - {}"]);
    assert_eq!(rows(&room.db, "SELECT error FROM polls"), ["ended before line 2:29: it has no document; null deletes"]);
    is_whole(&room.db);
}

#[test]
fn whose_a_line_is_must_be_known() {
    let room = Room::new();
    let plain = r#"{"id":"a","observed_at":1000,"document":{}}"#;
    let of = |source: &str, provider: &str| format!(r#"{{"source":"{source}","provider":"{provider}",{}"#, &plain[1..]);
    let failed = |args: &[&str], lines: &[&str]| room.import(args, lines).failed();
    insta::assert_snapshot!([
        failed(&[], &[plain]),
        failed(&["--source", "other"], &[plain]),
        failed(&[], &[&of("other", "nobody")]),
        failed(&["--source", "web"], &[&of("other", "octave")]),
        failed(&["--source", "web"], &[&of("one", "statsig"), &of("two", "statsig")]),
    ].concat(), @"
    segsync: standard input:1:1: it names no source; --source NAME says whose the lines are; nothing of it was imported
    segsync: standard input:1:1: source other is neither in the configuration nor in the database; nothing of it was imported
    segsync: standard input:1:1: this version knows no provider nobody; nothing of it was imported
    segsync: standard input:1:1: it is of octave, but source web is of statsig; nothing of it was imported
    segsync: standard input:2:1: the file has lines of one and of two: they cannot all be web's; nothing of it was imported
    ");
    room.import(&["--source", "web"], &[&of("one", "statsig")]).well();
    room.import(&[], &[&of("one", "statsig"), &of("two", "octave")]).well();
    assert_eq!(
        rows(&room.db, "SELECT name, provider, base_url FROM sources ORDER BY name"),
        [
            "one|statsig|https://statsigapi.net",
            "two|octave|https://app.octavehq.com",
            "web|statsig|https://statsigapi.net/"
        ]
    );
    assert_eq!(rows(&room.db, "SELECT count(*) FROM polls GROUP BY source_id"), ["Integer(1)"; 3]);
}

#[tokio::test]
async fn what_was_polled_since_stands() {
    let bench = lived().await;
    let db = bench.db_path();
    let import = |line: &str| segsync(&db, &["import", "-", "--source", "statsig"], line);
    rusqlite::Connection::open(&db).expect("opened").execute("UPDATE segments SET etag = 'e'", []).expect("set");
    let past = format!(r#"{{"id":"{ID}","observed_at":5,"document":{{}}}}"#);
    assert!(import(&past).failed().contains("was last observed"));
    let now = Clock::system().now().wall.0;
    let told = import(&format!(r#"{{"id":"{ID}","observed_at":{now},"document":{{"x":1}}}}"#)).well();
    assert!(told.contains("made 1 new version in"), "{told}");
    is_whole(&db);
    assert_eq!(rows(&db, "SELECT etag FROM segments ORDER BY source_id"), ["Null", "e"], "it was another document's");
    // The daemon goes on from there.
    bench.pass_of(Some(&[key(Provider::Statsig, ID)])).await.expect("passed");
    assert_eq!(bench.row(Provider::Statsig).version, 7);
    is_whole(&db);
}

#[test]
fn a_database_in_use_is_left_alone() {
    let room = Room::new();
    let store = Store::open(&room.db, &Clock::system(), Duration::from_secs(1)).expect("opened");
    let err = room.import(&["--source", "web"], &[r#"{"id":"a","observed_at":1,"document":{}}"#]).failed();
    let pid = std::process::id();
    assert!(
        err.ends_with(&format!(
            "another segsync (pid {pid}) is using it; an import must be alone, so stop that first\n"
        )),
        "{err}"
    );
    assert_eq!(err.lines().count(), 1);
    drop(store);
}

#[test]
fn a_kill_leaves_nothing_half_done() {
    let room = Room::new();
    room.import(&["--source", "web"], &[r#"{"id":"a","observed_at":1,"document":{}}"#]).well();
    let before = rows(&room.db, "SELECT chain FROM versions");
    for written in [0, 1_000, 20_000] {
        let mut child = program(&room.db, &["import", "-", "-c", "segsync.toml", "--source", "web"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stdin = child.stdin.take().expect("piped");
        let pad = "x".repeat(100);
        for number in 0..written {
            // What does not fit into the pipe has to be read before it goes on.
            writeln!(
                stdin,
                r#"{{"id":"s{}","observed_at":{number},"document":{{"n":{number},"pad":"{pad}"}}}}"#,
                number % 9
            )
            .expect("it reads");
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
        assert_eq!(rows(&room.db, "SELECT chain FROM versions"), before, "after {written} lines");
        assert_eq!(rows(&room.db, "SELECT count(*) FROM polls"), ["Integer(1)"]);
        is_whole(&room.db);
    }
    room.import(&["--source", "web"], &[r#"{"id":"a","observed_at":2,"document":{"x":1}}"#]).well();
    assert_eq!(found(&room.db), Vec::<String>::new());
}
