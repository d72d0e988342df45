//! A file of observations, in one transaction: all of it or nothing.
//!
//! What to write is decided by the caller, line by line; what does not follow the file is a conflict, as for a poll. A
//! process that is killed half-way leaves nothing.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::{Error, Fault, Gone, NewVersion, Observed, Segment, Store, Writing, lock, read_latest};
use crate::clock::Now;
use crate::model::{Outcome, PollKind, SegmentState, SourceName, UnixMs};
use crate::store::{Columns, Hash, Latest, PollId, SegmentId, SourceId, VersionEntry};

/// The right to write observations that somebody else has made, until the transaction ends.
#[derive(Debug)]
pub struct Import<'c> {
    connection: &'c Connection,
    path: &'c Arc<Path>,
    now: Now,
}

/// A source as the file knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedSource {
    /// Its row.
    pub id: SourceId,
    /// The provider's word.
    pub provider: String,
}

/// What the file knows of a segment before the first line about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its row.
    pub id: SegmentId,
    /// The latest version's number; 0 before the first.
    pub seq: i64,
    /// What it is.
    pub state: SegmentState,
    /// When it was last seen to be so; `None` before the first time.
    pub observed_at: Option<UnixMs>,
}

impl Store {
    /// Runs `work` in one transaction, which is kept only if it succeeds. Blocks, and keeps every other job waiting.
    pub fn import<T, E: From<Error>>(&self, now: Now, work: impl FnOnce(&Import<'_>) -> Result<T, E>) -> Result<T, E> {
        let shared = &self.0;
        let mut writer = lock(&shared.writer);
        let Some(writer) = &mut *writer else { return Err(Error::closed(&shared.path).into()) };
        shared.look(writer)?;
        let sql = |error| E::from(Error::of(&shared.path, &error));
        let transaction = writer.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
        let done = work(&Import { connection: &transaction, path: &shared.path, now })?;
        Writing::new(&transaction).tick(now).map_err(sql)?;
        transaction.commit().map_err(sql)?;
        Ok(done)
    }
}

impl Import<'_> {
    fn run<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Error> {
        work(self.connection).map_err(|fault| fault.at(self.path))
    }

    /// The source of that name; `None` where the file does not know it.
    pub fn source(&self, name: &SourceName) -> Result<Option<ImportedSource>, Error> {
        self.run(|connection| {
            let found = connection
                .prepare_cached("SELECT id, provider FROM sources WHERE name = ?1")?
                .query_row([name.as_str()], |row| {
                    Ok(ImportedSource { id: row.get("id")?, provider: row.get("provider")? })
                })
                .optional()?;
            Ok(found)
        })
    }

