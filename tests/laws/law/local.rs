//! Requests to the local API: whatever is asked, the answer is one that a caller can act on; and a cursor loses nothing.

use std::cell::RefCell;
use std::collections::HashMap;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Uri, header};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use segsync::cache::Cache;
use segsync::clock::Clock;
use segsync::events::Events;
use segsync::http::{Api, Asking, Desk, Settings, Source, Wiring, router};
use segsync::live::Live;
use segsync::metrics::Metrics;
use segsync::model::{SegmentKey, SourceName, UnixMs};
use segsync::provider;
use segsync::secret::ApiKey;
use segsync::store::Readers;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::import;

/// Versions in the file.
const VERSIONS: u64 = 24;

/// Nobody polls.
struct Nobody;

impl Desk for Nobody {
    fn ask(&self, _: &SegmentKey) -> Result<Asking, String> {
        Err("nobody polls".to_owned())
    }

    fn waiting(&self) -> usize {
        0
    }
}

struct Bench {
    router: Router,
    runtime: Runtime,
    _file: import::Bench,
}

thread_local! {
    static BENCH: RefCell<Option<Bench>> = const { RefCell::new(None) };
}

impl Bench {
    /// An API over a history of two sources.
    fn new() -> Self {
        let file = import::Bench::new();
        let line = |version: u64| {
            let (source, id) =
                (["s", "o"][usize::from(version % 2 == 1)], ["a", "b/c", "ü"][usize::try_from(version % 3).unwrap()]);
            let member = if source == "s" { "id" } else { "oId" };
            format!(
                "{{\"source\":\"{source}\",\"id\":\"{id}\",\"observed_at\":{version},\"document\":{{\"{member}\":\"{id}\",\"n\":{version}}}}}\n"
            )
        };
        let lines: String = (1..=VERSIONS).map(line).collect();
        file.holds(lines.as_bytes(), VERSIONS);
        let metrics = Metrics::new(UnixMs(0));
        let readers = Readers::new(&file.path());
        let cache = Cache::new(readers.clone(), 1 << 20, metrics.clone());
        let sources = ["s", "o"].into_iter().zip(provider::ALL).map(|(name, provider)| {
            let key = ApiKey::new("console-0123456789").expect("a key").fingerprint();
            (SourceName::new(name), Source { provider: *provider, key })
        });
        let sources: HashMap<_, _> = sources.collect();
        let settings = Settings { token: None, hosts: Vec::new(), cache, desk: Box::new(Nobody), sources };
        let wiring =
            Wiring { readers, events: Events::default(), live: Live::default(), metrics, clock: Clock::system() };
        let router = router(Api::new(wiring, settings));
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        Self { router, runtime, _file: file }
    }

    /// Status and body; no body of a stream, which does not end.
    fn ask(&self, request: Request<Body>) -> (u16, String) {
        let service = TowerToHyperService::new(self.router.clone());
        self.runtime.block_on(async {
            let Ok(answer) = service.call(request).await;
            let status = answer.status().as_u16();
            let kind = answer.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().expect("ASCII").to_owned());
            if kind.as_deref() == Some("text/event-stream") {
                return (status, String::new());
            }
            let body = to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
            let text = String::from_utf8(body.to_vec()).expect("UTF-8");
            if status >= 400 && kind.as_deref() == Some("application/problem+json") {
                let problem: Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(problem["status"], status);
                assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{text}");
            }
            (status, text)
        })
    }

    /// A page of the feed: its cursors, where to go on, and whether there is more.
    fn page(&self, query: &str) -> Result<(Vec<u64>, String, bool), u16> {
        let request = Request::get(format!("http://localhost/v1/changes?{query}")).body(Body::empty());
        let (status, text) = self.ask(request.map_err(|_| 0_u16)?);
        if status != 200 {
            assert_eq!(status, 400, "{query}: {text}");
            return Err(status);
        }
        let page: Value = serde_json::from_str(&text).expect("JSON");
        let cursor = |item: &Value| item["cursor"].as_str().expect("a cursor").parse().expect("a number");
        let cursors = page["changes"].as_array().expect("an array").iter().map(cursor).collect();
        Ok((cursors, page["next"].as_str().expect("a cursor").to_owned(), page["more"].as_bool().expect("a word")))
    }
}

/// The path and query in the first line, a header in each other.
pub fn any(data: &[u8]) {
    BENCH.with_borrow_mut(|bench| {
        let bench = bench.get_or_insert_with(Bench::new);
        every_request_has_an_answer(bench, data);
        a_cursor_loses_nothing(bench, data);
    });
}

fn every_request_has_an_answer(bench: &Bench, data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let target = lines.next().unwrap_or_default();
    // Other targets never come out of a reader of HTTP.
    let Ok(uri) = Uri::try_from(target) else { return };
    let mut request = Request::builder().uri(uri).header(header::HOST, "localhost");
    for line in lines {
        let text = String::from_utf8_lossy(line);
        let Some((name, value)) = text.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("method") {
            request = request.method(value.trim());
        } else {
            request = request.header(name, value.trim());
        }
    }
    let Ok(request) = request.body(Body::empty()) else { return };
    let asked = format!("{request:?}");
    let path = request.uri().path();
    // Not ready, and nobody polls.
    let may_wait = path == "/readyz" || path.ends_with("/refresh");
    let (status, text) = bench.ask(request);
    assert!((200..500).contains(&status) || (may_wait && status == 503), "{status} to {asked}: {text}");
}

/// Any text as a cursor is refused, or goes on right after what it names; whoever goes on to the end has all of it.
fn a_cursor_loses_nothing(bench: &Bench, data: &[u8]) {
    let after = String::from_utf8_lossy(data);
    let after: String = url::form_urlencoded::byte_serialize(after.trim().as_bytes()).collect();
    if after.len() > 4096 {
        return;
    }
    let limit = data.first().map_or(1, |byte| byte % 7 + 1);
    // As a signed number: -0 is none of another file.
    let known: Option<i64> = String::from_utf8_lossy(data).trim().parse().ok();
    let known = known.and_then(|known| u64::try_from(known).ok());
    let first = bench.page(&format!("limit={limit}&after={after}"));
    let Ok((mut seen, mut next, mut more)) = first else {
        return assert!(known.is_none_or(|known| known > VERSIONS), "{known:?} is one");
    };
    let known = known.expect("only a number is a cursor");
    while more {
        let (part, then, is_more) = bench.page(&format!("limit={limit}&after={next}")).expect("one that was told");
        assert!(!part.is_empty() && part.len() <= usize::from(limit));
        seen.extend(part);
        (next, more) = (then, is_more);
    }
    assert_eq!(seen, (known + 1..=VERSIONS).collect::<Vec<_>>());
    assert_eq!(next, VERSIONS.to_string());
}
