//! What differs between two documents, as changes that fold one into the other and back.
//!
//! Pure. Nothing may be lost, doubled or made up here: every [`Change`] is a row that people read and that `verify` folds.
//!
//! The order of changes is the order of the new document: object members by key, array elements by index, an element's move
//! before what changed inside of it. A remove comes where its element stood: before whatever now follows the last element in
//! front of it that kept its order.

mod fold;
mod keyed;
mod order;
mod words;

pub use fold::{FoldError, fold, unfold};

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Map, Value};

use crate::document::Shape;
use crate::model::{Change, ChangeOp, Step};

/// Below a path longer than this (bytes) nothing is compared inside, so that hostile keys cannot make changes many times the
/// size of their document.
const MAX_PATH: usize = 4096;

/// What turns `old` into `new`, both canonical documents of the provider whose `shape` is given; empty when they are equal.
///
/// Objects are compared by key, keyed arrays by their items' keys, set-like arrays by membership, other arrays along a longest
/// common subsequence; what is left in one gap of that is compared in pairs. Two scalars, or two values of different types, that
/// differ are one replace. `field` of the document itself is `$`.
pub fn diff(old: &Value, new: &Value, shape: &Shape) -> Vec<Change> {
    walk(old, new, shape, None).changes
}

/// Two documents side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// What differs, as [`diff`] tells.
    pub changes: Vec<Change>,
    /// What is the same beside something that differs, as `field`s in the order of the new document.
    pub unchanged: Vec<String>,
}

/// What differs, and what next to it does not.
pub fn compare(old: &Value, new: &Value, shape: &Shape) -> Comparison {
    let walk = walk(old, new, shape, Some(Vec::new()));
    Comparison { changes: walk.changes, unchanged: walk.unchanged.unwrap_or_default() }
}

fn walk<'v>(old: &'v Value, new: &'v Value, shape: &'v Shape, unchanged: Option<Vec<String>>) -> Walk<'v> {
    let mut walk = Walk {
        shape,
        keys: Vec::new(),
        arrays: 0,
        old_path: "$".to_owned(),
        new_path: "$".to_owned(),
        field: String::new(),
        effort: order::Effort::default(),
        changes: Vec::new(),
        unchanged,
    };
    walk.compare(old, new);
    walk
}

/// A descent into both documents at once.
struct Walk<'v> {
    shape: &'v Shape,
    /// The object keys on the way here; where the shape may say something as long as no array is on the way.
    keys: Vec<&'v str>,
    arrays: usize,
    old_path: String,
    new_path: String,
    field: String,
    effort: order::Effort,
    changes: Vec<Change>,
    /// What is equal on the way, where somebody wants to know.
    unchanged: Option<Vec<String>>,
}

/// How two arrays lie against each other.
struct Alignment<'v> {
    /// Elements that keep their order, old and new index, rising on both sides.
    kept: Vec<(usize, usize)>,
    /// Elements that do not: new index to old index.
    moved: BTreeMap<usize, usize>,
    /// What names the old and the new elements; `None` where only their index does.
    names: Option<(Vec<&'v Value>, Vec<&'v Value>)>,
}

impl<'v> Walk<'v> {
    fn compare(&mut self, old: &'v Value, new: &'v Value) {
        if old == new {
            return;
        }
        match (old, new) {
            (Value::Object(old), Value::Object(new)) if self.new_path.len() <= MAX_PATH => self.objects(old, new),
            (Value::Array(old), Value::Array(new)) if self.new_path.len() <= MAX_PATH => self.arrays(old, new),
            _ => self.push(ChangeOp::Replace, Some(old.to_string()), Some(new.to_string())),
        }
    }

    fn objects(&mut self, old: &'v Map<String, Value>, new: &'v Map<String, Value>) {
        let keys: BTreeSet<&str> = old.keys().chain(new.keys()).map(String::as_str).collect();
        for key in keys {
            let (before, after) = (old.get(key), new.get(key));
            if before == after && self.unchanged.is_none() {
                continue;
            }
            let step = Step::Key(key.to_owned()).to_string();
            let dot = if self.field.is_empty() { "" } else { "." };
            let word = format!("{dot}{}", words::member(key));
            self.keys.push(key);
            self.within([&step, &step, &word], |walk| walk.either(before, after));
            self.keys.pop();
        }
    }

    fn arrays(&mut self, old: &'v [Value], new: &'v [Value]) {
        let alignment = self.align(old, new);
        let gone: HashSet<usize> = alignment.moved.values().copied().collect();
        self.arrays += 1;
        let (mut old_next, mut new_next) = (0, 0);
        for &(old_kept, new_kept) in alignment.kept.iter().chain([&(old.len(), new.len())]) {
            for at in (old_next..old_kept).filter(|at| !gone.contains(at)) {
                self.item(&alignment, (Some(at), None), |walk| walk.either(old.get(at), None));
            }
            for at in new_next..new_kept {
                let from = alignment.moved.get(&at).copied();
                self.item(&alignment, (from, Some(at)), |walk| {
                    if let Some(from) = from {
                        walk.push(ChangeOp::Move, Some(from.to_string()), Some(at.to_string()));
                    }
                    let before = from.and_then(|from| old.get(from));
                    // What has moved is not what stayed as it was.
                    if before != new.get(at) {
                        walk.either(before, new.get(at));
                    }
                });
            }
            let (before, after) = (old.get(old_kept), new.get(new_kept));
            if before != after || (before.is_some() && self.unchanged.is_some()) {
                self.item(&alignment, (Some(old_kept), Some(new_kept)), |walk| walk.either(before, after));
            }
            (old_next, new_next) = (old_kept + 1, new_kept + 1);
        }
        self.arrays -= 1;
    }

