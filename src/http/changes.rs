//! The feed of versions in the order of their commits: by pages, or as a stream of events.
//!
//! Both read the file by the versions' rows, which only grow in the order of commits: whoever goes on where he stopped
//! misses and doubles nothing. A stream is woken by commits and reads them from the file as fast as its client takes
//! them; it holds nothing for a client that does not.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Response};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response as Answer};
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tracing::error;

use super::{Api, Problem, Query, json};
use crate::model::SegmentKey;
use crate::store::{Error, Reader, Scope, VersionEntry, VersionId};

/// Versions of one page unless the caller wants fewer or more.
const USUAL: u32 = 100;
/// … and at most.
const MOST: u32 = 1000;
/// Versions that a stream reads at once.
const AT_ONCE: u32 = 100;
/// How long a stream is silent at most.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// One version of the feed, and where it stands in it.
#[derive(Serialize)]
struct Item<'a> {
    cursor: String,
    #[serde(flatten)]
    version: &'a VersionEntry,
}

impl<'a> Item<'a> {
    fn of(version: &'a VersionEntry) -> Self {
        Self { cursor: cursor(version.id), version }
    }
}

fn cursor(id: VersionId) -> String {
    id.0.to_string()
}

/// `GET /v1/changes`
pub(super) async fn page(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Response<Body>, Problem> {
    #[derive(Serialize)]
    struct Page<'a> {
        changes: Vec<Item<'a>>,
        next: String,
        more: bool,
    }
    let query = Query::read(query.as_deref(), &["after", "limit", "source", "segment"])?;
    let limit = query.number("limit", MOST)?.unwrap_or(USUAL);
    let scope = scope(&api, &query)?;
    let after = query.get("after").map(|text| read_cursor("after", text)).transpose()?.unwrap_or(VersionId(0));
    let feed = api.feed(after, scope, limit).await?;
    let changes = feed.versions.iter().map(Item::of).collect();
    Ok(json(&Page { changes, next: cursor(feed.next), more: feed.more }))
}

/// `GET /v1/changes/stream`
pub(super) async fn stream(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let query = Query::read(query.as_deref(), &["after", "source", "segment"])?;
    let scope = scope(&api, &query)?;
    // A client that comes back says where it stopped; that is later than where it once began.
    let last = headers.get("last-event-id").map(|last| read_cursor("Last-Event-ID", last.to_str().unwrap_or_default()));
    let from = last.or_else(|| query.get("after").map(|text| read_cursor("after", text))).transpose()?;
    let wake = api.events().subscribe();
    let after = match from {
        // Looks whether the file comes that far.
        Some(after) => api.feed(after, scope.clone(), 1).await.map(|_| after)?,
        None => api.read(Reader::last_version).await?,
    };
    let follower = Follower { api, scope, after, wake, ready: VecDeque::new(), stage: Stage::CatchingUp };
    let events = unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

/// Whose versions the caller wants.
fn scope(api: &Api, query: &Query) -> Result<Option<Scope>, Problem> {
    let source = query.get("source").map(|name| api.source(name)).transpose()?;
    let Some(segment) = query.get("segment") else { return Ok(source.map(Scope::Source)) };
    let key = match (source, segment.split_once('/')) {
        (Some(source), _) => SegmentKey::new(source, segment),
        (None, Some((source, id))) => SegmentKey::new(api.source(source)?, id),
        (None, None) => {
            return Err(Problem::bad_request("segment: expected source/id, or the id alone beside source"));
        }
    };
    Ok(Some(Scope::Segment(key)))
}

fn read_cursor(name: &str, text: &str) -> Result<VersionId, Problem> {
    let id = text.parse().ok().filter(|id| *id >= 0);
    id.map(VersionId).ok_or_else(|| Problem::bad_request(format!("{name}: expected a cursor of an answer before")))
}

/// A part of the feed.
struct Feed {
    versions: Vec<VersionEntry>,
    /// Where to go on.
    next: VersionId,
    /// Whether there is more by now.
    more: bool,
}

impl Api {
    /// The versions committed after `after`, in the order of their commits.
    async fn feed(&self, after: VersionId, scope: Option<Scope>, limit: u32) -> Result<Feed, Problem> {
        let part = self.read(move |reader| part(&reader.last_version()?, after, scope.as_ref(), limit, reader)).await?;
        part.ok_or_else(|| {
            Problem::bad_request("the cursor lies behind everything in this file; it is of another file, or begin anew")
        })
    }
}

/// `None` where `after` is of another file. What is committed while this reads is left for the next part.
fn part(
    newest: &VersionId,
    after: VersionId,
    scope: Option<&Scope>,
    limit: u32,
    reader: &Reader,
) -> Result<Option<Feed>, Error> {
    if after > *newest {
        return Ok(None);
    }
    let mut versions = reader.committed(after, *newest, scope, limit.saturating_add(1))?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = versions.len() > most;
    versions.truncate(most);
    let next = versions.last().filter(|_| more).map_or(*newest, |last| last.id);
    Ok(Some(Feed { versions, next, more }))
}

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It tells what was there before.
    CatchingUp,
    /// It tells what is committed now.
    Following,
    /// Nothing more is told.
    Over,
}

