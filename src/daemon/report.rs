//! What the log says of polls: one line for each version, one for each turn of a segment or a source, no line for what is
//! as it was.

use tracing::{debug, error, info, warn};

use crate::model::{Op, Outcome, SourceState};
use crate::poll::Polled;
use crate::schedule::{Failures, Work};
use crate::store::{self, VersionEntry};

/// How many changes a line names before it says how many more there are.
const SHOWN: usize = 3;

/// Logs how one poll ended.
pub(super) fn polled(work: &Work, polled: &Polled, failures: Failures) {
    let (source, segment, outcome) = (work.source().as_str(), segment(work), polled.outcome.as_str());
    let why = polled.error.as_deref().unwrap_or_default();
    if let Some(state) = polled.source_state {
        source_state(source, state, why);
    }
    for made in &polled.committed {
        info!(source, segment = &*made.key.id, version = made.seq, outcome = made.op.as_str(), "{}", line(made));
    }
    let key = name(work);
    match polled.outcome {
        Outcome::Failed | Outcome::Malformed if failures.before == 0 => {
            warn!(source, segment, outcome, "{key}: {why}; what is known stays; trying again");
        }
        _ if failures.before > 0 && failures.after == 0 => {
            info!(source, segment, outcome, "{key}: answers again after {} failed polls", failures.before);
        }
        _ => debug!(source, segment, outcome, "{key}: {outcome} {why}"),
    }
}

/// Logs that the store failed.
pub(super) fn store_failed(work: &Work, failure: &store::Error, failures: Failures) {
    let (source, segment, key) = (work.source().as_str(), segment(work), name(work));
    if failures.before == 0 {
        error!(source, segment, "{key}: failed to {failure}; trying again");
    } else {
        debug!(source, segment, "{key}: failed to {failure}");
    }
}

fn segment(work: &Work) -> Option<&str> {
    match work {
        Work::Get(key) => Some(&key.id),
        Work::Sweep(_) => None,
    }
}

fn name(work: &Work) -> String {
    match work {
        Work::Get(key) => key.to_string(),
        Work::Sweep(source) => format!("the list of {source}"),
    }
}

fn source_state(source: &str, state: SourceState, why: &str) {
    match state {
        SourceState::Ok => info!(source, state = state.as_str(), "{source}: answers again"),
        SourceState::Unauthorized => {
            error!(source, state = state.as_str(), "{source}: {why}; nothing is deleted; asking again every 5 minutes");
        }
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
    format!("{head}{by}{what}").chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
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
