//! What readers find: versions, their chain, their order, and how things stand.

use std::sync::Arc;

use segsync::model::{Change, Op, Outcome, SegmentKey, SegmentState, SourceName, UnixMs};
use segsync::store::{
    At, Error, GENESIS, Hash, Latest, LogFilter, Pattern, Reader, Scope, SegmentId, Store, VersionEntry, VersionFields,
    chain_link,
};

use crate::store::world::{START, World, begin, change, document, end, poll, replaced, source, tracking, version};

/// Two segments: `a` is created, updated twice, deleted and restored; `b` is first seen deleted.
async fn lived(world: &World) -> Store {
    let (store, declared) = tracking(world, &["a", "b", "c"]).await;
    let [a, b] = [&declared.segments[0], &declared.segments[1]];
    change(world, &store, a, 0, Op::Create, Some(r#"{"n":1}"#)).await;
    change(world, &store, b, 0, Op::Delete, Some(r#"{"n":2}"#)).await;
    for (base, fields) in [(1, ["rules[x].passPercentage", "name"]), (2, ["rules", "rulesets"])] {
        let mut new = version(base, Op::Update, Some(&format!(r#"{{"n":{}}}"#, base + 10)));
        new.changes = fields.map(replaced).into();
        (new.revision, new.modified_by) = (Some(base * 10), Some("Ann".to_owned()));
        poll(world, &store, a, Outcome::Updated, Some(new)).await.expect("written");
    }
    change(world, &store, a, 3, Op::Delete, None).await;
    change(world, &store, a, 4, Op::Restore, Some(r#"{"n":1}"#)).await;
    store
}

fn told(entries: &[VersionEntry]) -> Vec<String> {
    entries.iter().map(|entry| format!("{} v{} {}", entry.key.id, entry.seq, entry.op)).collect()
}

fn key(id: &str) -> SegmentKey {
    SegmentKey::new(SourceName::new("main"), id)
}

/// The rows of `changes` of a version.
fn changes(raw: &rusqlite::Connection, version: i64) -> Vec<Change> {
    let sql = "SELECT op, path, field, old, new FROM changes WHERE version_id = ?1 ORDER BY ordinal";
    let mut statement = raw.prepare(sql).expect("prepared");
    let change = |row: &rusqlite::Row<'_>| {
        let op = row.get::<_, String>(0)?.parse().expect("an op");
        Ok(Change { op, path: row.get(1)?, field: row.get(2)?, old: row.get(3)?, new: row.get(4)? })
    };
    statement.query_map([version], change).expect("rows").map(|row| row.expect("a change")).collect()
}

/// The first row whose chain is not what the rows say, by id.
fn first_broken_link(world: &World) -> Option<i64> {
    let raw = world.raw();
    let sql =
        "SELECT v.*, s.source_id, s.key FROM versions AS v JOIN segments AS s ON s.id = v.segment_id ORDER BY v.id";
    let mut statement = raw.prepare(sql).expect("prepared");
    let mut rows = statement.query([]).expect("rows");
    let mut previous = GENESIS;
    while let Some(row) = rows.next().expect("a row") {
        let text = |name: &str| row.get::<_, Option<String>>(name).expect(name);
        let number = |name: &str| row.get::<_, Option<i64>>(name).expect(name);
        let (op, cause, by, document) = (text("op"), text("cause"), text("modified_by"), text("document"));
        let hash: Option<Hash> = row.get("hash").expect("a hash");
        let id = row.get("id").expect("an id");
        let key: String = row.get("key").expect("a key");
        let link = chain_link(
            &previous,
            &VersionFields {
                id,
                source_id: row.get("source_id").expect("a source"),
                key: &key,
                segment_id: row.get("segment_id").expect("a segment"),
                seq: row.get("seq").expect("a number"),
                op: op.as_deref().expect("an op"),
                cause: cause.as_deref(),
                observed_at: row.get("observed_at").expect("a time"),
                changed_after: number("changed_after"),
                modified_at: number("modified_at"),
                modified_by: by.as_deref(),
                revision: number("revision"),
                missed_revisions: number("missed_revisions"),
                hash: hash.as_ref().map(<[u8; 32]>::as_slice),
                document: document.as_deref(),
                poll_id: row.get("poll_id").expect("a poll"),
                changes: &changes(&raw, id),
            },
        );
        if link != row.get::<_, Hash>("chain").expect("a chain") {
            return Some(id);
        }
        previous = link;
    }
    None
}

#[tokio::test]
async fn the_chain_can_be_computed_again_and_tells_where_a_row_was_touched() {
    let world = World::new();
    drop(lived(&world).await);
    assert_eq!(world.number("SELECT count(*) FROM versions"), 6);
    assert_eq!(first_broken_link(&world), None);
    world.raw().execute("UPDATE versions SET valid_to = valid_to + 1 WHERE id = 1", []).expect("set");
    assert_eq!(first_broken_link(&world), None, "the next version sets it, so it is left out");
    world.raw().execute("UPDATE versions SET modified_by = 'Eve' WHERE id = 3", []).expect("set");
    assert_eq!(first_broken_link(&world), Some(3));
    world.raw().execute("UPDATE versions SET modified_by = 'Ann' WHERE id = 3", []).expect("set");
    let rename = "UPDATE fields SET field = 'x' WHERE id = (SELECT field_id FROM change_rows WHERE version_id = 4 AND ordinal = 1)";
    world.raw().execute(rename, []).expect("set");
    assert_eq!(first_broken_link(&world), Some(4), "changes are a part of their version");
    world.raw().execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM versions WHERE id = 2").expect("removed");
    assert_eq!(first_broken_link(&world), Some(3));
}

#[tokio::test]
async fn the_log_is_newest_first_and_filters() {
    let world = World::new();
    let store = lived(&world).await;
    let reader = Reader::open(world.file()).expect("opened");
    let log = |filter: LogFilter| reader.log(&filter).expect("read");
    let all = log(LogFilter::default());
    assert_eq!(told(&all), ["a v5 restore", "a v4 delete", "a v3 update", "a v2 update", "b v1 delete", "a v1 create"]);
    assert_eq!(told(&log(LogFilter { limit: Some(2), ..Default::default() })), told(&all[..2]));
    assert_eq!(all[2].changes, [replaced("rules"), replaced("rulesets")]);
    assert_eq!((all[2].revision_before, all[2].revision), (Some(10), Some(20)));

    let of = |scope| log(LogFilter { scope: Some(scope), ..Default::default() });
    assert_eq!(told(&of(Scope::Segment(key("b")))), ["b v1 delete"]);
    assert_eq!(of(Scope::Source(SourceName::new("main"))).len(), 6);
    assert_eq!(of(Scope::Source(SourceName::new("other"))), []);

    let until = Some(all[2].observed_at);
    assert_eq!(told(&log(LogFilter { until, ..Default::default() })), told(&all[3..]), "until is not included");
    assert_eq!(told(&log(LogFilter { since: until, ..Default::default() })), told(&all[..3]), "since is");
    assert_eq!(told(&log(LogFilter { op: Some(Op::Delete), ..Default::default() })), ["a v4 delete", "b v1 delete"]);
    assert_eq!(told(&log(LogFilter { after: Some(all[2].id), ..Default::default() })), told(&all[..2]));

    let about = |field: &str| log(LogFilter { field: Some(Pattern::new(field)), ..Default::default() });
    let rules = about("rules");
    assert_eq!(told(&rules), ["a v3 update", "a v2 update"], "the field itself, and what is inside of it");
    assert_eq!(rules[0].changes, [replaced("rules")], "another field with the same beginning is another field");
    assert_eq!(told(&about("rules[x].passPercentage")), ["a v2 update"]);
    assert_eq!(about("rules[x].pass"), []);
    drop(store);
}

#[tokio::test]
async fn a_version_is_found_by_number_and_by_time() {
    let world = World::new();
    let store = lived(&world).await;
    let reader = Reader::open(world.file()).expect("opened");
    let version = |id: &str, at| reader.version(&key(id), at).expect("read");
    let latest = version("a", At::Latest).expect("there");
    assert_eq!((latest.entry.seq, latest.document.as_deref(), latest.document_of), (5, Some(r#"{"n":1}"#), None));
    let deleted = version("a", At::Seq(4)).expect("there");
    assert_eq!((deleted.document.as_deref(), deleted.document_of), (Some(r#"{"n":12}"#), Some(3)));
    assert_eq!(deleted.entry.hash, None);
    let second = version("a", At::Seq(2)).expect("there");
    assert_eq!(second.entry.changes.len(), 2);
    assert_eq!(version("a", At::Time(second.entry.observed_at)).as_ref(), Some(&second));
    let end = second.entry.valid_to.expect("it ended");
    assert_eq!(version("a", At::Time(UnixMs(end.0 - 1))), Some(second));
    assert_eq!(version("a", At::Time(end)).expect("there").entry.seq, 3);
    assert_eq!(version("a", At::Time(UnixMs(START))), None, "before its first");
    assert_eq!((version("a", At::Seq(6)), version("c", At::Latest), version("z", At::Latest)), (None, None, None));
    drop(store);
}

#[tokio::test]
async fn the_latest_is_told_with_its_own_document_and_readers_find_the_last_one() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a", "b"]).await;
    let [a, b] = [&declared.segments[0], &declared.segments[1]];
    assert_eq!(store.latest(a.id).await.expect("read"), Latest::unseen());
    let mut first = version(0, Op::Create, Some("1"));
    (first.modified_at, first.modified_by, first.revision) = (Some(UnixMs(6)), Some("Ann".to_owned()), Some(7));
    let id = begin(&world, &store, a).await;
    let mut created = end(id, world.pass(50), a, Outcome::Created, Some(first));
    created.segments[0].etag = Some("tag".to_owned());
    store.finish_poll(created).await.expect("written");
    let present = Latest {
        seq: 1,
        state: SegmentState::Present,
        document: document("1"),
        modified_at: Some(UnixMs(6)),
        modified_by: Some("Ann".to_owned()),
        revision: Some(7),
        etag: Some("tag".to_owned()),
        not_found: false,
    };
    assert_eq!(store.latest(a.id).await.expect("read"), present);

    change(&world, &store, a, 1, Op::Delete, None).await;
    change(&world, &store, b, 0, Op::Delete, None).await;
    let deleted = Latest { state: SegmentState::Deleted, ..Latest::unseen() };
    let latest = [store.latest(a.id).await.expect("read"), store.latest(b.id).await.expect("read")];
    assert_eq!(latest, [Latest { seq: 2, ..deleted.clone() }, Latest { seq: 1, ..deleted }]);
    let reader = Reader::open(world.file()).expect("opened");
    let found = |id: &str| {
        let found = reader.version(&key(id), At::Latest).expect("read").expect("there");
        (found.entry.op, found.document, found.document_of)
    };
    assert_eq!(found("a"), (Op::Delete, Some(Arc::from("1")), Some(1)));
    assert_eq!(found("b"), (Op::Delete, None, None), "deleted before it was ever read");
    let hashes = |id: &str| -> Vec<Option<Hash>> {
        let of = Some(Scope::Segment(key(id)));
        let log = reader.log(&LogFilter { scope: of, ..Default::default() }).expect("read");
        log.into_iter().map(|entry| entry.hash).collect()
    };
    assert_eq!((hashes("a"), hashes("b")), (vec![None, Some(*blake3::hash(b"1").as_bytes())], vec![None]));

    // A delete that kept its document tells that one.
    change(&world, &store, a, 2, Op::Restore, Some("3")).await;
    change(&world, &store, a, 3, Op::Delete, Some("4")).await;
    let latest = store.latest(a.id).await.expect("read");
    assert_eq!((latest.seq, latest.state, latest.document), (4, SegmentState::Deleted, document("4")));
    let error = store.latest(SegmentId(99)).await.expect_err("no such segment");
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
}

#[tokio::test]
async fn the_status_tells_sources_freshness_and_requests() {
    let world = World::new();
    let store = lived(&world).await;
    let reader = Reader::open(world.file()).expect("opened");
    let sources = reader.sources().expect("read");
    assert_eq!((sources.len(), sources[0].name.as_str(), sources[0].tracked), (1, "main", 3));
    let fresh: Vec<_> =
        reader.freshness().expect("read").into_iter().map(|row| (row.key.to_string(), row.version)).collect();
    assert_eq!(fresh, [("main/c".to_owned(), 0), ("main/b".to_owned(), 1), ("main/a".to_owned(), 5)]);
    let id = sources[0].id;
    let count = |after: i64| reader.requests_since(id, UnixMs(START + after)).expect("read");
    assert_eq!((count(-1), count(100), count(299), count(300)), (6, 4, 1, 0), "by their ends: 50, 100 … 300");
    assert_eq!(reader.segment_keys().expect("read"), [key("a"), key("b"), key("c")]);

    let before = reader.last_poll().expect("read");
    let declared = store.declare(vec![source("main", &["a", "c"])], world.now()).await.expect("declared");
    let [a, c] = [&declared.segments[0], &declared.segments[1]];
    poll(&world, &store, a, Outcome::Unchanged, None).await.expect("ended");
    poll(&world, &store, c, Outcome::NotFound, None).await.expect("ended");
    change(&world, &store, a, 5, Op::Update, Some("6")).await;
    let tally = reader.tally_after(before).expect("read");
    let main = SourceName::new("main");
    let expected =
        [Outcome::Updated, Outcome::Unchanged, Outcome::NotFound].map(|outcome| ((main.clone(), outcome), 1));
    assert_eq!((tally.outcomes, tally.versions), (expected.into(), 1));
    assert_eq!(reader.freshness().expect("read").len(), 2, "what is no longer tracked is not waited for");
}

#[tokio::test]
async fn a_word_that_nobody_wrote_is_damage_and_no_panic() {
    let world = World::new();
    drop(lived(&world).await);
    world
        .raw()
        .execute_batch("PRAGMA ignore_check_constraints = ON; UPDATE versions SET op = 'undo' WHERE id = 3")
        .expect("set");
    let error =
        Reader::open(world.file()).expect("opened").log(&LogFilter::default()).expect_err("damaged").to_string();
    assert!(error.contains(r#"it is damaged ("undo" is none of create, update, delete, restore"#), "{error}");
}
