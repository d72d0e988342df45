//! The exact gate: never more than N requests in any window of length T. Pure; knows no clock and no SQL.
//!
//! A request counts from before it is handed to the network until T after its end (response, error or time-out) was
//! seen, and one is admitted only while fewer than N count, for every limit.
//!
//! *Why at most N are served in any window of length T, on the server's clock.* Let X be the request of the window that
//! was admitted last, and Y any other one. Y was served within the window, so at most T before X was served, and X was
//! admitted before it was served: X was admitted at most T after Y was served. Y's end was seen only after Y was served,
//! so Y still counted, and at most N − 1 others did. Latency and the offset of the clocks do not appear in the argument;
//! it needs only that both clocks tick alike. A request that ended without an answer may still be served later: its end
//! is put one time-out later.
//!
//! What answers tell of others who use the account only adds to what counts, so it takes nothing from the proof.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Remaining;
use crate::model::Limit;

/// The first instant at which a request that ended exactly `per` ago no longer counts: windows are closed at both ends.
const JUST_AFTER: Duration = Duration::from_nanos(1);

/// Requests that count, for one account.
#[derive(Debug)]
pub struct Ledger {
    limits: Vec<Limit>,
    /// Admitted and not yet on their way.
    admitted: usize,
    /// On their way and not yet ended.
    open: usize,
    /// Ends, ascending; those older than two of the longest windows are forgotten: one to count, one to judge what the
    /// answers of slow requests tell.
    ended: VecDeque<Instant>,
    /// Requests that nobody here has sent, or remembers, and until when they count.
    others: Option<(usize, Instant)>,
}

impl Ledger {
    /// An empty ledger; no limits admit everything.
    pub fn new(limits: Vec<Limit>) -> Self {
        Self { limits, admitted: 0, open: 0, ended: VecDeque::new(), others: None }
    }

    /// When the next request may be admitted: `now`, a later instant, or `None` while only the end of an open request
    /// can tell.
    pub fn free_at(&self, now: Instant) -> Option<Instant> {
        self.limits.iter().try_fold(now, |latest, limit| Some(latest.max(self.free_for(limit, now)?)))
    }

    fn free_for(&self, limit: &Limit, now: Instant) -> Option<Instant> {
        let room = (limit.requests as usize).checked_sub(self.admitted + self.open).filter(|room| *room > 0)?;
        let (others, until) = self.others(now);
        let Some(room) = room.checked_sub(others).filter(|room| *room > 0) else { return Some(until) };
        let first = self.first_counting(limit, now);
        let counting = self.ended.len() - first;
        if counting < room {
            return Some(now);
        }
        let expiry = self.ended[first + counting - room] + limit.per + JUST_AFTER;
        Some(if others > 0 { expiry.min(until) } else { expiry })
    }

    /// Counts one request from now on. Call only when [`Ledger::free_at`] says `now`.
    pub fn admit(&mut self) {
        self.admitted += 1;
    }

    /// Takes an admitted request back that was never handed to the network.
    pub fn cancel(&mut self) {
        self.admitted = self.admitted.saturating_sub(1);
    }

    /// An admitted request is about to be handed to the network.
    pub fn begin(&mut self) {
        self.cancel();
        self.open += 1;
    }

    /// A begun request has ended at `end`, which may lie in the future (see the proof).
    pub fn end(&mut self, end: Instant, now: Instant) {
        self.open = self.open.saturating_sub(1);
        self.remember(end, now);
    }

    /// Counts a request of an earlier process that ended at `end`.
    pub fn remember(&mut self, end: Instant, now: Instant) {
        let at = self.ended.partition_point(|other| *other <= end);
        self.ended.insert(at, end);
        let longest = self.longest();
        while self.ended.front().is_some_and(|oldest| *oldest + longest * 2 < now) {
            self.ended.pop_front();
        }
    }

