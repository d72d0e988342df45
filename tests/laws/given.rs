//! Arbitrary JSON, documents that resemble each other, and shapes.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;
use segsync::document::{KeyPath, Keyed, Shape, parse};
use serde_json::{Map, Value, json};

use crate::laws::law::canonical::RULES;
use crate::laws::law::dice::{Dice, KEYS, edit};

pub(crate) fn text() -> impl Strategy<Value = String> {
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

pub(crate) fn value() -> impl Strategy<Value = Value> {
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
pub(crate) fn document() -> impl Strategy<Value = Value> {
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

pub(crate) fn shape() -> impl Strategy<Value = Shape> {
    let keyed = (key_path(), select(KEY_NAMES), select(LABELS)).prop_map(|(at, keys, label)| Keyed { at, keys, label });
    let paths = || prop::collection::vec(key_path(), 0..3).prop_map(|paths| &*paths.leak());
    let volatile = prop::collection::vec(select(&["b", "a"][..]), 0..2).prop_map(|names| &*names.leak());
    let arbitrary = (volatile, paths(), prop::collection::vec(keyed, 0..3), paths()).prop_map(
        |(volatile, sets, keyed, wrapped)| Shape { volatile, sets, keyed: keyed.leak(), wrapped, stamps: &[] },
    );
    prop_oneof![1 => arbitrary, 1 => Just(RULES)]
}

pub(crate) fn dice() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..1000usize, 60)
}

/// A document, and another that is mostly the same.
pub(crate) fn related() -> impl Strategy<Value = (Value, Value)> {
    let edits = prop::collection::vec((dice(), value()), 1..5);
    (document(), edits).prop_map(|(old, edits)| {
        let mut new = old.clone();
        for (dice, fresh) in edits {
            edit(&mut new, &mut Dice::new(dice), &fresh);
        }
        (old, new)
    })
}

pub(crate) fn two() -> impl Strategy<Value = (Value, Value)> {
    prop_oneof![3 => related(), 1 => (document(), document())]
}
