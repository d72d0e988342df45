//! One account at work: a dispatcher that asks for permits and starts polls, earliest deadline first.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::board::Board;
use super::flight::InFlight;
use super::pulse::Pulse;
use super::report;
use crate::budget::{Budget, Capacity, Permit};
use crate::clock::{Clock, Now};
use crate::http::Told;
use crate::model::{Outcome, PollKind, SegmentKey, SourceName};
use crate::poll::{Get, Leave, Polled, Poller, Roster, Source, Sweep};
use crate::schedule::{Ended, Next, Schedule, Work};

/// What an account works on.
pub(super) struct Account {
    pub(super) budget: Budget,
    pub(super) poller: Poller,
    pub(super) clock: Clock,
    pub(super) workers: HashMap<SourceName, Worker>,
    pub(super) roster: Roster,
    pub(super) desk: Mutex<Desk>,
    pub(super) board: Arc<Board>,
    /// Shows that the dispatcher moves.
    pub(super) pulse: Pulse,
    /// The desk has changed.
    pub(super) changed: Notify,
    pub(super) mode: Mode,
}

/// A source and how it is polled.
pub(super) struct Worker {
    pub(super) source: Source,
    /// Requests that it may have in flight.
    pub(super) concurrency: usize,
    /// The longest that one request may take.
    pub(super) timeout: Duration,
    /// The interval of segments without one of their own.
    pub(super) every: Duration,
    /// Whether segments that its list has are tracked by themselves.
    pub(super) all: bool,
    /// Segments that single requests could poll instead of the list, where that takes fewer of them.
    pub(super) instead: Option<Vec<SegmentKey>>,
}

/// What changes while polls start and end.
pub(super) struct Desk {
    pub(super) schedule: Schedule,
    /// When the schedule was last told how long the machine slept.
    awake: Now,
    pub(super) in_flight: HashMap<SourceName, InFlight>,
    /// How far each source's sweep has come.
    pub(super) sweeps: HashMap<SourceName, Sweep>,
    /// Segments that are asked for once because their list lacked them.
    pub(super) missed: HashSet<SegmentKey>,
    /// Those of them whose list was complete.
    pub(super) unlisted: HashSet<SegmentKey>,
    /// Segments that somebody waits for.
    pub(super) asks: HashMap<SegmentKey, watch::Sender<Option<Told>>>,
    /// Those of them that are polled for this once only.
    pub(super) once: HashSet<SegmentKey>,
}

impl Desk {
    pub(super) fn new(schedule: Schedule, now: Now) -> Self {
        Self {
            schedule,
            awake: now,
            in_flight: HashMap::new(),
            sweeps: HashMap::new(),
            missed: HashSet::new(),
            unlisted: HashSet::new(),
            asks: HashMap::new(),
            once: HashSet::new(),
        }
    }
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
    work(&account, &crew).await;
    account.pulse.end();
}

async fn work(account: &Arc<Account>, crew: &Crew) {
    while !crew.stop.is_cancelled() {
        account.wake();
        let next = account.next(account.budget.capacity());
        // Here every lock of the account has been taken and given back.
        account.pulse.answer();
        match next {
            Next::Poll(..) => {
                tokio::select! {
                    () = crew.stop.cancelled() => return,
                    () = account.pulse.asked() => (),
                    permit = account.budget.acquire() => account.start(permit, crew),
                }
            }
            Next::At(at) => {
                tokio::select! {
                    () = crew.stop.cancelled() => return,
                    () = account.pulse.asked() => (),
                    () = account.changed.notified() => (),
                    () = sleep_until(at.min(account.now() + DOZE)) => (),
                }
            }
            Next::Idle if account.is_done() => return,
            Next::Idle => {
                tokio::select! {
                    () = crew.stop.cancelled() => return,
                    () = account.pulse.asked() => (),
                    () = account.changed.notified() => (),
                }
            }
        }
    }
}

/// Timers stand still while the machine sleeps: none is longer, so that what has become due meanwhile is seen soon after.
const DOZE: Duration = Duration::from_secs(30);
/// Less is no sleep; the clocks are read one after the other.
const SLEEP: Duration = Duration::from_secs(1);

