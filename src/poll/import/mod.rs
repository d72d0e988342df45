//! The straight way for a file of observations: each line judged as if it had been polled, all in one transaction.
//!
//! A line is never taken for a deletion unless it says so, and what is older than what is known is refused, unless it is
//! known.

mod gap;
mod line;
mod place;
mod track;
mod trouble;

use std::io::{BufRead, Read};

use crate::clock::Now;
use crate::model::{Path, SourceName};
use crate::provider;
use crate::store::{self, Store};

use line::Line;
use place::{Place, Taken};
use trouble::Trouble;

pub use trouble::{BadLine, ImportError};

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
        self.places.push(Place::new(named, id, poll, provider, ignore));
        Ok(self.places.len() - 1)
    }

    /// Closes what was begun.
    fn finish(mut self) -> Result<Imported, ImportError> {
        let error = self.done.stopped.as_ref().map(|bad| format!("ended before line {bad}"));
        for place in &self.places {
            self.done.versions += place.versions;
            self.done.segments += place.segments.len() as u64;
            place.finish(self.file, error.as_deref())?;
        }
        Ok(self.done)
    }
}
