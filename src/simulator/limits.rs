//! The providers' limits, exact and never lenient, and a second, independent count over what arrived.
//!
//! Must never happen here: a limit that lets through what a real one might refuse. So a window is closed at both ends,
//! and a refused request counts like any other.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// At most `requests` in any `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub requests: usize,
    /// In how long.
    pub per: Duration,
}

impl Limit {
    /// What Statsig publishes: 100 in 10 s and 900 in 15 min.
    pub fn published() -> Vec<Self> {
        vec![
            Self { requests: 100, per: Duration::from_secs(10) },
            Self { requests: 900, per: Duration::from_secs(900) },
        ]
    }
}

/// The recent arrivals of one account.
#[derive(Debug, Default)]
pub(super) struct Windows(VecDeque<Instant>);

impl Windows {
    /// Counts an arrival; `true` if it is one too many for any limit. `now` never goes back.
    pub(super) fn arrive(&mut self, now: Instant, limits: &[Limit]) -> bool {
        let longest = limits.iter().map(|limit| limit.per).max().unwrap_or_default();
        while self.0.front().is_some_and(|&first| now.duration_since(first) > longest) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        let within = |per| self.0.len() - self.0.partition_point(|&at| now.duration_since(at) > per);
        limits.iter().any(|limit| within(limit.per) > limit.requests)
    }
}

/// The most arrivals that any window of length `per`, closed at both ends, holds. `arrivals` are in order of time.
pub fn worst_window(arrivals: &[Instant], per: Duration) -> usize {
    let mut first = 0;
    let mut worst = 0;
    for (last, &at) in arrivals.iter().enumerate() {
        while arrivals.get(first).is_some_and(|&from| at.duration_since(from) > per) {
            first += 1;
        }
        worst = worst.max(last + 1 - first);
    }
    worst
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(start: Instant, ms: &[u64]) -> Vec<Instant> {
        ms.iter().map(|&ms| start + Duration::from_millis(ms)).collect()
    }

    #[test]
    fn a_window_is_closed_at_both_ends() {
        let limits = [Limit { requests: 2, per: Duration::from_millis(10) }];
        let mut windows = Windows::default();
        let arrivals = at(Instant::now(), &[0, 5, 10, 21]);
        let refused: Vec<bool> = arrivals.iter().map(|&now| windows.arrive(now, &limits)).collect();
        assert_eq!(refused, [false, false, true, false]);
    }

    #[test]
    fn a_refused_request_counts() {
        let limits = [Limit { requests: 1, per: Duration::from_millis(10) }];
        let mut windows = Windows::default();
        let refused: Vec<bool> =
            at(Instant::now(), &[0, 6, 12]).into_iter().map(|now| windows.arrive(now, &limits)).collect();
        assert_eq!(refused, [false, true, true]);
    }

    #[test]
    fn the_worst_window_of_known_arrivals() {
        let arrivals = at(Instant::now(), &[0, 0, 10, 10, 11]);
        let worst = |ms| worst_window(&arrivals, Duration::from_millis(ms));
        assert_eq!([worst(0), worst(1), worst(9), worst(10), worst(11)], [2, 3, 3, 4, 5]);
        assert_eq!(worst_window(&[], Duration::from_secs(1)), 0);
    }

    proptest! {
        /// By definition, slowly: the worst window starts at some arrival.
        #[test]
        fn both_counts_agree_with_the_definition(
            mut ms in prop::collection::vec(0_u64..200, 0..40), requests in 0_usize..6, per in 0_u64..60,
        ) {
            ms.sort_unstable();
            let (arrivals, per) = (at(Instant::now(), &ms), Duration::from_millis(per));
            let slow = arrivals.iter()
                .map(|&from| arrivals.iter().filter(|&&a| a >= from && a <= from + per).count()).max().unwrap_or(0);
            prop_assert_eq!(worst_window(&arrivals, per), slow);
            let mut windows = Windows::default();
            let limits = [Limit { requests, per }];
            let refused = arrivals.iter().filter(|&&now| windows.arrive(now, &limits)).count();
            prop_assert_eq!(refused > 0, slow > requests);
        }
    }
}