impl Account {
    /// Tells the schedule how long the machine slept.
    fn wake(&self) {
        let now = self.clock.now();
        let mut desk = self.desk();
        let slept = now.slept_since(desk.awake);
        if slept >= SLEEP {
            desk.awake = now;
            desk.schedule.slept(slept);
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now().mono
    }

    /// The names of its sources, sorted.
    pub(super) fn names(&self) -> Vec<SourceName> {
        let mut names: Vec<SourceName> = self.workers.keys().cloned().collect();
        names.sort();
        names
    }

    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        // Every method leaves the desk whole.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next(&self, capacity: Capacity) -> Next {
        let now = self.now();
        let desk = self.desk();
        let in_flight = |source: &SourceName| desk.in_flight.get(source).copied().unwrap_or_default();
        let has_slot = |source: &SourceName| {
            self.workers.get(source).is_some_and(|worker| in_flight(source).has_slot(worker.concurrency))
        };
        desk.schedule.next(now, capacity, has_slot)
    }

    fn is_done(&self) -> bool {
        matches!(self.mode, Mode::Once(_)) && self.desk().schedule.is_empty()
    }

    /// Starts the poll that is due by now; while the permit was waited for, another may have become more urgent.
    fn start(self: &Arc<Self>, permit: Permit, crew: &Crew) {
        let Next::Poll(work, kind) = self.next(permit.capacity()) else { return };
        let mut desk = self.desk();
        desk.schedule.start(&work, self.now());
        desk.in_flight.entry(work.source().clone()).or_default().start();
        drop(desk);
        let (account, give_up) = (Arc::clone(self), crew.give_up.clone());
        crew.tasks.spawn(async move {
            let out = Out::of(&account, work.source());
            let flight = Flight::of(&account, &work, &out);
            let leave = Leave { permit, give_up: &give_up, answered: &|| out.is_back() };
            account.poll(flight, kind, leave).await;
        });
    }

    async fn poll(&self, flight: Flight<'_>, kind: PollKind, leave: Leave<'_>) {
        let work = flight.work;
        let Some(worker) = self.workers.get(work.source()) else { return };
        match work {
            Work::Get(key) => self.get(worker, key, flight, kind, leave).await,
            Work::Sweep(source) => self.sweep(worker, source, flight, kind, leave).await,
        }
    }

    async fn get(&self, worker: &Worker, key: &SegmentKey, mut flight: Flight<'_>, kind: PollKind, leave: Leave<'_>) {
        let Some(segment) = self.roster.get(&key.source, &key.id) else { return };
        let (work, begun) = (flight.work, self.now());
        let is_unlisted = self.desk().unlisted.contains(key);
        match self.poller.get(&worker.source, Get { key, segment, kind, is_unlisted }, leave).await {
            // Given up: the flight ends with its drop.
            Ok(None) => (),
            Ok(Some(polled)) => {
                let now = self.clock.now();
                report::works(&self.board, begun, now);
                self.board.answered(key, polled.outcome, now);
                let (ended, story) = (Ended::from(polled.outcome), self.board.polled(work, &polled, now));
                flight.told = Some(told(&polled));
                flight.land(ended);
                report::polled(work, &polled, story);
                self.has_been_asked(key);
                if ended == Ended::Answered {
                    self.is_confirmed(key);
                }
                self.tell(work, polled.outcome, polled.error.as_deref());
            }
            Err(error) => {
                flight.land(Ended::Failed);
                report::store_failed(&self.board, work, &error, self.clock.now());
                self.has_been_asked(key);
                self.tell(work, Outcome::Failed, Some(&format!("failed to {error}")));
            }
        }
    }

    /// What a list lacked has been asked for by itself, and need not be again.
    fn is_confirmed(&self, key: &SegmentKey) {
        let mut desk = self.desk();
        desk.unlisted.remove(key);
        if desk.missed.remove(key) {
            desk.schedule.forget(&Work::Get(key.clone()));
        }
    }

