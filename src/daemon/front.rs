//! The local API's listener: opened, kept or moved as the configuration says, and closed in good order.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::GRACE;
use crate::config::Listen;
use crate::http::{Api, Listener, serve};

/// The listener, if there is one.
#[derive(Debug, Default)]
pub(super) struct Front(Option<Open>);

#[derive(Debug)]
struct Open {
    listen: Listen,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Front {
    /// Listens where the configuration says, or on the socket that was handed over.
    pub(super) async fn open(listen: Option<&Listen>, given: Option<Listener>, api: &Api) -> Result<Self> {
        let Some(listen) = listen else { return Ok(Self(None)) };
        let listener = match given {
            Some(listener) => listener,
            None => Listener::bind(listen).await.with_context(|| format!("listen on {listen} for the HTTP API"))?,
        };
        Ok(Self(Some(Open::serve(listen, listener, api))))
    }

    /// Listens elsewhere, or not at all, from now on. Where that fails, it stays where it is.
    pub(super) async fn reload(&mut self, listen: Option<&Listen>, api: &Api) {
        if self.0.as_ref().map(|open| &open.listen) == listen {
            return;
        }
        match Self::open(listen, None, api).await {
            Ok(other) => std::mem::replace(self, other).close().await,
            Err(failure) => error!("the HTTP API stays where it is: failed to {failure:#}"),
        }
    }

    /// Lets the requests in flight end, for a while.
    pub(super) async fn close(self) {
        let Some(Open { stop, tasks, .. }) = self.0 else { return };
        stop.cancel();
        if timeout(GRACE, tasks.wait()).await.is_err() {
            warn!("left connections of the HTTP API that did not end within {} s", Duration::as_secs(&GRACE));
        }
    }
}

impl Open {
    fn serve(listen: &Listen, listener: Listener, api: &Api) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        info!("the HTTP API listens on {}", listener.address());
        let serving = serve(listener, api.clone(), stop.clone());
        tasks.spawn(async move {
            if let Err(failure) = serving.await {
                error!("the HTTP API ended: {failure}");
            }
        });
        tasks.close();
        Self { listen: listen.clone(), stop, tasks }
    }
}
