//! A forecast must not lie: what it says is held against schedule and budget under virtual time.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use segsync::budget::{Budget, End, Terms};
use segsync::clock::{Clock, Source};
use segsync::model::{Limit, SegmentKey, SourceName, UnixMs};
use segsync::schedule::{Ended, Forecast, Next, Schedule, Target, Work};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// What the provider takes to answer; a forecast does not count it.
const LATENCY: Duration = Duration::from_millis(50);

struct Virtual(Instant);

impl Source for Virtual {
    fn wall(&self) -> UnixMs {
        UnixMs(0)
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

fn terms(limits: &[(u32, u64)], share: f64, burst: u32) -> Terms {
    let limits = limits.iter().map(|(requests, per)| Limit { requests: *requests, per: secs(*per) }).collect();
    Terms { limits, share, burst: NonZeroU32::new(burst).expect("positive"), timeout: secs(10) }
}

fn singles(count: usize, every: u64, promise: bool) -> Vec<Target> {
    let key = |id: usize| SegmentKey::new(SourceName::new("s"), format!("{promise}{id}"));
    (0..count).map(|id| Target { promise, ..Target::once(Work::Get(key(id)), secs(every)) }).collect()
}

fn list(name: &str, pages: u32, every: u64) -> Target {
    Target { requests: pages, ..Target::once(Work::Sweep(SourceName::new(name)), secs(every)) }
}

/// When each work was sent, in seconds from the start; a list counts when its last page is.
async fn live(targets: &[Target], terms: &Terms, lasting: Duration) -> HashMap<Work, Vec<f64>> {
    let start = Instant::now();
    let budget = Budget::new(terms, Clock::new(Virtual(start)), 1);
    let mut schedule = Schedule::new(targets.to_vec(), 1);
    let pages: HashMap<&Work, u32> = targets.iter().map(|target| (&target.work, target.requests)).collect();
    let (mut read, mut sent): (HashMap<Work, u32>, HashMap<Work, Vec<f64>>) = Default::default();
    let mut flights = JoinSet::new();
    while start.elapsed() < lasting {
        let wake = match schedule.next(Instant::now(), budget.capacity(), |_| true) {
            Next::Poll(..) => {
                let permit = tokio::select! {
                    permit = budget.acquire() => permit,
                    Some(landed) = flights.join_next() => {
                        let (work, ended) = landed.expect("no panic");
                        schedule.end(&work, ended, Instant::now());
                        continue;
                    }
                    () = sleep_until(start + lasting) => break,
                };
                let Next::Poll(work, _) = schedule.next(Instant::now(), permit.capacity(), |_| true) else { continue };
                schedule.start(&work, Instant::now());
                let page = read.entry(work.clone()).or_default();
                *page += 1;
                let ended = if *page == pages[&work] { Ended::Answered } else { Ended::Continues };
                if ended == Ended::Answered {
                    *page = 0;
                    sent.entry(work.clone()).or_default().push(start.elapsed().as_secs_f64());
                }
                flights.spawn(async move {
                    let sending = permit.spend();
                    sleep(LATENCY).await;
                    sending.end(End::Accepted { retry_after: None, remaining: None });
                    (work, ended)
                });
                continue;
            }
            Next::At(at) => at.min(start + lasting),
            Next::Idle => start + lasting,
        };
        tokio::select! {
            () = sleep_until(wake) => (),
            Some(landed) = flights.join_next() => {
                let (work, ended) = landed.expect("no panic");
                schedule.end(&work, ended, Instant::now());
            }
        }
    }
    sent
}

fn forecast(targets: &[Target], terms: &Terms) -> Forecast {
    Forecast::new(&Schedule::new(targets.to_vec(), 0), terms)
}

/// Holds the time of the first sync against the truth.
async fn first_sync(what: &str, targets: &[Target], terms: &Terms) {
    let said = forecast(targets, terms).first_sync;
    let sent = live(targets, terms, said * 2 + secs(60)).await;
    assert_eq!(sent.len(), targets.len(), "{what}: not everything was polled in twice the time");
    let last = sent.values().map(|times| times[0]).fold(0.0, f64::max);
    // What the answers take: each page waits for the one before, and each window for the answers of the last.
    let pages = targets.iter().map(|target| target.requests).max().unwrap_or(0);
    let answers = LATENCY.as_secs_f64() * (f64::from(pages) + 5.0);
    let said = said.as_secs_f64();
    assert!((said * 0.95..=said * 1.05 + answers).contains(&last), "{what}: {last:.1} s, not {said:.1} s");
}

/// Holds the ages that are expected of each group against the truth, once the first windows are over.
async fn ages(what: &str, targets: &[Target], terms: &Terms) {
    let forecast = forecast(targets, terms);
    let longest = forecast.groups.iter().map(|group| group.age).max().expect("a group");
    let begin = forecast.first_sync + secs(2 * 900) + longest;
    let sent = live(targets, terms, begin + longest * 6).await;
    for group in &forecast.groups {
        let own = |target: &&Target| {
            *target.work.source() == group.source && (target.promise, target.every) == (group.promise, group.every)
        };
        let times = targets.iter().filter(own).map(|target| &sent[&target.work]);
        let late = times.flat_map(|times| times.windows(2)).filter(|pair| pair[0] >= begin.as_secs_f64());
        let spans: Vec<f64> = late.map(|pair| pair[1] - pair[0]).collect();
        let mean = spans.iter().sum::<f64>() / spans.len() as f64;
        let said = group.age.as_secs_f64();
        assert!((0.95..=1.05).contains(&(mean / said)), "{what}: {group:?}: {mean:.1} s");
    }
}

const BOTH: &[(u32, u64)] = &[(100, 10), (900, 900)];

#[tokio::test(start_paused = true)]
async fn a_first_sync_takes_as_long_as_said() {
    let usual = terms(BOTH, 1.0, 10);
    first_sync("a window's worth", &singles(900, 3600, false), &usual).await;
    first_sync("more than a window", &singles(2000, 300, false), &usual).await;
    first_sync("a share", &singles(500, 300, false), &terms(BOTH, 0.4, 10)).await;
    first_sync("a large burst", &singles(400, 3600, false), &terms(BOTH, 1.0, 100)).await;
    first_sync("one slow limit", &singles(50, 60, false), &terms(&[(20, 600)], 1.0, 10)).await;
    let mixed = [singles(10, 30, true), singles(1500, 300, false)].concat();
    first_sync("promises and wishes", &mixed, &usual).await;
    let crowded = [singles(60, 30, true), singles(100, 300, false)].concat();
    first_sync("promises that stretch", &crowded, &usual).await;
    let crowded = [singles(60, 30, true), singles(2000, 300, false)].concat();
    first_sync("promises that stretch, and more than a window", &crowded, &usual).await;
    first_sync("promises alone", &singles(1000, 60, true), &usual).await;
}

#[tokio::test(start_paused = true)]
async fn a_first_sync_by_list_takes_as_long_as_said() {
    let usual = terms(BOTH, 1.0, 10);
    first_sync("lists that fit", &[list("a", 100, 300), list("b", 50, 300)], &usual).await;
    first_sync("a list that does not fit", &[list("a", 500, 60)], &usual).await;
    first_sync("a list that fits just so", &[list("a", 500, 600)], &usual).await;
    let mixed = [singles(20, 60, true), singles(300, 900, false), vec![list("a", 20, 300)]].concat();
    first_sync("all kinds", &mixed, &usual).await;
}

#[tokio::test(start_paused = true)]
async fn copies_get_as_old_as_said() {
    let usual = terms(BOTH, 1.0, 10);
    ages("what fits", &singles(100, 300, false), &usual).await;
    ages("what does not fit", &singles(200, 60, false), &usual).await;
    let mixed = [singles(10, 30, true), singles(100, 60, false), singles(50, 120, false)].concat();
    ages("promises and wishes", &mixed, &usual).await;
    ages("promises that stretch", &[singles(60, 30, true), singles(10, 300, false)].concat(), &usual).await;
    ages("a list", &[list("a", 20, 300)], &usual).await;
    ages("a list that does not fit", &[list("a", 200, 60), list("b", 100, 60)], &usual).await;
}
