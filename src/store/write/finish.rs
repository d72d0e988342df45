//! The end of a poll and all that it brought, in one transaction.
//!
//! All or nothing: when one version does not follow what the file holds, nothing of the poll is written, and its row
//! stays in flight until it is finished in another way.

use rusqlite::{Connection, OptionalExtension, params};

use super::schema::note;
use super::{Fault, NewVersion, SchemaSeen, Segment, Store, Writing};
use crate::clock::Now;
use crate::model::{Outcome, SegmentState, SourceState, UnixMs};
use crate::store::{Columns, Error, PollId, SegmentId, VersionEntry};

/// How a request ended.
#[derive(Clone, Debug)]
pub struct FinishPoll {
    /// Its row.
    pub poll: PollId,
    /// After the answer was read, or the request was given up.
    pub now: Now,
    /// What became of it; of a list's page, all in all.
    pub outcome: Outcome,
    /// The answer's status; `None` when there was no answer.
    pub http_status: Option<u16>,
    /// Bytes of the body as read.
    pub bytes: Option<u64>,
    /// What the provider says it cost, in its own unit.
    pub usage: Option<f64>,
    /// Why there is no usable answer, scrubbed and cut by the caller.
    pub error: Option<String>,
    /// The segments that it told about: one for a GET, each of a list's page.
    pub segments: Vec<SegmentEnd>,
    /// The source's state from now on and why, where it may have changed.
    pub source_state: Option<(SourceState, Option<String>)>,
    /// Until when the provider asked not to be asked, where it did.
    pub held_until: Option<UnixMs>,
    /// The account's pace from now on, as a share of its full rate, where it may have changed.
    pub pace: Option<f64>,
}

/// What a poll tells about one segment.
#[derive(Clone, Debug)]
pub struct SegmentEnd {
    /// Which.
    pub id: SegmentId,
    /// What became of it: it must be the version's where there is one.
    pub outcome: Outcome,
    /// Validator for the next request; an answer replaces the old one, also with none.
    pub etag: Option<String>,
    /// The version that the answer makes.
    pub version: Option<NewVersion>,
}

/// Segments that are not there, and that a whole list lacks.
#[derive(Clone, Debug)]
pub struct Absence {
    /// Which; one that is there after all is left as it is.
    pub segments: Vec<SegmentId>,
    /// When the first page of the list was asked for: what came back later may not be in it.
    pub since: UnixMs,
}

impl Store {
    /// Closes the poll's row and writes what it brought, all or nothing. Returns the versions that it made, as they are
    /// in the file, in the order of `segments`.
    pub async fn finish_poll(&self, end: FinishPoll) -> Result<Vec<VersionEntry>, Error> {
        self.run(move |writing| finish(writing, &end).map(|(_, made)| made)).await
    }

    /// The same with the segments that a whole list is known to lack, and what the poll shows of changes of the provider's
    /// schema.
    pub async fn finish_seen(
        &self,
        end: FinishPoll,
        absence: Option<Absence>,
        schema: SchemaSeen,
    ) -> Result<Vec<VersionEntry>, Error> {
        self.run(move |writing| {
            if let Some(absence) = &absence {
                still_absent(writing, absence, end.now)?;
            }
            let (source, made) = finish(writing, &end)?;
            note(writing, source, end.now.wall, &schema)?;
            Ok(made)
        })
        .await
    }
}

