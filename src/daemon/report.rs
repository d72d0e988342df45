//! What the log says of polls: one line for each version, one for each turn of a source, ever rarer ones while it fails, no
//! line for what is as it was; and of accounts: what they cannot keep, and now and then what they have used.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::board::{Board, Sense, Story};
use super::trouble::{Extent, Word};
use crate::budget::Usage;
use crate::clock::Now;
use crate::config::show_duration;
use crate::live::span;
use crate::model::{Op, SourceName, SourceState, plain};
use crate::poll::Polled;
use crate::schedule::{Expected, Forecast, Schedule, Stretch, Work};
use crate::store::{self, VersionEntry};

/// How many changes a line names before it says how many more there are.
const SHOWN: usize = 3;

/// Logs how one poll ended, as far as that is news.
pub(super) fn polled(work: &Work, polled: &Polled, story: Story) {
    let (source, segment, outcome) = (work.source().as_str(), segment(work), polled.outcome.as_str());
    let (key, why) = (name(work), plain(polled.error.as_deref().unwrap_or_default()));
    if let Some(state) = polled.source_state {
        source_state(source, state, &why, story);
    }
    for event in &polled.schema {
        let (path, kind, segments) = (event.sign.path.as_str(), event.sign.kind.as_str(), event.segments);
        let shown = plain(path);
        info!(
            source,
            path,
            kind,
            segments,
            "{source}: the provider's schema changes: {shown} {kind} in {segments} segments so far"
        );
    }
    for made in &polled.committed {
        // One line for a change of the schema is enough.
        if made.cause.is_some() {
            debug!(source, segment = &*made.key.id, version = made.seq, "{} (schema)", line(made));
            continue;
        }
        info!(source, segment = &*made.key.id, version = made.seq, outcome = made.op.as_str(), "{}", line(made));
    }
    match story.word {
        Word::First if polled.source_state.is_none() => {
            warn!(source, segment, outcome, "{key}: {why}; what is known stays; trying again");
        }
        Word::Still(Extent { lasting, polls, works }) => {
            let (lasting_ms, lasting, s) = (millis(lasting), span(lasting), if works == 1 { "" } else { "s" });
            warn!(
                source,
                outcome,
                lasting_ms,
                failed_polls = polls,
                "{source}: no better for {lasting}: {polls} polls failed, {works} segment{s} or lists wait; last: {why}"
            );
        }
        Word::Over(extent) if polled.source_state.is_none() => over(source, None, Some(extent), extent.lasting),
        Word::First | Word::Over(_) | Word::Nothing => {
            debug!(source, segment, outcome, "{key}: {outcome} {why}");
        }
    }
    match story.sense {
        Sense::Lost => {
            warn!(source, segment, outcome, "{key}: {why}; what is known stays; asking again");
        }
        Sense::Found(lasting) => {
            let lasting_ms = millis(lasting);
            info!(source, segment, outcome, lasting_ms, "{key}: makes sense again after {}", span(lasting));
        }
        Sense::AsBefore => (),
    }
}

/// Logs that a source answers again.
fn over(source: &str, state: Option<SourceState>, extent: Option<Extent>, lasting: Duration) {
    let (state, failed_polls) = (state.map(SourceState::as_str), extent.map(|extent| extent.polls));
    let polls = failed_polls.map(|polls| format!(" and {polls} failed polls")).unwrap_or_default();
    let (lasting_ms, lasting) = (millis(lasting), span(lasting));
    info!(source, state, lasting_ms, failed_polls, "{source}: answers again after {lasting}{polls}");
}

/// Logs that a page of a list goes on failing.
pub(super) fn passed_by(source: &SourceName) {
    let name = source.as_str();
    warn!(
        source = name,
        "the list of {name}: a page goes on failing; reading on; its segments are asked for one by one"
    );
}

/// Logs that a list is left for single requests.
pub(super) fn too_long(source: &SourceName, pages: usize, segments: usize) {
    let name = source.as_str();
    info!(source = name, "the list of {name} has {pages} pages or more: asking for its {segments} segments one by one");
}

/// Logs that the store failed where it had not before.
pub(super) fn store_failed(board: &Board, work: &Work, failure: &store::Error, now: Now) {
    let (source, segment, key) = (work.source().as_str(), segment(work), name(work));
    // It may name a segment.
    let why = plain(&failure.to_string());
    if board.store_failed(failure, now) {
        error!(source, segment, "{key}: failed to {why}; trying again");
    } else {
        debug!(source, segment, "{key}: failed to {why}");
    }
}

