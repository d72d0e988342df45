//! The straight way for a file of observations: each line judged as if it had been polled, all in one transaction.
//!
//! A line is never taken for a deletion unless it says so, and what is older than what is known is refused, unless it is
//! known.

mod line;

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

use serde_json::Value;

use super::judge::{self, weigh};
use crate::clock::Now;
use crate::document::{self, Document};
use crate::model::{Op, Outcome, Path, SegmentState, SourceName, UnixMs};
use crate::provider::{self, Provider};
use crate::store::{self, Error, Gone, Hash, Latest, NewVersion, Observed, PollId, SourceId, Standing, Store};
use crate::store::{AfterGap, StoredDocument};

use line::{Line, Told, reason};

/// The longest line that is read, in bytes.
const LONGEST: u64 = 64 << 20;

/// How many lines are read between two steps that are told.
const TELL_EVERY: u64 = 1024;

/// How a file is to be imported.
#[derive(Debug)]
pub struct Import {
    /// The source of all its lines; else each line names its own.
    pub source: Option<SourceName>,
    /// What the configuration says of sources.
    pub configured: Vec<Configured>,
    /// Whether what comes before the first bad line is kept.
    pub partial: bool,
}

/// A source of the configuration.
#[derive(Debug)]
pub struct Configured {
    /// Its name.
    pub name: SourceName,
    /// The provider's name.
    pub provider: &'static str,
    /// Where it is polled.
    pub base_url: String,
    /// Paths that are left out of documents that are no versions yet.
    pub ignore: Vec<Path>,
}

/// What a file brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Observations, blank lines aside.
    pub lines: u64,
    /// Bytes of the file that were read.
    pub bytes: u64,
    /// Segments that it tells about.
    pub segments: u64,
    /// New versions.
    pub versions: u64,
    /// Lines that the file knew already.
    pub known: u64,
    /// The line that ended it, where what came before was kept.
    pub stopped: Option<BadLine>,
}

