//! Bytes whose meaning is known need not be read again: most answers are those of the last time.
//!
//! What is remembered holds whatever becomes of the answer, for a document is a function of the bytes alone; which of them is
//! the latest is asked of the file each time. A source that is configured anew begins with nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::SegmentState;
use crate::store::{Hash, Latest, SegmentId};

/// What some bytes tell of a segment that is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Meaning {
    /// The hash of its document.
    pub document: Hash,
    /// What the provider says in them that the request cost.
    pub usage: Option<f64>,
}

impl Meaning {
    /// Whether that is what the file knows: there, and with this document.
    pub(super) fn is_of(&self, latest: &Latest) -> bool {
        let is_same = latest.document.as_ref().is_some_and(|last| last.hash == self.document);
        is_same && latest.state == SegmentState::Present
    }
}

/// The last bytes that told of each segment, by their BLAKE3, and what they meant.
#[derive(Debug, Default)]
pub(super) struct Meanings(Mutex<HashMap<SegmentId, (Hash, Meaning)>>);

impl Meanings {
    /// What `bytes` mean, if they are the last that told of the segment.
    pub(super) fn known(&self, segment: SegmentId, bytes: &[u8]) -> Option<Meaning> {
        let (last, meaning) = *self.all().get(&segment)?;
        (*blake3::hash(bytes).as_bytes() == last).then_some(meaning)
    }

    /// Remembers what the last bytes of a segment meant.
    pub(super) fn note(&self, segment: SegmentId, bytes: &[u8], meaning: Meaning) {
        let last = *blake3::hash(bytes).as_bytes();
        self.all().insert(segment, (last, meaning));
    }

    fn all(&self) -> MutexGuard<'_, HashMap<SegmentId, (Hash, Meaning)>> {
        // Every method leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_bytes_of_the_segment_are_known() {
        let (meanings, one, other) = (Meanings::default(), SegmentId(1), SegmentId(2));
        let meaning = Meaning { document: [1; 32], usage: Some(0.5) };
        meanings.note(one, b"{}", meaning);
        assert_eq!(meanings.known(one, b"{}"), Some(meaning));
        assert_eq!(meanings.known(one, b"{} "), None);
        assert_eq!(meanings.known(other, b"{}"), None);
        let later = Meaning { document: [2; 32], usage: None };
        meanings.note(one, b"{} ", later);
        assert_eq!((meanings.known(one, b"{}"), meanings.known(one, b"{} ")), (None, Some(later)));
    }
}
