//! The laws of documents and changes, on arbitrary JSON: canonical form, folding both ways, paths that SQLite finds, and no
//! more changes than there must be. Only what the library shows to everyone is used here.

#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;
use segsync::diff::{diff, fold, unfold};
use segsync::document::{Document, KeyPath, Keyed, Shape, parse};
use segsync::model::{Change, ChangeOp, Path, Step};
use serde_json::{Map, Value, json};

/// Few keys, so that documents overlap; the odd ones are those that a path has to quote.
const KEYS: &[&str] = &[
    "a",
    "b",
    "id",
    "name",
    "rules",
    "tags",
    "",
    "a.b",
    "q\"d",
    "\\",
    "\\\"",
    "x]y",
    "[0]",
    "sp ace",
    "é😀",
    "\n\u{1}",
    "$",
    "*",
    "nul\0",
    "$serde_json::private::Number",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![select(KEYS).prop_map(str::to_owned), "[a-d]{1,2}", any::<String>()]
}

/// A number as someone may write it, with any digits and any exponent.
fn number() -> impl Strategy<Value = String> {
    let whole = prop_oneof!["0", "[1-9][0-9]{0,2}", "[1-9][0-9]{0,40}"];
    let fraction = prop_oneof![Just(String::new()), "\\.[0-9]{1,3}", "\\.[0-9]{1,40}"];
    let exponent = prop_oneof![Just(String::new()), "[eE][+-]?[0-9]{1,2}", "[eE][+-]?[0-9]{1,30}"];
    ("-?", whole, fraction, exponent)
        .prop_map(|(sign, whole, fraction, exponent)| sign + &whole + &fraction + &exponent)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4u8).prop_map(Value::from),
        number().prop_map(|text| parse(&text).expect("a number")),
        text().prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((text(), inner.clone()), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
            records(inner),
        ]
    })
}

/// An array of objects that mostly have a key of their own.
fn records(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let record = (0..8u8, "[a-c]", inner).prop_map(|(id, name, more)| json!({"id": id, "name": name, "a": more}));
    prop::collection::vec(record, 0..7).prop_map(|mut items| {
        let mut seen = BTreeSet::new();
        items.retain(|item| seen.insert(item["id"].to_string()));
        Value::from(items)
    })
}

/// A document with something at the places that shapes speak of.
fn document() -> impl Strategy<Value = Value> {
    let object =
        (records(value()), prop::collection::vec(scalar(), 0..6), prop::collection::vec((text(), value()), 0..4))
            .prop_map(|(rules, tags, more)| {
                let mut members: Map<String, Value> = more.into_iter().collect();
                members.insert("rules".to_owned(), rules);
                members.insert("tags".to_owned(), tags.into());
                Value::Object(members)
            });
    prop_oneof![3 => object, 1 => value()]
}

fn key_path() -> impl Strategy<Value = KeyPath> {
    let key = select(&["a", "rules", "tags", "", "a.b"][..]);
    prop::collection::vec(key, 0..3).prop_map(|keys| &*keys.leak())
}

const KEY_NAMES: &[&[&str]] = &[&["id", "name"], &["name"], &[]];
const LABELS: &[Option<&str>] = &[None, Some("name"), Some("a")];

fn shape() -> impl Strategy<Value = Shape> {
    let keyed = (key_path(), select(KEY_NAMES), select(LABELS)).prop_map(|(at, keys, label)| Keyed { at, keys, label });
    let paths = || prop::collection::vec(key_path(), 0..3).prop_map(|paths| &*paths.leak());
    let volatile = prop::collection::vec(select(&["b", "a"][..]), 0..2).prop_map(|names| &*names.leak());
    let arbitrary = (volatile, paths(), prop::collection::vec(keyed, 0..3), paths()).prop_map(
        |(volatile, sets, keyed, wrapped)| Shape { volatile, sets, keyed: keyed.leak(), wrapped, stamps: &[] },
    );
    prop_oneof![1 => arbitrary, 1 => Just(RULES)]
}

const RULES: Shape = Shape {
    volatile: &[],
    sets: &[&["tags"]],
    keyed: &[Keyed { at: &["rules"], keys: &["id", "name"], label: Some("name") }],
    wrapped: &[],
    stamps: &[],
};

/// Decisions for an edit, taken one by one; 0 when they are used up.
struct Dice(std::vec::IntoIter<usize>);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0.next().unwrap_or(0) % sides.max(1)
    }
}

fn dice() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..1000usize, 60)
}

