//! Changes applied to a document, forwards and backwards, by what they say alone: no shape is needed.
//!
//! The changes come from a file that anyone may have edited: what does not fit exactly is an error, never a guess, and costs
//! no more memory than document and changes together.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::document::parse;
use crate::model::{Change, ChangeOp, Path, Step};

/// Paths of more steps are refused: documents out of a text are never this deep, and folding descends step by step.
const MAX_STEPS: usize = 256;

/// A change in an error is named by at most this many characters of its path.
const SHOWN: usize = 300;

/// A change that does not fit the document it is folded into.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fold change {ordinal} ({op} {path:?}): {what}")]
pub struct FoldError {
    /// Which of the changes, counted from 0.
    pub ordinal: usize,
    /// What it wanted to do.
    pub op: ChangeOp,
    /// Where; cut when long.
    pub path: String,
    /// Why that cannot be.
    pub what: &'static str,
}

/// The document that `changes` make of `old`: for `changes` of `diff(old, new, …)` exactly `new`.
pub fn fold(old: &Value, changes: &[Change]) -> Result<Value, FoldError> {
    Folding { changes, back: false, used: vec![false; changes.len()] }.run(old)
}

/// The document that `changes` made `new` of: for `changes` of `diff(old, new, …)` exactly `old`.
pub fn unfold(new: &Value, changes: &[Change]) -> Result<Value, FoldError> {
    Folding { changes, back: true, used: vec![false; changes.len()] }.run(new)
}

/// The changes at a place and below it, as ordinals. Removes speak of places in the old document, all others of the new one,
/// so there are two trees, and both are walked at once.
#[derive(Default)]
struct Tree {
    put: Option<usize>,
    moved: Option<usize>,
    below: BTreeMap<Step, Tree>,
}

struct Folding<'c> {
    changes: &'c [Change],
    back: bool,
    used: Vec<bool>,
}

/// A move within one array: its ordinal, and the indexes it goes from and to.
type Move = (usize, usize, usize);

/// Changes right below one place: the step there, and the ordinal.
type Steps<'t> = Vec<(&'t Step, usize)>;

impl<'c> Folding<'c> {
    fn run(mut self, start: &Value) -> Result<Value, FoldError> {
        let (mut old, mut new) = (Tree::default(), Tree::default());
        for (ordinal, change) in self.changes.iter().enumerate() {
            let root = if change.op == ChangeOp::Remove { &mut old } else { &mut new };
            self.plant(root, ordinal, change)?;
        }
        let mut value = start.clone();
        self.apply(&mut value, Some(&old), Some(&new))?;
        match self.used.iter().position(|used| !used) {
            Some(ordinal) => Err(self.error(ordinal, "there is no such place")),
            None => Ok(value),
        }
    }

    fn plant(&self, root: &mut Tree, ordinal: usize, change: &Change) -> Result<(), FoldError> {
        let told = match change.op {
            ChangeOp::Add => (false, true),
            ChangeOp::Remove => (true, false),
            ChangeOp::Replace | ChangeOp::Move => (true, true),
        };
        if told != (change.old.is_some(), change.new.is_some()) {
            return Err(self.error(ordinal, "its old and new do not suit what it does"));
        }
        let path = Path::parse(&change.path).map_err(|_| self.error(ordinal, "its path is none"))?;
        if path.0.len() > MAX_STEPS || path.0.contains(&Step::Each) {
            return Err(self.error(ordinal, "its path is not one place in a document"));
        }
        let place = path.0.into_iter().fold(root, |tree, step| tree.below.entry(step).or_default());
        let slot = if change.op == ChangeOp::Move { &mut place.moved } else { &mut place.put };
        match slot.replace(ordinal) {
            Some(_) => Err(self.error(ordinal, "another change is at its place")),
            None => Ok(()),
        }
    }

    fn apply(&mut self, value: &mut Value, old: Option<&Tree>, new: Option<&Tree>) -> Result<(), FoldError> {
        if let Some(ordinal) = new.and_then(|tree| tree.put).filter(|&at| self.changes[at].op == ChangeOp::Replace) {
            self.take(ordinal, Some(&*value))?;
            *value = self.give(ordinal)?;
            return Ok(());
        }
        match value {
            Value::Object(members) => self.members(members, old, new),
            Value::Array(items) => self.items(items, old, new),
            // Whatever is below stays unused, which is an error in the end.
            _ => Ok(()),
        }
    }

    fn members(
        &mut self,
        members: &mut Map<String, Value>,
        old: Option<&Tree>,
        new: Option<&Tree>,
    ) -> Result<(), FoldError> {
        let (drops, inserts) = self.comings_and_goings(old, new);
        for (step, ordinal) in drops {
            if let Step::Key(key) = step {
                self.take(ordinal, members.remove(key).as_ref())?;
            }
        }
        let both = [old, new].into_iter().flatten().flat_map(|tree| tree.below.keys());
        for step in both.collect::<BTreeSet<_>>() {
            if let Step::Key(key) = step
                && let Some(member) = members.get_mut(key)
            {
                self.apply(member, below(old, step), below(new, step))?;
            }
        }
        for (step, ordinal) in inserts {
            if let Step::Key(key) = step
                && members.insert(key.clone(), self.give(ordinal)?).is_some()
            {
                return Err(self.error(ordinal, "something is there already"));
            }
        }
        Ok(())
    }

