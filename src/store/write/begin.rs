//! Opening for writing, and leaving.
//!
//! Looks before it touches: a foreign or newer file gets no lock file, no WAL and no other byte.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::log::keep_small;
use super::{Error, Lock, OpenError};
use crate::clock::Clock;
use crate::store::{Look, resolve, upgrade};

/// How long a write waits for another program that holds the write lock.
const BUSY: Duration = Duration::from_secs(5);

/// How long leaving waits for readers, to empty the write-ahead log.
const BUSY_ON_LEAVING: Duration = Duration::from_millis(500);

/// More statements than the writer has.
const STATEMENTS: usize = 64;

/// Steps of SQLite's machine after which an upgrade looks whether it is to go on: some milliseconds.
const STEPS_PER_LOOK: i32 = 100_000;

/// The file at `path`, ready for jobs.
pub(super) fn open(
    path: &Path,
    clock: &Clock,
    timeout: Duration,
    mut goes_on: impl FnMut() -> bool + Send + 'static,
) -> Result<(Arc<Path>, Connection, Lock), OpenError> {
    let path = resolve(path)?;
    Look::at(&path)?.refuse_newer(&path)?;
    let lock = Lock::take(&path)?;
    // Another process may have upgraded it in between.
    Look::at(&path)?.refuse_newer(&path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = |error| OpenError::from(Error::of(&path, &error));
    let mut connection = Connection::open_with_flags(&path, flags).map_err(sql)?;
    connection.busy_timeout(BUSY).map_err(sql)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "foreign_keys", true).map_err(sql)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(sql)?;
    connection.progress_handler(STEPS_PER_LOOK, Some(move || !goes_on())).map_err(sql)?;
    upgrade(&mut connection).map_err(|error| migration(&path, error))?;
    connection.progress_handler(0, None::<fn() -> bool>).map_err(sql)?;
    // Only now, so that the header of a file in WAL mode always holds the application id.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).map_err(sql)?;
    keep_small(&connection).map_err(sql)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sql)?;
    take_over(&mut connection, clock, timeout).map_err(sql)?;
    Ok((path, connection, lock))
}

fn migration(path: &Arc<Path>, error: rusqlite_migration::Error) -> OpenError {
    OpenError::Database(match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => Error::of(path, &err),
        other => Error::Other { path: Arc::clone(path), reason: format!("upgrade it: {other}").into() },
    })
}

/// Names the boot that ages count from, and closes what an earlier process left open.
fn take_over(connection: &mut Connection, clock: &Clock, timeout: Duration) -> rusqlite::Result<()> {
    let (now, boot_id) = (clock.now(), clock.boot_id());
    let timeout_ms = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let same_boot = transaction
        .query_row("SELECT boot_id, monotonic_ms FROM clock", [], |row| {
            Ok((row.get::<_, Option<String>>(0)?, row.get::<_, i64>(1)?))
        })
        .optional()?
        // A clock that runs backwards counts from somewhere else, whatever it calls itself.
        .is_some_and(|(known, last)| known.is_some() && known == boot_id && last <= now.boot_ms);
    if !same_boot {
        // A wall clock that lost its time must not bring back a wait that was over, nor lengthen one.
        transaction.execute(
            "UPDATE sources SET held_until = CASE WHEN held_until > c.wall_ms
                THEN min(held_until, CAST(?1 + (held_until - c.wall_ms) AS INTEGER)) END
             FROM clock AS c WHERE held_until IS NOT NULL",
            params![now.wall.0],
        )?;
        transaction.execute("UPDATE segments SET checked_boot_ms = NULL WHERE checked_boot_ms IS NOT NULL", [])?;
        transaction.execute(
            "INSERT OR REPLACE INTO clock (one, boot_id, monotonic_ms, wall_ms, first_poll)
             VALUES (1, ?1, ?2, ?3, 1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'polls'), 0))",
            params![boot_id, now.boot_ms, now.wall.0],
        )?;
    }
    transaction.execute(
        "UPDATE polls SET
            outcome = 'failed',
            error = 'interrupted',
            finished_at = max(?1, started_at + ?3),
            boot_ms = CASE WHEN id >= (SELECT first_poll FROM clock) THEN max(?2, boot_ms + ?3) ELSE boot_ms END
         WHERE outcome IS NULL",
        params![now.wall.0, now.boot_ms, timeout_ms],
    )?;
    transaction.commit()
}

/// Empties the write-ahead log into the database and closes it, leaving `-wal` and `-shm` behind: a reader who cannot
/// make these files needs them.
pub(super) fn leave(connection: Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_ON_LEAVING)?;
    // A reader with an open transaction keeps the log from being emptied; the file is whole all the same.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)
}
