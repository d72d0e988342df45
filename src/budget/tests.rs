//! The budget against a server that counts for itself.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::*;
use crate::clock::Source;
use crate::model::UnixMs;

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
        Some("virtual".to_owned())
    }
}

fn virtual_clock() -> Clock {
    Clock::new(Virtual(Instant::now()))
}

fn terms(limits: &[(u32, u64)], burst: u32) -> Terms {
    let limits = limits.iter().map(|(requests, ms)| Limit { requests: *requests, per: Duration::from_millis(*ms) });
    let burst = NonZeroU32::new(burst).expect("positive");
    Terms { limits: limits.collect(), share: 1.0, burst, timeout: Duration::from_secs(10) }
}

/// The most arrivals in any window of length `per`, closed at both ends.
fn worst(arrivals: &[Instant], per: Duration) -> usize {
    let mut sorted = arrivals.to_vec();
    sorted.sort();
    let upto = |from: &Instant| sorted.iter().filter(|at| *at >= from && **at <= *from + per).count();
    sorted.iter().map(upto).max().unwrap_or(0)
}

#[derive(Clone, Debug)]
struct Sent {
    /// Milliseconds from the send until the server counts it.
    up: u64,
    /// Milliseconds from there until the client would see the answer.
    down: u64,
    /// The process is killed right after this send.
    kill: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    let ms = || prop_oneof![Just(0), 0..50_u64, 0..3_000_u64, 0..30_000_u64];
    (ms(), ms(), prop::bool::weighted(0.05)).prop_map(|(up, down, kill)| Sent { up, down, kill })
}

type Row = (Instant, Option<Instant>, bool);

/// Sends everything as fast as the budget allows and returns when the server counted what.
async fn run(terms: Terms, requests: Vec<Sent>) -> Vec<Instant> {
    let clock = virtual_clock();
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let rows: Arc<Mutex<Vec<Row>>> = Arc::default();
    let (mut network, mut process) = (JoinSet::new(), JoinSet::new());
    let mut budget = Budget::new(&terms, clock.clone(), 1);
    for Sent { up, down, kill } in requests {
        let permit = budget.acquire().await;
        let (up, down) = (Duration::from_millis(up), Duration::from_millis(down));
        let row = {
            let mut rows = rows.lock().expect("rows");
            rows.push((Instant::now(), None, false));
            rows.len() - 1
        };
        // What was not served one time-out after the client would give up never is: all that the proof assumes.
        if up <= terms.timeout * 2 {
            let arrivals = Arc::clone(&arrivals);
            network.spawn(async move {
                sleep(up).await;
                arrivals.lock().expect("arrivals").push(Instant::now());
            });
        }
        let (rows_of, timeout) = (Arc::clone(&rows), terms.timeout);
        process.spawn(async move {
            let sending = permit.spend();
            let answered = up + down <= timeout;
            sleep((up + down).min(timeout)).await;
            rows_of.lock().expect("rows")[row] = (Instant::now(), Some(Instant::now()), answered);
            if answered {
                sending.end(End::Accepted { retry_after: None, remaining: None });
            }
        });
        if kill {
            tokio::task::yield_now().await;
            process.shutdown().await;
            budget = Budget::new(&terms, clock.clone(), 1);
            let ms = |span: Duration| i64::try_from(span.as_millis()).expect("short");
            budget.remember(rows.lock().expect("rows").iter().map(|(started, ended, answered)| Spent {
                ended_ago_ms:
                    ended.map_or(ms(started.elapsed()).saturating_sub(ms(terms.timeout)).min(0), |at| ms(at.elapsed())),
                unanswered: !answered,
            }));
        }
    }
    while network.join_next().await.is_some() {}
    let arrivals = arrivals.lock().expect("arrivals");
    arrivals.clone()
}

fn paused<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_window_on_the_server_holds_more_than_its_limit(
        limits in prop::collection::vec((1..12_u32, prop_oneof![1..50_u64, 50..20_000_u64]), 1..4),
        burst in 1..30_u32,
        requests in prop::collection::vec(sent(), 1..80),
    ) {
        let arrivals = paused(run(terms(&limits, burst), requests));
        for (requests, ms) in limits {
            let seen = worst(&arrivals, Duration::from_millis(ms));
            prop_assert!(seen <= requests as usize, "{seen} in {ms} ms, limit {requests}");
        }
    }
}

#[test]
fn nine_hundred_go_out_in_95_seconds_and_then_no_more() {
    let quick = Sent { up: 100, down: 100, kill: false };
    let arrivals = paused(run(terms(&[(100, 10_000), (900, 900_000)], 10), vec![quick; 950]));
    let first = arrivals[0];
    assert!(arrivals[899] - first <= Duration::from_secs(95), "{:?}", arrivals[899] - first);
    assert!(arrivals[900] - first > Duration::from_secs(900));
    assert_eq!(worst(&arrivals, Duration::from_secs(10)), 100);
    assert_eq!(worst(&arrivals, Duration::from_secs(900)), 900);
}

