//! Judges the rows of `changes` by the two documents alone. Nothing of segsync's comparison is used here: paths are read,
//! items matched and differences found by other code.

use std::collections::{BTreeMap, BTreeSet};

use json_patch::{PatchOperation, diff};
use serde_json::{Map, Value};

/// A row of `changes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) op: String,
    pub(crate) path: String,
    pub(crate) old: Option<String>,
    pub(crate) new: Option<String>,
}

/// What a provider's arrays are: those whose order means nothing, and those whose items have one of these keys.
pub(crate) struct Arrays {
    pub(crate) sets: &'static [&'static str],
    pub(crate) keyed: &'static [(&'static str, &'static [&'static str])],
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Index(usize),
}

type Steps = Vec<Step>;

/// Whether the rows say what differs between the two documents, and nothing else.
pub(crate) fn judge(old: &Value, new: &Value, rows: &[Row], arrays: &Arrays) -> Result<(), String> {
    let mut placed = Vec::new();
    for row in rows {
        placed.push((steps(&row.path).ok_or_else(|| format!("no path: {row:?}"))?, row));
    }
    let as_patch = same_as_a_patch(old, new, &placed, arrays);
    let slices = placed.iter().map(|(steps, row)| (steps.as_slice(), *row)).collect();
    as_patch.and_then(|()| explain(old, new, slices))
}

/// SQLite's path syntax, read by hand.
fn steps(path: &str) -> Option<Steps> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (index, after) = inside.split_once(']')?;
            steps.push(Step::Index(index.parse().ok()?));
            rest = after;
        } else if let Some(quoted) = rest.strip_prefix(".\"") {
            let mut escaped = false;
            let end = quoted.char_indices().find(|(_, c)| {
                let ends = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                ends
            })?;
            steps.push(Step::Key(serde_json::from_str(&format!("\"{}\"", &quoted[..end.0])).ok()?));
            rest = &quoted[end.0 + 1..];
        } else {
            let name = rest.strip_prefix('.')?;
            let end = name.find(['.', '[']).unwrap_or(name.len());
            steps.push(Step::Key(name[..end].to_owned()));
            rest = &name[end..];
        }
    }
    Some(steps)
}

fn text(value: &Value) -> Option<String> {
    Some(value.to_string())
}

// -- row by row, against the json-patch crate

/// A difference: op, JSON pointer in documents whose items have names, old and new text. What lies inside an array whose
/// items have no names is told by that array only.
type Difference = (String, String, Option<String>, Option<String>);

/// The rows against what the json-patch crate finds in the same documents with named items in place of keyed arrays and
/// sets. Moves, which no name tells, must be the fewest possible.
fn same_as_a_patch(old: &Value, new: &Value, rows: &[(Steps, &Row)], arrays: &Arrays) -> Result<(), String> {
    let named = Named::of(old, new, arrays);
    let mut told = BTreeSet::new();
    let mut moves: BTreeMap<String, usize> = BTreeMap::new();
    for (steps, row) in rows {
        let side = if row.op == "remove" { 0 } else { 1 };
        let (pointer, inside) = named.pointer(steps, side);
        if row.op == "move" && !inside {
            let array = pointer.rsplit_once('/').map(|(array, _)| array.to_owned()).unwrap_or_default();
            *moves.entry(array).or_default() += 1;
            continue;
        }
        let difference = if inside {
            ("inside".to_owned(), pointer, None, None)
        } else {
            (row.op.clone(), pointer, row.old.clone(), row.new.clone())
        };
        if !told.insert(difference) && !inside {
            return Err(format!("told twice: {row:?}"));
        }
    }
    let expected = named.expected();
    if told != expected {
        let (missing, surplus) = (expected.difference(&told).next(), told.difference(&expected).next());
        return Err(format!("missing {missing:?}, surplus {surplus:?}"));
    }
    for (array, order) in &named.orders {
        let least = order.len() - longest_rising(order);
        let told = moves.remove(array).unwrap_or(0);
        if told != least {
            return Err(format!("{told} moves in {array} instead of {least}"));
        }
    }
    if moves.is_empty() { Ok(()) } else { Err(format!("moves of nothing: {moves:?}")) }
}

/// Two documents with objects in place of the arrays whose items have names.
struct Named {
    documents: [Value; 2],
    /// The names of the items, by the array's pointer, for each document.
    names: [BTreeMap<String, Vec<String>>; 2],
    /// For each keyed array: where in the old one the items stand that both have, in the order of the new one.
    orders: BTreeMap<String, Vec<usize>>,
}

