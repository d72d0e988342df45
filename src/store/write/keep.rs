//! What the daemon reads back of a segment, and the rows that it lets go.
//!
//! Only old, finished polls are ever removed; the history is not touched here.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Fault, Store, StoredDocument};
use crate::clock::Now;
use crate::model::SegmentState;
use crate::store::{Columns, Error, SegmentId};

/// What a segment is, as far as it was ever seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    /// The latest version's number; 0 before the first.
    pub seq: i64,
    /// What the segment is since.
    pub state: SegmentState,
    /// That version's document; `None` before the first, and where a delete left none.
    pub document: Option<StoredDocument>,
    /// The provider's own revision number of that version.
    pub revision: Option<i64>,
    /// Validator for the next request.
    pub etag: Option<String>,
    /// Whether the last poll of it said 404.
    pub not_found: bool,
}

impl Store {
    /// What the file knows of a segment.
    pub async fn latest(&self, segment: SegmentId) -> Result<Latest, Error> {
        self.run(move |connection| latest(connection, segment)).await
    }

    /// Removes polls that are older than `keep`, looking at the `batch` oldest rows: call it again while it
    /// removes any. Unfinished ones stay. Rows of this boot are aged by the clock from boot, so a wall clock that is set
    /// forth does not empty the ledger. Returns how many it removed.
    pub async fn prune(&self, now: Now, keep: Duration, batch: usize) -> Result<usize, Error> {
        self.run(move |connection| prune(connection, now, keep, batch)).await
    }
}

fn latest(connection: &Connection, segment: SegmentId) -> Result<Latest, Fault> {
    let found = connection
        .prepare_cached(
            "SELECT s.version, s.state, s.etag, s.not_found, v.hash, v.revision, v.document
             FROM segments AS s
             LEFT JOIN versions AS v ON v.segment_id = s.id AND v.seq = s.version
             WHERE s.id = ?1",
        )?
        .query_row([segment], |row| {
            let document = match (row.get::<_, Option<Arc<str>>>("document")?, row.get("hash")?) {
                (Some(text), Some(hash)) => Some(StoredDocument { text, hash }),
                _ => None,
            };
            Ok(Latest {
                seq: row.get("version")?,
                state: row.word("state")?,
                document,
                revision: row.get("revision")?,
                etag: row.get("etag")?,
                not_found: row.get::<_, i64>("not_found")? > 0,
            })
        })
        .optional()?;
    found.ok_or_else(|| Fault::Conflict(format!("there is no segment {}", segment.0)))
}

fn prune(connection: &Connection, now: Now, keep: Duration, batch: usize) -> Result<usize, Fault> {
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let batch = i64::try_from(batch).unwrap_or(i64::MAX);
    // What an earlier boot left is at least as old as this boot, whatever the wall clock says.
    let removed = connection
        .prepare_cached(
            "DELETE FROM polls WHERE id IN (
                SELECT p.id FROM (SELECT id, started_at, boot_ms, outcome FROM polls ORDER BY id LIMIT ?1) AS p
                JOIN clock AS c
                WHERE p.outcome IS NOT NULL AND CASE
                    WHEN p.id >= c.first_poll THEN p.boot_ms < ?3
                    ELSE p.started_at < ?2 OR 0 < ?3
                END)",
        )?
        .execute(params![batch, now.wall.0.saturating_sub(keep_ms), now.boot_ms.saturating_sub(keep_ms)])?;
    Ok(removed)
}
