//! Committed versions, to whoever listens. Nothing is told here before it is in the file, and a slow listener holds
//! nobody up: it is told how many it missed.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::store::Committed;

/// How many versions a listener may lag behind before it misses some.
const BACKLOG: usize = 4096;

/// Where committed versions are announced. Clones share it.
#[derive(Clone, Debug)]
pub struct Events(broadcast::Sender<Arc<Committed>>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }
}

impl Events {
    /// Announces a version that has been committed.
    pub fn announce(&self, committed: Arc<Committed>) {
        // An error only says that nobody listens.
        drop(self.0.send(committed));
    }

    /// Listens to versions committed from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Committed>> {
        self.0.subscribe()
    }
}
