//! Readers of one file for many callers at once.
//!
//! Reads run on threads of their own, a few at a time: however many callers there are, the writer is not in their way,
//! nor they in its.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::{Error, Reader};
use crate::model::SegmentKey;
use crate::store::{OpenError, SegmentNow, beside};

/// Reads at one time; more wait their turn.
const AT_ONCE: usize = 4;

/// Readers of one file, opened when they are needed. Clones share them.
#[derive(Clone)]
pub struct Readers(Arc<Pool>);

struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Reader>>,
    slots: Semaphore,
}

impl Readers {
    /// Readers of the database at `path`, which is opened by the first read.
    pub fn new(path: &Path) -> Self {
        Self(Arc::new(Pool { path: path.to_owned(), idle: Mutex::default(), slots: Semaphore::new(AT_ONCE) }))
    }

    /// How large the database and its write-ahead log are, in bytes.
    pub fn bytes(&self) -> (u64, u64) {
        let size = |path: &Path| path.metadata().map_or(0, |found| found.len());
        (size(&self.0.path), size(&beside(&self.0.path, "-wal")))
    }

    /// Runs `work` with a reader. It runs to its end even when the caller stops waiting for it.
    pub async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
    {
        let pool = Arc::clone(&self.0);
        let done = spawn_blocking(move || {
            let idle = pool.idle().pop();
            let reader = idle.map_or_else(|| Reader::open(&pool.path).map_err(|error| pool.cannot(&error)), Ok)?;
            let result = work(&reader);
            pool.idle().push(reader);
            result
        });
        // Never closed, so that this waits for a turn only.
        let _turn = self.0.slots.acquire().await;
        done.await.unwrap_or_else(|_| Err(Error::closed(&Arc::from(self.0.path.as_path()))))
    }

    /// What the file knows of a segment; `None` where it does not know it.
    pub async fn now(&self, key: &SegmentKey) -> Result<Option<SegmentNow>, Error> {
        let key = key.clone();
        self.read(move |reader| reader.now(&key)).await
    }
}

impl Reader {
    /// What the file knows of a segment; `None` where it does not know it.
    pub fn now(&self, key: &SegmentKey) -> Result<Option<SegmentNow>, Error> {
        self.read(|connection| SegmentNow::named(connection, key))
    }
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cannot(&self, error: &OpenError) -> Error {
        Error::Other { path: Arc::from(self.path.as_path()), reason: error.to_string().into() }
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readers").field(&self.0.path).finish()
    }
}
