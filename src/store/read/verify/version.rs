//! Each version by itself and against the one before: chain, hash, changes.
//!
//! In the order of rows, each read once. A broken link is told once: the next one is checked against what the row says.

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::Value;

use super::{Audit, Check, Finding, Step, key};
use crate::diff::{fold, unfold};
use crate::document::parse;
use crate::model::{Change, Op, SegmentKey, SegmentState};
use crate::store::{Columns, GENESIS, Hash, VersionFields, VersionId, chain_link, changes_of};

/// How many versions are checked between two steps that are told.
const TELL_EVERY: u64 = 256;

/// A row of `versions`, as it is.
struct Stored {
    id: i64,
    source_id: Option<i64>,
    segment_id: i64,
    segment: Option<SegmentKey>,
    seq: i64,
    op: Op,
    cause: Option<String>,
    observed_at: i64,
    changed_after: Option<i64>,
    modified_at: Option<i64>,
    modified_by: Option<String>,
    revision: Option<i64>,
    missed_revisions: Option<i64>,
    hash: Option<Hash>,
    chain: Hash,
    document: Option<String>,
    poll_id: i64,
    changes: Vec<Change>,
}

/// The version before, of the same segment.
struct Base {
    op: Op,
    observed_at: i64,
    document: Option<String>,
}

/// The last row that was seen.
struct Last {
    id: i64,
    chain: Hash,
}

impl Audit<'_> {
    /// Checks every version.
    pub(super) fn versions(&mut self) -> rusqlite::Result<()> {
        let connection = self.connection;
        let all: i64 = connection.query_row("SELECT count(*) FROM versions", [], |row| row.get(0))?;
        let all = u64::try_from(all).unwrap_or(0);
        let mut statement = connection.prepare(
            "SELECT v.*, s.source_id, s.key, src.name AS source
             FROM versions AS v
             LEFT JOIN segments AS s ON s.id = v.segment_id
             LEFT JOIN sources AS src ON src.id = s.source_id
             ORDER BY v.id",
        )?;
        let mut rows = statement.query([])?;
        let mut last = Last { id: 0, chain: GENESIS };
        while let Some(row) = rows.next()? {
            if self.found.versions.is_multiple_of(TELL_EVERY) {
                (self.on_step)(Step::Versions { done: self.found.versions, all });
            }
            self.found.versions += 1;
            let id: i64 = row.get("id")?;
            self.follows(&last, id);
            match Stored::read(connection, row) {
                Ok(stored) => {
                    self.found.changes += stored.changes.len() as u64;
                    self.version(&stored, &last)?;
                    last = Last { id, chain: stored.chain };
                }
                Err(error) if super::is_damage(&error) => {
                    let what = format!("cannot be read: {error}");
                    self.find(Finding { check: Check::File, segment: None, seq: None, row: Some(id), what });
                    last = Last { id, chain: row.get("chain").unwrap_or(GENESIS) };
                }
                Err(error) => return Err(error),
            }
        }
        (self.on_step)(Step::Versions { done: self.found.versions, all });
        self.end(&last)
    }

    /// Rows are numbered without gaps; one that is missing was removed.
    fn follows(&mut self, last: &Last, id: i64) {
        self.missing(last.id.saturating_add(1), id.saturating_sub(1));
    }

    /// The last number that was ever given is that of the last row.
    fn end(&mut self, last: &Last) -> rusqlite::Result<()> {
        let given = "SELECT seq FROM sqlite_sequence WHERE name = 'versions'";
        let given: i64 = self.connection.query_row(given, [], |row| row.get(0)).optional()?.unwrap_or(0);
        self.missing(last.id.saturating_add(1), given);
        if given < last.id {
            self.find_in_file(Check::Chain, format!("row {} of versions was never given out", last.id));
        }
        Ok(())
    }

    fn missing(&mut self, first: i64, last: i64) {
        if first == last {
            self.find_in_file(Check::Chain, format!("row {first} of versions was removed"));
        } else if first < last {
            self.find_in_file(Check::Chain, format!("rows {first} to {last} of versions were removed"));
        }
    }

    fn version(&mut self, stored: &Stored, last: &Last) -> rusqlite::Result<()> {
        if chain_link(&last.chain, &stored.fields()) != stored.chain {
            self.about(stored, Check::Chain, "it, its changes or its place are not as they were written");
        }
        let hash = stored.document.as_ref().map(|text| *blake3::hash(text.as_bytes()).as_bytes());
        if hash != stored.hash {
            self.about(stored, Check::Hash, "its document is not the one that its hash is of");
        }
        self.ordinals(stored)?;
        let document = match stored.document.as_deref().map(parse).transpose() {
            Ok(document) => document,
            Err(error) => {
                self.about(stored, Check::Hash, &format!("its document is not JSON: {error}"));
                return Ok(());
            }
        };
        match Base::read(self.connection, stored)? {
            Some(base) => self.against(stored, document.as_ref(), &base),
            None if stored.seq == 1 => {
                if !stored.changes.is_empty() {
                    self.about(stored, Check::Fold, "it has changes, but nothing is before it");
                }
                if SegmentState::Pending.after(stored.op).is_none() {
                    self.about(stored, Check::Order, &format!("a {} cannot be the first", stored.op));
                }
            }
            // Whether it was removed by right is the chain's to tell.
            None => {}
        }
        Ok(())
    }

    /// Changes are numbered from 0 and bear their version's time.
    fn ordinals(&mut self, stored: &Stored) -> rusqlite::Result<()> {
        let (rows, last, odd): (i64, Option<i64>, i64) = self
            .connection
            .prepare_cached(
                "SELECT count(*), max(ordinal), count(*) FILTER (WHERE observed_at <> ?2)
                 FROM changes WHERE version_id = ?1",
            )?
            .query_row([stored.id, stored.observed_at], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        if last.map_or(0, |last| last.saturating_add(1)) != rows {
            self.about(stored, Check::Chain, "its changes are not numbered one after the other");
        }
        if odd > 0 {
            self.about(stored, Check::Order, "its changes bear another time than it");
        }
        Ok(())
    }

    fn against(&mut self, stored: &Stored, document: Option<&Value>, base: &Base) {
        if stored.observed_at < base.observed_at {
            self.about(stored, Check::Order, "it was observed before the version that it follows");
        }
        let state = if base.op == Op::Delete { SegmentState::Deleted } else { SegmentState::Present };
        if state.after(stored.op).is_none() {
            self.about(stored, Check::Order, &format!("a {} cannot follow a {}", stored.op, base.op));
        }
        let (Some(text), Some(document)) = (&base.document, document) else {
            if !stored.changes.is_empty() {
                self.about(stored, Check::Fold, "it has changes, but not two documents");
            }
            return;
        };
        // A base that is not JSON has a finding of its own.
        let Ok(before) = parse(text) else { return };
        match fold(&before, &stored.changes) {
            Err(error) => self.about(stored, Check::Fold, &format!("failed to {error}")),
            Ok(folded) if folded != *document => {
                self.about(stored, Check::Fold, "its changes do not lead from the document before to its own");
            }
            Ok(_) => match unfold(document, &stored.changes) {
                Err(error) => self.about(stored, Check::Fold, &format!("backwards: failed to {error}")),
                Ok(unfolded) if unfolded != before => {
                    self.about(stored, Check::Fold, "its changes do not lead back to the document before");
                }
                Ok(_) => {}
            },
        }
    }

    fn about(&mut self, stored: &Stored, check: Check, what: &str) {
        let (segment, what) = (stored.segment.clone(), what.to_owned());
        self.find(Finding { check, segment, seq: Some(stored.seq), row: Some(stored.id), what });
    }
}

