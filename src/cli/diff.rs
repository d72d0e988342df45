//! `segsync diff`: what differs between any two versions of a segment.
//!
//! Computed from the two documents by the comparison that the daemon uses, not added up from what lies between: what went
//! back to what it was is no difference.

use std::io::Write;

use anyhow::{Result, bail};
use owo_colors::OwoColorize;
use serde_json::{Value, json};

use super::{
    Context, Detail, Exit, Format, Output, Paging, Time, csv_row, document_of, safe, safe_json, segment_in,
    show_change, version_in,
};
use crate::diff::{Comparison, compare};
use crate::document::{self, Shape};
use crate::model::{Change, Op, SegmentKey, UnixMs};
use crate::provider;
use crate::store::{At, LogFilter, Reader, Scope, StoredVersion, ToldChange, VersionEntry};

/// So many unchanged things are named before it is said how many more there are.
const NAMED: usize = 12;

const EXAMPLES: &str = "\
A and B are version numbers, as `segsync log` has them, or times: RFC 3339 (2026-01-31T09:30:00Z), a date (2026-01-31: its
start, UTC) or an age (2h, 3d). A.. goes on until now. ..B begins with the version before B. A version alone is what that
version changed, a time alone is what changed since. Of a deleted segment its last document is compared.

Text has the changes of each rule together and names what is as it was; --full shows long values in full. JSON is one object
with the changes and the names of what is unchanged. CSV has one row for each change; old and new are JSON.

Examples:
  segsync diff prod/beta_users                       what the latest version changed
  segsync diff beta_users 3..7                       from one version to another
  segsync diff beta_users 4                          what version 4 changed
  segsync diff beta_users 2d                         what has changed in two days
  segsync diff beta_users 2026-01-01..2026-02-01     what changed in January, all in all
  segsync diff beta_users 7..3 --full                backwards, with long values in full
  segsync diff beta_users 3.. --format json          for a program";

/// Show what differs between two versions of a segment
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The segment, SOURCE/ID or ID
    segment: String,
    /// From A to B; else what the latest version changed
    #[arg(value_name = "A..B", value_parser = Range::parse, default_value = "..", hide_default_value = true)]
    range: Range,
    /// Long values in full
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    paging: Paging,
}

/// What `A..B` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    from: Option<Point>,
    to: Option<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    Version(i64),
    Time(Time),
}

impl Range {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once("..") {
            Some((from, to)) => Ok(Self { from: Point::parse(from)?, to: Point::parse(to)? }),
            None => match Point::parse(text)? {
                Some(Point::Version(version)) => Ok(Self { from: None, to: Some(Point::Version(version)) }),
                time => Ok(Self { from: time, to: None }),
            },
        }
    }
}

impl Point {
    fn parse(text: &str) -> Result<Option<Self>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let number = text.strip_prefix('v').unwrap_or(text);
        if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            let version = number.parse().ok().filter(|version| *version > 0);
            return version
                .map(|version| Some(Self::Version(version)))
                .ok_or_else(|| format!("there is no version {number}"));
        }
        Time::parse(text).map(|time| Some(Self::Time(time))).map_err(|hint| format!("{hint}, or a version's number"))
    }

    fn at(self, now: UnixMs) -> At {
        match self {
            Self::Version(version) => At::Seq(version),
            Self::Time(time) => At::Time(time.moment(now)),
        }
    }
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit> {
    let reader = context.reader()?;
    let key = segment_in(&reader, &args.segment, None)?;
    let (from, to) = sides(&reader, &key, args.range, context.clock.now().wall)?;
    let difference = Difference::of(&reader, &key, from, to)?;
    let mut output = context.paged(&args.paging)?;
    match context.global.format {
        Format::Text => difference.text(&mut output, if args.full { Detail::Full } else { Detail::EveryField })?,
        Format::Json => writeln!(output, "{}", safe_json(&difference.json().to_string()))?,
        Format::Csv => difference.csv(&mut output)?,
    }
    output.flush()?;
    Ok(Exit::Done)
}

fn sides(reader: &Reader, key: &SegmentKey, range: Range, now: UnixMs) -> Result<(StoredVersion, StoredVersion)> {
    let to = version_in(reader, key, range.to.map_or(At::Latest, |to| to.at(now)))?;
    let from = match range.from {
        Some(from) => version_in(reader, key, from.at(now))?,
        None if to.entry.seq > 1 => version_in(reader, key, At::Seq(to.entry.seq - 1))?,
        None => bail!("v1 is the first version of {key}; nothing is known of the time before"),
    };
    Ok((from, to))
}

struct Difference {
    key: SegmentKey,
    from: StoredVersion,
    to: StoredVersion,
    /// The versions on the way, the newest first; the older of the two sides is not among them.
    between: Vec<VersionEntry>,
    comparison: Comparison,
}

