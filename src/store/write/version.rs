//! One more version of a segment, chained to all before.
//!
//! A version is written only on top of the one that it was compared with; what does not follow the file is a conflict.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Fault;
use crate::clock::Now;
use crate::model::{Change, ChangeOp, Op, Outcome, SegmentKey, SegmentState, UnixMs};
use crate::store::{
    Columns, GENESIS, Hash, PollId, SegmentId, SourceId, VersionEntry, VersionFields, VersionId, chain_link, end_seal,
};

/// A version to be written.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// The seq that it was compared with; 0 for the first.
    pub base: i64,
    /// What it does.
    pub op: Op,
    /// `schema` where many segments changed their shape at once.
    pub cause: Option<String>,
    /// When it was modified, as the provider says.
    pub modified_at: Option<UnixMs>,
    /// Who modified it, as the provider says.
    pub modified_by: Option<String>,
    /// The provider's own revision number.
    pub revision: Option<i64>,
    /// Revisions in between that no poll saw.
    pub missed_revisions: Option<i64>,
    /// Its document; `None` only where a delete left none.
    pub document: Option<StoredDocument>,
    /// What differs from the last document, in folding order.
    pub changes: Vec<Change>,
}

/// A document as the file keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDocument {
    /// Canonical JSON.
    pub text: Arc<str>,
    /// BLAKE3 of `text`.
    pub hash: Hash,
}

/// A segment as the file knows it before this poll's end.
pub(super) struct Segment {
    id: SegmentId,
    source: SourceId,
    key: SegmentKey,
    pub(super) state: SegmentState,
    version: i64,
    confirmed_at: Option<UnixMs>,
}

