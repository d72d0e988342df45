//! `/metrics`: the counters, and gauges that are read off the running daemon at each scrape.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::Api;
use crate::live::{AccountLive, Snapshot, SourceLive};
use crate::metrics::{CONTENT_TYPE as PROMETHEUS, Gauges};
use crate::model::{SegmentState, SourceName, SourceState};

/// What is measured besides the snapshot: bytes, and entries of the cache.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    pub(super) database: u64,
    pub(super) wal: u64,
    pub(super) cache: u64,
    pub(super) entries: u64,
}

/// `GET /metrics`
pub(super) async fn page(State(api): State<Api>) -> impl IntoResponse {
    let page = api.metrics().page(gauges(&api.live().snapshot(), api.sizes()));
    ([(CONTENT_TYPE, PROMETHEUS)], page)
}

fn gauges(snapshot: &Snapshot, sizes: Sizes) -> Gauges {
    let mut gauges = Gauges::default();
    gauges.one("segsync_ready", "1 while /readyz says so, else 0", [], truth(snapshot.is_ready()));
    let help = "1 while the database cannot be written, else 0";
    gauges.one("segsync_store_failing", help, [], truth(snapshot.store_error.is_some()));
    sources(&mut gauges, &snapshot.sources);
    accounts(&mut gauges, &snapshot.accounts);
    for (name, help, size) in [
        ("segsync_database_bytes", "Size of the database file", sizes.database),
        (
            "segsync_wal_bytes",
            "Size of the write-ahead log; it grows while a reader holds a transaction open",
            sizes.wal,
        ),
        ("segsync_cache_bytes", "What the cached segments weigh", sizes.cache),
        ("segsync_cache_entries", "Segments in the cache", sizes.entries),
    ] {
        gauges.one(name, help, [], number(size));
    }
    gauges
}

fn sources(gauges: &mut Gauges, sources: &[SourceLive]) {
    let mut each = |name, help, value: fn(&SourceLive) -> Option<f64>| {
        gauges.each(name, help, ["source"], sources.iter().filter_map(|one| Some(([one.name.as_str()], value(one)?))));
    };
    each("segsync_stale_segments", "Segments that are older than stale_after allows", |source| {
        Some(count(source.segments.stale))
    });
    each(
        "segsync_oldest_segment_age_seconds",
        "Time since the provider last told of a segment, the longest",
        |source| source.segments.oldest.map(|age| age.as_secs_f64()),
    );
    let states = sources.iter().flat_map(|source| {
        SegmentState::ALL.iter().map(|state| ([source.name.as_str(), state.as_str()], count(in_state(source, *state))))
    });
    gauges.each("segsync_segments", "Segments that are polled, by state", ["source", "state"], states);
    let states = sources.iter().flat_map(|source| {
        SourceState::ALL.iter().map(|state| ([source.name.as_str(), state.as_str()], truth(source.state == *state)))
    });
    gauges.each("segsync_source_state", "1 for the state that a source is in, else 0", ["source", "state"], states);
}

fn in_state(source: &SourceLive, state: SegmentState) -> usize {
    let segments = &source.segments;
    match state {
        SegmentState::Pending => segments.pending,
        SegmentState::Deleted => segments.deleted,
        SegmentState::Present => segments.tracked.saturating_sub(segments.pending + segments.deleted),
    }
}

/// Sources that share a budget go together, under the names of all.
fn accounts(gauges: &mut Gauges, accounts: &[AccountLive]) {
    let names: Vec<String> = accounts
        .iter()
        .map(|account| account.sources.iter().map(SourceName::as_str).collect::<Vec<_>>().join("+"))
        .collect();
    let accounts = || names.iter().map(String::as_str).zip(accounts);
    let windows: Vec<(&str, String, f64, f64)> = accounts()
        .flat_map(|(name, account)| account.limits.iter().map(move |used| (name, used)))
        .map(|(name, used)| {
            let window = humantime::format_duration(used.limit.per).to_string();
            (name, window, count(used.used), f64::from(used.limit.requests))
        })
        .collect();
    let used = windows.iter().map(|(name, window, used, _)| ([*name, window.as_str()], *used));
    gauges.each("segsync_budget_used", "Requests that count for a limit now", ["account", "window"], used);
    let most = windows.iter().map(|(name, window, _, most)| ([*name, window.as_str()], *most));
    gauges.each("segsync_budget_limit", "Requests that a limit allows, scaled by share", ["account", "window"], most);
    let mut each = |name, help, value: fn(&AccountLive) -> f64| {
        gauges.each(name, help, ["account"], accounts().map(|(name, account)| ([name], value(account))));
    };
    each(
        "segsync_hold_seconds",
        "Time until something is sent again, as the provider asked; 0 without a hold",
        |account| account.hold.unwrap_or(Duration::ZERO).as_secs_f64(),
    );
    each("segsync_pace_ratio", "Share of the full pace; below 1 after a refusal", |account| account.pace);
    each("segsync_polls_in_flight", "Requests on their way to the provider", |account| count(account.in_flight));
    let stretches = accounts()
        .flat_map(|(name, account)| [([name, "source"], account.stretch), ([name, "segment"], account.own_stretch)]);
    let help = "By how much intervals stretch to fit the budget: those of sources, and segments' own; 1 is kept";
    gauges.each("segsync_stretch_ratio", help, ["account", "interval"], stretches);
}

fn truth(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

fn count(some: usize) -> f64 {
    number(some as u64)
}

/// Prometheus knows no other numbers.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2⁵³")]
fn number(some: u64) -> f64 {
    some as f64
}
