//! Segments that somebody waits for: asked for before everything that is merely due, once for all who wait.
//!
//! The request is one like any other: the account's budget decides when it is sent, and the file learns of it first.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::account::{Account, Mode};
use crate::config::show_duration;
use crate::http::{self, Asking};
use crate::model::SegmentKey;
use crate::schedule::{Target, Work};

/// The accounts at work, to be asked.
pub(super) struct Desk {
    pub(super) accounts: Vec<Arc<Account>>,
    /// No new polls once it is cancelled.
    pub(super) stop: CancellationToken,
}

impl http::Desk for Desk {
    fn ask(&self, key: &SegmentKey) -> Result<Asking, String> {
        if self.stop.is_cancelled() {
            return Err("the daemon is reloading or about to stop".to_owned());
        }
        let account = self.accounts.iter().find(|account| account.workers.contains_key(&key.source));
        account.ok_or_else(|| format!("{} is not configured", key.source))?.ask(key)
    }

    fn waiting(&self) -> usize {
        let waiting =
            |account: &Arc<Account>| -> usize { account.desk().asks.values().map(watch::Sender::receiver_count).sum() };
        self.accounts.iter().map(waiting).sum()
    }
}

impl Account {
    /// Asks for one segment, or joins those who did already.
    fn ask(&self, key: &SegmentKey) -> Result<Asking, String> {
        let worker = self.workers.get(&key.source).filter(|_| self.roster.get(&key.source, &key.id).is_some());
        let worker = worker.ok_or_else(|| format!("{key} is not polled"))?;
        if let Some(left) = self.budget.usage().hold.filter(|left| *left > worker.timeout) {
            let left = show_duration(std::time::Duration::from_secs(left.as_secs() + 1));
            return Err(format!("the provider asked to wait for another {left}"));
        }
        let work = Work::Get(key.clone());
        let mut desk = self.desk();
        if desk.schedule.is_refused(&key.source) {
            return Err("the provider refuses the key".to_owned());
        }
        let told = match desk.asks.entry(key.clone()) {
            Entry::Occupied(asked) => asked.get().subscribe(),
            Entry::Vacant(free) => free.insert(watch::Sender::new(None)).subscribe(),
        };
        if !desk.schedule.hurry(&work) {
            // Its list is polled instead.
            desk.once.insert(key.clone());
            desk.schedule.add(Target::once(work.clone(), worker.every));
            desk.schedule.hurry(&work);
        }
        drop(desk);
        self.changed.notify_one();
        Ok(Asking { told, timeout: worker.timeout })
    }

    /// Forgets what was asked for once only, now that it has ended.
    pub(super) fn has_been_asked(&self, key: &SegmentKey) {
        let mut desk = self.desk();
        if desk.once.remove(key) && !desk.missed.contains(key) && !matches!(self.mode, Mode::Once(_)) {
            desk.schedule.forget(&Work::Get(key.clone()));
        }
    }
}
