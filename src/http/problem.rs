//! Errors as callers read them: RFC 9457, `application/problem+json`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;

use crate::store::Error;

/// An error with the status that it is answered with. Its text names no key and no path of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// What went wrong, and what to do.
    pub(super) detail: String,
    /// The same one by one, where there may be several.
    reasons: Vec<String>,
}

/// Its JSON. The status says all about the type (RFC 9457 §4.2.1).
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    reasons: &'a [String],
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), reasons: Vec::new() }
    }

    /// The same with its reasons.
    pub(super) fn because(self, reasons: Vec<String>) -> Self {
        Self { reasons, ..self }
    }

    /// The caller's mistake.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// The file cannot be read; what is wrong with it is for the log.
    pub(super) fn of_store(error: &Error) -> Self {
        error!("a request of the HTTP API failed to {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the database cannot be read; the log says why")
    }

    /// There is no such thing.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let (status, detail, reasons) = (self.status.as_u16(), self.detail.as_str(), self.reasons.as_slice());
        let body = Body { r#type: "about:blank", title, status, detail, reasons };
        let body = serde_json::to_string(&body).unwrap_or_default();
        let kind = HeaderValue::from_static("application/problem+json");
        let never = HeaderValue::from_static("no-store");
        (self.status, [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, never)], body).into_response()
    }
}
