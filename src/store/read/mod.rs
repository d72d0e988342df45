//! Reading a database that somebody else may be writing: what the reading verbs open.
//!
//! A reader never writes, never migrates, never waits for the writer, and needs neither a daemon nor the right to write
//! to the file or its folder.

mod backup;
mod export;
mod feed;
mod history;
mod log;
mod pattern;
mod pool;
mod schema;
mod status;
mod story;
mod verify;

pub use backup::{Backup, BackupError};
pub use export::{AfterGap, Exported, Selection};
pub use history::{At, Gap, LogFilter, Scope, StoredVersion};
pub use pattern::Pattern;
pub use pool::Readers;
pub use schema::SchemaPast;
pub use status::{FreshnessRow, SourceRow, Tally};
pub use story::Story;
pub use verify::{Finding, Step, Verified};

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::{
    Checkpoint, Error, Holder, Look, OpenError, Stored, VersionEntry, beside, changes_of, end_seal, latest_version,
    open_immutable, read_only, resolve,
};

/// How long a read waits while the writer recovers the file after a kill; nothing else makes a reader wait.
const BUSY: Duration = Duration::from_secs(5);

/// A connection that only reads. Its functions block.
pub struct Reader {
    path: Arc<Path>,
    connection: Connection,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens the database at `path`, with or without a daemon.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = resolve(path.as_ref()).map_err(|error| match error {
            OpenError::Io { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
                OpenError::Missing { path }
            }
            other => other,
        })?;
        let Look::Ours { version } = Look::at(&path)? else {
            return Err(OpenError::Missing { path });
        };
        Look::Ours { version }.refuse_newer(&path)?;
        let connection = connect(&path).map_err(|error| Error::of(&path, &error))?;
        let found = user_version(&connection).map_err(|error| Error::of(&path, &error))?;
        let known = latest_version();
        match found {
            0 => Err(OpenError::Missing { path }),
            older if older < known => Err(OpenError::Older { path, found, known }),
            newer if newer > known => Err(OpenError::Newer { path, found, known }),
            _ => Ok(Self { path, connection }),
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who writes to it now.
    pub fn holder(&self) -> Holder {
        Holder::of(&self.path)
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        work(&self.connection).map_err(|error| Error::of(&self.path, &error))
    }
}

/// A file in WAL mode needs its `-wal` and `-shm` to be read. The writer leaves them behind, but a program that could
/// write may have removed them since; where this user cannot make them again and no log waits, the file is whole by
/// itself and is read as one that does not change.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = prepared(Connection::open_with_flags(path, read_only())?)?;
    let Err(error) = user_version(&connection) else { return Ok(connection) };
    if beside(path, "-wal").metadata().is_ok_and(|log| log.len() > 0) {
        return Err(error);
    }
    prepared(open_immutable(path)?)
}

fn prepared(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(BUSY)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row(
        "SELECT user_version FROM pragma_user_version, (SELECT count(*) FROM sqlite_schema)",
        [],
        |row| row.get(0),
    )
}
