//! How much is in flight, and when one more may start. Pure.

/// What is under way of one source.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InFlight {
    /// Polls whose end is not in the file yet.
    polls: usize,
    /// Those of them whose request is out, or about to be sent.
    requests: usize,
}

impl InFlight {
    /// One more poll, whose request is about to be sent.
    pub(super) fn start(&mut self) {
        self.polls += 1;
        self.requests += 1;
    }

    /// The request of one is no longer out.
    pub(super) fn is_back(&mut self) {
        self.requests = self.requests.saturating_sub(1);
    }

    /// One has ended.
    pub(super) fn end(&mut self) {
        self.polls = self.polls.saturating_sub(1);
    }

    /// Requests that are out, or about to be sent.
    pub(super) fn requests(self) -> usize {
        self.requests
    }

    /// Whether one more may start. What an answer brings is written while the next request is out, but a store that does
    /// not keep up must not let answers pile up.
    pub(super) fn has_slot(self, concurrency: usize) -> bool {
        self.requests < concurrency && self.polls < 2 * concurrency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_do_not_pile_up_where_the_store_does_not_keep_up() {
        let has_slot = |requests, polls| InFlight { requests, polls }.has_slot(2);
        assert!(has_slot(0, 0) && has_slot(1, 1));
        assert!(!has_slot(2, 2), "as many requests as may be out");
        assert!(has_slot(0, 2) && has_slot(1, 3), "what is being written keeps no request waiting");
        assert!(!has_slot(0, 4), "but not without end");
    }
}