/// Changes something somewhere in `value`.
fn edit(value: &mut Value, dice: &mut Dice, fresh: &Value) {
    let deeper = dice.below(3) > 0;
    match value {
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = dice.below(items.len());
            edit(&mut items[at], dice, fresh);
        }
        Value::Object(members) if deeper && !members.is_empty() => {
            let at = dice.below(members.len());
            if let Some(member) = members.values_mut().nth(at) {
                edit(member, dice, fresh);
            }
        }
        Value::Array(items) => {
            let (at, to) = (dice.below(items.len()), dice.below(items.len()));
            match dice.below(5) {
                0 => items.insert(at, fresh.clone()),
                1 if !items.is_empty() => drop(items.remove(at)),
                2 if !items.is_empty() => items.swap(at, to),
                3 => items.rotate_left(at),
                _ => items.reverse(),
            }
        }
        Value::Object(members) => {
            let key = members.keys().nth(dice.below(members.len())).cloned();
            match (dice.below(2), key) {
                (0, Some(key)) => drop(members.remove(&key)),
                _ => drop(members.insert(KEYS[dice.below(KEYS.len())].to_owned(), fresh.clone())),
            }
        }
        other => *other = fresh.clone(),
    }
}

/// A document, and another that is mostly the same.
fn related() -> impl Strategy<Value = (Value, Value)> {
    let edits = prop::collection::vec((dice(), value()), 1..5);
    (document(), edits).prop_map(|(old, edits)| {
        let mut new = old.clone();
        for (dice, fresh) in edits {
            edit(&mut new, &mut Dice(dice.into_iter()), &fresh);
        }
        (old, new)
    })
}

fn two() -> impl Strategy<Value = (Value, Value)> {
    prop_oneof![3 => related(), 1 => (document(), document())]
}

fn canonical(value: Value, shape: &Shape) -> Document {
    Document::new(value, shape, &[])
}

/// The same document as another writer may send it: members in another order, numbers in other words, blanks.
fn respelled(value: &Value, dice: &mut Dice) -> String {
    match value {
        Value::Number(number) => respelled_number(number.as_str(), dice),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| respelled(item, dice)).collect();
            format!("[ {} ]", items.join(" ,\n"))
        }
        Value::Object(members) => {
            let mut members: Vec<String> = members
                .iter()
                .map(|(key, member)| format!("{} : {}", Value::from(key.as_str()), respelled(member, dice)))
                .collect();
            let by = dice.below(members.len());
            members.rotate_left(by);
            format!("{{{}}}", members.join(","))
        }
        other => other.to_string(),
    }
}

fn respelled_number(text: &str, dice: &mut Dice) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let Ok(exponent) = exponent.parse::<i128>() else { return text.replace('e', "E") };
    let more = dice.below(4);
    let fewer = i128::try_from(more + fraction.len()).expect("small");
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let digits = format!("{digits}{fraction}{}", "0".repeat(more));
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() { format!("-0.0e{exponent}") } else { format!("{sign}{digits}E{:+}", exponent - fewer) }
}

/// Whether SQLite finds `json`, the text of a value, at `path` in `document`.
fn sqlite_finds(sqlite: &rusqlite::Connection, document: &str, path: &str, json: &str) -> Result<(), TestCaseError> {
    use rusqlite::types::Value as Sql;
    let row = sqlite.query_row("SELECT ?1 -> ?2, json_extract(?1, ?2)", [document, path], |row| {
        Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Sql>(1)?))
    });
    let (found, extracted) = row.map_err(|error| TestCaseError::fail(format!("{path}: {error}")))?;
    prop_assert_eq!(found.as_deref(), Some(json), "{}", path);
    match parse(json).expect("JSON") {
        Value::Null => prop_assert_eq!(extracted, Sql::Null),
        Value::Bool(truth) => prop_assert_eq!(extracted, Sql::Integer(truth.into())),
        Value::String(text) => prop_assert_eq!(extracted, Sql::Text(text)),
        Value::Array(_) | Value::Object(_) => prop_assert_eq!(extracted, Sql::Text(json.to_owned())),
        Value::Number(_) => prop_assert!(matches!(extracted, Sql::Integer(_) | Sql::Real(_))),
    }
    Ok(())
}

