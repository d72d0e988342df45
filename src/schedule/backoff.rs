//! How long a segment waits after a poll without an answer.

use std::time::Duration;

/// The first delay lies below this; each further failure doubles it.
const FIRST: Duration = Duration::from_secs(1);

/// Full jitter: a delay drawn evenly from 0 to `1 s · 2^(failures − 1)`, at most `every`. `draw` lies in 0 to 1.
pub(super) fn delay(failures: u32, every: Duration, draw: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(30);
    FIRST.saturating_mul(1 << doublings).min(every).mul_f64(draw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_interval() {
        let longest = |failures| delay(failures, Duration::from_secs(300), 1.0).as_secs();
        assert_eq!([1, 2, 3, 9, 10, u32::MAX].map(longest), [1, 2, 4, 256, 300, 300]);
        assert_eq!(delay(5, Duration::from_secs(300), 0.0), Duration::ZERO);
        assert_eq!(delay(1, Duration::from_millis(200), 1.0), Duration::from_millis(200));
    }
}
