//! Schedule and budget together under virtual time: how fresh segments stay, and how much of the budget is used.

#![allow(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use segsync::budget::{Budget, End, Terms};
use segsync::clock::{Clock, Source};
use segsync::model::{Limit, SegmentKey, SourceName, UnixMs};
use segsync::schedule::{Ended, Next, Schedule, Target, Work};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// Clocks that follow tokio's, so that paused time moves them.
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

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn target(id: usize, every: Duration, promise: bool) -> Target {
    let key = SegmentKey::new(SourceName::new("s"), id.to_string());
    Target { work: Work::Get(key), every, promise, requests: 1, last: None, failures: 0 }
}

/// When each segment was checked, from the start of the run.
struct Run {
    checks: HashMap<Work, Vec<Duration>>,
    sent: Vec<Duration>,
}

impl Run {
    /// The largest age that any segment reached between two moments, counted from its first check.
    fn worst_age(&self, from: Duration, to: Duration) -> Duration {
        let of = |checks: &Vec<Duration>| {
            let ends = checks.iter().skip(1).copied().chain([to]);
            let spans = checks.iter().zip(ends).filter(|(_, end)| *end >= from);
            spans.map(|(start, end)| end.min(to).saturating_sub(*start)).max().unwrap_or_default()
        };
        self.checks.values().map(of).max().unwrap_or_default()
    }

    fn sent_between(&self, from: Duration, to: Duration) -> usize {
        self.sent.iter().filter(|at| (from..to).contains(at)).count()
    }
}

/// What the account's dispatcher does, with a provider that answers after `latency`.
async fn run(targets: Vec<Target>, limits: &[(u32, u64)], latency: Duration, lasting: Duration) -> Run {
    let start = Instant::now();
    let limits = limits.iter().map(|(requests, per)| Limit { requests: *requests, per: secs(*per) }).collect();
    let burst = NonZeroU32::new(10).expect("positive");
    let clock = Clock::new(Virtual(start));
    let budget = Budget::new(&Terms { limits, share: 1.0, burst, timeout: secs(10) }, clock, 1);
    let mut schedule = Schedule::new(targets, 1);
    let mut flights = JoinSet::new();
    let mut run = Run { checks: HashMap::new(), sent: Vec::new() };
    while start.elapsed() < lasting {
        let next = schedule.next(Instant::now(), budget.capacity(), |_| true);
        let landed = match next {
            Next::Poll(..) => {
                let permit = tokio::select! {
                    permit = budget.acquire() => Ok(permit),
                    Some(landed) = flights.join_next() => Err(landed),
                    () = sleep_until(start + lasting) => break,
                };
                match permit {
                    Ok(permit) => {
                        let Next::Poll(key, _) = schedule.next(Instant::now(), permit.capacity(), |_| true) else {
                            continue;
                        };
                        schedule.start(&key, Instant::now());
                        run.sent.push(start.elapsed());
                        flights.spawn(async move {
                            let sending = permit.spend();
                            sleep(latency).await;
                            sending.end(End::Accepted { retry_after: None });
                            key
                        });
                        continue;
                    }
                    Err(landed) => Some(landed),
                }
            }
            Next::At(at) => tokio::select! {
                () = sleep_until(at.min(start + lasting)) => None,
                Some(landed) = flights.join_next() => Some(landed),
            },
            Next::Idle => flights.join_next().await,
        };
        if let Some(key) = landed.transpose().expect("no panic") {
            schedule.end(&key, Ended::Answered, Instant::now());
            run.checks.entry(key).or_default().push(start.elapsed());
        }
    }
    run
}

const BOTH: &[(u32, u64)] = &[(100, 10), (900, 900)];
const LATENCY: Duration = Duration::from_millis(200);

#[tokio::test(start_paused = true)]
async fn a_first_sync_of_nine_hundred_takes_95_seconds() {
    let targets = (0..900).map(|id| target(id, secs(3600), false)).collect();
    let run = run(targets, BOTH, LATENCY, secs(120)).await;
    let last = run.checks.values().map(|checks| checks[0]).max().expect("checks");
    assert_eq!(run.checks.len(), 900);
    assert!(last <= secs(95), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn too_many_wishes_stretch_evenly_and_never_starve() {
    let targets: Vec<Target> = (0..100).map(|id| target(id, secs(60), false)).collect();
    let stretched = 60.0 * Schedule::new(targets.clone(), 1).stretch(1.0).wishes;
    assert!((stretched - 100.0).abs() < 0.01);
    let run = run(targets, BOTH, LATENCY, secs(3600)).await;
    let early = run.worst_age(secs(0), secs(900)).as_secs_f64();
    let late = run.worst_age(secs(900), secs(3600)).as_secs_f64();
    assert!(early <= 1.25 * stretched, "{early}");
    assert!(late <= 1.1 * stretched, "{late}");
}

#[tokio::test(start_paused = true)]
async fn a_promise_is_kept_among_two_thousand_wishes() {
    let mut targets: Vec<Target> = (0..2000).map(|id| target(id, secs(300), false)).collect();
    targets.push(target(9999, secs(30), true));
    let key = targets[2000].work.clone();
    let mut run = run(targets, BOTH, LATENCY, secs(3600)).await;
    run.checks.retain(|other, _| *other == key);
    let worst = run.worst_age(secs(0), secs(3600));
    assert!(worst <= secs(33), "{worst:?}");
}

#[tokio::test(start_paused = true)]
async fn with_more_demand_than_budget_nearly_all_of_it_is_used() {
    for latency in [50, 200, 1000] {
        let latency = Duration::from_millis(latency);
        let targets = (0..3000).map(|id| target(id, secs(60), false)).collect();
        let run = run(targets, BOTH, latency, secs(900 * 9)).await;
        let possible = 5.0 * 900.0 * 900.0 / (900.0 + latency.as_secs_f64());
        let used = run.sent_between(secs(900 * 3), secs(900 * 8)) as f64;
        assert!(used >= 0.99 * possible, "{used} of {possible} at {latency:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn equal_segments_are_equally_fresh() {
    let targets = (0..300).map(|id| target(id, secs(60), false)).collect();
    let run = run(targets, BOTH, LATENCY, secs(7200)).await;
    let spans = run.checks.values().flat_map(|checks| checks.windows(2).map(|pair| (pair[0], pair[1] - pair[0])));
    let late: Vec<Duration> = spans.filter(|(from, _)| *from > secs(3600)).map(|(_, span)| span).collect();
    let (least, most) = (late.iter().min().expect("spans"), late.iter().max().expect("spans"));
    assert!(*most - *least <= secs(3), "{least:?} to {most:?}");
}