/// One client of the stream.
struct Follower {
    api: Api,
    scope: Option<Scope>,
    /// What has been read up to.
    after: VersionId,
    wake: broadcast::Receiver<Arc<VersionEntry>>,
    ready: VecDeque<VersionEntry>,
    stage: Stage,
}

impl Follower {
    /// The next event; `None`: the stream is over.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(version) = self.ready.pop_front() {
                return Some(told(&version));
            }
            if self.stage == Stage::Over || self.api.stop.is_cancelled() {
                return None;
            }
            if self.stage == Stage::CatchingUp {
                // What was missed up to here is about to be read.
                self.wake = self.wake.resubscribe();
            } else if let Some(missed) = self.missed() {
                return Some(self.dropped(missed));
            }
            let feed = match self.api.feed(self.after, self.scope.clone(), AT_ONCE).await {
                Ok(feed) => feed,
                Err(problem) => {
                    self.stage = Stage::Over;
                    error!("a stream of changes ended: {}", problem.detail);
                    return None;
                }
            };
            self.after = feed.next;
            self.ready = feed.versions.into();
            if self.ready.is_empty() && !feed.more {
                self.stage = Stage::Following;
                if let Some(missed) = self.wait().await {
                    return Some(self.dropped(missed));
                }
            }
        }
    }

    /// Waits for a commit, or the end; says how many commits were missed meanwhile, if any.
    async fn wait(&mut self) -> Option<u64> {
        let stop = self.api.stop.clone();
        match stop.run_until_cancelled(self.wake.recv()).await {
            Some(Err(RecvError::Lagged(missed))) => Some(missed),
            Some(Err(RecvError::Closed)) | None => {
                self.stage = Stage::Over;
                None
            }
            Some(Ok(_)) => None,
        }
    }

    /// How many commits were missed while the client did not take what it was told.
    fn missed(&mut self) -> Option<u64> {
        loop {
            match self.wake.try_recv() {
                Ok(_) => (),
                Err(TryRecvError::Lagged(missed)) => return Some(missed),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    /// The last event of a client that is too slow. It bears no id: the client goes on after the last one that does.
    fn dropped(&mut self, missed: u64) -> Event {
        self.stage = Stage::Over;
        let why = format!("too slow: more than {missed} versions behind; connect again to go on after the last event");
        Event::default().event("dropped").data(serde_json::json!({ "reason": why }).to_string())
    }
}

fn told(version: &VersionEntry) -> Event {
    let data = serde_json::to_string(&Item::of(version)).unwrap_or_default();
    Event::default().id(cursor(version.id)).event("version").data(data)
}
