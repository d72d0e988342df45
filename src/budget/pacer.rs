//! The last gate: evenly spaced at the shortest limit's rate, with a small burst. Pure: governor on a clock that is
//! set by hand before each check.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use crate::model::Limit;

/// A refusal cuts the rate to this share of itself …
const CUT: f64 = 0.7;
/// … but not below this share of the full rate …
const LOWEST: f64 = 0.1;
/// … and each answer other than a refusal gives this share of the full rate back.
const STEP: f64 = 0.02;

type Limiter = RateLimiter<NotKeyed, InMemoryState, SetByHand, NoOpMiddleware<Nanos>>;

/// Spaces requests.
pub struct Pacer {
    origin: Instant,
    clock: SetByHand,
    /// `None` without limits.
    full: Option<(Limiter, Duration)>,
    /// Share of the full rate, [`LOWEST`] to 1.
    rate: f64,
    last: Option<Instant>,
    /// When the burst lets the next request through, as it said when it was last asked.
    refilled: Option<Instant>,
}

impl Pacer {
    /// Paces at the rate of the shortest of `limits`, after a first burst of `burst` requests.
    pub fn new(limits: &[Limit], burst: NonZeroU32, origin: Instant) -> Self {
        let clock = SetByHand::default();
        let spacing = limits.iter().min_by_key(|limit| limit.per).map(|limit| limit.per / limit.requests.max(1));
        let full = spacing.and_then(|every| {
            let quota = Quota::with_period(every)?.allow_burst(burst);
            Some((RateLimiter::direct_with_clock(quota, clock.clone()), every))
        });
        Self { origin, clock, full, rate: 1.0, last: None, refilled: None }
    }

    /// Takes a slot, or says when to ask again.
    pub fn check(&mut self, now: Instant) -> Result<(), Instant> {
        let Some((limiter, _)) = &self.full else { return Ok(()) };
        if let Some(next) = self.slowed().filter(|next| *next > now) {
            return Err(next);
        }
        self.clock.set(now.saturating_duration_since(self.origin));
        if let Err(not_yet) = limiter.check() {
            let next = now + not_yet.wait_time_from(self.clock.now()).max(Duration::from_nanos(1));
            self.refilled = Some(next);
            return Err(next);
        }
        (self.last, self.refilled) = (Some(now), None);
        Ok(())
    }

    /// When the next slot is, as far as is known without taking one: a burst that was used up and not asked for since
    /// may take longer.
    pub fn opens_at(&self, now: Instant) -> Instant {
        self.slowed().max(self.refilled).map_or(now, |next| next.max(now))
    }

    /// Below the full rate, when the last slot lets the next one be.
    fn slowed(&self) -> Option<Instant> {
        let (_, every) = self.full.as_ref()?;
        self.last.filter(|_| self.rate < 1.0).map(|last| last + every.div_f64(self.rate))
    }

    /// The provider refused: go slower.
    pub fn cut(&mut self) {
        self.rate = (self.rate * CUT).max(LOWEST);
    }

    /// The provider answered: a step back to the full rate.
    pub fn recover(&mut self) {
        self.rate = (self.rate + STEP).min(1.0);
    }

    /// Share of the full rate, up to 1.
    pub fn rate(&self) -> f64 {
        self.rate
    }
}

/// Nanoseconds since the pacer's origin.
#[derive(Clone, Debug, Default)]
struct SetByHand(Arc<AtomicU64>);

impl SetByHand {
    fn set(&self, since_origin: Duration) {
        self.0.store(u64::try_from(since_origin.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Clock for SetByHand {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}