#[test]
fn the_first_requests_do_not_leave_in_one_instant() {
    let quick = Sent { up: 0, down: 0, kill: false };
    let arrivals = paused(run(terms(&[(100, 10_000)], 10), vec![quick; 100]));
    assert_eq!(worst(&arrivals, Duration::ZERO), 10);
    assert_eq!(worst(&arrivals, Duration::from_secs(1)), 20);
}

#[test]
fn a_share_scales_the_limits_but_leaves_one_request() {
    let mut terms = terms(&[(100, 1000), (3, 1000)], 1);
    terms.share = 0.25;
    assert_eq!(terms.scaled().iter().map(|limit| limit.requests).collect::<Vec<_>>(), [25, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_is_not_used_counts_for_nothing() {
    let budget = Budget::new(&terms(&[(1, 1000)], 1), virtual_clock(), 1);
    drop(budget.acquire().await);
    assert_eq!(budget.usage().used[0].1, 0);
    let sending = budget.acquire().await.spend();
    assert!(budget.try_acquire().is_err());
    drop(sending);
    let asked = Instant::now();
    let _permit = budget.acquire().await;
    assert!(asked.elapsed() > Duration::from_secs(11), "window and time-out: {:?}", asked.elapsed());
}

async fn answer(budget: &Budget, end: End) -> Duration {
    let asked = Instant::now();
    budget.acquire().await.spend().end(end);
    asked.elapsed()
}

#[tokio::test(start_paused = true)]
async fn refusals_hold_the_account_ever_longer_until_one_is_accepted() {
    let budget = Budget::new(&terms(&[], 1), virtual_clock(), 1);
    let refused = End::Refused { retry_after: None, remaining: None };
    let mut waits = Vec::new();
    for _ in 0..9 {
        waits.push(answer(&budget, refused).await.as_secs_f64());
    }
    for (wait, at_least) in waits.iter().zip([0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 900.0]) {
        assert!((at_least..=at_least * 1.1 + 0.01).contains(wait), "{waits:?}");
    }
    answer(&budget, End::Accepted { retry_after: None, remaining: None }).await;
    assert_eq!(answer(&budget, refused).await, Duration::ZERO);
    let again = answer(&budget, refused).await.as_secs_f64();
    assert!((10.0..=11.01).contains(&again), "{again}");
}

#[tokio::test(start_paused = true)]
async fn a_storm_counts_once_and_one_request_asks_after_it() {
    let budget = Budget::new(&terms(&[], 1), virtual_clock(), 1);
    let mut storm = Vec::new();
    for _ in 0..8 {
        storm.push(budget.acquire().await.spend());
    }
    for sending in storm {
        sending.end(End::Refused { retry_after: Some(Duration::from_secs(30)), remaining: None });
    }
    let asked = Instant::now();
    let probe = budget.acquire().await.spend();
    assert!((30..=33).contains(&asked.elapsed().as_secs()), "{:?}", asked.elapsed());
    assert_eq!(budget.try_acquire().expect_err("one asks"), None);
    probe.end(End::Accepted { retry_after: None, remaining: None });
    assert!(budget.try_acquire().is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_absurd_wait_is_capped_and_a_wait_on_an_answer_holds_too() {
    let budget = Budget::new(&terms(&[], 1), virtual_clock(), 1);
    answer(&budget, End::Accepted { retry_after: Some(Duration::from_secs(99_999_999)), remaining: None }).await;
    let waited = answer(&budget, End::Accepted { retry_after: None, remaining: None }).await;
    assert!((900..=990).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_slows_the_pace_and_answers_bring_it_back() {
    let budget = Budget::new(&terms(&[(1000, 100_000)], 1), virtual_clock(), 1);
    answer(&budget, End::Refused { retry_after: None, remaining: None }).await;
    assert!((budget.usage().pace - 0.7).abs() < 1e-9);
    answer(&budget, End::Accepted { retry_after: None, remaining: None }).await;
    let spacing = answer(&budget, End::Accepted { retry_after: None, remaining: None }).await;
    assert!((135..=145).contains(&spacing.as_millis()), "{spacing:?}");
    for _ in 0..20 {
        answer(&budget, End::Accepted { retry_after: None, remaining: None }).await;
    }
    assert!((budget.usage().pace - 1.0).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn the_next_request_is_told_as_late_as_it_goes() {
    let budget = Budget::new(&terms(&[(6, 60_000), (20, 3_600_000)], 2), virtual_clock(), 1);
    let mut refused = 0;
    for request in 0..30 {
        let permit = loop {
            match budget.try_acquire() {
                Ok(permit) => break permit,
                Err(at) => {
                    assert!(at.is_some_and(|at| at > Instant::now()) && budget.opens_at() >= at);
                    refused += 1;
                    sleep_until(budget.opens_at().expect("nothing is open")).await;
                }
            }
        };
        let end = if request % 10 == 5 {
            End::Refused { retry_after: None, remaining: None }
        } else {
            End::Accepted { retry_after: None, remaining: None }
        };
        let _: Standing = permit.spend().end(end);
    }
    // Each waited once, apart from the burst and those that a hold was asked for first.
    assert!((28..=31).contains(&refused), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn the_even_rate_spreads_what_is_left_over_the_rest_of_the_window() {
    let budget = Budget::new(&terms(&[(100, 10_000), (900, 900_000)], 10), virtual_clock(), 1);
    assert!((budget.capacity().even - 1.0).abs() < 0.001);
    for _ in 0..100 {
        answer(&budget, End::Accepted { retry_after: None, remaining: None }).await;
    }
    let even = budget.capacity().even;
    assert!((even - 800.0 / 890.0).abs() < 0.01, "{even}");
    assert!((budget.capacity().steady - 1.0).abs() < 1e-9);
}

fn told(left: u64, reset_after: u64) -> End {
    let remaining = Some(Remaining { left, reset_after: Duration::from_secs(reset_after) });
    End::Accepted { retry_after: None, remaining }
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_says_is_left_is_followed_downwards_until_the_reset() {
    let budget = Budget::new(&terms(&[(100, 10_000), (900, 900_000)], 100), virtual_clock(), 1);
    let used = || budget.usage().used.iter().map(|(_, used)| *used).collect::<Vec<_>>();
    answer(&budget, told(99, 5)).await;
    answer(&budget, told(5_000, 5)).await;
    assert_eq!(used(), [2, 2], "nobody else, and never upwards");
    answer(&budget, told(95, 5)).await;
    assert_eq!(used(), [5, 5], "two others");
    answer(&budget, told(0, 5)).await;
    assert_eq!(used(), [100, 100], "all that is left of the short limit was taken");
    answer(&budget, told(96, 50)).await;
    assert_eq!(used()[0], 5, "the reset: others start anew");
}

#[tokio::test(start_paused = true)]
async fn nothing_left_waits_for_the_reset_and_no_longer_than_the_longest_window() {
    for (reset, at_least) in [(5, 5), (100, 10)] {
        let budget = Budget::new(&terms(&[(100, 10_000)], 100), virtual_clock(), 1);
        answer(&budget, told(0, reset)).await;
        assert!(budget.capacity().even < 1e-9);
        let waited = answer(&budget, told(98, 10)).await;
        assert_eq!(waited.as_secs(), at_least);
        assert_eq!(answer(&budget, told(97, 10)).await, Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_cross_are_not_taken_for_requests_of_others() {
    let budget = Budget::new(&terms(&[(10, 10_000)], 10), virtual_clock(), 1);
    let mut flight = Vec::new();
    for _ in 0..9 {
        flight.push(budget.acquire().await.spend());
    }
    // Served in another order than sent; the provider has counted up to all of them.
    for (sending, left) in flight.into_iter().zip([4, 1, 2, 3, 9, 8, 7, 6, 5]) {
        sleep(Duration::from_secs(1)).await;
        sending.end(told(left, 10));
    }
    assert_eq!(budget.usage().used[0].1, 9);
    // A slow one tells what was left when it was served, before earlier ones ceased to count.
    let slow = budget.acquire().await.spend();
    sleep(Duration::from_secs(9)).await;
    slow.end(told(0, 10));
    assert_eq!(budget.usage().used[0].1, 3);
}

#[tokio::test(start_paused = true)]
async fn after_the_hold_of_an_earlier_process_one_request_asks() {
    let budget = Budget::new(&terms(&[], 1), virtual_clock(), 1);
    budget.hold(Duration::from_secs(30));
    let asked = Instant::now();
    let probe = budget.acquire().await.spend();
    assert_eq!(asked.elapsed(), Duration::from_secs(30));
    assert_eq!(budget.try_acquire().expect_err("one asks"), None);
    probe.end(End::Accepted { retry_after: None, remaining: None });
    assert!(budget.try_acquire().is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_told_is_waited_for_unless_it_is_too_old_to_count() {
    let terms = terms(&[(2, 100_000)], 5);
    assert_eq!(terms.remembered(), 4, "a window and two time-outs, in windows, rounded up");
    // Rows, the end of the oldest, and how long nothing is sent; timers are a millisecond late.
    for (rows, oldest, wait) in [(8, 101_000, 19_001), (8, 119_999, 2), (8, 120_001, 0), (7, 101_000, 0)] {
        let budget = Budget::new(&terms, virtual_clock(), 1);
        budget.remember(
            (1..=rows).map(|row| Spent { ended_ago_ms: 100_001 + (oldest - 100_001) * row / rows, unanswered: false }),
        );
        let waited = answer(&budget, End::Accepted { retry_after: None, remaining: None }).await;
        assert_eq!(waited.as_millis(), wait, "{rows} rows to {oldest} ms ago");
    }
}
