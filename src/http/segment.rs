//! One segment: its latest version from the cache, an earlier one from the file, a fresh one from the provider.
//!
//! The answer's body is made once for each commit and kept with the cache's entry, so that a read is a look-up.

use std::fmt::Write as _;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use super::fresh::Fresh;
use super::{Api, Id, Problem, Query};
use crate::cache::{Cached, Ready};
use crate::clock::Now;
use crate::model::{Op, SegmentKey, SegmentState, SourceName, UnixMs};
use crate::store::{At, Moment, SegmentNow, StoredVersion, time_since};

/// What stands around a document.
#[derive(Serialize)]
struct Envelope<'a> {
    source: &'a SourceName,
    id: &'a str,
    provider: &'a str,
    tracked: bool,
    state: SegmentState,
    version: i64,
    valid_from: Option<UnixMs>,
    valid_to: Option<UnixMs>,
    changed_after: Option<UnixMs>,
    checked_at: Option<UnixMs>,
    modified_at: Option<UnixMs>,
    modified_by: Option<&'a str>,
    revision: Option<i64>,
}

/// `GET /v1/segments/{source}/{id}`
pub(super) async fn one(
    State(api): State<Api>,
    Id(key): Id,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let cached = api.find(&key).await?;
    let Some(query) = query else { return Ok(answer(&cached, &headers, api.now())) };
    let query = Query::read(Some(&query), &["at", "version", "max_age"])?;
    let at = query.time("at", api.now().wall)?.map(At::Time);
    let version = query.number("version", u32::MAX)?.map(|number| At::Seq(i64::from(number)));
    match (at, version, query.duration("max_age")?) {
        (None, None, None) => Ok(answer(&cached, &headers, api.now())),
        (None, None, Some(max_age)) => {
            let Fresh { cached, why_not } = api.fresh(cached, max_age).await?;
            let mut answer = answer(&cached, &headers, api.now());
            if let Some(why) = why_not {
                warn(answer.headers_mut(), &why);
            }
            Ok(answer)
        }
        (Some(at), None, None) | (None, Some(at), None) => earlier(&api, &cached, at).await,
        _ => Err(Problem::bad_request("at, version and max_age exclude each other")),
    }
}

/// The latest version, or that the caller has it already.
pub(super) fn answer(cached: &Cached, asked: &HeaderMap, now: Now) -> Response<Body> {
    let (ready, checked) = cached.ready(ready);
    let is_known = matches(asked, &ready.etag);
    let body = if is_known { Body::empty() } else { Body::from(ready.body) };
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    if !ready.etag.is_empty() {
        set(headers, header::ETAG, ready.etag);
        set(headers, header::LAST_MODIFIED, ready.last_modified);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    age(headers, checked, now);
    if is_known {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        answer.headers_mut().insert(header::CONTENT_TYPE, JSON);
    }
    answer
}

/// The media type of JSON.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How long ago the provider was last asked and told, in whole seconds.
pub(super) fn age(headers: &mut HeaderMap, checked: Option<Moment>, now: Now) {
    if let Some(checked) = checked {
        headers.insert(header::AGE, time_since(checked, now).as_secs().into());
    }
}

/// The stored copy is told although a fresh one was asked for (RFC 7234 §5.5).
fn warn(headers: &mut HeaderMap, why: &str) {
    let plain: String = why.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
    let quoted = plain.replace('\\', "\\\\").replace('"', "\\\"");
    set(headers, header::WARNING, format!("111 segsync \"the stored copy: {quoted}\"").into());
}

/// A header; what cannot be one is left out.
fn set(headers: &mut HeaderMap, name: header::HeaderName, value: Bytes) {
    if let Ok(value) = HeaderValue::from_maybe_shared(value) {
        headers.insert(name, value);
    }
}

/// Whether the caller has this version already: weak comparison (RFC 9110 §13.1.2).
fn matches(asked: &HeaderMap, etag: &Bytes) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let Some(known) = asked.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok()) else { return false };
    let Ok(etag) = std::str::from_utf8(etag) else { return false };
    !etag.is_empty() && (known.trim() == "*" || known.split(',').any(|one| opaque(one) == opaque(etag)))
}

