//! The local API's listener: opened, kept or moved as the configuration says, and closed in good order.

use anyhow::{Context, Result, bail};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use crate::config::Listen;
use crate::http::{Api, Limits, Listener, serve};

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
        if !listener.is_private() && !api.asks_token() {
            bail!("listen on {listener} for the HTTP API: other machines reach it, so [http] needs a token");
        }
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
        tasks.wait().await;
    }
}

impl Open {
    fn serve(listen: &Listen, listener: Listener, api: &Api) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        info!("the HTTP API listens on {listener}");
        tasks.spawn(serve(listener, api.clone(), Limits::default(), stop.clone()));
        tasks.close();
        Self { listen: listen.clone(), stop, tasks }
    }
}
