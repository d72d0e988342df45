//! What waits in one group, in the order in which they become due.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::Work;

/// What one waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// It was never checked: due at once, in the order of its number.
    New(usize),
    /// It was checked then: due one interval later.
    Checked(Instant),
    /// It failed: due then.
    Backoff(Instant),
}

/// A group's queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Requests that the whole group takes each time, also those in flight.
    pub(super) requests: u64,
    new: BTreeSet<(usize, Work)>,
    checked: BTreeSet<(Instant, Work)>,
    backoff: BTreeSet<(Instant, Work)>,
}

impl Queue {
    pub(super) fn insert(&mut self, waiting: Waiting, work: Work) {
        match waiting {
            Waiting::New(number) => self.new.insert((number, work)),
            Waiting::Checked(last) => self.checked.insert((last, work)),
            Waiting::Backoff(due) => self.backoff.insert((due, work)),
        };
    }

    pub(super) fn remove(&mut self, waiting: Waiting, work: &Work) {
        let work = work.clone();
        match waiting {
            Waiting::New(number) => self.new.remove(&(number, work)),
            Waiting::Checked(last) => self.checked.remove(&(last, work)),
            Waiting::Backoff(due) => self.backoff.remove(&(due, work)),
        };
    }

    /// The first that was never checked.
    pub(super) fn first_new(&self) -> Option<(usize, &Work)> {
        self.new.first().map(|(number, work)| (*number, work))
    }

    /// The one whose check is oldest.
    pub(super) fn first_checked(&self) -> Option<(Instant, &Work)> {
        self.checked.first().map(|(last, work)| (*last, work))
    }

    /// The first that may be tried again.
    pub(super) fn first_backoff(&self) -> Option<(Instant, &Work)> {
        self.backoff.first().map(|(due, work)| (*due, work))
    }

    /// Any that waits.
    pub(super) fn any(&self) -> Option<&Work> {
        let new = self.new.first().map(|(_, work)| work);
        new.or_else(|| self.checked.first().or_else(|| self.backoff.first()).map(|(_, work)| work))
    }
}
