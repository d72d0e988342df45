//! What can go wrong with the file, in the caller's words.
//!
//! The texts name the file and read after "failed to". They never hold a document or a key.

use std::path::Path;
use std::sync::Arc;

use rusqlite::ErrorCode;

/// Reading or writing an open database failed; nothing of the job was written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No space; worth trying again once somebody made room.
    #[error("write to {}: the disk is full", path.display())]
    Full {
        /// The database.
        path: Arc<Path>,
    },
    /// Another program holds the file's write lock for longer than the busy time-out.
    #[error("use {}: another program has locked it", path.display())]
    Busy {
        /// The database.
        path: Arc<Path>,
    },
    /// What was to be written does not follow what the file holds: read the latest version and decide again.
    #[error("write to {}: {reason}", path.display())]
    Conflict {
        /// The database.
        path: Arc<Path>,
        /// What does not fit.
        reason: Arc<str>,
    },
    /// The file is damaged, or holds what this program never writes.
    #[error("use {}: it is damaged ({reason}); `segsync verify` tells more", path.display())]
    Corrupt {
        /// The database.
        path: Arc<Path>,
        /// What SQLite or the reader found.
        reason: Arc<str>,
    },
    /// The open files are no longer those at the path; nothing more is written to them.
    #[error("use {}: {what} was {happened} while it was in use; start again to go on with what is there now", path.display())]
    Displaced {
        /// The database.
        path: Arc<Path>,
        /// Which of its files.
        what: &'static str,
        /// What became of it.
        happened: &'static str,
    },
    /// Anything else.
    #[error("use {}: {reason}", path.display())]
    Other {
        /// The database.
        path: Arc<Path>,
        /// What SQLite says.
        reason: Arc<str>,
    },
}

/// Opening a database failed; the file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not one of ours.
    #[error("open {}: it is {what}, not a segsync database; it is left as it is", path.display())]
    Foreign {
        /// The file.
        path: Arc<Path>,
        /// What it is.
        what: &'static str,
    },
    /// Written by a newer segsync.
    #[error("open {}: a newer segsync wrote it (schema {found}, this one knows {known}); it is left as it is", path.display())]
    Newer {
        /// The file.
        path: Arc<Path>,
        /// Its `user_version`.
        found: i64,
        /// The last migration of this program.
        known: i64,
    },
    /// Written by an older segsync, and a reader never migrates.
    #[error("open {}: an older segsync wrote it (schema {found}, this one reads {known}); `segsync run` upgrades it", path.display())]
    Older {
        /// The file.
        path: Arc<Path>,
        /// Its `user_version`.
        found: i64,
        /// The last migration of this program.
        known: i64,
    },
    /// A reader was asked for a file that is not there, or is empty.
    #[error("open {}: there is no database yet; `segsync run` or `segsync sync` makes it", path.display())]
    Missing {
        /// The file.
        path: Arc<Path>,
    },
    /// Another segsync writes to it.
    #[error("open {}: another segsync ({}) is using it", path.display(), pid.map_or("of unknown pid".to_owned(), |pid| format!("pid {pid}")))]
    Locked {
        /// The file.
        path: Arc<Path>,
        /// The other process, where it told.
        pid: Option<u32>,
    },
    /// The file, its folder or its lock file cannot be used.
    #[error("open {}: {source}", path.display())]
    Io {
        /// The file.
        path: Arc<Path>,
        /// What the system says.
        source: std::io::Error,
    },
    /// It opened, but could not be used.
    #[error(transparent)]
    Database(#[from] Error),
}

/// What a job ends with before the file's path is added.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(rusqlite::Error),
    Conflict(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl Fault {
    /// The error that callers see.
    pub(super) fn at(self, path: &Arc<Path>) -> Error {
        match self {
            Self::Sql(error) => Error::of(path, &error),
            Self::Conflict(reason) => Error::Conflict { path: Arc::clone(path), reason: reason.into() },
        }
    }
}

impl Error {
    /// SQLite's error about the file at `path`.
    pub(super) fn of(path: &Arc<Path>, error: &rusqlite::Error) -> Self {
        let path = Arc::clone(path);
        let reason = Arc::from(error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => return Self::Full { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => return Self::Busy { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => return Self::Corrupt { path, reason },
            _ => {}
        }
        match error {
            rusqlite::Error::FromSqlConversionFailure(_, _, cause) => {
                Self::Corrupt { path, reason: cause.to_string().into() }
            }
            rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..) => Self::Corrupt { path, reason },
            _ => Self::Other { path, reason },
        }
    }

    /// The writer has been closed, or its thread ended before it answered.
    pub(super) fn closed(path: &Arc<Path>) -> Self {
        Self::Other { path: Arc::clone(path), reason: "it has been closed".into() }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn the_texts_read_after_failed_to() {
        let path: Arc<Path> = Path::new("/x/a.db").into();
        let code = |code| Error::of(&path, &rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        let open = |pid| OpenError::Locked { path: Arc::clone(&path), pid };
        let texts = [
            code(ffi::SQLITE_FULL).to_string(),
            code(ffi::SQLITE_BUSY).to_string(),
            code(ffi::SQLITE_CORRUPT).to_string(),
            code(ffi::SQLITE_READONLY).to_string(),
            Fault::Conflict("main/a: compared with version 1".to_owned()).at(&path).to_string(),
            open(Some(7)).to_string(),
            open(None).to_string(),
            OpenError::Older { path: Arc::clone(&path), found: 1, known: 2 }.to_string(),
        ];
        insta::assert_snapshot!(texts.join("\n"), @"
        write to /x/a.db: the disk is full
        use /x/a.db: another program has locked it
        use /x/a.db: it is damaged (Error code 11: database disk image is malformed); `segsync verify` tells more
        use /x/a.db: Error code 8: attempt to write a readonly database
        write to /x/a.db: main/a: compared with version 1
        open /x/a.db: another segsync (pid 7) is using it
        open /x/a.db: another segsync (of unknown pid) is using it
        open /x/a.db: an older segsync wrote it (schema 1, this one reads 2); `segsync run` upgrades it
        ");
    }
}