impl Difference {
    fn of(reader: &Reader, key: &SegmentKey, from: StoredVersion, to: StoredVersion) -> Result<Self> {
        let value = |side: &StoredVersion| {
            let text = document_of(side)?;
            document::parse(text).or_else(|error| bail!("v{} of {key} is no JSON: {error}", side.entry.seq))
        };
        let sources = reader.sources()?;
        let provider = sources.iter().find(|source| source.name == key.source).map(|source| source.provider.as_str());
        let shape = provider.and_then(provider::by_name).map_or(&Shape::PLAIN, |provider| provider.shape());
        let comparison = compare(&value(&from)?, &value(&to)?, shape);

        let (first, last) =
            if from.entry.seq < to.entry.seq { (&from.entry, &to.entry) } else { (&to.entry, &from.entry) };
        let filter = LogFilter {
            scope: Some(Scope::Segment(key.clone())),
            since: Some(first.observed_at),
            until: last.valid_to.map(|to| UnixMs(to.0.saturating_add(1))),
            ..LogFilter::default()
        };
        let mut between = reader.log(&filter)?;
        between.retain(|version| version.seq > first.seq && version.seq <= last.seq);
        Ok(Self { key: key.clone(), from, to, between, comparison })
    }

    fn text(&self, output: &mut Output, detail: Detail) -> Result<()> {
        let (from, to) = (&self.from.entry, &self.to.entry);
        writeln!(output, "{}  v{} → v{}", safe(&self.key.to_string()).bold(), from.seq, to.seq)?;
        writeln!(output, "  {}", format_args!("{} → {}{}", from.observed_at, to.observed_at, self.history()).dimmed())?;
        for side in [&self.from, &self.to].into_iter().filter(|side| side.entry.op == Op::Delete) {
            let of = side.document_of.map(|earlier| format!(", of v{earlier},")).unwrap_or_default();
            writeln!(output, "  v{} is deleted; its last document{of} is compared", side.entry.seq)?;
        }
        if self.comparison.changes.is_empty() {
            writeln!(output, "  no difference")?;
            return Ok(());
        }
        let mut group = "";
        let mut unchanged = Grouped::of(&self.comparison);
        for change in &self.comparison.changes {
            let (head, rest) = split(&change.field);
            if rest.is_empty() {
                unchanged.end(output, group)?;
                show_change(output, change, detail)?;
            } else {
                if head != group {
                    unchanged.end(output, group)?;
                    let is_told = self.comparison.changes.iter().any(|change| change.field == head);
                    if !is_told {
                        writeln!(output, "  {}", safe(head).bold())?;
                    }
                }
                let change = Change { field: rest.to_owned(), ..change.clone() };
                let mut lines = Vec::new();
                show_change(&mut lines, &change, detail)?;
                for line in String::from_utf8_lossy(&lines).lines() {
                    writeln!(output, "    {line}")?;
                }
            }
            group = head;
        }
        unchanged.end(output, group)?;
        unchanged.rest(output)
    }

    /// Who made the versions in between, and how many the provider made at least.
    fn history(&self) -> String {
        let versions = match self.between.len() {
            0 => return String::new(),
            1 => "1 version".to_owned(),
            many => format!("{many} versions"),
        };
        let gone = match self.no_longer_kept() {
            0 => String::new(),
            1 => " and 1 that is no longer kept".to_owned(),
            many => format!(" and {many} that are no longer kept"),
        };
        let mut names: Vec<&str> = Vec::new();
        for name in self.between.iter().rev().filter_map(|version| version.modified_by.as_deref()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let by = if names.is_empty() { String::new() } else { format!(" by {}", safe(&names.join(", "))) };
        let missed: i64 = self.between.iter().filter_map(|version| version.missed_revisions).sum();
        let all = (self.from.entry.seq - self.to.entry.seq).saturating_abs().saturating_add(missed);
        let least = if missed > 0 { format!(", at least {all} revisions") } else { String::new() };
        format!(" · {versions}{by}{gone}{least}")
    }

    /// How many versions on the way there were that nobody can tell of any more.
    fn no_longer_kept(&self) -> i64 {
        let kept = i64::try_from(self.between.len()).unwrap_or(i64::MAX);
        (self.from.entry.seq - self.to.entry.seq).saturating_abs().saturating_sub(kept).max(0)
    }

    fn json(&self) -> Value {
        let side = |side: &StoredVersion| {
            let entry = &side.entry;
            json!({
                "version": entry.seq, "op": entry.op, "observed_at": entry.observed_at, "modified_at": entry.modified_at,
                "modified_by": entry.modified_by, "revision": entry.revision, "document_of": side.document_of,
            })
        };
        json!({
            "source": self.key.source, "segment": self.key.id, "from": side(&self.from), "to": side(&self.to),
            "versions": self.between.len(),
            "no_longer_kept": self.no_longer_kept(),
            "missed_revisions": self.between.iter().filter_map(|version| version.missed_revisions).sum::<i64>(),
            "changes": self.comparison.changes.iter().map(ToldChange::of).collect::<Vec<_>>(),
            "unchanged": self.comparison.unchanged,
        })
    }

    fn csv(&self, output: &mut Output) -> Result<()> {
        csv_row(
            output,
            ["source", "segment", "from_version", "to_version", "group", "op", "field", "path", "old", "new"],
        )?;
        let (from, to) = (self.from.entry.seq.to_string(), self.to.entry.seq.to_string());
        for change in &self.comparison.changes {
            let text = |value: &'_ Option<String>| value.clone().unwrap_or_default();
            let group = split(&change.field).0;
            let (old, new) = (text(&change.old), text(&change.new));
            let head = [self.key.source.as_str(), &self.key.id, &from, &to, group, change.op.as_str()];
            csv_row(output, head.into_iter().chain([change.field.as_str(), &change.path, &old, &new]))?;
        }
        Ok(())
    }
}

/// What is as it was, by the thing that it is part of.
struct Grouped<'a>(Vec<(&'a str, &'a str, &'a str)>);

