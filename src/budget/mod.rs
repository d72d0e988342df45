//! One account's request budget: hold, ledger and pacer in a row. The only maker of [`Permit`]s.
//!
//! Knows no SQL: `poll` writes the row that outlives the process, `daemon` hands the rows back at start.

mod hold;
mod ledger;
mod pacer;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::clock::Clock;
use crate::model::{Limit, Spent};

use hold::{Gate, Hold};
use ledger::Ledger;
use pacer::Pacer;

/// What binds one account.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The provider's limits; empty for none.
    pub limits: Vec<Limit>,
    /// Share of the limits that segsync may use, above 0 and at most 1.
    pub share: f64,
    /// Requests that may be sent at once before the even pace binds.
    pub burst: NonZeroU32,
    /// The longest time that a request may take; one without an answer counts for this much longer.
    pub timeout: Duration,
}

impl Terms {
    /// Half as many requests of the past as a budget of these terms has to know, the newest ones. A request can count
    /// for a window and two time-outs from its start on; so long ago, twice this number have started since.
    pub fn remembered(&self) -> usize {
        let of = |limit: &Limit| {
            let per = limit.per.as_nanos().max(1);
            let windows = (per + 2 * self.timeout.as_nanos()).div_ceil(per);
            usize::try_from(u128::from(limit.requests) * windows).unwrap_or(usize::MAX)
        };
        self.limits.iter().map(of).max().unwrap_or(0)
    }

    /// The limits scaled by the share, each at least one request.
    pub fn scaled(&self) -> Vec<Limit> {
        let scale = |limit: &Limit| {
            // In range: 0 ≤ requests × share ≤ u32::MAX.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let requests = (f64::from(limit.requests) * self.share).floor() as u32;
            Limit { requests: requests.max(1), per: limit.per }
        };
        self.limits.iter().map(scale).collect()
    }
}

/// What an account can send, in requests per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// The rate that can be kept up for ever; infinite without limits.
    pub steady: f64,
    /// The even rate at which the tightest limit does not run dry within its window, given what counts now; 0 while it
    /// is used up.
    pub even: f64,
    /// The same once one more request is sent.
    pub even_after: f64,
    /// When `even` changes by itself, if it does.
    pub changes_at: Option<Instant>,
}

impl Capacity {
    /// That of an account whose requests were always evenly spaced, at `rate` per second.
    pub fn steadily(rate: f64) -> Self {
        Self { steady: rate, even: rate, even_after: rate, changes_at: None }
    }
}

/// What an account has used, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// Requests that count, for each limit as scaled by the share; those of others included, as far as answers tell.
    pub used: Vec<(Limit, usize)>,
    /// How long nothing is sent from now on.
    pub hold: Option<Duration>,
    /// The pacer's share of its full rate.
    pub pace: f64,
}

/// One account's budget. Clones share it.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    clock: Clock,
    gates: Mutex<Gates>,
    changed: Notify,
}

struct Gates {
    timeout: Duration,
    remembered: usize,
    hold: Hold,
    ledger: Ledger,
    pacer: Pacer,
    random: fastrand::Rng,
}

impl Budget {
    /// A budget in which nothing counts yet. `seed` feeds the jitter of holds.
    pub fn new(terms: &Terms, clock: Clock, seed: u64) -> Self {
        let now = clock.now().mono;
        let limits = terms.scaled();
        let gates = Gates {
            timeout: terms.timeout,
            remembered: terms.remembered(),
            hold: Hold::default(),
            pacer: Pacer::new(&limits, terms.burst, now),
            ledger: Ledger::new(limits),
            random: fastrand::Rng::with_seed(seed),
        };
        Self(Arc::new(Shared { clock, gates: Mutex::new(gates), changed: Notify::new() }))
    }

    /// Counts requests that were sent before this budget was made, newest first: all there are, or at least twice
    /// [`Terms::remembered`].
    ///
    /// Under other limits more than that may have been sent of late. Those that are not told began before the last of
    /// the told ones ended; until surely none of them counts any more, nothing is sent.
    pub fn remember(&self, spent: impl IntoIterator<Item = Spent>) {
        let now = self.0.clock.now().mono;
        let mut gates = self.0.lock();
        let (mut told, mut oldest) = (0_usize, now);
        for one in spent {
            let ms = Duration::from_millis(one.ended_ago_ms.unsigned_abs());
            let ended = if one.ended_ago_ms < 0 { now + ms } else { now.checked_sub(ms).unwrap_or(now) };
            let later = if one.unanswered { gates.timeout } else { Duration::ZERO };
            gates.ledger.remember(ended + later, now);
            (told, oldest) = (told + 1, ended);
        }
        if told >= gates.remembered.saturating_mul(2) {
            let untold_end = oldest + gates.timeout * 2;
            gates.ledger.fill(untold_end, now);
        }
    }

    /// Sends nothing for `wait`, as an earlier process was told; then one request asks whether it is over.
    pub fn hold(&self, wait: Duration) {
        let now = self.0.clock.now().mono;
        self.0.lock().hold.resume(wait, now);
    }

    /// Waits until the account may send one request. For one caller at a time: the account's dispatcher.
    pub async fn acquire(&self) -> Permit {
        loop {
            match self.try_acquire() {
                Ok(permit) => return permit,
                Err(Some(at)) => {
                    tokio::select! {
                        () = sleep_until(at) => (),
                        () = self.0.changed.notified() => (),
                    }
                }
                Err(None) => self.0.changed.notified().await,
            }
        }
    }

