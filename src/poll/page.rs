//! The straight way for one page of a list: all that it tells is committed in one transaction.

use std::collections::HashSet;
use std::sync::Arc;

use super::judge::{Asked, Content, Entry, Listed, Refusal, document, judge_page, meaning, weigh};
use super::meaning::Meaning;
use super::overlap::PageFlight;
use super::{Ended, Leave, Poller, Roster, Source, Step, Sweep, TRIES};
use crate::clock::Now;
use crate::document::{Document, parse};
use crate::model::{Outcome, PollKind, SegmentKey, SegmentState, SourceName};
use crate::poll::Polled;
use crate::store::{Absence, BeginPoll, Error, Latest, SegmentEnd, SegmentId, SegmentNow};

/// Whose list is walked through, and for which segments.
#[derive(Clone, Copy, Debug)]
pub struct Walk<'a> {
    /// The source's name.
    pub name: &'a SourceName,
    /// The tracked segments.
    pub roster: &'a Roster,
    /// Whether those that are not tracked yet are from now on.
    pub all: bool,
    /// Why the page is asked for.
    pub kind: PollKind,
}

/// What one page did.
#[derive(Debug)]
pub struct Swept {
    /// How its poll ended.
    pub polled: Polled,
    /// The segments that it told about, each with what became of it.
    pub covered: Vec<Covered>,
    /// What comes next; `None` where the page failed and is to be asked for again.
    pub step: Option<Step>,
}

/// A segment that a page told about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Which one.
    pub key: SegmentKey,
    /// What became of it.
    pub outcome: Outcome,
}

/// A tracked segment, what the page says of it, and what the file knows of it.
struct Item<'t> {
    /// As the page has it.
    text: &'t str,
    told: Holds,
    known: SegmentNow,
    /// Another answer has made a version of it since the page was asked for.
    is_overtaken: bool,
}

/// What a page says of a segment.
enum Holds {
    /// The same as the last time.
    Known(Meaning),
    Read(Document),
}

impl Poller {
    /// Asks `source` for the next page of `sweep` and commits what it tells about the tracked segments; `None` when
    /// `leave` was given up before the answer. Fails only where the store does, as [`Poller::get`].
    pub async fn page(
        &self,
        source: &Source,
        walk: Walk<'_>,
        sweep: &mut Sweep,
        leave: Leave<'_>,
    ) -> Result<Option<Swept>, Error> {
        let flight = source.overlap.begin_page();
        let begin = BeginPoll { source: source.id, segment: None, kind: walk.kind, now: self.clock.now() };
        sweep.begin(begin.now);
        let request = source.provider.list(sweep.page());
        let poll = self.store.begin_poll(begin).await?;
        let Some((answer, now)) = self.ask(source, poll, &request, leave).await? else { return Ok(None) };

        let _turn = flight.turn().await;
        let known = |id: &str, text: &str| source.items.known(walk.roster.get(walk.name, id)?, text.as_bytes());
        let listed = match judge_page(&answer, source.asked(), known) {
            Ok(listed) => listed,
            Err(Refusal { outcome, error }) => {
                let ended = Ended { poll, now, outcome, error: Some(error), usage: None };
                let polled = self.finish(source, &answer, ended, Vec::new(), &[], None).await?;
                return Ok(Some(Swept { polled, covered: Vec::new(), step: None }));
            }
        };
        let step = sweep.take(&listed);
        let usage = listed.beside.usage;
        let mut items = self.items(source, walk, listed, &flight).await?;
        let gone = if step == Step::Complete { self.still_gone(walk, sweep).await? } else { Vec::new() };
        let since = sweep.began().map_or(now.wall, |began| began.wall.min(now.wall));
        let absence = Absence { segments: gone.iter().map(|known| known.id).collect(), since };
        let mut tries = 1;
        loop {
            let told: Vec<Told<'_>> = items.iter().map(|item| (item, item.end(source.asked()))).collect();
            let (before, ends): (Vec<&Latest>, Vec<SegmentEnd>) =
                told.iter().filter_map(|(item, end)| Some((&item.known.latest, end.clone()?))).unzip();
            let outcome =
                if ends.iter().any(|end| end.version.is_some()) { Outcome::Updated } else { Outcome::Unchanged };
            let ended = Ended { poll, now, outcome, error: None, usage };
            match self.finish(source, &answer, ended, ends, &before, Some(absence.clone())).await {
                Ok(polled) => {
                    let mut covered = self.remember(&told, &polled, now).await;
                    for known in gone {
                        let (outcome, etag) = (Outcome::NotFound, known.latest.etag.clone());
                        let end = SegmentEnd { id: known.id, outcome, etag, version: None };
                        self.keep(&known.key, &known.latest, &end, None, now).await;
                        covered.push(Covered { key: known.key, outcome });
                    }
                    return Ok(Some(Swept { polled, covered, step: Some(step) }));
                }
                Err(Error::Conflict { .. }) if tries < TRIES => {
                    let ids = items.iter().map(|item| item.known.id).collect();
                    for (item, known) in items.iter_mut().zip(self.readers.all_now(ids).await?) {
                        item.is_overtaken |= known.latest.seq != item.known.latest.seq;
                        item.known = known;
                    }
                }
                Err(error) => return Err(error),
            }
            tries += 1;
        }
    }

