//! The local API's listener: opened, kept or moved as the configuration says, and closed in good order.

use anyhow::{Context, Result, bail};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use crate::config::Listen;
use crate::http::{Api, Limits, Listener, serve};

/// A bound socket on which nobody answers yet.
#[derive(Debug)]
pub(super) struct Door {
    listen: Listen,
    listener: Listener,
}

/// The listener, if there is one.
#[derive(Debug)]
pub(super) struct Front(Option<Open>);

#[derive(Debug)]
struct Open {
    listen: Listen,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Door {
    /// Binds where the configuration says, or takes the socket that was handed over.
    pub(super) async fn open(
        listen: Option<&Listen>,
        given: Option<Listener>,
        asks_token: bool,
    ) -> Result<Option<Self>> {
        let Some(listen) = listen else { return Ok(None) };
        let listener = match given {
            Some(listener) => listener,
            None => Listener::bind(listen).await.with_context(|| format!("listen on {listen} for the HTTP API"))?,
        };
        if !listener.is_private() && !asks_token {
            bail!("listen on {listener} for the HTTP API: other machines reach it, so [http] needs a token");
        }
        Ok(Some(Self { listen: listen.clone(), listener }))
    }
}

impl Front {
    /// Answers at the door, if there is one.
    pub(super) fn new(door: Option<Door>, api: &Api) -> Self {
        Self(door.map(|door| Open::serve(door, api)))
    }

    /// Listens elsewhere, or not at all, from now on. Where that fails, it stays where it is.
    pub(super) async fn reload(&mut self, listen: Option<&Listen>, api: &Api) {
        if self.0.as_ref().map(|open| &open.listen) == listen {
            return;
        }
        match Door::open(listen, None, api.asks_token()).await {
            Ok(door) => std::mem::replace(self, Self::new(door, api)).close().await,
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
    fn serve(Door { listen, listener }: Door, api: &Api) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        info!("the HTTP API listens on {listener}");
        tasks.spawn(serve(listener, api.clone(), Limits::default(), stop.clone()));
        tasks.close();
        Self { listen, stop, tasks }
    }
}
