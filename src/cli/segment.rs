//! `segsync status SEGMENT`: what one segment's history comes to, and how old its copy is.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{Context, Format, Output, columns, csv_row, safe, safe_json, span};
use crate::model::{Op, SegmentKey, UnixMs};
use crate::store::{FreshnessRow, Reader, Story};

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// So many editors are named.
const NAMED: usize = 10;

/// What only a configuration tells of a segment's freshness.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// How old it may get.
    pub(super) stale_after: Option<Duration>,
    /// Whether it is older.
    pub(super) is_stale: bool,
    /// Whether the provider refuses its source's key.
    pub(super) is_refused: bool,
}

impl Allowance {
    pub(super) fn is_well(self) -> bool {
        !self.is_stale && !self.is_refused
    }
}

/// One segment, its history and its freshness.
struct Account {
    row: FreshnessRow,
    story: Story,
    allowance: Allowance,
    now: UnixMs,
    /// Versions of the last seven days, the first one aside.
    last_week: i64,
}

/// Prints what the file knows of a segment.
pub(super) fn segment_status(context: &Context, reader: &Reader, key: &SegmentKey, allowance: Allowance) -> Result<()> {
    let Some(row) = reader.segment(key)? else { bail!("no segment {key} is in {}", reader.path().display()) };
    let now = context.clock.now().wall;
    let story = reader.story(key)?;
    let last_week = story.edits_since(now.minus(WEEK));
    let account = Account { row, story, allowance, now, last_week };
    let mut output = context.output();
    match context.global.format {
        Format::Text if context.global.quiet > 0 => {}
        Format::Text => account.text(&mut output)?,
        Format::Json => writeln!(output, "{}", safe_json(&account.json().to_string()))?,
        Format::Csv => account.csv(&mut output)?,
    }
    Ok(output.flush()?)
}

impl Account {
    /// Edits a week since it was first seen; the first week counts in full.
    fn edits_per_week(&self) -> Option<f64> {
        let watched = Duration::from_millis(u64::try_from(self.now.since(self.story.first_seen_at?)).unwrap_or(0));
        let weeks = watched.max(WEEK).as_secs_f64() / WEEK.as_secs_f64();
        // Far fewer than a double can count.
        #[expect(clippy::cast_precision_loss)]
        let edits = (self.row.version - 1).max(0) as f64;
        Some((edits / weeks * 100.0).round() / 100.0)
    }

    /// Versions that nobody can tell of any more.
    fn no_longer_kept(&self) -> i64 {
        let kept: usize = self.story.ops.iter().map(|(_, count)| *count).sum();
        self.row.version.saturating_sub(i64::try_from(kept).unwrap_or(i64::MAX)).max(0)
    }

    fn age(&self, at: UnixMs) -> Duration {
        Duration::from_millis(u64::try_from(self.now.since(at)).unwrap_or(0))
    }

    fn ago(&self, at: UnixMs) -> String {
        format!("{at}, {} ago", span(self.age(at)))
    }

    fn text(&self, output: &mut Output) -> Result<()> {
        let (row, story) = (&self.row, &self.story);
        let tracked = if row.tracked { "" } else { ", no longer tracked" };
        writeln!(output, "{}  {}{tracked}", safe(&row.key.to_string()), row.state)?;
        let mut lines: Vec<(&str, String)> = Vec::new();
        if let Some(at) = story.first_seen_at {
            lines.push(("first seen", self.ago(at)));
        }
        if let Some(at) = row.last_changed_at.filter(|_| row.version > 1) {
            let by = story.last_editor.as_ref().map(|name| format!(", by {}", safe(name))).unwrap_or_default();
            lines.push(("last changed", self.ago(at) + &by));
        }
        lines.push(("last seen", self.seen()));
        if let Some(error) = &row.last_error {
            lines.push(("trouble", format!("{} failed polls since: {}", row.failures, safe(error))));
        }
        if row.version > 0 {
            lines.extend(self.history());
        }
        let lines = lines.into_iter().filter(|(_, text)| !text.is_empty());
        writeln!(output, "{}", columns(lines.map(|(name, text)| vec![name.to_owned(), text]).collect()))?;
        Ok(())
    }