/// A line that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {what}")]
pub struct BadLine {
    /// Which, counted from 1.
    pub line: u64,
    /// Where in it, in bytes counted from 1.
    pub column: usize,
    /// Why not.
    pub what: String,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A line cannot be taken.
    #[error(transparent)]
    Line(#[from] BadLine),
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The database cannot be written.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Imports all that `input` holds, or nothing. Tells the lines and bytes that are done as it goes on.
pub fn import(
    store: &Store,
    now: Now,
    input: &mut dyn BufRead,
    how: Import,
    on_step: &mut dyn FnMut(u64, u64),
) -> Result<Imported, ImportError> {
    store.import(now, |file| {
        let Import { source, configured, partial } = how;
        let mut work = Work { file, now, source, configured, places: Vec::new(), done: Imported::default() };
        let mut text = Vec::new();
        let mut number = 0;
        loop {
            text.clear();
            let read = input.take(LONGEST).read_until(b'\n', &mut text)?;
            if read == 0 {
                break;
            }
            number += 1;
            match work.line(number, &text) {
                Ok(()) => work.done.bytes += read as u64,
                Err(ImportError::Line(bad)) if partial => {
                    work.done.stopped = Some(bad);
                    break;
                }
                Err(error) => return Err(error),
            }
            if number % TELL_EVERY == 0 {
                on_step(work.done.lines, work.done.bytes);
            }
        }
        on_step(work.done.lines, work.done.bytes);
        work.finish()
    })
}

/// A file that is being read.
struct Work<'c> {
    file: &'c store::Import<'c>,
    now: Now,
    source: Option<SourceName>,
    configured: Vec<Configured>,
    places: Vec<Place>,
    done: Imported,
}

/// A source that the file tells about.
struct Place {
    /// As the lines name it; `None` where they do not.
    named: Option<String>,
    id: SourceId,
    poll: PollId,
    provider: &'static dyn Provider,
    ignore: Vec<Path>,
    bytes: u64,
    versions: u64,
    segments: HashMap<Box<str>, Track>,
}

/// A segment that the file tells about.
#[derive(Default)]
struct Track {
    /// `None` while the database does not know it.
    standing: Option<Standing>,
    /// BLAKE3 of the document's text in the line that told the latest version's.
    raw: Option<Hash>,
    /// Whether a line told something of it that was not known.
    is_seen: bool,
    /// The last version that a line told of.
    last: Option<Last>,
}

/// A version that a line told of.
#[derive(Clone, Copy)]
struct Last {
    /// Its number in the line …
    told: i64,
    /// … and in the database.
    seq: i64,
    /// Until when it held, where the next one is no longer kept.
    valid_to: Option<UnixMs>,
}

/// What a line says of its segment.
struct Observation {
    /// `None` where it was gone.
    document: Option<Document>,
    raw: Option<Hash>,
}

/// What became of a line.
enum Taken {
    /// The database says so already.
    Known,
    /// The segment is as it was.
    Same,
    /// It made a version.
    Version,
}

/// What is wrong with a line, before its number is added.
enum Trouble {
    /// In words, and from which byte on.
    Line(usize, String),
    Store(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Trouble {
    fn whole<T>(what: String) -> Result<T, Self> {
        Err(Self::Line(0, what))
    }

    fn at(self, line: u64) -> ImportError {
        match self {
            Self::Line(at, what) => BadLine { line, column: at + 1, what }.into(),
            Self::Store(error) => error.into(),
        }
    }
}

impl Work<'_> {
    fn line(&mut self, number: u64, bytes: &[u8]) -> Result<(), ImportError> {
        let bad = |column, what: String| BadLine { line: number, column, what };
        if bytes.len() as u64 == LONGEST && !bytes.ends_with(b"\n") {
            return Err(bad(1, format!("it is longer than {} MiB", LONGEST >> 20)).into());
        }
        let text =
            std::str::from_utf8(bytes).map_err(|error| bad(error.valid_up_to() + 1, "it is not UTF-8".to_owned()))?;
        let text = text.trim_end_matches(['\n', '\r']);
        let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
        if text.trim().is_empty() {
            return Ok(());
        }
        let line = Line::read(number, text)?;
        let place = self.place(&line).map_err(|trouble| trouble.at(number))?;
        let place = &mut self.places[place];
        if line.observed_at > self.now.wall {
            return Err(bad(line.column(line.when), format!("{} is in the future", line.observed_at)).into());
        }
        let is_repeated = line.version.is_none() && place.repeats(&line);
        let taken = if is_repeated { Ok(Taken::Same) } else { place.take(self.file, &line) };
        match taken.map_err(|trouble| trouble.at(number))? {
            Taken::Known => self.done.known += 1,
            Taken::Version => place.versions += 1,
            Taken::Same => {}
        }
        self.done.lines += 1;
        place.bytes += bytes.len() as u64;
        Ok(())
    }

    /// The source of a line.
    fn place(&mut self, line: &Line<'_>) -> Result<usize, Trouble> {
        if let Some(at) = self.places.iter().position(|place| place.named == line.source) {
            return Ok(at);
        }
        let name = match (&self.source, &line.source) {
            (Some(name), own) => {
                let other = self.places.iter().find_map(|place| place.named.as_ref());
                if let (Some(other), Some(own)) = (other, own) {
                    return Trouble::whole(format!(
                        "the file has lines of {other} and of {own}: they cannot all be {name}'s"
                    ));
                }
                name.clone()
            }
            (None, Some(own)) => SourceName::new(own.as_str()),
            (None, None) => {
                return Trouble::whole("it names no source; --source NAME says whose the lines are".to_owned());
            }
        };
        let configured = self.configured.iter().find(|configured| configured.name == name);
        let known = self.file.source(&name)?;
        let word = match (configured, &known, &line.provider) {
            (Some(configured), _, _) => configured.provider,
            (None, Some(known), _) => &known.provider,
            (None, None, Some(own)) => own,
            (None, None, None) => {
                return Trouble::whole(format!("source {name} is neither in the configuration nor in the database"));
            }
        };
        if let Some(own) = line.provider.as_deref().filter(|own| *own != word) {
            return Trouble::whole(format!("it is of {own}, but source {name} is of {word}"));
        }
        let Some(provider) = provider::by_name(word) else {
            return Trouble::whole(format!("this version knows no provider {word}"));
        };
        let base_url = configured.map_or(provider.entry().base_url, |configured| &configured.base_url);
        let id = match known {
            Some(known) => known.id,
            None => self.file.add_source(&name, word, base_url)?,
        };
        let ignore = configured.map(|configured| configured.ignore.clone()).unwrap_or_default();
        // Lines that name their source and lines that do not may be of the same one.
        let poll = match self.places.iter().find(|place| place.id == id) {
            Some(place) => place.poll,
            None => self.file.begin(id)?,
        };
        let named = line.source.clone();
        self.places.push(Place { named, id, poll, provider, ignore, bytes: 0, versions: 0, segments: HashMap::new() });
        Ok(self.places.len() - 1)
    }

    /// Closes what was begun.
    fn finish(mut self) -> Result<Imported, ImportError> {
        let error = self.done.stopped.as_ref().map(|bad| format!("ended before line {bad}"));
        for place in &self.places {
            self.done.versions += place.versions;
            self.done.segments += place.segments.len() as u64;
            let outcome = if place.versions > 0 { Outcome::Updated } else { Outcome::Unchanged };
            self.file.finish(place.poll, outcome, place.bytes, error.as_deref())?;
            for track in place.segments.values().filter(|track| track.is_seen) {
                if let Some(Standing { id, observed_at: Some(at), .. }) = track.standing {
                    self.file.confirm(id, at)?;
                }
            }
        }
        Ok(self.done)
    }
}

impl Place {
    /// Whether a line tells, later, what an earlier one has told: then nothing of it needs to be read.
    fn repeats(&mut self, line: &Line<'_>) -> bool {
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
    fn take(&mut self, file: &store::Import<'_>, line: &Line<'_>) -> Result<Taken, Trouble> {
        let Observation { document, raw } = self.observe(line)?;
        if !self.segments.contains_key(&*line.id) {
            let standing = file.standing(self.id, &line.id)?;
            self.segments.insert(line.id.as_ref().into(), Track { standing, ..Track::default() });
        }
        let Some(track) = self.segments.get_mut(&*line.id) else { return Ok(Taken::Same) };
        let there = document.as_ref().filter(|document| !self.provider.about(document.value()).deleted);
        if is_known(file, track, line, document.as_ref(), there)? {
            return Ok(Taken::Known);
        }
        let last = track.standing.and_then(|standing| standing.observed_at);
        if let Some(last) = last.filter(|last| line.observed_at < *last) {
            let what = match (&line.version, track.standing) {
                (Some(told), Some(standing)) if file.is_version(standing.id, told.seq, last, None)?.is_none() => {
                    format!("version {} of {:?} is not kept here", told.seq, line.id)
                }
                _ => format!("{} is before {last}, when {:?} was last observed", line.observed_at, line.id),
            };
            return Err(Trouble::Line(line.column(line.when) - 1, what));
        }
        let latest = match track.standing {
            Some(standing) => file.latest(standing.id)?,
            None => unseen(),
        };
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
}

/// Whether the database says already what a line says; `there` is its document unless it is marked as deleted.
fn is_known(
    file: &store::Import<'_>,
    track: &mut Track,
    line: &Line<'_>,
    document: Option<&Document>,
    there: Option<&Document>,
) -> Result<bool, Trouble> {
    let Some(Standing { id, seq: latest, observed_at, .. }) = track.standing else { return Ok(false) };
    let Some(told) = &line.version else {
        let is_past = observed_at.is_some_and(|last| line.observed_at <= last);
        let is_known = is_past && file.knows(id, line.observed_at, there.map(Document::hash))?;
        track.last = track.last.filter(|_| !is_known);
        return Ok(is_known);
    };
    let hash = document.map(Document::hash);
    // A file that does not begin with the first version has other numbers than this database.
    let number = track.last.map_or(told.seq, |last| last.seq.saturating_add(told.seq.saturating_sub(last.told)));
    let is_first = track.last.is_none() && told.seq != latest.saturating_add(1);
    let is_past = observed_at.is_some_and(|last| line.observed_at < last || (line.observed_at == last && is_first));
    let seq = match file.is_version(id, number, line.observed_at, hash)? {
        Some(true) => Some(number),
        _ if is_past => file.version_at(id, line.observed_at, hash)?,
        _ => return Ok(false),
    };
    track.last = seq.map(|seq| Last { told: told.seq, seq, valid_to: told.valid_to }).or(track.last);
    Ok(seq.is_some())
}

/// What is no longer kept between the latest version here and that of a line, where the line follows such a gap and not
/// everything before it.
fn follows_gap(track: &Track, line: &Line<'_>) -> Result<Option<Gone>, Trouble> {
    let Some(told) = line.version.as_ref().filter(|told| told.after_gap.is_some()) else { return Ok(None) };
    let Some(standing) = track.standing.filter(|standing| standing.seq > 0) else { return Ok(None) };
    let gone = track.last.filter(|last| last.seq == standing.seq).and_then(|last| {
        let versions = told.seq.checked_sub(last.told)?.checked_sub(1).filter(|versions| *versions > 0)?;
        standing.seq.checked_add(versions)?.checked_add(1)?;
        Some(Gone { versions, from: last.valid_to? })
    });
    let since = standing.observed_at;
    match gone.filter(|gone| since.is_none_or(|since| since <= gone.from) && gone.from <= line.observed_at) {
        Some(gone) => Ok(Some(gone)),
        None => Trouble::whole(format!(
            "version {} of {:?} follows versions that are no longer kept, and what came before those is not version {}, \
             the latest here",
            told.seq, line.id, standing.seq
        )),
    }
}

/// A version after a gap: nothing is known of what was before it but what the line says.
fn after_gap(
    document: Option<&Document>,
    provider: &dyn Provider,
    line: &Line<'_>,
    latest: &Latest,
) -> Result<NewVersion, Trouble> {
    let Some(Told { op, after_gap: Some(AfterGap { missed_revisions, changes }), .. }) = &line.version else {
        return Trouble::whole("it does not say what it changed".to_owned());
    };
    let about = document.map(|document| provider.about(document.value()));
    let is_there = about.as_ref().is_some_and(|about| !about.deleted);
    let op = match op {
        Some(op @ (Op::Update | Op::Restore)) if is_there => *op,
        Some(Op::Delete) if !is_there => Op::Delete,
        _ => return Trouble::whole("its op is not what such a version does".to_owned()),
    };
    if op == Op::Update && changes.is_empty() {
        return Trouble::whole("it is an update without changes".to_owned());
    }
    Ok(NewVersion {
        base: latest.seq,
        op,
        cause: None,
        modified_at: None,
        modified_by: None,
        revision: about.and_then(|about| about.revision),
        missed_revisions: *missed_revisions,
        document: document.map(|document| StoredDocument { text: document.text().into(), hash: *document.hash() }),
        changes: changes.clone(),
    })
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

/// What is known of a segment that is not known.
fn unseen() -> Latest {
    Latest { seq: 0, state: SegmentState::Pending, document: None, revision: None, etag: None, not_found: false }
}
