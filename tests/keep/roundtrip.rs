//! Out and in again: the same history, byte for byte; and what is brought in is what polling would have written.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use segsync::document::Document;
use segsync::provider;
use serde_json::{Value, json};

use crate::keep::world::{is_whole, lived, rows, segsync, vandal};

fn export(db: &Path) -> String {
    segsync(db, &["export"], "").well()
}

/// What a history says, apart from row ids and from who polled it.
const CONTENT: &str = "
    SELECT src.name, s.key, v.seq, v.op, v.cause, v.observed_at, v.valid_to, v.changed_after, v.modified_at,
           v.modified_by, v.revision, v.missed_revisions, hex(v.hash), v.document, c.ordinal, c.op, c.path, c.field,
           c.old, c.new
    FROM versions AS v
    JOIN segments AS s ON s.id = v.segment_id
    JOIN sources AS src ON src.id = s.source_id
    LEFT JOIN changes AS c ON c.version_id = v.id
    ORDER BY v.id, c.ordinal";

#[tokio::test]
async fn what_was_polled_comes_out_and_goes_in_again() {
    let bench = lived().await;
    let room = tempfile::tempdir().expect("a folder");
    let (first, second) = (export(&bench.db_path()), room.path().join("second.db"));
    assert_eq!(first.lines().count(), 10);
    segsync(&second, &["import", "-"], &first).well();
    is_whole(&second);
    assert_eq!(export(&second), first);
    assert_eq!(rows(&second, CONTENT), rows(&bench.db_path(), CONTENT), "the same changes are found");
    let again = segsync(&second, &["import", "-"], &first).well();
    assert!(again.contains("made 0 new versions") && again.contains("10 lines known already"), "{again}");
    assert_eq!(export(&second), first);
}