    /// Makes a source known.
    pub fn add_source(&self, name: &SourceName, provider: &str, base_url: &str) -> Result<SourceId, Error> {
        self.run(|connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO sources (name, provider, base_url, state, state_since) VALUES (?1, ?2, ?3, 'ok', ?4)",
            )?;
            Ok(SourceId(insert.insert(params![name.as_str(), provider, base_url, self.now.wall.0])?))
        })
    }

    /// The row that versions of `source` are of.
    pub fn begin(&self, source: SourceId) -> Result<PollId, Error> {
        self.run(|connection| {
            let mut insert = connection
                .prepare_cached("INSERT INTO polls (source_id, kind, started_at, boot_ms) VALUES (?1, ?2, ?3, ?4)")?;
            let values = params![source, PollKind::Import.as_str(), self.now.wall.0, self.now.boot_ms];
            Ok(PollId(insert.insert(values)?))
        })
    }

    /// Closes that row.
    pub fn finish(&self, poll: PollId, outcome: Outcome, bytes: u64, error: Option<&str>) -> Result<(), Error> {
        self.run(|connection| {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            connection
                .prepare_cached(
                    "UPDATE polls SET finished_at = started_at, outcome = ?2, bytes = ?3, error = ?4 WHERE id = ?1",
                )?
                .execute(params![poll, outcome.as_str(), bytes, error])?;
            Ok(())
        })
    }

    /// How a segment stands; `None` where the file does not know it.
    pub fn standing(&self, source: SourceId, id: &str) -> Result<Option<Standing>, Error> {
        self.run(|connection| {
            let found = connection
                .prepare_cached(
                    "SELECT s.id, s.version, s.state, max(v.observed_at, coalesce(s.confirmed_at, v.observed_at)) AS seen
                     FROM segments AS s
                     LEFT JOIN versions AS v ON v.segment_id = s.id AND v.seq = s.version
                     WHERE s.source_id = ?1 AND s.key = ?2",
                )?
                .query_row(params![source, id], |row| {
                    Ok(Standing {
                        id: row.get("id")?,
                        seq: row.get("version")?,
                        state: row.word("state")?,
                        observed_at: row.maybe_time("seen")?,
                    })
                })
                .optional()?;
            Ok(found)
        })
    }

    /// Makes a segment known, which is not tracked until a configuration names it.
    pub fn add_segment(&self, source: SourceId, id: &str) -> Result<SegmentId, Error> {
        self.run(|connection| {
            let mut insert =
                connection.prepare_cached("INSERT INTO segments (source_id, key, tracked) VALUES (?1, ?2, 0)")?;
            Ok(SegmentId(insert.insert(params![source, id])?))
        })
    }

    /// What the file knows of a segment by now.
    pub fn latest(&self, segment: SegmentId) -> Result<Latest, Error> {
        self.run(|connection| read_latest(connection, segment))
    }

    /// Whether the file already says that at this time the segment had the document with this hash, or, with `None`, that
    /// it was not there.
    pub fn knows(&self, segment: SegmentId, at: UnixMs, hash: Option<&Hash>) -> Result<bool, Error> {
        self.run(|connection| {
            let known = match hash {
                Some(hash) => connection
                    .prepare_cached(
                        "SELECT 1 FROM versions
                         WHERE segment_id = ?1 AND observed_at <= ?2 AND (valid_to IS NULL OR valid_to >= ?2)
                           AND hash = ?3 AND op <> 'delete'",
                    )?
                    .exists(params![segment, at.0, hash])?,
                None => connection
                    .prepare_cached(
                        "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM versions WHERE segment_id = ?1 AND observed_at <= ?2)
                         UNION ALL
                         SELECT 1 FROM versions
                         WHERE segment_id = ?1 AND observed_at <= ?2 AND (valid_to IS NULL OR valid_to >= ?2)
                           AND op = 'delete'",
                    )?
                    .exists(params![segment, at.0])?,
            };
            Ok(known)
        })
    }

    /// Whether the version with this number was observed then, with the document with this hash or with none; `None`
    /// where there is no such version.
    pub fn is_version(
        &self,
        segment: SegmentId,
        seq: i64,
        at: UnixMs,
        hash: Option<&Hash>,
    ) -> Result<Option<bool>, Error> {
        self.run(|connection| {
            let same = connection
                .prepare_cached(
                    "SELECT observed_at = ?3 AND hash IS ?4 FROM versions WHERE segment_id = ?1 AND seq = ?2",
                )?
                .query_row(params![segment, seq, at.0, hash], |row| row.get(0))
                .optional()?;
            Ok(same)
        })
    }

    /// The number of the version that was observed at that very time, with the document with this hash or with none.
    pub fn version_at(&self, segment: SegmentId, at: UnixMs, hash: Option<&Hash>) -> Result<Option<i64>, Error> {
        self.run(|connection| {
            let seq = connection
                .prepare_cached(
                    "SELECT seq FROM versions WHERE segment_id = ?1 AND observed_at = ?2 AND hash IS ?3 LIMIT 1",
                )?
                .query_row(params![segment, at.0, hash], |row| row.get(0))
                .optional()?;
            Ok(seq)
        })
    }

    /// Writes a version on top of the latest one, or of what is no longer kept since.
    pub fn add(
        &self,
        segment: SegmentId,
        version: NewVersion,
        observed: Observed,
        poll: PollId,
        gone: Option<Gone>,
    ) -> Result<VersionEntry, Error> {
        self.run(|connection| {
            let made = Segment::read(connection, segment)?.take_over(connection, version, observed, poll, gone)?;
            // A validator is that of the document before.
            connection
                .prepare_cached("UPDATE segments SET etag = NULL, not_found = 0 WHERE id = ?1")?
                .execute([segment])?;
            Ok(made)
        })
    }

    /// Notes when a segment was last seen to be as its latest version says.
    pub fn confirm(&self, segment: SegmentId, at: UnixMs) -> Result<(), Error> {
        self.run(|connection| {
            connection
                .prepare_cached(
                    "UPDATE segments SET
                        confirmed_at = max(coalesce(confirmed_at, ?2), ?2),
                        checked_boot_ms = CASE WHEN last_checked_at >= ?2 THEN checked_boot_ms END,
                        last_checked_at = max(coalesce(last_checked_at, ?2), ?2)
                     WHERE id = ?1",
                )?
                .execute(params![segment, at.0])?;
            Ok(())
        })
    }
}
