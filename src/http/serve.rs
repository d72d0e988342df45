//! The listener and its connections.
//!
//! Must never bind anything but what the configuration names.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Api, router};
use crate::config::Listen;

/// A socket that accepts connections for the API.
#[derive(Debug)]
pub enum Listener {
    /// On an address.
    Tcp(TcpListener),
}

impl Listener {
    /// Binds where the configuration says.
    pub async fn bind(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
        }
    }

    /// Where it listens, with the port that it was given.
    pub fn address(&self) -> Address {
        match self {
            Self::Tcp(listener) => Address(listener.local_addr().ok()),
        }
    }
}

/// Where a listener listens, for people.
#[derive(Clone, Copy, Debug)]
pub struct Address(Option<SocketAddr>);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(f, "http://{address}"),
            None => f.write_str("an unknown address"),
        }
    }
}

/// Answers until `shutdown`, then lets the requests in flight end.
pub async fn serve(listener: Listener, api: Api, shutdown: CancellationToken) -> io::Result<()> {
    let router = router(api);
    match listener {
        Listener::Tcp(listener) => {
            axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
        }
    }
}
