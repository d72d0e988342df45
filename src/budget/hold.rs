//! The first gate: a 429 or `Retry-After` stops the whole account, then lets one request through to ask. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// No hold is longer, whatever the provider says.
pub const LONGEST: Duration = Duration::from_secs(15 * 60);
/// The first hold after a 429 that names no time; each further one doubles.
const FIRST: Duration = Duration::from_secs(10);

/// Whether the account may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Open,
    /// Not before this instant.
    Until(Instant),
    /// One request is out to ask; its end decides.
    Asking,
}

/// What an account was told to wait for.
#[derive(Debug, Default)]
pub struct Hold {
    until: Option<Instant>,
    /// Refusals in a row, of distinct holds.
    strikes: u32,
    /// Counts holds, so that late answers of one storm are told from new refusals.
    epoch: u64,
    /// After a refusal: no answer other than 429 was seen yet.
    refused: bool,
    /// The one request that asks whether the refusal is over is out.
    asking: bool,
}

impl Hold {
    /// Whether a request may be admitted.
    pub fn gate(&self, now: Instant) -> Gate {
        match self.until {
            Some(until) if now < until => Gate::Until(until),
            _ if self.refused && self.asking => Gate::Asking,
            _ => Gate::Open,
        }
    }

    /// A request is admitted; the answer carries the returned epoch back.
    pub fn begin(&mut self) -> u64 {
        self.asking = self.refused;
        self.epoch
    }

    /// An admitted request was not sent, or ended without an answer: the next one asks.
    pub fn no_answer(&mut self, epoch: u64) {
        if epoch == self.epoch {
            self.asking = false;
        }
    }

    /// An answer other than a refusal.
    pub fn accepted(&mut self, epoch: u64) {
        if epoch == self.epoch {
            (self.refused, self.asking, self.strikes) = (false, false, 0);
        }
    }

    /// A refusal. `stretch` (0 to 1) lengthens the hold by up to a tenth, so that daemons do not return in step.
    /// True for the first refusal of its storm.
    pub fn refused(&mut self, epoch: u64, retry_after: Option<Duration>, stretch: f64, now: Instant) -> bool {
        let first_of_storm = epoch == self.epoch;
        if first_of_storm {
            self.strikes = self.strikes.saturating_add(1);
            self.epoch += 1;
            (self.refused, self.asking) = (true, false);
        } else if retry_after.is_none() {
            return false;
        }
        let doubled = FIRST.saturating_mul(1 << self.strikes.saturating_sub(1).min(10));
        self.wait(retry_after.unwrap_or(doubled), stretch, now);
        first_of_storm
    }

    /// Sends nothing for `wait` (at most [`LONGEST`], plus up to a tenth).
    pub fn wait(&mut self, wait: Duration, stretch: f64, now: Instant) {
        let until = now + wait.min(LONGEST).mul_f64(1.0 + stretch / 10.0);
        self.until = Some(self.until.map_or(until, |other| other.max(until)));
    }

    /// Takes up a hold of an earlier process. Whether that one was refused is not known: one request asks.
    pub fn resume(&mut self, wait: Duration, now: Instant) {
        self.wait(wait, 0.0, now);
        self.refused = true;
    }

    /// How long nothing is sent from now on; `None` when open.
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }
}
