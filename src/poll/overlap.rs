//! A single request and a page of the list that are on their way at the same time tell of different moments, and nobody
//! knows which is newer: what one of them has made, the other must not undo.
//!
//! Never in flight at the same time, by the schedule: two requests for one segment, or two pages of one list.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Polled;
use crate::store::SegmentId;

/// What overlaps at one source.
#[derive(Debug, Default)]
pub(super) struct Overlap {
    /// Judged and committed at one time: any number of single answers, or one page.
    turn: RwLock<()>,
    /// Pages that have had their turn.
    pages: AtomicU64,
    /// Segments of which single requests made versions since a page was asked for; `None` while none is.
    made: Mutex<Option<HashSet<SegmentId>>>,
}

impl Overlap {
    /// The turn to judge and commit the answer to a single request.
    pub(super) async fn single(&self) -> RwLockReadGuard<'_, ()> {
        self.turn.read().await
    }

    /// How many pages have had their turn: while there is no other, what was known of a segment before it was asked for is
    /// what is known of it still.
    pub(super) fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    /// A single request has been committed.
    pub(super) fn note(&self, polled: &Polled, segment: SegmentId) {
        if let Some(made) = self.made().as_mut().filter(|_| !polled.committed.is_empty()) {
            made.insert(segment);
        }
    }

    /// A page is about to be asked for.
    pub(super) fn begin_page(&self) -> PageFlight<'_> {
        *self.made() = Some(HashSet::new());
        PageFlight(self)
    }

    fn made(&self) -> MutexGuard<'_, Option<HashSet<SegmentId>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A page on its way.
pub(super) struct PageFlight<'a>(&'a Overlap);

impl PageFlight<'_> {
    /// The turn to judge and commit the page.
    pub(super) async fn turn(&self) -> PageTurn<'_> {
        PageTurn { pages: &self.0.pages, _turn: self.0.turn.write().await }
    }

    /// Whether a single request made a version of it since the page was asked for.
    pub(super) fn is_overtaken(&self, segment: SegmentId) -> bool {
        self.0.made().as_ref().is_some_and(|made| made.contains(&segment))
    }
}

/// The turn of a page, which counts once it is over: until then, what is known may be from before it.
pub(super) struct PageTurn<'a> {
    pages: &'a AtomicU64,
    /// Given back after it has been counted.
    _turn: RwLockWriteGuard<'a, ()>,
}

impl Drop for PageTurn<'_> {
    fn drop(&mut self) {
        self.pages.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for PageFlight<'_> {
    fn drop(&mut self) {
        *self.0.made() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_counts_once_its_turn_is_over() {
        let overlap = Overlap::default();
        let flight = overlap.begin_page();
        let turn = flight.turn().await;
        // What a single request reads here may be from before the page's commit.
        let before = overlap.pages();
        drop(turn);
        assert_ne!(overlap.pages(), before);
    }
}
