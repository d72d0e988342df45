//! From a request to an answer: log, limit, key, fault, truth, in this order.
//!
//! Must never happen here: a request that is answered without having been counted.

use std::sync::{Mutex, PoisonError};

use axum::body::Body as HttpBody;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use tokio_util::sync::CancellationToken;

use super::answers::{Answer, Books, with_id};
use super::arrivals::{Arrival, Arrivals};
use super::faults::{Body, Delivery, Fault, Faults, Moment, Packing};
use super::routes::{self, Asked};
use super::wire::{Step, Tap};
use super::world::Account;
use super::{Provider, Settings, gzip, octave, statsig};

/// What all requests share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) statsig: Account<statsig::Segment>,
    pub(super) octave: Account<octave::Segment>,
    pub(super) arrivals: Arrivals,
    pub(super) faults: Faults,
    pub(super) keys: Keys,
    pub(super) host: String,
    pub(super) stop: CancellationToken,
}

/// Keys that are accepted now.
pub(super) struct Keys(Mutex<[Vec<String>; 2]>);

impl Keys {
    pub(super) fn new(settings: &Settings) -> Self {
        Self(Mutex::new([settings.statsig.keys.clone(), settings.octave.keys.clone()]))
    }

    pub(super) fn set(&self, provider: Provider, keys: Vec<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match provider {
            Provider::Statsig => all[0] = keys,
            Provider::Octave => all[1] = keys,
        }
    }

    fn accepts(&self, provider: Provider, key: Option<&str>) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [statsig, octave] = &*all;
        let keys = if provider == Provider::Statsig { statsig } else { octave };
        key.is_some_and(|key| keys.iter().any(|known| known == key))
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

/// The only handler.
pub(super) async fn serve(
    State(shared): State<std::sync::Arc<Shared>>,
    ConnectInfo(tap): ConnectInfo<Tap>,
    request: Request,
) -> Response<HttpBody> {
    let seen = Seen::new(&request);
    let (number, over_limit) = shared.arrivals.take(seen.arrival(&request), seen.key.clone());
    tap.plan([]);
    let books = Books {
        settings: &shared.settings,
        statsig: &shared.statsig,
        octave: &shared.octave,
        host: &shared.host,
        number,
    };
    let refusal = match seen.provider {
        None => Some(books.answer(&Asked::Stray)),
        Some(_) if over_limit => Some(books.refuse_more(&seen.asked)),
        Some(_) if seen.asked == Asked::Stray => Some(books.answer(&Asked::Stray)),
        Some(provider) if !shared.keys.accepts(provider, seen.key.as_deref()) => {
            Some(books.refuse_key(&seen.asked, seen.key.as_deref()))
        }
        Some(_) => None,
    };
    let fault = match (&refusal, seen.provider) {
        (None, Some(provider)) => shared.faults.next(provider, &seen.asked),
        _ => None,
    };
    let fault = fault.unwrap_or_else(Fault::answer);
    if !waited(&fault, &shared.stop).await {
        tap.reset();
    }
    // The truth is that of the moment when the wait is over.
    let answer = refusal.unwrap_or_else(|| books.answer(&seen.asked));
    let (response, length) = respond(&shared.settings, &seen, answer, &fault);
    if deliver(&tap, fault.delivery, length) {
        shared.arrivals.answered(number, response.status().as_u16());
    }
    response
}

/// What matters of a request.
struct Seen {
    provider: Option<Provider>,
    asked: Asked,
    key: Option<String>,
    if_none_match: Option<String>,
    gzip: bool,
}

impl Seen {
    fn new(request: &Request) -> Self {
        let (uri, headers) = (request.uri(), request.headers());
        let provider = routes::provider(uri.path());
        let key = match provider {
            Some(Provider::Statsig) => text(headers, "statsig-api-key"),
            Some(Provider::Octave) => text(headers, "api_key"),
            None => None,
        };
        Self {
            provider,
            asked: routes::read(request.method().as_str(), uri.path(), uri.query().unwrap_or_default()),
            key,
            if_none_match: text(headers, "if-none-match"),
            gzip: text(headers, "accept-encoding").is_some_and(|accepted| accepted.contains("gzip")),
        }
    }

