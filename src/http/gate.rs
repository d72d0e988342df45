//! What every request goes through before and after its route: whether it may come here at all, how long it may take,
//! headers that no answer lacks, and the counters.
//!
//! A web page that somebody visits on this machine can make the browser send requests here. It must not be able to have
//! them answered: not under a name of its own that it lets point here (`Host`), and not across sites (`Origin`,
//! `Sec-Fetch-Site`).

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, HOST, HeaderName, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::listen::Via;
use super::{Api, Problem};

/// The longest time until an answer begins. Routes that wait for a provider end before it by themselves.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest URL, in bytes.
const URL_BYTES: usize = 8 * 1024;
/// The largest body: no route needs one.
const BODY_BYTES: u64 = 64 * 1024;

/// Lets a request through to its route, or answers it.
pub(super) async fn gate(State(api): State<Api>, request: Request, next: Next) -> Response {
    let began = api.now().mono;
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut answer = match refusal(&request, &api) {
        Some(problem) => problem.into_response(),
        None => timeout(LONGEST, next.run(request)).await.unwrap_or_else(|_| late().into_response()),
    };
    complete(answer.headers_mut());
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    api.metrics().served(route, answer.status().as_u16(), api.now().mono - began);
    answer
}

fn late() -> Problem {
    Problem::new(StatusCode::GATEWAY_TIMEOUT, format!("there was no answer within {} s", LONGEST.as_secs()))
}

/// Headers that every answer has.
fn complete(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Why a request is not answered, if it is not.
fn refusal(request: &Request, api: &Api) -> Option<Problem> {
    let no = |status, detail: &str| Some(Problem::new(status, detail));
    let headers = request.headers();
    if request.uri().path_and_query().is_some_and(|path| path.as_str().len() > URL_BYTES) {
        return no(StatusCode::URI_TOO_LONG, "the URL is longer than 8192 bytes");
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_BYTES) {
        return no(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 65536 bytes");
    }
    let Some(host) = host(request) else {
        return no(StatusCode::BAD_REQUEST, "send one Host header that names this server");
    };
    let settings = api.settings();
    let via = request.extensions().get::<Via>().copied();
    // A reload may take the token away from sockets that systemd has opened to the world.
    if settings.token.is_none() && matches!(via, Some(Via::Tcp(own)) if !own.ip().to_canonical().is_loopback()) {
        return no(StatusCode::FORBIDDEN, "other machines reach this server, so [http] needs a token");
    }
    if !is_ours(host.host(), via, &settings.hosts) {
        let detail = "this server does not go by the name in the Host header; \
                      use localhost or its address, or name it in [http] hosts";
        return no(StatusCode::MISDIRECTED_REQUEST, detail);
    }
    if is_of_another_site(headers, &host) {
        return no(StatusCode::FORBIDDEN, "requests of web pages of other sites are not answered");
    }
    None
}

/// The server that the caller wants: of the URL where it is whole, else of the one `Host` header.
fn host(request: &Request) -> Option<Authority> {
    let authority = match request.uri().authority() {
        Some(authority) => authority.clone(),
        None => {
            let mut hosts = request.headers().get_all(HOST).iter();
            let (host, None) = (hosts.next()?, hosts.next()) else { return None };
            Authority::try_from(host.as_bytes()).ok()?
        }
    };
    (!authority.as_str().contains('@')).then_some(authority)
}

/// Whether a host is this server: a name that always means this machine, the address that the connection came to, or a
/// configured name. A socket in the file system is out of a browser's reach.
fn is_ours(host: &str, via: Option<Via>, hosts: &[String]) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    if via == Some(Via::Unix) || host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(ip) => {
            let ip = ip.to_canonical();
            ip.is_loopback() || matches!(via, Some(Via::Tcp(own)) if own.ip().to_canonical() == ip)
        }
        Err(_) => hosts.iter().any(|own| own.eq_ignore_ascii_case(host)),
    }
}