    /// A permit, or when to ask again (`None`: when an open request ends).
    pub fn try_acquire(&self) -> Result<Permit, Option<Instant>> {
        let now = self.0.clock.now().mono;
        let mut gates = self.0.lock();
        match gates.hold.gate(now) {
            Gate::Open => (),
            Gate::Until(at) => return Err(Some(at)),
            Gate::Asking => return Err(None),
        }
        match gates.ledger.free_at(now) {
            Some(at) if at <= now => (),
            later => return Err(later),
        }
        gates.pacer.check(now).map_err(Some)?;
        gates.ledger.admit();
        let epoch = gates.hold.begin();
        Ok(Permit { ticket: Ticket { budget: self.clone(), epoch }, is_spent: false })
    }

    /// When the account can send its next request, as far as is known now; `None` while only the end of an open one can
    /// tell.
    pub fn opens_at(&self) -> Option<Instant> {
        let now = self.0.clock.now().mono;
        let gates = self.0.lock();
        let free_at = gates.ledger.free_at(now)?.max(gates.pacer.opens_at(now));
        match gates.hold.gate(now) {
            Gate::Open => Some(free_at),
            Gate::Until(at) => Some(free_at.max(at)),
            Gate::Asking => None,
        }
    }

    /// What the account can send.
    pub fn capacity(&self) -> Capacity {
        self.capacity_besides(0)
    }

    /// What the account can send, as if `admitted` of its requests were not yet admitted.
    fn capacity_besides(&self, admitted: i32) -> Capacity {
        let now = self.0.clock.now().mono;
        let ledger = &self.0.lock().ledger;
        Capacity {
            steady: ledger.steady_rate(),
            even: ledger.even_rate(now, -admitted),
            even_after: ledger.even_rate(now, 1 - admitted),
            changes_at: ledger.next_expiry(now),
        }
    }

    /// What the account has used.
    pub fn usage(&self) -> Usage {
        let now = self.0.clock.now().mono;
        let gates = self.0.lock();
        Usage { used: gates.ledger.used(now).collect(), hold: gates.hold.remaining(now), pace: gates.pacer.rate() }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Budget").field(&self.usage()).finish()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Gates> {
        // The gates hold plain numbers that every method leaves whole.
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct Ticket {
    budget: Budget,
    epoch: u64,
}

/// The right to send one request. Dropped unused, it counts for nothing.
#[must_use]
pub struct Permit {
    ticket: Ticket,
    is_spent: bool,
}

impl Permit {
    /// What the account can send, this request included: what there is to decide what it is used for.
    pub fn capacity(&self) -> Capacity {
        self.ticket.budget.capacity_besides(1)
    }

    /// The request is about to be handed to the network: from here on it counts, whatever becomes of it.
    pub fn spend(mut self) -> Sending {
        self.is_spent = true;
        self.ticket.budget.0.lock().ledger.begin();
        let begun = self.ticket.budget.0.clock.now().mono;
        Sending { ticket: self.ticket.clone(), begun, has_ended: false }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_spent {
            let mut gates = self.ticket.budget.0.lock();
            gates.ledger.cancel();
            gates.hold.no_answer(self.ticket.epoch);
            self.ticket.budget.0.changed.notify_one();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

/// How a request ended, for the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// An answer that refuses nothing; a `Retry-After` on it holds all the same.
    Accepted {
        /// What the provider asked to wait.
        retry_after: Option<Duration>,
        /// What the provider says is left.
        remaining: Option<Remaining>,
    },
    /// 429, or another refusal that says when to come back.
    Refused {
        /// What the provider asked to wait.
        retry_after: Option<Duration>,
        /// What the provider says is left.
        remaining: Option<Remaining>,
    },
}

/// What an answer says is left of the account's limits. Followed downwards only: it can show that others use the
/// account, too, never that there is more than the limits allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Requests.
    pub left: u64,
    /// Time until the provider counts anew; believed up to the longest limit's window.
    pub reset_after: Duration,
}

/// How an account stands after an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// How long nothing is sent from now on.
    pub hold: Option<Duration>,
    /// The pacer's share of its full rate.
    pub pace: f64,
}

/// A request on its way. Dropped without an end, it counts as one without an answer.
#[must_use]
pub struct Sending {
    ticket: Ticket,
    begun: Instant,
    has_ended: bool,
}

impl Sending {
    /// An answer was seen. Returns how the account stands with it.
    pub fn end(mut self, end: End) -> Standing {
        self.has_ended = true;
        let Ticket { budget, epoch } = &self.ticket;
        let now = budget.0.clock.now().mono;
        let gates = &mut *budget.0.lock();
        gates.ledger.end(now, now);
        let (End::Accepted { remaining, .. } | End::Refused { remaining, .. }) = end;
        if let Some(remaining) = remaining {
            gates.ledger.told(remaining, self.begun, now);
        }
        let stretch = gates.random.f64();
        match end {
            End::Accepted { retry_after, .. } => {
                gates.hold.accepted(*epoch);
                gates.pacer.recover();
                if let Some(wait) = retry_after {
                    gates.hold.wait(wait, stretch, now);
                }
            }
            End::Refused { retry_after, .. } => {
                if gates.hold.refused(*epoch, retry_after, stretch, now) {
                    gates.pacer.cut();
                }
            }
        }
        budget.0.changed.notify_one();
        Standing { hold: gates.hold.remaining(now), pace: gates.pacer.rate() }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let Ticket { budget, epoch } = &self.ticket;
        let now = budget.0.clock.now().mono;
        let mut gates = budget.0.lock();
        let counts_until = now + gates.timeout;
        gates.ledger.end(counts_until, now);
        gates.hold.no_answer(*epoch);
        budget.0.changed.notify_one();
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sending")
    }
}

#[cfg(test)]
mod tests;
