//! One line of a file of observations: which parts it has, and where in it something is wrong.
//!
//! The document stays raw text, so that one which is the same as before need not be read.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::trouble::BadLine;
use crate::model::{Change, Op, UnixMs};
use crate::store::AfterGap;

/// The parts of a line; unknown ones are left alone.
#[derive(Debug, Deserialize)]
struct Parts<'a> {
    source: Option<String>,
    provider: Option<String>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    version: Option<i64>,
    op: Option<String>,
    cause: Option<String>,
    #[serde(borrow)]
    observed_at: &'a RawValue,
    #[serde(borrow, default, deserialize_with = "present")]
    valid_to: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    changed_after: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    modified_at: Option<&'a RawValue>,
    modified_by: Option<String>,
    missed_revisions: Option<i64>,
    #[serde(borrow)]
    changes: Option<Vec<PartsOfChange<'a>>>,
    #[serde(borrow, default, deserialize_with = "present")]
    document: Option<&'a RawValue>,
}

/// The parts of a change after versions that are no longer kept.
#[derive(Debug, Deserialize)]
struct PartsOfChange<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    path: String,
    field: String,
    #[serde(borrow, default, deserialize_with = "present")]
    old: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    new: Option<&'a RawValue>,
}

/// `null` is something else than nothing.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

/// A line that has all it needs.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// Whose segment, where it tells.
    pub(super) source: Option<String>,
    /// Of which provider, where it tells.
    pub(super) provider: Option<String>,
    /// The provider's id of the segment.
    pub(super) id: Cow<'a, str>,
    /// When it was seen to be so.
    pub(super) observed_at: UnixMs,
    /// The document as it is written; `null` where the segment was gone.
    pub(super) document: &'a str,
    /// What an export tells of a version besides.
    pub(super) version: Option<Told>,
    /// The time as it is written.
    pub(super) when: &'a str,
    text: &'a str,
}

/// What an export tells of a version.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) seq: i64,
    pub(super) op: Option<Op>,
    /// When the next version was observed, where that is no longer kept.
    pub(super) valid_to: Option<UnixMs>,
    pub(super) cause: Option<String>,
    pub(super) changed_after: Option<UnixMs>,
    pub(super) modified_at: Option<UnixMs>,
    pub(super) modified_by: Option<String>,
    /// Where the version before is no longer kept.
    pub(super) after_gap: Option<AfterGap>,
}

impl<'a> Line<'a> {
    /// Reads a line; `number` names it.
    pub(super) fn read(number: u64, text: &'a str) -> Result<Self, BadLine> {
        let bad = |column, what: String| BadLine { line: number, column, what };
        let start = text.len() - text.trim_start().len();
        if !text[start..].starts_with('{') {
            return Err(bad(start + 1, "a line is a JSON object".to_owned()));
        }
        let parts: Parts<'a> = serde_json::from_str(text).map_err(|error| bad(error.column(), reason(&error)))?;
        let column = |part: &str| offset(text, part) + 1;
        let time = |name: &str, raw: &RawValue| {
            time(raw.get()).ok_or_else(|| {
                let what = format!("{name} is neither an RFC 3339 time nor whole milliseconds: {}", raw.get());
                bad(column(raw.get()), what)
            })
        };
        let maybe_time = |name: &str, raw: Option<&RawValue>| match raw.filter(|raw| raw.get() != "null") {
            Some(raw) => time(name, raw).map(Some),
            None => Ok(None),
        };
        if parts.id.trim().is_empty() {
            return Err(bad(start + 1, "its id is empty".to_owned()));
        }
        let Some(document) = parts.document else {
            return Err(bad(text.trim_end().len(), "it has no document; null deletes".to_owned()));
        };
        let document = document.get();
        if document != "null" && !document.starts_with('{') {
            return Err(bad(column(document), "its document is no object; null deletes".to_owned()));
        }
        let observed_at = time("observed_at", parts.observed_at)?;
        let after_gap = match parts.changes {
            None => None,
            Some(changes) => {
                let changes: Result<Vec<Change>, String> = changes.into_iter().map(change).collect();
                let changes = changes.map_err(|what| bad(start + 1, what))?;
                Some(AfterGap { missed_revisions: parts.missed_revisions, changes })
            }
        };
        let version = match parts.version {
            None => None,
            Some(seq) => Some(Told {
                seq,
                op: parts.op.as_deref().and_then(|op| op.parse().ok()),
                valid_to: maybe_time("valid_to", parts.valid_to)?,
                after_gap,
                cause: parts.cause,
                changed_after: maybe_time("changed_after", parts.changed_after)?,
                modified_at: maybe_time("modified_at", parts.modified_at)?,
                modified_by: parts.modified_by,
            }),
        };
        let (source, provider, id) = (parts.source, parts.provider, parts.id);
        Ok(Self { source, provider, id, observed_at, document, version, when: parts.observed_at.get(), text })
    }

