//! How fresh the copies of one source are. Pure: a function of what it was told, `now` and the stretch.
//!
//! Segments of one interval are kept in the order of their last answers, so that counting the stale ones touches no
//! others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Freshness, NAMED, Stale};
use crate::model::{Outcome, SegmentState};

/// How often a segment is to be polled, unstretched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    /// The time between two polls.
    pub every: Duration,
    /// Whether it is the segment's own.
    pub is_own: bool,
}

/// The tracked segments of one source.
#[derive(Debug)]
pub struct Copies {
    usual: Interval,
    copies: HashMap<Arc<str>, Copy>,
    groups: BTreeMap<Interval, Group>,
    pending: usize,
    deleted: usize,
}

/// One segment.
#[derive(Clone, Copy, Debug)]
struct Copy {
    interval: Interval,
    state: SegmentState,
    since: Since,
}

/// The last answer, or when it was taken up.
#[derive(Clone, Copy, Debug)]
enum Since {
    Answer(Instant),
    Start(Instant),
}

/// Segments of one interval, the one that waits longest first.
#[derive(Debug, Default)]
struct Group {
    answered: BTreeSet<(Instant, Arc<str>)>,
    unanswered: BTreeSet<(Instant, Arc<str>)>,
}

impl Group {
    fn of(&mut self, since: Since) -> (&mut BTreeSet<(Instant, Arc<str>)>, Instant) {
        match since {
            Since::Answer(at) => (&mut self.answered, at),
            Since::Start(at) => (&mut self.unanswered, at),
        }
    }
}

impl Copies {
    /// No segments yet, with room for so many; those that appear by themselves are to be polled as often as `every`.
    pub fn new(every: Duration, room: usize) -> Self {
        let usual = Interval { every, is_own: false };
        Self { usual, copies: HashMap::with_capacity(room), groups: BTreeMap::new(), pending: 0, deleted: 0 }
    }

    /// Takes a segment up as the file knows it; one that was never answered waits since `now`.
    pub fn take_up(
        &mut self,
        id: Arc<str>,
        own: Option<Duration>,
        state: SegmentState,
        answered: Option<Instant>,
        now: Instant,
    ) {
        let interval = own.map_or(self.usual, |every| Interval { every, is_own: true });
        self.put(id, Copy { interval, state, since: answered.map_or(Since::Start(now), Since::Answer) });
    }

    /// Since when a segment waits for its first answer, if it does.
    pub fn waits_since(&self, id: &str) -> Option<Instant> {
        match self.copies.get(id)?.since {
            Since::Start(at) => Some(at),
            Since::Answer(_) => None,
        }
    }

    /// A poll of the segment ended at `now`. One that was not known yet is tracked from now on.
    pub fn polled(&mut self, id: &Arc<str>, outcome: Outcome, now: Instant) {
        if !outcome.is_answer() {
            return;
        }
        let known = self.copies.get(id);
        let state = match outcome {
            Outcome::Created | Outcome::Updated | Outcome::Restored => SegmentState::Present,
            Outcome::Deleted => SegmentState::Deleted,
            _ => known.map_or(SegmentState::Pending, |copy| copy.state),
        };
        let interval = known.map_or(self.usual, |copy| copy.interval);
        self.put(Arc::clone(id), Copy { interval, state, since: Since::Answer(now) });
    }

    fn put(&mut self, id: Arc<str>, copy: Copy) {
        if let Some(old) = self.copies.insert(Arc::clone(&id), copy) {
            self.count(old.state, usize::wrapping_sub);
            let (queue, at) = self.groups.entry(old.interval).or_default().of(old.since);
            queue.remove(&(at, Arc::clone(&id)));
        }
        self.count(copy.state, usize::wrapping_add);
        let (queue, at) = self.groups.entry(copy.interval).or_default().of(copy.since);
        queue.insert((at, id));
    }

    fn count(&mut self, state: SegmentState, step: impl Fn(usize, usize) -> usize) {
        match state {
            SegmentState::Pending => self.pending = step(self.pending, 1),
            SegmentState::Deleted => self.deleted = step(self.deleted, 1),
            SegmentState::Present => (),
        }
    }

