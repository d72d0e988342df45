//! VersionEntry versions, to whoever listens. Nothing is told here before it is in the file, and a slow listener holds
//! nobody up: it is told how many it missed.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::store::VersionEntry;

/// How many versions a listener may lag behind before it misses some.
const BACKLOG: usize = 4096;

/// Where committed versions are announced. Clones share it.
#[derive(Clone, Debug)]
pub struct Events(broadcast::Sender<Arc<VersionEntry>>);

impl Default for Events {
    fn default() -> Self {
        Self::holding(BACKLOG)
    }
}

impl Events {
    /// Remembers so many versions for listeners that lag behind.
    pub fn holding(versions: usize) -> Self {
        Self(broadcast::Sender::new(versions))
    }

    /// Announces a version that has been committed.
    pub fn announce(&self, committed: Arc<VersionEntry>) {
        // An error only says that nobody listens.
        drop(self.0.send(committed));
    }

    /// Listens to versions committed from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<VersionEntry>> {
        self.0.subscribe()
    }
}