    fn align(&mut self, old: &'v [Value], new: &'v [Value]) -> Alignment<'v> {
        let keys = if self.arrays == 0 { Some(self.keys.as_slice()) } else { None };
        if keys.is_some_and(|keys| self.shape.is_set(keys))
            && let Some(kept) = common_members(old, new)
        {
            return Alignment {
                kept,
                moved: BTreeMap::new(),
                names: Some((old.iter().collect(), new.iter().collect())),
            };
        }
        let keyed = keys.and_then(|keys| self.shape.keyed_at(keys));
        if let Some(matched) = keyed.and_then(|keyed| keyed::matched(old, new, keyed)) {
            let kept = order::longest_chain(&matched.pairs);
            let stay: HashSet<(usize, usize)> = kept.iter().copied().collect();
            let moved =
                matched.pairs.iter().filter(|pair| !stay.contains(pair)).map(|&(from, to)| (to, from)).collect();
            return Alignment { kept, moved, names: Some((matched.old_names, matched.new_names)) };
        }
        let (old_items, new_items): (Vec<&Value>, Vec<&Value>) = (old.iter().collect(), new.iter().collect());
        let equal = order::common(&old_items, &new_items, &mut self.effort);
        Alignment { kept: with_gaps(&equal, (old.len(), new.len())), moved: BTreeMap::new(), names: None }
    }

    /// Descends to one element: at the old index if only that is given, else at the new one.
    fn item(&mut self, alignment: &Alignment<'v>, at: (Option<usize>, Option<usize>), visit: impl FnOnce(&mut Self)) {
        let step = |at: Option<usize>| at.map(|at| Step::Index(at).to_string()).unwrap_or_default();
        let name = match (&alignment.names, at) {
            (Some((_, new)), (_, Some(at))) => new.get(at),
            (Some((old, _)), (Some(at), _)) => old.get(at),
            _ => None,
        };
        let word = match name {
            Some(name) => format!("[{}]", words::item(name)),
            None => step(at.1.or(at.0)),
        };
        self.within([&step(at.0), &step(at.1), &word], visit);
    }

    /// Runs `visit` with the three texts appended to old path, new path and field.
    fn within(&mut self, [old, new, word]: [&str; 3], visit: impl FnOnce(&mut Self)) {
        let marks = (self.old_path.len(), self.new_path.len(), self.field.len());
        self.old_path.push_str(old);
        self.new_path.push_str(new);
        self.field.push_str(word);
        visit(self);
        self.old_path.truncate(marks.0);
        self.new_path.truncate(marks.1);
        self.field.truncate(marks.2);
    }

    fn either(&mut self, old: Option<&'v Value>, new: Option<&'v Value>) {
        match (old, new) {
            (Some(old), Some(new)) => match &mut self.unchanged {
                Some(unchanged) if old == new => unchanged.push(self.field.clone()),
                _ => self.compare(old, new),
            },
            (None, Some(new)) => self.push(ChangeOp::Add, None, Some(new.to_string())),
            (Some(old), None) => self.push(ChangeOp::Remove, Some(old.to_string()), None),
            (None, None) => {}
        }
    }

    fn push(&mut self, op: ChangeOp, old: Option<String>, new: Option<String>) {
        let path = if op == ChangeOp::Remove { self.old_path.clone() } else { self.new_path.clone() };
        let field = if self.field.is_empty() { "$".to_owned() } else { self.field.clone() };
        self.changes.push(Change { op, path, field, old, new });
    }
}

/// The members that two sorted sets share, as many times as both have them; `None` where one is not sorted (a document from
/// before the array was declared a set), so that its order is compared like any other.
fn common_members(old: &[Value], new: &[Value]) -> Option<Vec<(usize, usize)>> {
    let texts = |items: &[Value]| -> Option<Vec<String>> {
        let texts: Vec<String> = items.iter().map(Value::to_string).collect();
        texts.is_sorted().then_some(texts)
    };
    let (old, new) = (texts(old)?, texts(new)?);
    let (mut i, mut j, mut shared) = (0, 0, Vec::new());
    while let (Some(a), Some(b)) = (old.get(i), new.get(j)) {
        if a == b {
            shared.push((i, j));
        }
        (i, j) = (i + usize::from(a <= b), j + usize::from(b <= a));
    }
    Some(shared)
}

/// Fills the gaps between equal elements: what is left on both sides of one is paired by position.
fn with_gaps(equal: &[(usize, usize)], ends: (usize, usize)) -> Vec<(usize, usize)> {
    let mut pairs = Vec::with_capacity(equal.len());
    let (mut old, mut new) = (0, 0);
    for &(old_end, new_end) in equal.iter().chain([&ends]) {
        pairs.extend((old..old_end).zip(new..new_end));
        if (old_end, new_end) != ends {
            pairs.push((old_end, new_end));
        }
        (old, new) = (old_end + 1, new_end + 1);
    }
    pairs
}

#[cfg(test)]
mod tests;
