//! Who is due next, for one account. Pure: everything is a function of what it was told, `now` and a seed.
//!
//! A segment's own interval is a *promise*, its source's interval a *wish*. Promises get their capacity first and go out
//! when they are due. While the wishes fit into what is left they go out when they are due, too; when they do not, they
//! all stretch by one factor and go out at an even pace, so that the long window never runs dry in the middle of a cycle.

mod backoff;
mod division;
mod forecast;
mod queue;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::budget::Capacity;
use crate::model::{Outcome, PollKind, SegmentKey, SourceName};

use division::{Division, stretched};
use queue::{Queue, Waiting};

pub use division::Stretch;
pub use forecast::{Expected, Forecast};

/// How often a source whose key is refused is asked again.
pub const PROBE_EVERY: Duration = Duration::from_secs(5 * 60);

/// When to look again where no instant is known at which more capacity is there.
const RETRY: Duration = Duration::from_millis(100);

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Work {
    /// One segment.
    Get(SegmentKey),
    /// The next page of a source's list.
    Sweep(SourceName),
}

impl Work {
    /// Whose request it is.
    pub fn source(&self) -> &SourceName {
        match self {
            Self::Get(key) => &key.source,
            Self::Sweep(source) => source,
        }
    }
}

/// Something to be done again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What.
    pub work: Work,
    /// How often, unstretched.
    pub every: Duration,
    /// Whether the interval is a segment's own.
    pub promise: bool,
    /// How many requests it takes each time.
    pub requests: u32,
    /// When it was last done, if ever.
    pub last: Option<Instant>,
    /// Polls without an answer in a row, as the file knows them.
    pub failures: u32,
}

impl Target {
    /// A wish for one request that was never sent before.
    pub fn once(work: Work, every: Duration) -> Self {
        Self { work, every, promise: false, requests: 1, last: None, failures: 0 }
    }
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this request.
    Poll(Work, PollKind),
    /// Nothing is due before this instant.
    At(Instant),
    /// Nothing is due until something ends or is added.
    Idle,
}

/// How a poll ended, for the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The provider told what was asked.
    Answered,
    /// It told a part, and the next one is due.
    Continues,
    /// It did not; try again after a growing, jittered delay.
    Failed,
    /// The whole account has to wait; the segment stays due.
    Throttled,
    /// The provider refuses the key; the whole source has to wait.
    Unauthorized,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Created
            | Outcome::Updated
            | Outcome::Unchanged
            | Outcome::Deleted
            | Outcome::Restored
            | Outcome::NotFound => Self::Answered,
            Outcome::Failed | Outcome::Malformed => Self::Failed,
            Outcome::Throttled => Self::Throttled,
            Outcome::Unauthorized => Self::Unauthorized,
        }
    }
}

/// Polls of a segment that ended without an answer, in a row, before and after one more end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Before it.
    pub before: u32,
    /// With it.
    pub after: u32,
}

/// Segments that share one fate: same source, same kind of interval, same interval.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    source: SourceName,
    promise: bool,
    every: Duration,
}

#[derive(Debug)]
struct Entry {
    group: Group,
    /// Where it stands in its group's queue unless it is in flight.
    waiting: Waiting,
    in_flight: bool,
    requests: u32,
    failures: u32,
}

/// The schedule of one account.
#[derive(Debug)]
pub struct Schedule {
    entries: HashMap<Work, Entry>,
    groups: BTreeMap<Group, Queue>,
    urgent: VecDeque<Work>,
    /// Sources whose key is refused, and when to ask again; `None` while the probe is out.
    refused: HashMap<SourceName, Option<Instant>>,
    /// When the last wish went out that was not the first poll of its segment.
    last_wish: Option<Instant>,
    /// How many were ever added: the order of those never done.
    added: usize,
    random: fastrand::Rng,
}

