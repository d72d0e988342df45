//! Group commit: many jobs, one transaction, each in its own savepoint.
//!
//! A caller never hears a result before the commit that makes it last.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::{Error, Fault};

/// Something to be committed.
pub(super) trait Job: Send {
    /// Does the work; whether its rows are to stay.
    fn work(&mut self, connection: &Connection, path: &Arc<Path>) -> Result<(), Error>;
    /// Tells the caller: its own result, or why the commit failed.
    fn tell(self: Box<Self>, commit: Option<&Error>);
}

/// A closure and the caller who waits for what it returns.
pub(super) struct Task<T, F> {
    work: Option<F>,
    done: Option<Result<T, Error>>,
    caller: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Task<T, F> {
    pub(super) fn new(work: F, caller: oneshot::Sender<Result<T, Error>>) -> Self {
        Self { work: Some(work), done: None, caller }
    }
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, Fault> + Send,
{
    fn work(&mut self, connection: &Connection, path: &Arc<Path>) -> Result<(), Error> {
        let Some(work) = self.work.take() else { return Ok(()) };
        let done = work(connection).map_err(|fault| fault.at(path));
        let kept = done.as_ref().map(|_| ()).map_err(Error::clone);
        self.done = Some(done);
        kept
    }

    fn tell(self: Box<Self>, commit: Option<&Error>) {
        let result = match (self.done, commit) {
            (Some(Err(own)), _) => Err(own),
            (_, Some(error)) => Err(error.clone()),
            (Some(done), None) => done,
            (None, None) => return,
        };
        // A caller who no longer waits has nothing to hear.
        drop(self.caller.send(result));
    }
}

/// Runs all `jobs` in one transaction, then tells every caller.
pub(super) fn commit_all(connection: &mut Connection, path: &Arc<Path>, mut jobs: VecDeque<Box<dyn Job>>) {
    let failed = transact(connection, path, &mut jobs).err();
    for job in jobs {
        job.tell(failed.as_ref());
    }
}

fn transact(connection: &mut Connection, path: &Arc<Path>, jobs: &mut VecDeque<Box<dyn Job>>) -> Result<(), Error> {
    let sql = |error| Error::of(path, &error);
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    for job in jobs {
        let mut savepoint = transaction.savepoint().map_err(sql)?;
        let Err(error) = job.work(&savepoint, path) else {
            savepoint.commit().map_err(sql)?;
            continue;
        };
        // A full disk, among others, ends the whole transaction by itself: the jobs before are gone as well.
        if savepoint.is_autocommit() {
            return Err(error);
        }
        savepoint.rollback().and_then(|()| savepoint.commit()).map_err(sql)?;
    }
    transaction.commit().map_err(sql)
}