    /// What its versions come to.
    fn history(&self) -> Vec<(&'static str, String)> {
        let (row, story, mut lines) = (&self.row, &self.story, Vec::new());
        let gone = Some(self.no_longer_kept()).filter(|gone| *gone > 0).map(|gone| format!("{gone} no longer kept"));
        let ops = story.ops.iter().map(|(op, count)| format!("{count} {op}")).chain(gone);
        lines.push(("versions", format!("{} ({})", row.version, ops.collect::<Vec<_>>().join(", "))));
        if let Some(per_week) = self.edits_per_week() {
            lines.push(("edits", format!("{per_week} a week; {} in the last 7 days", self.last_week)));
        }
        let editors = story.editors.iter().take(NAMED);
        let mut editors: Vec<String> = editors.map(|(name, count)| format!("{} {count}", safe(name))).collect();
        if story.editors.len() > NAMED {
            editors.push(format!("{} others", story.editors.len() - NAMED));
        }
        if story.unnamed > 0 {
            editors.push(format!("unknown {}", story.unnamed));
        }
        let of = if self.no_longer_kept() > 0 { ", of the versions that are kept" } else { "" };
        lines.push(("editors", editors.join(", ") + of));
        lines.push((
            "missed",
            match story.missed_revisions {
                0 => "no revision, as far as the provider tells".to_owned(),
                missed => format!("{missed} revisions that came and went between two polls"),
            },
        ));
        if story.schema > 0 {
            lines.push(("schema", format!("{} versions by a change of the provider's schema only", story.schema)));
        }
        lines
    }

    /// How old the copy is, and whether that is too old.
    fn seen(&self) -> String {
        let Some(at) = self.row.last_checked_at else { return "never".to_owned() };
        let fresh = match (self.allowance.stale_after, self.allowance.is_stale) {
            (Some(after), true) => format!("; stale, as it may be {} old", span(after)),
            (Some(after), false) => format!("; fresh, as it may be {} old", span(after)),
            (None, _) => String::new(),
        };
        let refused = if self.allowance.is_refused { "; the provider refuses the key of its source" } else { "" };
        format!("{}{fresh}{refused}", self.ago(at))
    }

    fn json(&self) -> Value {
        let (row, story) = (&self.row, &self.story);
        let editors = story.editors.iter().map(|(name, versions)| json!({"name": name, "versions": versions}));
        let count = |op| story.ops.iter().find(|(of, _)| *of == op).map_or(0, |(_, count)| *count);
        json!({
            "source": row.key.source, "segment": row.key.id, "state": row.state, "tracked": row.tracked,
            "versions": row.version, "creates": count(Op::Create), "updates": count(Op::Update),
            "deletes": count(Op::Delete), "restores": count(Op::Restore), "no_longer_kept": self.no_longer_kept(),
            "schema": story.schema,
            "edits_per_week": self.edits_per_week(), "edits_last_week": self.last_week,
            "editors": editors.collect::<Vec<_>>(), "unnamed": story.unnamed,
            "missed_revisions": story.missed_revisions,
            "first_seen_at": story.first_seen_at, "changed_at": row.last_changed_at, "checked_at": row.last_checked_at,
            "age_seconds": row.last_checked_at.map(|at| self.age(at).as_secs()),
            "stale_after_seconds": self.allowance.stale_after.map(|after| after.as_secs()),
            "stale": self.allowance.stale_after.map(|_| self.allowance.is_stale),
            "failures": row.failures, "last_error": row.last_error,
        })
    }

    /// The same names as in JSON, without the list of editors.
    fn csv(&self, output: &mut Output) -> Result<()> {
        let Value::Object(mut all) = self.json() else { return Ok(()) };
        all.insert("editors".to_owned(), self.story.editors.len().into());
        csv_row(output, all.keys())?;
        let cell = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Ok(csv_row(output, all.values().map(cell))?)
    }
}