/// Checks that the changes' texts are right for SQLite in the documents that they speak of.
fn paths_are_right(
    sqlite: &rusqlite::Connection,
    old: &Document,
    new: &Document,
    changes: &[Change],
) -> Result<(), TestCaseError> {
    for change in changes {
        let (before, after) = (change.old.as_deref().unwrap_or_default(), change.new.as_deref().unwrap_or_default());
        match change.op {
            ChangeOp::Remove => sqlite_finds(sqlite, old.text(), &change.path, before)?,
            ChangeOp::Add | ChangeOp::Replace => sqlite_finds(sqlite, new.text(), &change.path, after)?,
            ChangeOp::Move => {
                let path = Path::parse(&change.path).expect("a path");
                prop_assert_eq!(path.0.last(), Some(&Step::Index(after.parse().expect("an index"))));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changes_fold_both_ways((old, new) in two(), shape in shape()) {
        let (old, new) = (canonical(old, &shape), canonical(new, &shape));
        let changes = diff(old.value(), new.value(), &shape);
        prop_assert_eq!(changes.is_empty(), old == new);
        let folded = fold(old.value(), &changes).map(|value| value.to_string());
        prop_assert_eq!(folded, Ok(new.text().to_owned()), "{:?}", changes);
        let unfolded = unfold(new.value(), &changes).map(|value| value.to_string());
        prop_assert_eq!(unfolded, Ok(old.text().to_owned()), "{:?}", changes);
    }

    #[test]
    fn changes_fold_even_if_the_shape_is_not_the_documents_own((old, new) in two(), shape in shape()) {
        let (old, new) = (canonical(old, &Shape::PLAIN), canonical(new, &Shape::PLAIN));
        let changes = diff(old.value(), new.value(), &shape);
        prop_assert_eq!(fold(old.value(), &changes).map(|value| value.to_string()), Ok(new.text().to_owned()));
        prop_assert_eq!(unfold(new.value(), &changes).map(|value| value.to_string()), Ok(old.text().to_owned()));
    }

    #[test]
    fn sqlite_finds_what_changed((old, new) in two(), shape in shape()) {
        let sqlite = rusqlite::Connection::open_in_memory().expect("a database");
        let (old, new) = (canonical(old, &shape), canonical(new, &shape));
        paths_are_right(&sqlite, &old, &new, &diff(old.value(), new.value(), &shape))?;
    }

    #[test]
    fn tampered_changes_are_an_error_or_another_document(
        (old, new) in related(),
        which in 0..1000usize,
        change in 0..6u8,
        other in text(),
    ) {
        let (old, new) = (canonical(old, &RULES), canonical(new, &RULES));
        let mut changes = diff(old.value(), new.value(), &RULES);
        prop_assume!(!changes.is_empty());
        let at = which % changes.len();
        match change {
            0 => drop(changes.remove(at)),
            1 => changes.insert(at, changes[at].clone()),
            2 => changes[at].path.push_str(&other),
            3 => changes[at].old = Some(other),
            4 => changes[at].new = Some(other),
            _ => changes[at].op = ChangeOp::ALL[which % ChangeOp::ALL.len()],
        }
        let untouched = diff(old.value(), new.value(), &RULES) == changes;
        let folds = fold(old.value(), &changes).is_ok_and(|value| value == **new.value());
        let unfolds = unfold(new.value(), &changes).is_ok_and(|value| value == **old.value());
        prop_assert_eq!(folds && unfolds, untouched);
    }

    #[test]
    fn canonical_form_is_idempotent(value in document(), shape in shape()) {
        let once = canonical(value, &shape);
        let twice = canonical(Value::clone(once.value()), &shape);
        prop_assert_eq!(once.text(), twice.text());
        let stored = Document::stored(once.text()).expect("JSON");
        prop_assert_eq!((stored.value(), stored.hash()), (once.value(), once.hash()));
        prop_assert_eq!(&*parse(once.text()).expect("JSON").to_string(), once.text());
    }

    #[test]
    fn canonical_form_knows_no_order_and_no_spelling(mut value in document(), rolls in dice()) {
        let document = canonical(value.clone(), &RULES);
        if let Some(Value::Array(tags)) = value.get_mut("tags") {
            tags.reverse();
        }
        let text = respelled(&value, &mut Dice(rolls.into_iter()));
        let again = canonical(parse(&text).expect("JSON"), &RULES);
        prop_assert_eq!(again.text(), document.text());
    }

    #[test]
    fn one_element_more_is_one_change(value in document(), rolls in dice(), fresh in value()) {
        // A change inside of a set's member is another member.
        let tags = value.get("tags").and_then(Value::as_array);
        prop_assume!(tags.is_none_or(|tags| tags.iter().all(|tag| !tag.is_array() && !tag.is_object())));
        let old = canonical(value, &RULES);
        let mut value = Value::clone(old.value());
        insert(&mut value, &mut Dice(rolls.into_iter()), fresh);
        let new = canonical(value, &RULES);
        prop_assume!(old != new);
        let ops = |changes: Vec<Change>| changes.iter().map(|change| change.op).collect::<Vec<_>>();
        prop_assert_eq!(ops(diff(old.value(), new.value(), &RULES)), [ChangeOp::Add]);
        prop_assert_eq!(ops(diff(new.value(), old.value(), &RULES)), [ChangeOp::Remove]);
    }
}

/// Puts `fresh` somewhere into an array or object; scalars stay as they are.
fn insert(value: &mut Value, dice: &mut Dice, fresh: Value) {
    let at = dice.below(1000);
    match value {
        Value::Array(items) => {
            let at = at % (items.len() + 1);
            match items.get_mut(at).filter(|item| item.is_array() || item.is_object()) {
                Some(item) if dice.below(2) > 0 => insert(item, dice, fresh),
                _ => items.insert(at, fresh),
            }
        }
        Value::Object(members) => {
            let at = at % members.len().max(1);
            match members.values_mut().nth(at).filter(|member| member.is_array() || member.is_object()) {
                Some(member) if dice.below(3) > 0 => insert(member, dice, fresh),
                _ => drop(members.insert("another".to_owned(), fresh)),
            }
        }
        _ => {}
    }
}

/// All orders of `0..n`.
fn permutations(n: usize) -> Vec<Vec<usize>> {
    (0..n).fold(vec![Vec::new()], |shorter, next| {
        let longer = shorter.into_iter().flat_map(|order| {
            (0..=order.len())
                .map(move |at| order[..at].iter().copied().chain([next]).chain(order[at..].iter().copied()).collect())
        });
        longer.collect()
    })
}

/// The length of the longest rising subsequence, by trying them all.
fn longest_rise(order: &[usize]) -> usize {
    let sets = 0..1usize << order.len();
    let chosen =
        sets.map(|set| (0..order.len()).filter(|at| set >> at & 1 == 1).map(|at| order[at]).collect::<Vec<_>>());
    chosen.filter(|rise| rise.is_sorted()).map(|rise| rise.len()).max().unwrap_or(0)
}

#[test]
fn a_reordering_is_never_more_moves_than_it_must_be() {
    let rules = |order: &[usize]| json!({"rules": order.iter().map(|id| json!({"id": id})).collect::<Vec<_>>()});
    for n in 0..=6 {
        let old = rules(&(0..n).collect::<Vec<_>>());
        for order in permutations(n) {
            let new = rules(&order);
            let changes = diff(&old, &new, &RULES);
            assert!(changes.iter().all(|change| change.op == ChangeOp::Move), "{order:?}");
            assert_eq!(changes.len(), n - longest_rise(&order), "{order:?}");
            assert_eq!(fold(&old, &changes).as_ref(), Ok(&new), "{order:?}");
            assert_eq!(unfold(&new, &changes).as_ref(), Ok(&old), "{order:?}");
        }
    }
}

#[test]
fn sqlite_finds_every_odd_key_and_reads_every_number() {
    let sqlite = rusqlite::Connection::open_in_memory().expect("a database");
    for key in KEYS {
        let new = canonical(json!([{ *key: { *key: [0, "x"] } }]), &Shape::PLAIN);
        let old = canonical(json!([{ *key: { *key: [0] } }]), &Shape::PLAIN);
        let changes = diff(old.value(), new.value(), &Shape::PLAIN);
        assert_eq!(changes.len(), 1);
        paths_are_right(&sqlite, &old, &new, &changes).expect("found");
        let back = diff(new.value(), old.value(), &Shape::PLAIN);
        paths_are_right(&sqlite, &new, &old, &back).expect("found");
    }
    for (number, sql) in [("1e400", "Inf"), ("-1.50E1", "-15"), ("1e-400", "0.0"), ("1e99999999999999999999", "Inf")] {
        let document = canonical(parse(number).expect("a number"), &Shape::PLAIN);
        let read: String = sqlite
            .query_row("SELECT CAST(json_extract(?1, '$') AS TEXT) WHERE json_valid(?1)", [document.text()], |row| {
                row.get(0)
            })
            .expect("JSON to SQLite");
        assert_eq!(read, sql, "{number}");
    }
}
