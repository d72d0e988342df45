//! The local API: what the file holds, over HTTP, without a request to a provider unless the caller wants one.
//!
//! Reads below it only; a fresh copy it asks `daemon` for. Must never answer with a key, with a version that is not
//! committed, or name a vendor.

mod changes;
mod fresh;
mod gate;
mod guard;
mod list;
mod listen;
mod metrics;
mod openapi;
mod problem;
mod proxy;
mod query;
mod segment;
mod serve;
mod status;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, any, get, post};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::clock::{Clock, Now};
use crate::events::Events;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::model::{SegmentKey, SourceName};
use crate::provider::Provider;
use crate::secret::KeyPrint;
use crate::store::{Error, Reader, Readers};

use metrics::Sizes;
use problem::Problem;
use query::Query;

pub use fresh::{Asking, Desk, Told};
pub use listen::Listener;
pub use serve::{Limits, serve};

/// What the routes share. Clones share it.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
    /// Ends with the listener: what would go on for ever ends then.
    stop: CancellationToken,
}

struct Shared {
    wiring: Wiring,
    settings: RwLock<Arc<Settings>>,
}

/// What the API reads, for as long as it lives.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// The file.
    pub readers: Readers,
    /// What is committed.
    pub events: Events,
    /// How the daemon stands.
    pub live: Live,
    /// Where requests are counted.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
}

/// What a reload replaces.
#[derive(Debug)]
pub struct Settings {
    /// What callers must send, if anything.
    pub token: Option<KeyPrint>,
    /// Further names of this server, in lower case.
    pub hosts: Vec<String>,
    /// The latest of each segment.
    pub cache: Cache,
    /// Whom to ask for a fresh copy.
    pub desk: Box<dyn Desk>,
    /// The configured sources.
    pub sources: HashMap<SourceName, Source>,
}

/// A configured source.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Its vendor.
    pub provider: &'static dyn Provider,
    /// Its key.
    pub key: KeyPrint,
}

impl Api {
    /// An API with these settings.
    pub fn new(wiring: Wiring, settings: Settings) -> Self {
        let shared = Shared { wiring, settings: RwLock::new(Arc::new(settings)) };
        Self { shared: Arc::new(shared), stop: CancellationToken::new() }
    }

    /// Whether callers must send a token.
    pub fn asks_token(&self) -> bool {
        self.settings().token.is_some()
    }

    fn metrics(&self) -> &Metrics {
        &self.shared.wiring.metrics
    }

    /// Takes over other settings, for the requests that come next.
    pub fn set(&self, settings: Settings) {
        *self.shared.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.shared.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> Now {
        self.shared.wiring.clock.now()
    }

    fn live(&self) -> &Live {
        &self.shared.wiring.live
    }

    /// What the file and the cache take.
    fn sizes(&self) -> Sizes {
        let ((database, wal), cache) = (self.shared.wiring.readers.bytes(), &self.settings().cache);
        Sizes { database, wal, cache: cache.bytes(), entries: cache.entries() }
    }

    fn events(&self) -> &Events {
        &self.shared.wiring.events
    }

    /// Reads the file.
    async fn read<T, F>(&self, work: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
    {
        self.shared.wiring.readers.read(work).await.map_err(|error| Problem::of_store(&error))
    }

    /// The configured source of that name.
    fn source(&self, name: &str) -> Result<SourceName, Problem> {
        let name = SourceName::new(name);
        if self.settings().sources.contains_key(&name) {
            return Ok(name);
        }
        let name: String = name.as_str().chars().take(60).collect();
        Err(Problem::not_found(format!("there is no source {name:?}")))
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Api")
    }
}

/// The segment that a path names.
struct Id(SegmentKey);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((source, id)) = path.map_err(|wrong: PathRejection| Problem::bad_request(wrong.body_text()))?;
        Ok(Self(SegmentKey::new(SourceName::new(source), id)))
    }
}

/// A route: its template, the method that it takes besides HEAD, and its handler.
type Route = (&'static str, &'static str, MethodRouter<Api>);

/// Every route that asks for the token.
fn closed() -> Vec<Route> {
    vec![
        ("/readyz", "get", get(status::readyz)),
        ("/metrics", "get", get(metrics::page)),
        ("/v1/status", "get", get(status::status)),
        ("/openapi.json", "get", get(openapi::document)),
        ("/v1/segments", "get", get(list::segments)),
        ("/v1/segments/{source}/{id}", "get", get(segment::one)),
        ("/v1/segments/{source}/{id}/versions", "get", get(list::versions)),
        ("/v1/segments/{source}/{id}/refresh", "post", post(segment::refresh)),
        ("/v1/changes", "get", get(changes::page)),
        ("/v1/changes/stream", "get", get(changes::stream)),
    ]
}

/// Every route that does not, or that asks by itself.
fn open() -> Vec<Route> {
    vec![("/healthz", "get", get(status::healthz)), ("/proxy/{source}/{*path}", "get", any(proxy::proxy))]
}

/// The routes, and what every request goes through before it comes to one: for [`serve`], and for callers in the same
/// process.
pub fn router(api: Api) -> Router {
    let add = |router: Router<Api>, (path, _, handler): Route| router.route(path, handler);
    let closed = closed().into_iter().fold(Router::new(), add).fallback(unknown);
    let closed = closed.layer(from_fn_with_state(api.clone(), guard::token));
    let router = open().into_iter().fold(closed, add).method_not_allowed_fallback(not_allowed);
    router.layer(from_fn_with_state(api.clone(), gate::gate)).with_state(api)
}

/// An answer of JSON.
fn json(value: &impl Serialize) -> Response<Body> {
    let mut answer = Response::new(Body::from(serde_json::to_string(value).unwrap_or_default()));
    answer.headers_mut().insert(header::CONTENT_TYPE, segment::JSON);
    answer
}

async fn unknown(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::not_found(format!("there is no {path} here; /openapi.json lists what there is"))
}

async fn not_allowed(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{path} does not take {method}"))
}
