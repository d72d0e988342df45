//! What the configuration names, made known to the file; and what the file knows of it.
//!
//! History is never removed here: what is no longer named is kept, and no longer tracked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Row, params};

use super::{Fault, Store, Writing};
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
            let row = |id: &Arc<str>| Ok((Arc::clone(id), track.query_row(params![source, id], |row| row.get("id"))?));
            ids.iter().map(row).collect()
        })
        .await
    }
}

const TRACK: &str = "
    INSERT INTO segments (source_id, key, tracked) VALUES (?1, ?2, 1)
    ON CONFLICT (source_id, key) DO UPDATE SET tracked = 1
    RETURNING id";

fn declare(writing: &Writing<'_>, declared: &[DeclareSource], now: Now) -> Result<Declared, Fault> {
    let connection: &Connection = writing;
    writing.tick(now)?;
    let sources: Vec<_> = declared.iter().map(|source| upsert(connection, source, now)).collect::<Result<_, _>>()?;
    let retired = retired(connection, &sources)?;
    let mut wishes = declared.iter().zip(&sources).map(|(declared, known)| (known.id, Wish::of(declared))).collect();
    let mut segments = follow(connection, &mut wishes, now)?;
    for (source, known) in declared.iter().zip(&sources) {
        let Some(wish) = wishes.get_mut(&known.id) else { continue };
        let mut track = connection.prepare_cached(TRACK)?;
        for id in source.segments.iter().filter_map(|id| wish.named.take(id)) {
            let row = track.query_row(params![known.id, id], |row| row.get("id"))?;
            segments.push(Known::new(row, SegmentKey::new(source.name.clone(), id)));
        }
    }
    Ok(Declared { sources, retired, segments })
}

/// Which segments of a source are to be tracked.
struct Wish {
    source: SourceName,
    all: bool,
    /// Those named that were not found yet.
    named: HashSet<Arc<str>>,
}

impl Wish {
    fn of(source: &DeclareSource) -> Self {
        Self { source: source.name.clone(), all: source.all, named: source.segments.iter().cloned().collect() }
    }

    /// The id of a segment that is wanted.
    fn take(&mut self, key: &str) -> Option<Arc<str>> {
        self.named.take(key).or_else(|| self.all.then(|| key.into()))
    }
}

/// Tracks what is wanted of the segments that the file knows, and nothing else. Only what that changes is written: nothing,
/// at most starts.
fn follow(connection: &Connection, wishes: &mut HashMap<SourceId, Wish>, now: Now) -> Result<Vec<Known>, Fault> {
    let (mut found, mut turned) = (Vec::new(), Vec::new());
    let mut all = connection.prepare(
        "SELECT id, source_id, key, tracked, last_checked_at, checked_boot_ms, failures, state FROM segments
         ORDER BY id",
    )?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        // By their places, for there may be many rows, and names are looked up each time.
        let (id, key) = (row.get::<_, SegmentId>(0)?, row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?);
        let wish = wishes.get_mut(&row.get(1)?);
        let wanted = wish.and_then(|wish| Some(SegmentKey::new(wish.source.clone(), wish.take(key)?)));
        if row.get::<_, bool>(3)? != wanted.is_some() {
            turned.push((id, wanted.is_some()));
        }
        found.extend(wanted.map(|key| known(row, id, key, now)).transpose()?);
    }
    let mut turn = connection.prepare("UPDATE segments SET tracked = ?2 WHERE id = ?1")?;
    for (segment, is_wanted) in turned {
        turn.execute(params![segment, is_wanted])?;
    }
    Ok(found)
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

impl Known {
    /// A segment that the file did not know.
    fn new(id: SegmentId, key: SegmentKey) -> Self {
        Self { id, key, state: SegmentState::Pending, checked_ago: None, failures: 0 }
    }
}

/// A row of [`follow`].
fn known(row: &Row<'_>, id: SegmentId, key: SegmentKey, now: Now) -> rusqlite::Result<Known> {
    let (last_checked_at, boot_ms) = (row.get::<_, Option<i64>>(4)?.map(UnixMs), row.get(5)?);
    let checked_ago = last_checked_at.map(|wall| time_since(Moment { wall, boot_ms }, now));
    Ok(Known { id, key, state: row.word(7)?, checked_ago, failures: row.get(6)? })
}
