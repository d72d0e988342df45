//! Schedule and budget together under virtual time: how fresh segments stay, and how much of the budget is used.

use std::cell::Cell;
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

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn target(id: usize, every: Duration, promise: bool) -> Target {
    let key = SegmentKey::new(SourceName::new("s"), id.to_string());
    Target { work: Work::Get(key), every, promise, requests: 1, last: None, failures: 0 }
}

/// When each segment was checked and asked for, from the start of the run.
struct Run {
    checks: HashMap<Work, Vec<Duration>>,
    sent: Vec<(Duration, Work)>,
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

    /// The shortest and the longest time between two checks of a segment, the first after `from`.
    fn spans(&self, from: Duration) -> (Duration, Duration) {
        let pairs = self.checks.values().flat_map(|checks| checks.windows(2));
        let spans: Vec<Duration> = pairs.filter(|pair| pair[0] > from).map(|pair| pair[1] - pair[0]).collect();
        (*spans.iter().min().expect("spans"), *spans.iter().max().expect("spans"))
    }

    fn sent_between(&self, from: Duration, to: Duration) -> usize {
        self.sent.iter().filter(|(at, _)| (from..to).contains(at)).count()
    }
}

/// An answer of the provider: after how long, and which; `None` when there is none.
struct Reply(Duration, Option<End>, Ended);

const ACCEPTED: Option<End> = Some(End::Accepted { retry_after: None, remaining: None });

/// Who is asked, and how the provider answers at which time.
struct Play<'a> {
    targets: Vec<Target>,
    limits: &'a [(u32, u64)],
    /// Requests in flight.
    concurrency: usize,
    reply: &'a dyn Fn(&Work, Duration) -> Reply,
    /// Interactive requests, in order of time.
    hurries: Vec<(Duration, Work)>,
    lasting: Duration,
}

impl Play<'_> {
    /// What the account's dispatcher does.
    async fn run(mut self) -> Run {
        let start = Instant::now();
        let limits = self.limits.iter().map(|(requests, per)| Limit { requests: *requests, per: secs(*per) }).collect();
        let burst = NonZeroU32::new(10).expect("positive");
        let clock = Clock::new(Virtual(start));
        let budget = Budget::new(&Terms { limits, share: 1.0, burst, timeout: secs(10) }, clock, 1);
        let mut schedule = Schedule::new(std::mem::take(&mut self.targets), 1);
        let mut flights = JoinSet::new();
        let mut run = Run { checks: HashMap::new(), sent: Vec::new() };
        while start.elapsed() < self.lasting {
            while self.hurries.first().is_some_and(|(at, _)| *at <= start.elapsed()) {
                assert!(schedule.hurry(&self.hurries.remove(0).1));
            }
            let look_up = start + self.hurries.first().map_or(self.lasting, |(at, _)| *at).min(self.lasting);
            let has_slot = flights.len() < self.concurrency;
            let landed = match schedule.next(Instant::now(), budget.capacity(), |_| has_slot) {
                Next::Poll(..) => {
                    let permit = tokio::select! {
                        permit = budget.acquire() => Ok(permit),
                        Some(landed) = flights.join_next() => Err(Some(landed)),
                        () = sleep_until(look_up) => Err(None),
                    };
                    match permit {
                        Ok(permit) => {
                            let next = schedule.next(Instant::now(), permit.capacity(), |_| true);
                            let Next::Poll(work, _) = next else { continue };
                            schedule.start(&work, Instant::now());
                            run.sent.push((start.elapsed(), work.clone()));
                            let Reply(latency, end, ended) = (self.reply)(&work, start.elapsed());
                            flights.spawn(async move {
                                let sending = permit.spend();
                                sleep(latency).await;
                                end.map(|end| sending.end(end));
                                (work, ended)
                            });
                            continue;
                        }
                        Err(landed) => landed,
                    }
                }
                Next::At(at) => tokio::select! {
                    () = sleep_until(at.min(look_up)) => None,
                    Some(landed) = flights.join_next() => Some(landed),
                },
                Next::Idle => tokio::select! {
                    () = sleep_until(look_up) => None,
                    Some(landed) = flights.join_next() => Some(landed),
                },
            };
            if let Some((work, ended)) = landed.transpose().expect("no panic") {
                schedule.end(&work, ended, Instant::now());
                if ended == Ended::Answered {
                    run.checks.entry(work).or_default().push(start.elapsed());
                }
            }
        }
        run
    }
}

