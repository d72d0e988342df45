//! Looks all the time whether the running daemon says of itself what is so.

use segsync::live::Phase;

use crate::soak::stage::Stage;
use crate::soak::time::{MINUTE, SECOND, show, span};

impl Stage {
    /// Looks every other minute whether what the daemon says of its next request is so.
    pub async fn watch(&self) {
        let mut since = [None; 2];
        loop {
            tokio::time::sleep(span(2 * MINUTE)).await;
            let (now, snapshot) = (self.machine.ms(), self.live.snapshot());
            for (place, account) in snapshot.accounts.iter().enumerate() {
                let promised = snapshot.phase == Phase::Running
                    && account.next_poll.is_some_and(|next| next.is_zero())
                    && account.in_flight == 0;
                let since: &mut Option<i64> = &mut since[place];
                if !promised || self.flies.last[place].get() > since.unwrap_or(now) {
                    *since = None;
                } else if *since.get_or_insert(now) <= now - 3 * MINUTE {
                    self.waits.borrow_mut().push(format!(
                        "{}: {} promised to send now, and sent nothing for {} s: {account:?}",
                        show(now),
                        account.sources[0],
                        (now - since.unwrap_or(now)) / SECOND
                    ));
                    *since = None;
                }
            }
        }
    }
}