#[tokio::test]
async fn odd_values_survive() {
    let bench = lived().await;
    // Verify would complain; an export tells what is there.
    vandal(&bench.db_path())
        .execute_batch(
            "UPDATE versions SET cause = 'schema', modified_at = 9223372036854775807 WHERE id = 3;
             UPDATE versions SET modified_by = 'a\"b' || char(10) || '\u{2028}=1', modified_at = -1 WHERE id = 4;
             UPDATE versions SET modified_by = '', changed_after = NULL WHERE id = 5",
        )
        .expect("set");
    let room = tempfile::tempdir().expect("a folder");
    let (first, second) = (export(&bench.db_path()), room.path().join("second.db"));
    assert!(first.contains(r#""op":"update","cause":"schema","#) && first.contains(":9223372036854775807,"));
    segsync(&second, &["import", "-"], &first).well();
    is_whole(&second);
    assert_eq!(export(&second), first);
}

#[tokio::test]
async fn an_export_can_be_of_a_part() {
    let bench = lived().await;
    let db = bench.db_path();
    let lines = |args: &[&str]| -> Vec<Value> {
        let out = segsync(&db, &[&["export"], args].concat(), "").well();
        out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let one = lines(&["--source", "statsig"]);
    assert_eq!(one.iter().map(|line| line["version"].clone()).collect::<Vec<_>>(), [1, 2, 3, 4, 5].map(Value::from));
    assert!(one.iter().all(|line| line["source"] == "statsig"));
    let since = one[3]["observed_at"].as_str().expect("a time");
    assert_eq!(lines(&["--source", "statsig", "--since", since]), one[3..]);
    assert_eq!(lines(&["--since", "2999-01-01"]), Vec::<Value>::new());
    let err = segsync(&db, &["export", "--source", "nobody"], "").failed();
    assert!(err.contains("it holds statsig, octave"), "{err}");
}

#[tokio::test]
async fn a_spreadsheet_reads_the_change_log() {
    let bench = lived().await;
    vandal(&bench.db_path())
        .execute("UPDATE versions SET modified_by = '=HYPERLINK(\"http://x\")' || char(10) || 'é' WHERE id = 3", [])
        .expect("set");
    let csv = segsync(&bench.db_path(), &["export", "--format", "csv"], "").well();
    let rest = csv.strip_prefix('\u{feff}').expect("it says that it is UTF-8");
    let columns = rows(&bench.db_path(), "SELECT group_concat(name) FROM pragma_table_info('change_log')");
    assert_eq!(rest.split("\r\n").next(), Some(&*columns[0]));
    let count = rows(&bench.db_path(), "SELECT count(*) FROM change_log");
    let lines: Vec<&str> = rest.trim_end().split("\r\n").skip(1).collect();
    assert_eq!(format!("Integer({})", lines.len()), count[0]);
    assert!(lines.iter().all(|line| !line.contains('\n')));
    assert!(rest.contains("\"'=HYPERLINK(\"\"http://x\"\")\\u{a}é\""), "{rest}");
}

/// What may happen to a segment.
#[derive(Clone, Debug)]
enum Event {
    /// It is seen with this content.
    Seen(Value),
    /// It is seen as before.
    Again,
    /// It is gone.
    Gone,
}

fn content() -> impl Strategy<Value = Value> {
    let item =
        (0..4_u8, any::<i32>()).prop_map(|(id, n)| json!({"id": id.to_string(), "question": id.to_string(), "n": n}));
    let rules = prop::collection::vec(item, 0..4);
    let tags = prop::collection::vec("[a-c]|\u{e9}|\"", 0..4);
    (rules, tags, prop::option::of("\\PC{0,6}"), 0..20_i64, prop::bool::weighted(0.2)).prop_map(
        |(rules, tags, who, version, deleted)| {
            json!({
                "rules": rules, "qualifyingQuestions": rules, "tags": tags, "lastModifierName": who,
                "lastModifiedTime": version * 1000, "version": version,
                "deletedAt": deleted.then_some("2020-01-01T00:00:00Z"),
            })
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![5 => content().prop_map(Event::Seen), 2 => Just(Event::Again), 1 => Just(Event::Gone)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_survives(
        events in prop::collection::vec((0..2_usize, 0..3_usize, 0..5_i64, event()), 1..60),
    ) {
        let room = tempfile::tempdir().expect("a folder");
        let providers = ["statsig", "octave"];
        let mut at: i64 = 1_700_000_000_000;
        let mut last: BTreeMap<(usize, usize), Value> = BTreeMap::new();
        let (mut lines, mut seen) = (String::new(), Vec::new());
        for (provider, segment, wait, event) in events {
            at += wait + 1;
            let document = match event {
                Event::Seen(value) => value,
                Event::Again => last.get(&(provider, segment)).cloned().unwrap_or(Value::Null),
                Event::Gone => Value::Null,
            };
            last.insert((provider, segment), document.clone());
            let (source, id) = (providers[provider], format!("s{segment}"));
            let line = json!({"source": source, "provider": source, "id": id, "observed_at": at, "document": document});
            lines.push_str(&format!("{line}\n"));
            seen.push((source, id, at, document));
        }
        let (one, two) = (room.path().join("one.db"), room.path().join("two.db"));
        segsync(&one, &["import", "-"], &lines).well();
        is_whole(&one);

        // As of each observation the file says what was observed.
        let raw = vandal(&one);
        for (source, id, at, document) in &seen {
            let known: Option<Option<String>> = raw
                .prepare_cached(
                    "SELECT CASE v.op WHEN 'delete' THEN NULL ELSE v.document END FROM versions AS v
                     JOIN segments AS s ON s.id = v.segment_id JOIN sources AS src ON src.id = s.source_id
                     WHERE src.name = ?1 AND s.key = ?2
                       AND v.observed_at <= ?3 AND (v.valid_to IS NULL OR v.valid_to > ?3)",
                )
                .expect("prepared")
                .query_map(rusqlite::params![source, id, at], |row| row.get(0))
                .expect("rows")
                .next()
                .transpose()
                .expect("a row");
            let provider = provider::by_name(source).expect("a provider");
            let is_gone = document.is_null() || (*source == "octave" && !document["deletedAt"].is_null());
            let expected = (!is_gone).then(|| Document::new(document.clone(), provider.shape(), &[]).text().to_owned());
            prop_assert_eq!(known.flatten(), expected);
        }

        let first = export(&one);
        segsync(&two, &["import", "-"], &first).well();
        is_whole(&two);
        prop_assert_eq!(export(&two), first);
        prop_assert_eq!(rows(&two, CONTENT), rows(&one, CONTENT));
        segsync(&two, &["import", "-"], &lines).well();
        prop_assert_eq!(rows(&two, CONTENT), rows(&one, CONTENT), "the observations are known already");
    }
}
