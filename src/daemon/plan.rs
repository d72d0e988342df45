//! How a source is polled: by single requests or by its list.

use tokio::time::Instant;

use crate::config::{Segments, Source};
use crate::model::{Fetch, SegmentKey};
use crate::poll::PAGE_SIZE;
use crate::schedule::{Target, Work};
use crate::store::Known;

/// The way to poll one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// One request for each segment.
    Single {
        /// In one pass everything is due, whatever was checked before.
        once: bool,
    },
    /// Pages of its list, and single requests for segments with an interval of their own.
    List {
        /// Segments that single requests could poll instead, where that takes fewer of them.
        instead: Option<Vec<SegmentKey>>,
        /// In one pass the list is all there is.
        once: bool,
    },
}

impl Plan {
    /// What the configuration asks for. `few` is a pass over segments that the caller named.
    pub(super) fn new(source: &Source, known: &[&Known], few: bool, once: bool) -> Self {
        let is_wish = |one: &&&Known| once || own_interval(source, one).is_none();
        let wishes: Vec<SegmentKey> = known.iter().filter(is_wish).map(|one| one.key.clone()).collect();
        match (&source.segments, source.fetch) {
            (_, _) if few => Self::Single { once },
            (Segments::All { .. }, _) | (_, Fetch::List) => Self::List { instead: None, once },
            (_, Fetch::Each) => Self::Single { once },
            // A list takes at least one page: no gain for a single segment.
            (_, Fetch::Auto) if wishes.len() < 2 => Self::Single { once },
            (_, Fetch::Auto) => Self::List { instead: Some(wishes), once },
        }
    }

    /// What is due when, as the file knows it.
    pub(super) fn targets(&self, source: &Source, known: &[&Known], now: Instant) -> Vec<Target> {
        let last = |one: &Known| one.checked_ago.and_then(|ago| now.checked_sub(ago));
        let get = |one: &&Known| {
            let own = own_interval(source, one);
            let work = Work::Get(one.key.clone());
            let get = Target::once(work, own.unwrap_or(source.every));
            Target { promise: own.is_some(), last: last(one), failures: one.failures, ..get }
        };
        match self {
            Self::Single { once: true } => known.iter().map(|one| Target { last: None, ..get(one) }).collect(),
            Self::Single { once: false } => known.iter().map(get).collect(),
            Self::List { once, .. } => {
                let sweep = Target::once(Work::Sweep(source.name.clone()), source.every);
                let wishes = known.iter().filter(|one| own_interval(source, one).is_none());
                // The list is as old as the segment that waits longest; `None` where one was never checked.
                let oldest = wishes.clone().map(|one| last(one)).min().flatten();
                let requests = u32::try_from(wishes.count().div_ceil(PAGE_SIZE).max(1)).unwrap_or(u32::MAX);
                let sweep = Target { requests, last: oldest.filter(|_| !once), ..sweep };
                let promises = known.iter().filter(|one| !once && own_interval(source, one).is_some()).map(get);
                std::iter::once(sweep).chain(promises).collect()
            }
        }
    }

    /// Segments that single requests could poll instead of the list.
    pub(super) fn instead(self) -> Option<Vec<SegmentKey>> {
        match self {
            Self::Single { .. } => None,
            Self::List { instead, .. } => instead,
        }
    }
}

/// The segment's own interval, if it has one.
fn own_interval(source: &Source, known: &Known) -> Option<std::time::Duration> {
    source.segments.named().iter().find(|segment| segment.id == known.key.id).and_then(|segment| segment.every)
}
