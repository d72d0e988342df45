//! Whether the file is whole: what SQLite says of it, and whether every version is as it was written.
//!
//! All of it in one read transaction, so that a daemon may go on writing meanwhile. What is damaged is a finding, never a
//! failure, as long as anything else can still be read.

mod order;
mod version;

use rusqlite::{Connection, ErrorCode};

use super::{Checkpoint, Error, Reader, Stored, end_seal};
use crate::model::{Check, SegmentKey, SourceName};

/// SQLite stops after so many problems of its own.
const FILE_PROBLEMS: u32 = 100;

/// One thing that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was checked.
    pub check: Check,
    /// The segment that it is about, where it is about one.
    pub segment: Option<SegmentKey>,
    /// The version's number within its segment, where it is about one.
    pub seq: Option<i64>,
    /// The version's row, where it is about one.
    pub row: Option<i64>,
    /// What is wrong, in words.
    pub what: String,
}

/// What there was to check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments that were ever seen.
    pub segments: u64,
    /// Versions.
    pub versions: u64,
    /// Rows of `changes`.
    pub changes: u64,
    /// Versions that are no longer kept.
    pub removed: u64,
    /// How many things are wrong.
    pub findings: u64,
}

/// Told while it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// SQLite reads the whole file; nothing can be told of how far it is.
    File,
    /// So many of so many versions are done.
    Versions {
        /// Done.
        done: u64,
        /// In all.
        all: u64,
    },
}

impl Reader {
    /// Checks everything, and tells each finding and each step as it comes. Fails only where the file cannot be read at
    /// all.
    pub fn verify(
        &self,
        on_step: &mut dyn FnMut(Step),
        on_finding: &mut dyn FnMut(Finding),
    ) -> Result<Verified, Error> {
        self.read(|connection| {
            // A read that is given up half-way has nothing to take back.
            let snapshot = connection.unchecked_transaction()?;
            // The moment is that of the first read.
            snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            let mut audit = Audit { connection: &snapshot, on_step, on_finding, found: Verified::default() };
            for part in [Audit::file, Audit::references, Audit::versions, Audit::segments] {
                let done = part(&mut audit);
                audit.survive(done)?;
            }
            Ok(audit.found)
        })
    }
}

/// A check that is under way.
struct Audit<'a> {
    connection: &'a Connection,
    on_step: &'a mut dyn FnMut(Step),
    on_finding: &'a mut dyn FnMut(Finding),
    found: Verified,
}

impl Audit<'_> {
    fn find(&mut self, finding: Finding) {
        self.found.findings += 1;
        (self.on_finding)(finding);
    }

    /// A finding about the file as a whole.
    fn find_in_file(&mut self, check: Check, what: String) {
        self.find(Finding { check, segment: None, seq: None, row: None, what });
    }

    /// A part of the file that cannot be read is a finding; that nothing can be read at all is a failure.
    fn survive(&mut self, done: rusqlite::Result<()>) -> rusqlite::Result<()> {
        match done {
            Err(error) if is_damage(&error) => {
                self.find_in_file(Check::File, format!("cannot be read any further: {error}"));
                Ok(())
            }
            other => other,
        }
    }

    fn file(&mut self) -> rusqlite::Result<()> {
        (self.on_step)(Step::File);
        let mut statement = self.connection.prepare(&format!("PRAGMA integrity_check({FILE_PROBLEMS})"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let told: String = row.get(0)?;
            for line in told.lines().filter(|line| *line != "ok" && !line.starts_with("*** in database")) {
                self.find_in_file(Check::File, line.to_owned());
            }
        }
        Ok(())
    }

    fn references(&mut self) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare("SELECT \"table\", rowid, parent FROM pragma_foreign_key_check")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (table, rowid, parent): (String, Option<i64>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let rowid = rowid.map(|rowid| format!(" {rowid}")).unwrap_or_default();
            self.find_in_file(
                Check::Reference,
                format!("{table} row{rowid} names a row of {parent} that is not there"),
            );
        }
        Ok(())
    }
}

/// Whether the error is the file's and not the machine's.
fn is_damage(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase),
        None => true,
    }
}

/// A segment's name, as far as the file still knows it.
fn key(source: Option<String>, key: Option<String>) -> Option<SegmentKey> {
    Some(SegmentKey::new(SourceName::new(source?), key?))
}