/// Whether a browser sends this for a page of another site. Other programs send neither header.
fn is_of_another_site(headers: &HeaderMap, host: &Authority) -> bool {
    // A page of this server would be one at the host that was asked for.
    let is_own = |origin: &HeaderValue| {
        let after =
            |origin: &[u8]| origin.strip_prefix(b"http://").or(origin.strip_prefix(b"https://")).map(<[u8]>::to_vec);
        after(origin.as_bytes()).is_some_and(|origin| origin.eq_ignore_ascii_case(host.as_str().as_bytes()))
    };
    let crosses = |site: &HeaderValue| !matches!(site.as_bytes(), b"same-origin" | b"none");
    headers.get_all(ORIGIN).iter().any(|origin| !is_own(origin))
        || headers.get_all("sec-fetch-site").iter().any(crosses)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::future::pending;
    use std::path::Path;

    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::*;
    use crate::cache::Cache;
    use crate::clock::Clock;
    use crate::events::Events;
    use crate::http::{Asking, Desk, Settings, Wiring};
    use crate::live::Live;
    use crate::metrics::{Gauges, Metrics};
    use crate::model::{SegmentKey, UnixMs};
    use crate::store::Readers;

    /// No daemon.
    struct Nobody;

    impl Desk for Nobody {
        fn ask(&self, _: &SegmentKey) -> Result<Asking, String> {
            Err("nobody polls".to_owned())
        }

        fn waiting(&self) -> usize {
            0
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_is_counted_as_late() {
        let metrics = Metrics::new(UnixMs(0));
        let readers = Readers::new(Path::new("nowhere"));
        let cache = Cache::new(readers.clone(), 1, metrics.clone());
        let (desk, sources) = (Box::new(Nobody), HashMap::new());
        let settings = Settings { token: None, hosts: Vec::new(), cache, desk, sources };
        let (events, live) = (Events::default(), Live::default());
        let wiring = Wiring { readers, events, live, metrics: metrics.clone(), clock: Clock::system() };
        let api = Api::new(wiring, settings);
        let router = Router::new().route("/never/{id}", get(async || pending::<()>().await));
        let router = TowerToHyperService::new(router.layer(from_fn_with_state(api, gate)));
        let request = Request::get("http://localhost/never/42").body(Body::empty()).expect("a request");
        let Ok(answer) = router.call(request).await;
        assert_eq!(
            (answer.status(), answer.headers()[CACHE_CONTROL].as_bytes()),
            (504.try_into().expect("one"), &b"no-store"[..])
        );
        let page = metrics.page(Gauges::default());
        assert!(page.contains("segsync_http_requests_total{route=\"/never/{id}\",status=\"504\"} 1\n"), "{page}");
        assert!(page.contains("segsync_http_request_duration_seconds_sum{route=\"/never/{id}\"} 60"), "{page}");
    }

    #[test]
    fn a_host_is_a_name_of_this_server() {
        let via = |address: &str| Some(Via::Tcp(address.parse().expect("an address")));
        let hosts = ["segsync.example.org".to_owned()];
        let loopback = via("127.0.0.1:7464");
        for host in ["localhost", "LocalHost", "localhost.", "127.0.0.1", "127.9.9.9", "[::1]", "Segsync.Example.org"] {
            assert!(is_ours(host, loopback, &hosts), "{host}");
        }
        for host in
            ["localhost.example.org", "example.org", "192.0.2.1", "[2001:db8::1]", "0.0.0.0", "", "127.0.0.1.nip.io"]
        {
            assert!(!is_ours(host, loopback, &hosts), "{host}");
        }
        assert!(is_ours("192.0.2.1", via("192.0.2.1:80"), &[]) && !is_ours("192.0.2.2", via("192.0.2.1:80"), &[]));
        assert!(
            is_ours("192.0.2.1", via("[::ffff:192.0.2.1]:80"), &[])
                && is_ours("[2001:db8::1]", via("[2001:db8::1]:80"), &[])
        );
        assert!(is_ours("anything", Some(Via::Unix), &[]) && !is_ours("anything", None, &[]));
    }
}