    fn items(&mut self, items: &mut Vec<Value>, old: Option<&Tree>, new: Option<&Tree>) -> Result<(), FoldError> {
        let (drops, inserts) = self.comings_and_goings(old, new);
        let mut from: Vec<Option<Value>> = std::mem::take(items).into_iter().map(Some).collect();
        let mut length = from.len();
        for (step, ordinal) in drops {
            if let Step::Index(at) = step {
                self.take(ordinal, from.get_mut(*at).and_then(Option::take).as_ref())?;
                length -= 1;
            }
        }
        length += inserts.iter().filter(|(step, _)| matches!(step, Step::Index(_))).count();

        // Each slot of the result: the value, and the index it comes from unless it is inserted.
        let mut to: Vec<Option<(Option<usize>, Value)>> = Vec::new();
        to.resize_with(length, || None);
        for (ordinal, start, end) in self.moves(new)? {
            let item = from.get_mut(start).and_then(Option::take);
            let item = item.ok_or_else(|| self.error(ordinal, "nothing is there to move"))?;
            self.fill(&mut to, end, ordinal, (Some(start), item))?;
        }
        for (step, ordinal) in inserts {
            if let Step::Index(at) = step {
                let item = self.give(ordinal)?;
                self.fill(&mut to, *at, ordinal, (None, item))?;
            }
        }
        // The others keep their order in the slots that are left, of which there are as many.
        let mut others = from.into_iter().enumerate().filter_map(|(at, item)| Some((Some(at), item?)));
        for (end, slot) in to.into_iter().enumerate() {
            let Some((start, mut item)) = slot.or_else(|| others.next()) else { continue };
            if let Some(start) = start {
                let (before, after) = if self.back { (end, start) } else { (start, end) };
                self.apply(&mut item, below(old, &Step::Index(before)), below(new, &Step::Index(after)))?;
            }
            items.push(item);
        }
        Ok(())
    }

    /// What leaves and what enters right below a place, with the ordinals: removes and adds, or the other way round.
    fn comings_and_goings<'t>(&self, old: Option<&'t Tree>, new: Option<&'t Tree>) -> (Steps<'t>, Steps<'t>) {
        let with = |tree: Option<&'t Tree>, op| -> Steps<'t> {
            let puts = tree.into_iter().flat_map(|tree| &tree.below).filter_map(|(step, tree)| Some((step, tree.put?)));
            puts.filter(|(_, ordinal)| self.changes[*ordinal].op == op).collect()
        };
        let (removes, adds) = (with(old, ChangeOp::Remove), with(new, ChangeOp::Add));
        if self.back { (adds, removes) } else { (removes, adds) }
    }

    /// The moves among the elements of one array.
    fn moves(&self, new: Option<&Tree>) -> Result<Vec<Move>, FoldError> {
        let mut moves = Vec::new();
        for (step, tree) in new.into_iter().flat_map(|tree| &tree.below) {
            if let (Step::Index(at), Some(ordinal)) = (step, tree.moved) {
                let change = &self.changes[ordinal];
                let index = |text: &Option<String>| -> Option<usize> {
                    let text = text.as_ref()?;
                    text.parse().ok().filter(|at: &usize| at.to_string() == *text)
                };
                let (Some(before), Some(after)) = (index(&change.old), index(&change.new).filter(|after| after == at))
                else {
                    return Err(self.error(ordinal, "its indexes do not suit its path"));
                };
                moves.push(if self.back { (ordinal, after, before) } else { (ordinal, before, after) });
            }
        }
        Ok(moves)
    }

    fn fill(
        &mut self,
        slots: &mut [Option<(Option<usize>, Value)>],
        at: usize,
        ordinal: usize,
        item: (Option<usize>, Value),
    ) -> Result<(), FoldError> {
        match slots.get_mut(at) {
            Some(slot @ None) => {
                *slot = Some(item);
                self.used[ordinal] = true;
                Ok(())
            }
            Some(Some(_)) => Err(self.error(ordinal, "another element goes to its index")),
            None => Err(self.error(ordinal, "its index is beyond the array's end")),
        }
    }

    /// Checks that `found` is what the change says was there before.
    fn take(&mut self, ordinal: usize, found: Option<&Value>) -> Result<(), FoldError> {
        let change = &self.changes[ordinal];
        let told = if self.back { &change.new } else { &change.old };
        match found {
            None => Err(self.error(ordinal, "nothing is there")),
            Some(found) if told.as_ref() != Some(&found.to_string()) => {
                Err(self.error(ordinal, "something else is there"))
            }
            Some(_) => {
                self.used[ordinal] = true;
                Ok(())
            }
        }
    }

    /// The value that the change puts.
    fn give(&mut self, ordinal: usize) -> Result<Value, FoldError> {
        let change = &self.changes[ordinal];
        let text = if self.back { &change.old } else { &change.new };
        self.used[ordinal] = true;
        parse(text.as_deref().unwrap_or_default()).map_err(|_| self.error(ordinal, "its value is not JSON"))
    }

    fn error(&self, ordinal: usize, what: &'static str) -> FoldError {
        let change = &self.changes[ordinal];
        FoldError { ordinal, op: change.op, path: change.path.chars().take(SHOWN).collect(), what }
    }
}

fn below<'t>(tree: Option<&'t Tree>, step: &Step) -> Option<&'t Tree> {
    tree.and_then(|tree| tree.below.get(step))
}
