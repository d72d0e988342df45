//! What a schedule comes to before it runs: the same arithmetic, without a clock, a file or a network.
//!
//! Never measures and never remembers: what a provider takes to answer is not in it, nor what an account has used up.

use std::fmt;
use std::time::Duration;

use super::division::{BEHIND, Division, stretched};
use super::{Schedule, Stretch};
use crate::budget::{Capacity, Terms};
use crate::model::{Limit, SourceName};

/// Intervals that stretch by no more than this count as kept.
const UNNOTICED: f64 = 1.001;

/// What one account can do, what is asked of it, and what comes of that.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// The limits, scaled by the share.
    pub limits: Vec<Limit>,
    /// Requests per second that can be kept up for ever; infinite without limits.
    pub capacity: f64,
    /// Requests per second that the intervals take unless they stretch.
    pub demand: f64,
    /// By how much they do.
    pub stretch: Stretch,
    /// What is polled alike, promises and wishes of each source apart.
    pub groups: Vec<Expected>,
    /// Time from the first request to the last one when nothing was ever polled, besides what the provider takes to
    /// answer.
    pub first_sync: Duration,
}

/// What is polled alike: same source, same kind of interval, same interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Whose.
    pub source: SourceName,
    /// Whether the interval is a segment's own.
    pub promise: bool,
    /// The interval that is asked for.
    pub every: Duration,
    /// Requests that one cycle of all of them takes.
    pub requests: u64,
    /// The interval that comes of it: how old a copy gets.
    pub age: Duration,
    /// The interval that uses the capacity up and does not stretch, rounded up to one that people would write. For a
    /// wish: when all wishes of the account change alike. Zero without limits; `every` for a promise that is kept.
    pub fits: Duration,
}

impl Expected {
    /// Whether the interval that is asked for is what comes of it.
    pub fn is_kept(&self) -> bool {
        self.age <= stretched(self.every, UNNOTICED)
    }
}

impl Stretch {
    /// Whether every interval is kept.
    pub fn is_none(&self) -> bool {
        self.wishes.max(self.promises) <= UNNOTICED
    }
}

impl fmt::Display for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wishes, promises } = self;
        match (*wishes > UNNOTICED, *promises > UNNOTICED) {
            (false, false) => f.write_str("every interval is kept"),
            (true, false) => write!(f, "intervals stretched {wishes:.2} times"),
            (false, true) => write!(f, "segments' own intervals stretched {promises:.2} times"),
            (true, true) => write!(f, "intervals stretched {wishes:.2} times, segments' own {promises:.2} times"),
        }
    }
}

impl Forecast {
    /// What comes of what `schedule` has to poll, within `terms`.
    pub fn new(schedule: &Schedule, terms: &Terms) -> Self {
        let limits = terms.scaled();
        let capacity = limits.iter().map(rate).fold(f64::INFINITY, f64::min);
        let division = schedule.divide(Capacity::steadily(capacity));
        let groups = schedule.groups.iter().filter(|(_, queue)| queue.requests > 0);
        let groups: Vec<Expected> = groups
            .map(|(group, queue)| {
                let (stretch, fits) = if group.promise {
                    (division.stretch.promises, division.stretch.promises)
                } else {
                    (division.stretch.wishes, division.wish_demand / division.wish_rate)
                };
                Expected {
                    source: group.source.clone(),
                    promise: group.promise,
                    every: group.every,
                    requests: queue.requests,
                    age: stretched(group.every, stretch),
                    fits: if limits.is_empty() { Duration::ZERO } else { round_up(stretched(group.every, fits)) },
                }
            })
            .collect();
        let demand = groups.iter().map(|group| group.requests as f64 / group.every.as_secs_f64()).sum();
        let first_sync = first_sync(schedule, &limits, terms.burst.get(), capacity, &division);
        Self { limits, capacity, demand, stretch: division.stretch, groups, first_sync }
    }

    /// The limit that binds in the long run; `None` without limits.
    pub fn tightest(&self) -> Option<Limit> {
        self.limits.iter().copied().min_by(|one, other| rate(one).total_cmp(&rate(other)))
    }
}

fn rate(limit: &Limit) -> f64 {
    f64::from(limit.requests) / limit.per.as_secs_f64()
}

/// The next longer duration that people would write, at most 2 % longer.
fn round_up(duration: Duration) -> Duration {
    /// In milliseconds: parts of a second, seconds, minutes, hours, a day.
    const STEPS: [u64; 12] =
        [1, 10, 100, 1000, 5000, 10_000, 60_000, 300_000, 900_000, 3_600_000, 21_600_000, 86_400_000];
    // What is less than a microsecond too long is an error of rounding.
    let millis = u64::try_from((duration.saturating_sub(Duration::from_micros(1))).as_millis()).unwrap_or(u64::MAX) + 1;
    let step = STEPS.into_iter().rev().find(|step| step * 50 <= millis).unwrap_or(1);
    Duration::from_millis(millis.div_ceil(step).saturating_mul(step))
}

