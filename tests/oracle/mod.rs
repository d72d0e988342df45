//! An independent oracle for `changes`: a long random history is written as polls write it, and then other code than ours
//! (the json-patch crate, and a walk that follows the rows) says from the stored documents alone whether each row is right
//! and none is missing. `tests/tools/oracle.py` does the same in another language, for any database.

mod edits;
mod judge;

use fastrand::Rng;
use rusqlite::Connection;
use segsync::diff::diff;
use segsync::document::Document;
use segsync::model::{Op, Outcome};
use segsync::provider;
use serde_json::Value;

use crate::store::world::{World, poll, tracking, version};
use judge::{Arrays, Row, judge};

const SEGMENTS: [&str; 24] = [
    "statsig-0",
    "statsig-1",
    "statsig-2",
    "statsig-3",
    "statsig-4",
    "statsig-5",
    "statsig-6",
    "statsig-7",
    "statsig-8",
    "statsig-9",
    "statsig-10",
    "statsig-11",
    "octave-0",
    "octave-1",
    "octave-2",
    "octave-3",
    "octave-4",
    "octave-5",
    "octave-6",
    "octave-7",
    "octave-8",
    "octave-9",
    "octave-10",
    "octave-11",
];
const EDITS: usize = 125;

/// What PROVIDERS says of the arrays, written down once more.
fn arrays(segment: &str) -> Arrays {
    if segment.starts_with("statsig") {
        Arrays { sets: &["/tags", "/targetApps", "/holdoutIDs"], keyed: &[("/rules", &["id", "baseID", "name"])] }
    } else {
        Arrays { sets: &[], keyed: &[("/qualifyingQuestions", &["question"]), ("/data/customFields", &["title"])] }
    }
}

/// Writes the history through the store.
async fn history(world: &World, rng: &mut Rng) {
    let (store, declared) = tracking(world, &SEGMENTS).await;
    for segment in &declared.segments {
        let name = segment.key.id.split('-').next().unwrap();
        let shape = provider::by_name(name).unwrap().shape();
        let mut value = edits::first(name, rng);
        let mut last = Document::new(value.clone(), shape, &[]);
        let create = version(0, Op::Create, Some(last.text()));
        poll(world, &store, segment, Outcome::Created, Some(create)).await.unwrap();
        let mut base = 1;
        for _ in 0..EDITS {
            value = edits::edited(&value, rng);
            let next = Document::new(value.clone(), shape, &[]);
            if next.text() == last.text() {
                continue;
            }
            let mut update = version(base, Op::Update, Some(next.text()));
            update.changes = diff(last.value(), next.value(), shape);
            poll(world, &store, segment, Outcome::Updated, Some(update)).await.unwrap();
            (base, last) = (base + 1, next);
        }
    }
    store.close().await.unwrap();
}

/// A version's document with the one before, and its rows.
struct Step {
    segment: String,
    seq: i64,
    old: Value,
    new: Value,
    rows: Vec<Row>,
}

fn stored(db: &Connection) -> Vec<Step> {
    let mut steps = db
        .prepare(
            "SELECT s.key, n.seq, o.document, n.document, n.id FROM versions AS n
             JOIN versions AS o ON o.segment_id = n.segment_id AND o.seq = n.seq - 1
             JOIN segments AS s ON s.id = n.segment_id ORDER BY n.id",
        )
        .unwrap();
    let mut changes =
        db.prepare("SELECT op, path, old, new FROM changes WHERE version_id = ?1 ORDER BY ordinal").unwrap();
    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    let found = steps.query_map([], |row| {
        let rows = changes.query_map([row.get::<_, i64>(4)?], |row| {
            Ok(Row { op: row.get(0)?, path: row.get(1)?, old: row.get(2)?, new: row.get(3)? })
        })?;
        let rows = rows.collect::<Result<_, _>>()?;
        Ok(Step { segment: row.get(0)?, seq: row.get(1)?, old: json(row.get(2)?), new: json(row.get(3)?), rows })
    });
    found.unwrap().collect::<Result<_, _>>().unwrap()
}

/// The rows with one thing wrong, in every way that one row can be.
fn spoilt(rows: &[Row], at: usize) -> Vec<Vec<Row>> {
    let with = |change: &dyn Fn(&mut Row)| {
        let mut rows = rows.to_vec();
        change(&mut rows[at]);
        rows
    };
    let mut missing = rows.to_vec();
    missing.remove(at);
    let mut twice = rows.to_vec();
    twice.push(rows[at].clone());
    let ops = ["add", "remove", "replace", "move"].map(|op| with(&|row| row.op = op.to_owned()));
    let ways = [
        missing,
        twice,
        with(&|row| row.old = Some("\"never there\"".to_owned())),
        with(&|row| row.new = Some("\"never there\"".to_owned())),
        with(&|row| std::mem::swap(&mut row.old, &mut row.new)),
        with(&|row| row.path.push_str(".x")),
        with(&|row| row.path.push_str("[0]")),
        with(&|row| row.path = "$.elsewhere".to_owned()),
    ];
    ways.into_iter().chain(ops).filter(|other| other != rows).collect()
}

#[tokio::test]
async fn other_code_finds_the_same_changes_in_a_long_history() {
    let world = World::new();
    let mut rng = Rng::with_seed(4);
    history(&world, &mut rng).await;
    if let Some(wanted) = std::env::var_os("SEGSYNC_HISTORY") {
        world.raw().execute("VACUUM INTO ?1", [wanted.to_str()]).unwrap();
    }
    let steps = stored(&world.raw());
    let ops = |op: &str| steps.iter().flat_map(|step| &step.rows).filter(|row| row.op == op).count();
    let counts = ["add", "remove", "replace", "move"].map(ops);
    assert!(steps.len() > 2000 && counts.iter().all(|count| *count > 100), "{} versions, {counts:?}", steps.len());
    let mut spoilt_rows = 0;
    for Step { segment, seq, old, new, rows } in &steps {
        let arrays = arrays(segment);
        if let Err(why) = judge(old, new, rows, &arrays) {
            panic!("{segment} v{seq}: {why}\n{old}\n{new}\n{rows:#?}");
        }
        // The oracle can say no: in every eighth version one row is spoilt in every way, and each is found.
        let Some(at) = (seq % 8 == 0).then(|| rng.usize(..rows.len())) else { continue };
        for wrong in spoilt(rows, at) {
            spoilt_rows += 1;
            assert!(
                judge(old, new, &wrong, &arrays).is_err(),
                "not found: {segment} v{seq} {at}\n{rows:#?}\n{wrong:#?}"
            );
        }
    }
    assert!(spoilt_rows > 2000, "{spoilt_rows}");
}
