//! Lists and single segments that share a budget too small for both, under virtual time.

use std::num::NonZeroU32;
use std::time::Duration;

use segsync::budget::{Budget, End, Terms};
use segsync::clock::{Clock, Source};
use segsync::model::{Limit, SegmentKey, SourceName, UnixMs};
use segsync::schedule::{Ended, Next, Schedule, Target, Work};
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

const LATENCY: Duration = Duration::from_millis(50);

/// The requests of an hour in order, with their page's number for those of the list: what the dispatcher does.
async fn hour(pages: u32, singles: usize, every: Duration) -> Vec<(Duration, Work, u32)> {
    let start = Instant::now();
    let limits = [(100, 10), (900, 900)].map(|(requests, per)| Limit { requests, per: Duration::from_secs(per) });
    let (burst, timeout) = (NonZeroU32::new(10).unwrap(), Duration::from_secs(10));
    let terms = Terms { limits: limits.to_vec(), share: 1.0, burst, timeout };
    let budget = Budget::new(&terms, Clock::new(Virtual(start)), 1);
    let single = |number: usize| Work::Get(SegmentKey::new(SourceName::new("singles"), number.to_string()));
    let list = Work::Sweep(SourceName::new("list"));
    let works = std::iter::once(list.clone()).chain((0..singles).map(single));
    // How many pages there are shows when they are read.
    let mut schedule = Schedule::new(works.map(|work| Target::once(work, every)).collect(), 1);
    let (mut sent, mut page, mut began) = (Vec::new(), 0, start);
    while start.elapsed() < Duration::from_secs(3600) {
        match schedule.next(Instant::now(), budget.capacity(), |_| true) {
            Next::Poll(..) => (),
            Next::At(at) => {
                sleep_until(at).await;
                continue;
            }
            Next::Idle => unreachable!("nothing is in flight for long"),
        }
        let permit = budget.acquire().await;
        let Next::Poll(work, _) = schedule.next(Instant::now(), permit.capacity(), |_| true) else { continue };
        schedule.start(&work, Instant::now());
        if work == list && page == 0 {
            began = Instant::now();
        }
        let number = if work == list { page } else { 0 };
        sent.push((start.elapsed(), work.clone(), number));
        let sending = permit.spend();
        sleep(LATENCY).await;
        sending.end(End::Accepted { retry_after: None, remaining: None });
        let now = Instant::now();
        if work != list {
            schedule.end(&work, Ended::Answered, now);
        } else if page + 1 < pages {
            page += 1;
            schedule.end(&work, Ended::Continues, now);
        } else {
            page = 0;
            schedule.set_requests(&work, pages);
            schedule.end(&work, Ended::Answered, began);
        }
    }
    sent
}

/// The longest time between two requests for the same after the first window.
fn worst_age(sent: &[(Duration, Work, u32)], of_list: bool) -> Duration {
    let mut last = std::collections::HashMap::new();
    let mut worst = Duration::ZERO;
    for (at, work, page) in sent.iter().filter(|(_, work, _)| matches!(work, Work::Sweep(_)) == of_list) {
        if let Some(before) = last.insert((work, page), *at).filter(|_| at.as_secs() > 900) {
            worst = worst.max(*at - before);
        }
    }
    worst
}

#[tokio::test(start_paused = true)]
async fn short_of_capacity_lists_and_single_segments_are_equally_fresh() {
    // 30 pages and 100 segments a minute are 130 requests where 60 fit: 130 s each.
    let sent = hour(30, 100, Duration::from_secs(60)).await;
    let (list, singles) = (worst_age(&sent, true).as_secs(), worst_age(&sent, false).as_secs());
    assert!((125..=150).contains(&list), "list {list} s, singles {singles} s");
    assert!((125..=150).contains(&singles), "list {list} s, singles {singles} s");
    let steady = sent.iter().filter(|(at, ..)| at.as_secs() >= 900).count();
    assert!((2670..=2700).contains(&steady), "{steady} requests in 45 minutes");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fits_is_as_fresh_as_asked_for() {
    // 100 pages every 5 minutes: the first page is the one that waits longest, and the reading itself takes 10 s.
    let sent = hour(100, 0, Duration::from_secs(300)).await;
    let age = worst_age(&sent, true);
    assert!((Duration::from_secs(300)..Duration::from_secs(312)).contains(&age), "{age:?}");
    let sweeps = sent.iter().filter(|(_, _, page)| *page == 99).count();
    assert_eq!(sweeps, 12);
}