impl<'a> Grouped<'a> {
    fn of(comparison: &'a Comparison) -> Self {
        let parts = |field: &'a String| {
            let (group, rest) = split(field);
            (group, rest, field.as_str())
        };
        Self(comparison.unchanged.iter().map(parts).collect())
    }

    /// Names what is unchanged in a group whose changes have been told.
    fn end(&mut self, output: &mut Output, group: &str) -> Result<()> {
        let is_of = |(of, rest, _): &(&str, &str, &str)| *of == group && !rest.is_empty();
        let names: Vec<&str> = self.0.iter().filter(|part| is_of(part)).map(|(_, rest, _)| *rest).collect();
        self.0.retain(|part| !is_of(part));
        tell_unchanged(output, "      ", &names)
    }

    /// Names what is unchanged elsewhere.
    fn rest(self, output: &mut Output) -> Result<()> {
        tell_unchanged(output, "  ", &self.0.into_iter().map(|(_, _, field)| field).collect::<Vec<_>>())
    }
}

fn tell_unchanged(output: &mut Output, indent: &str, names: &[&str]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let named = names.iter().take(NAMED).map(|name| safe(name)).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    writeln!(output, "{indent}{}", format_args!("unchanged: {named}{more}").dimmed())?;
    Ok(())
}

/// A field as the array element that it is part of, such as a rule, and the rest; without a rest where it is the element
/// itself or part of none.
fn split(field: &str) -> (&str, &str) {
    let Some(open) = field.find('[').filter(|open| !field[..*open].contains('"')) else { return (field, "") };
    let word = &field[open + 1..];
    let end = if word.starts_with(['"', '{', '[']) {
        let mut values = serde_json::Deserializer::from_str(word).into_iter::<serde::de::IgnoredAny>();
        values.next().and_then(Result::ok).map(|_| values.byte_offset())
    } else {
        word.find(']')
    };
    // A word that was cut has no end that is sure.
    let Some(end) = end.filter(|end| word[*end..].starts_with(']')) else { return (field, "") };
    let (head, rest) = field.split_at(open + 1 + end + 1);
    (head, rest.strip_prefix('.').unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_as_people_write_them() {
        let at = |text: &str| Some(Point::Time(Time::parse(text).expect("a time")));
        let version = |version| Some(Point::Version(version));
        for (text, from, to) in [
            ("..", None, None),
            ("3..7", version(3), version(7)),
            ("v3..", version(3), None),
            ("..7", None, version(7)),
            ("4", None, version(4)),
            ("2h", at("2h"), None),
            ("2026-01-01..2026-02-01T00:00:00Z", at("2026-01-01"), at("2026-02-01")),
            ("3..1h", version(3), at("1h")),
        ] {
            assert_eq!(Range::parse(text), Ok(Range { from, to }), "{text}");
        }
        for wrong in ["0", "3...7", "x..", "1..2..3", "-1", "v", "3-7", "99999999999999999999"] {
            assert!(Range::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_field_belongs_to_the_element_it_is_in() {
        for (field, head, rest) in [
            ("name", "name", ""),
            ("data.x", "data.x", ""),
            ("rules[a]", "rules[a]", ""),
            ("rules[a b].conditions[0].x", "rules[a b]", "conditions[0].x"),
            (r#"rules["a]b"].x"#, r#"rules["a]b"]"#, "x"),
            ("matrix[0][1]", "matrix[0]", "[1]"),
            ("tags[{\"b\":[null]}]", "tags[{\"b\":[null]}]", ""),
            (r#""odd[0]".x"#, r#""odd[0]".x"#, ""),
            ("rules[cut…", "rules[cut…", ""),
        ] {
            assert_eq!(split(field), (head, rest), "{field}");
        }
    }
}
