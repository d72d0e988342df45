//! What the history of one segment comes to, in numbers. Reads no document.

use rusqlite::params;

use super::{Error, Reader};
use crate::model::{Op, SegmentKey, UnixMs};
use crate::store::Columns;

/// A segment's history in numbers; empty where it was never seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// When its first version was observed.
    pub first_seen_at: Option<UnixMs>,
    /// How many versions did what.
    pub ops: Vec<(Op, usize)>,
    /// Who made how many versions, as the provider says; whoever made most comes first.
    pub editors: Vec<(String, usize)>,
    /// Who made the latest version.
    pub last_editor: Option<String>,
    /// Versions of which the provider does not say who made them.
    pub unnamed: usize,
    /// Revisions that no poll saw, as far as the provider numbers them.
    pub missed_revisions: i64,
    /// Versions that are nothing but a change of the provider's schema.
    pub schema: usize,
    /// The number of each version but the first, and when it was observed, oldest first.
    edits: Vec<(i64, UnixMs)>,
}

impl Story {
    /// How many versions after the first were observed at that time or later, those among them that are no longer kept
    /// included.
    pub fn edits_since(&self, since: UnixMs) -> i64 {
        let first = self.edits.iter().find(|(_, at)| *at >= since);
        first.zip(self.edits.last()).map_or(0, |((first, _), (last, _))| last - first + 1)
    }

    fn add(&mut self, seq: i64, op: Op, at: UnixMs, by: Option<String>, missed: i64, is_schema: bool) {
        match self.first_seen_at {
            None => self.first_seen_at = Some(at),
            Some(_) => self.edits.push((seq, at)),
        }
        match self.ops.iter_mut().find(|(of, _)| *of == op) {
            Some((_, count)) => *count += 1,
            None => self.ops.push((op, 1)),
        }
        self.last_editor.clone_from(&by);
        match by {
            None => self.unnamed += 1,
            Some(name) => match self.editors.iter_mut().find(|(of, _)| *of == name) {
                Some((_, count)) => *count += 1,
                None => self.editors.push((name, 1)),
            },
        }
        self.missed_revisions = self.missed_revisions.saturating_add(missed.max(0));
        self.schema += usize::from(is_schema);
    }
}

impl Reader {
    /// What a segment's history comes to.
    pub fn story(&self, key: &SegmentKey) -> Result<Story, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT v.seq, v.op, v.cause, v.observed_at, v.modified_by, v.missed_revisions
                 FROM versions AS v
                 WHERE v.segment_id = (SELECT s.id FROM segments AS s JOIN sources AS src ON src.id = s.source_id
                                       WHERE src.name = ?1 AND s.key = ?2)
                 ORDER BY v.seq",
            )?;
            let mut rows = statement.query(params![key.source.as_str(), key.id])?;
            let mut story = Story::default();
            while let Some(row) = rows.next()? {
                let missed: Option<i64> = row.get("missed_revisions")?;
                let cause: Option<String> = row.get("cause")?;
                let (op, at, by) = (row.word("op")?, row.time("observed_at")?, row.get("modified_by")?);
                story.add(row.get("seq")?, op, at, by, missed.unwrap_or(0), cause.is_some());
            }
            story.editors.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
            Ok(story)
        })
    }
}
