//! The waiting segments of one group, in the order in which they become due.

use std::collections::BTreeSet;

use tokio::time::Instant;

use crate::model::SegmentKey;

/// What a waiting segment waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// It was never checked: due at once, in the order of its number.
    New(usize),
    /// It was checked then: due one interval later.
    Checked(Instant),
    /// It failed: due then.
    Backoff(Instant),
}

/// A group's segments.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// All of the group, also those in flight.
    pub(super) members: usize,
    new: BTreeSet<(usize, SegmentKey)>,
    checked: BTreeSet<(Instant, SegmentKey)>,
    backoff: BTreeSet<(Instant, SegmentKey)>,
}

impl Queue {
    pub(super) fn insert(&mut self, waiting: Waiting, key: SegmentKey) {
        match waiting {
            Waiting::New(number) => self.new.insert((number, key)),
            Waiting::Checked(last) => self.checked.insert((last, key)),
            Waiting::Backoff(due) => self.backoff.insert((due, key)),
        };
    }

    pub(super) fn remove(&mut self, waiting: Waiting, key: &SegmentKey) {
        let key = key.clone();
        match waiting {
            Waiting::New(number) => self.new.remove(&(number, key)),
            Waiting::Checked(last) => self.checked.remove(&(last, key)),
            Waiting::Backoff(due) => self.backoff.remove(&(due, key)),
        };
    }

    /// The first that was never checked.
    pub(super) fn first_new(&self) -> Option<(usize, &SegmentKey)> {
        self.new.first().map(|(number, key)| (*number, key))
    }

    /// The one whose check is oldest.
    pub(super) fn first_checked(&self) -> Option<(Instant, &SegmentKey)> {
        self.checked.first().map(|(last, key)| (*last, key))
    }

    /// The first that may be tried again.
    pub(super) fn first_backoff(&self) -> Option<(Instant, &SegmentKey)> {
        self.backoff.first().map(|(due, key)| (*due, key))
    }

    /// Any that waits.
    pub(super) fn any(&self) -> Option<&SegmentKey> {
        let new = self.new.first().map(|(_, key)| key);
        new.or_else(|| self.checked.first().or_else(|| self.backoff.first()).map(|(_, key)| key))
    }
}
