//! Which segments are tracked, and their rows: grows while lists are read.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::model::{SegmentKey, SourceName};
use crate::store::SegmentId;

/// The tracked segments of one account.
#[derive(Debug, Default)]
pub struct Roster(RwLock<HashMap<SourceName, HashMap<Arc<str>, SegmentId>>>);

impl Roster {
    /// Adds a segment.
    pub fn add(&self, key: &SegmentKey, segment: SegmentId) {
        let mut sources = self.0.write().unwrap_or_else(PoisonError::into_inner);
        sources.entry(key.source.clone()).or_default().insert(Arc::clone(&key.id), segment);
    }

    /// Adds many segments of a source.
    pub fn add_all(&self, source: &SourceName, segments: impl ExactSizeIterator<Item = (Arc<str>, SegmentId)>) {
        let mut sources = self.0.write().unwrap_or_else(PoisonError::into_inner);
        sources.entry(source.clone()).or_default().extend(segments);
    }

    /// The row of one segment.
    pub fn get(&self, source: &SourceName, id: &str) -> Option<SegmentId> {
        let sources = self.0.read().unwrap_or_else(PoisonError::into_inner);
        sources.get(source)?.get(id).copied()
    }

    /// The segments of a source that `is_wanted` picks.
    pub fn of(&self, source: &SourceName, is_wanted: impl Fn(&str) -> bool) -> Vec<(SegmentKey, SegmentId)> {
        let sources = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let ids = sources.get(source).into_iter().flatten().filter(|(id, _)| is_wanted(id));
        ids.map(|(id, segment)| (SegmentKey::new(source.clone(), Arc::clone(id)), *segment)).collect()
    }

    /// How many segments there are.
    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().map(HashMap::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
