//! Whether the open files are still those that everybody else finds at the database's path.
//!
//! Who deletes, moves or replaces a file that is open gets no error, and neither does who goes on writing to it: it would
//! be writing where nobody reads any more, or beside a log that others write. Only names are looked at here; to open one
//! of the files and close it again would give up every lock that this process holds on it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;
use crate::store::beside;

/// What makes a file the same one whatever its name: its device and inode.
type Identity = (u64, u64);

/// The files of an open database, as they were when it was opened.
#[derive(Debug)]
pub(super) struct Place {
    path: Arc<Path>,
    files: Vec<(&'static str, PathBuf, Identity)>,
}

impl Place {
    /// The files that are open now; one that is not there yet is not looked after.
    pub(super) fn of(path: &Arc<Path>) -> Self {
        let all = [("it", ""), ("its -wal file", "-wal"), ("its -shm file", "-shm"), ("its -lock file", "-lock")];
        let open = |(what, suffix)| {
            let name = beside(path, suffix);
            let identity = identity(&name).ok().flatten()?;
            Some((what, name, identity))
        };
        Self { path: Arc::clone(path), files: all.into_iter().filter_map(open).collect() }
    }

    /// The error of a file that is no longer at its place. A folder that cannot be searched tells nothing.
    pub(super) fn check(&self) -> Result<(), Error> {
        for (what, name, known) in &self.files {
            let happened = match identity(name) {
                Ok(Some(found)) if found != *known => "replaced",
                Ok(None) => "deleted or moved",
                _ => continue,
            };
            return Err(Error::Displaced { path: Arc::clone(&self.path), what, happened });
        }
        Ok(())
    }

    /// Once the files are closed: sets a log aside that does not belong to the database beside it. The next one to open
    /// that database would take the log's pages for its own.
    pub(super) fn part(&self) -> io::Result<()> {
        let is_home = |suffix: &str| {
            let name = beside(&self.path, suffix);
            let known = self.files.iter().find(|(_, known, _)| *known == name);
            known.is_some_and(|(_, _, known)| identity(&name).is_ok_and(|found| found == Some(*known)))
        };
        let log = beside(&self.path, "-wal");
        match log.metadata() {
            Ok(found) if found.len() > 0 && !(is_home("") && is_home("-wal")) => {
                std::fs::rename(&log, beside(&self.path, "-wal.astray"))
            }
            _ => Ok(()),
        }
    }
}

fn identity(name: &Path) -> io::Result<Option<Identity>> {
    match name.metadata() {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
