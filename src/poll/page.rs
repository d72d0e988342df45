//! The straight way for one page of a list: all that it tells is committed in one transaction.

use std::collections::HashSet;
use std::sync::Arc;

use super::judge::{Refusal, document, judge_page, weigh};
use super::overlap::PageTurn;
use super::{Asking, Ended, Leave, Poller, Roster, Source, Step, Sweep, TRIES, after};
use crate::clock::Now;
use crate::document::Document;
use crate::model::{Outcome, PollKind, SegmentKey, SegmentState, SourceName, UnixMs};
use crate::poll::Polled;
use crate::provider::{Found, Listed, Provider};
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

/// A page that has come, and has its turn to be judged and committed: until it is dropped, no other answer of its source
/// has. What comes after it may be asked for meanwhile.
#[derive(Debug)]
pub struct Landed<'a> {
    asking: Asking,
    listed: Result<Listed, Refusal>,
    step: Option<Step>,
    /// Tracked segments that a whole list lacks.
    lacked: Vec<SegmentId>,
    /// When the first page was asked for.
    since: UnixMs,
    turn: PageTurn<'a>,
}

impl Landed<'_> {
    /// What comes next; `None` where the page failed and is to be asked for again.
    pub fn step(&self) -> Option<Step> {
        self.step
    }
}

/// What one page did.
#[derive(Debug)]
pub struct Swept {
    /// How its poll ended.
    pub polled: Polled,
    /// The segments that it told about, each with what became of it.
    pub covered: Vec<Covered>,
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
struct Item {
    /// `None` where it is that of the latest version: most are, and need not be kept.
    document: Option<Document>,
    known: SegmentNow,
    /// Another answer has made a version of it since the page was asked for.
    is_overtaken: bool,
}

impl Poller {
    /// Asks `source` for the next page of `sweep`; `None` when `leave` was given up before the answer. Fails only where the
    /// store does, as [`Poller::get`].
    pub async fn ask_page<'a>(
        &self,
        source: &'a Source,
        walk: Walk<'_>,
        sweep: &mut Sweep,
        leave: Leave<'_>,
    ) -> Result<Option<Landed<'a>>, Error> {
        let flight = source.overlap.begin_page();
        let begin = BeginPoll { source: source.id, segment: None, kind: walk.kind, now: self.clock.now() };
        sweep.begin(begin.now);
        let request = source.provider.list(sweep.page());
        let Some(asking) = self.ask(source, begin, &request, leave).await? else { return Ok(None) };

