//! A row of `versions` with all that its link in the chain covers, read the same way by whoever checks it.

use rusqlite::{Connection, Row};

use super::{Columns, Hash, VersionFields, VersionId, chain_link, changes_of};
use crate::model::{Change, Op, SegmentKey};

/// A row of `versions`, as it is.
pub(super) struct Stored {
    pub(super) id: i64,
    pub(super) source_id: Option<i64>,
    pub(super) segment_id: i64,
    pub(super) segment: Option<SegmentKey>,
    pub(super) seq: i64,
    pub(super) op: Op,
    pub(super) cause: Option<String>,
    pub(super) observed_at: i64,
    pub(super) changed_after: Option<i64>,
    pub(super) modified_at: Option<i64>,
    pub(super) modified_by: Option<String>,
    pub(super) revision: Option<i64>,
    pub(super) missed_revisions: Option<i64>,
    pub(super) hash: Option<Hash>,
    pub(super) chain: Hash,
    pub(super) document: Option<String>,
    pub(super) poll_id: i64,
    pub(super) changes: Vec<Change>,
}

impl Stored {
    /// The tables and columns that [`Stored::read`] reads; `v` is a row of `versions`.
    pub(super) const SELECT: &'static str = "
        SELECT v.id, v.segment_id, v.seq, v.op, v.cause, v.observed_at, v.changed_after, v.modified_at, v.modified_by,
            v.revision, v.missed_revisions, v.hash, v.chain, v.document, v.poll_id,
            s.source_id, s.key, src.name AS source
        FROM versions AS v
        LEFT JOIN segments AS s ON s.id = v.segment_id
        LEFT JOIN sources AS src ON src.id = s.source_id";

    /// One row; `source` and `key` are its segment's.
    pub(super) fn read(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<Self> {
        let id = row.get("id")?;
        Ok(Self {
            id,
            source_id: row.get("source_id")?,
            segment_id: row.get("segment_id")?,
            segment: row.key().ok(),
            seq: row.get("seq")?,
            op: row.word("op")?,
            cause: row.get("cause")?,
            observed_at: row.get("observed_at")?,
            changed_after: row.get("changed_after")?,
            modified_at: row.get("modified_at")?,
            modified_by: row.get("modified_by")?,
            revision: row.get("revision")?,
            missed_revisions: row.get("missed_revisions")?,
            hash: row.get("hash")?,
            chain: row.get("chain")?,
            document: row.get("document")?,
            poll_id: row.get("poll_id")?,
            changes: changes_of(connection, VersionId(id))?,
        })
    }

    /// Whether it, its changes and its place after a row with the chain `previous` are as they were written.
    pub(super) fn follows(&self, previous: &Hash) -> bool {
        chain_link(previous, &self.fields()) == self.chain
    }

    fn fields(&self) -> VersionFields<'_> {
        VersionFields {
            id: self.id,
            source_id: self.source_id.unwrap_or_default(),
            segment_id: self.segment_id,
            key: self.segment.as_ref().map_or("", |key| &key.id),
            seq: self.seq,
            op: self.op.as_str(),
            cause: self.cause.as_deref(),
            observed_at: self.observed_at,
            changed_after: self.changed_after,
            modified_at: self.modified_at,
            modified_by: self.modified_by.as_deref(),
            revision: self.revision,
            missed_revisions: self.missed_revisions,
            hash: self.hash.as_ref().map(<[u8; 32]>::as_slice),
            document: self.document.as_deref(),
            poll_id: self.poll_id,
            changes: &self.changes,
        }
    }
}
