//! A copy of the file as it was at one moment, while somebody may be writing it.
//!
//! The copy appears under its name only once it is whole, checked and on the disk. It needs no log beside it, and bears
//! the rights that the umask gives to a new file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::backup::{Backup as Copying, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::verify::{Finding, Step, Verified};
use super::{Error, OpenError, Reader, beside};

/// Pages that are copied between two steps that are told.
const PAGES: i32 = 512;

/// How long a copy waits where a page of its own cannot be had at once.
const PAUSE: Duration = Duration::from_millis(10);

/// Why there is no copy; nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The name is taken.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// The name is that of the database itself.
    #[error("{} is the database itself", .0.display())]
    Itself(PathBuf),
    /// The name is taken by a database whose log is beside it, which would be read with the copy.
    #[error("{} is beside it: the file there is a database in use, or one that was not closed", .0.display())]
    InUse(PathBuf),
    /// Somebody else writes the same copy.
    #[error("another backup to {} is under way", .0.display())]
    UnderWay(PathBuf),
    /// Writing the copy failed.
    #[error("write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What was copied is not whole: neither is the database.
    #[error("{findings} things are wrong with the copy, and so with the database; it is not kept")]
    Damaged {
        /// How many.
        findings: u64,
    },
    /// Reading the database or the copy failed.
    #[error(transparent)]
    Database(#[from] Error),
    /// The copy cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// A copy that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// What is in it.
    pub verified: Verified,
    /// Its size.
    pub bytes: u64,
}

impl Reader {
    /// Writes a copy to `target`, over a file of that name only where `force` says so. Tells how many of how many pages
    /// are copied, then the steps and findings of the check of the copy.
    pub fn backup(
        &self,
        target: &Path,
        force: bool,
        on_pages: &mut dyn FnMut(u64, u64),
        on_step: &mut dyn FnMut(Step),
        on_finding: &mut dyn FnMut(Finding),
    ) -> Result<Backup, BackupError> {
        self.refuse(target, force)?;
        let draft = Draft::begin(target)?;
        self.copy(&draft.path, on_pages)?;
        let verified = Self::open(&draft.path)?.verify(on_step, on_finding)?;
        if verified.findings > 0 {
            return Err(BackupError::Damaged { findings: verified.findings });
        }
        self.refuse(target, force)?;
        let bytes = draft.publish(target, force)?;
        Ok(Backup { verified, bytes })
    }

    /// Refuses a name that is taken.
    fn refuse(&self, target: &Path, force: bool) -> Result<(), BackupError> {
        let Ok(found) = target.symlink_metadata() else { return Ok(()) };
        if target.canonicalize().is_ok_and(|target| *target == *self.path) {
            return Err(BackupError::Itself(target.to_owned()));
        }
        if !force {
            return Err(BackupError::Exists(target.to_owned()));
        }
        if !found.is_file() {
            let source = io::Error::other("it is no regular file");
            return Err(BackupError::Io { path: target.to_owned(), source });
        }
        let logs = ["-wal", "-journal"].map(|suffix| beside(target, suffix));
        match logs.into_iter().find(|log| log.metadata().is_ok_and(|found| found.len() > 0)) {
            Some(log) => Err(BackupError::InUse(log)),
            None => Ok(()),
        }
    }

    /// Copies every page as of one moment.
    fn copy(&self, draft: &Path, on_pages: &mut dyn FnMut(u64, u64)) -> Result<(), BackupError> {
        let fault = |error: rusqlite::Error| Error::of(&Arc::from(draft), &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut copy = Connection::open_with_flags(draft, flags).map_err(fault)?;
        // What is half done is thrown away, and what is done goes to the disk in the end.
        copy.pragma_update(None, "synchronous", false).map_err(fault)?;
        let own = |error: rusqlite::Error| Error::of(&self.path, &error);
        // With a read transaction of its own the copy never starts again, however much is written meanwhile.
        let snapshot = self.connection.unchecked_transaction().map_err(own)?;
        snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(own)?;
        let copying = Copying::new(&snapshot, &mut copy).map_err(fault)?;
        loop {
            let step = copying.step(PAGES).map_err(|error| match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => own(error),
                // Reading may fail as well; mostly it is writing.
                _ => fault(error),
            })?;
            let progress = copying.progress();
            let [all, left] = [progress.pagecount, progress.remaining].map(|n| u64::try_from(n).unwrap_or(0));
            on_pages(all.saturating_sub(left), all);
            match step {
                StepResult::Done => break,
                StepResult::More => {}
                _ => std::thread::sleep(PAUSE),
            }
        }
        drop(copying);
        drop(snapshot);
        // Pages of a database with a log say so; the copy is to be read without one.
        copy.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).map_err(fault)?;
        copy.close().map_err(|(_, error)| fault(error))?;
        Ok(())
    }
}

/// A copy that is not done yet, under another name beside the one that it is to have. It goes away with this.
struct Draft {
    path: PathBuf,
    file: File,
    published: bool,
}

impl Draft {
    /// Takes the place of what an earlier backup, killed, may have left.
    fn begin(target: &Path) -> Result<Self, BackupError> {
        let path = beside(target, ".partial");
        let io = |source| BackupError::Io { path: path.clone(), source };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::UnderWay(target.to_owned())),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let draft = Self { path: path.clone(), file, published: false };
        draft.sweep();
        draft.file.set_len(0).map_err(io)?;
        Ok(draft)
    }

    /// Removes what SQLite may have left beside it.
    fn sweep(&self) {
        for suffix in ["-wal", "-shm", "-journal"] {
            // Mostly there is none.
            drop(std::fs::remove_file(beside(&self.path, suffix)));
        }
    }

    /// Puts it on the disk and gives it its name; returns its size.
    fn publish(mut self, target: &Path, force: bool) -> Result<u64, BackupError> {
        let io = |source| BackupError::Io { path: target.to_owned(), source };
        self.file.sync_all().map_err(io)?;
        let bytes = self.file.metadata().map_err(io)?.len();
        if force {
            std::fs::rename(&self.path, target).map_err(io)?;
        } else {
            match renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE) {
                Ok(()) => {}
                Err(rustix::io::Errno::EXIST) => return Err(BackupError::Exists(target.to_owned())),
                // Not every file system can; the name was free a moment ago.
                Err(rustix::io::Errno::INVAL) => std::fs::rename(&self.path, target).map_err(io)?,
                Err(errno) => return Err(io(errno.into())),
            }
        }
        self.published = true;
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        Ok(bytes)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            self.sweep();
            // Should it stay, the next backup of that name takes its place.
            drop(std::fs::remove_file(&self.path));
        }
    }
}