    /// Where one of its parts begins in it, in bytes counted from 1.
    pub(super) fn column(&self, part: &str) -> usize {
        offset(self.text, part) + 1
    }
}

/// A change as the line has it; the error says why it is none.
fn change(parts: PartsOfChange<'_>) -> Result<Change, String> {
    let text = |raw: Option<&RawValue>| raw.map(|raw| raw.get().to_owned());
    let PartsOfChange { op, path, field, old, new } = parts;
    let op = op.parse().map_err(|_| format!("{op:?} is nothing that a change does to a field"))?;
    Ok(Change { op, path, field, old: text(old), new: text(new) })
}

/// Where a part of a text begins in it.
fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr().addr()).saturating_sub(text.as_ptr().addr())
}

fn time(raw: &str) -> Option<UnixMs> {
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(text) => UnixMs::parse(text).ok(),
        None => raw.parse().ok().map(UnixMs),
    }
}

/// What `serde_json` says without where: the caller says that.
pub(super) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(what, _)| what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        let BadLine { line, column, what } = Line::read(7, text).expect_err("it is bad");
        format!("{line}:{column}: {what}")
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        insta::assert_snapshot!([
            r#"{"id":"a","observed_at":"2026-01-31T09:30:00Z"}"#,
            r#"{"id":"a","observed_at":"yesterday","document":{}}"#,
            r#"{"id":"a","observed_at":1.5,"document":{}}"#,
            r#"{"id":"a","observed_at":1,"document":[]}"#,
            r#"{"id":"a","document":{}}"#,
            r#"{"id":7,"observed_at":1,"document":{}}"#,
            r#"{"id":" ","observed_at":1,"document":{}}"#,
            r#"{"id":"a","observed_at":1,"document":{"x":}}"#,
            r#"{"id":"a","id":"b","observed_at":1,"document":{}}"#,
            r#"["a",1,{}]"#,
            "nonsense",
        ].map(wrong).join("\n"), @r#"
        7:47: it has no document; null deletes
        7:25: observed_at is neither an RFC 3339 time nor whole milliseconds: "yesterday"
        7:25: observed_at is neither an RFC 3339 time nor whole milliseconds: 1.5
        7:38: its document is no object; null deletes
        7:24: missing field `observed_at`
        7:7: invalid type: integer `7`, expected a string
        7:1: its id is empty
        7:43: expected value
        7:14: duplicate field `id`
        7:1: a line is a JSON object
        7:1: a line is a JSON object
        "#);
    }

    #[test]
    fn times_are_texts_or_milliseconds_and_null_is_a_document() {
        let text = r#" {"id":"\u0061","observed_at":"2026-01-31T10:30:00.5+01:00","document":null,"more":1} "#;
        let line = Line::read(1, text).expect("a line");
        assert_eq!((&*line.id, line.document, line.version.is_none()), ("a", "null", true));
        assert_eq!(line.observed_at.to_string(), "2026-01-31T09:30:00.500Z");
        let text =
            r#"{"id":"a","observed_at":-1,"document": {"x":1},"version":2,"changed_after":null,"modified_at":5}"#;
        let line = Line::read(1, text).expect("a line");
        assert_eq!((line.observed_at, line.document, line.column(line.document)), (UnixMs(-1), r#"{"x":1}"#, 40));
        let told = line.version.expect("of a version");
        assert_eq!((told.seq, told.changed_after, told.modified_at), (2, None, Some(UnixMs(5))));
    }
}