/// The answer of a segment as it is now.
fn ready(segment: &SegmentNow, checked: Option<Moment>) -> Ready {
    let SegmentNow { latest, .. } = segment;
    let envelope = Envelope {
        source: &segment.key.source,
        id: &segment.key.id,
        provider: &segment.provider,
        tracked: segment.tracked,
        state: latest.state,
        version: latest.seq,
        valid_from: segment.observed_at,
        valid_to: None,
        changed_after: segment.changed_after,
        checked_at: checked.map(|checked| checked.wall),
        modified_at: latest.modified_at,
        modified_by: latest.modified_by.as_deref(),
        revision: latest.revision,
    };
    let body = enclose(&envelope, latest.document.as_ref().map(|document| &*document.text));
    let Some(observed_at) = segment.observed_at else {
        return Ready { body: body.into(), etag: Bytes::new(), last_modified: Bytes::new() };
    };
    let mut etag = format!("W/\"{}", latest.seq);
    // The first half of the hash tells apart what two files call the same version.
    for byte in latest.document.iter().flat_map(|document| &document.hash[..8]) {
        // Writing to a String cannot fail.
        let _ = write!(etag, "{}{byte:02x}", if etag.contains('-') { "" } else { "-" });
    }
    etag.push('"');
    Ready { body: body.into(), etag: etag.into(), last_modified: http_date(observed_at).into() }
}

/// The envelope with a document in it, which is JSON already.
fn enclose(envelope: &Envelope<'_>, document: Option<&str>) -> String {
    let mut body = serde_json::to_string(envelope).unwrap_or_default();
    body.pop();
    body.push_str(",\"document\":");
    body.push_str(document.unwrap_or("null"));
    body.push('}');
    body
}

/// A time as HTTP writes it; one that HTTP cannot write is its nearest that it can.
fn http_date(at: UnixMs) -> String {
    const LAST: u64 = 253_402_300_799; // 9999-12-31T23:59:59Z
    let seconds = u64::try_from(at.0.div_euclid(1000)).unwrap_or(0).min(LAST);
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

/// A version of the past.
async fn earlier(api: &Api, cached: &Cached, at: At) -> Result<Response<Body>, Problem> {
    let segment = &cached.now;
    let key = segment.key.clone();
    let found = api
        .read(move |reader| match reader.version(&key, at)? {
            Some(found) => Ok(Ok(found)),
            None => reader.gap(&key, at).map(Err),
        })
        .await?;
    let StoredVersion { entry, document, document_of } = match found {
        Ok(found) => found,
        Err(Some(gap)) => {
            let what = format!("{} is as of then no longer kept ([store] keep_versions; gone: {gap})", segment.key);
            return Err(Problem::new(StatusCode::GONE, what));
        }
        Err(None) => {
            return Err(Problem::not_found(match at {
                At::Time(at) => format!("{} was not known at {at}", segment.key),
                At::Seq(_) | At::Latest => {
                    format!("{} has no such version; the latest is {}", segment.key, segment.latest.seq)
                }
            }));
        }
    };
    let envelope = Envelope {
        source: &entry.key.source,
        id: &entry.key.id,
        provider: &segment.provider,
        tracked: segment.tracked,
        state: if entry.op == Op::Delete { SegmentState::Deleted } else { SegmentState::Present },
        version: entry.seq,
        valid_from: Some(entry.observed_at),
        valid_to: entry.valid_to,
        changed_after: entry.changed_after,
        checked_at: cached.checked().map(|checked| checked.wall),
        modified_at: entry.modified_at,
        modified_by: entry.modified_by.as_deref(),
        revision: entry.revision,
    };
    // The last document before a delete that left none is not of this version.
    let document = document.as_deref().filter(|_| document_of.is_none());
    let mut answer = Response::new(Body::from(enclose(&envelope, document)));
    answer.headers_mut().insert(header::CONTENT_TYPE, JSON);
    Ok(answer)
}

/// `POST /v1/segments/{source}/{id}/refresh`
pub(super) async fn refresh(
    State(api): State<Api>,
    Id(key): Id,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    Query::read(query.as_deref(), &[])?;
    let cached = api.find(&key).await?;
    let Fresh { cached, why_not } = api.fresh(cached, std::time::Duration::ZERO).await?;
    match why_not {
        None => Ok(answer(&cached, &headers, api.now())),
        Some(why) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{key} is as it was: {why}"))),
    }
}

impl Api {
    /// What the file knows of a segment, from the cache.
    pub(super) async fn find(&self, key: &SegmentKey) -> Result<std::sync::Arc<Cached>, Problem> {
        let found = self.settings().cache.get(key).await.map_err(|error| Problem::of_store(&error))?;
        found.ok_or_else(|| Problem::not_found(format!("{key} is none of the segments that are kept here")))
    }
}
