//! The one writer: a handle that commits jobs in groups.
//!
//! Jobs wait in a queue while a commit is on its way to the disk; the next commit takes all of them. One which fails takes
//! only its own rows back. Nobody hears a result before the commit.

mod begin;
mod compact;
mod declare;
mod finish;
mod import;
mod keep;
mod log;
mod place;
mod poll;
mod queue;
mod schema;
mod tick;
mod version;

pub use compact::{Compacted, Cursor};
pub use declare::{DeclareSource, Declared, Known, KnownSource, Retired};
pub use finish::{Absence, FinishPoll, SegmentEnd};
pub use import::{Import, ImportedSource, Standing};
pub use poll::BeginPoll;
pub use schema::SchemaSeen;
pub use version::{Gone, NewVersion, Observed, StoredDocument};

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{SetOnce, oneshot};
use tokio::task::spawn_blocking;

use super::{Error, Fault, Lock, OpenError};
use crate::clock::{Clock, Now};
use crate::metrics::Metrics;
use keep::read_latest;
use log::Mover;
use place::Place;
use queue::{Done, Job, Task, commit_all};
use tick::Writing;
use version::Segment;

/// The daemon's handle on the file. Cheap to clone; the file stays open until [`Store::close`], or until the last clone
/// is gone. A store that is dropped, or whose process is killed, leaves a whole file.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    path: Arc<Path>,
    clock: Clock,
    /// Where the length of each commit is told.
    metrics: OnceLock<Metrics>,
    waiting: Mutex<Waiting>,
    /// `None` once closed.
    writer: Mutex<Option<Writer>>,
    log: Arc<Mover>,
    /// Why nothing is written any more, where the open files are no longer those at the path.
    displaced: SetOnce<Error>,
}

/// What the next commit takes.
#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Box<dyn Job>>,
    /// Somebody is on the way to commit them.
    is_expected: bool,
}

struct Writer {
    connection: Connection,
    place: Place,
    /// Goes last.
    lock: Lock,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.0.path).finish()
    }
}

/// A job that panicked has rolled back: what the mutex guards is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the database at `path`, makes it when it is missing or empty, upgrades it, and closes the polls that an
    /// earlier process left open: as if each had ended without an answer at its `timeout` (the longest configured), or
    /// now where that is later. Blocks.
    pub fn open(path: impl AsRef<Path>, clock: &Clock, timeout: Duration) -> Result<Self, OpenError> {
        Self::open_watched(path, clock, timeout, || true)
    }

    /// The same for a caller that waits for it: `goes_on` is called while an upgrade of the file makes progress, and ends
    /// it by saying no; the file is as it was then.
    pub async fn open_in_background(
        path: impl Into<PathBuf>,
        clock: &Clock,
        timeout: Duration,
        goes_on: impl FnMut() -> bool + Send + 'static,
    ) -> Result<Self, OpenError> {
        let (path, clock) = (path.into(), clock.clone());
        let named: Arc<Path> = path.as_path().into();
        let opened = spawn_blocking(move || Self::open_watched(path, &clock, timeout, goes_on)).await;
        opened.unwrap_or_else(|_| Err(Error::closed(&named).into()))
    }

    fn open_watched(
        path: impl AsRef<Path>,
        clock: &Clock,
        timeout: Duration,
        goes_on: impl FnMut() -> bool + Send + 'static,
    ) -> Result<Self, OpenError> {
        let (path, connection, lock) = begin::open(path.as_ref(), clock, timeout, goes_on)?;
        let log = Mover::open(&path).map_err(|error| OpenError::from(Error::of(&path, &error)))?;
        let writer = Mutex::new(Some(Writer { connection, place: Place::of(&path), lock }));
        let (clock, metrics, displaced) = (clock.clone(), OnceLock::new(), SetOnce::new());
        Ok(Self(Arc::new(Shared {
            path,
            clock,
            metrics,
            waiting: Mutex::default(),
            writer,
            log: Arc::new(log),
            displaced,
        })))
    }

    /// Tells `metrics` how long each commit takes from now on, unless others are told already.
    pub fn measure(&self, metrics: Metrics) {
        self.0.metrics.get_or_init(|| metrics);
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Commits a write that changes nothing but the time of the last one: whether the disk still takes any.
    pub async fn beat(&self, now: Now) -> Result<(), Error> {
        self.run(move |writing| Ok(writing.tick(now)?)).await
    }

    /// Waits, mostly for ever, until a job has found that the open files are no longer those at the path. It and all
    /// later ones fail; what was committed before is in the files that are open, and [`Store::close`] puts it together.
    pub async fn displaced(&self) -> Error {
        self.0.displaced.wait().await.clone()
    }

    /// Finishes what is queued, moves the write-ahead log into the database and lets go of the file, which stays
    /// readable for users who cannot write to it. Later jobs fail. Closing twice is fine.
    pub async fn close(&self) -> Result<(), Error> {
        let shared = Arc::clone(&self.0);
        let closed = spawn_blocking(move || shared.close()).await;
        closed.unwrap_or_else(|_| Err(Error::closed(&self.0.path)))
    }

    /// Runs `work` in the next commit, once more where that fails for another job. It runs even when the caller stops
    /// waiting for it.
    async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&Writing<'_>) -> Result<T, Fault> + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        if self.0.enqueue(Box::new(Task::new(work, caller))) {
            let shared = Arc::clone(&self.0);
            // A caller who is told drops no store that is still held here.
            drop(spawn_blocking(move || {
                let (done, log) = (shared.work_off(), Arc::clone(&shared.log));
                drop(shared);
                done.tell();
                log.move_on();
            }));
        }
        answer.await.unwrap_or_else(|_| Err(Error::closed(&self.0.path)))
    }
}

impl Shared {
    /// Puts a job into the next commit; whether somebody has to be sent for it, as nobody is on the way yet.
    fn enqueue(&self, job: Box<dyn Job>) -> bool {
        let mut waiting = lock(&self.waiting);
        waiting.jobs.push_back(job);
        !std::mem::replace(&mut waiting.is_expected, true)
    }

    fn work_off(&self) -> Done {
        let mut writer = lock(&self.writer);
        let Waiting { jobs, .. } = std::mem::take(&mut *lock(&self.waiting));
        let Some(writer) = &mut *writer else { return Done::refused(jobs, Error::closed(&self.path)) };
        if jobs.is_empty() {
            return Done::default();
        }
        if let Err(error) = self.look(writer) {
            return Done::refused(jobs, error);
        }
        let began = self.clock.now().mono;
        let done = commit_all(&mut writer.connection, &self.path, jobs);
        if let Some(metrics) = self.metrics.get() {
            metrics.committed(self.clock.now().mono - began);
        }
        done
    }

    /// Refuses to write once the open files were not those at the path.
    fn look(&self, writer: &Writer) -> Result<(), Error> {
        let looked = self.displaced.get().map_or_else(|| writer.place.check(), |known| Err(known.clone()));
        looked.inspect_err(|error| {
            // Whoever came first has told.
            drop(self.displaced.set(error.clone()));
        })
    }

    fn close(&self) -> Result<(), Error> {
        self.work_off().tell();
        let Some(Writer { connection, place, lock }) = lock(&self.writer).take() else { return Ok(()) };
        self.log.end();
        let left = begin::leave(connection).map_err(|error| Error::of(&self.path, &error));
        let parted = place.part().map_err(|error| Error::Other {
            path: Arc::clone(&self.path),
            reason: format!("set a log aside that is not its own: {error}").into(),
        });
        drop(lock);
        left.and(parted)
    }
}
