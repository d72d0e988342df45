//! One account's life: processes that start, send, are reloaded, stopped and killed, on a machine whose clocks are set
//! and that reboots, before a provider that serves late, out of order or never.
//!
//! The provider is assumed to serve nothing later than one time-out after the client gave up: all that the proof needs.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use proptest::prelude::*;
use segsync::budget::{Budget, End, Permit, Remaining, Terms};
use segsync::clock::{self, Clock};
use segsync::model::{Limit, UnixMs};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout};

use crate::proof::book::Book;

/// How long requests in flight may take to end when a process stops: as the daemon does.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) timeout: u64,
    pub(crate) phases: Vec<Phase>,
}

/// From one configuration to the next, in the same or another process.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub(crate) limits: Vec<(u32, u64)>,
    pub(crate) half: bool,
    pub(crate) burst: u32,
    pub(crate) sends: Vec<Sent>,
    pub(crate) exit: Exit,
    /// How the wall clock is set meanwhile, in milliseconds.
    pub(crate) step: i64,
    /// How long no process runs.
    pub(crate) away: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Another configuration in the same process. With patience requests in flight get a while to end, as in the
    /// daemon; without, they end whenever they do, against the old budget.
    Reload { patient: bool },
    /// In good order.
    Stop,
    /// So many milliseconds after the last send.
    Kill { after: u64 },
    /// Between the last row and its send.
    KillUnsent,
    /// Power fails; the machine starts anew.
    Reboot { after: u64 },
}

/// One request; times in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// Pause before it.
    pub(crate) pause: u64,
    /// How the wall clock is set before it.
    pub(crate) step: i64,
    /// How long the machine sleeps before it: its monotonic clock stands still, the world goes on.
    pub(crate) slept: i64,
    /// From the send until it is served.
    pub(crate) up: u64,
    /// From there until the answer is seen.
    pub(crate) down: u64,
    pub(crate) reply: Reply,
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Answer {
        refused: bool,
        retry_after: Option<u64>,
        remaining: Option<(u64, u64)>,
    },
    /// The client gives up early.
    Reset {
        after: u64,
    },
}

fn step() -> impl Strategy<Value = i64> {
    let year = 365 * 24 * 3_600_000_i64;
    prop_oneof![12 => Just(0), 2 => -8 * 3_600_000..8_i64 * 3_600_000, 1 => -year..year]
}

fn slept() -> impl Strategy<Value = i64> {
    prop_oneof![12 => Just(0), 1 => 0..30_000_i64, 1 => Just(8 * 3_600_000)]
}

