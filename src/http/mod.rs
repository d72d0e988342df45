//! The local API: what the file holds, over HTTP, without a request to a provider unless the caller wants one.
//!
//! Reads below it only; a fresh copy it asks `daemon` for. Must never answer with a key, with a version that is not
//! committed, or name a vendor.

mod gate;
mod guard;
mod listen;
mod problem;
mod serve;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::secret::KeyPrint;

use problem::Problem;

pub use listen::Listener;
pub use serve::{Limits, serve};

/// What the routes share. Clones share it.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    settings: RwLock<Arc<Settings>>,
    metrics: Metrics,
    clock: Clock,
}

/// What a reload replaces.
#[derive(Debug)]
pub struct Settings {
    /// What callers must send, if anything.
    pub token: Option<KeyPrint>,
    /// Further names of this server, in lower case.
    pub hosts: Vec<String>,
}

impl Api {
    /// An API with these settings, whose requests `metrics` counts.
    pub fn new(settings: Settings, metrics: Metrics, clock: Clock) -> Self {
        Self(Arc::new(Shared { settings: RwLock::new(Arc::new(settings)), metrics, clock }))
    }

    /// Whether callers must send a token.
    pub fn asks_token(&self) -> bool {
        self.settings().token.is_some()
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn now(&self) -> Instant {
        self.0.clock.now().mono
    }

    /// Takes over other settings, for the requests that come next.
    pub fn set(&self, settings: Settings) {
        *self.0.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.0.settings.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Api")
    }
}

/// Every route.
fn router(api: Api) -> Router {
    // Routes that ask for the token come before its layer, the others after.
    let router = Router::new()
        .fallback(unknown)
        .layer(from_fn_with_state(api.clone(), guard::token))
        .route("/healthz", get(healthz))
        .method_not_allowed_fallback(not_allowed);
    router.layer(from_fn_with_state(api.clone(), gate::gate)).with_state(api)
}

/// The process is alive.
async fn healthz() -> &'static str {
    "ok\n"
}

async fn unknown(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::not_found(format!("there is no {path} here; /openapi.json lists what there is"))
}

async fn not_allowed(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{path} does not take {method}"))
}
