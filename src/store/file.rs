//! Whose the file is and who else writes to it, before anything is changed.
//!
//! Nothing here writes to the database, and the lock file is made only beside a file that is ours or not there yet.
//! The database is opened through SQLite alone, never as a plain file: closing that would drop the locks that other
//! connections of this process hold on it (<https://sqlite.org/howtocorrupt.html> §2.2).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{Error, OpenError, latest_version};

/// "SEGS", in the header of every database that segsync made.
const APPLICATION_ID: i64 = 0x5345_4753;

/// The smallest page, in bytes; a database has at least one. SQLite takes less for an empty one.
const SMALLEST: u64 = 512;

/// How long a look waits while another process recovers the file after a kill.
const BUSY: Duration = Duration::from_secs(5);

/// How long somebody may look at the lock, and how many of them in a row are waited for.
const LOOK: Duration = Duration::from_millis(1);
const LOOKS: u32 = 200;

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
    /// even while newer pages wait in a write-ahead log; about the version the log has to be asked.
    pub(super) fn at(path: &Arc<Path>) -> Result<Self, OpenError> {
        let foreign = |what| OpenError::Foreign { path: Arc::clone(path), what };
        match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Empty),
            Err(source) => return Err(OpenError::Io { path: Arc::clone(path), source }),
            // Opening a named pipe would wait for a writer.
            Ok(found) if !found.is_file() => return Err(foreign("not a regular file")),
            Ok(found) if found.len() == 0 => return Ok(Self::Empty),
            Ok(found) if found.len() < SMALLEST => return Err(foreign("no SQLite database")),
            Ok(_) => {}
        }
        let log_waits = beside(path, "-wal").metadata().is_ok_and(|log| log.len() > 0);
        match header(path) {
            Ok((APPLICATION_ID, _)) if log_waits => {
                let version = version_with_log(path).map_err(|error| Error::of(path, &error))?;
                Ok(Self::Ours { version })
            }
            Ok((APPLICATION_ID, version)) => Ok(Self::Ours { version }),
            Ok(_) => Err(foreign("the SQLite database of another program")),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
                Err(foreign("no SQLite database"))
            }
            Err(error) => Err(Error::of(path, &error).into()),
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

/// The application id and version in the file's header.
fn header(path: &Path) -> rusqlite::Result<(i64, i64)> {
    let connection = open_immutable(path)?;
    // Half-way through a checkpoint, or after one that was cut short, the header may count pages that only the log has
    // yet. Without this SQLite would call such a file damaged; nothing is written through this connection.
    connection.pragma_update(None, "writable_schema", true)?;
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get(0));
    Ok((number("application_id")?, number("user_version")?))
}

fn version_with_log(path: &Path) -> rusqlite::Result<i64> {
    let connection = Connection::open_with_flags(path, read_only())?;
    connection.busy_timeout(BUSY)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// For reading, as every connection that does not write.
pub(super) fn read_only() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// The database file alone, as if it never changed: without its log, without a lock, without making a file.
pub(super) fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let name = percent_encode(path.as_os_str().as_bytes(), NON_ALPHANUMERIC);
    Connection::open_with_flags(format!("file:{name}?immutable=1"), read_only() | OpenFlags::SQLITE_OPEN_URI)
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
pub(super) struct Lock(File);

impl Drop for Lock {
    /// Closing the file would not do while a child process, forked a moment ago, still has a copy of it.
    fn drop(&mut self) {
        // Should it fail, the lock ends with the process.
        self.0.unlock().unwrap_or(());
    }
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
        match try_lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked { path: Arc::clone(path), pid: pid_in(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()))
            .map_err(io)?;
        Ok(Self(file))
    }
}

/// Takes the lock. Whoever only looks ([`Holder::of`]) shares it for a moment, which must not look like a writer.
fn try_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..LOOKS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if file.try_lock_shared().is_ok() => {
                file.unlock().map_err(TryLockError::Error)?;
            }
            result => return result,
        }
        std::thread::sleep(LOOK);
    }
    file.try_lock()
}

/// The process that a lock file names; unreadable is as good as unknown.
fn pid_in(file: &mut File) -> Option<u32> {
    let mut pid = String::new();
    file.take(20).read_to_string(&mut pid).unwrap_or(0);
    pid.trim().parse().ok()
}

/// Who writes to a database now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// A segsync, of this process id where it told.
    Somebody(Option<u32>),
    /// The lock file cannot be read.
    Unknown,
}

impl Holder {
    /// Looks who holds the lock of the database at `path`; writes nothing and takes nothing away.
    pub(super) fn of(path: &Path) -> Self {
        let mut file = match File::open(beside(path, "-lock")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::Nobody,
            Err(_) => return Self::Unknown,
        };
        match file.try_lock_shared() {
            Ok(()) => Self::Nobody,
            Err(TryLockError::WouldBlock) => Self::Somebody(pid_in(&mut file)),
            Err(TryLockError::Error(_)) => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_at_the_lock_does_not_take_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path: Arc<Path> = folder.path().join("a.db").into();
        assert_eq!(Holder::of(&path), Holder::Nobody);
        let lock = Lock::take(&path).expect("free");
        assert_eq!(Holder::of(&path), Holder::Somebody(Some(std::process::id())));
        assert!(matches!(Lock::take(&path), Err(OpenError::Locked { .. })));
        drop(lock);
        assert_eq!(Holder::of(&path), Holder::Nobody);

        let is_over = std::sync::atomic::AtomicBool::new(false);
        let order = std::sync::atomic::Ordering::Relaxed;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(order) {
                    Holder::of(&path);
                }
            });
            let all = (0..200).all(|_| Lock::take(&path).is_ok());
            is_over.store(true, order);
            assert!(all, "a look was taken for a writer");
        });
    }

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
