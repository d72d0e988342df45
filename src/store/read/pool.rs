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
use crate::store::{OpenError, SegmentId, SegmentNow, beside};

/// Reads at one time; more wait their turn.
const AT_ONCE: usize = 4;

/// What each keeps of the file in memory: a negative number of KiB, as SQLite wants it.
const CACHE: i64 = -512;

/// Readers of one file, opened when they are needed. Clones share them.
#[derive(Clone)]
pub struct Readers(Arc<Pool>);

struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Reader>>,
    slots: Arc<Semaphore>,
}

impl Readers {
    /// Readers of the database at `path`, which is opened by the first read.
    pub fn new(path: &Path) -> Self {
        Self(Arc::new(Pool { path: path.to_owned(), idle: Mutex::default(), slots: Arc::new(Semaphore::new(AT_ONCE)) }))
    }

    /// How large the database and its write-ahead log are, in bytes.
    pub fn bytes(&self) -> (u64, u64) {
        let size = |path: &Path| path.metadata().map_or(0, |found| found.len());
        (size(&self.0.path), size(&beside(&self.0.path, "-wal")))
    }

    /// Runs `work` with a reader, once it is its turn. What has begun runs to its end even when the caller stops waiting for it.
    pub async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
    {
        let pool = Arc::clone(&self.0);
        let closed = || Error::closed(&Arc::from(self.0.path.as_path()));
        let turn = Arc::clone(&pool.slots).acquire_owned().await.map_err(|_| closed())?;
        let done = spawn_blocking(move || {
            // Given back only when the work is done, whoever still waits for it.
            let _turn = turn;
            let idle = pool.idle().pop();
            let reader = idle.map_or_else(|| pool.open(), Ok)?;
            let result = work(&reader);
            pool.idle().push(reader);
            result
        });
        done.await.unwrap_or_else(|_| Err(closed()))
    }

    /// What the file knows of a segment; `None` where it does not know it.
    pub async fn now(&self, key: &SegmentKey) -> Result<Option<SegmentNow>, Error> {
        let key = key.clone();
        self.read(move |reader| reader.now(&key)).await
    }

    /// What the file knows of these segments at one moment, in their order; an error where it does not know one.
    pub async fn all_now(&self, ids: Vec<SegmentId>) -> Result<Vec<SegmentNow>, Error> {
        self.read(move |reader| reader.all_now(&ids)).await
    }
}

impl Reader {
    /// What the file knows of a segment; `None` where it does not know it.
    pub fn now(&self, key: &SegmentKey) -> Result<Option<SegmentNow>, Error> {
        self.read(|connection| SegmentNow::named(connection, key))
    }

    fn all_now(&self, ids: &[SegmentId]) -> Result<Vec<SegmentNow>, Error> {
        self.read(|connection| {
            // One moment, and one lock taken.
            let moment = connection.unchecked_transaction()?;
            let now = |id| SegmentNow::of(&moment, id)?.ok_or(rusqlite::Error::QueryReturnedNoRows);
            ids.iter().map(|id| now(*id)).collect()
        })
    }
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more reader. It keeps few pages: the system has them all, and there are several readers.
    fn open(&self) -> Result<Reader, Error> {
        let cannot =
            |error: OpenError| Error::Other { path: Arc::from(self.path.as_path()), reason: error.to_string().into() };
        let reader = Reader::open(&self.path).map_err(cannot)?;
        reader.read(|connection| connection.pragma_update(None, "cache_size", CACHE))?;
        Ok(reader)
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readers").field(&self.0.path).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use futures_util::future::join_all;

    use super::*;
    use crate::clock::Clock;
    use crate::store::Store;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_more_reads_at_one_time_and_no_more_readers_than_there_are_slots() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db");
        let store = Store::open(&path, &Clock::system(), std::time::Duration::from_secs(1)).expect("made");
        let readers = Readers::new(&path);
        let (begun, hear) = mpsc::channel();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let all = (0..32).map(|_| {
            let (begun, now, most) = (begun.clone(), Arc::clone(&now), Arc::clone(&most));
            readers.read(move |_| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let (go, wait) = mpsc::channel::<()>();
                begun.send(go).expect("the test hears it");
                wait.recv().expect("the test lets it go on");
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            })
        });
        // As many as may are under way before the first of them ends.
        let let_go = std::thread::spawn(move || {
            let first: Vec<_> = hear.iter().take(AT_ONCE).collect();
            first.into_iter().chain(hear).for_each(|go: mpsc::Sender<()>| go.send(()).expect("it waits"));
        });
        assert!(join_all(all).await.into_iter().all(|read| read.is_ok()));
        drop(begun);
        let_go.join().expect("no panic");
        assert_eq!(most.load(Ordering::SeqCst), AT_ONCE);
        assert_eq!(readers.0.idle().len(), AT_ONCE);
        store.close().await.expect("closed");
    }
}