    /// The answer of a request that began at `begun` and has just ended told what is left. What is missing beyond all
    /// of our own that the provider can have counted by then was sent by others; it counts until the reset.
    pub fn told(&mut self, remaining: Remaining, begun: Instant, now: Instant) {
        let left_to_us = self.limits.iter().map(|limit| {
            let own = self.admitted + self.open + self.ended.len() - self.first_counting(limit, begun);
            (limit.requests as usize).saturating_sub(own)
        });
        let left = usize::try_from(remaining.left).unwrap_or(usize::MAX);
        let others = left_to_us.min().unwrap_or(0).saturating_sub(left);
        let (known, known_until) = self.others(now);
        if others > 0 && others >= known {
            let until = now + remaining.reset_after.min(self.longest());
            self.others = Some((others, until.max(known_until)));
        }
    }

    /// Nobody remembers how many requests have ended until `end`: room for none, while any of them may count.
    pub fn fill(&mut self, end: Instant, now: Instant) {
        let most = self.limits.iter().map(|limit| limit.requests as usize).max().unwrap_or(0);
        let until = end + self.longest() + JUST_AFTER;
        self.others = Some((most, until)).filter(|_| now < until);
    }

    /// Requests of others that count, and until when; until `now` when there are none.
    fn others(&self, now: Instant) -> (usize, Instant) {
        self.others.filter(|(_, until)| now < *until).unwrap_or((0, now))
    }

    /// How many requests count for each limit, those of others included.
    pub fn used(&self, now: Instant) -> impl Iterator<Item = (Limit, usize)> + '_ {
        let besides = self.admitted + self.open + self.others(now).0;
        self.limits.iter().map(move |limit| (*limit, besides + self.ended.len() - self.first_counting(limit, now)))
    }

    /// The highest even rate, in requests per second, at which the tightest limit does not run dry within its window:
    /// at each moment ahead, what no longer counts by then must cover what was sent until then. Asked as if `more`
    /// requests than are counted were admitted now. Infinite without limits; 0 while the limit is used up.
    pub fn even_rate(&self, now: Instant, more: i32) -> f64 {
        let Some(limit) = self.tightest() else { return f64::INFINITY };
        let first = self.first_counting(limit, now);
        let open = self.admitted + self.open;
        let counting = self.ended.len() - first + open;
        let (others, until) = self.others(now);
        let rate_until = |still: usize, at: Instant| {
            let still = if at <= until { still + others } else { still };
            let room = f64::from(limit.requests) - still as f64 - f64::from(more);
            room / at.saturating_duration_since(now).as_secs_f64()
        };
        let mut least = rate_until(open, now + limit.per);
        for (gone, end) in self.ended.range(first..).enumerate() {
            least = least.min(rate_until(counting - gone, *end + limit.per + JUST_AFTER));
        }
        if others > 0 {
            let gone = self.ended.partition_point(|end| *end + limit.per < until).max(first) - first;
            least = least.min(rate_until(counting - gone, until));
        }
        least.max(0.0)
    }

    /// When the next of what counts for the tightest limit stops to count, if anything does.
    pub fn next_expiry(&self, now: Instant) -> Option<Instant> {
        let limit = self.tightest()?;
        let own = self.ended.get(self.first_counting(limit, now)).map(|end| *end + limit.per + JUST_AFTER);
        let (others, until) = self.others(now);
        own.into_iter().chain((others > 0).then_some(until)).min()
    }

    /// The rate that the tightest limit sustains for ever, in requests per second; infinite without limits.
    pub fn steady_rate(&self) -> f64 {
        self.tightest().map_or(f64::INFINITY, rate)
    }

    fn longest(&self) -> Duration {
        self.limits.iter().map(|limit| limit.per).max().unwrap_or_default()
    }

    /// The limit with the lowest rate.
    fn tightest(&self) -> Option<&Limit> {
        self.limits.iter().min_by(|one, other| rate(one).total_cmp(&rate(other)))
    }

    /// Index of the oldest end that still counts for `limit`.
    fn first_counting(&self, limit: &Limit, now: Instant) -> usize {
        self.ended.partition_point(|end| *end + limit.per < now)
    }
}

fn rate(limit: &Limit) -> f64 {
    f64::from(limit.requests) / limit.per.as_secs_f64()
}