/// A provider that answers everything after `latency`.
async fn run(targets: Vec<Target>, limits: &[(u32, u64)], latency: Duration, lasting: Duration) -> Run {
    let reply = |_: &Work, _| Reply(latency, ACCEPTED, Ended::Answered);
    Play { targets, limits, concurrency: usize::MAX, reply: &reply, hurries: Vec::new(), lasting }.run().await
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
    for latency in [50, 1000] {
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
    for longest in [200, 2_000] {
        let longest = Duration::from_millis(longest);
        let count = Cell::new(0);
        let reply = |_: &Work, _| {
            count.set((count.get() + 7) % 20);
            Reply(longest * count.get() / 19, ACCEPTED, Ended::Answered)
        };
        let targets = (0..300).map(|id| target(id, secs(60), false)).collect();
        let play =
            Play { targets, limits: BOTH, concurrency: 8, reply: &reply, hurries: Vec::new(), lasting: secs(7200) };
        let (least, most) = play.run().await.spans(secs(3600));
        // The round trip belongs to each of a window's slots.
        let slot = (secs(900) + longest) / 900;
        assert!(most - least <= slot + longest, "{least:?} to {most:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn slow_and_failing_segments_delay_no_other() {
    async fn others(reply: &dyn Fn(&Work, Duration) -> Reply) -> Duration {
        let targets: Vec<Target> = (0..300).map(|id| target(id, secs(600), false)).collect();
        let play = Play { targets, limits: BOTH, concurrency: 8, reply, hurries: Vec::new(), lasting: secs(5400) };
        let is_well = |work: &Work| (5..300).any(|id| *work == target(id, secs(1), false).work);
        let mut run = play.run().await;
        run.checks.retain(|work, _| is_well(work));
        assert_eq!(run.checks.len(), 295);
        run.worst_age(secs(900), secs(5400))
    }
    let names: Vec<Work> = (0..5).map(|id| target(id, secs(1), false).work).collect();
    let well = |_: &Work, _| Reply(LATENCY, ACCEPTED, Ended::Answered);
    let ill = |work: &Work, _| match names.iter().position(|name| name == work) {
        Some(0 | 1) => Reply(secs(9), ACCEPTED, Ended::Answered),
        Some(2 | 3) => Reply(LATENCY, ACCEPTED, Ended::Failed),
        Some(_) => Reply(secs(10), None, Ended::Failed),
        None => Reply(LATENCY, ACCEPTED, Ended::Answered),
    };
    let (alone, beside) = (others(&well).await, others(&ill).await);
    assert!(beside <= alone + secs(2), "{beside:?} instead of {alone:?}");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_waits_for_goes_out_next() {
    let targets: Vec<Target> = (0..1000).map(|id| target(id, secs(60), false)).collect();
    let hurries: Vec<(Duration, Work)> = [1500, 1501, 1501, 2000, 2700]
        .into_iter()
        .zip(700..)
        .map(|(at, id)| (secs(at), targets[id].work.clone()))
        .collect();
    let reply = |_: &Work, _| Reply(LATENCY, ACCEPTED, Ended::Answered);
    let lasting = secs(2800);
    let play = Play { targets, limits: BOTH, concurrency: 8, reply: &reply, hurries: hurries.clone(), lasting };
    let run = play.run().await;
    for ((at, work), next) in hurries.iter().zip([0, 0, 1, 0, 0]) {
        let sent: Vec<_> = run.sent.iter().filter(|(sent, _)| sent >= at).collect();
        let place = sent.iter().position(|(_, sent)| sent == work).expect("sent");
        assert!(place <= next + 1, "{work:?} is number {place} after {at:?}");
        assert!(sent[place].0 - *at <= secs(4), "{work:?} waited until {:?}", sent[place].0);
    }
}

/// Ten minutes of 429 for everything.
async fn storm(retry_after: Option<Duration>) -> (Vec<Duration>, Run) {
    const STORM: (Duration, Duration) = (secs(60), secs(660));
    let reply = |_: &Work, at| {
        if (STORM.0..STORM.1).contains(&at) {
            Reply(LATENCY, Some(End::Refused { retry_after, remaining: None }), Ended::Throttled)
        } else {
            Reply(LATENCY, ACCEPTED, Ended::Answered)
        }
    };
    let targets = (0..500).map(|id| target(id, secs(10), false)).collect();
    let limits = &[(100, 10)];
    let lasting = if retry_after > Some(secs(60)) { secs(1200) } else { secs(1100) };
    let play = Play { targets, limits, concurrency: 8, reply: &reply, hurries: Vec::new(), lasting };
    let run = play.run().await;
    let refused = run.sent.iter().map(|(at, _)| *at).filter(|at| (STORM.0..STORM.1).contains(at)).collect();
    (refused, run)
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_refusals_is_asked_once_a_hold_and_forgotten_soon_after() {
    for retry_after in [None, Some(secs(1)), Some(secs(30)), Some(secs(99_999_999))] {
        let (refused, run) = storm(retry_after).await;
        // What was in flight when it began, then one at a time.
        let probes: Vec<Duration> = refused.iter().copied().filter(|at| *at > secs(60) + LATENCY).collect();
        assert!(refused.len() - probes.len() <= 3, "{} in flight", refused.len() - probes.len());
        for (nth, pair) in [secs(60)].iter().chain(&probes).collect::<Vec<_>>().windows(2).enumerate() {
            let hold = retry_after.unwrap_or_else(|| secs(10) * (1 << nth)).min(secs(900));
            assert!(*pair[1] - *pair[0] >= hold, "probes {probes:?} at {retry_after:?}");
        }
        let over = run.sent.iter().map(|(at, _)| *at).find(|at| *at >= secs(660)).expect("it goes on");
        let latest = secs(660) + retry_after.map_or(secs(320), |told| told.min(secs(900))).mul_f64(1.1) + LATENCY;
        assert!(over <= latest, "asked again at {over:?}, {retry_after:?}");
        // Two short windows later: the rate of a short window with its round trip.
        let rate = run.sent_between(over + secs(20), over + secs(120)) as f64 / 100.0;
        assert!(rate >= 0.95 * 100.0 / (10.0 + LATENCY.as_secs_f64()), "{rate} a second after {retry_after:?}");
        let again = |checks: &&Vec<Duration>| checks.iter().any(|at| *at > over && *at < over + secs(80));
        assert_eq!(run.checks.values().filter(again).count(), 500, "all are checked again, {retry_after:?}");
    }
}