/// Logs where the database fails or works again, from a write of nothing.
pub(super) fn written(board: &Board, written: Result<(), store::Error>, begun: Instant, now: Now) {
    match written {
        Err(failure) if board.store_failed(&failure, now) => error!("failed to {failure}; trying again"),
        Err(failure) => debug!("failed to {failure}"),
        Ok(()) => works(board, begun, now),
    }
}

/// Logs that the database works again, if it had not: it has done what was begun then.
pub(super) fn works(board: &Board, begun: Instant, now: Now) {
    if let Some(since) = board.store_works(begun) {
        let lasting = Duration::from_millis(u64::try_from(now.wall.since(since)).unwrap_or(0));
        info!(lasting_ms = millis(lasting), "the database can be written again after {}", span(lasting));
    }
}

/// Logs the intervals of `schedule` that an account cannot keep.
pub(super) fn too_much(forecast: &Forecast, schedule: &Schedule) {
    for expected in forecast.groups.iter().filter(|expected| !expected.is_kept()) {
        let (source, every_ms, age_ms) = (expected.source.as_str(), millis(expected.every), millis(expected.age));
        warn!(source, every_ms, age_ms, "{}", stretch_line(expected, forecast, schedule));
    }
}

/// Why an interval stretches and to what, in words.
fn stretch_line(expected: &Expected, forecast: &Forecast, schedule: &Schedule) -> String {
    let Expected { source, promise, every, requests, fits, .. } = expected;
    let (every, about) = (show_duration(*every), show_duration(*fits));
    let is_list = !promise && schedule.has(&Work::Sweep(source.clone()));
    let (s, are, their) = if *requests > 1 { ("s", "are", "their") } else { ("", "is", "its") };
    let (what, then) = match (is_list, promise) {
        (true, _) => (format!("a list of {requests} page{s} every {every} is"), "it is read"),
        (false, false) => (format!("{requests} segment{s} every {every} {are}"), "each is polled"),
        (false, true) => {
            (format!("{requests} segment{s} with {their} own interval of {every} {are}"), "each is polled")
        }
    };
    let besides = if forecast.groups.len() > 1 { ", besides what else the account polls" } else { "" };
    let limit = forecast.tightest();
    let limit = limit.map(|limit| format!("{} requests in {}", limit.requests, show_duration(limit.per)));
    format!("{source}: {what} more than {} allow{besides}; {then} about every {about}", limit.unwrap_or_default())
}

/// Logs what an account has used of its limits.
pub(super) fn usage(sources: &[SourceName], usage: &Usage, stretch: Stretch) {
    let names: Vec<&str> = sources.iter().map(SourceName::as_str).collect();
    let (source, line) = (names.join(", "), usage_line(usage, stretch));
    let (held_ms, pace) = (usage.hold.map(millis), usage.pace);
    info!(source, held_ms, pace, stretch = stretch.wishes, own_stretch = stretch.promises, "{source}: {line}");
}

fn usage_line(usage: &Usage, stretch: Stretch) -> String {
    let used = usage
        .used
        .iter()
        .map(|(limit, used)| format!("{used}/{} requests in {}", limit.requests, show_duration(limit.per)));
    let mut parts: Vec<String> = used.collect();
    if parts.is_empty() {
        parts.push("no limits".to_owned());
    }
    parts.push(format!("pace {:.0} %", usage.pace * 100.0));
    if let Some(left) = usage.hold {
        parts.push(format!("held for another {} s", left.as_secs_f64().ceil()));
    }
    parts.push(stretch.to_string());
    parts.join(", ")
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn segment(work: &Work) -> Option<&str> {
    match work {
        Work::Get(key) => Some(&key.id),
        Work::Sweep(_) => None,
    }
}

fn name(work: &Work) -> String {
    match work {
        Work::Get(key) => plain(&key.to_string()),
        Work::Sweep(source) => format!("the list of {source}"),
    }
}

fn source_state(source: &str, state: SourceState, why: &str, story: Story) {
    match state {
        SourceState::Ok => {
            let extent = match story.word {
                Word::Over(extent) => Some(extent),
                _ => None,
            };
            over(source, Some(state), extent, extent.map_or(story.state_lasted, |extent| extent.lasting));
        }
        SourceState::Unauthorized => error!(
            source,
            state = state.as_str(),
            "{source}: {why}; nothing is deleted; replace the key and reload (for a systemd credential: restart); \
             asking again every 5 minutes"
        ),
        SourceState::Held => warn!(source, state = state.as_str(), "{source}: {why}; waiting as asked"),
        SourceState::Failing => warn!(source, state = state.as_str(), "{source}: {why}; several polls in a row failed"),
    }
}

/// One version in words.
fn line(version: &VersionEntry) -> String {
    let head = format!("{} v{} {}", version.key, version.seq, verb(version.op));
    let by = version.modified_by.as_ref().map(|name| format!(" by {name}")).unwrap_or_default();
    let value = |json: &Option<String>| short(json.as_deref().unwrap_or("absent"));
    let changes = version.changes.iter().take(SHOWN);
    let mut changes: Vec<String> =
        changes.map(|change| format!("{} {} → {}", change.field, value(&change.old), value(&change.new))).collect();
    if version.changes.len() > SHOWN {
        changes.push(format!("{} more", version.changes.len() - SHOWN));
    }
    let what = if changes.is_empty() { String::new() } else { format!(": {}", changes.join("; ")) };
    // Names and values are a provider's text: a log line stays one line.
    plain(&format!("{head}{by}{what}"))
}

fn verb(op: Op) -> &'static str {
    match op {
        Op::Create => "created",
        Op::Update => "updated",
        Op::Delete => "deleted",
        Op::Restore => "restored",
    }
}

