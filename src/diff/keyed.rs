//! Matching the items of two arrays by a key of their own. Position plays no part, neither in the match nor in the names.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::document::Keyed;

/// How the items of two arrays belong together.
pub(super) struct Matched<'v> {
    /// Indexes of equal key, old and new, rising on the old side.
    pub(super) pairs: Vec<(usize, usize)>,
    /// What names each old item to people.
    pub(super) old_names: Vec<&'v Value>,
    /// What names each new item to people.
    pub(super) new_names: Vec<&'v Value>,
}

/// Matches by the first key that every item of both arrays has, unique in each; `None` if there is no such key.
pub(super) fn matched<'v>(old: &'v [Value], new: &'v [Value], keyed: &Keyed) -> Option<Matched<'v>> {
    let (old_keys, new_keys) = keyed.keys.iter().find_map(|key| keys(old, key).zip(keys(new, key)))?;
    let places: HashMap<&Value, usize> = new_keys.iter().enumerate().map(|(at, key)| (*key, at)).collect();
    let pairs = old_keys.iter().enumerate().filter_map(|(at, key)| Some((at, *places.get(key)?))).collect();
    let (old_names, new_names) = match keyed.label {
        None => (old_keys, new_keys),
        Some(label) => {
            let owners = Owners::of(old.iter().zip(&old_keys).chain(new.iter().zip(&new_keys)), label);
            (owners.names(old, &old_keys, label), owners.names(new, &new_keys, label))
        }
    };
    Some(Matched { pairs, old_names, new_names })
}

/// The member `key` of every item, if each has one and no two have the same. Null, which says nothing, is none.
fn keys<'v>(items: &'v [Value], key: &str) -> Option<Vec<&'v Value>> {
    let mut seen = HashSet::new();
    let keys = items.iter().map(|item| item.get(key).filter(|key| key.is_string() || key.is_number()));
    keys.map(|key| key.filter(|key| seen.insert(*key))).collect()
}

/// Which key each name belongs to, over both arrays; `None` for a name of several.
struct Owners<'v>(HashMap<&'v Value, Option<&'v Value>>);

impl<'v> Owners<'v> {
    fn of<'k>(items: impl Iterator<Item = (&'v Value, &'k &'v Value)>, label: &str) -> Self
    where
        'v: 'k,
    {
        let mut owners: HashMap<&Value, Option<&Value>> = HashMap::new();
        for (item, &key) in items {
            // A key is its own item's name too: another item's label must not read the same.
            for name in [Some(key), item.get(label)].into_iter().flatten() {
                owners
                    .entry(name)
                    .and_modify(|owner| *owner = owner.filter(|owner| *owner == key))
                    .or_insert(Some(key));
            }
        }
        Self(owners)
    }

    /// Each item's label where it is a string that means no other item, else its key.
    fn names(&self, items: &'v [Value], keys: &[&'v Value], label: &str) -> Vec<&'v Value> {
        let name = |(item, key): (&'v Value, &&'v Value)| {
            let label = item.get(label).filter(|label| label.as_str().is_some_and(|text| !text.is_empty()));
            label.filter(|label| self.0.get(label).is_some_and(Option::is_some)).unwrap_or(key)
        };
        items.iter().zip(keys).map(name).collect()
    }
}
