//! Decisions taken one by one out of a test's input, and JSON that is made of them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Few keys, so that documents overlap; the odd ones are those that a path has to quote.
pub const KEYS: &[&str] = &[
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

/// Decisions, taken one by one; 0 when they are used up.
#[derive(Debug)]
pub struct Dice(std::vec::IntoIter<usize>);

impl Dice {
    /// Decides by these.
    pub fn new(rolls: Vec<usize>) -> Self {
        Self(rolls.into_iter())
    }

    /// Decides by the bytes of an input.
    pub fn bytes(data: &[u8]) -> Self {
        Self::new(data.iter().copied().map(usize::from).collect())
    }

    /// A number below `sides`, or 0.
    pub fn below(&mut self, sides: usize) -> usize {
        self.0.next().unwrap_or(0) % sides.max(1)
    }

    /// A number with any digits.
    fn number(&mut self) -> Value {
        let exponents = ["", "e1", "E-2", "e+17", "e400", "e-99999999999999999999"];
        let sign = ["", "-"][self.below(2)];
        let whole = [self.below(10), self.below(256) * 257 * 65_537];
        let fraction = ["", ".0", ".50", ".000000000000000000000000000001"][self.below(4)];
        let text = format!("{sign}{}{fraction}{}", whole[self.below(2)], exponents[self.below(exponents.len())]);
        segsync::document::parse(&text).expect("a number")
    }

    fn text(&mut self) -> String {
        match self.below(3) {
            0 => ["x", "y", "z", "é"][self.below(4)].to_owned(),
            1 => KEYS[self.below(KEYS.len())].to_owned(),
            _ => (0..self.below(5)).map(|_| char::from(u8::try_from(self.below(128)).unwrap_or(0))).collect(),
        }
    }

    /// A value of any kind, so deep at most.
    pub fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 5 } else { 9 }) {
            0 => Value::Null,
            1 => Value::from(self.below(2) == 1),
            2 => Value::from(self.below(4)),
            3 => self.number(),
            4 => Value::from(self.text()),
            5 => (0..self.below(6)).map(|_| self.value(depth - 1)).collect(),
            6 | 7 => (0..self.below(6)).map(|_| (self.text(), self.value(depth - 1))).collect(),
            _ => self.records(depth - 1),
        }
    }

    /// An array of objects with a key each.
    fn records(&mut self, depth: usize) -> Value {
        let mut seen = BTreeSet::new();
        let mut record = || {
            let (id, name) = (self.below(8), ["a", "b", "c"][self.below(3)]);
            seen.insert(id).then(|| json!({"id": id, "name": name, "a": self.value(depth)}))
        };
        (0..7).filter_map(|_| record()).collect()
    }

    /// A document with something at the places that shapes speak of.
    pub fn document(&mut self) -> Value {
        let mut members: Map<String, Value> = (0..self.below(4)).map(|_| (self.text(), self.value(3))).collect();
        members.insert("rules".to_owned(), self.records(2));
        members.insert("tags".to_owned(), (0..self.below(6)).map(|_| self.value(0)).collect());
        Value::Object(members)
    }
}

/// Changes something somewhere in `value`.
pub fn edit(value: &mut Value, dice: &mut Dice, fresh: &Value) {
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
