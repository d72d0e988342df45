//! segsync's schedule and budget beside two ways to write the same limits with `governor` alone, under virtual time
//! against a server that counts exactly: an hour of traffic in seconds.
//!
//!     cargo bench --bench budget
//!
//! All three keep the same segments as fresh as they can, with the same latencies and as many requests in flight, at 100
//! requests in 10 s and 900 in 15 min. What breaks a limit is refused, and so refreshes nothing.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a program for people, which may end with an error")]

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use comfy_table::Table;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use segsync::budget::{Budget, End, Permit, Terms};
use segsync::clock::{Clock, Source};
use segsync::model::{Limit, SegmentKey, SourceName, UnixMs};
use segsync::schedule::{Ended, Next, Schedule, Target, Work};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

const LIMITS: [(u32, Duration); 2] = [(100, Duration::from_secs(10)), (900, Duration::from_secs(900))];
const HOUR: Duration = Duration::from_secs(3600);
/// How often each segment is wished to be checked: six times as often as the limits allow.
const EVERY: Duration = Duration::from_secs(50);
const SEGMENTS: usize = 300;
const CONCURRENCY: usize = 8;

/// Clocks that follow tokio's.
#[derive(Clone, Debug)]
struct Virtual(Instant);

impl Source for Virtual {
    fn wall(&self) -> UnixMs {
        UnixMs(1_800_000_000_000 + self.boot_ms())
    }
    fn boot_ms(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
    fn boot_id(&self) -> Option<String> {
        None
    }
}

impl governor::clock::Clock for Virtual {
    type Instant = Nanos;
    fn now(&self) -> Nanos {
        Nanos::new(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Who may send when, and what.
enum Client {
    Segsync(Box<Schedule>, Budget),
    /// Quotas in a row, how many of them the next request has passed, and segments in the order in which they came back.
    Governor(Virtual, Vec<Quotas>, usize, VecDeque<Work>),
}

type Quotas = RateLimiter<NotKeyed, InMemoryState, Virtual, NoOpMiddleware<Nanos>>;

impl Client {
    fn segsync(clock: Virtual) -> Self {
        let limits = LIMITS.map(|(requests, per)| Limit { requests, per }).to_vec();
        let burst = NonZeroU32::new(10).expect("positive");
        let terms = Terms { limits, share: 1.0, burst, timeout: Duration::from_secs(10) };
        let targets = works().map(|work| Target::once(work, EVERY)).collect();
        Self::Segsync(Box::new(Schedule::new(targets, 1)), Budget::new(&terms, Clock::new(clock), 1))
    }

    /// Each limit as a burst and the rest of its requests spread over its window.
    fn governor(clock: Virtual, burst: impl Fn(u32) -> u32, rest: impl Fn(u32) -> u32) -> Self {
        let quotas = LIMITS.map(|(requests, per)| {
            let burst = NonZeroU32::new(burst(requests)).expect("positive");
            let quota = Quota::with_period(per / rest(requests)).expect("positive").allow_burst(burst);
            RateLimiter::direct_with_clock(quota, clock.clone())
        });
        Self::Governor(clock, quotas.into(), 0, works().collect())
    }

    /// Waits for the right to send, and says what to send. Loses nothing when it is dropped.
    async fn next(&mut self) -> (Work, Option<Permit>) {
        match self {
            Self::Segsync(schedule, budget) => loop {
                match schedule.next(Instant::now(), budget.capacity(), |_| true) {
                    Next::Poll(..) => {
                        let permit = budget.acquire().await;
                        if let Next::Poll(work, _) = schedule.next(Instant::now(), permit.capacity(), |_| true) {
                            schedule.start(&work, Instant::now());
                            return (work, Some(permit));
                        }
                    }
                    Next::At(at) => sleep_until(at).await,
                    Next::Idle => std::future::pending().await,
                }
            },
            Self::Governor(clock, quotas, passed, waiting) => {
                while let Some(quota) = quotas.get(*passed) {
                    match quota.check() {
                        Ok(()) => *passed += 1,
                        Err(not_yet) => {
                            sleep(not_yet.wait_time_from(clock.now()).max(Duration::from_millis(1))).await;
                        }
                    }
                }
                let Some(work) = waiting.pop_front() else { return std::future::pending().await };
                *passed = 0;
                (work, None)
            }
        }
    }

    fn landed(&mut self, work: Work, ended: Ended) {
        match self {
            Self::Segsync(schedule, _) => drop(schedule.end(&work, ended, Instant::now())),
            Self::Governor(.., waiting) => waiting.push_back(work),
        }
    }
}

fn works() -> impl Iterator<Item = Work> {
    (0..SEGMENTS).map(|id| Work::Get(SegmentKey::new(SourceName::new("s"), id.to_string())))
}

/// Counts arrivals; a window is closed at both ends, and what is refused counts, too.
#[derive(Default)]
struct Server {
    arrivals: VecDeque<Instant>,
    refused: usize,
}

impl Server {
    fn arrive(&mut self, now: Instant) -> bool {
        while self.arrivals.front().is_some_and(|first| *first + LIMITS[1].1 < now) {
            self.arrivals.pop_front();
        }
        self.arrivals.push_back(now);
        let within = |per: Duration| self.arrivals.len() - self.arrivals.partition_point(|at| *at + per < now);
        let is_over = LIMITS.iter().any(|(requests, per)| within(*per) > *requests as usize);
        self.refused += usize::from(is_over);
        is_over
    }
}

/// What an hour brought.
struct Brought {
    refused: usize,
    /// Accepted answers.
    accepted: u32,
    /// When the last segment was first checked.
    first_sync: Duration,
    /// At every second after each segment's first check, ascending.
    ages: Vec<Duration>,
}

/// An hour of traffic.
async fn hour(client: impl FnOnce(Virtual) -> Client) -> Brought {
    let start = Instant::now();
    let mut client = client(Virtual(start));
    let (mut server, mut random) = (Server::default(), fastrand::Rng::with_seed(1));
    let (mut outgoing, mut incoming) = (JoinSet::new(), JoinSet::new());
    let mut checks: HashMap<Work, Vec<Instant>> = HashMap::new();
    let mut accepted = 0_u32;
    let mut latency = || Duration::from_millis(random.u64(20..400));
    loop {
        let is_free = outgoing.len() + incoming.len() < CONCURRENCY;
        tokio::select! {
            biased;
            () = sleep_until(start + HOUR) => break,
            Some(arrived) = outgoing.join_next() => {
                let (work, sending): (Work, Option<segsync::budget::Sending>) = arrived.expect("no panic");
                let (is_over, down) = (server.arrive(Instant::now()), latency());
                incoming.spawn(async move {
                    sleep(down).await;
                    (work, sending, is_over)
                });
            }
            Some(landed) = incoming.join_next() => {
                let (work, sending, is_over) = landed.expect("no panic");
                let ended = if is_over { Ended::Throttled } else { Ended::Answered };
                let (retry_after, remaining) = (None, None);
                let accept = End::Accepted { retry_after, remaining };
                let end = if is_over { End::Refused { retry_after, remaining } } else { accept };
                sending.map(|sending| sending.end(end));
                if !is_over {
                    accepted += 1;
                    checks.entry(work.clone()).or_default().push(Instant::now());
                }
                client.landed(work, ended);
            }
            (work, permit) = client.next(), if is_free => {
                let (up, sending) = (latency(), permit.map(Permit::spend));
                outgoing.spawn(async move {
                    sleep(up).await;
                    (work, sending)
                });
            }
        }
    }
    let mut ages: Vec<Duration> = checks.values().flat_map(|checks| ages(checks, start + HOUR)).collect();
    ages.sort();
    let first_sync = checks.values().map(|checks| checks[0] - start).max().unwrap_or_default();
    Brought { refused: server.refused, accepted, first_sync, ages }
}

/// A segment's age at every second from its first check on.
fn ages(checks: &[Instant], end: Instant) -> Vec<Duration> {
    let seconds = (0..).map(|second| checks[0] + Duration::from_secs(second)).take_while(|at| *at < end);
    seconds.map(|at| at - checks[checks.partition_point(|check| *check <= at) - 1]).collect()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let (requests, per) = LIMITS[1];
    let possible = f64::from(requests) * HOUR.as_secs_f64() / per.as_secs_f64();
    let mut table = Table::new();
    table.set_header(["an hour", "violations", "used", "first sync", "age p50", "p99", "max"]);
    let mut row = |name: &str, brought: Brought| {
        let Brought { refused, accepted, first_sync, ages } = brought;
        let seconds = |span: Duration| format!("{:.0} s", span.as_secs_f64());
        let at = |share: usize| seconds(ages[(ages.len() - 1) * share / 1000]);
        let used = format!("{:.1} %", f64::from(accepted) / possible * 100.0);
        table.add_row([name.to_owned(), refused.to_string(), used, seconds(first_sync), at(500), at(990), at(1000)]);
    };
    row("segsync: schedule and budget", runtime.block_on(hour(Client::segsync)));
    let plain = |clock| Client::governor(clock, |requests| requests, |requests| requests);
    row("governor: 100 per 10 s, 900 per 15 min", runtime.block_on(hour(plain)));
    let slow = |clock| Client::governor(clock, |_| 10, |requests| requests - 10);
    row("governor: burst 10, 10 s/90, 15 min/890", runtime.block_on(hour(slow)));
    println!("{table}");
    println!("{SEGMENTS} segments, each wished every {EVERY:?}; used: accepted answers against 900 per 15 min");
}
