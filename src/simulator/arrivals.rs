//! The log of every request that arrived, and waiting for it to reach a state.
//!
//! Must never happen here: a request that is answered but not in the log, or a key in what can be printed.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Provider;
use super::limits::{Limit, Windows, worst_window};
use super::routes::Asked;

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When its headers were read; never earlier than that of the one before.
    pub at: Instant,
    /// Whose path it was, known or not.
    pub provider: Option<Provider>,
    /// Such as `GET`.
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// What it asked for.
    pub asked: Asked,
    /// Which key of its provider it came with: 0 for the first one ever seen, and so on; no key counts as one.
    pub account: usize,
    /// The header `STATSIG-API-VERSION`.
    pub api_version: Option<String>,
    /// The header `If-None-Match`.
    pub if_none_match: Option<String>,
    /// The header `Accept-Encoding`.
    pub accept_encoding: Option<String>,
    /// The header `User-Agent`.
    pub user_agent: Option<String>,
    /// Whether it broke a limit.
    pub over_limit: bool,
    /// What it was answered; `None` while it waits, and for ever if the connection was cut instead.
    pub status: Option<u16>,
}

impl Arrival {
    /// The segment that it asked for.
    pub fn segment(&self) -> Option<&str> {
        match &self.asked {
            Asked::StatsigSegment(id) | Asked::OctaveSegment(Some(id)) => Some(id),
            _ => None,
        }
    }
}

pub(super) struct Arrivals {
    statsig: Vec<Limit>,
    octave: Vec<Limit>,
    log: Mutex<Log>,
    tick: watch::Sender<()>,
}

#[derive(Default)]
struct Log {
    arrivals: Vec<Arrival>,
    callers: Vec<Caller>,
}

struct Caller {
    provider: Option<Provider>,
    key: Option<String>,
    windows: Windows,
}

impl Arrivals {
    pub(super) fn new(statsig: Vec<Limit>, octave: Vec<Limit>) -> Self {
        Self { statsig, octave, log: Mutex::default(), tick: watch::Sender::new(()) }
    }

    /// Takes an arrival in, times it and counts it; returns its place and whether it broke a limit. What the log itself
    /// knows (`at`, `account`, `over_limit`) is filled in here.
    pub(super) fn take(&self, mut arrival: Arrival, key: Option<String>) -> (usize, bool) {
        let mut log = self.lock();
        let provider = arrival.provider;
        let place = log.callers.iter().position(|a| a.provider == provider && a.key == key).unwrap_or_else(|| {
            log.callers.push(Caller { provider, key, windows: Windows::default() });
            log.callers.len() - 1
        });
        arrival.account = log.callers.iter().take(place).filter(|a| a.provider == provider).count();
        // Read under the lock, so that the log is in order of time.
        arrival.at = Instant::now();
        let limits = match provider {
            Some(Provider::Statsig) => self.statsig.as_slice(),
            Some(Provider::Octave) => self.octave.as_slice(),
            None => &[],
        };
        if let Some(caller) = log.callers.get_mut(place) {
            arrival.over_limit = caller.windows.arrive(arrival.at, limits);
        }
        let taken = (log.arrivals.len(), arrival.over_limit);
        log.arrivals.push(arrival);
        drop(log);
        self.tick.send_replace(());
        taken
    }

    pub(super) fn answered(&self, place: usize, status: u16) {
        if let Some(arrival) = self.lock().arrivals.get_mut(place) {
            arrival.status = Some(status);
        }
        self.tick.send_replace(());
    }

    pub(super) fn all(&self) -> Vec<Arrival> {
        self.lock().arrivals.clone()
    }

    pub(super) fn violations(&self) -> usize {
        self.lock().arrivals.iter().filter(|arrival| arrival.over_limit).count()
    }

    /// The worst window of any one account.
    pub(super) fn worst_window(&self, provider: Provider, per: Duration) -> usize {
        let log = self.lock();
        let worst = |account| {
            let of_account = log.arrivals.iter().filter(|a| a.provider == Some(provider) && a.account == account);
            worst_window(&of_account.map(|a| a.at).collect::<Vec<_>>(), per)
        };
        (0..log.callers.len()).map(worst).max().unwrap_or(0)
    }

    pub(super) async fn until(&self, enough: impl Fn(&[Arrival]) -> bool) -> Vec<Arrival> {
        let mut ticks = self.tick.subscribe();
        loop {
            let seen = self.all();
            if enough(&seen) {
                return seen;
            }
            // The sender lives in `self`: waiting cannot fail.
            if ticks.changed().await.is_err() {
                return seen;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arrivals({})", self.lock().arrivals.len())
    }
}