impl Named {
    fn of(old: &Value, new: &Value, arrays: &Arrays) -> Self {
        let mut named =
            Self { documents: [old.clone(), new.clone()], names: Default::default(), orders: BTreeMap::new() };
        for pointer in arrays.sets {
            named.name(pointer, |items| Some(items.iter().map(Value::to_string).collect()), false);
        }
        for (pointer, keys) in arrays.keyed {
            let usable = |key: &str| {
                named.documents.iter().all(|document| {
                    let items = document.pointer(pointer).and_then(Value::as_array);
                    items.is_some_and(|items| names_by(items, key).is_some())
                })
            };
            if let Some(key) = keys.iter().copied().find(|key| usable(key)) {
                named.name(pointer, |items| names_by(items, key), true);
            }
        }
        named
    }

    /// Puts objects in place of an array, where both documents have one.
    fn name(&mut self, pointer: &str, names: impl Fn(&[Value]) -> Option<Vec<String>>, ordered: bool) {
        let items = [0, 1].map(|side: usize| self.documents[side].pointer(pointer).and_then(Value::as_array).cloned());
        let [Some(before), Some(after)] = items else { return };
        let mut all = Vec::new();
        for (side, items) in [before, after].iter().enumerate() {
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            let mut unique = Vec::new();
            for name in names(items).unwrap_or_default() {
                let count = seen.entry(name.clone()).or_default();
                *count += 1;
                unique.push(format!("{name}#{count}"));
            }
            let object: Map<String, Value> = unique.iter().cloned().zip(items.iter().cloned()).collect();
            if let Some(place) = self.documents[side].pointer_mut(pointer) {
                *place = Value::Object(object);
            }
            self.names[side].insert(pointer.to_owned(), unique.clone());
            all.push(unique);
        }
        if ordered {
            let order = all[1].iter().filter_map(|name| all[0].iter().position(|other| other == name)).collect();
            self.orders.insert(pointer.to_owned(), order);
        }
    }

    /// A path of one of the documents as a pointer into the named one; ends at the first array without names, and tells
    /// whether it went on.
    fn pointer(&self, steps: &[Step], side: usize) -> (String, bool) {
        let mut pointer = String::new();
        for step in steps {
            let token = match step {
                Step::Key(key) => key.clone(),
                Step::Index(at) => match self.names[side].get(&pointer).and_then(|names| names.get(*at)) {
                    Some(name) => name.clone(),
                    None => return (pointer, true),
                },
            };
            pointer = format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"));
        }
        (pointer, false)
    }

    fn expected(&self) -> BTreeSet<Difference> {
        let [old, new] = &self.documents;
        let is_inside = |pointer: &str| {
            let ends = pointer.match_indices('/').map(|(at, _)| &pointer[..at]);
            let arrays =
                ends.filter(|prefix| [old, new].iter().any(|one| one.pointer(prefix).is_some_and(Value::is_array)));
            arrays.map(str::to_owned).next()
        };
        let difference = |op: &PatchOperation| {
            let pointer = op.path().to_string();
            if let Some(array) = is_inside(&pointer) {
                return ("inside".to_owned(), array, None, None);
            }
            let before = old.pointer(&pointer).and_then(text);
            match op {
                PatchOperation::Add(added) => ("add".to_owned(), pointer, None, text(&added.value)),
                PatchOperation::Remove(_) => ("remove".to_owned(), pointer, before, None),
                PatchOperation::Replace(replaced) => ("replace".to_owned(), pointer, before, text(&replaced.value)),
                other => panic!("a difference that is none: {other:?}"),
            }
        };
        diff(old, new).0.iter().map(difference).collect()
    }
}

/// The items' values under a key, if each has one and no two the same.
fn names_by(items: &[Value], key: &str) -> Option<Vec<String>> {
    let name = |item: &Value| item.get(key).filter(|name| name.is_string() || name.is_number()).map(Value::to_string);
    let names: Vec<String> = items.iter().map(name).collect::<Option<_>>()?;
    (names.iter().collect::<BTreeSet<_>>().len() == names.len()).then_some(names)
}

/// The length of the longest rising subsequence, by the textbook's table.
fn longest_rising(order: &[usize]) -> usize {
    let mut lengths: Vec<usize> = Vec::new();
    for (at, place) in order.iter().enumerate() {
        let before = (0..at).filter(|other| order[*other] < *place).map(|other| lengths[other]).max();
        lengths.push(before.unwrap_or(0) + 1);
    }
    lengths.into_iter().max().unwrap_or(0)
}