/// Returns the poll's source and the versions that it made.
fn finish(writing: &Writing<'_>, end: &FinishPoll) -> Result<(i64, Vec<VersionEntry>), Fault> {
    let connection: &Connection = writing;
    writing.tick(end.now)?;
    let (source, started_at) = close_row(connection, end)?;
    if let Some((state, error)) = &end.source_state {
        connection
            .prepare_cached(
                "UPDATE sources SET
                    state_since = CASE WHEN state = ?2 THEN state_since ELSE ?3 END, state = ?2, last_error = ?4
                 WHERE id = ?1",
            )?
            .execute(params![source, state.as_str(), end.now.wall.0, error])?;
    }
    if let Some(until) = end.held_until {
        let until = writing.by_its_clock(until, end.now)?;
        connection
            .prepare_cached("UPDATE sources SET held_until = ?2 WHERE id = ?1")?
            .execute(params![source, until.0])?;
    }
    if let Some(pace) = end.pace {
        connection.prepare_cached("UPDATE sources SET pace = ?2 WHERE id = ?1")?.execute(params![source, pace])?;
    }
    let (now, error) = (end.now, end.error.as_deref());
    let mut made = Vec::new();
    for segment in &end.segments {
        if segment.outcome == Outcome::Unchanged && segment.version.is_none() {
            // As nearly always: nothing more of its row is of interest.
            answer(connection, segment, Some(started_at.min(now.wall)), now, None)?;
            continue;
        }
        let known = Segment::read(connection, segment.id)?;
        // The answer may be as old as its request: a change after the start may not be in it.
        let confirmed = is_confirmed(known.state, segment.outcome).then(|| started_at.min(now.wall));
        answer(connection, segment, confirmed, now, error)?;
        match &segment.version {
            Some(version) => made.push(known.add(connection, version.clone(), segment.outcome, end.poll, now)?),
            None if segment.outcome.made_version() => return known.conflict("its new version is missing"),
            None => {}
        }
    }
    Ok((source, made))
}

fn still_absent(connection: &Connection, absence: &Absence, now: Now) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "UPDATE segments SET
            last_checked_at = ?2, checked_boot_ms = ?3, failures = 0, last_error = NULL, confirmed_at = ?4,
            not_found = not_found + 1
         WHERE id = ?1 AND state <> 'present'",
    )?;
    for segment in &absence.segments {
        statement.execute(params![segment, now.wall.0, now.boot_ms, absence.since.0])?;
    }
    Ok(())
}

/// Returns the poll's source and start.
fn close_row(connection: &Connection, end: &FinishPoll) -> Result<(i64, UnixMs), Fault> {
    // Not by RETURNING, for which SQLite makes a table each time.
    let open = connection
        .prepare_cached("SELECT source_id, started_at FROM polls WHERE id = ?1 AND outcome IS NULL")?
        .query_row([end.poll], |row| Ok((row.get("source_id")?, row.time("started_at")?)))
        .optional()?;
    let Some(open) = open else { return Err(Fault::Conflict(format!("poll {} is not in flight", end.poll.0))) };
    connection
        .prepare_cached(
            "UPDATE polls SET
                finished_at = ?2, outcome = ?3, http_status = ?4, bytes = ?5, usage = ?6, error = ?7, boot_ms = ?8
             WHERE id = ?1",
        )?
        .execute(params![
            end.poll,
            end.now.wall.0,
            end.outcome.as_str(),
            end.http_status,
            end.bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            end.usage.filter(|usage| usage.is_finite()),
            end.error,
            end.now.boot_ms
        ])?;
    Ok(open)
}

/// Whether the outcome says that the latest version still holds, or is the latest from now on.
fn is_confirmed(state: SegmentState, outcome: Outcome) -> bool {
    match outcome {
        // A single 404 of a present segment is a doubt, not yet a deletion.
        Outcome::NotFound => state != SegmentState::Present,
        other => other.is_answer(),
    }
}

fn answer(
    connection: &Connection,
    end: &SegmentEnd,
    confirmed_at: Option<UnixMs>,
    now: Now,
    error: Option<&str>,
) -> Result<(), Fault> {
    let not_found = end.outcome == Outcome::NotFound;
    let rows = if end.outcome.is_answer() {
        connection
            .prepare_cached(
                "UPDATE segments SET
                    last_checked_at = ?2, checked_boot_ms = ?3, failures = 0, last_error = NULL, etag = ?4,
                    confirmed_at = coalesce(?5, confirmed_at),
                    not_found = CASE WHEN ?6 THEN not_found + 1 ELSE 0 END
                 WHERE id = ?1",
            )?
            .execute(params![end.id, now.wall.0, now.boot_ms, end.etag, confirmed_at.map(|at| at.0), not_found])?
    } else {
        // A refused key or a hold is the source's trouble and no failure of this segment.
        let failed = matches!(end.outcome, Outcome::Failed | Outcome::Malformed);
        connection
            .prepare_cached(
                "UPDATE segments SET failures = failures + ?2, last_error = ?3, not_found = 0 WHERE id = ?1",
            )?
            .execute(params![end.id, failed, error])?
    };
    if rows == 0 { Err(Fault::Conflict(format!("there is no segment {}", end.id.0))) } else { Ok(()) }
}