/// When the last request goes out of those that are due when nothing was ever polled: promises first, then single
/// requests and the first page of each list, as fast as pacer and ledger allow; then the other pages, which take the
/// even pace of a schedule that is short of capacity.
fn first_sync(schedule: &Schedule, limits: &[Limit], burst: u32, capacity: f64, division: &Division) -> Duration {
    let Some(mut slots) = Slots::new(limits, burst) else { return Duration::ZERO };
    let of = |promise: bool| schedule.entries.values().filter(move |entry| entry.group.promise == promise);
    let new = of(false).count();
    let pages: u64 = of(false).map(|entry| u64::from(entry.requests.saturating_sub(1))).sum();
    for _ in of(true) {
        slots.next(0.0);
    }
    // While promises stretch, nothing is kept for them.
    if new > 0 && division.stretch.promises <= 1.0 {
        slots.reserve(capacity - division.wish_rate);
    }
    for _ in 0..new {
        slots.next(0.0);
    }
    for _ in 0..pages {
        let even = slots.even_rate().min(division.wish_rate);
        let even = if even < division.wish_rate * BEHIND { even * BEHIND } else { even };
        let paced = if division.wish_demand > even { slots.last + 1.0 / even } else { 0.0 };
        slots.next(paced);
    }
    stretched(Duration::from_secs(1), slots.last)
}

/// The moments, in seconds from the first, at which requests go out that are all due at once.
struct Slots {
    /// Requests and seconds of each limit.
    limits: Vec<(f64, f64)>,
    /// Seconds between two requests once the burst is over, and how far ahead of that pace the burst may be.
    spacing: f64,
    ahead: f64,
    /// When the pacer, at its even pace, would come to the next request.
    pace: f64,
    sent: Vec<f64>,
    last: f64,
}

impl Slots {
    /// `None` without limits.
    fn new(limits: &[Limit], burst: u32) -> Option<Self> {
        let spacing = limits.iter().min_by_key(|limit| limit.per).map(|limit| 1.0 / rate(limit))?;
        let limits = limits.iter().map(|limit| (f64::from(limit.requests), limit.per.as_secs_f64())).collect();
        let ahead = spacing * f64::from(burst.saturating_sub(1));
        Some(Self { limits, spacing, ahead, pace: 0.0, sent: Vec::new(), last: 0.0 })
    }

    /// From now on others send so many requests per second, which count on their own.
    fn reserve(&mut self, rate: f64) {
        self.sent.clear();
        self.spacing = 1.0 / (1.0 / self.spacing - rate);
        for (requests, per) in &mut self.limits {
            *requests = (*requests - rate * *per).max(1.0);
        }
    }

    /// Sends one more, not before `earliest`.
    fn next(&mut self, earliest: f64) {
        let count = self.sent.len();
        let free = self.limits.iter().filter_map(|(requests, per)| {
            let nth = whole(*requests);
            Some(self.sent.get(count.checked_sub(nth)?)? + per)
        });
        let free = free.fold(self.last.max(earliest), f64::max);
        self.last = free.max(self.pace - self.ahead);
        self.pace = self.pace.max(self.last) + self.spacing;
        self.sent.push(self.last);
    }

    /// The even rate at which the tightest limit does not run dry within its first window.
    fn even_rate(&self) -> f64 {
        let tightest = self.limits.iter().min_by(|(n, t), (m, u)| (n / t).total_cmp(&(m / u)));
        let Some((requests, per)) = tightest.filter(|(_, per)| self.last < *per) else { return f64::INFINITY };
        ((requests - self.sent.len() as f64) / (per - self.last)).max(1.0 / per)
    }
}