impl Schedule {
    /// The schedule of `targets`; `seed` feeds the jitter of backoffs.
    pub fn new(targets: Vec<Target>, seed: u64) -> Self {
        let mut schedule = Self {
            entries: HashMap::with_capacity(targets.len()),
            groups: BTreeMap::new(),
            urgent: VecDeque::new(),
            refused: HashMap::new(),
            last_wish: None,
            added: 0,
            random: fastrand::Rng::with_seed(seed),
        };
        for target in targets {
            schedule.add(target);
        }
        schedule
    }

    /// Takes one more in, unless it is there already.
    pub fn add(&mut self, target: Target) {
        let Target { work, every, promise, requests, last, failures } = target;
        if self.entries.contains_key(&work) {
            return;
        }
        self.added += 1;
        let group = Group { source: work.source().clone(), promise, every };
        let waiting = last.map_or(Waiting::New(self.added), Waiting::Checked);
        self.insert(work, Entry { group, waiting, in_flight: false, requests, failures });
    }

    /// The machine slept for so long, and its monotonic clock stood still: what waits is due so much earlier.
    pub fn slept(&mut self, by: Duration) {
        let earlier = |at: Instant| at.checked_sub(by).unwrap_or(at);
        let waiting: Vec<Work> =
            self.entries.iter().filter(|(_, entry)| !entry.in_flight).map(|(work, _)| work.clone()).collect();
        for work in waiting {
            let Some(mut entry) = self.remove(&work) else { continue };
            entry.waiting = match entry.waiting {
                Waiting::New(number) => Waiting::New(number),
                Waiting::Checked(last) => Waiting::Checked(earlier(last)),
                Waiting::Backoff(due) => Waiting::Backoff(earlier(due)),
            };
            self.insert(work, entry);
        }
        self.refused.values_mut().flatten().for_each(|probe| *probe = earlier(*probe));
    }

    /// Whether `work` is part of the schedule.
    pub fn has(&self, work: &Work) -> bool {
        self.entries.contains_key(work)
    }

    /// From now on `work` takes so many requests each time.
    pub fn set_requests(&mut self, work: &Work, requests: u32) {
        if let Some(mut entry) = self.remove(work) {
            entry.requests = requests;
            self.insert(work.clone(), entry);
        }
    }

    /// Whether nothing is left to poll, nor in flight.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes one out.
    pub fn forget(&mut self, work: &Work) {
        self.remove(work);
        self.urgent.retain(|other| other != work);
    }

    /// Takes one out unless it is in flight; false when it is.
    pub fn cancel(&mut self, work: &Work) -> bool {
        let is_waiting = self.entries.get(work).is_none_or(|entry| !entry.in_flight);
        if is_waiting {
            self.forget(work);
        }
        is_waiting
    }

    /// Takes all of a source out that is not in flight, and names it.
    pub fn forget_waiting(&mut self, source: &SourceName) -> Vec<Work> {
        let waiting = self.entries.iter().filter(|(work, entry)| work.source() == source && !entry.in_flight);
        let waiting: Vec<Work> = waiting.map(|(work, _)| work.clone()).collect();
        waiting.iter().for_each(|work| self.forget(work));
        waiting
    }

    fn insert(&mut self, work: Work, entry: Entry) {
        let queue = self.groups.entry(entry.group.clone()).or_default();
        queue.requests += u64::from(entry.requests);
        if !entry.in_flight {
            queue.insert(entry.waiting, work.clone());
        }
        self.entries.insert(work, entry);
    }

    fn remove(&mut self, work: &Work) -> Option<Entry> {
        let entry = self.entries.remove(work)?;
        if let Some(queue) = self.groups.get_mut(&entry.group) {
            queue.requests -= u64::from(entry.requests);
            queue.remove(entry.waiting, work);
        }
        Some(entry)
    }

