//! The write-ahead log as a file: how large it is, how small it is made again, and which processes keep it.
//!
//! Must never open the files of the database: closing one would give up every lock that this process holds on it.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{major, minor};
use tokio::task::spawn_blocking;

use super::{Error, Shared, Store, lock};
use crate::store::beside;

/// What the log is cut down to once all of it is in the database, in bytes: about what a checkpoint takes at a time.
const KEPT: i64 = 4 * 1024 * 1024;

/// So many pages that only the log has are moved into the database while others write. SQLite has a commit move them itself
/// only once the log is four times as long, which keeps everybody waiting; mostly little is left to do then.
const PORTION: i64 = 250;

/// Where a reader's mark is locked in the `-shm` file: <https://www.sqlite.org/walformat.html>, "WAL Locks".
const MARKS: std::ops::RangeInclusive<u64> = 123..=127;

impl Store {
    /// How many bytes wait in the write-ahead log, or are free for the next ones there; it grows while a reader keeps a
    /// transaction open.
    pub fn wal_bytes(&self) -> u64 {
        beside(self.path(), "-wal").metadata().map_or(0, |found| found.len())
    }

    /// Moves what the log holds into the database, as far as no reader is in the way; commits do the same from time to
    /// time, but do not tell whether it worked.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        let shared = Arc::clone(&self.0);
        let done = spawn_blocking(move || shared.checkpoint()).await;
        done.unwrap_or_else(|_| Err(Error::closed(&self.0.path)))
    }

    /// The processes that have a transaction open for reading, this one included, as far as the kernel tells. Blocks.
    pub fn readers(&self) -> Vec<u32> {
        let Ok(index) = beside(self.path(), "-shm").metadata() else { return Vec::new() };
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        readers_in(&locks, &index)
    }
}

impl Shared {
    fn checkpoint(&self) -> Result<(), Error> {
        let Some(writer) = &*lock(&self.writer) else { return Err(Error::closed(&self.path)) };
        checkpoint(&writer.connection).map_err(|error| Error::of(&self.path, &error))
    }
}

/// Moves what the log holds into the database on a connection of its own, so that nobody who writes meanwhile has to wait.
#[derive(Debug)]
pub(super) struct Mover(Mutex<Option<Connection>>);

impl Mover {
    /// For the database at `path`, which is there.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(Self(Mutex::new(Some(connection))))
    }

    /// After a commit: moves as much as no reader is in the way of, once that is worth it. What fails here fails again in a
    /// commit, once the log is long, and is told by who watches the log.
    pub(super) fn move_on(&self) {
        // Where somebody is at it already, the next commit comes by again.
        let Ok(connection) = self.0.try_lock() else { return };
        if let Some(connection) = connection.as_ref().filter(|connection| is_due(connection)) {
            checkpoint(connection).unwrap_or_default();
        }
    }

    /// Waits until nothing is on its way, and lets go of the file.
    pub(super) fn end(&self) {
        drop(lock(&self.0).take());
    }
}

fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Whether enough waits in the log to be moved.
fn is_due(connection: &Connection) -> bool {
    let waiting = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)").and_then(|mut noop| {
        noop.query_row([], |row| Ok(row.get::<_, i64>("log")? - row.get::<_, i64>("checkpointed")?))
    });
    waiting.is_ok_and(|pages| pages >= PORTION)
}

/// Has the log shrink again after it had to grow.
pub(super) fn keep_small(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_size_limit", KEPT, |_| Ok(()))
}

/// Lines such as `7: POSIX  ADVISORY  READ 4711 fe:01:1311 124 124`, see proc_locks(5).
fn readers_in(locks: &str, index: &Metadata) -> Vec<u32> {
    let file = format!("{:02x}:{:02x}:{}", major(index.dev()), minor(index.dev()), index.ino());
    let reader = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, _, mode, pid) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let (on, from) = (words.next()?, words.next()?.parse().ok()?);
        (kind == "POSIX" && mode == "READ" && on == file && MARKS.contains(&from)).then(|| pid.parse().ok())?
    };
    locks.lines().filter_map(reader).collect::<BTreeSet<u32>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_told_from_other_locks() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let index = file.path().metadata().expect("there");
        let own = format!("{:02x}:{:02x}:{}", major(index.dev()), minor(index.dev()), index.ino());
        let locks = format!(
            "1: POSIX  ADVISORY  READ 20 {own} 124 124\n\
             2: POSIX  ADVISORY  READ 10 {own} 127 127\n\
             3: POSIX  ADVISORY  READ 20 {own} 123 123\n\
             4: POSIX  ADVISORY  READ 31 {own} 128 128\n\
             5: POSIX  ADVISORY  WRITE 32 {own} 120 120\n\
             6: FLOCK  ADVISORY  READ 33 {own} 0 EOF\n\
             7: POSIX  ADVISORY  READ 34 {own}1 124 124\n\
             8: -> POSIX  ADVISORY  READ 35 {own} 124 124\n\
             9: POSIX\n"
        );
        assert_eq!(readers_in(&locks, &index), [10, 20]);
        assert_eq!(readers_in("", &index), [0_u32; 0]);
    }
}