    /// In one pass, what has ended is told and not polled again, unless the account only has to wait. A source whose key
    /// is still refused ends with it: the next time to ask lies far beyond the pass.
    pub(super) fn tell(&self, work: &Work, outcome: Outcome, error: Option<&str>) {
        let Mode::Once(_) = &self.mode else { return };
        let mut desk = self.desk();
        let is_refused = desk.schedule.is_refused(work.source());
        if outcome == Outcome::Throttled {
            if is_refused {
                desk.schedule.ask_again(work.source(), self.now());
                self.changed.notify_one();
            }
            return;
        }
        let mut ended = vec![work.clone()];
        if is_refused {
            ended.extend(desk.schedule.forget_waiting(work.source()));
        }
        for work in &ended {
            desk.schedule.forget(work);
        }
        drop(desk);
        for work in ended {
            match work {
                Work::Get(key) => self.tell_one(key, outcome, error),
                // What the list did not come to has ended with it; the rest has been told.
                Work::Sweep(source) => {
                    let all = self.roster.of(&source, |_| true);
                    all.into_iter().for_each(|(key, _)| self.tell_one(key, outcome, error));
                }
            }
        }
        self.changed.notify_one();
    }

    pub(super) fn tell_one(&self, key: SegmentKey, outcome: Outcome, error: Option<&str>) {
        if let Mode::Once(endings) = &self.mode {
            // Nobody listening only means that nobody wants to know.
            drop(endings.send(Ending { key, outcome, error: error.map(str::to_owned) }));
        }
    }
}

/// A request that is out, or about to be sent.
struct Out<'a> {
    account: &'a Account,
    source: &'a SourceName,
    is_out: AtomicBool,
}

impl<'a> Out<'a> {
    /// The request of a poll of `source` that has just started.
    fn of(account: &'a Account, source: &'a SourceName) -> Self {
        Self { account, source, is_out: AtomicBool::new(true) }
    }

    /// Another one may be sent in its place.
    fn is_back(&self) {
        self.take_back(&mut self.account.desk());
        self.account.changed.notify_one();
    }

    fn take_back(&self, desk: &mut Desk) {
        if self.is_out.swap(false, Ordering::Relaxed)
            && let Some(in_flight) = desk.in_flight.get_mut(self.source)
        {
            in_flight.is_back();
        }
    }
}

/// A poll in flight; one that is given up, or that panics, ends as failed.
pub(super) struct Flight<'a> {
    account: &'a Account,
    pub(super) work: &'a Work,
    out: &'a Out<'a>,
    landed: bool,
    /// How it ended, for those who wait for it.
    told: Option<Told>,
}

impl<'a> Flight<'a> {
    /// A poll that has just started.
    fn of(account: &'a Account, work: &'a Work, out: &'a Out<'a>) -> Self {
        Self { account, work, out, landed: false, told: None }
    }

    pub(super) fn land(self, ended: Ended) {
        let now = self.account.now();
        self.land_since(ended, now);
    }

    /// What was asked for is known as of `since`.
    pub(super) fn land_since(mut self, ended: Ended, since: Instant) {
        self.end(ended, since);
    }

    fn end(&mut self, ended: Ended, now: Instant) {
        if self.landed {
            return;
        }
        self.landed = true;
        let mut desk = self.account.desk();
        self.out.take_back(&mut desk);
        if let Some(in_flight) = desk.in_flight.get_mut(self.work.source()) {
            in_flight.end();
        }
        desk.schedule.end(self.work, ended, now);
        if let Work::Get(key) = self.work
            && let Some(waiting) = desk.asks.remove(key)
        {
            // Without a word they learn that it was given up.
            self.told.take().into_iter().for_each(|told| drop(waiting.send_replace(Some(told))));
        }
        drop(desk);
        self.account.changed.notify_one();
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let now = self.account.now();
        self.end(Ended::Failed, now);
    }
}

/// What those are told who waited for a poll.
fn told(polled: &Polled) -> Told {
    if polled.outcome.is_answer() {
        return Told::Answered;
    }
    let usual = match polled.outcome {
        Outcome::Throttled => "the provider asked to wait",
        _ => "the provider did not tell",
    };
    Told::Failed(polled.error.as_deref().unwrap_or(usual).into())
}