impl Segment {
    /// The segment's row.
    pub(super) fn read(connection: &Connection, id: SegmentId) -> Result<Self, Fault> {
        let known = connection
            .prepare_cached(
                "SELECT src.name AS source, s.source_id, s.key, s.state, s.version, s.confirmed_at
                 FROM segments AS s JOIN sources AS src ON src.id = s.source_id
                 WHERE s.id = ?1",
            )?
            .query_row([id], |row: &Row<'_>| {
                Ok(Self {
                    id,
                    source: row.get("source_id")?,
                    key: row.key()?,
                    state: row.word("state")?,
                    version: row.get("version")?,
                    confirmed_at: row.maybe_time("confirmed_at")?,
                })
            })
            .optional()?;
        known.ok_or_else(|| Fault::Conflict(format!("there is no segment {}", id.0)))
    }

    /// An error that names the segment.
    pub(super) fn conflict<T>(&self, what: &str) -> Result<T, Fault> {
        Err(Fault::Conflict(format!("{}: {what}", self.key)))
    }

    /// Whether a poll that ended with `outcome` can write `version` on top of what the file holds.
    fn check(&self, version: &NewVersion, outcome: Outcome) -> Result<(), Fault> {
        if outcome != outcome_of(version.op) {
            self.conflict(&format!("{outcome} is not what a {} ends with", version.op))
        } else if version.base != self.version {
            self.conflict(&format!("compared with version {}, but the latest is {}", version.base, self.version))
        } else if self.state.after(version.op).is_none() {
            self.conflict(&format!("a {} cannot follow while it is {}", version.op, self.state))
        } else {
            Ok(())
        }
    }

    /// Writes the version that a poll has seen at `now`, and what it does to the segment.
    pub(super) fn add(
        &self,
        connection: &Connection,
        new: NewVersion,
        outcome: Outcome,
        poll: PollId,
        now: Now,
    ) -> Result<VersionEntry, Fault> {
        self.check(&new, outcome)?;
        let before = self.previous(connection)?;
        // The wall clock may have been set back since: a history never runs backwards.
        let at = before.observed_at.map_or(now.wall, |before| before.max(now.wall));
        let observed = Observed { at, changed_after: self.confirmed_at.map(|after| after.min(at)) };
        self.write(connection, new, before, observed, poll)
    }

    /// Writes the version that somebody else has seen, not before the latest one; `gone` says what is no longer kept in
    /// between.
    pub(super) fn take_over(
        &self,
        connection: &Connection,
        new: NewVersion,
        observed: Observed,
        poll: PollId,
        gone: Option<Gone>,
    ) -> Result<VersionEntry, Fault> {
        let before = self.previous(connection)?;
        if before.observed_at.is_some_and(|before| observed.at < before) {
            return self.conflict("observed before the latest version");
        }
        let Some(gone) = gone else {
            self.check(&new, outcome_of(new.op))?;
            return self.write(connection, new, before, observed, poll);
        };
        // What the segment was before it is not known: it may be any version but the first.
        let ended_well = before.observed_at.is_some_and(|before| before <= gone.from) && gone.from <= observed.at;
        if new.base != self.version || gone.versions < 1 || !ended_well || new.op == Op::Create {
            return self.conflict("it cannot follow versions that are no longer kept");
        }
        connection
            .prepare_cached("UPDATE versions SET end_seal = ?2 WHERE segment_id = ?1 AND seq = ?3")?
            .execute(params![self.id, end_seal(&before.chain, gone.from.0), self.version])?;
        let later = Self { version: self.version + gone.versions, key: self.key.clone(), ..*self };
        let entry = later.write(connection, new, Previous::default(), observed, poll)?;
        self.end(connection, gone.from)?;
        Ok(entry)
    }

    /// Ends the latest version.
    fn end(&self, connection: &Connection, at: UnixMs) -> rusqlite::Result<usize> {
        connection
            .prepare_cached("UPDATE versions SET valid_to = ?3 WHERE segment_id = ?1 AND seq = ?2")?
            .execute(params![self.id, self.version, at.0])
    }

    fn write(
        &self,
        connection: &Connection,
        new: NewVersion,
        before: Previous,
        observed: Observed,
        poll: PollId,
    ) -> Result<VersionEntry, Fault> {
        let Observed { at, changed_after } = observed;
        let entry = VersionEntry {
            id: next_id(connection)?,
            key: self.key.clone(),
            seq: self.version + 1,
            op: new.op,
            cause: new.cause,
            observed_at: at,
            valid_to: None,
            changed_after,
            modified_at: new.modified_at,
            modified_by: new.modified_by,
            revision: new.revision,
            revision_before: before.revision,
            modified_at_before: before.modified_at,
            modified_by_before: before.modified_by,
            missed_revisions: new.missed_revisions,
            hash: new.document.as_ref().map(|document| document.hash),
            poll,
            changes: new.changes,
        };
        self.end(connection, at)?;
        insert(connection, self, &entry, new.document.as_ref().map(|document| &*document.text))?;
        insert_changes(connection, self.id, &entry)?;
        let state = if entry.op == Op::Delete { SegmentState::Deleted } else { SegmentState::Present };
        connection
            .prepare_cached(
                "UPDATE segments SET
                    version = ?2, state = ?3, last_changed_at = ?4, first_seen_at = coalesce(first_seen_at, ?4)
                 WHERE id = ?1",
            )?
            .execute(params![self.id, entry.seq, state.as_str(), at.0])?;
        Ok(entry)
    }

    /// What the latest version says, so far.
    fn previous(&self, connection: &Connection) -> Result<Previous, Fault> {
        let found = connection
            .prepare_cached(
                "SELECT observed_at, revision, modified_at, modified_by, chain
                 FROM versions WHERE segment_id = ?1 AND seq = ?2",
            )?
            .query_row(params![self.id, self.version], |row| {
                Ok(Previous {
                    observed_at: row.maybe_time("observed_at")?,
                    revision: row.get("revision")?,
                    modified_at: row.maybe_time("modified_at")?,
                    modified_by: row.get("modified_by")?,
                    chain: row.get("chain")?,
                })
            })
            .optional()?;
        Ok(found.unwrap_or_default())
    }
}

/// When a version was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The first time; not before the segment's latest version.
    pub at: UnixMs,
    /// The last time that the state before was seen; not later.
    pub changed_after: Option<UnixMs>,
}

