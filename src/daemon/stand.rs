//! How the daemon stands at this moment, for everybody who tells it.

use std::sync::Arc;

use super::account::Account;
use super::board::Board;
use crate::clock::Clock;
use crate::live::{AccountLive, Observe, Snapshot, SourceLive, Used};
use crate::model::UnixMs;
use crate::schedule::{Next, Stretch};

/// The accounts at work, to be looked at.
pub(super) struct Watch {
    pub(super) accounts: Vec<Arc<Account>>,
    pub(super) board: Arc<Board>,
    pub(super) clock: Clock,
    pub(super) running_since: UnixMs,
}

impl Observe for Watch {
    fn observe(&self) -> Snapshot {
        let (mut accounts, mut sources) = (Vec::new(), Vec::new());
        for account in &self.accounts {
            let (live, stretch) = account.live();
            sources.extend(self.sources(account, stretch));
            accounts.push(live);
        }
        sources.sort_by(|one, other| one.name.cmp(&other.name));
        Snapshot {
            at: Some(self.clock.now().wall),
            running_since: Some(self.running_since),
            sources,
            accounts,
            store_error: self.board.store_error(),
            ..Snapshot::default()
        }
    }
}

impl Watch {
    fn sources(&self, account: &Account, stretch: Stretch) -> Vec<SourceLive> {
        let now = self.clock.now();
        account.names().iter().filter_map(|name| self.board.source(name, stretch, now)).collect()
    }
}

impl Account {
    /// How it stands, and by how much its intervals stretch.
    fn live(&self) -> (AccountLive, Stretch) {
        let (now, capacity, usage) = (self.now(), self.budget.capacity(), self.budget.usage());
        let due = match self.next(capacity) {
            Next::Poll(..) => Some(now),
            Next::At(at) => Some(at),
            Next::Idle => None,
        };
        let next_poll = due.zip(self.budget.opens_at()).map(|(due, opens)| due.max(opens));
        let desk = self.desk();
        let stretch = desk.schedule.stretch(capacity.steady);
        let live = AccountLive {
            sources: self.names(),
            limits: usage.used.into_iter().map(|(limit, used)| Used { limit, used }).collect(),
            hold: usage.hold,
            pace: usage.pace,
            stretch: stretch.wishes,
            own_stretch: stretch.promises,
            in_flight: desk.in_flight.values().map(|of| of.requests()).sum(),
            next_poll: next_poll.map(|at| at.saturating_duration_since(now)),
        };
        (live, stretch)
    }
}
