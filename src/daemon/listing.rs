//! Sweeps of an account: a source's list, page by page, and single requests for what it lacks.

use std::collections::HashSet;

use super::account::{Account, Flight, Mode, Worker};
use super::report;
use crate::model::{Outcome, PollKind, SegmentKey, SourceName};
use crate::poll::{Covered, Leave, Step, Sweep, Walk};
use crate::schedule::{Ended, Schedule, Target, Work};

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
        let work = flight.work;
        let mut sweep = self.desk().sweeps.remove(source).unwrap_or_default();
        let walk = Walk { name: source, roster: &self.roster, all: worker.all, kind };
        let swept = match self.poller.page(&worker.source, walk, &mut sweep, leave).await {
            // Given up: the flight ends with its drop.
            Ok(None) => return,
            Ok(Some(swept)) => swept,
            Err(error) => {
                // What the page said is lost, and its place in the list with it: the sweep begins anew.
                report::store_failed(work, &error, flight.land(Ended::Failed));
                return self.tell(work, Outcome::Failed, Some(&format!("failed to {error}")));
            }
        };
        let Some(step) = swept.step else {
            self.desk().sweeps.insert(source.clone(), sweep);
            report::polled(work, &swept.polled, flight.land(swept.polled.outcome.into()));
            return self.tell(work, swept.polled.outcome, swept.polled.error.as_deref());
        };
        self.turn(worker, source, sweep, step, &swept.covered);
        let ended = if step == Step::More { Ended::Continues } else { Ended::Answered };
        report::polled(work, &swept.polled, flight.land(ended));
        for Covered { key, outcome } in swept.covered {
            self.tell_one(key, outcome, None);
        }
        if matches!(self.mode, Mode::Once(_)) && step != Step::More {
            self.desk().schedule.forget(work);
            self.changed.notify_one();
        }
    }

    /// Plans what follows a page.
    fn turn(&self, worker: &Worker, source: &SourceName, sweep: Sweep, step: Step, covered: &[Covered]) {
        let work = Work::Sweep(source.clone());
        let pages = u32::try_from(sweep.pages()).unwrap_or(u32::MAX);
        let single = worker.instead.as_ref().filter(|wishes| sweep.pages() >= wishes.len());
        let mut desk = self.desk();
        if let Some(wishes) = single {
            desk.schedule.forget(&work);
            return self.poll_singly(&mut desk.schedule, worker, wishes, &sweep);
        }
        if step == Step::More {
            desk.sweeps.insert(source.clone(), sweep);
            return;
        }
        desk.schedule.set_requests(&work, pages);
        let told: HashSet<&SegmentKey> = covered.iter().map(|covered| &covered.key).collect();
        for (key, _) in self.roster.of(source, |id| !sweep.seen().contains(id)) {
            if told.contains(&key) {
                continue;
            }
            if step == Step::Complete {
                desk.unlisted.insert(key.clone());
            }
            let get = Work::Get(key.clone());
            if !desk.schedule.has(&get) {
                desk.missed.insert(key);
                desk.schedule.add(Target::once(get, worker.every));
            }
        }
    }

    /// Single requests take fewer of them than the list's pages: polls the segments by these from now on.
    fn poll_singly(&self, schedule: &mut Schedule, worker: &Worker, wishes: &[SegmentKey], sweep: &Sweep) {
        let now = self.now();
        for key in wishes {
            let is_seen = sweep.seen().contains(&*key.id);
            if !(is_seen && matches!(self.mode, Mode::Once(_))) {
                let get = Target::once(Work::Get(key.clone()), worker.every);
                schedule.add(Target { last: is_seen.then_some(now), ..get });
            }
        }
    }
}
