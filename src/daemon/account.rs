//! One account at work: a dispatcher that asks for permits and starts polls, earliest deadline first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::report;
use crate::budget::{Budget, Capacity, Permit};
use crate::clock::Clock;
use crate::model::{Outcome, PollKind, SegmentKey, SourceName};
use crate::poll::{Poller, Source};
use crate::schedule::{Ended, Failures, Next, Schedule};
use crate::store::SegmentId;

/// What an account works on.
pub(super) struct Account {
    pub(super) budget: Budget,
    pub(super) poller: Poller,
    pub(super) clock: Clock,
    pub(super) sources: HashMap<SourceName, Worker>,
    pub(super) segments: HashMap<SegmentKey, SegmentId>,
    pub(super) desk: Mutex<Desk>,
    /// The desk has changed.
    pub(super) changed: Notify,
    pub(super) mode: Mode,
}

/// A source and how many requests it may have in flight.
pub(super) struct Worker {
    pub(super) source: Source,
    pub(super) concurrency: usize,
}

/// What changes while polls start and end.
pub(super) struct Desk {
    pub(super) schedule: Schedule,
    pub(super) in_flight: HashMap<SourceName, usize>,
}

/// For how long an account works.
#[derive(Clone, Debug)]
pub(super) enum Mode {
    /// Until it is stopped.
    Forever,
    /// Until every segment was polled once; each end is told.
    Once(mpsc::UnboundedSender<Ending>),
}

/// How one segment fared in one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Which one.
    pub key: SegmentKey,
    /// What became of its poll.
    pub outcome: Outcome,
    /// Why, where it did not end well.
    pub error: Option<String>,
}

/// What the tasks of all accounts share.
#[derive(Clone, Debug, Default)]
pub(super) struct Crew {
    /// No new polls from here on.
    pub(super) stop: CancellationToken,
    /// Polls in flight are given up.
    pub(super) give_up: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// Dispatches until stopped, or until the pass is over.
pub(super) async fn dispatch(account: Arc<Account>, crew: Crew) {
    while !crew.stop.is_cancelled() {
        match account.next(account.budget.capacity()) {
            Next::Poll(..) => {
                tokio::select! {
                    () = crew.stop.cancelled() => return,
                    permit = account.budget.acquire() => account.start(permit, &crew),
                }
            }
            Next::At(at) => {
                tokio::select! {
                    () = crew.stop.cancelled() => return,
                    () = account.changed.notified() => (),
                    () = sleep_until(at) => (),
                }
            }
            Next::Idle if account.is_done() => return,
            Next::Idle => {
                tokio::select! {
                    () = crew.stop.cancelled() => return,
                    () = account.changed.notified() => (),
                }
            }
        }
    }
}

impl Account {
    fn now(&self) -> Instant {
        self.clock.now().mono
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Every method leaves the desk whole.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, capacity: Capacity) -> Next {
        let now = self.now();
        let desk = self.desk();
        let in_flight = |source: &SourceName| desk.in_flight.get(source).copied().unwrap_or(0);
        let has_slot =
            |source: &SourceName| self.sources.get(source).is_some_and(|worker| in_flight(source) < worker.concurrency);
        desk.schedule.next(now, capacity, has_slot)
    }

    fn is_done(&self) -> bool {
        matches!(self.mode, Mode::Once(_)) && self.desk().schedule.is_empty()
    }

    /// Starts the poll that is due by now; while the permit was waited for, another may have become more urgent.
    fn start(self: &Arc<Self>, permit: Permit, crew: &Crew) {
        let Next::Poll(key, kind) = self.next(permit.capacity()) else { return };
        let mut desk = self.desk();
        desk.schedule.start(&key, self.now());
        *desk.in_flight.entry(key.source.clone()).or_default() += 1;
        drop(desk);
        let (account, give_up) = (Arc::clone(self), crew.give_up.clone());
        crew.tasks.spawn(async move {
            let flight = Flight { account: &account, key: &key, landed: false };
            // Given up, the flight is dropped with the poll.
            tokio::select! {
                () = account.poll(flight, kind, permit) => (),
                () = give_up.cancelled() => (),
            }
        });
    }

    async fn poll(&self, flight: Flight<'_>, kind: PollKind, permit: Permit) {
        let key = flight.key;
        let (Some(worker), Some(segment)) = (self.sources.get(&key.source), self.segments.get(key)) else { return };
        let result = self.poller.get(&worker.source, key, *segment, kind, permit).await;
        match result {
            Ok(polled) => {
                let failures = flight.land(polled.outcome);
                report::polled(key, &polled, failures);
                self.tell(key, polled.outcome, polled.error.as_deref());
            }
            Err(error) => {
                let failures = flight.land(Outcome::Failed);
                report::store_failed(key, &error, failures);
                self.tell(key, Outcome::Failed, Some(&format!("failed to {error}")));
            }
        }
    }

    /// In one pass, what has ended is told and not polled again, unless the account only has to wait.
    fn tell(&self, key: &SegmentKey, outcome: Outcome, error: Option<&str>) {
        let Mode::Once(endings) = &self.mode else { return };
        if outcome == Outcome::Throttled {
            return;
        }
        let mut ended = vec![key.clone()];
        if outcome == Outcome::Unauthorized {
            ended.extend(self.desk().schedule.forget_waiting(&key.source));
        }
        for key in ended {
            self.desk().schedule.forget(&key);
            // Nobody listening only means that nobody wants to know.
            drop(endings.send(Ending { key, outcome, error: error.map(str::to_owned) }));
        }
        self.changed.notify_one();
    }
}

/// A poll in flight; one that is given up, or that panics, ends as failed.
struct Flight<'a> {
    account: &'a Account,
    key: &'a SegmentKey,
    landed: bool,
}

impl Flight<'_> {
    fn land(mut self, outcome: Outcome) -> Failures {
        self.end(outcome.into())
    }

    fn end(&mut self, ended: Ended) -> Failures {
        if self.landed {
            return Failures::default();
        }
        self.landed = true;
        let now = self.account.now();
        let mut desk = self.account.desk();
        if let Some(in_flight) = desk.in_flight.get_mut(&self.key.source) {
            *in_flight = in_flight.saturating_sub(1);
        }
        let failures = desk.schedule.end(self.key, ended, now);
        drop(desk);
        self.account.changed.notify_one();
        failures
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.end(Ended::Failed);
    }
}
