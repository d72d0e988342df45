//! How the daemon stands: alive, ready or not and why, and all that is known of it.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;

use super::{Api, Problem, Query, json};
use crate::live::Snapshot;

/// `GET /healthz`: the process is alive.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: whether what is served is as fresh as it promises.
pub(super) async fn readyz(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Response<Body>, Problem> {
    #[derive(Serialize)]
    struct Ready {
        ready: bool,
    }
    Query::read(query.as_deref(), &[])?;
    let reasons = api.live().snapshot().reasons();
    if reasons.is_empty() {
        return Ok(json(&Ready { ready: true }));
    }
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, reasons.join("; "));
    Ok(problem.because(reasons).into_response())
}

/// `GET /v1/status`
pub(super) async fn status(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Response<Body>, Problem> {
    #[derive(Serialize)]
    struct Status {
        segsync: &'static str,
        ready: bool,
        reasons: Vec<String>,
        waiting: usize,
        #[serde(flatten)]
        snapshot: Snapshot,
    }
    Query::read(query.as_deref(), &[])?;
    let snapshot = api.live().snapshot();
    let reasons = snapshot.reasons();
    let waiting = api.settings().desk.waiting();
    let segsync = env!("CARGO_PKG_VERSION");
    Ok(json(&Status { segsync, ready: reasons.is_empty(), reasons, waiting, snapshot }))
}
