//! The providers' own APIs, answered from the cache: a client that is there already only changes its base URL.
//!
//! Which paths there are, and how answers look, the provider knows; nothing here names one. Must never let a caller in
//! who sends neither the source's key nor the token, and never ask a provider.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use percent_encoding::percent_decode_str;

use super::segment::age;
use super::{Api, Problem, Settings, Source, guard};
use crate::model::{SegmentKey, SegmentState, SourceName};
use crate::provider::{Call, Page, Stamp};
use crate::secret::KeyPrint;
use crate::store::{Reader, SegmentNow};

/// Segments of one page at most.
const PAGE: usize = 100;

/// `GET /proxy/{source}/{path}`
pub(super) async fn proxy(State(api): State<Api>, request: Request) -> Result<Response<Body>, Problem> {
    let asked = Asked::read(&api, &request)?;
    match asked.answer(&api).await {
        Ok(answer) => Ok(answer),
        Err(Trouble::Refused(status, why)) => Ok(asked.refuse(status, &why)),
        Err(Trouble::Ours(problem)) => Err(problem),
    }
}

/// Why a request is not answered with what it asks for.
enum Trouble {
    /// In the provider's words, with its status.
    Refused(StatusCode, String),
    /// Our own.
    Ours(Problem),
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self::Ours(problem)
    }
}

/// A request to a provider's own API.
struct Asked {
    name: SourceName,
    source: Source,
    call: Option<Call>,
    is_known: bool,
    is_get: bool,
    stamp: Stamp,
}

impl Asked {
    fn read(api: &Api, request: &Request) -> Result<Self, Problem> {
        // Undecoded: a slash in an id is none between segments of the path.
        let path = request.uri().path().strip_prefix("/proxy/").unwrap_or_default();
        let decoded: Result<Vec<_>, _> =
            path.split('/').map(|segment| percent_decode_str(segment).decode_utf8()).collect();
        let decoded = decoded.map_err(|_| Problem::bad_request("the path is not UTF-8"))?;
        let (first, path) = decoded.split_first().ok_or_else(|| Problem::not_found("there is no source"))?;
        let name = api.source(first)?;
        let settings = api.settings();
        let source = *settings.sources.get(&name).ok_or_else(|| Problem::not_found("there is no such source"))?;
        let query = request.uri().query().unwrap_or_default().as_bytes();
        let query: Vec<_> = url::form_urlencoded::parse(query).collect();
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let now = api.now().wall;
        Ok(Self {
            call: source.provider.call(path, &query),
            is_known: is_known(request.headers(), source, &settings),
            is_get: [Method::GET, Method::HEAD].contains(request.method()),
            stamp: Stamp { base: format!("{host}/proxy/{name}"), at: now, number: fastrand::u64(..) },
            name,
            source,
        })
    }

    async fn answer(&self, api: &Api) -> Result<Response<Body>, Trouble> {
        let refused = |status, why: &str| Err(Trouble::Refused(status, why.to_owned()));
        if !self.is_known {
            return refused(StatusCode::UNAUTHORIZED, "send the API key of this source");
        }
        if !self.is_get {
            return refused(StatusCode::METHOD_NOT_ALLOWED, "only reading is served here");
        }
        match &self.call {
            None => refused(StatusCode::NOT_FOUND, "segments are all that is served here"),
            Some(Call::Bad(why)) => refused(StatusCode::BAD_REQUEST, why),
            Some(Call::Get(id)) => self.one(api, id).await,
            Some(Call::List(page)) => self.list(api, *page).await,
        }
    }

    async fn one(&self, api: &Api, id: &str) -> Result<Response<Body>, Trouble> {
        let key = SegmentKey::new(self.name.clone(), id);
        let cached = api.settings().cache.get(&key).await.map_err(|error| Problem::of_store(&error))?;
        let not_found = || Trouble::Refused(StatusCode::NOT_FOUND, "there is no such segment".to_owned());
        let cached = cached.ok_or_else(not_found)?;
        let SegmentNow { latest, .. } = &cached.now;
        let Some(document) = &latest.document else {
            let is_unknown = latest.state == SegmentState::Pending && !latest.not_found;
            let why = "the provider has not told yet what this segment is";
            return Err(match is_unknown {
                true => Trouble::Refused(StatusCode::SERVICE_UNAVAILABLE, why.to_owned()),
                false => not_found(),
            });
        };
        let mut answer = json(StatusCode::OK, self.source.provider.one(&document.text, &self.stamp));
        age(answer.headers_mut(), cached.checked(), api.now());
        Ok(answer)
    }

    async fn list(&self, api: &Api, page: Page) -> Result<Response<Body>, Trouble> {
        let mut rows = api.read(Reader::freshness).await?;
        rows.retain(|row| row.key.source == self.name && row.state == SegmentState::Present);
        rows.sort_by(|one, other| one.key.cmp(&other.key));
        let page = Page { size: page.size.min(PAGE), ..page };
        let (mut segments, cache) = (Vec::new(), api.settings().cache.clone());
        for row in rows.iter().skip(page.offset).take(page.size) {
            let cached = cache.get(&row.key).await.map_err(|error| Problem::of_store(&error))?;
            segments.extend(cached.filter(|cached| cached.now.latest.document.is_some()));
        }
        let documents: Vec<&str> =
            segments.iter().filter_map(|cached| Some(&*cached.now.latest.document.as_ref()?.text)).collect();
        let body = self.source.provider.page(&documents, page, rows.len(), &self.stamp);
        let mut answer = json(StatusCode::OK, body);
        // As old as its oldest part.
        let oldest = segments.iter().min_by_key(|cached| cached.checked().map(|checked| checked.wall));
        if let Some(oldest) = oldest {
            age(answer.headers_mut(), oldest.checked(), api.now());
        }
        Ok(answer)
    }

    /// A refusal as the provider would word it.
    fn refuse(&self, status: StatusCode, why: &str) -> Response<Body> {
        json(status, self.source.provider.refusal(status.as_u16(), why, &self.stamp))
    }
}

/// Whether the caller sent the source's key in the provider's own header, or the token there or as a bearer.
fn is_known(headers: &HeaderMap, source: Source, settings: &Settings) -> bool {
    let sent = headers.get(source.provider.key_header()).and_then(|key| key.to_str().ok()).map(KeyPrint::of);
    let token = settings.token;
    let is_key = sent == Some(source.key);
    is_key || token.is_some() && (sent == token || guard::bearer(headers) == token)
}

fn json(status: StatusCode, body: String) -> Response<Body> {
    const KIND: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
    (status, [(header::CONTENT_TYPE, KIND)], body).into_response()
}
