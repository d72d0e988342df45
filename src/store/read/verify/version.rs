//! Each version by itself and against the one before: chain, hash, changes.
//!
//! In the order of rows, each read once. A broken link is told once: the next one is checked against what the row says. Rows
//! that are not there are skipped only where a checkpoint, whole and in its place, stands for exactly them.

use rusqlite::{Connection, OptionalExtension, Rows};
use serde_json::Value;

use super::{Audit, Check, Checkpoint, Finding, Step, Stored};
use crate::diff::{fold, unfold};
use crate::document::parse;
use crate::model::{Op, SegmentState};
use crate::store::{Columns, GENESIS, Hash};

/// How many versions are checked between two steps that are told.
const TELL_EVERY: u64 = 256;

/// The version before, of the same segment.
struct Base {
    op: Op,
    observed_at: i64,
    document: Option<String>,
}

/// The last row that was seen, or that a checkpoint stands for.
struct Last {
    id: i64,
    chain: Hash,
}

/// The checkpoints, in order.
struct Runs<'a> {
    rows: Rows<'a>,
    ahead: Option<Checkpoint>,
}

impl Runs<'_> {
    /// The next one, if it begins before the row `id`.
    fn before(&mut self, id: i64) -> rusqlite::Result<Option<Checkpoint>> {
        if self.ahead.is_none() {
            self.ahead = self.rows.next()?.map(Checkpoint::from_row).transpose()?;
        }
        Ok(self.ahead.take_if(|run| run.first_id < id))
    }
}

impl Audit<'_> {
    /// Checks every version.
    pub(super) fn versions(&mut self) -> rusqlite::Result<()> {
        let connection = self.connection;
        let all: i64 = connection.query_row("SELECT count(*) FROM versions", [], |row| row.get(0))?;
        let all = u64::try_from(all).unwrap_or(0);
        let mut statement = connection.prepare(&format!("{} ORDER BY v.id", Stored::SELECT))?;
        let mut rows = statement.query([])?;
        let columns = Checkpoint::COLUMNS;
        let mut statement = connection.prepare(&format!("SELECT {columns} FROM checkpoints ORDER BY first_id"))?;
        let mut runs = Runs { rows: statement.query([])?, ahead: None };
        let mut last = Last { id: 0, chain: GENESIS };
        while let Some(row) = rows.next()? {
            if self.found.versions.is_multiple_of(TELL_EVERY) {
                (self.on_step)(Step::Versions { done: self.found.versions, all });
            }
            self.found.versions += 1;
            let id: i64 = row.get("id")?;
            self.skip(&mut last, &mut runs, id)?;
            self.missing(last.id.saturating_add(1), id.saturating_sub(1));
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
        while let Some(run) = runs.before(i64::MAX)? {
            self.odd_run(&run, "the latest version is always kept");
        }
        self.end(&last)
    }

    /// Rows are numbered without gaps. Goes from `last` on to what comes right before the row `id`, as far as checkpoints
    /// stand for it.
    fn skip(&mut self, last: &mut Last, runs: &mut Runs<'_>, id: i64) -> rusqlite::Result<()> {
        while let Some(run) = runs.before(id)? {
            if run.first_id <= last.id || run.last_id >= id {
                self.odd_run(&run, "it stands for rows that are there");
                continue;
            }
            self.missing(last.id.saturating_add(1), run.first_id.saturating_sub(1));
            if !run.is_whole() {
                self.odd_run(&run, "it is not as it was written");
            } else if run.first_id == last.id.saturating_add(1) && run.before != last.chain {
                self.odd_run(&run, "what comes before it is not what was there");
            }
            self.found.removed += u64::try_from(run.last_id - run.first_id + 1).unwrap_or(0);
            *last = Last { id: run.last_id, chain: run.after };
        }
        Ok(())
    }

    fn odd_run(&mut self, run: &Checkpoint, why: &str) {
        let what = format!("the checkpoint for rows {} to {} of versions: {why}", run.first_id, run.last_id);
        self.find_in_file(Check::Chain, what);
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
        if !stored.follows(&last.chain) {
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
            None if stored.op == Op::Update && stored.changes.is_empty() => {
                self.about(stored, Check::Fold, "it has no changes");
            }
            // Whether what was before was removed by right is the chain's to tell.
            None => {}
        }
        Ok(())
    }

    /// Changes are numbered from 0 and bear their version's time and segment.
    fn ordinals(&mut self, stored: &Stored) -> rusqlite::Result<()> {
        let (rows, last, odd): (i64, Option<i64>, i64) = self
            .connection
            .prepare_cached(
                "SELECT count(*), max(ordinal), count(*) FILTER (WHERE observed_at <> ?2 OR segment_id <> ?3)
                 FROM change_rows WHERE version_id = ?1",
            )?
            .query_row([stored.id, stored.observed_at, stored.segment_id], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        if last.map_or(0, |last| last.saturating_add(1)) != rows {
            self.about(stored, Check::Chain, "its changes are not numbered one after the other");
        }
        if odd > 0 {
            self.about(stored, Check::Order, "its changes bear another time or segment than it");
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