impl Stored {
    fn read(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<Self> {
        let id = row.get("id")?;
        Ok(Self {
            id,
            source_id: row.get("source_id")?,
            segment_id: row.get("segment_id")?,
            segment: key(row.get("source")?, row.get("key")?),
            seq: row.get("seq")?,
            op: row.word("op")?,
            cause: row.get("cause")?,
            observed_at: row.get("observed_at")?,
            changed_after: row.get("changed_after")?,
            modified_at: row.get("modified_at")?,
            modified_by: row.get("modified_by")?,
            revision: row.get("revision")?,
            missed_revisions: row.get("missed_revisions")?,
            hash: row.get("hash")?,
            chain: row.get("chain")?,
            document: row.get("document")?,
            poll_id: row.get("poll_id")?,
            changes: changes_of(connection, VersionId(id))?,
        })
    }

    fn fields(&self) -> VersionFields<'_> {
        VersionFields {
            id: self.id,
            source_id: self.source_id.unwrap_or_default(),
            segment_id: self.segment_id,
            key: self.segment.as_ref().map_or("", |key| &key.id),
            seq: self.seq,
            op: self.op.as_str(),
            cause: self.cause.as_deref(),
            observed_at: self.observed_at,
            changed_after: self.changed_after,
            modified_at: self.modified_at,
            modified_by: self.modified_by.as_deref(),
            revision: self.revision,
            missed_revisions: self.missed_revisions,
            hash: self.hash.as_ref().map(<[u8; 32]>::as_slice),
            document: self.document.as_deref(),
            poll_id: self.poll_id,
            changes: &self.changes,
        }
    }
}

impl Base {
    fn read(connection: &Connection, of: &Stored) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached("SELECT op, observed_at, document FROM versions WHERE segment_id = ?1 AND seq = ?2 - 1")?
            .query_row([of.segment_id, of.seq], |row| {
                Ok(Self { op: row.word("op")?, observed_at: row.get("observed_at")?, document: row.get("document")? })
            })
            .optional()
    }
}
