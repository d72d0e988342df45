//! Sweeps of an account: a source's list, page by page, and single requests for what it lacks.

use std::collections::HashSet;

use super::account::{Account, Desk, Flight, Mode, Worker};
use super::board::Story;
use super::report;
use crate::model::{Outcome, PollKind, SegmentKey, SourceName};
use crate::poll::{Covered, Failing, Leave, Polled, Step, Sweep, Walk};
use crate::schedule::{Ended, Target, Work};

/// Segments of one source that wait to be asked for because its list lacked them; more wait for the next sweep. A list
/// that is empty by mistake must not keep the daemon from reading it again.
const MOST_MISSED: usize = 100;

impl Account {
    /// Asks for the next page of a source's list.
    pub(super) async fn sweep(
        &self,
        worker: &Worker,
        source: &SourceName,
        flight: Flight<'_>,
        kind: PollKind,
        leave: Leave<'_>,
    ) {
        let (work, begun) = (flight.work, self.clock.now().mono);
        let mut sweep = self.desk().sweeps.remove(source).unwrap_or_default();
        let walk = Walk { name: source, roster: &self.roster, all: worker.all, kind };
        let swept = match self.poller.page(&worker.source, walk, &mut sweep, leave).await {
            // Given up: the flight ends with its drop.
            Ok(None) => return,
            Ok(Some(swept)) => swept,
            Err(error) => {
                // What the page said is lost, and its place in the list with it: the sweep begins anew.
                flight.land(Ended::Failed);
                report::store_failed(&self.board, work, &error, self.clock.now());
                return self.tell(work, Outcome::Failed, Some(&format!("failed to {error}")));
            }
        };
        let now = self.clock.now();
        report::works(&self.board, begun, now);
        let story = self.board.polled(work, &swept.polled, now);
        let Some(step) = swept.step else {
            return self.page_failed(source, sweep, flight, (&swept.polled, story));
        };
        let began = sweep.began();
        self.turn(worker, source, sweep, step, &swept.covered);
        match began.filter(|_| step != Step::More) {
            // The segments of the first page wait longest.
            Some(began) => flight.land_since(Ended::Answered, began.mono),
            None => flight.land(Ended::Continues),
        };
        report::polled(work, &swept.polled, story);
        for Covered { key, outcome } in swept.covered {
            self.board.covered(&key, outcome, now);
            self.tell_one(key, outcome, None);
        }
        if matches!(self.mode, Mode::Once(_)) && step != Step::More {
            self.desk().schedule.forget(work);
            self.changed.notify_one();
        }
    }

    /// Keeps the place in the list, so that the page is asked for again, or passed by once it has failed too often. A
    /// refused key may be so for long: then the sweep begins anew.
    fn page_failed(
        &self,
        source: &SourceName,
        mut sweep: Sweep,
        flight: Flight<'_>,
        (polled, story): (&Polled, Story),
    ) {
        let (work, ended) = (flight.work, Ended::from(polled.outcome));
        let failing = (ended == Ended::Failed).then(|| sweep.fail());
        if ended != Ended::Unauthorized {
            self.desk().sweeps.insert(source.clone(), sweep);
        }
        flight.land(ended);
        report::polled(work, polled, story);
        if failing == Some(Failing::Passed) {
            report::passed_by(source);
        }
        self.tell(work, polled.outcome, polled.error.as_deref());
    }

    /// Plans what follows a page.
    fn turn(&self, worker: &Worker, source: &SourceName, sweep: Sweep, step: Step, covered: &[Covered]) {
        let work = Work::Sweep(source.clone());
        let known: HashSet<&str> = covered.iter().map(|covered| &*covered.key.id).collect();
        let is_open = |id: &str| !sweep.seen().contains(id) && !known.contains(id);
        let mut desk = self.desk();
        for Covered { key, .. } in covered {
            desk.unlisted.remove(key);
            if desk.missed.contains(key) && desk.schedule.cancel(&Work::Get(key.clone())) {
                desk.missed.remove(key);
            }
        }
        let open = if step == Step::More { Vec::new() } else { self.roster.of(source, is_open) };
        if step == Step::Complete {
            desk.unlisted.extend(open.iter().map(|(key, _)| key.clone()));
        }
        if let Some(wishes) = worker.instead.as_ref().filter(|wishes| sweep.pages() >= wishes.len()) {
            report::too_long(source, sweep.pages(), wishes.len());
            desk.schedule.forget(&work);
            return self.poll_singly(&mut desk, worker, source, wishes, is_open);
        }
        if step == Step::More {
            desk.sweeps.insert(source.clone(), sweep);
            return;
        }
        desk.schedule.set_requests(&work, u32::try_from(sweep.pages()).unwrap_or(u32::MAX));
        let waiting = desk.missed.iter().filter(|key| key.source == *source).count();
        let room = if matches!(self.mode, Mode::Once(_)) { usize::MAX } else { MOST_MISSED.saturating_sub(waiting) };
        for (key, _) in open.into_iter().take(room) {
            let get = Work::Get(key.clone());
            if !desk.schedule.has(&get) {
                desk.missed.insert(key);
                desk.schedule.add(Target::once(get, worker.every));
            }
        }
    }

    /// Single requests take fewer of them than the list's pages: polls the segments by these from now on.
    fn poll_singly(
        &self,
        desk: &mut Desk,
        worker: &Worker,
        source: &SourceName,
        wishes: &[SegmentKey],
        is_open: impl Fn(&str) -> bool,
    ) {
        // What was asked for once is asked for ever.
        desk.missed.retain(|key| key.source != *source);
        desk.once.retain(|key| key.source != *source);
        let single = |key| Target::once(Work::Get(key), worker.every);
        if let Mode::Once(_) = self.mode {
            let open = self.roster.of(source, is_open);
            return open.into_iter().for_each(|(key, _)| desk.schedule.add(single(key)));
        }
        let now = self.now();
        for key in wishes {
            let last = (!is_open(&key.id)).then_some(now);
            desk.schedule.add(Target { last, ..single(key.clone()) });
        }
    }
}
