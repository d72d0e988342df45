//! A segment with its latest version: what the next answer is compared with, and what readers of the copy are told.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::{Columns, Moment, SegmentId, StoredDocument};
use crate::model::{SegmentKey, SegmentState, UnixMs};

/// What a segment is, as far as it was ever seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    /// The latest version's number; 0 before the first.
    pub seq: i64,
    /// What the segment is since.
    pub state: SegmentState,
    /// That version's document; `None` before the first, and where a delete left none.
    pub document: Option<StoredDocument>,
    /// When that version was modified, as the provider says.
    pub modified_at: Option<UnixMs>,
    /// Who modified it, as the provider says; untrusted text.
    pub modified_by: Option<String>,
    /// The provider's own revision number of it.
    pub revision: Option<i64>,
    /// Validator for the next request.
    pub etag: Option<String>,
    /// Whether the last poll of it said 404.
    pub not_found: bool,
}

/// A segment as it is now, and what is told with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentNow {
    /// Its row.
    pub id: SegmentId,
    /// Its name.
    pub key: SegmentKey,
    /// The provider's word.
    pub provider: Arc<str>,
    /// Whether the configuration names it.
    pub tracked: bool,
    /// What it is.
    pub latest: Latest,
    /// When a poll first saw the latest version.
    pub observed_at: Option<UnixMs>,
    /// The last poll that still saw the state before.
    pub changed_after: Option<UnixMs>,
    /// The last answer, if there was one.
    pub checked: Option<Moment>,
}

// Both have the columns that `Latest::from_row` reads.
const LATEST: &str = "
    SELECT s.version, s.state, s.etag, s.not_found, v.hash, v.modified_at, v.modified_by, v.revision, v.document
    FROM segments AS s
    LEFT JOIN versions AS v ON v.segment_id = s.id AND v.seq = s.version
    WHERE s.id = ?1";

const NOW: &str = "
    SELECT s.id, src.name AS source, s.key, src.provider, s.tracked, s.version, s.state, s.etag, s.not_found,
        s.last_checked_at, s.checked_boot_ms, v.hash, v.modified_at, v.modified_by, v.revision, v.document,
        v.observed_at, v.changed_after
    FROM segments AS s
    JOIN sources AS src ON src.id = s.source_id
    LEFT JOIN versions AS v ON v.segment_id = s.id AND v.seq = s.version";

impl Latest {
    /// That of a segment that was never seen.
    pub const fn unseen() -> Self {
        Self {
            seq: 0,
            state: SegmentState::Pending,
            document: None,
            modified_at: None,
            modified_by: None,
            revision: None,
            etag: None,
            not_found: false,
        }
    }

    /// That of the segment of a row.
    pub(super) fn of(connection: &Connection, segment: SegmentId) -> rusqlite::Result<Option<Self>> {
        connection.prepare_cached(LATEST)?.query_row([segment], Self::from_row).optional()
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let document = match (row.get::<_, Option<Arc<str>>>("document")?, row.get("hash")?) {
            (Some(text), Some(hash)) => Some(StoredDocument { text, hash }),
            _ => None,
        };
        Ok(Self {
            seq: row.get("version")?,
            state: row.word("state")?,
            document,
            modified_at: row.maybe_time("modified_at")?,
            modified_by: row.get("modified_by")?,
            revision: row.get("revision")?,
            etag: row.get("etag")?,
            not_found: row.get::<_, i64>("not_found")? > 0,
        })
    }
}

impl SegmentNow {
    /// The segment of a row.
    pub(super) fn of(connection: &Connection, segment: SegmentId) -> rusqlite::Result<Option<Self>> {
        Self::find(connection, "s.id = ?1", [segment])
    }

    /// The segment of that name.
    pub(super) fn named(connection: &Connection, key: &SegmentKey) -> rusqlite::Result<Option<Self>> {
        Self::find(connection, "src.name = ?1 AND s.key = ?2", params![key.source.as_str(), key.id])
    }

    fn find(connection: &Connection, term: &str, values: impl Params) -> rusqlite::Result<Option<Self>> {
        connection.prepare_cached(&format!("{NOW} WHERE {term}"))?.query_row(values, Self::from_row).optional()
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let boot_ms = row.get("checked_boot_ms")?;
        Ok(Self {
            id: row.get("id")?,
            key: row.key()?,
            provider: row.get("provider")?,
            tracked: row.get("tracked")?,
            latest: Latest::from_row(row)?,
            observed_at: row.maybe_time("observed_at")?,
            changed_after: row.maybe_time("changed_after")?,
            checked: row.maybe_time("last_checked_at")?.map(|wall| Moment { wall, boot_ms }),
        })
    }
}
