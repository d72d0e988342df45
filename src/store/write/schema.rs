//! Changes of a provider's schema: what is written of them beside a poll's end.

use rusqlite::{Connection, params};

use super::Fault;
use crate::drift::Event;
use crate::model::UnixMs;
use crate::store::SegmentId;

/// What a poll's end shows of changes of the schema.
#[derive(Clone, Debug, Default)]
pub struct SchemaSeen {
    /// New ones, and those that go on.
    pub events: Vec<Event>,
    /// Segment and number of earlier versions that turn out to be nothing but that.
    pub late: Vec<(SegmentId, i64)>,
}

/// Writes what a poll of `source` showed.
pub(super) fn note(connection: &Connection, source: i64, now: UnixMs, seen: &SchemaSeen) -> Result<(), Fault> {
    for Event { sign, segments, is_new } in &seen.events {
        let sql = if *is_new {
            "INSERT INTO schema_events (source_id, path, kind, segments, observed_at, last_seen_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5)"
        } else {
            "UPDATE schema_events SET segments = max(segments, ?4), last_seen_at = ?5
             WHERE id = (SELECT max(id) FROM schema_events WHERE source_id = ?1 AND path = ?2 AND kind = ?3)"
        };
        let segments = i64::try_from(*segments).unwrap_or(i64::MAX);
        connection.prepare_cached(sql)?.execute(params![source, sign.path, sign.kind.as_str(), segments, now.0])?;
    }
    let mut statement = connection.prepare_cached(
        "INSERT OR IGNORE INTO schema_versions (version_id)
         SELECT id FROM versions WHERE segment_id = ?1 AND seq = ?2",
    )?;
    for (segment, seq) in &seen.late {
        statement.execute(params![segment, seq])?;
    }
    Ok(())
}