        let turn = flight.land().await;
        let listed = judge_page(&asking.answer, source.asked());
        let step = listed.as_ref().ok().map(|listed| sweep.take(listed));
        let lacked = match step {
            Some(Step::Complete) => walk.roster.of(walk.name, |id| !sweep.seen().contains(id)),
            _ => Vec::new(),
        };
        let lacked = lacked.into_iter().map(|(_, id)| id).collect();
        let since = sweep.began().map_or(asking.now.wall, |began| began.wall.min(asking.now.wall));
        Ok(Some(Landed { asking, listed, step, lacked, since, turn }))
    }

    /// Commits what a page tells about the tracked segments. Fails only where the store does: then the page is lost.
    pub async fn page(&self, source: &Source, walk: Walk<'_>, landed: &mut Landed<'_>) -> Result<Swept, Error> {
        let Landed { asking: Asking { poll, answer, now }, listed, lacked, since, turn, .. } = landed;
        let (poll, now) = (*poll, *now);
        let listed = match listed {
            Ok(listed) => std::mem::take(listed),
            Err(Refusal { outcome, error }) => {
                let ended = Ended { poll, now, outcome: *outcome, error: Some(error.clone()), usage: None };
                let polled = self.finish(source, answer, ended, Vec::new(), &[], None).await?;
                return Ok(Swept { polled, covered: Vec::new() });
            }
        };
        let usage = listed.usage;
        let mut items = self.items(source, walk, listed, turn).await?;
        let gone = self.still_gone(std::mem::take(lacked)).await?;
        let absence = Absence { segments: gone.iter().map(|known| known.id).collect(), since: *since };
        let mut tries = 1;
        loop {
            let told: Vec<Told<'_>> = items.iter().map(|item| (item, item.end(source.provider))).collect();
            let (before, ends): (Vec<&Latest>, Vec<SegmentEnd>) =
                told.iter().filter_map(|(item, end)| Some((&item.known.latest, end.clone()?))).unzip();
            let outcome =
                if ends.iter().any(|end| end.version.is_some()) { Outcome::Updated } else { Outcome::Unchanged };
            let ended = Ended { poll, now, outcome, error: None, usage };
            match self.finish(source, answer, ended, ends, &before, Some(absence.clone())).await {
                Ok(polled) => {
                    let mut covered = self.remember(&told, &polled, now).await;
                    for known in gone {
                        let (outcome, etag) = (Outcome::NotFound, known.latest.etag.clone());
                        let end = SegmentEnd { id: known.id, outcome, etag, version: None };
                        self.cache.renew(&known.key, || after(&known, &end, None, now)).await;
                        covered.push(Covered { key: known.key, outcome });
                    }
                    return Ok(Swept { polled, covered });
                }
                Err(Error::Conflict { .. }) if tries < TRIES => {
                    let ids = items.iter().map(|item| item.known.id).collect();
                    for (item, known) in items.iter_mut().zip(self.cache.read_all(ids).await?) {
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
    async fn items(
        &self,
        source: &Source,
        walk: Walk<'_>,
        listed: Listed,
        turn: &PageTurn<'_>,
    ) -> Result<Vec<Item>, Error> {
        let Walk { name, roster, all, .. } = walk;
        if all {
            let new = listed.segments.iter().filter(|found| roster.get(name, &found.id).is_none());
            let new: Vec<Arc<str>> = new.map(|found| Arc::from(found.id.as_str())).collect();
            if !new.is_empty() {
                roster.extend(name, self.store.track(source.id, new).await?.into_iter());
            }
        }
        let mut seen = HashSet::new();
        let tracked = listed.segments.into_iter().filter_map(|found| {
            let id = roster.get(name, &found.id).filter(|id| seen.insert(*id))?;
            Some((id, found))
        });
        let (ids, found): (Vec<SegmentId>, Vec<Found>) = tracked.unzip();
        let known = self.cache.read_all(ids).await?;
        let item = |(found, known): (Found, SegmentNow)| {
            let document = Some(document(found, source.asked())).filter(|document| !known.latest.is(document.hash()));
            Item { document, is_overtaken: turn.is_overtaken(known.id), known }
        };
        Ok(found.into_iter().zip(known).map(item).collect())
    }

    /// Those of the segments that a whole list lacks which were not there before: they still are not. One that was never
    /// seen at all is asked for by itself first, for a list may not have everything.
    async fn still_gone(&self, lacked: Vec<SegmentId>) -> Result<Vec<SegmentNow>, Error> {
        let mut gone = self.cache.read_all(lacked).await?;
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
            self.cache.renew(&key, || after(&item.known, end, made, now)).await;
            covered.push(Covered { key, outcome: end.outcome });
        }
        covered
    }
}

/// What a page means for a segment; nothing where it was overtaken by a version that it does not show.
type Told<'a> = (&'a Item, Option<SegmentEnd>);

impl Item {
    /// What the page means for it.
    fn end(&self, provider: &dyn Provider) -> Option<SegmentEnd> {
        let SegmentNow { id, latest, .. } = &self.known;
        let Some(document) = &self.document else {
            let end = SegmentEnd { id: *id, outcome: Outcome::Unchanged, etag: latest.etag.clone(), version: None };
            return Some(end).filter(|_| !self.is_overtaken);
        };
        let (outcome, version) = weigh(document, provider, latest);
        if self.is_overtaken && version.is_some() {
            // The next poll tells which of the two is newer.
            return None;
        }
        // A list has no validator for one of its segments, and one of an older document would be wrong.
        let etag = latest.etag.clone().filter(|_| version.is_none());
        Some(SegmentEnd { id: *id, outcome, etag, version })
    }
}