/// A limit's requests, at least one.
fn whole(requests: f64) -> usize {
    // Limits are u32.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 ≤ requests ≤ u32::MAX")]
    let whole = requests as usize;
    whole
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::model::SegmentKey;
    use crate::schedule::{Target, Work};

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn terms(limits: &[(u32, u64)]) -> Terms {
        let limits = limits.iter().map(|(requests, per)| Limit { requests: *requests, per: secs(*per) }).collect();
        Terms { limits, share: 1.0, burst: NonZeroU32::new(10).expect("positive"), timeout: secs(10) }
    }

    fn both() -> Terms {
        terms(&[(100, 10), (900, 900)])
    }

    fn targets(count: usize, every: u64, promise: bool) -> Vec<Target> {
        let key = |id: usize| SegmentKey::new(SourceName::new("s"), format!("{promise}{id}"));
        (0..count).map(|id| Target { promise, ..Target::once(Work::Get(key(id)), secs(every)) }).collect()
    }

    fn list(name: &str, pages: u32, every: u64) -> Target {
        Target { requests: pages, ..Target::once(Work::Sweep(SourceName::new(name)), secs(every)) }
    }

    fn within(targets: &[Target], terms: &Terms) -> Forecast {
        Forecast::new(&Schedule::new(targets.to_vec(), 0), terms)
    }

    fn forecast(targets: &[Target]) -> Forecast {
        within(targets, &both())
    }

    #[test]
    fn what_fits_is_kept() {
        let forecast = forecast(&targets(180, 300, false));
        assert_eq!((forecast.capacity, forecast.demand), (1.0, 0.6));
        let [group] = &*forecast.groups else { panic!("one group") };
        assert_eq!((group.requests, group.age, group.is_kept()), (180, secs(300), true));
        // 180 requests at one a second.
        assert_eq!(group.fits, secs(180));
        assert!(forecast.stretch.is_none());
    }

    #[test]
    fn what_does_not_fit_stretches_and_is_told_what_would() {
        let forecast = forecast(&targets(100, 60, false));
        let [group] = &*forecast.groups else { panic!("one group") };
        assert!((forecast.stretch.wishes - 100.0 / 60.0).abs() < 1e-9 && !forecast.stretch.is_none());
        assert_eq!((group.is_kept(), group.fits), (false, secs(100)));
        assert!((group.age.as_secs_f64() - 100.0).abs() < 1e-6);
    }

    #[test]
    fn promises_come_first() {
        // 10 promises take a third of a request a second; 100 wishes share two thirds.
        let both = [targets(10, 30, true), targets(100, 60, false)].concat();
        let forecast = forecast(&both);
        let [wishes, promises] = &*forecast.groups else { panic!("two groups") };
        assert_eq!((promises.fits, promises.is_kept()), (secs(30), true));
        assert_eq!((wishes.fits, wishes.is_kept()), (secs(150), false));
        // Alone they may take everything; 5 % are left to wishes where there are some.
        let alone = within(&targets(60, 30, true), &terms(&[(900, 900)]));
        assert_eq!((alone.groups[0].fits, alone.stretch.promises), (secs(60), 2.0));
    }

    #[test]
    fn a_stretch_reads_as_words() {
        let words = |wishes, promises| Stretch { wishes, promises }.to_string();
        assert_eq!(words(1.0, 1.0), "every interval is kept");
        assert_eq!(words(20.0 / 3.0, 1.0), "intervals stretched 6.67 times");
        assert_eq!(words(1.0, 2.0), "segments' own intervals stretched 2.00 times");
        assert_eq!(words(40.0, 2.0), "intervals stretched 40.00 times, segments' own 2.00 times");
    }

    #[test]
    fn what_fits_fits() {
        for count in [2, 7, 100, 333, 1999, 54_321] {
            let first = [targets(3, 30, true), targets(count, 60, false)].concat();
            let fits = forecast(&first).groups[0].fits;
            let again: Vec<Target> = first
                .into_iter()
                .map(|one| Target { every: if one.promise { one.every } else { fits }, ..one })
                .collect();
            let again = forecast(&again);
            assert!(again.stretch.wishes <= 1.0, "{count}: {again:?}");
            assert!(again.demand >= 0.98 * again.capacity, "{count}: {again:?}");
        }
    }

    #[test]
    fn without_limits_everything_fits_at_once() {
        let forecast = within(&targets(10_000, 1, false), &terms(&[]));
        assert_eq!((forecast.capacity, forecast.first_sync, forecast.tightest()), (f64::INFINITY, secs(0), None));
        assert_eq!((forecast.groups[0].age, forecast.groups[0].fits), (secs(1), secs(0)));
        assert!(within(&[], &both()).groups.is_empty());
    }

    #[test]
    fn a_first_sync_takes_pacer_then_windows() {
        let first = |count| (forecast(&targets(count, 3600, false)).first_sync.as_secs_f64() * 10.0).round() / 10.0;
        assert_eq!((first(0), first(1), first(10), first(11)), (0.0, 0.0, 0.0, 0.1));
        // The 101st waits for the first ten, all sent at 0, to leave the short window.
        assert_eq!((first(100), first(101), first(110), first(111)), (9.0, 10.0, 10.0, 10.1));
        assert_eq!((first(900), first(901)), (89.0, 900.0));
        // 900 each at 0, 900 and 1800 s; the last 200 of them take 19 s.
        assert_eq!(first(2000), 1819.0);
        let slow = within(&targets(20, 60, false), &terms(&[(20, 600)]));
        assert_eq!(slow.first_sync, secs(300));
    }

    #[test]
    fn a_first_sync_by_list_takes_a_request_a_page() {
        let first = |lists: &[Target]| forecast(lists).first_sync.as_secs_f64().round();
        assert_eq!(first(&[list("a", 100, 300)]), 9.0);
        assert_eq!(first(&[list("a", 60, 300), list("b", 40, 300)]), 9.0);
        // Short of capacity, pages follow the even pace: one a second.
        assert!((499.0..502.0).contains(&first(&[list("a", 500, 60)])));
    }

    #[test]
    fn durations_round_up_to_what_people_write() {
        for (millis, rounded) in [
            (1, 1),
            (49, 49),
            (1234, 1240),
            (10_010, 10_100),
            (100_000, 100_000),
            (100_001, 101_000),
            (299_999, 300_000),
            (2_000_000, 2_000_000),
            (2_001_000, 2_010_000),
            (3_661_000, 3_720_000),
            (100_000_000, 100_800_000),
        ] {
            assert_eq!(round_up(Duration::from_millis(millis)), Duration::from_millis(rounded), "{millis}");
        }
        assert_eq!(round_up(secs(100) + Duration::from_nanos(700)), secs(100));
    }
}
