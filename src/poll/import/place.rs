//! A source that the file tells about: its lines are read, judged against what is known of their segments, and made
//! versions of where they differ.

use std::collections::HashMap;

use serde_json::Value;

use super::gap::{after_gap, follows_gap};
use super::line::{Line, Told, reason};
use super::track::{Last, Track};
use super::trouble::Trouble;
use crate::document::{self, Document};
use crate::model::{Op, Outcome, Path, SegmentState, UnixMs};
use crate::poll::judge::{self, weigh};
use crate::provider::Provider;
use crate::store::{self, Error, Hash, NewVersion, Observed, PollId, SourceId, Standing};

/// A source that the file tells about.
pub(super) struct Place {
    /// As the lines name it; `None` where they do not.
    pub(super) named: Option<String>,
    pub(super) id: SourceId,
    pub(super) poll: PollId,
    provider: &'static dyn Provider,
    ignore: Vec<Path>,
    pub(super) bytes: u64,
    pub(super) versions: u64,
    pub(super) segments: HashMap<Box<str>, Track>,
}

/// What a line says of its segment.
struct Observation {
    /// `None` where it was gone.
    document: Option<Document>,
    raw: Option<Hash>,
}

/// What became of a line.
pub(super) enum Taken {
    /// The database says so already.
    Known,
    /// The segment is as it was.
    Same,
    /// It made a version.
    Version,
}

impl Place {
    /// A source of which no line has been taken.
    pub(super) fn new(
        named: Option<String>,
        id: SourceId,
        poll: PollId,
        provider: &'static dyn Provider,
        ignore: Vec<Path>,
    ) -> Self {
        Self { named, id, poll, provider, ignore, bytes: 0, versions: 0, segments: HashMap::new() }
    }

    /// Whether a line tells, later, what an earlier one has told: then nothing of it needs to be read.
    pub(super) fn repeats(&mut self, line: &Line<'_>) -> bool {
        let Some(track) = self.segments.get_mut(&*line.id) else { return false };
        let (Some(standing), Some(raw)) = (&mut track.standing, &track.raw) else { return false };
        if standing.observed_at > Some(line.observed_at) || blake3::hash(line.document.as_bytes()) != *raw {
            return false;
        }
        standing.observed_at = Some(line.observed_at);
        track.is_seen = true;
        true
    }

    /// Reads a line's document.
    fn observe(&self, line: &Line<'_>) -> Result<Observation, Trouble> {
        if line.document == "null" {
            return Ok(Observation { document: None, raw: None });
        }
        let at = line.column(line.document) - 1;
        let value = document::parse(line.document)
            .map_err(|error| Trouble::Line(at + error.column().saturating_sub(1), reason(&error)))?;
        if let Some(own) = value.get(self.provider.id_member()).and_then(Value::as_str)
            && own != line.id
        {
            return Err(Trouble::Line(at, format!("its document is of another segment: {own:?} is not {:?}", line.id)));
        }
        // A version was without these paths, as far as they were ignored then.
        let ignore = if line.version.is_some() { &[][..] } else { &self.ignore };
        let raw = Some(*blake3::hash(line.document.as_bytes()).as_bytes());
        Ok(Observation { document: Some(Document::new(value, self.provider.shape(), ignore)), raw })
    }

    /// Takes a line that has to be read in full.
    pub(super) fn take(&mut self, file: &store::Import<'_>, line: &Line<'_>) -> Result<Taken, Trouble> {
        let Observation { document, raw } = self.observe(line)?;
        if !self.segments.contains_key(&*line.id) {
            let standing = file.standing(self.id, &line.id)?;
            self.segments.insert(line.id.as_ref().into(), Track { standing, ..Track::default() });
        }
        let Some(track) = self.segments.get_mut(&*line.id) else { return Ok(Taken::Same) };
        let there = document.as_ref().filter(|document| !self.provider.about(document.value()).deleted);
        if track.is_known(file, line, document.as_ref(), there)? {
            return Ok(Taken::Known);
        }
        track.refuse_late(file, line)?;
        let (last, latest) = (track.observed_at(), track.latest(file)?);
        let gone = follows_gap(track, line)?;
        let new = match (&document, &gone) {
            (_, Some(_)) => Some(after_gap(document.as_ref(), self.provider, line, &latest)?),
            (Some(document), None) => weigh(document, self.provider, &latest).1,
            (None, None) => (latest.state == SegmentState::Present).then(|| judge::gone(&latest)),
        };
        track.is_seen = true;
        track.raw = raw;
        let Some(new) = new else {
            if let Some(standing) = &mut track.standing {
                standing.observed_at = Some(line.observed_at);
            }
            return Ok(Taken::Same);
        };
        let (new, observed) = told(new, line, last)?;
        let id = match track.standing {
            Some(standing) => standing.id,
            None => file.add_segment(self.id, &line.id)?,
        };
        let state = if new.op == Op::Delete { SegmentState::Deleted } else { SegmentState::Present };
        let made = file.add(id, new, observed, self.poll, gone)?;
        track.last = line.version.as_ref().map(|told| Last { told: told.seq, seq: made.seq, valid_to: told.valid_to });
        track.standing = Some(Standing { id, seq: made.seq, state, observed_at: Some(line.observed_at) });
        Ok(Taken::Version)
    }

    /// Closes its poll, and confirms what was seen; `error` says why the file was not read to its end.
    pub(super) fn finish(&self, file: &store::Import<'_>, error: Option<&str>) -> Result<(), Error> {
        let outcome = if self.versions > 0 { Outcome::Updated } else { Outcome::Unchanged };
        file.finish(self.poll, outcome, self.bytes, error)?;
        for track in self.segments.values().filter(|track| track.is_seen) {
            if let Some(Standing { id, observed_at: Some(at), .. }) = track.standing {
                file.confirm(id, at)?;
            }
        }
        Ok(())
    }
}

/// A version as the line tells it, and when it was seen; `last` is when the segment was seen before.
fn told(new: NewVersion, line: &Line<'_>, last: Option<UnixMs>) -> Result<(NewVersion, Observed), Trouble> {
    let at = line.observed_at;
    let Some(told) = &line.version else { return Ok((new, Observed { at, changed_after: last })) };
    if told.changed_after.is_some_and(|after| after > at) {
        return Trouble::whole(format!("its changed_after is later than its observed_at, {at}"));
    }
    if let Some(cause) = told.cause.as_deref().filter(|cause| *cause != "schema") {
        return Trouble::whole(format!("its cause, {cause:?}, is none of this version"));
    }
    let Told { cause, changed_after, modified_at, modified_by, .. } = told;
    let (cause, modified_by) = (cause.clone(), modified_by.clone());
    let new = NewVersion { cause, modified_at: *modified_at, modified_by, ..new };
    Ok((new, Observed { at, changed_after: *changed_after }))
}
