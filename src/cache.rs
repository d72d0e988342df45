//! moka in front of the store: the last version of each segment, weighed in bytes.
//!
//! Filled by reads and by commits, never ahead of the file: [`Cache::put`] is called after the commit. What was evicted
//! is read again.

use std::sync::Arc;

use moka::future::Cache as Moka;

use crate::store::{Error, Latest, SegmentId, Store};

/// What the cache may hold, in bytes.
const CAPACITY: u64 = 64 * 1024 * 1024;

/// What an entry weighs besides its document, in bytes: rounded up from the sizes of keys, counters and allocations.
const OVERHEAD: usize = 256;

/// The last versions. Clones share it.
#[derive(Clone, Debug)]
pub struct Cache {
    entries: Moka<SegmentId, Arc<Latest>>,
    store: Store,
}

impl Cache {
    /// An empty cache in front of `store`.
    pub fn new(store: Store) -> Self {
        let weight = |_: &SegmentId, latest: &Arc<Latest>| u32::try_from(weight(latest)).unwrap_or(u32::MAX);
        Self { entries: Moka::builder().max_capacity(CAPACITY).weigher(weight).build(), store }
    }

    /// What the file knows of a segment; concurrent readers share one read.
    pub async fn latest(&self, segment: SegmentId) -> Result<Arc<Latest>, Error> {
        let read = async { self.store.latest(segment).await.map(Arc::new) };
        self.entries.try_get_with(segment, read).await.map_err(|shared| Error::clone(&shared))
    }

    /// Replaces what is known of a segment after a commit.
    pub async fn put(&self, segment: SegmentId, latest: Arc<Latest>) {
        self.entries.insert(segment, latest).await;
    }
}

fn weight(latest: &Latest) -> usize {
    OVERHEAD + latest.document.as_ref().map_or(0, |document| document.text.len())
}
