//! The only reader of clocks. Everything else is given [`Now`].
//!
//! Three clocks, each for what it is good at: the monotonic one (tokio's, so that tests can pause it) for schedules and
//! budgets, the wall clock for what people read, and the time since boot for ages that outlive the process.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::model::UnixMs;

/// One reading of all clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic, within this process.
    pub mono: Instant,
    /// What people call the time; it may be set forth and back at any moment.
    pub wall: UnixMs,
    /// Milliseconds since the machine booted, suspend included; comparable between processes of one boot.
    pub boot_ms: i64,
}

impl Now {
    /// How long the machine slept (suspend) since `start`, an earlier reading of the same process: what the clock from
    /// boot counts and the monotonic one does not.
    pub fn slept_since(self, start: Now) -> Duration {
        let real = u64::try_from(self.boot_ms.saturating_sub(start.boot_ms)).unwrap_or(0);
        Duration::from_millis(real).saturating_sub(self.mono.saturating_duration_since(start.mono))
    }

    /// This moment on a monotonic clock that goes on while the machine sleeps, and that stood at `start.mono` then: for
    /// ages, never to wait for.
    pub fn awake_since(self, start: Now) -> Instant {
        let slept = self.slept_since(start);
        self.mono.checked_add(slept).unwrap_or(self.mono)
    }
}

/// The two clocks that a test must be able to set.
pub trait Source: Send + Sync {
    /// The wall clock.
    fn wall(&self) -> UnixMs;
    /// Milliseconds since boot, suspend included.
    fn boot_ms(&self) -> i64;
    /// Names the boot that `boot_ms` counts from; `None` where the system does not tell.
    fn boot_id(&self) -> Option<String>;
}

/// Reads the time. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Source>);

impl Clock {
    /// The machine's own clocks.
    pub fn system() -> Self {
        Self(Arc::new(System))
    }

    /// Other clocks, for simulations.
    pub fn new(source: impl Source + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// All clocks at this moment.
    pub fn now(&self) -> Now {
        Now { mono: Instant::now(), wall: self.0.wall(), boot_ms: self.0.boot_ms() }
    }

    /// Which boot [`Now::boot_ms`] counts from.
    pub fn boot_id(&self) -> Option<String> {
        self.0.boot_id()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

struct System;

impl Source for System {
    fn wall(&self) -> UnixMs {
        let since = |after: Duration| i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        UnixMs(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => since(after),
            Err(before) => -since(before.duration()),
        })
    }

    fn boot_ms(&self) -> i64 {
        let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        at.tv_sec.saturating_mul(1000).saturating_add(at.tv_nsec / 1_000_000)
    }

    fn boot_id(&self) -> Option<String> {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_its_times() {
        let (first, clock) = (Clock::system().now(), Clock::system());
        let second = clock.now();
        assert!(second.mono >= first.mono && second.boot_ms >= first.boot_ms);
        assert!(first.wall > UnixMs(1_700_000_000_000));
    }

    #[test]
    fn sleep_is_what_only_the_clock_from_boot_counts() {
        let start = Now { mono: Instant::now(), wall: UnixMs(0), boot_ms: 5_000 };
        let second = Duration::from_secs(1);
        let at = |passed: u32, boot_ms| Now { mono: start.mono + second * passed, wall: UnixMs(-9), boot_ms };
        assert_eq!(at(10, 15_000).slept_since(start), Duration::ZERO);
        assert_eq!(at(10, 28_815_000).slept_since(start), second * 28_800);
        assert_eq!(at(10, 28_815_000).awake_since(start), start.mono + second * 28_810);
        // A clock from boot that stands still or runs backwards tells of no sleep.
        assert_eq!(at(10, 5_000).slept_since(start), Duration::ZERO);
        assert_eq!(at(10, -1).awake_since(start), start.mono + second * 10);
    }
}
