//! What the daemon reads back of a segment through the writer, and the rows that it lets go.
//!
//! Only old, finished polls are ever removed; the history is not touched here.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::{Fault, Store};
use crate::clock::Now;
use crate::store::{Error, Latest, SegmentId};

impl Store {
    /// What the file knows of a segment.
    pub async fn latest(&self, segment: SegmentId) -> Result<Latest, Error> {
        self.run(move |connection| read_latest(connection, segment)).await
    }

    /// Removes polls that are older than `keep`, looking at the `batch` oldest rows: call it again while it
    /// removes any. Unfinished ones stay. Rows of this boot are aged by the clock from boot, so a wall clock that is set
    /// forth does not empty the ledger. Returns how many it removed.
    pub async fn prune(&self, now: Now, keep: Duration, batch: usize) -> Result<usize, Error> {
        self.run(move |connection| prune(connection, now, keep, batch)).await
    }
}

/// What the file knows of a segment.
pub(super) fn read_latest(connection: &Connection, segment: SegmentId) -> Result<Latest, Fault> {
    let found = Latest::of(connection, segment)?;
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
