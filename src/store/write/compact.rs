//! Old versions that are let go, and what is left in their place.
//!
//! Each segment keeps its first version, its latest, and the last that has a document. The changes of a version whose
//! predecessor is gone stay as they are: they tell what happened then. What is not as it was written is left where it is, so
//! that nothing done by hand is buried.

use std::cmp::Ordering;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, Fault, Store};
use crate::clock::Now;
use crate::model::UnixMs;
use crate::store::{Checkpoint, Columns, GENESIS, Hash, Stored, end_seal};

/// How far the search for old versions has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    observed_at: i64,
    id: i64,
}

impl Cursor {
    /// Before the oldest version.
    pub const START: Self = Self { observed_at: i64::MIN, id: i64::MIN };
}

/// What one step has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Versions that were removed.
    pub removed: usize,
    /// Versions that are old enough, but not as they were written.
    pub odd: usize,
    /// Where the next step goes on; `None` once there is none.
    pub next: Option<Cursor>,
}

impl Store {
    /// The time that is `keep` ago, as far as the file agrees with the wall clock: `None` while it cannot. A clock that was
    /// set far forth must not cost the history at once, so the oldest request that is still logged must not be much older
    /// than requests are logged for, which is `keep_polls`; those of this boot are pruned by the clock from boot.
    pub async fn long_ago(&self, now: Now, keep: Duration, keep_polls: Duration) -> Result<Option<UnixMs>, Error> {
        self.run(move |connection| {
            let oldest = connection
                .prepare_cached("SELECT started_at FROM polls ORDER BY id LIMIT 1")?
                .query_row([], |row| row.time("started_at"))
                .optional()?;
            let logged_ms = i64::try_from(keep_polls.as_millis()).unwrap_or(i64::MAX);
            Ok(oldest.map(|oldest| UnixMs(oldest.0.saturating_add(logged_ms)).min(now.wall).minus(keep)))
        })
        .await
    }

    /// Removes at most `batch` versions that ended before `ended_before`, looking at some more.
    pub async fn compact(
        &self,
        now: Now,
        ended_before: UnixMs,
        from: Cursor,
        batch: usize,
    ) -> Result<Compacted, Error> {
        self.run(move |connection| compact(connection, now, ended_before, from, batch)).await
    }
}

/// Versions in the order of time, and whether each can go. Only a delete has no document, and no delete follows another: the
/// last that has one is the latest or the one before it.
const CANDIDATES: &str = "
    SELECT v.id, v.observed_at, v.valid_to < ?3 AND v.seq > 1 AND v.seq < s.version AND NOT (
            v.seq = s.version - 1 AND EXISTS (
                SELECT 1 FROM versions AS l
                WHERE l.segment_id = v.segment_id AND l.seq = s.version AND l.hash IS NULL)) AS can_go
    FROM versions AS v
    JOIN segments AS s ON s.id = v.segment_id
    WHERE (v.observed_at, v.id) > (?1, ?2) AND v.observed_at < ?3
    ORDER BY v.observed_at, v.id LIMIT ?4";

/// A step looks at so many times as many versions as it may remove: looking costs little, removing much.
const LOOKS: usize = 20;

