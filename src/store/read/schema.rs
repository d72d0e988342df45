//! What the file tells of changes of a provider's schema: read once after a start, before the first answer is committed.

use rusqlite::{Connection, params};

use super::{Error, Reader, Readers, VersionEntry, changes_of};
use crate::drift::{SPAN, Sign};
use crate::model::UnixMs;
use crate::store::{Columns, SegmentId, SourceId};

/// No more versions are read back: with a longer history of one day, the newest count.
const MOST: u32 = 20_000;

/// What the file tells of the time in which a change of a source's schema can go on.
#[derive(Clone, Debug, Default)]
pub struct SchemaPast {
    /// Updates, oldest first, each with its segment and whether it is known to be nothing but a change of the schema.
    pub versions: Vec<(SegmentId, VersionEntry, bool)>,
    /// When each segment was last asked for.
    pub answered: Vec<(SegmentId, UnixMs)>,
    /// The changes that go on, and when each was last seen.
    pub events: Vec<(Sign, UnixMs)>,
}

impl Readers {
    /// What is known at one moment of changes of a source's schema that may go on at `now`.
    pub async fn schema_past(&self, source: SourceId, now: UnixMs) -> Result<SchemaPast, Error> {
        self.read(move |reader| reader.schema_past(source, now.minus(SPAN))).await
    }
}

impl Reader {
    fn schema_past(&self, source: SourceId, since: UnixMs) -> Result<SchemaPast, Error> {
        self.read(|connection| {
            // One moment.
            let moment = connection.unchecked_transaction()?;
            past(&moment, source, since)
        })
    }
}

fn past(connection: &Connection, source: SourceId, since: UnixMs) -> rusqlite::Result<SchemaPast> {
    let mut events = Vec::new();
    let mut first = since;
    let mut statement = connection.prepare(
        "SELECT path, kind, max(observed_at) AS observed_at, max(last_seen_at) AS last_seen_at FROM schema_events
         WHERE source_id = ?1 AND last_seen_at >= ?2 GROUP BY path, kind",
    )?;
    let mut rows = statement.query(params![source, since.0])?;
    while let Some(row) = rows.next()? {
        // The witnesses that made it an event are older than it.
        first = first.min(row.time("observed_at")?.minus(SPAN));
        events.push((Sign { path: row.get("path")?, kind: row.word("kind")? }, row.time("last_seen_at")?));
    }
    let (columns, tables) = (VersionEntry::COLUMNS, VersionEntry::TABLES);
    let mut statement = connection.prepare(&format!(
        "SELECT {columns}, v.segment_id,
            v.cause IS NOT NULL OR EXISTS (SELECT 1 FROM schema_versions AS x WHERE x.version_id = v.id) AS is_told
         FROM {tables}
         WHERE v.observed_at >= ?2 AND +s.source_id = ?1 AND v.op = 'update'
         ORDER BY v.observed_at DESC, v.id DESC LIMIT {MOST}"
    ))?;
    let versions = statement.query_map(params![source, first.0], |row| {
        let mut entry = VersionEntry::from_row(row)?;
        entry.changes = changes_of(connection, entry.id)?;
        Ok((row.get("segment_id")?, entry, row.get("is_told")?))
    })?;
    let mut versions = versions.collect::<rusqlite::Result<Vec<_>>>()?;
    versions.reverse();
    let mut statement = connection
        .prepare("SELECT id, last_checked_at FROM segments WHERE source_id = ?1 AND last_checked_at >= ?2")?;
    let answered = statement
        .query_map(params![source, since.0], |row| Ok((row.get("id")?, row.time("last_checked_at")?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(SchemaPast { versions, answered, events })
}
