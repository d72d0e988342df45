//! How an account's capacity divides between promises and wishes. Pure arithmetic in requests per second.

use std::time::Duration;

use crate::budget::Capacity;

/// Share of the capacity that promises may take at most while there are wishes, so that these do not starve.
const MOST_FOR_PROMISES: f64 = 0.95;

/// A window that began with a burst leaves less than the steady rate. Of that a little is kept back at first, so that
/// the cycle that ends with the window is no longer than those after it.
pub(super) const BEHIND: f64 = 0.98;

/// How the wishes and promises of an account stretch now: 1 when everything fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// Factor on the intervals of sources.
    pub wishes: f64,
    /// Factor on the segments' own intervals.
    pub promises: f64,
}

/// How the capacity divides at one moment.
pub(super) struct Division {
    /// Requests per second left for the wishes.
    pub(super) wish_rate: f64,
    /// Whether one more wish leaves enough of the window to the promises.
    pub(super) may_wish: bool,
    /// What the wishes would take.
    pub(super) wish_demand: f64,
    pub(super) stretch: Stretch,
}

impl Division {
    /// Divides `capacity` between promises and wishes that demand so many requests per second.
    pub(super) fn of(capacity: Capacity, promise_demand: f64, wish_demand: f64) -> Self {
        let Capacity { steady, even, even_after, .. } = capacity;
        let most = if wish_demand > 0.0 { steady * MOST_FOR_PROMISES } else { steady };
        let promises = (promise_demand / most).max(1.0);
        let promised = promise_demand / promises;
        let even = if even < steady * BEHIND { even * BEHIND } else { even };
        let (wish_rate, may_wish) = if promises > 1.0 {
            // While the promises themselves stretch, the wishes keep their small share even where the window is tight.
            ((even - promised).max(steady - promised), true)
        } else {
            (even - promised, even > promised && even_after >= promised)
        };
        let wishes = if wish_demand > wish_rate && wish_rate > 0.0 { wish_demand / wish_rate } else { 1.0 };
        Self { wish_rate, may_wish, wish_demand, stretch: Stretch { wishes, promises } }
    }

    pub(super) fn is_short(&self) -> bool {
        self.wish_demand > self.wish_rate
    }

    /// Time between two wishes that keeps their pace even.
    pub(super) fn spacing(&self) -> Duration {
        stretched(Duration::from_secs(1), 1.0 / self.wish_rate)
    }
}

/// `every` times `factor`, at most a year.
pub(super) fn stretched(every: Duration, factor: f64) -> Duration {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    Duration::try_from_secs_f64(every.as_secs_f64() * factor).unwrap_or(YEAR).min(YEAR)
}
