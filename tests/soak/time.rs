//! Virtual time for sockets: it stands while work is done, goes in small steps while a request is on its way, and leaps
//! from timer to timer while none is.
//!
//! Paused time of tokio leaps to the next timer whenever nothing can run, and bytes that wait in a socket are not seen
//! before. A short timer that is always there meanwhile keeps every such leap short.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use segsync::clock::{Clock, Source};
use segsync::live::Live;
use segsync::model::UnixMs;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

pub const SECOND: i64 = 1000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// The wall clock at the start, in Unix milliseconds.
pub const BEGIN: i64 = 1_800_000_000_000;
/// No leap is longer while a request is on its way.
const STEP: Duration = Duration::from_millis(100);

/// A dispatcher that only looks up what is due reads the clocks so often.
const IDLE: u32 = 4;

/// The clocks of the machine, all of which follow tokio's.
pub struct Machine {
    start: Instant,
    /// Milliseconds from the start to the last boot.
    booted: AtomicI64,
    /// A clock was read so often at one moment that a request may be about to leave.
    stirred: Notify,
    read: Mutex<(i64, u32)>,
    is_looking: AtomicBool,
}

impl Machine {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            booted: AtomicI64::new(0),
            stirred: Notify::new(),
            read: Mutex::new((0, 0)),
            is_looking: AtomicBool::new(false),
        })
    }

    /// Milliseconds since the start.
    pub fn ms(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_millis()).expect("not that long")
    }

    /// Milliseconds from the start to then.
    pub fn ms_at(&self, then: Instant) -> i64 {
        i64::try_from((then - self.start).as_millis()).expect("not that long")
    }

    /// The wall clock.
    pub fn wall(&self) -> i64 {
        BEGIN + self.ms()
    }

    /// Waits until so many milliseconds after the start.
    pub async fn until(&self, ms: i64) {
        sleep_until(self.start + span(ms)).await;
    }

    /// Starts anew: another boot, by which the clock from boot counts.
    pub fn reboot(&self) {
        self.booted.store(self.ms(), Ordering::Relaxed);
    }

    pub fn clock(self: &Arc<Self>) -> Clock {
        Clock::new(Face(Arc::clone(self)))
    }

    /// Whoever only looks up what is due reads it less often at one moment than whoever sends.
    fn was_read(&self, ms: i64) {
        if self.is_looking.load(Ordering::Relaxed) {
            return;
        }
        let mut read = self.read.lock().expect("no panic meanwhile");
        *read = (ms, if read.0 == ms { read.1 + 1 } else { 1 });
        if read.1 > IDLE {
            self.stirred.notify_one();
        }
    }

    /// Keeps time in small steps while the daemon has requests on their way; tells each step to `flies`.
    pub async fn keep_slow(&self, live: &Live, flies: &Flies) {
        loop {
            self.stirred.notified().await;
            while self.is_on_its_way(live, flies) {
                flies.tick.notify_waiters();
                sleep(STEP).await;
            }
        }
    }

    /// Whether the daemon has a request on its way, and of which account. Telling that is no stir.
    fn is_on_its_way(&self, live: &Live, flies: &Flies) -> bool {
        self.is_looking.store(true, Ordering::Relaxed);
        let snapshot = live.snapshot();
        self.is_looking.store(false, Ordering::Relaxed);
        let accounts = snapshot.accounts.iter().zip(&flies.last).filter(|(account, _)| account.in_flight > 0);
        accounts.map(|(_, last)| last.set(self.ms())).count() > 0
    }
}

/// Requests on their way, as far as time has kept slow for them.
#[derive(Default)]
pub struct Flies {
    /// When one of each account was on its way last.
    pub last: [Cell<i64>; 2],
    /// One is on its way.
    pub tick: Notify,
}

struct Face(Arc<Machine>);

impl Source for Face {
    fn wall(&self) -> UnixMs {
        let ms = self.0.ms();
        self.0.was_read(ms);
        UnixMs(BEGIN + ms)
    }

    fn boot_ms(&self) -> i64 {
        self.0.ms() - self.0.booted.load(Ordering::Relaxed)
    }

    fn boot_id(&self) -> Option<String> {
        Some(format!("boot at {}", self.0.booted.load(Ordering::Relaxed)))
    }
}

/// Milliseconds, not negative.
pub fn span(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// A random span with this mean: most are shorter, some much longer.
pub fn about(random: &mut fastrand::Rng, mean: i64) -> Duration {
    span(mean).mul_f64(-(1.0 - random.f64()).ln())
}

/// Day, hours, minutes and seconds of a wall clock or of a time since the start.
pub fn show(at: i64) -> String {
    let ms = if at >= BEGIN { at - BEGIN } else { at };
    let (day, rest) = (ms / DAY, ms % DAY);
    let (hour, minute, second) = (rest / HOUR, rest % HOUR / MINUTE, rest % MINUTE / SECOND);
    format!("day {day} {hour:02}:{minute:02}:{second:02}.{:03}", rest % SECOND)
}
