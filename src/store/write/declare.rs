//! What the configuration names, made known to the file; and what the file knows of it.
//!
//! History is never removed here: what is no longer named is kept, and no longer tracked.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Row, params};

use super::{Fault, Store, tick};
use crate::clock::Now;
use crate::model::{SegmentKey, SegmentState, SourceName, SourceState, UnixMs};
use crate::store::{Columns, Error, Moment, SegmentId, SourceId, time_since};

/// One configured source.
#[derive(Clone, Debug)]
pub struct DeclareSource {
    /// Its configured name, which is its identity in the file.
    pub name: SourceName,
    /// The provider's word.
    pub provider: String,
    /// Where its requests go, without a key.
    pub base_url: String,
    /// Ids of the segments to track.
    pub segments: Vec<Arc<str>>,
    /// Whether every segment of it that the file knows is tracked as well.
    pub all: bool,
}

/// What the file knows of the declared sources.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// The declared sources, in the order given.
    pub sources: Vec<KnownSource>,
    /// The other sources of the file, declared once.
    pub retired: Vec<Retired>,
    /// Every tracked segment.
    pub segments: Vec<Known>,
}

/// A declared source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSource {
    /// Its row.
    pub id: SourceId,
    /// Its configured name.
    pub name: SourceName,
    /// How its last requests went, perhaps in an earlier process.
    pub state: SourceState,
    /// Since when.
    pub state_since: UnixMs,
    /// Why it is not ok.
    pub last_error: Option<String>,
    /// Until when its provider asked not to be asked, perhaps in an earlier process.
    pub held_until: Option<UnixMs>,
}

/// A source that is no longer declared. It may live on under another name: what it sent counts for every account that
/// it may have been of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    /// Its row.
    pub id: SourceId,
    /// The provider's word.
    pub provider: String,
    /// Where its requests went.
    pub base_url: String,
    /// Until when its provider asked not to be asked.
    pub held_until: Option<UnixMs>,
}

/// A tracked segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its row.
    pub id: SegmentId,
    /// Its name.
    pub key: SegmentKey,
    /// What it is.
    pub state: SegmentState,
    /// How long ago the last answer was, by the clock from boot where it was this boot.
    pub checked_ago: Option<Duration>,
    /// Failed or malformed polls since.
    pub failures: u32,
}

impl Store {
    /// Takes over the configuration: these sources and segments are tracked from now on, and no others of the file.
    /// A source that now points elsewhere (provider or base URL) keeps its history and loses its validators.
    pub async fn declare(&self, sources: Vec<DeclareSource>, now: Now) -> Result<Declared, Error> {
        self.run(move |connection| declare(connection, &sources, now)).await
    }
}

impl Store {
    /// Tracks further segments of a source from now on; returns their rows.
    pub async fn track(&self, source: SourceId, ids: Vec<Arc<str>>) -> Result<Vec<(Arc<str>, SegmentId)>, Error> {
        self.run(move |connection| {
            let mut track = connection.prepare_cached(TRACK)?;
            let row = |id: Arc<str>| Ok((Arc::clone(&id), track.query_row(params![source, id], |row| row.get("id"))?));
            ids.into_iter().map(row).collect()
        })
        .await
    }
}

const TRACK: &str = "
    INSERT INTO segments (source_id, key, tracked) VALUES (?1, ?2, 1)
    ON CONFLICT (source_id, key) DO UPDATE SET tracked = 1
    RETURNING id";

fn declare(connection: &Connection, sources: &[DeclareSource], now: Now) -> Result<Declared, Fault> {
    tick(connection, now)?;
    connection.execute("UPDATE segments SET tracked = 0 WHERE tracked = 1", [])?;
    let sources: Vec<_> = sources.iter().map(|source| upsert(connection, source, now)).collect::<Result<_, _>>()?;
    let retired = retired(connection, &sources)?;
    let mut statement = connection.prepare(
        "SELECT s.id, src.name AS source, s.key, s.state, s.last_checked_at, s.checked_boot_ms, s.failures
         FROM segments AS s
         JOIN sources AS src ON src.id = s.source_id
         WHERE s.tracked = 1
         ORDER BY s.id",
    )?;
    let segments = statement.query_map([], |row| known(row, now))?.collect::<Result<_, _>>()?;
    Ok(Declared { sources, retired, segments })
}

fn upsert(connection: &Connection, source: &DeclareSource, now: Now) -> Result<KnownSource, Fault> {
    let name = source.name.as_str();
    connection.execute(
        "UPDATE segments SET etag = NULL
         WHERE source_id = (SELECT id FROM sources WHERE name = ?1 AND (provider <> ?2 OR base_url <> ?3))",
        params![name, source.provider, source.base_url],
    )?;
    let known = connection.query_row(
        "INSERT INTO sources (name, provider, base_url, state, state_since) VALUES (?1, ?2, ?3, 'ok', ?4)
         ON CONFLICT (name) DO UPDATE SET provider = excluded.provider, base_url = excluded.base_url
         RETURNING id, state, state_since, last_error, held_until",
        params![name, source.provider, source.base_url, now.wall.0],
        |row| {
            Ok(KnownSource {
                id: row.get("id")?,
                name: source.name.clone(),
                state: row.word("state")?,
                state_since: row.time("state_since")?,
                last_error: row.get("last_error")?,
                held_until: row.maybe_time("held_until")?,
            })
        },
    )?;
    if source.all {
        connection.execute("UPDATE segments SET tracked = 1 WHERE source_id = ?1", [known.id])?;
    }
    let mut track = connection.prepare_cached(TRACK)?;
    for key in &source.segments {
        track.query_row(params![known.id, key], |_| Ok(()))?;
    }
    Ok(known)
}

fn retired(connection: &Connection, declared: &[KnownSource]) -> rusqlite::Result<Vec<Retired>> {
    let mut statement = connection.prepare("SELECT id, provider, base_url, held_until FROM sources ORDER BY id")?;
    let all = statement.query_map([], |row| {
        let held_until = row.maybe_time("held_until")?;
        Ok(Retired { id: row.get("id")?, provider: row.get("provider")?, base_url: row.get("base_url")?, held_until })
    })?;
    let is_other = |found: &rusqlite::Result<Retired>| {
        found.as_ref().map_or(true, |found| declared.iter().all(|source| source.id != found.id))
    };
    all.filter(is_other).collect()
}

fn known(row: &Row<'_>, now: Now) -> rusqlite::Result<Known> {
    let boot_ms = row.get("checked_boot_ms")?;
    let last_checked_at = row.maybe_time("last_checked_at")?;
    Ok(Known {
        id: row.get("id")?,
        key: row.key()?,
        state: row.word("state")?,
        checked_ago: last_checked_at.map(|wall| time_since(Moment { wall, boot_ms }, now)),
        failures: row.get("failures")?,
    })
}
