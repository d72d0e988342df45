//! How old a row is, without believing the wall clock where another clock knows. Pure.
//!
//! Within one boot the clock that counts from boot decides, so setting the wall clock forth or back changes nothing.
//! A row of an earlier boot has the wall clock only.

use std::time::Duration;

use crate::clock::Now;
use crate::model::UnixMs;

/// When something happened, on the clocks that can still be compared with now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the wall clock of that moment.
    pub wall: UnixMs,
    /// Milliseconds since boot, given only where it was this boot.
    pub boot_ms: Option<i64>,
}

/// How long ago `at` was, in whole milliseconds; zero when it seems to lie in the future.
pub fn time_since(at: Moment, now: Now) -> Duration {
    Duration::from_millis(u64::try_from(age_ms(at, now)).unwrap_or(0))
}

/// The same, negative when it seems to lie in the future.
pub(super) fn age_ms(at: Moment, now: Now) -> i64 {
    match at.boot_ms {
        Some(boot_ms) => now.boot_ms.saturating_sub(boot_ms),
        None => now.wall.since(at.wall),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn now(wall: i64, boot_ms: i64) -> Now {
        Now { mono: Instant::now(), wall: UnixMs(wall), boot_ms }
    }

    #[test]
    fn an_earlier_boot_is_aged_by_the_wall_clock() {
        let at = Moment { wall: UnixMs(10 * HOUR), boot_ms: None };
        assert_eq!(time_since(at, now(10 * HOUR + 5, 1)), Duration::from_millis(5));
        assert_eq!(time_since(at, now(9 * HOUR, 1)), Duration::ZERO, "a row from the future is from now");
    }

    #[test]
    fn extreme_clocks_do_not_overflow() {
        let (low, high) = (i64::MIN, i64::MAX);
        assert_eq!(
            time_since(Moment { wall: UnixMs(low), boot_ms: None }, now(high, 0)),
            Duration::from_millis(high.unsigned_abs())
        );
        assert_eq!(time_since(Moment { wall: UnixMs(high), boot_ms: Some(high) }, now(low, low)), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn steps_of_the_wall_clock_change_nothing_within_a_boot(
            start in 0..1_000 * HOUR, passed in 0..1_000 * HOUR, then in -HOUR * 9..HOUR * 9, later in -HOUR * 9..HOUR * 9,
        ) {
            let at = Moment { wall: UnixMs(1_000 * HOUR + then), boot_ms: Some(start) };
            let told = time_since(at, now(1_000 * HOUR + passed + later, start + passed));
            prop_assert_eq!(i64::try_from(told.as_millis()), Ok(passed));
        }
    }
}
