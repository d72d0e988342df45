//! Who may ask: checked before any route.
//!
//! Must never let a request pass without the token where one is configured, apart from `/healthz`.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Api, Problem};
use crate::secret::KeyPrint;

/// Refuses callers without the token.
pub(super) async fn token(State(api): State<Api>, request: Request, next: Next) -> Response {
    // By itself, or the settings would be held until the answer.
    let expected = api.settings().token;
    match expected {
        Some(token) if bearer(request.headers()) != Some(token) => {
            let detail = "send the configured token as `Authorization: Bearer …`";
            let mut answer = Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            answer
        }
        _ => next.run(request).await,
    }
}

/// The token that the caller sent, as a print: compared in constant time.
pub(super) fn bearer(headers: &HeaderMap) -> Option<KeyPrint> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| KeyPrint::of(token.trim()))
}
