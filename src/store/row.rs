//! Rows of the history as plain words, read the same way by the writer and by readers.
//!
//! A word that the file should not hold is an error of the file, never a panic or a guess.

use std::str::FromStr;
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{CachedStatement, Connection, Row, RowIndex};

use super::{VersionEntry, VersionId};
use crate::model::{Change, SegmentKey, SourceName, UnixMs};

/// Typed columns of a row.
pub(super) trait Columns {
    /// A word such as an op or a state, by name or place.
    fn word<T>(&self, column: impl RowIndex + Copy) -> rusqlite::Result<T>
    where
        T: FromStr<Err: std::error::Error + Send + Sync + 'static>;
    /// A time.
    fn time(&self, column: &str) -> rusqlite::Result<UnixMs>;
    /// A time, or NULL.
    fn maybe_time(&self, column: &str) -> rusqlite::Result<Option<UnixMs>>;
    /// The columns `source` and `key`.
    fn key(&self) -> rusqlite::Result<SegmentKey>;
}

impl Columns for Row<'_> {
    fn word<T>(&self, column: impl RowIndex + Copy) -> rusqlite::Result<T>
    where
        T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
    {
        self.get_ref(column)?.as_str()?.parse().map_err(|error| {
            let at = column.idx(self.as_ref()).unwrap_or(0);
            rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error))
        })
    }

    fn time(&self, column: &str) -> rusqlite::Result<UnixMs> {
        self.get(column).map(UnixMs)
    }

    fn maybe_time(&self, column: &str) -> rusqlite::Result<Option<UnixMs>> {
        Ok(self.get::<_, Option<i64>>(column)?.map(UnixMs))
    }

    fn key(&self) -> rusqlite::Result<SegmentKey> {
        Ok(SegmentKey::new(SourceName::new(self.get::<_, Arc<str>>("source")?), self.get::<_, Arc<str>>("key")?))
    }
}

impl VersionEntry {
    /// The columns that [`VersionEntry::from_row`] reads, without the document; `v` is a row of `versions`.
    pub(super) const COLUMNS: &'static str = "
        v.id, src.name AS source, s.key, v.seq, v.op, v.cause, v.observed_at, v.valid_to, v.changed_after,
        v.modified_at, v.modified_by, v.revision, v.missed_revisions, v.hash, v.poll_id,
        b.revision AS revision_before, b.modified_at AS modified_at_before, b.modified_by AS modified_by_before";

    /// The tables behind [`VersionEntry::COLUMNS`].
    pub(super) const TABLES: &'static str = "
        versions AS v
        JOIN segments AS s ON s.id = v.segment_id
        JOIN sources AS src ON src.id = s.source_id
        LEFT JOIN versions AS b ON b.segment_id = v.segment_id AND b.seq = v.seq - 1";

    /// One row; its changes are still to be read.
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            key: row.key()?,
            seq: row.get("seq")?,
            op: row.word("op")?,
            cause: row.get("cause")?,
            observed_at: row.time("observed_at")?,
            valid_to: row.maybe_time("valid_to")?,
            changed_after: row.maybe_time("changed_after")?,
            modified_at: row.maybe_time("modified_at")?,
            modified_by: row.get("modified_by")?,
            revision: row.get("revision")?,
            revision_before: row.get("revision_before")?,
            modified_at_before: row.maybe_time("modified_at_before")?,
            modified_by_before: row.get("modified_by_before")?,
            missed_revisions: row.get("missed_revisions")?,
            hash: row.get("hash")?,
            poll: row.get("poll_id")?,
            changes: Vec::new(),
        })
    }
}

/// The changes of one version, in folding order.
pub(super) fn changes_of(connection: &Connection, version: VersionId) -> rusqlite::Result<Vec<Change>> {
    let mut statement: CachedStatement<'_> = connection
        .prepare_cached("SELECT op, path, field, old, new FROM changes WHERE version_id = ?1 ORDER BY ordinal")?;
    let rows = statement.query_map([version], |row| {
        Ok(Change {
            op: row.word("op")?,
            path: row.get("path")?,
            field: row.get("field")?,
            old: row.get("old")?,
            new: row.get("new")?,
        })
    })?;
    rows.collect()
}
