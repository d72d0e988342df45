//! Sweeps of an account: a source's list, page by page, and single requests for what it lacks.

use std::collections::HashSet;

use super::account::{Account, Desk, Flight, Mode, Worker};
use super::board::Story;
use super::report;
use crate::model::{Outcome, PollKind, SegmentKey, SourceName};
use crate::poll::{Covered, Failing, Leave, Polled, Step, Sweep, Walk};
use crate::schedule::{Ended, Target, Work};
use crate::store::Error;

/// Segments of one source that wait to be asked for because its list lacked them; more wait for the next sweep. A list
/// that is empty by mistake must not keep the daemon from reading it again.
const MOST_MISSED: usize = 100;

impl Worker {
    /// Segments that single requests poll instead, now that the list has turned out to take as many or more.
    fn instead_of(&self, sweep: &Sweep) -> Option<&[SegmentKey]> {
        self.instead.as_deref().filter(|wishes| sweep.pages() >= wishes.len())
    }
}

impl Account {
    /// Asks for the next page of a source's list. Once it is there, and all is well, the one after it is asked for while this
    /// one is judged and committed.
    pub(super) async fn sweep(
        &self,
        worker: &Worker,
        source: &SourceName,
        flight: Flight<'_>,
        kind: PollKind,
        leave: Leave<'_>,
    ) {
        let work = flight.work;
        let mut sweep = self.desk().sweeps.remove(source).unwrap_or_default();
        let walk = Walk { name: source, roster: &self.roster, all: worker.all, kind };
        let mut landed = match self.poller.ask_page(&worker.source, walk, &mut sweep, leave).await {
            // Given up: the flight ends with its drop.
            Ok(None) => return,
            Ok(Some(landed)) => landed,
            Err(error) => return self.page_lost(work, Some(flight), &error),
        };
        let step = landed.step();
        let own = self.go_on(worker, step, flight, sweep);
        let swept = match self.poller.page(&worker.source, walk, &mut landed).await {
            Ok(swept) => swept,
            Err(error) => return self.page_lost(work, own.map(|(flight, _)| flight), &error),
        };
        let now = self.clock.now();
        report::works(&self.board, now);
        let story = self.board.polled(work, &swept.polled, now);
        self.found(&swept.covered);
        match (own, step) {
            (None, _) => (),
            (Some((flight, sweep)), None) => {
                return self.page_failed(source, sweep, flight, (&swept.polled, story));
            }
            // A page before it was lost.
            (Some((flight, _)), Some(_)) if self.desk().sweeps.contains_key(source) => flight.land(Ended::Failed),
            (Some((flight, sweep)), Some(step)) => {
                let began = sweep.began().filter(|_| step != Step::More);
                self.turn(worker, source, sweep, step, &swept.covered);
                match began {
                    // The segments of the first page wait longest.
                    Some(began) => flight.land_since(Ended::Answered, began.mono),
                    None => flight.land(Ended::Continues),
                }
            }
        }
        report::polled(work, &swept.polled, story);
        for Covered { key, outcome } in swept.covered {
            self.board.covered(&key, outcome, now);
            self.tell_one(key, outcome, None);
        }
        if matches!(self.mode, Mode::Once(_)) && step.is_some_and(|step| step != Step::More) {
            self.desk().schedule.forget(work);
            self.changed.notify_one();
        }
        // All that follows from this page comes before anything of the next one.
        drop(landed);
    }

    /// Has the page after the one that has landed asked for, unless that has to wait for this one's end: then flight and
    /// sweep are given back. A page that fails makes the next ones wait, so that what fails again is not asked for faster.
    fn go_on<'a>(
        &self,
        worker: &Worker,
        step: Option<Step>,
        flight: Flight<'a>,
        sweep: Sweep,
    ) -> Option<(Flight<'a>, Sweep)> {
        let (work, mut desk) = (flight.work, self.desk());
        let is_well = !desk.schedule.is_failing(work) && !desk.sweeps.contains_key(work.source());
        if !is_well || step != Some(Step::More) || worker.instead_of(&sweep).is_some() {
            return Some((flight, sweep));
        }
        desk.sweeps.insert(work.source().clone(), sweep);
        drop(desk);
        flight.land(Ended::Continues);
        None
    }

    /// What a page said is lost, and its place in the list with it: the sweep begins anew. Where the next page is on its way
    /// already, that one finds another sweep in the place of its own.
    fn page_lost(&self, work: &Work, flight: Option<Flight<'_>>, error: &Error) {
        self.desk().sweeps.insert(work.source().clone(), Sweep::default());
        match flight {
            Some(flight) => drop(flight.land(Ended::Failed)),
            None => self.desk().schedule.lose(work, self.now()),
        }
        report::store_failed(&self.board, work, error, self.clock.now());
        self.tell(work, Outcome::Failed, Some(&format!("failed to {error}")));
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
            self.desk().sweeps.entry(source.clone()).or_insert(sweep);
        }
        flight.land(ended);
        report::polled(work, polled, story);
        if failing == Some(Failing::Passed) {
            report::passed_by(source);
        }
        self.tell(work, polled.outcome, polled.error.as_deref());
    }

    /// What a page told about need not be asked for by itself.
    fn found(&self, covered: &[Covered]) {
        let mut desk = self.desk();
        for Covered { key, .. } in covered {
            desk.unlisted.remove(key);
            if desk.missed.contains(key) && desk.schedule.cancel(&Work::Get(key.clone())) {
                desk.missed.remove(key);
            }
        }
    }

    /// Plans what follows a page.
    fn turn(&self, worker: &Worker, source: &SourceName, sweep: Sweep, step: Step, covered: &[Covered]) {
        let work = Work::Sweep(source.clone());
        let known: HashSet<&str> = covered.iter().map(|covered| &*covered.key.id).collect();
        let is_open = |id: &str| !sweep.seen().contains(id) && !known.contains(id);
        let mut desk = self.desk();
        let open = if step == Step::More { Vec::new() } else { self.roster.of(source, is_open) };
        if step == Step::Complete {
            desk.unlisted.extend(open.iter().map(|(key, _)| key.clone()));
        }
        if let Some(wishes) = worker.instead_of(&sweep) {
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
