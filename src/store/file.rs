//! The file before SQLite touches it: whose it is, and who else writes to it.
//!
//! Nothing here writes to the database, and the lock file is made only beside a file that is ours or not there yet.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{Error, OpenError, latest_version};

/// "SEGS", in the header of every database that segsync made.
const APPLICATION_ID: u32 = 0x5345_4753;

/// The first bytes of every SQLite 3 database; <https://sqlite.org/fileformat2.html> §1.3.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;
const HEADER: usize = 100;

/// How long a look waits while another process recovers the file after a kill.
const BUSY: Duration = Duration::from_secs(5);

/// What a path holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing, or an empty file.
    Empty,
    /// A database with our application id.
    Ours {
        /// Its `user_version`.
        version: i64,
    },
}

impl Look {
    /// Reads the header. The id is set before the file enters WAL mode, so the header tells the truth about whose it is
    /// even while newer pages wait in a write-ahead log.
    pub(super) fn at(path: &Arc<Path>) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: Arc::clone(path), source };
        let foreign = |what| OpenError::Foreign { path: Arc::clone(path), what };
        match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Empty),
            Err(error) => return Err(io(error)),
            // Opening a named pipe would wait for a writer.
            Ok(found) if !found.is_file() => return Err(foreign("not a regular file")),
            Ok(found) if found.len() == 0 => return Ok(Self::Empty),
            Ok(_) => {}
        }
        let mut header = Vec::with_capacity(HEADER);
        File::open(path).and_then(|file| file.take(100).read_to_end(&mut header)).map_err(io)?;
        if header.len() < HEADER || !header.starts_with(MAGIC) {
            return Err(foreign("no SQLite database"));
        }
        if header[APPLICATION_ID_AT..].starts_with(&APPLICATION_ID.to_be_bytes()) {
            version(path, &header).map(|version| Self::Ours { version })
        } else {
            Err(foreign("the SQLite database of another program"))
        }
    }

    /// A file that has run more steps than this program knows is not for this program.
    pub(super) fn refuse_newer(&self, path: &Arc<Path>) -> Result<(), OpenError> {
        match *self {
            Self::Ours { version } if version > latest_version() => {
                Err(OpenError::Newer { path: Arc::clone(path), found: version, known: latest_version() })
            }
            _ => Ok(()),
        }
    }
}

/// The header's version, or the one that still waits in a write-ahead log: only there does SQLite have to be asked.
fn version(path: &Arc<Path>, header: &[u8]) -> Result<i64, OpenError> {
    let sql = |error| OpenError::from(Error::of(path, &error));
    if beside(path, "-wal").metadata().is_ok_and(|log| log.len() > 0) {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(sql)?;
        connection.busy_timeout(BUSY).map_err(sql)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sql)?;
        return connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sql);
    }
    let bytes = header[USER_VERSION_AT..].first_chunk::<4>();
    Ok(bytes.map_or(0, |bytes| i64::from(u32::from_be_bytes(*bytes))))
}

/// The one name of a database, so that two paths to it (symbolic links, relative paths) lock the same file.
pub(super) fn resolve(path: &Path) -> Result<Arc<Path>, OpenError> {
    let found = path.canonicalize().or_else(|error| match (error.kind(), path.file_name()) {
        (io::ErrorKind::NotFound, Some(name)) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            folder.unwrap_or(Path::new(".")).canonicalize().map(|folder| folder.join(name))
        }
        _ => Err(error),
    });
    found.map(Arc::from).map_err(|source| OpenError::Io { path: path.into(), source })
}

/// `path` with `suffix` added to its file name: `-wal`, `-shm`, `-lock`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The right to be the only writer. Lasts until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the database at `path`, and leaves this process's id in the lock file. The file stays behind:
    /// removing it would let two processes lock two files of one name.
    pub(super) fn take(path: &Arc<Path>) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: beside(path, "-lock").into(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(beside(path, "-lock"))
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Unreadable is as good as unknown: the refusal stands either way.
                file.take(20).read_to_string(&mut pid).unwrap_or(0);
                return Err(OpenError::Locked { path: Arc::clone(path), pid: pid.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()))
            .map_err(io)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ways_to_a_file_are_one_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (real, link) = (folder.path().join("a.db"), folder.path().join("b.db"));
        let before = resolve(&real).expect("its folder is there");
        std::fs::write(&real, "").expect("written");
        std::os::unix::fs::symlink(&real, &link).expect("linked");
        assert_eq!(resolve(&link).expect("there"), before);
        assert_eq!(resolve(&folder.path().join(".").join("a.db")).expect("there"), before);
        assert!(matches!(resolve(&folder.path().join("no/a.db")), Err(OpenError::Io { .. })));
    }
}
