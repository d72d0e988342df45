//! What differs between two documents: exact both ways, found by SQLite, and no other than what was told.

use std::collections::BTreeSet;

use segsync::diff::{diff, fold, unfold};
use segsync::document::{Document, Shape, parse};
use segsync::model::{Change, ChangeOp, Path, Step};
use serde_json::Value;

use super::canonical::{RULES, canonical, shapes};
use super::dice::{Dice, edit};

/// Two lines of JSON; whatever else the input is, decisions about a document and its edits.
pub fn any(data: &[u8]) {
    let mut dice = Dice::bytes(data);
    let (old, new) = two_lines(data).unwrap_or_else(|| related(&mut dice));
    for shape in shapes() {
        fold_both_ways(old.clone(), new.clone(), &shape);
        fold_even_if_the_shape_is_not_the_documents_own(old.clone(), new.clone(), &shape);
    }
    are_found_by_sqlite(old.clone(), new.clone(), &RULES);
    let (which, change, other) = (dice.below(256), dice.below(6), dice.value(0).to_string());
    tampered_are_an_error_or_another_document(old, new, which, change, &other);
}

fn two_lines(data: &[u8]) -> Option<(Value, Value)> {
    let (old, new) = std::str::from_utf8(data).ok()?.split_once('\n')?;
    Some((parse(old).ok()?, parse(new).ok()?))
}

/// A document, and another that is mostly the same.
fn related(dice: &mut Dice) -> (Value, Value) {
    let old = dice.document();
    let mut new = old.clone();
    for _ in 0..=dice.below(4) {
        let fresh = dice.value(2);
        edit(&mut new, dice, &fresh);
    }
    (old, new)
}

/// The changes make the new document of the old one, and the old one of the new.
pub fn fold_both_ways(old: Value, new: Value, shape: &Shape) {
    let (old, new) = (canonical(old, shape), canonical(new, shape));
    let changes = diff(old.value(), new.value(), shape);
    assert_eq!(changes.is_empty(), old == new);
    assert_fold(&old, &new, &changes);
}

/// The same where the documents come from before the shape was known.
pub fn fold_even_if_the_shape_is_not_the_documents_own(old: Value, new: Value, shape: &Shape) {
    let (old, new) = (canonical(old, &Shape::PLAIN), canonical(new, &Shape::PLAIN));
    assert_fold(&old, &new, &diff(old.value(), new.value(), shape));
}

fn assert_fold(old: &Document, new: &Document, changes: &[Change]) {
    let folded = fold(old.value(), changes).map(|value| value.to_string());
    assert_eq!(folded.as_deref(), Ok(new.text()), "{changes:?}");
    let unfolded = unfold(new.value(), changes).map(|value| value.to_string());
    assert_eq!(unfolded.as_deref(), Ok(old.text()), "{changes:?}");
}

/// What a change tells is what SQLite finds at its path, in the document that it speaks of.
pub fn are_found_by_sqlite(old: Value, new: Value, shape: &Shape) {
    let sqlite = rusqlite::Connection::open_in_memory().expect("a database");
    if !sqlite_tells_keys_apart(&old) || !sqlite_tells_keys_apart(&new) {
        return;
    }
    let (old, new) = (canonical(old, shape), canonical(new, shape));
    paths_are_right(&sqlite, &old, &new, &diff(old.value(), new.value(), shape));
}

/// SQLite compares keys that it has to unescape up to their first NUL only: of two that are the same up to there it finds
/// whichever comes first, and no path can say the other.
fn sqlite_tells_keys_apart(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            let heads: BTreeSet<&str> = members.keys().filter_map(|key| key.split('\0').next()).collect();
            heads.len() == members.len() && members.values().all(sqlite_tells_keys_apart)
        }
        Value::Array(items) => items.iter().all(sqlite_tells_keys_apart),
        _ => true,
    }
}

/// Checks that the changes' texts are right for SQLite in the documents that they speak of.
pub fn paths_are_right(sqlite: &rusqlite::Connection, old: &Document, new: &Document, changes: &[Change]) {
    for change in changes {
        let (before, after) = (change.old.as_deref().unwrap_or_default(), change.new.as_deref().unwrap_or_default());
        match change.op {
            ChangeOp::Remove => sqlite_finds(sqlite, old.text(), &change.path, before),
            ChangeOp::Add | ChangeOp::Replace => sqlite_finds(sqlite, new.text(), &change.path, after),
            ChangeOp::Move => {
                let path = Path::parse(&change.path).expect("a path");
                assert_eq!(path.0.last(), Some(&Step::Index(after.parse().expect("an index"))));
            }
        }
    }
}

/// SQLite finds `json`, the text of a value, at `path` in `document`.
fn sqlite_finds(sqlite: &rusqlite::Connection, document: &str, path: &str, json: &str) {
    use rusqlite::types::Value as Sql;
    let mut find = sqlite.prepare_cached("SELECT ?1 -> ?2, json_extract(?1, ?2)").expect("SQL");
    let row = find.query_row([document, path], |row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Sql>(1)?)));
    let (found, extracted) = row.unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(found.as_deref(), Some(json), "{path} in {document}");
    match parse(json).expect("JSON") {
        Value::Null => assert_eq!(extracted, Sql::Null),
        Value::Bool(truth) => assert_eq!(extracted, Sql::Integer(truth.into())),
        Value::String(text) => assert_eq!(extracted, Sql::Text(text)),
        Value::Array(_) | Value::Object(_) => assert_eq!(extracted, Sql::Text(json.to_owned())),
        Value::Number(_) => assert!(matches!(extracted, Sql::Integer(_) | Sql::Real(_))),
    }
}

/// Changes of which one was tampered with do not make the same two documents of each other.
pub fn tampered_are_an_error_or_another_document(old: Value, new: Value, which: usize, change: usize, other: &str) {
    let (old, new) = (canonical(old, &RULES), canonical(new, &RULES));
    let told = diff(old.value(), new.value(), &RULES);
    let mut changes = told.clone();
    if changes.is_empty() {
        return;
    }
    let at = which % changes.len();
    match change {
        0 => drop(changes.remove(at)),
        1 => changes.insert(at, changes[at].clone()),
        2 => changes[at].path.push_str(other),
        3 => changes[at].old = Some(other.to_owned()),
        4 => changes[at].new = Some(other.to_owned()),
        _ => changes[at].op = ChangeOp::ALL[which % ChangeOp::ALL.len()],
    }
    let folds = fold(old.value(), &changes).is_ok_and(|value| value == **new.value());
    let unfolds = unfold(new.value(), &changes).is_ok_and(|value| value == **old.value());
    assert_eq!(folds && unfolds, told == changes);
}
