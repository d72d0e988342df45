//! What the daemon tells whoever manages it, and when: a line on how it stands, and that everything in it still moves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::account::Account;
use super::report;
use crate::clock::Clock;
use crate::live::Live;
use crate::store::Store;

/// How often the line is told.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// Proofs of life within one period of the watchdog.
const BEATS: u32 = 3;

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The start goes on, and takes so much longer at most.
    Extend(Duration),
    /// Another configuration is being taken over.
    Reloading,
    /// It has been.
    Reloaded,
    /// Dispatchers and database have moved since the last time.
    Alive,
    /// How things stand, in one line.
    Status(String),
}

/// Whoever manages the daemon; by default nobody.
#[derive(Clone, Default)]
pub struct Manager {
    watchdog: Option<Duration>,
    tell: Option<Arc<dyn Fn(Notice) + Send + Sync>>,
}

impl Manager {
    /// Hears every notice; with a `watchdog`, [`Notice::Alive`] comes several times in each such period.
    pub fn new(watchdog: Option<Duration>, tell: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        Self { watchdog, tell: Some(Arc::new(tell)) }
    }

    pub(super) fn tell(&self, notice: Notice) {
        if let Some(tell) = &self.tell {
            tell(notice);
        }
    }

    /// Tells how things stand, again and again.
    pub(super) async fn keep_told(&self, live: &Live) {
        if self.tell.is_none() {
            return std::future::pending().await;
        }
        let mut tick = interval(STATUS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = String::new();
        loop {
            tick.tick().await;
            let line = live.snapshot().line();
            if line != told {
                self.tell(Notice::Status(line.clone()));
                told = line;
            }
        }
    }

    /// Feeds the watchdog, for as long as every dispatcher comes round when it is asked to and the database commits a
    /// write. One that does not is waited for, for ever: then nothing is fed, and the manager ends the process.
    pub(super) async fn keep_fed(&self, accounts: watch::Receiver<Vec<Arc<Account>>>, store: &Store, clock: &Clock) {
        let Some(period) = self.watchdog else { return std::future::pending().await };
        let mut beat = interval(period / BEATS);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let accounts = accounts.borrow().clone();
            for account in &accounts {
                account.pulse.ask().await;
            }
            // A disk that says no answers: a restart would not make room on it.
            let begun = clock.now();
            let written = store.beat(begun).await;
            if let Some(account) = accounts.first() {
                report::written(&account.board, written, begun.mono, clock.now());
            }
            self.tell(Notice::Alive);
        }
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("watchdog", &self.watchdog).finish_non_exhaustive()
    }
}
