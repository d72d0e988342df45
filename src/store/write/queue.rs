//! Group commit: many jobs, one transaction.
//!
//! Mostly every job succeeds, and what could take one of them back by itself costs as much as the job: so that is kept only
//! once one has failed. Then all are done again, each in its own savepoint.
//!
//! A caller never hears a result before the commit that makes it last.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::tick::Writing;
use super::{Error, Fault};

/// Something to be committed.
pub(super) trait Job: Send {
    /// Does the work, perhaps once more after it was taken back; whether its rows are to stay.
    fn work(&mut self, writing: &Writing<'_>, path: &Arc<Path>) -> Result<(), Error>;
    /// Tells the caller: its own result, or why the commit failed.
    fn tell(self: Box<Self>, commit: Option<&Error>);
}

/// A closure and the caller who waits for what it returns.
pub(super) struct Task<T, F> {
    work: F,
    done: Option<Result<T, Error>>,
    caller: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Task<T, F> {
    pub(super) fn new(work: F, caller: oneshot::Sender<Result<T, Error>>) -> Self {
        Self { work, done: None, caller }
    }
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnMut(&Writing<'_>) -> Result<T, Fault> + Send,
{
    fn work(&mut self, writing: &Writing<'_>, path: &Arc<Path>) -> Result<(), Error> {
        let done = (self.work)(writing).map_err(|fault| fault.at(path));
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

/// Jobs after their commit, or its failure; their callers are still to be told.
#[derive(Default)]
#[must_use]
pub(super) struct Done {
    jobs: VecDeque<Box<dyn Job>>,
    failed: Option<Error>,
}

impl Done {
    /// Jobs that could not be tried.
    pub(super) fn refused(jobs: VecDeque<Box<dyn Job>>, error: Error) -> Self {
        Self { jobs, failed: Some(error) }
    }

    /// Tells every caller.
    pub(super) fn tell(self) {
        for job in self.jobs {
            job.tell(self.failed.as_ref());
        }
    }
}

/// Runs all `jobs` in one transaction.
pub(super) fn commit_all(connection: &mut Connection, path: &Arc<Path>, mut jobs: VecDeque<Box<dyn Job>>) -> Done {
    let failed = transact(connection, path, &mut jobs).err();
    Done { jobs, failed }
}

fn transact(connection: &mut Connection, path: &Arc<Path>, jobs: &mut VecDeque<Box<dyn Job>>) -> Result<(), Error> {
    let sql = |error| Error::of(path, &error);
    if let Some(transaction) = all_together(connection, path, jobs).map_err(sql)? {
        return transaction.commit().map_err(sql);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    each_by_itself(&transaction, path, jobs)?;
    transaction.commit().map_err(sql)
}

/// The transaction with the rows of all jobs; `None` where one has failed, and nothing is left of the others.
fn all_together<'c>(
    connection: &'c mut Connection,
    path: &Arc<Path>,
    jobs: &mut VecDeque<Box<dyn Job>>,
) -> rusqlite::Result<Option<Transaction<'c>>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let writing = Writing::new(&transaction);
    let all_done = jobs.iter_mut().all(|job| job.work(&writing, path).is_ok());
    // Dropped, it is rolled back.
    Ok(all_done.then_some(transaction))
}

/// Does the jobs, and takes back the rows of those that fail.
fn each_by_itself(
    transaction: &Transaction<'_>,
    path: &Arc<Path>,
    jobs: &mut VecDeque<Box<dyn Job>>,
) -> Result<(), Error> {
    let run = |sql| transaction.execute_batch(sql).map_err(|error| Error::of(path, &error));
    let writing = Writing::new(transaction);
    for job in jobs {
        run("SAVEPOINT job")?;
        if let Err(error) = job.work(&writing, path) {
            // A full disk, among others, ends the whole transaction by itself: the jobs before are gone as well.
            if transaction.is_autocommit() {
                return Err(error);
            }
            run("ROLLBACK TO job")?;
            writing.taken_back();
        }
        run("RELEASE job")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = oneshot::Receiver<Result<i64, Error>>;

    /// A database with one table, and another connection that sees what is committed.
    fn database() -> (tempfile::TempDir, Connection, Connection) {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Connection::open(folder.path().join("a.db")).expect("opened");
        let (connection, other) = (open(), open());
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON;
                 CREATE TABLE t (x INTEGER PRIMARY KEY, y INTEGER REFERENCES t (x) DEFERRABLE INITIALLY DEFERRED, z BLOB);",
            )
            .expect("made");
        (folder, connection, other)
    }

    fn count(connection: &Connection) -> i64 {
        connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("counted")
    }

    fn job(work: impl FnMut(&Writing<'_>) -> Result<i64, Fault> + Send + 'static) -> (Box<dyn Job>, Answer) {
        let (caller, answer) = oneshot::channel();
        (Box::new(Task::new(work, caller)), answer)
    }

    fn sql(text: &'static str) -> (Box<dyn Job>, Answer) {
        job(move |connection| {
            connection.execute_batch(text)?;
            Ok(connection.last_insert_rowid())
        })
    }

    /// What each caller hears.
    fn told(connection: &mut Connection, jobs: Vec<(Box<dyn Job>, Answer)>) -> Vec<Result<i64, String>> {
        let (jobs, answers): (VecDeque<_>, Vec<_>) = jobs.into_iter().unzip();
        let done = commit_all(connection, &Path::new("a.db").into(), jobs);
        let mut answers = answers;
        assert!(answers.iter_mut().all(|answer| answer.try_recv().is_err()), "nobody is told by the commit itself");
        done.tell();
        answers
            .into_iter()
            .map(|mut answer| answer.try_recv().expect("everybody is told").map_err(|error| error.to_string()))
            .collect()
    }

    #[test]
    fn one_commit_holds_all_jobs_and_a_failing_one_loses_only_its_own_rows() {
        let (_folder, mut connection, other) = database();
        let mut jobs: Vec<_> = (0..49).map(|_| sql("INSERT INTO t DEFAULT VALUES")).collect();
        jobs.insert(20, sql("INSERT INTO t VALUES (900, NULL, NULL); INSERT INTO u VALUES (1)"));
        jobs.push(job(move |connection| {
            assert_eq!((count(connection), count(&other)), (49, 0), "nothing is committed yet");
            Ok(0)
        }));
        let told = told(&mut connection, jobs);
        assert_eq!(told.iter().filter(|result| result.is_ok()).count(), 50);
        assert!(told[20].as_ref().is_err_and(|error| error.contains("no such table: u")), "{:?}", told[20]);
        assert_eq!(count(&connection), 49);
    }

    #[test]
    fn a_commit_that_fails_is_told_to_everybody_and_leaves_nothing() {
        let (_folder, mut connection, _other) = database();
        let jobs = vec![sql("INSERT INTO t DEFAULT VALUES"), sql("INSERT INTO t VALUES (7, 8, NULL)")];
        let all = told(&mut connection, jobs);
        assert!(all.iter().all(|result| result.as_ref().is_err_and(|error| error.contains("FOREIGN KEY"))), "{all:?}");
        assert_eq!(count(&connection), 0);
        assert_eq!(told(&mut connection, vec![sql("INSERT INTO t DEFAULT VALUES")]), [Ok(1)], "and it goes on");
    }

    #[test]
    fn a_job_that_ends_the_whole_transaction_fails_for_everybody() {
        let (_folder, mut connection, _other) = database();
        let jobs = vec![
            sql("INSERT INTO t DEFAULT VALUES"),
            sql("ROLLBACK; INSERT INTO u VALUES (1)"),
            sql("INSERT INTO t DEFAULT VALUES"),
        ];
        let all = told(&mut connection, jobs);
        assert!(
            all.iter().all(|result| result.as_ref().is_err_and(|error| error.contains("no such table"))),
            "{all:?}"
        );
        assert_eq!(count(&connection), 0);
        assert_eq!(told(&mut connection, vec![sql("INSERT INTO t DEFAULT VALUES")]), [Ok(1)]);
    }

    #[test]
    fn a_full_disk_is_called_so_and_passes() {
        let (_folder, mut connection, _other) = database();
        connection.execute_batch("PRAGMA max_page_count = 5").expect("set");
        let jobs = vec![sql("INSERT INTO t DEFAULT VALUES"), sql("INSERT INTO t (z) VALUES (zeroblob(100000))")];
        let all = told(&mut connection, jobs);
        assert_eq!(all[1], Err("write to a.db: the disk is full".to_owned()));
        assert_eq!(i64::from(all[0].is_ok()), count(&connection), "what is told is what is there");
        connection.execute_batch("PRAGMA max_page_count = 1000").expect("set");
        assert!(told(&mut connection, vec![sql("INSERT INTO t (z) VALUES (zeroblob(100000))")])[0].is_ok());
    }
}