    /// The tracked segments of a page, each once.
    async fn items<'t>(
        &self,
        source: &Source,
        walk: Walk<'_>,
        listed: Listed<'t>,
        flight: &PageFlight<'_>,
    ) -> Result<Vec<Item<'t>>, Error> {
        let Walk { name, roster, all, .. } = walk;
        if all {
            let new = listed.segments.iter().filter(|entry| roster.get(name, &entry.id).is_none());
            let new: Vec<Arc<str>> = new.map(|entry| Arc::from(entry.id.as_str())).collect();
            if !new.is_empty() {
                for (id, segment) in self.store.track(source.id, new).await? {
                    roster.add(&SegmentKey::new(name.clone(), id), segment);
                }
            }
        }
        let mut seen = HashSet::new();
        let tracked = listed.segments.into_iter().filter_map(|entry| {
            let id = roster.get(name, &entry.id).filter(|id| seen.insert(*id))?;
            Some((id, entry))
        });
        let (ids, entries): (Vec<SegmentId>, Vec<Entry<'t>>) = tracked.unzip();
        let known = self.readers.all_now(ids).await?;
        let item = |(entry, known): (Entry<'t>, SegmentNow)| Item {
            text: entry.text,
            told: source.holds(known.id, entry),
            is_overtaken: flight.is_overtaken(known.id),
            known,
        };
        Ok(entries.into_iter().zip(known).map(item).collect())
    }

    /// Segments that were not there before, and that the whole list lacks: they still are not. One that was never seen at
    /// all is asked for by itself first, for a list may not have everything.
    async fn still_gone(&self, walk: Walk<'_>, sweep: &Sweep) -> Result<Vec<SegmentNow>, Error> {
        let lacked = walk.roster.of(walk.name, |id| !sweep.seen().contains(id));
        let mut gone = self.readers.all_now(lacked.into_iter().map(|(_, id)| id).collect()).await?;
        gone.retain(|known| match known.latest.state {
            SegmentState::Deleted => true,
            SegmentState::Pending => known.latest.not_found,
            SegmentState::Present => false,
        });
        Ok(gone)
    }

    /// Moves the cache after the commit.
    async fn remember(&self, told: &[Told<'_>], polled: &Polled, now: Now) -> Vec<Covered> {
        let mut covered = Vec::with_capacity(told.len());
        // In the order of the ends that made them.
        let mut committed = polled.committed.iter();
        for (item, end) in told {
            let key = item.known.key.clone();
            let Some(end) = end else {
                covered.push(Covered { key, outcome: Outcome::Unchanged });
                continue;
            };
            let made = end.version.as_ref().and_then(|_| committed.next()).map(|made| &**made);
            self.keep(&key, &item.known.latest, end, made, now).await;
            covered.push(Covered { key, outcome: end.outcome });
        }
        covered
    }
}

/// What a page means for a segment; nothing where the page saw something else than the single request that overtook it.
type Told<'a> = (&'a Item<'a>, Option<SegmentEnd>);

impl Source {
    /// What an entry of a page says, which is remembered.
    fn holds(&self, segment: SegmentId, entry: Entry<'_>) -> Holds {
        let object = match entry.content {
            Content::Known(meaning) => return Holds::Known(meaning),
            Content::Read(object) => object,
        };
        let document = document(object, self.asked());
        let meaning = meaning(&document, self.provider, None);
        meaning.into_iter().for_each(|meaning| self.items.note(segment, entry.text.as_bytes(), meaning));
        Holds::Read(document)
    }
}

impl Item<'_> {
    /// What the page means for it.
    fn end(&self, asked: Asked<'_>) -> Option<SegmentEnd> {
        let SegmentNow { id, latest, .. } = &self.known;
        let (outcome, version) = match &self.told {
            Holds::Known(meaning) if meaning.is_of(latest) => (Outcome::Unchanged, None),
            // It was read before, so it can be read again.
            Holds::Known(_) => weigh(&document(parse(self.text).ok()?, asked), asked.provider, latest),
            Holds::Read(document) => weigh(document, asked.provider, latest),
        };
        if self.is_overtaken && version.is_some() {
            // The next poll tells which of the two is newer.
            return None;
        }
        // A list has no validator for one of its segments, and one of an older document would be wrong.
        let etag = latest.etag.clone().filter(|_| version.is_none());
        Some(SegmentEnd { id: *id, outcome, etag, version })
    }
}
