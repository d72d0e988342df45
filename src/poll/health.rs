//! The state of a source, moved by the outcomes of its requests.

use crate::model::{Outcome, SourceState};

/// Failures in a row, of any of its segments, after which a source counts as failing.
const FAILING_AFTER: u32 = 3;

/// A source's state and what led to it.
#[derive(Debug)]
pub(super) struct Health {
    state: SourceState,
    failures: u32,
}

impl Health {
    pub(super) fn new(state: SourceState) -> Self {
        Self { state, failures: 0 }
    }

    /// The state after one more outcome:
    ///
    /// - any usable answer → ok
    /// - 401, 403 → unauthorized
    /// - 429 → held, unless unauthorized
    /// - several failures in a row → failing, unless unauthorized
    /// - a malformed answer is its segment's trouble and changes nothing
    ///
    /// Returns the new state if it is another one.
    pub(super) fn observe(&mut self, outcome: Outcome) -> Option<SourceState> {
        self.failures = if outcome == Outcome::Failed { self.failures.saturating_add(1) } else { 0 };
        let state = match (outcome, self.state) {
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
        };
        let is_other = state != self.state;
        self.state = state;
        is_other.then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_move_the_state() {
        let mut health = Health::new(SourceState::Ok);
        assert_eq!(health.observe(Outcome::Failed), None);
        assert_eq!(health.observe(Outcome::Unchanged), None);
        let failed = [Outcome::Failed; 4].map(|outcome| health.observe(outcome));
        assert_eq!(failed, [None, None, Some(SourceState::Failing), None]);
        assert_eq!(health.observe(Outcome::Throttled), Some(SourceState::Held));
        assert_eq!(health.observe(Outcome::Malformed), None);
        assert_eq!(health.observe(Outcome::Unauthorized), Some(SourceState::Unauthorized));
        assert_eq!(health.observe(Outcome::Throttled), None);
        assert_eq!(health.observe(Outcome::NotFound), Some(SourceState::Ok));
    }
}
