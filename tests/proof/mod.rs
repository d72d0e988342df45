//! The budget's bound, from the provider's side: no window ever holds more than its limit, whatever happens to requests,
//! processes, configurations and clocks.
//!
//! Virtual time only. `tests/mutants/run` shows that these tests notice when the bound is broken.

mod book;
mod life;

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use life::{Life, Served, crash_loops, live, lives};

fn paused<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}

/// The most that a sliding window holds, closed at both ends, and the most that a fixed one does, of those windows that
/// hold a request from number `first` on.
fn worst(arrivals: &[(Instant, usize)], first: usize, per: Duration) -> (usize, usize) {
    let (mut sliding, mut from) = (0, 0);
    let mut newest =
        arrivals.iter().enumerate().filter(|(_, (_, number))| *number >= first).map(|(at, _)| at).peekable();
    let mut last_new = None;
    for (to, (at, _)) in arrivals.iter().enumerate() {
        while arrivals[from].0 + per < *at {
            from += 1;
        }
        while newest.peek().is_some_and(|new| *new <= to) {
            last_new = newest.next();
        }
        if last_new.is_some_and(|new| new >= from) {
            sliding = sliding.max(to + 1 - from);
        }
    }
    let fixed = [Duration::ZERO, per / 3].map(|phase| {
        let Some((zero, _)) = arrivals.first() else { return 0 };
        let window = |at: &Instant| (*at + phase - *zero).as_nanos() / per.as_nanos();
        let runs = arrivals.chunk_by(|one, other| window(&one.0) == window(&other.0));
        let runs = runs.filter(|run| run.iter().any(|(_, number)| *number >= first));
        runs.map(<[_]>::len).max().unwrap_or(0)
    });
    (sliding, fixed.into_iter().max().unwrap_or(0))
}

/// A window belongs to the configuration under which the last of its requests was admitted.
fn check(served: &Served) -> Result<(), TestCaseError> {
    for (nth, (first, limits)) in served.phases.iter().enumerate() {
        let end = served.phases.get(nth + 1).map_or(usize::MAX, |(next, _)| *next);
        let arrivals: Vec<_> = served.arrivals.iter().copied().filter(|(_, number)| *number < end).collect();
        for limit in limits {
            let (sliding, fixed) = worst(&arrivals, *first, limit.per);
            prop_assert!(sliding <= limit.requests as usize, "{sliding} in a window, phase {nth}, limit {limit}");
            prop_assert!(fixed <= sliding, "{fixed} in a fixed window, {sliding} in a sliding one");
        }
    }
    Ok(())
}

fn holds(life: Life, real: bool) -> Result<(), TestCaseError> {
    check(&paused(live(life, real)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_window_ever_holds_more_than_its_limit(life in lives(4)) {
        holds(life, false)?;
    }

    #[test]
    fn no_crash_loop_puts_more_than_its_limit_into_a_window(life in crash_loops()) {
        holds(life, false)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same with the store's own rows, which also holds the quick book to the store's rule.
    #[test]
    fn no_window_ever_holds_more_than_its_limit_with_the_store(life in lives(3)) {
        holds(life, true)?;
    }
}

#[test]
fn the_count_counts() {
    let zero = Instant::now();
    let at = |ms: u64, number: usize| (zero + Duration::from_millis(ms), number);
    let arrivals = [at(0, 0), at(5, 1), at(10, 2), at(30, 4), at(30, 3)];
    assert_eq!(worst(&arrivals, 0, Duration::from_millis(10)), (3, 2));
    assert_eq!(worst(&arrivals, 3, Duration::from_millis(10)), (2, 2));
    assert_eq!(worst(&arrivals, 3, Duration::from_millis(20)), (3, 2));
    assert_eq!(worst(&arrivals, 5, Duration::from_millis(99)), (0, 0));
}
