//! The transaction that jobs write in, and the file's clock.

use std::cell::Cell;
use std::ops::Deref;

use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::Now;
use crate::model::UnixMs;

/// The wall clock is slewed, or was read a moment later: no more than this is no setting, in milliseconds.
const SLEW: i64 = 1000;

/// A transaction, and when the clock's row was last kept in it.
pub(super) struct Writing<'c> {
    connection: &'c Connection,
    kept: Cell<Option<Now>>,
}

impl<'c> Writing<'c> {
    /// Nothing is written yet.
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, kept: Cell::new(None) }
    }

    /// Something of it has been taken back, perhaps the clock's row.
    pub(super) fn taken_back(&self) {
        self.kept.set(None);
    }

    /// Keeps the clock's row at the last write. Where the wall clock has been set since, what lies ahead of it goes along: a
    /// provider's wait neither ends early nor grows, and one that is over does not come back. Comes before what is written by
    /// the new time; once is enough for jobs that are written together, unless the clock was set between them.
    pub(super) fn tick(&self, now: Now) -> rusqlite::Result<()> {
        if self.kept.get().is_some_and(|kept| is_near(kept, now)) {
            return Ok(());
        }
        tick(self.connection, now)?;
        self.kept.set(Some(now));
        Ok(())
    }

    /// A time that was told at `now`, by the clock of the file: what was written before may know that the clock was set since.
    pub(super) fn by_its_clock(&self, time: UnixMs, now: Now) -> rusqlite::Result<UnixMs> {
        let set = last(self.connection)?.map_or(0, |(boot_ms, wall_ms)| -set_between(boot_ms, wall_ms, now));
        Ok(if set.saturating_abs() > SLEW { UnixMs(time.0.saturating_add(set)) } else { time })
    }
}

impl Deref for Writing<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

/// By how much the wall clock was set between two moments, in milliseconds.
fn set_between(boot_ms: i64, wall_ms: i64, now: Now) -> i64 {
    now.wall.0.saturating_sub(wall_ms).saturating_sub(now.boot_ms.saturating_sub(boot_ms))
}

fn is_near(kept: Now, now: Now) -> bool {
    let apart = now.boot_ms.saturating_sub(kept.boot_ms);
    apart.saturating_abs() <= SLEW && set_between(kept.boot_ms, kept.wall.0, now).saturating_abs() <= SLEW
}

/// The clocks at the last write.
fn last(connection: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    connection
        .prepare_cached("SELECT monotonic_ms, wall_ms FROM clock")?
        .query_row([], |row| Ok((row.get("monotonic_ms")?, row.get("wall_ms")?)))
        .optional()
}

fn tick(connection: &Connection, now: Now) -> rusqlite::Result<()> {
    // Jobs of one commit may have read the clocks in another order.
    let last = last(connection)?.filter(|(boot_ms, _)| *boot_ms <= now.boot_ms);
    let Some((boot_ms, wall)) = last else { return Ok(()) };
    let set = set_between(boot_ms, wall, now);
    if set.saturating_abs() > SLEW {
        connection
            .prepare_cached(
                "UPDATE sources SET held_until = CASE WHEN held_until > ?2 THEN CAST(held_until + ?1 AS INTEGER) END
                 WHERE held_until IS NOT NULL",
            )?
            .execute(params![set, wall])?;
    }
    connection
        .prepare_cached("UPDATE clock SET monotonic_ms = ?1, wall_ms = ?2")?
        .execute(params![now.boot_ms, now.wall.0])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const HOUR: i64 = 3_600_000;

    /// A clock that was last kept at 0, and a source that is held for an hour.
    fn file() -> Connection {
        let connection = Connection::open_in_memory().expect("opened");
        connection
            .execute_batch(
                "CREATE TABLE clock (monotonic_ms INTEGER, wall_ms INTEGER);
                 CREATE TABLE sources (held_until INTEGER);
                 INSERT INTO clock VALUES (0, 0);
                 INSERT INTO sources VALUES (3600000);",
            )
            .expect("made");
        connection
    }

    fn at(boot_ms: i64, wall_ms: i64) -> Now {
        Now { mono: Instant::now(), wall: UnixMs(wall_ms), boot_ms }
    }

    fn read(connection: &Connection) -> (i64, i64, i64) {
        let sql = "SELECT monotonic_ms, wall_ms, held_until FROM clock, sources";
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("read")
    }

    #[test]
    fn jobs_of_one_commit_keep_the_clock_once() {
        let connection = file();
        let writing = Writing::new(&connection);
        let changes = || connection.total_changes();
        let before = changes();
        for now in [at(5_000, 5_000), at(5_001, 5_002), at(4_999, 4_999), at(5_900, 5_900)] {
            writing.tick(now).expect("kept");
        }
        assert_eq!((read(&connection), changes() - before), ((5_000, 5_000, HOUR), 1));
        writing.tick(at(6_001, 6_001)).expect("kept");
        assert_eq!(read(&connection), (6_001, 6_001, HOUR), "a second later");
        Writing::new(&connection).tick(at(6_002, 6_002)).expect("kept");
        assert_eq!(read(&connection), (6_002, 6_002, HOUR), "another commit");
    }

    #[test]
    fn a_clock_that_is_set_between_two_jobs_moves_what_lies_ahead() {
        let connection = file();
        let writing = Writing::new(&connection);
        writing.tick(at(100, 100)).expect("kept");
        writing.tick(at(101, 101 + HOUR)).expect("kept");
        assert_eq!(read(&connection), (101, 101 + HOUR, 2 * HOUR));
    }

    #[test]
    fn what_was_taken_back_is_kept_again() {
        let connection = file();
        let writing = Writing::new(&connection);
        connection.execute_batch("SAVEPOINT job").expect("begun");
        writing.tick(at(100, 100 + HOUR)).expect("kept");
        connection.execute_batch("ROLLBACK TO job; RELEASE job").expect("taken back");
        writing.taken_back();
        writing.tick(at(101, 101 + HOUR)).expect("kept");
        assert_eq!(read(&connection), (101, 101 + HOUR, 2 * HOUR));
    }
}
