//! A segment's content as one canonical JSON text, so that equal content is equal text and has one hash.
//!
//! Pure. Nothing here may lose or add a value: unknown members stay, null, absent, `[]` and `""` stay different, and a
//! number keeps all its digits. What is special about a provider's documents comes in as a [`Shape`].

mod number;
mod page;
mod read;
mod shape;

pub use page::{Opened, open_list, peek_member};
pub use read::parse;
pub use shape::{KeyPath, Keyed, Shape};

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::model::{Path, Step};

/// A canonical document. Cheap to clone.
///
/// Canonical text: compact JSON, object keys sorted by code point, one text for each number (see `number`), set-like arrays
/// sorted by the canonical text of their members, duplicates kept.
#[derive(Debug, Clone)]
pub struct Document {
    value: Arc<Value>,
    text: Arc<str>,
    hash: [u8; 32],
}

/// A stored text that is no JSON.
#[derive(Debug, thiserror::Error)]
#[error("read a stored document: {0}")]
pub struct StoredError(serde_json::Error);

impl Document {
    /// The canonical document of what a provider sent, without its volatile members and without the `ignore`d paths.
    ///
    /// A path in `ignore` speaks of the document without it: object-form arrays wrapped, sets sorted; indexes count before any
    /// path is taken out. A path that leads nowhere, or `$` itself, takes out nothing.
    pub fn new(mut value: Value, shape: &Shape, ignore: &[Path]) -> Self {
        if let Value::Object(members) = &mut value {
            members.retain(|name, _| !shape.volatile.contains(&name.as_str()));
        }
        canonical_numbers(&mut value);
        for keys in shape.wrapped {
            if let Some(place) = at(&mut value, keys).filter(|place| place.is_object()) {
                *place = Value::Array(vec![place.take()]);
            }
        }
        sort_sets(&mut value, shape);
        let ignore: Vec<&[Step]> =
            ignore.iter().map(|path| path.0.as_slice()).filter(|path| !path.is_empty()).collect();
        if !ignore.is_empty() {
            remove_paths(&mut value, &ignore);
            sort_sets(&mut value, shape);
        }
        Self::canonical(value)
    }

    /// The document of a text that a [`Document`] once had. Text and hash are those of the text given, as it is.
    pub fn stored(text: &str) -> Result<Self, StoredError> {
        let mut value = parse(text).map_err(StoredError)?;
        canonical_numbers(&mut value);
        Ok(Self { value: Arc::new(value), text: text.into(), hash: *blake3::hash(text.as_bytes()).as_bytes() })
    }

    fn canonical(value: Value) -> Self {
        // Quicker than its Display; a value that is held can be written.
        let text = serde_json::to_string(&value).unwrap_or_else(|_| value.to_string());
        let hash = *blake3::hash(text.as_bytes()).as_bytes();
        Self { value: Arc::new(value), text: text.into(), hash }
    }

    /// The content; shared, not copied, by clones of the `Arc`.
    pub fn value(&self) -> &Arc<Value> {
        &self.value
    }

    /// The canonical text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// BLAKE3 of [`text`](Self::text).
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Document {}

fn canonical_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number::is_short_integer(number.as_str()) => {}
        Value::Number(number) => {
            let canonical = number::canonical(number.as_str()).and_then(|text| text.parse().ok());
            if let Some(canonical) = canonical {
                *number = canonical;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(canonical_numbers),
        Value::Object(members) => members.values_mut().for_each(canonical_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The value at some object keys from the root.
fn at<'v>(root: &'v mut Value, keys: &[&str]) -> Option<&'v mut Value> {
    keys.iter().try_fold(root, |place, key| place.as_object_mut()?.get_mut(*key))
}

fn sort_sets(value: &mut Value, shape: &Shape) {
    for keys in shape.sets {
        if let Some(Value::Array(items)) = at(value, keys) {
            items.sort_by_cached_key(Value::to_string);
        }
    }
}

/// Takes out every place that one of the `paths` leads to; none of them is empty.
fn remove_paths(value: &mut Value, paths: &[&[Step]]) {
    // What is left of the paths whose first step `fits`; `None` if one of them ends there.
    let after = |fits: &dyn Fn(&Step) -> bool| -> Option<Vec<&[Step]>> {
        let rests = paths.iter().filter_map(|path| path.split_first()).filter(|(step, _)| fits(step));
        rests.map(|(_, rest)| (!rest.is_empty()).then_some(rest)).collect()
    };
    match value {
        Value::Object(members) => {
            let keys: BTreeSet<&str> = paths.iter().filter_map(|path| first_key(path)).collect();
            for key in keys {
                match after(&|step| matches!(step, Step::Key(name) if name == key)) {
                    None => drop(members.remove(key)),
                    Some(rests) => members.get_mut(key).into_iter().for_each(|member| remove_paths(member, &rests)),
                }
            }
        }
        Value::Array(items) => {
            let mut next = 0;
            items.retain_mut(|item| {
                let here = next;
                next += 1;
                let rests = after(&|step| matches!(step, Step::Each) || *step == Step::Index(here));
                if let Some(rests) = rests.as_ref().filter(|rests| !rests.is_empty()) {
                    remove_paths(item, rests);
                }
                rests.is_some()
            });
        }
        _ => {}
    }
}

fn first_key(path: &[Step]) -> Option<&str> {
    match path.first() {
        Some(Step::Key(key)) => Some(key),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
