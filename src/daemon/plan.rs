//! How a source is polled: by single requests or by its list. A function of its arguments; `segsync plan` and `status`
//! ask it, too.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Segments, Source};
use crate::model::{Fetch, SegmentKey};
use crate::poll::PAGE_SIZE;
use crate::schedule::{Target, Work};

/// A segment to be kept fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Which one.
    pub key: SegmentKey,
    /// When it was last checked, if ever.
    pub last: Option<Instant>,
    /// Polls without an answer in a row.
    pub failures: u32,
}

impl Tracked {
    /// A segment that was never checked.
    pub fn never(key: SegmentKey) -> Self {
        Self { key, last: None, failures: 0 }
    }
}

/// The way to poll one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// One request for each segment.
    Single,
    /// Pages of its list, and single requests for segments with an interval of their own.
    List {
        /// Segments that single requests could poll instead, where that takes fewer of them.
        instead: Option<Vec<SegmentKey>>,
    },
}

impl Plan {
    /// What the configuration asks for, with as many pages as the tracked segments fill. How many there really are shows
    /// when the list is read.
    pub fn new(source: &Source, tracked: &[Tracked]) -> Self {
        match (&source.segments, source.fetch) {
            (Segments::All { .. }, _) | (_, Fetch::List) => Self::List { instead: None },
            (_, Fetch::Each) => Self::Single,
            (_, Fetch::Auto) => {
                let wishes: Vec<SegmentKey> = wishes(source, tracked).map(|one| one.key.clone()).collect();
                // A list takes at least one page: no gain for a single segment.
                if wishes.len() < 2 { Self::Single } else { Self::List { instead: Some(wishes) } }
            }
        }
    }

    /// What is to be done how often.
    pub fn targets(&self, source: &Source, tracked: &[Tracked]) -> Vec<Target> {
        let own = own_intervals(source);
        let get = |one: &Tracked| {
            let own = own.get(&one.key.id).copied();
            let get = Target::once(Work::Get(one.key.clone()), own.unwrap_or(source.every));
            Target { promise: own.is_some(), last: one.last, failures: one.failures, ..get }
        };
        match self {
            Self::Single => tracked.iter().map(get).collect(),
            Self::List { .. } => {
                let promises = tracked.iter().filter(|one| own.contains_key(&one.key.id)).map(get);
                std::iter::once(sweep(source, tracked)).chain(promises).collect()
            }
        }
    }

    /// The same for one pass, in which everything is due.
    pub fn once(&self, source: &Source, tracked: &[Tracked]) -> Vec<Target> {
        match self {
            Self::Single => {
                let get = |one: &Tracked| Target::once(Work::Get(one.key.clone()), source.every);
                tracked.iter().map(get).collect()
            }
            Self::List { .. } => vec![Target { last: None, ..sweep(source, tracked) }],
        }
    }

    /// Segments that single requests could poll instead of the list.
    pub fn instead(self) -> Option<Vec<SegmentKey>> {
        match self {
            Self::Single => None,
            Self::List { instead } => instead,
        }
    }
}

/// The source's list; as old as the segment that waits longest, and never read where one was never checked.
fn sweep(source: &Source, tracked: &[Tracked]) -> Target {
    let last = wishes(source, tracked).map(|one| one.last).min().flatten();
    Target { requests: pages(tracked.len()), last, ..Target::once(Work::Sweep(source.name.clone()), source.every) }
}

/// How many pages a list of so many segments fills.
pub fn pages(segments: usize) -> u32 {
    u32::try_from(segments.div_ceil(PAGE_SIZE).max(1)).unwrap_or(u32::MAX)
}

/// Segments without an interval of their own.
fn wishes<'a>(source: &Source, tracked: &'a [Tracked]) -> impl Iterator<Item = &'a Tracked> {
    let own = own_intervals(source);
    tracked.iter().filter(move |one| !own.contains_key(&one.key.id))
}

/// The intervals of the segments that have one of their own.
pub fn own_intervals(source: &Source) -> HashMap<Arc<str>, Duration> {
    let named = source.segments.named().iter();
    named.filter_map(|segment| Some((Arc::clone(&segment.id), segment.every?))).collect()
}
