//! Lists: the segments that are kept, and the versions of one.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::Response;
use serde::Serialize;

use super::{Api, Id, Problem, Query, json};
use crate::model::{SegmentState, SourceName, UnixMs};
use crate::store::{FreshnessRow, LogFilter, Reader, Scope, VersionEntry, VersionId};

/// Versions of one answer unless the caller wants fewer or more.
const USUAL: u32 = 100;
/// … and at most.
const MOST: u32 = 1000;

/// How one segment stands.
#[derive(Serialize)]
struct Standing<'a> {
    source: &'a SourceName,
    id: &'a str,
    state: SegmentState,
    version: i64,
    changed_at: Option<UnixMs>,
    checked_at: Option<UnixMs>,
    failures: u32,
    last_error: Option<&'a str>,
}

/// `GET /v1/segments`
pub(super) async fn segments(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Response<Body>, Problem> {
    #[derive(Serialize)]
    struct Listed<'a> {
        segments: Vec<Standing<'a>>,
    }
    let query = Query::read(query.as_deref(), &["source"])?;
    let source = query.get("source").map(|name| api.source(name)).transpose()?;
    let mut rows = api.read(Reader::freshness).await?;
    rows.retain(|row| source.as_ref().is_none_or(|source| row.key.source == *source));
    rows.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(json(&Listed { segments: rows.iter().map(Standing::of).collect() }))
}

impl<'a> Standing<'a> {
    fn of(row: &'a FreshnessRow) -> Self {
        Self {
            source: &row.key.source,
            id: &row.key.id,
            state: row.state,
            version: row.version,
            changed_at: row.last_changed_at,
            checked_at: row.last_checked_at,
            failures: row.failures,
            last_error: row.last_error.as_deref(),
        }
    }
}

/// `GET /v1/segments/{source}/{id}/versions`, newest first.
pub(super) async fn versions(
    State(api): State<Api>,
    Id(key): Id,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    #[derive(Serialize)]
    struct Listed {
        versions: Vec<VersionEntry>,
        next: Option<String>,
    }
    let query = Query::read(query.as_deref(), &["limit", "below"])?;
    let limit = query.number("limit", MOST)?.unwrap_or(USUAL);
    let below = query.get("below").map(below).transpose()?;
    api.find(&key).await?;
    let filter = LogFilter { scope: Some(Scope::Segment(key)), below, limit: Some(limit + 1), ..LogFilter::default() };
    let mut versions = api.read(move |reader| reader.log(&filter)).await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = versions.len() > most;
    versions.truncate(most);
    let last = versions.last().filter(|_| has_more);
    let next = last.map(|last| format!("{}-{}", last.observed_at.0, last.id.0));
    Ok(json(&Listed { versions, next }))
}

/// Reads a `next` of ours.
fn below(text: &str) -> Result<(UnixMs, VersionId), Problem> {
    let numbers = text.rsplit_once('-').and_then(|(at, id)| Some((at.parse().ok()?, id.parse().ok()?)));
    let Some((at, id)) = numbers else {
        return Err(Problem::bad_request("below: expected the `next` of an answer before"));
    };
    Ok((UnixMs(at), VersionId(id)))
}
