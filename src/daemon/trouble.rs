//! How a failing source is told: its first failure, then a summary at growing intervals, then its recovery. Pure.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::schedule::Work;

/// The time from a line about a trouble to the next one, at first …
const SHORTEST: Duration = Duration::from_secs(60);
/// … and after it has doubled often enough.
const LONGEST: Duration = Duration::from_secs(3600);

/// What the log says now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Nothing new.
    Nothing,
    /// A trouble begins.
    First,
    /// It goes on.
    Still(Extent),
    /// It is over.
    Over(Extent),
}

/// How much of a trouble there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// From the first failure on.
    pub(super) lasting: Duration,
    /// Polls that failed in it.
    pub(super) polls: u64,
    /// Segments and lists that fail now.
    pub(super) works: usize,
}

/// The troubles of one source.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    now: Option<Trouble>,
    /// Before this, nothing more is told: a source that fails and recovers all the time is one story.
    silent_until: Option<Instant>,
    pause: Option<Duration>,
    /// Segments whose answers make no sense, and since when.
    odd: HashMap<Work, Instant>,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    polls: u64,
    works: HashSet<Work>,
    is_told: bool,
}

impl Trouble {
    fn extent(&self, now: Instant) -> Extent {
        Extent { lasting: now.saturating_duration_since(self.since), polls: self.polls, works: self.works.len() }
    }
}

impl Troubles {
    /// One more poll brought no answer.
    pub(super) fn failed(&mut self, work: &Work, now: Instant) -> Word {
        let is_silent = self.silent_until.is_some_and(|until| now < until);
        let is_first = self.now.is_none();
        if is_first && self.silent_until.zip(self.pause).is_none_or(|(until, pause)| now > until + pause) {
            self.pause = None;
        }
        let trouble =
            self.now.get_or_insert_with(|| Trouble { since: now, polls: 0, works: HashSet::new(), is_told: false });
        trouble.polls += 1;
        trouble.works.insert(work.clone());
        if is_silent {
            return Word::Nothing;
        }
        trouble.is_told = true;
        let word = if is_first { Word::First } else { Word::Still(trouble.extent(now)) };
        let pause = self.pause.map_or(SHORTEST, |pause| (pause * 2).min(LONGEST));
        (self.pause, self.silent_until) = (Some(pause), Some(now + pause));
        word
    }

    /// A poll was answered. The trouble is over once all that failed has been.
    pub(super) fn answered(&mut self, work: &Work, now: Instant) -> Word {
        let Some(trouble) = &mut self.now else { return Word::Nothing };
        trouble.works.remove(work);
        if trouble.works.is_empty() { self.over(now) } else { Word::Nothing }
    }

    /// The source as a whole answers again.
    pub(super) fn over(&mut self, now: Instant) -> Word {
        match self.now.take() {
            Some(trouble) if trouble.is_told => Word::Over(trouble.extent(now)),
            _ => Word::Nothing,
        }
    }

    /// An answer makes no sense; whether the one before did.
    pub(super) fn is_odd(&mut self, work: &Work, now: Instant) -> bool {
        let is_new = !self.odd.contains_key(work);
        self.odd.entry(work.clone()).or_insert(now);
        is_new
    }

    /// An answer makes sense; for how long the ones before had not, if so.
    pub(super) fn makes_sense(&mut self, work: &Work, now: Instant) -> Option<Duration> {
        self.odd.remove(work).map(|since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SegmentKey, SourceName};

    const SECOND: Duration = Duration::from_secs(1);

    fn work(id: &str) -> Work {
        Work::Get(SegmentKey::new(SourceName::new("prod"), id))
    }

    /// The seconds at which a source that fails every ten seconds is told.
    fn told(troubles: &mut Troubles, start: Instant, seconds: std::ops::Range<u32>) -> Vec<(u32, Word)> {
        let at = |second: u32| (second, troubles.failed(&work("a"), start + SECOND * second));
        seconds.step_by(10).map(at).filter(|(_, word)| *word != Word::Nothing).collect()
    }

    #[test]
    fn a_lasting_trouble_is_told_ever_more_rarely() {
        let (mut troubles, start) = (Troubles::default(), Instant::now());
        let words = told(&mut troubles, start, 0..20_000);
        let seconds: Vec<u32> = words.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [0, 60, 180, 420, 900, 1860, 3780, 7380, 10_980, 14_580, 18_180]);
        assert_eq!(words[0].1, Word::First);
        assert_eq!(words[2].1, Word::Still(Extent { lasting: SECOND * 180, polls: 19, works: 1 }));
        let over = troubles.answered(&work("a"), start + SECOND * 20_000);
        assert_eq!(over, Word::Over(Extent { lasting: SECOND * 20_000, polls: 2000, works: 0 }));
        // Much later, a new one is told like the first.
        let later = start + SECOND * 40_000;
        assert_eq!(told(&mut troubles, later, 0..200).iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 60, 180]);
    }

    #[test]
    fn it_is_over_once_all_that_failed_is_answered() {
        let (mut troubles, start) = (Troubles::default(), Instant::now());
        assert_eq!(troubles.failed(&work("a"), start), Word::First);
        assert_eq!(troubles.failed(&work("b"), start), Word::Nothing);
        assert_eq!(troubles.answered(&work("a"), start + SECOND), Word::Nothing);
        assert_eq!(troubles.answered(&work("c"), start + SECOND), Word::Nothing);
        let over = troubles.answered(&work("b"), start + SECOND * 2);
        assert_eq!(over, Word::Over(Extent { lasting: SECOND * 2, polls: 2, works: 0 }));
        assert_eq!(troubles.answered(&work("b"), start + SECOND * 3), Word::Nothing);
    }

    #[test]
    fn failing_now_and_then_is_one_story() {
        let (mut troubles, start) = (Troubles::default(), Instant::now());
        let mut lines = 0;
        for second in 0..36_000 {
            let now = start + SECOND * second;
            lines += u32::from(troubles.failed(&work("a"), now) != Word::Nothing);
            lines += u32::from(troubles.answered(&work("a"), now) != Word::Nothing);
        }
        assert!(lines <= 2 * 16, "{lines} lines in ten hours");
    }

    #[test]
    fn nonsense_is_told_once_a_segment() {
        let (mut troubles, start) = (Troubles::default(), Instant::now());
        assert!(troubles.is_odd(&work("a"), start) && troubles.is_odd(&work("b"), start));
        assert!(!troubles.is_odd(&work("a"), start + SECOND));
        assert_eq!(troubles.makes_sense(&work("a"), start + SECOND * 5), Some(SECOND * 5));
        assert_eq!(troubles.makes_sense(&work("a"), start + SECOND * 6), None);
    }
}
