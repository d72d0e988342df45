//! How far the file has come with a segment: where it stands in the database, and which version a line told of last.
//!
//! What the database says already is known, under whatever numbers the file has it, and makes nothing.

use super::line::Line;
use super::trouble::Trouble;
use crate::document::Document;
use crate::model::UnixMs;
use crate::store::{self, Error, Hash, Latest, Standing};

/// A segment that the file tells about.
#[derive(Default)]
pub(super) struct Track {
    /// `None` while the database does not know it.
    pub(super) standing: Option<Standing>,
    /// BLAKE3 of the document's text in the line that told the latest version's.
    pub(super) raw: Option<Hash>,
    /// Whether a line told something of it that was not known.
    pub(super) is_seen: bool,
    /// The last version that a line told of.
    pub(super) last: Option<Last>,
}

/// A version that a line told of.
#[derive(Clone, Copy)]
pub(super) struct Last {
    /// Its number in the line …
    pub(super) told: i64,
    /// … and in the database.
    pub(super) seq: i64,
    /// Until when it held, where the next one is no longer kept.
    pub(super) valid_to: Option<UnixMs>,
}

impl Track {
    /// When the segment was last observed.
    pub(super) fn observed_at(&self) -> Option<UnixMs> {
        self.standing.and_then(|standing| standing.observed_at)
    }

    /// The latest version here.
    pub(super) fn latest(&self, file: &store::Import<'_>) -> Result<Latest, Error> {
        self.standing.map_or_else(|| Ok(Latest::unseen()), |standing| file.latest(standing.id))
    }

    /// Whether the database says already what a line says; `there` is its document unless it is marked as deleted.
    pub(super) fn is_known(
        &mut self,
        file: &store::Import<'_>,
        line: &Line<'_>,
        document: Option<&Document>,
        there: Option<&Document>,
    ) -> Result<bool, Trouble> {
        let Some(Standing { id, seq: latest, observed_at, .. }) = self.standing else { return Ok(false) };
        let Some(told) = &line.version else {
            let is_past = observed_at.is_some_and(|last| line.observed_at <= last);
            let is_known = is_past && file.knows(id, line.observed_at, there.map(Document::hash))?;
            self.last = self.last.filter(|_| !is_known);
            return Ok(is_known);
        };
        let hash = document.map(Document::hash);
        // A file that does not begin with the first version has other numbers than this database.
        let number = self.last.map_or(told.seq, |last| last.seq.saturating_add(told.seq.saturating_sub(last.told)));
        let is_first = self.last.is_none() && told.seq != latest.saturating_add(1);
        let is_past = observed_at.is_some_and(|last| line.observed_at < last || (line.observed_at == last && is_first));
        let seq = match file.is_version(id, number, line.observed_at, hash)? {
            Some(true) => Some(number),
            _ if is_past => file.version_at(id, line.observed_at, hash)?,
            _ => return Ok(false),
        };
        self.last = seq.map(|seq| Last { told: told.seq, seq, valid_to: told.valid_to }).or(self.last);
        Ok(seq.is_some())
    }

    /// A line of a time before the last observation is too late, unless it is known.
    pub(super) fn refuse_late(&self, file: &store::Import<'_>, line: &Line<'_>) -> Result<(), Trouble> {
        let Some(last) = self.observed_at().filter(|last| line.observed_at < *last) else { return Ok(()) };
        let what = match (&line.version, self.standing) {
            (Some(told), Some(standing)) if file.is_version(standing.id, told.seq, last, None)?.is_none() => {
                format!("version {} of {:?} is not kept here", told.seq, line.id)
            }
            _ => format!("{} is before {last}, when {:?} was last observed", line.observed_at, line.id),
        };
        Err(Trouble::Line(line.column(line.when) - 1, what))
    }
}
