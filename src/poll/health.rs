//! The state of a source, moved by the outcomes of its requests.

use crate::model::{Outcome, SourceState};

/// Failures in a row, of any of its segments, after which a source counts as failing.
const FAILING_AFTER: u32 = 3;

/// A source's state and what led to it.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) state: SourceState,
    failures: u32,
    /// The account's pace as the file has it, once this process wrote it.
    pub(super) pace: Option<f64>,
}

impl Health {
    pub(super) fn new(state: SourceState) -> Self {
        Self { state, failures: 0, pace: None }
    }

    /// Counts one more outcome, and returns the state that follows; it is taken over once it is in the file:
    ///
    /// - any usable answer → ok
    /// - 401, 403 → unauthorized
    /// - 429 → held, unless unauthorized
    /// - several failures in a row → failing, unless unauthorized
    /// - a malformed answer is its segment's trouble and changes nothing
    pub(super) fn observe(&mut self, outcome: Outcome) -> SourceState {
        self.failures = if outcome == Outcome::Failed { self.failures.saturating_add(1) } else { 0 };
        match (outcome, self.state) {
            (Outcome::Unauthorized, _) => SourceState::Unauthorized,
            (Outcome::Throttled | Outcome::Failed | Outcome::Malformed, SourceState::Unauthorized) => self.state,
            (Outcome::Throttled, _) => SourceState::Held,
            (Outcome::Failed, _) if self.failures >= FAILING_AFTER => SourceState::Failing,
            (Outcome::Failed | Outcome::Malformed, _) => self.state,
            (
                Outcome::Created
                | Outcome::Updated
                | Outcome::Unchanged
                | Outcome::Deleted
                | Outcome::Restored
                | Outcome::NotFound,
                _,
            ) => SourceState::Ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_move_the_state() {
        use Outcome::{Failed, Malformed, NotFound, Throttled, Unauthorized, Unchanged};
        let outcomes = [
            (Failed, SourceState::Ok),
            (Unchanged, SourceState::Ok),
            (Failed, SourceState::Ok),
            (Failed, SourceState::Ok),
            (Failed, SourceState::Failing),
            (Failed, SourceState::Failing),
            (Throttled, SourceState::Held),
            (Malformed, SourceState::Held),
            (Unauthorized, SourceState::Unauthorized),
            (Throttled, SourceState::Unauthorized),
            (NotFound, SourceState::Ok),
        ];
        let mut health = Health::new(SourceState::Ok);
        for (at, (outcome, state)) in outcomes.into_iter().enumerate() {
            health.state = health.observe(outcome);
            assert_eq!(health.state, state, "{at}: {outcome}");
        }
    }
}