    /// How fresh they are at `now`, where one is stale once it is older than `allowed` says of its interval.
    pub fn freshness(&self, now: Instant, allowed: impl Fn(Interval) -> Duration) -> Freshness {
        let (mut stale, mut answered, mut named) = (0, 0, Vec::new());
        for (interval, group) in &self.groups {
            let stale_after = allowed(*interval);
            for (queue, is_answered) in [(&group.answered, true), (&group.unanswered, false)] {
                // Ages are compared, not instants: a long allowed age may reach back before the clock's first instant.
                let waiting = queue.iter().map(|(at, id)| (now.saturating_duration_since(*at), id));
                let waiting = waiting.take_while(|(waits, _)| *waits > stale_after);
                let mut count = 0;
                for (waits, id) in waiting {
                    if count < NAMED {
                        named.push(Stale { id: Arc::clone(id), waits, stale_after, is_answered });
                    }
                    count += 1;
                }
                stale += count;
                answered += if is_answered { queue.len() - count } else { 0 };
            }
        }
        named.sort_by(|one, other| other.waits.cmp(&one.waits).then_with(|| one.id.cmp(&other.id)));
        named.truncate(NAMED);
        let oldest = self.groups.values().filter_map(|group| group.answered.first()).map(|(at, _)| *at).min();
        Freshness {
            tracked: self.copies.len(),
            fresh: answered,
            stale,
            pending: self.pending,
            deleted: self.deleted,
            oldest: oldest.map(|at| now.saturating_duration_since(at)),
            named,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn thrice(interval: Interval) -> Duration {
        interval.every * 3
    }

    fn id(number: usize) -> Arc<str> {
        format!("s{number}").into()
    }

    #[test]
    fn a_copy_is_stale_once_it_is_older_than_allowed() {
        let start = Instant::now();
        let mut copies = Copies::new(MINUTE, 0);
        copies.take_up(id(0), None, SegmentState::Present, Some(start), start);
        copies.take_up(id(1), Some(Duration::from_secs(1)), SegmentState::Present, Some(start), start);
        copies.take_up(id(2), None, SegmentState::Pending, None, start);
        let at = |seconds| copies.freshness(start + Duration::from_secs(seconds), thrice);
        let counts = |found: &Freshness| (found.fresh, found.stale, found.tracked - found.fresh - found.stale);
        assert_eq!(counts(&at(3)), (2, 0, 1));
        assert_eq!(counts(&at(4)), (1, 1, 1));
        assert_eq!(counts(&at(180)), (1, 1, 1));
        let late = at(181);
        assert_eq!((counts(&late), late.pending, late.deleted), ((0, 3, 0), 1, 0));
        assert_eq!(late.oldest, Some(Duration::from_secs(181)));
        let named: Vec<_> = late.named.iter().map(|stale| (&*stale.id, stale.is_answered)).collect();
        assert_eq!(named, [("s0", true), ("s1", true), ("s2", false)]);
    }

    #[test]
    fn outcomes_renew_the_age_and_move_the_state() {
        let start = Instant::now();
        let mut copies = Copies::new(MINUTE, 0);
        copies.take_up(id(0), None, SegmentState::Pending, None, start);
        let after = |copies: &Copies| {
            let found = copies.freshness(start + MINUTE * 4, thrice);
            (found.fresh, found.stale, found.pending, found.deleted)
        };
        for outcome in [Outcome::Failed, Outcome::Throttled, Outcome::Unauthorized, Outcome::Malformed] {
            copies.polled(&id(0), outcome, start + MINUTE * 3);
            assert_eq!(after(&copies), (0, 1, 1, 0), "{outcome}");
        }
        copies.polled(&id(0), Outcome::NotFound, start + MINUTE * 2);
        assert_eq!(after(&copies), (1, 0, 1, 0));
        copies.polled(&id(0), Outcome::Created, start + MINUTE * 2);
        copies.polled(&id(0), Outcome::Deleted, start + MINUTE * 2);
        copies.polled(&id(0), Outcome::Unchanged, start + MINUTE * 2);
        assert_eq!(after(&copies), (1, 0, 0, 1));
        copies.polled(&id(1), Outcome::Created, start + MINUTE * 2);
        assert_eq!(after(&copies), (2, 0, 0, 1), "one that appears by itself");
    }

    /// The same, by looking at every segment.
    fn plainly(ages: &[(u64, bool, bool)], now: u64) -> (usize, usize, Option<u64>) {
        let is_stale = |(at, own, _): &(u64, bool, bool)| now - at > if *own { 3 } else { 180 };
        let fresh = ages.iter().filter(|one| one.2 && !is_stale(one)).count();
        let oldest = ages.iter().filter(|one| one.2).map(|one| now - one.0).max();
        (fresh, ages.iter().filter(|one| is_stale(one)).count(), oldest)
    }

    proptest! {
        #[test]
        fn counting_by_order_is_counting_one_by_one(
            first in prop::collection::vec((0_u64..200, any::<bool>(), any::<bool>()), 0..40),
            polls in prop::collection::vec((0_usize..40, 200_u64..400), 0..80),
            now in 400_u64..700,
        ) {
            let start = Instant::now();
            let at = |seconds| start + Duration::from_secs(seconds);
            let (mut copies, mut all) = (Copies::new(MINUTE, 0), first);
            for (number, (seconds, own, answered)) in all.iter().enumerate() {
                let own = own.then_some(Duration::from_secs(1));
                let answered = answered.then_some(at(*seconds));
                copies.take_up(id(number), own, SegmentState::Present, answered, at(*seconds));
            }
            for (number, seconds) in polls {
                if let Some(one) = all.get_mut(number) {
                    copies.polled(&id(number), Outcome::Unchanged, at(seconds));
                    (one.0, one.2) = (seconds, true);
                }
            }
            let found = copies.freshness(at(now), thrice);
            let oldest = found.oldest.map(|age| age.as_secs());
            prop_assert_eq!((found.fresh, found.stale, oldest), plainly(&all, now));
            prop_assert_eq!(found.named.len(), found.stale.min(NAMED));
            prop_assert!(found.named.is_sorted_by(|one, other| one.waits >= other.waits));
        }
    }
}