fn compact(
    connection: &Connection,
    now: Now,
    ended_before: UnixMs,
    from: Cursor,
    batch: usize,
) -> Result<Compacted, Fault> {
    let looks = batch.saturating_mul(LOOKS);
    let limit = i64::try_from(looks).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(CANDIDATES)?;
    let candidates = statement
        .query_map(params![from.observed_at, from.id, ended_before.0, limit], |row| {
            let cursor = Cursor { observed_at: row.get("observed_at")?, id: row.get("id")? };
            Ok((cursor, row.get::<_, Option<bool>>("can_go")? == Some(true)))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let is_last = candidates.len() < looks;
    let mut done = Compacted { removed: 0, odd: 0, next: None };
    for (cursor, can_go) in candidates {
        if done.removed + done.odd >= batch {
            return Ok(done);
        }
        match can_go {
            false => (),
            true if remove(connection, cursor.id, now.wall)? => done.removed += 1,
            true => done.odd += 1,
        }
        done.next = Some(cursor);
    }
    done.next = done.next.filter(|_| !is_last);
    Ok(done)
}

/// Removes one version and joins the runs on both sides of it; `false` where it or what it follows is not as it was
/// written.
fn remove(connection: &Connection, id: i64, now: UnixMs) -> rusqlite::Result<bool> {
    let version = connection
        .prepare_cached(&format!("{} WHERE v.id = ?1", Stored::SELECT))?
        .query_row([id], |row| Stored::read(connection, row))?;
    let left = run(connection, "first_id <= ?1 ORDER BY first_id DESC", id)?;
    let right = run(connection, "first_id = ?1 + 1", id)?;
    if left.as_ref().is_some_and(|left| left.last_id >= id) {
        return Ok(false);
    }
    let left = left.filter(|left| left.last_id == id - 1);
    let previous = match &left {
        Some(left) => Some(left.after),
        None => link(connection, id - 1)?,
    };
    let Some(previous) = previous else { return Ok(false) };
    let is_whole = version.follows(&previous)
        && left.as_ref().is_none_or(Checkpoint::is_whole)
        && right.as_ref().is_none_or(|right| right.is_whole() && right.before == version.chain);
    if !is_whole || !seal_before(connection, &version)? {
        return Ok(false);
    }
    let mut joined = Checkpoint {
        first_id: left.as_ref().map_or(id, |left| left.first_id),
        last_id: right.as_ref().map_or(id, |right| right.last_id),
        before: left.as_ref().map_or(previous, |left| left.before),
        after: right.as_ref().map_or(version.chain, |right| right.after),
        removed_at: now.0,
        seal: GENESIS,
    };
    joined.seal = joined.sealed();
    connection
        .prepare_cached("DELETE FROM checkpoints WHERE first_id BETWEEN ?1 AND ?2")?
        .execute([joined.first_id, joined.last_id])?;
    connection
        .prepare_cached(&format!("INSERT INTO checkpoints ({}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", Checkpoint::COLUMNS))?
        .execute(params![
            joined.first_id,
            joined.last_id,
            joined.before,
            joined.after,
            joined.removed_at,
            joined.seal
        ])?;
    remove_changes(connection, id)?;
    connection.prepare_cached("DELETE FROM versions WHERE id = ?1")?.execute([id])?;
    Ok(true)
}

/// Removes a version's changes, and the names of fields that no other change bears. Paths stay: they are few, and nothing
/// finds the changes of one.
fn remove_changes(connection: &Connection, version: i64) -> rusqlite::Result<()> {
    let fields = connection
        .prepare_cached("SELECT DISTINCT field_id FROM change_rows WHERE version_id = ?1")?
        .query_map([version], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    connection.prepare_cached("DELETE FROM change_rows WHERE version_id = ?1")?.execute([version])?;
    let mut unused = connection.prepare_cached(
        "DELETE FROM fields WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM change_rows WHERE field_id = ?1)",
    )?;
    fields.into_iter().try_for_each(|field| unused.execute([field]).map(drop))
}

/// Seals the end of the version before, where that is still there; `false` where the ends of the two are not what they
/// should be.
fn seal_before(connection: &Connection, version: &Stored) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, id, chain, observed_at, valid_to, end_seal FROM versions
         WHERE segment_id = ?1 AND seq BETWEEN ?2 - 1 AND ?2 + 1",
    )?;
    let (mut before, mut own, mut next) = (None, None, None);
    let mut rows = statement.query([version.segment_id, version.seq])?;
    while let Some(row) = rows.next()? {
        let end = End {
            id: row.get("id")?,
            chain: row.get("chain")?,
            observed_at: row.get("observed_at")?,
            valid_to: row.get("valid_to")?,
            seal: row.get("end_seal")?,
        };
        match version.seq.cmp(&row.get("seq")?) {
            Ordering::Greater => before = Some(end),
            Ordering::Equal => own = Some(end),
            Ordering::Less => next = Some(end),
        }
    }
    let holds = own.is_some_and(|own| own.holds_until(next.as_ref()));
    if !holds || before.as_ref().is_some_and(|before| before.valid_to != Some(version.observed_at)) {
        return Ok(false);
    }
    if let Some(before) = before {
        connection
            .prepare_cached("UPDATE versions SET end_seal = ?2 WHERE id = ?1")?
            .execute(params![before.id, end_seal(&before.chain, version.observed_at)])?;
    }
    Ok(true)
}

/// Until when a version held.
struct End {
    id: i64,
    chain: Hash,
    observed_at: i64,
    valid_to: Option<i64>,
    seal: Option<Hash>,
}

impl End {
    /// Whether it ends as it was written: with the next one, or sealed where that is gone.
    fn holds_until(&self, next: Option<&Self>) -> bool {
        match (self.valid_to, next) {
            (Some(valid_to), Some(next)) => valid_to == next.observed_at && self.seal.is_none(),
            (Some(valid_to), None) => self.seal == Some(end_seal(&self.chain, valid_to)),
            (None, _) => false,
        }
    }
}

fn link(connection: &Connection, id: i64) -> rusqlite::Result<Option<Hash>> {
    connection
        .prepare_cached("SELECT chain FROM versions WHERE id = ?1")?
        .query_row([id], |row| row.get("chain"))
        .optional()
}

fn run(connection: &Connection, term: &str, id: i64) -> rusqlite::Result<Option<Checkpoint>> {
    connection
        .prepare_cached(&format!("SELECT {} FROM checkpoints WHERE {term} LIMIT 1", Checkpoint::COLUMNS))?
        .query_row([id], Checkpoint::from_row)
        .optional()
}