/// Versions between the latest and the one that is written, which nobody keeps any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// How many, at least one.
    pub versions: i64,
    /// When the first of them was observed: until then the latest version held.
    pub from: UnixMs,
}

/// The version before the one that is written; nothing where that is the first.
#[derive(Default)]
struct Previous {
    observed_at: Option<UnixMs>,
    revision: Option<i64>,
    modified_at: Option<UnixMs>,
    modified_by: Option<String>,
    chain: Hash,
}

const fn outcome_of(op: Op) -> Outcome {
    match op {
        Op::Create => Outcome::Created,
        Op::Update => Outcome::Updated,
        Op::Delete => Outcome::Deleted,
        Op::Restore => Outcome::Restored,
    }
}

/// The id that the next row of `versions` takes; known before the insert, for the chain covers it.
fn next_id(connection: &Connection) -> rusqlite::Result<VersionId> {
    connection
        .prepare_cached("SELECT 1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'versions'), 0)")?
        .query_row([], |row| row.get(0))
}

fn insert(
    connection: &Connection,
    segment: &Segment,
    entry: &VersionEntry,
    document: Option<&str>,
) -> rusqlite::Result<()> {
    let previous = connection
        .prepare_cached("SELECT chain FROM versions ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let fields = VersionFields {
        id: entry.id.0,
        source_id: segment.source.0,
        segment_id: segment.id.0,
        key: &segment.key.id,
        seq: entry.seq,
        op: entry.op.as_str(),
        cause: entry.cause.as_deref(),
        observed_at: entry.observed_at.0,
        changed_after: entry.changed_after.map(|at| at.0),
        modified_at: entry.modified_at.map(|at| at.0),
        modified_by: entry.modified_by.as_deref(),
        revision: entry.revision,
        missed_revisions: entry.missed_revisions,
        hash: entry.hash.as_ref().map(<[u8; 32]>::as_slice),
        document,
        poll_id: entry.poll.0,
        changes: &entry.changes,
    };
    let chain = chain_link(&previous.unwrap_or(GENESIS), &fields);
    connection
        .prepare_cached(
            "INSERT INTO versions (id, segment_id, seq, op, cause, observed_at, changed_after, modified_at, modified_by,
                                   revision, missed_revisions, hash, chain, document, poll_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            fields.id,
            fields.segment_id,
            fields.seq,
            fields.op,
            fields.cause,
            fields.observed_at,
            fields.changed_after,
            fields.modified_at,
            fields.modified_by,
            fields.revision,
            fields.missed_revisions,
            fields.hash,
            chain,
            fields.document,
            fields.poll_id
        ])?;
    Ok(())
}

fn insert_changes(connection: &Connection, segment: SegmentId, entry: &VersionEntry) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO change_rows (version_id, ordinal, segment_id, observed_at, op, path_id, field_id, old, new)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for (ordinal, change) in (0_i64..).zip(&entry.changes) {
        statement.execute(params![
            entry.id,
            ordinal,
            segment,
            entry.observed_at.0,
            (change.op != ChangeOp::Replace).then(|| change.op.as_str()),
            name(connection, PATH, &change.path)?,
            name(connection, FIELD, &change.field)?,
            change.old,
            change.new
        ])?;
    }
    Ok(())
}

/// How a name that changes share is found, and how it is kept where it is new.
type Names = [&'static str; 2];
const PATH: Names = ["SELECT id FROM paths WHERE path = ?1", "INSERT INTO paths (path) VALUES (?1)"];
const FIELD: Names = ["SELECT id FROM fields WHERE field = ?1", "INSERT INTO fields (field) VALUES (?1)"];

/// The row of a name.
fn name(connection: &Connection, [find, keep]: Names, name: &str) -> rusqlite::Result<i64> {
    match connection.prepare_cached(find)?.query_row([name], |row| row.get(0)).optional()? {
        Some(id) => Ok(id),
        None => connection.prepare_cached(keep)?.insert([name]),
    }
}
