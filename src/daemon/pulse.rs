//! A proof of life: whoever is asked answers from where its work is done, so one that is stuck does not answer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

/// One dispatcher's pulse.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    asked: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<oneshot::Sender<()>>,
    has_ended: bool,
}

impl Pulse {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the dispatcher comes round, or has ended in good order. For ever, where it is stuck or has panicked.
    pub(super) async fn ask(&self) {
        let answer = {
            let mut state = self.state();
            if state.has_ended {
                return;
            }
            let (waiting, answer) = oneshot::channel();
            state.waiting.push(waiting);
            answer
        };
        self.asked.notify_one();
        // An error: it has ended meanwhile.
        answer.await.unwrap_or(());
    }

    /// Returns when somebody asks: time to come round.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// The dispatcher has come round.
    pub(super) fn answer(&self) {
        for waiting in self.state().waiting.drain(..) {
            // Nobody waits any more: fine.
            waiting.send(()).unwrap_or(());
        }
    }

    /// The dispatcher has ended in good order.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.has_ended = true;
        state.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn only_who_comes_round_or_ends_answers() {
        let pulse = Pulse::default();
        assert!(timeout(LONG, pulse.ask()).await.is_err(), "nobody comes round");
        pulse.asked().await;
        pulse.answer();
        let come_round = async {
            pulse.asked().await;
            pulse.answer();
        };
        let both = async { tokio::join!(pulse.ask(), pulse.ask(), come_round) };
        timeout(LONG, both).await.expect("all who asked are answered");
        let end = async { pulse.end() };
        timeout(LONG, async { tokio::join!(pulse.ask(), end) }).await.expect("an end is no wedge");
        timeout(LONG, pulse.ask()).await.expect("nor is one long ago");
    }
}
