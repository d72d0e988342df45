//! moka in front of the store: each segment with its last version, weighed in bytes.
//!
//! Filled by those who read it, and never ahead of the file: [`Cache::renew`] and [`Cache::confirm`] are called after the
//! commit. What was evicted is read again. Reads and commits of one segment take turns, so that a read that began before a
//! commit cannot undo it. Polls do not go through it: they ask the file, and would push out what others read.

use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use moka::future::Cache as Moka;
use moka::ops::compute::{CompResult, Op};

use crate::metrics::Metrics;
use crate::model::SegmentKey;
use crate::store::{Error, Moment, Readers, SegmentNow};

/// What an entry weighs besides its document and its answer, in bytes: rounded up from the sizes of names, counters and
/// allocations.
const OVERHEAD: usize = 1024;

/// The last versions. Clones share it.
#[derive(Clone)]
pub struct Cache {
    entries: Moka<SegmentKey, Arc<Cached>>,
    readers: Readers,
    metrics: Metrics,
}

/// A segment as the file knows it.
#[derive(Debug)]
pub struct Cached {
    /// The segment and its latest version; when it was last checked tells [`Cached::checked`].
    pub now: SegmentNow,
    told: Mutex<Told>,
}

/// What moves while the version stays.
#[derive(Debug)]
struct Told {
    checked: Option<Moment>,
    ready: Option<Ready>,
}

/// An answer to be sent as it is.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Its body.
    pub body: Bytes,
    /// Its validator.
    pub etag: Bytes,
    /// When the latest version was first seen, as HTTP writes times; empty where there is none.
    pub last_modified: Bytes,
}

impl Cached {
    /// A segment as the file knows it.
    fn new(now: SegmentNow) -> Arc<Self> {
        let told = Mutex::new(Told { checked: now.checked, ready: None });
        Arc::new(Self { now, told })
    }

    /// The last answer, if there was one.
    pub fn checked(&self) -> Option<Moment> {
        self.told().checked
    }

    /// The answer that is made of it and of when it was last checked; made once.
    pub fn ready(&self, make: impl FnOnce(&SegmentNow, Option<Moment>) -> Ready) -> (Ready, Option<Moment>) {
        let mut told = self.told();
        let checked = told.checked;
        (told.ready.get_or_insert_with(|| make(&self.now, checked)).clone(), checked)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // Plain values, each whole.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The document is held twice: once as it is, once in the answer.
    fn weight(&self) -> usize {
        let document = self.now.latest.document.as_ref().map_or(0, |document| document.text.len());
        OVERHEAD + 2 * document
    }
}

impl Cache {
    /// An empty cache in front of the file, for so many bytes.
    pub fn new(readers: Readers, capacity: u64, metrics: Metrics) -> Self {
        let weigher = |_: &SegmentKey, cached: &Arc<Cached>| u32::try_from(cached.weight()).unwrap_or(u32::MAX);
        Self { entries: Moka::builder().max_capacity(capacity).weigher(weigher).build(), readers, metrics }
    }

    /// What the file knows of a segment, or `None` where it does not know it; concurrent readers share one read.
    pub async fn get(&self, key: &SegmentKey) -> Result<Option<Arc<Cached>>, Error> {
        if let Some(cached) = self.entries.get(key).await {
            self.metrics.looked_up(true);
            return Ok(Some(cached));
        }
        self.metrics.looked_up(false);
        let load = async |cached: Option<moka::Entry<SegmentKey, Arc<Cached>>>| {
            // Somebody else may have read it, or written it, while this waited for its turn.
            if cached.is_some() {
                return Ok(Op::Nop);
            }
            Ok(self.readers.now(key).await?.map_or(Op::Nop, |now| Op::Put(Cached::new(now))))
        };
        Ok(match self.entries.entry_by_ref(key).and_try_compute_with(load).await? {
            CompResult::Inserted(entry) | CompResult::ReplacedWith(entry) | CompResult::Unchanged(entry) => {
                Some(entry.into_value())
            }
            CompResult::StillNone(_) | CompResult::Removed(_) => None,
        })
    }

    /// What the entries weigh together, in bytes; entries of the last moments may be missing.
    pub fn bytes(&self) -> u64 {
        self.entries.weighted_size()
    }

    /// How many segments it holds, as far as it has counted.
    pub fn entries(&self) -> u64 {
        self.entries.entry_count()
    }

    /// Takes over what a commit has made of a segment that had that version before, where it is held.
    pub async fn renew(&self, key: &SegmentKey, seq: i64, after: impl FnOnce(SegmentNow) -> SegmentNow) {
        let renewed = |held: &Cached| {
            let before = SegmentNow { checked: held.checked(), ..held.now.clone() };
            Op::Put(Cached::new(after(before)))
        };
        self.follow(key, seq, renewed).await;
    }

    /// Takes over that a commit has confirmed that version of a segment, where it is held; nothing else has changed.
    pub async fn confirm(&self, key: &SegmentKey, seq: i64, checked: Moment) {
        let confirmed = |held: &Cached| {
            *held.told() = Told { checked: Some(checked), ready: None };
            Op::Nop
        };
        self.follow(key, seq, confirmed).await;
    }

    /// Does with what is held of a segment what follows from a commit that went by that version of it.
    async fn follow(&self, key: &SegmentKey, seq: i64, then: impl FnOnce(&Cached) -> Op<Arc<Cached>>) {
        let follow = async |held: Option<moka::Entry<SegmentKey, Arc<Cached>>>| {
            let Some(held) = held else { return Op::Nop };
            match held.value().now.latest.seq.cmp(&seq) {
                // Read after the commit.
                Ordering::Greater => Op::Nop,
                Ordering::Equal => then(held.value()),
                // The word of a commit before never came here.
                Ordering::Less => Op::Remove,
            }
        };
        self.entries.entry_by_ref(key).and_compute_with(follow).await;
    }

    /// Does now what is put off: evictions and their counts.
    pub async fn settle(&self) {
        self.entries.run_pending_tasks().await;
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("readers", &self.readers).finish_non_exhaustive()
    }
}