fn reply() -> impl Strategy<Value = Reply> {
    let wait = prop::option::weighted(0.3, prop_oneof![1..3_000_u64, Just(99_999_999_000)]);
    let remaining = prop::option::weighted(0.2, (0..20_u64, 1..60_000_u64));
    prop_oneof![
        8 => remaining.clone().prop_map(|remaining| Reply::Answer { refused: false, retry_after: None, remaining }),
        1 => (any::<bool>(), wait, remaining)
            .prop_map(|(refused, retry_after, remaining)| Reply::Answer { refused, retry_after, remaining }),
        1 => (0..5_000_u64).prop_map(|after| Reply::Reset { after }),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    let ms = || prop_oneof![4 => Just(0), 4 => 0..50_u64, 1 => 0..3_000_u64, 1 => 0..30_000_u64];
    let pause = prop_oneof![8 => Just(0), 1 => 0..100_u64, 1 => 0..20_000_u64];
    (pause, step(), slept(), ms(), ms(), reply()).prop_map(|(pause, step, slept, up, down, reply)| Sent {
        pause,
        step,
        slept,
        up,
        down,
        reply,
    })
}

fn exit() -> impl Strategy<Value = Exit> {
    let after = || prop_oneof![Just(0), 0..100_u64, 0..40_000_u64];
    prop_oneof![
        2 => any::<bool>().prop_map(|patient| Exit::Reload { patient }),
        1 => Just(Exit::Stop),
        2 => after().prop_map(|after| Exit::Kill { after }),
        1 => Just(Exit::KillUnsent),
        1 => after().prop_map(|after| Exit::Reboot { after }),
    ]
}

fn limits() -> impl Strategy<Value = Vec<(u32, u64)>> {
    prop::collection::vec((1..12_u32, prop_oneof![1..50_u64, 50..20_000_u64]), 1..5)
}

fn phase(most_sends: usize) -> impl Strategy<Value = Phase> {
    let sends = prop::collection::vec(sent(), 1..most_sends);
    let away = prop_oneof![Just(0), 0..100_u64, 0..30_000_u64];
    (limits(), any::<bool>(), 1..30_u32, sends, exit(), step(), away).prop_map(
        |(limits, half, burst, sends, exit, step, away)| Phase { limits, half, burst, sends, exit, step, away },
    )
}

/// Any life; every configuration has limits of its own.
pub(crate) fn lives(most_phases: usize) -> impl Strategy<Value = Life> {
    let timeout = prop_oneof![20..200_u64, 200..3_000_u64, 3_000..30_000_u64];
    (timeout, prop::collection::vec(phase(40), 1..most_phases + 1))
        .prop_map(|(timeout, phases)| Life { timeout, phases })
}

/// Lives of many short phases under one configuration.
pub(crate) fn crash_loops() -> impl Strategy<Value = Life> {
    let timeout = prop_oneof![20..200_u64, 200..3_000_u64];
    (timeout, limits(), prop::collection::vec(phase(8), 2..16)).prop_map(|(timeout, limits, mut phases)| {
        for phase in &mut phases {
            (phase.limits, phase.half) = (limits.clone(), false);
        }
        Life { timeout, phases }
    })
}

/// Which request was served when; requests are numbered as they are admitted.
#[derive(Debug)]
pub(crate) struct Served {
    /// In order of time.
    pub(crate) arrivals: Vec<(Instant, usize)>,
    /// The first request of each phase, and the limits that it was admitted under.
    pub(crate) phases: Vec<(usize, Vec<Limit>)>,
}

#[derive(Clone)]
struct Machine(Arc<Mutex<Hands>>);

struct Hands {
    start: Instant,
    booted: Instant,
    boot: u32,
    /// How far the wall clock is off, in milliseconds: now, at the least so far, and at the most that is trusted.
    off: i64,
    least_off: i64,
    most_off: i64,
    /// How long it slept in all, and had when it booted, in milliseconds.
    slept: i64,
    slept_before: i64,
}

impl Machine {
    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().expect("whole")
    }

    fn set(&self, step: i64) {
        let mut hands = self.hands();
        hands.off = (hands.off + step).min(hands.most_off);
        hands.least_off = hands.least_off.min(hands.off);
    }

    fn sleep(&self, ms: i64) {
        self.hands().slept += ms;
    }

    /// The time in the world, where nothing sleeps.
    fn world(&self) -> Instant {
        Instant::now() + millis(u64::try_from(self.hands().slept).expect("forth"))
    }

    /// The wall clock is trusted about earlier boots: from here on it must not be ahead of what it was at any row.
    fn reboot(&self) {
        let mut hands = self.hands();
        (hands.booted, hands.boot, hands.most_off) = (Instant::now(), hands.boot + 1, hands.least_off);
        hands.off = hands.most_off;
        hands.slept_before = hands.slept;
    }
}

impl clock::Source for Machine {
    fn wall(&self) -> UnixMs {
        let hands = self.hands();
        UnixMs(1_800_000_000_000 + since(hands.start) + hands.slept + hands.off)
    }
    fn boot_ms(&self) -> i64 {
        let hands = self.hands();
        5_000 + since(hands.booted) + hands.slept - hands.slept_before
    }
    fn boot_id(&self) -> Option<String> {
        Some(self.hands().boot.to_string())
    }
}

fn since(at: Instant) -> i64 {
    i64::try_from(at.elapsed().as_millis()).expect("short")
}