    fn arrival(&self, request: &Request) -> Arrival {
        let header = |name| text(request.headers(), name);
        Arrival {
            at: tokio::time::Instant::now(),
            provider: self.provider,
            method: request.method().to_string(),
            target: request.uri().path_and_query().map_or_else(String::new, ToString::to_string),
            asked: self.asked.clone(),
            account: 0,
            api_version: header("statsig-api-version"),
            if_none_match: self.if_none_match.clone(),
            accept_encoding: header("accept-encoding"),
            user_agent: header("user-agent"),
            over_limit: false,
            status: None,
        }
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// `false` if the simulator stopped first.
async fn waited(fault: &Fault, stop: &CancellationToken) -> bool {
    let wait = async {
        if let Some(gate) = &fault.gate {
            gate.cancelled().await;
        }
        if !fault.wait.is_zero() {
            tokio::time::sleep(fault.wait).await;
        }
    };
    stop.run_until_cancelled(wait).await.is_some()
}

/// The response and the length of its body.
fn respond(settings: &Settings, seen: &Seen, answer: Answer, fault: &Fault) -> (Response<HttpBody>, usize) {
    let mut headers = HeaderMap::new();
    let is_true = fault.status.is_none() && matches!(fault.body, Body::True);
    if let (true, true, Some(basis)) = (settings.etags, is_true, &answer.basis) {
        let etag = format!("W/\"{}\"", blake3::hash(basis.as_bytes()).to_hex());
        let known = seen.if_none_match.as_deref().is_some_and(|known| matches_any(known, &etag));
        set(&mut headers, "etag", &etag);
        if known {
            bend(&mut headers, fault, seen);
            return finish(304, headers, Vec::new());
        }
    }
    let (kind, body) = body(&fault.body, answer.body, seen);
    set(&mut headers, "content-type", kind);
    let packed = match &fault.body {
        Body::Padded { packing: Packing::Gzip, mebibytes } => gzip::bomb(*mebibytes, &body).ok(),
        _ if settings.gzip && seen.gzip && !body.is_empty() => gzip::pack(&body).ok(),
        _ => None,
    };
    if packed.is_some() {
        set(&mut headers, "content-encoding", "gzip");
    }
    bend(&mut headers, fault, seen);
    let (mut response, length) = finish(fault.status.unwrap_or(answer.status), headers, packed.unwrap_or(body));
    if matches!(&fault.body, Body::Padded { packing: Packing::Chunked, .. }) {
        // A stream does not know its length, so that none is sent.
        response = response.map(|body| HttpBody::from_stream(body.into_data_stream()));
    }
    (response, length)
}

fn body(wanted: &Body, truth: String, seen: &Seen) -> (&'static str, Vec<u8>) {
    const JSON: &str = "application/json; charset=utf-8";
    match wanted {
        Body::True | Body::Padded { packing: Packing::Gzip, .. } => (JSON, truth.into_bytes()),
        Body::Text(kind, text) => (kind, keyed(text, seen).into_bytes()),
        Body::Id(id) => (JSON, with_id(&truth, id.as_deref()).into_bytes()),
        Body::Padded { mebibytes, .. } => {
            let mut body = vec![b' '; mebibytes.saturating_mul(1 << 20)];
            body.extend_from_slice(truth.as_bytes());
            (JSON, body)
        }
    }
}

fn bend(headers: &mut HeaderMap, fault: &Fault, seen: &Seen) {
    for (name, value) in &fault.headers {
        set(headers, name, &keyed(value, seen));
    }
}

fn keyed(text: &str, seen: &Seen) -> String {
    text.replace("{key}", seen.key.as_deref().unwrap_or_default())
}

/// What is no valid header shows as one that says so: a test that relies on it fails.
fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        (Ok(name), Ok(value)) => drop(headers.insert(name, value)),
        _ => drop(headers.insert(header::WARNING, HeaderValue::from_static("invalid header in a fault"))),
    }
}

fn finish(status: u16, headers: HeaderMap, body: Vec<u8>) -> (Response<HttpBody>, usize) {
    let length = body.len();
    let mut response = Response::new(HttpBody::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = headers;
    (response, length)
}

/// Weak comparison with each of a list, RFC 9110 §13.1.2.
fn matches_any(known: &str, etag: &str) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.trim() == "*" || known.split(',').any(|one| strong(one) == strong(etag))
}

/// Tells the connection; `false` if no answer goes out at all.
fn deliver(tap: &Tap, delivery: Delivery, length: usize) -> bool {
    let half = length / 2;
    match delivery {
        Delivery::Whole => {}
        Delivery::Truncated => tap.plan([Step::Pass(half), Step::Close]),
        Delivery::Cut(bytes) => tap.plan([Step::Pass(bytes), Step::Close]),
        Delivery::Reset(Moment::AfterHeaders) => tap.plan([Step::Reset]),
        Delivery::Reset(Moment::MidBody) => tap.plan([Step::Pass(half), Step::Reset]),
        Delivery::Reset(Moment::BeforeHeaders) => {
            tap.reset();
            return false;
        }
        Delivery::Drip { pieces, pause } => {
            let piece = length.div_ceil(pieces.max(1));
            tap.plan((0..pieces).flat_map(|_| [Step::Wait(pause), Step::Pass(piece)]));
        }
        Delivery::Raw(bytes) => {
            tap.instead(bytes);
            return false;
        }
    }
    true
}