// -- all the way down, also inside arrays without names

/// Follows the rows from the roots to the leaves: whatever they do not tell must be equal, and all of them must be met.
fn explain(old: &Value, new: &Value, rows: Vec<(&[Step], &Row)>) -> Result<(), String> {
    if rows.is_empty() {
        return if old == new { Ok(()) } else { Err(format!("untold: {old} → {new}")) };
    }
    if let Some((_, row)) = rows.iter().find(|(steps, row)| steps.is_empty() && row.op == "replace") {
        let right = rows.len() == 1 && old != new && row.old == text(old) && row.new == text(new);
        return if right { Ok(()) } else { Err(format!("wrong: {row:?}")) };
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => explain_members(old, new, rows),
        (Value::Array(old), Value::Array(new)) => explain_items(old, new, rows),
        _ => Err(format!("inside of what has no inside: {:?}", rows[0].1)),
    }
}

fn explain_members(
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    rows: Vec<(&[Step], &Row)>,
) -> Result<(), String> {
    let mut below: BTreeMap<&str, Vec<(&[Step], &Row)>> = BTreeMap::new();
    for (steps, row) in rows {
        let Some((Step::Key(key), rest)) = steps.split_first() else { return Err(format!("no member: {row:?}")) };
        below.entry(key).or_default().push((rest, row));
    }
    for key in old.keys().chain(new.keys()).map(String::as_str).collect::<BTreeSet<_>>() {
        let rows = below.remove(key).unwrap_or_default();
        match (old.get(key), new.get(key)) {
            (Some(old), Some(new)) => explain(old, new, rows)?,
            (before, after) => {
                let op = if before.is_some() { "remove" } else { "add" };
                let right = |(steps, row): &(&[Step], &Row)| {
                    steps.is_empty()
                        && row.op == op
                        && row.old == before.and_then(text)
                        && row.new == after.and_then(text)
                };
                if rows.len() != 1 || !rows.iter().all(right) {
                    return Err(format!("{op} of {key}: {rows:?}"));
                }
            }
        }
    }
    if below.is_empty() { Ok(()) } else { Err(format!("no such member: {below:?}")) }
}

fn explain_items(old: &[Value], new: &[Value], rows: Vec<(&[Step], &Row)>) -> Result<(), String> {
    // Where each new item comes from; `None` once it is known to come from nowhere.
    let mut origin: BTreeMap<usize, Option<usize>> = BTreeMap::new();
    let mut gone = BTreeSet::new();
    let mut deeper = Vec::new();
    for (steps, row) in rows {
        let Some((Step::Index(at), rest)) = steps.split_first() else { return Err(format!("no item: {row:?}")) };
        let is_new = match (row.op.as_str(), rest.is_empty()) {
            ("remove", true) => row.old == old.get(*at).and_then(text) && row.new.is_none() && gone.insert(*at),
            ("add", true) => {
                row.new == new.get(*at).and_then(text) && row.old.is_none() && origin.insert(*at, None).is_none()
            }
            ("move", true) => {
                let from =
                    row.old.as_ref().and_then(|from| from.parse::<usize>().ok()).filter(|from| *from < old.len());
                let to = row.new == Some(at.to_string()) && *at < new.len();
                to && from.is_some_and(|from| gone.insert(from)) && origin.insert(*at, from).is_none()
            }
            _ => {
                deeper.push((*at, rest, row));
                true
            }
        };
        if !is_new || (row.op != "move" && row.old == row.new) {
            return Err(format!("wrong: {row:?}"));
        }
    }
    let mut others = (0..old.len()).filter(|at| !gone.contains(at));
    for (at, item) in new.iter().enumerate() {
        let from = match origin.get(&at) {
            Some(known) => *known,
            None => Some(others.next().ok_or_else(|| format!("item {at} comes from nowhere"))?),
        };
        let Some(from) = from else { continue };
        let (mine, rest) = deeper
            .into_iter()
            .partition(|(place, _, row): &(usize, &[Step], &Row)| *place == if row.op == "remove" { from } else { at });
        deeper = rest;
        explain(&old[from], item, mine.into_iter().map(|(_, steps, row)| (steps, row)).collect())?;
    }
    match (others.next(), deeper.first()) {
        (None, None) => Ok(()),
        (Some(at), _) => Err(format!("item {at} goes nowhere")),
        (None, Some((_, _, row))) => Err(format!("no such item: {row:?}")),
    }
}