    /// What to do at `now`, given what the account can send; only sources that `has_slot` may start a request.
    pub fn next(&self, now: Instant, capacity: Capacity, has_slot: impl Fn(&SourceName) -> bool) -> Next {
        let usable = |source: &SourceName| has_slot(source) && !self.refused.contains_key(source);
        if let Some(key) = self.urgent.iter().find(|work| usable(work.source())) {
            return Next::Poll(key.clone(), PollKind::Get);
        }
        let division = self.divide(capacity);
        let candidates =
            [self.probe(&has_slot), self.promise(now, &division, usable), self.wish(now, capacity, &division, usable)];
        for due in candidates.iter().flatten().filter(|due| due.at <= now) {
            if let Some((key, kind)) = due.poll {
                return Next::Poll(key.clone(), kind);
            }
        }
        candidates.iter().flatten().map(|due| due.at).min().map_or(Next::Idle, Next::At)
    }

    /// The probe that is due first among the sources whose key is refused.
    fn probe(&self, has_slot: impl Fn(&SourceName) -> bool) -> Option<Due<'_>> {
        let asking = self.refused.iter().filter_map(|(source, at)| Some((source, (*at)?)));
        let (source, at) = asking.filter(|(source, _)| has_slot(source)).min_by_key(|(_, at)| *at)?;
        let key = self.groups.iter().filter(|(group, _)| group.source == *source).find_map(|(_, queue)| queue.any())?;
        Some(Due { at, poll: Some((key, PollKind::Probe)) })
    }

    /// The promise that is due first.
    fn promise(&self, now: Instant, division: &Division, usable: impl Fn(&SourceName) -> bool) -> Option<Due<'_>> {
        let heads = self.heads(true, division.stretch.promises, usable);
        heads.new.map(|key| Due::of(now, key)).or_else(|| Head::earlier(heads.checked, heads.backoff).map(Head::due))
    }

    /// The wish that goes out next.
    fn wish(
        &self,
        now: Instant,
        capacity: Capacity,
        division: &Division,
        usable: impl Fn(&SourceName) -> bool,
    ) -> Option<Due<'_>> {
        let heads = self.heads(false, division.stretch.wishes, usable);
        let due = match heads.new {
            Some(key) => Due::of(now, key),
            None if !division.is_short() => Head::earlier(heads.checked, heads.backoff)?.due(),
            None => {
                // Short of capacity, wishes follow an even pace; their deadlines only order them.
                let ready = heads.backoff.filter(|head| head.at <= now);
                let head = Head::earlier(heads.checked, ready).or(heads.backoff)?;
                let paced = self.last_wish.map_or(now, |last| last + division.spacing());
                let earliest = if heads.checked.is_some() || ready.is_some() { now } else { head.at };
                Due::of(paced.max(earliest), head.work)
            }
        };
        if division.may_wish {
            return Some(due);
        }
        // All that is left of the window belongs to promises.
        capacity.changes_at.map(|at| Due { at: at.max(now + RETRY), poll: None })
    }

    /// The first segment of each kind among the usable groups of promises or wishes.
    fn heads(&self, promise: bool, stretch: f64, usable: impl Fn(&SourceName) -> bool) -> Heads<'_> {
        let mut heads = Heads::default();
        let mut first_number = usize::MAX;
        for (group, queue) in self.groups.iter().filter(|(group, _)| group.promise == promise && usable(&group.source))
        {
            if let Some((number, work)) = queue.first_new().filter(|(number, _)| *number < first_number) {
                (first_number, heads.new) = (number, Some(work));
            }
            let checked =
                queue.first_checked().map(|(last, work)| Head { at: last + stretched(group.every, stretch), work });
            heads.checked = Head::earlier(heads.checked, checked);
            heads.backoff = Head::earlier(heads.backoff, queue.first_backoff().map(|(at, work)| Head { at, work }));
        }
        heads
    }

    /// Divides what the account can send between promises and wishes.
    fn divide(&self, capacity: Capacity) -> Division {
        let demand = |promise| {
            let of = self.groups.iter().filter(|(group, _)| group.promise == promise);
            let of = of.filter(|(group, _)| !self.refused.contains_key(&group.source));
            of.map(|(group, queue)| queue.requests as f64 / group.every.as_secs_f64()).sum::<f64>()
        };
        Division::of(capacity, demand(true), demand(false))
    }

    /// The factors by which intervals stretch in the long run, at `steady` requests per second.
    pub fn stretch(&self, steady: f64) -> Stretch {
        self.divide(Capacity::steadily(steady)).stretch
    }

    /// Notes that the poll that [`Schedule::next`] named is on its way.
    pub fn start(&mut self, work: &Work, now: Instant) {
        self.urgent.retain(|other| other != work);
        let Some(entry) = self.entries.get_mut(work) else { return };
        entry.in_flight = true;
        if let Some(queue) = self.groups.get_mut(&entry.group) {
            queue.remove(entry.waiting, work);
        }
        if !entry.group.promise && !matches!(entry.waiting, Waiting::New(_)) {
            self.last_wish = Some(now);
        }
        if let Some(at) = self.refused.get_mut(work.source()) {
            *at = None;
        }
    }

    /// Notes how a started poll ended. A segment that was removed meanwhile is forgotten.
    pub fn end(&mut self, work: &Work, ended: Ended, now: Instant) -> Failures {
        self.settle_source(work.source(), ended, now);
        let Some(mut entry) = self.remove(work) else { return Failures::default() };
        let before = entry.failures;
        entry.in_flight = false;
        match ended {
            Ended::Answered => (entry.waiting, entry.failures) = (Waiting::Checked(now), 0),
            Ended::Continues => (entry.waiting, entry.failures) = (Waiting::Backoff(now), 0),
            Ended::Failed => {
                entry.failures = entry.failures.saturating_add(1);
                let delay = backoff::delay(entry.failures, entry.group.every, self.random.f64());
                entry.waiting = Waiting::Backoff(now + delay);
            }
            Ended::Throttled | Ended::Unauthorized => (),
        }
        let after = entry.failures;
        self.insert(work.clone(), entry);
        Failures { before, after }
    }

    fn settle_source(&mut self, source: &SourceName, ended: Ended, now: Instant) {
        match (ended, self.refused.get(source)) {
            (Ended::Unauthorized, _) | (Ended::Failed | Ended::Throttled, Some(None)) => {
                self.refused.insert(source.clone(), Some(now + PROBE_EVERY));
            }
            (Ended::Answered | Ended::Continues, _) => {
                self.refused.remove(source);
            }
            (Ended::Failed | Ended::Throttled, _) => (),
        }
    }

    /// The key of `source` was refused before; ask once, at `now`, whether it works again.
    pub fn ask_again(&mut self, source: &SourceName, now: Instant) {
        self.refused.insert(source.clone(), Some(now));
    }

    /// Whether the key of `source` was refused, and no request is out to ask whether it still is.
    pub fn is_refused(&self, source: &SourceName) -> bool {
        matches!(self.refused.get(source), Some(Some(_)))
    }

    /// Does `work` next, before everything that is merely due. False when it is not scheduled.
    pub fn hurry(&mut self, work: &Work) -> bool {
        let Some(entry) = self.entries.get(work) else { return false };
        if !entry.in_flight && !self.urgent.contains(work) {
            self.urgent.push_back(work.clone());
        }
        true
    }
}

/// A poll that is due at some instant; without a poll, a moment to look again.
struct Due<'a> {
    at: Instant,
    poll: Option<(&'a Work, PollKind)>,
}

impl<'a> Due<'a> {
    fn of(at: Instant, work: &'a Work) -> Self {
        let kind = match work {
            Work::Get(_) => PollKind::Get,
            Work::Sweep(_) => PollKind::Sweep,
        };
        Self { at, poll: Some((work, kind)) }
    }
}

/// The first segment of a queue and its deadline.
#[derive(Clone, Copy)]
struct Head<'a> {
    at: Instant,
    work: &'a Work,
}

impl<'a> Head<'a> {
    fn earlier(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        one.into_iter().chain(other).min_by_key(|head| head.at)
    }

    fn due(self) -> Due<'a> {
        Due::of(self.at, self.work)
    }
}

#[derive(Default)]
struct Heads<'a> {
    new: Option<&'a Work>,
    checked: Option<Head<'a>>,
    backoff: Option<Head<'a>>,
}

#[cfg(test)]
mod tests;