/// A value of at most 60 characters, cut in the middle.
fn short(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= 60 {
        return text.to_owned();
    }
    let (head, tail) = (&chars[..39], &chars[chars.len() - 20..]);
    head.iter().chain(&['…']).chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::budget::Terms;
    use crate::model::{Limit, SegmentKey};
    use crate::schedule::Target;

    fn limit(requests: u32, seconds: u64) -> Limit {
        Limit { requests, per: Duration::from_secs(seconds) }
    }

    fn wishes(source: &str, count: usize, seconds: u64) -> Vec<Target> {
        let key = |id: usize| SegmentKey::new(SourceName::new(source), id.to_string());
        (0..count).map(|id| Target::once(Work::Get(key(id)), Duration::from_secs(seconds))).collect()
    }

    fn lines(targets: &[Target]) -> Vec<String> {
        let limits = vec![limit(100, 10), limit(900, 900)];
        let burst = NonZeroU32::new(10).expect("positive");
        let schedule = Schedule::new(targets.to_vec(), 0);
        let forecast = Forecast::new(&schedule, &Terms { limits, share: 1.0, burst, timeout: Duration::from_secs(10) });
        let too_much = forecast.groups.iter().filter(|one| !one.is_kept());
        too_much.map(|one| stretch_line(one, &forecast, &schedule)).collect()
    }

    #[test]
    fn what_cannot_be_kept_is_told_in_words() {
        assert_eq!(
            lines(&wishes("prod", 2000, 300)),
            ["prod: 2000 segments every 5m are more than 900 requests in 15m allow; each is polled about every 33m20s"]
        );
        let sweep =
            Target { requests: 90, ..Target::once(Work::Sweep(SourceName::new("eu")), Duration::from_secs(60)) };
        assert_eq!(
            lines(std::slice::from_ref(&sweep)),
            ["eu: a list of 90 pages every 1m is more than 900 requests in 15m allow; it is read about every 1m30s"]
        );
        let own: Vec<Target> = wishes("prod", 40, 30).into_iter().map(|one| Target { promise: true, ..one }).collect();
        assert_eq!(
            lines(&[vec![sweep], own].concat()),
            [
                "eu: a list of 90 pages every 1m is more than 900 requests in 15m allow, besides what else the account \
                 polls; it is read about every 30m",
                "prod: 40 segments with their own interval of 30s are more than 900 requests in 15m allow, \
                 besides what else the account polls; each is polled about every 42s200ms",
            ]
        );
        assert!(lines(&wishes("prod", 300, 300)).is_empty());
    }

    #[test]
    fn the_use_of_an_account_is_one_line() {
        let usage = Usage { used: vec![(limit(100, 10), 7), (limit(900, 900), 893)], hold: None, pace: 1.0 };
        let kept = Stretch { wishes: 1.0, promises: 1.0 };
        assert_eq!(
            usage_line(&usage, kept),
            "7/100 requests in 10s, 893/900 requests in 15m, pace 100 %, every interval is kept"
        );
        let held = Usage { used: Vec::new(), hold: Some(Duration::from_millis(2100)), pace: 0.7 };
        assert_eq!(
            usage_line(&held, Stretch { wishes: 6.667, promises: 1.0 }),
            "no limits, pace 70 %, held for another 3 s, intervals stretched 6.67 times"
        );
    }
}