/// Lives it, in order and as fast as the budget allows.
pub(crate) async fn live(life: Life, real: bool) -> Served {
    let start = Instant::now();
    let (off, least_off, most_off) = (0, 0, i64::MAX);
    let hands = Hands { start, booted: start, boot: 1, off, least_off, most_off, slept: 0, slept_before: 0 };
    let machine = Machine(Arc::new(Mutex::new(hands)));
    let clock = Clock::new(machine.clone());
    let timeout_of = Duration::from_millis(life.timeout);
    let book = Arc::new(tokio::sync::Mutex::new(Book::new(real)));
    let (mut arrivals, mut process) = (Vec::new(), JoinSet::new());
    let (mut admitted, mut phases, mut is_open) = (0, Vec::new(), false);
    for (seed, phase) in (1..).zip(life.phases) {
        let limits =
            phase.limits.iter().map(|(requests, ms)| Limit { requests: *requests, per: millis(*ms) }).collect();
        let (share, burst) = (if phase.half { 0.5 } else { 1.0 }, NonZeroU32::new(phase.burst).expect("positive"));
        let terms = Terms { limits, share, burst, timeout: timeout_of };
        if !is_open {
            book.lock().await.open(&clock, timeout_of).await;
        }
        let budget = Budget::new(&terms, clock.clone(), seed);
        budget.remember(book.lock().await.spent(terms.remembered(), timeout_of, clock.now()).await);
        phases.push((admitted, terms.scaled()));

        let last = phase.sends.len() - 1;
        for (nth, sent) in phase.sends.into_iter().enumerate() {
            sleep(millis(sent.pause)).await;
            machine.set(sent.step);
            machine.sleep(sent.slept);
            let permit = budget.acquire().await;
            let row = book.lock().await.begin(clock.now()).await;
            if nth == last && phase.exit == Exit::KillUnsent {
                break;
            }
            let gives_up = match sent.reply {
                Reply::Reset { after } => timeout_of.min(millis(after)),
                Reply::Answer { .. } => timeout_of,
            };
            if millis(sent.up) <= gives_up + timeout_of {
                // The network does not sleep with the machine.
                arrivals.push((machine.world() + millis(sent.up), admitted));
            }
            admitted += 1;
            process.spawn(fly(permit, sent, gives_up, row, Arc::clone(&book), clock.clone()));
            yield_now().await;
        }
        is_open = leave(phase.exit, &mut process, &book).await;
        machine.set(phase.step);
        if !is_open {
            sleep(millis(phase.away)).await;
        }
        if matches!(phase.exit, Exit::Reboot { .. }) {
            machine.reboot();
        }
    }
    process.shutdown().await;
    arrivals.sort();
    Served { arrivals, phases }
}

/// A request on its way.
async fn fly(
    permit: Permit,
    sent: Sent,
    gives_up: Duration,
    row: usize,
    book: Arc<tokio::sync::Mutex<Book>>,
    clock: Clock,
) {
    let sending = permit.spend();
    let round_trip = millis(sent.up + sent.down);
    let end = match sent.reply {
        Reply::Answer { refused, retry_after, remaining } if round_trip <= gives_up => {
            let retry_after = retry_after.map(millis);
            let told = |(left, reset)| Remaining { left, reset_after: millis(reset) };
            let remaining = remaining.map(told);
            Some(if refused {
                End::Refused { retry_after, remaining }
            } else {
                End::Accepted { retry_after, remaining }
            })
        }
        _ => None,
    };
    sleep(if end.is_some() { round_trip } else { gives_up }).await;
    match end {
        Some(end) => drop(sending.end(end)),
        None => drop(sending),
    }
    book.lock().await.finish(row, end.is_some(), clock.now()).await;
}

/// Ends a phase; whether its process goes on.
async fn leave(exit: Exit, process: &mut JoinSet<()>, book: &tokio::sync::Mutex<Book>) -> bool {
    match exit {
        Exit::Reload { patient: false } => return true,
        Exit::Reload { patient: true } | Exit::Stop => {
            // Too late is given up, as a kill does.
            timeout(GRACE, async { while process.join_next().await.is_some() {} }).await.ok();
        }
        Exit::Kill { after } | Exit::Reboot { after } => sleep(millis(after)).await,
        Exit::KillUnsent => (),
    }
    process.shutdown().await;
    let goes_on = exit == Exit::Reload { patient: true };
    if !goes_on {
        book.lock().await.close().await;
    }
    goes_on
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
