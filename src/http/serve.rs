//! The connections: accepted up to a number, each bound in time and size, all ended in good order.
//!
//! Nothing that callers do or leave undone may cost more than a bounded amount of memory and descriptors: the daemon's
//! first work is to poll.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;

use super::listen::{Listener, Stream, Via};
use super::{Api, router};

/// How long to wait where no connection can be accepted, as when descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open at one time; the others wait in the system's queue.
    pub connections: usize,
    /// For a request's head, from its first byte or from the end of the answer before it.
    pub head: Duration,
    /// The largest head, in bytes.
    pub head_bytes: usize,
    /// For a caller to take something of an answer.
    pub stalled: Duration,
    /// For the requests in flight to end, once no more are taken.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let half = open_files.map_or(usize::MAX, |most| usize::try_from(most / 2).unwrap_or(usize::MAX));
        Self {
            // At least half of the descriptors stay for the file and the providers.
            connections: half.min(2048),
            head: Duration::from_secs(10),
            head_bytes: 32 * 1024,
            stalled: Duration::from_secs(30),
            grace: Duration::from_secs(5),
        }
    }
}

/// Answers until `shutdown`, then lets the requests in flight end, for a while.
pub async fn serve(listener: Listener, api: Api, limits: Limits, shutdown: CancellationToken) {
    let router = TowerToHyperService::new(router(Api { stop: shutdown.clone(), ..api.clone() }));
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let next = async { (place.await, listener.accept().await) };
        let Some((place, accepted)) = shutdown.run_until_cancelled(next).await else { break };
        match accepted {
            Ok((stream, via)) => {
                let (open, service) = (api.metrics().connected(), Tagged { router: router.clone(), via });
                let answering = answer(stream, service, limits, shutdown.clone());
                connections.spawn(async move {
                    answering.await;
                    drop((place, open));
                });
            }
            Err(error) if is_the_callers(&error) => (),
            Err(_) => sleep(PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.grace, all).await.is_err() {
        connections.shutdown().await;
    }
}

/// Answers the requests of one connection, one after the other.
async fn answer(stream: Stream, service: Tagged, limits: Limits, shutdown: CancellationToken) {
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(limits.stalled));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_header_size(limits.head_bytes)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // Whatever the caller did to the connection is the caller's affair.
    ended.unwrap_or(());
}

/// The routes, told how each request came in.
struct Tagged {
    router: TowerToHyperService<Router>,
    via: Via,
}

impl Service<Request<Incoming>> for Tagged {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.via);
        self.router.call(request)
    }
}

/// Whether a connection failed before it was accepted, rather than accepting.
fn is_the_callers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | NotConnected)
}
