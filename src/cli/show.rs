//! `segsync show`: one segment's document, now or as of any time.
//!
//! In JSON it is the stored text, byte for byte; a document is never made up where there was none.

use std::io::Write;

use anyhow::{Result, bail};

use super::{
    Context, Exit, Format, Misuse, Paging, Time, complain, document_of, exact, is_terminal, pretty, safe, safe_json,
    segment_in, span, version_in,
};
use crate::model::{Op, UnixMs};
use crate::store::{At, FreshnessRow, StoredVersion};

const EXAMPLES: &str = "\
TIME is RFC 3339 (2026-01-31T09:30:00Z), a date (2026-01-31: its start, UTC) or an age (2h, 3d).
Of a deleted segment the last document is shown. JSON is the document alone, byte for byte as it is stored.

Examples:
  segsync show prod/beta_users                                as it is now
  segsync show beta_users                                     an id that only one source has
  segsync show beta_users --at 2d                             as it was two days ago
  segsync show beta_users --version 4                         one version, as `segsync log` numbers them
  segsync show beta_users --no-pager                          not through $PAGER or less, on a terminal
  segsync show beta_users --format json | jq '.rules[].name'";

/// Show one segment as it is, or as it was at a time
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The segment, SOURCE/ID or ID
    segment: String,
    /// As it was then
    #[arg(long, value_name = "TIME", value_parser = Time::parse, conflicts_with = "number")]
    at: Option<Time>,
    /// This version of it
    #[arg(long = "version", value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    number: Option<i64>,
    #[command(flatten)]
    paging: Paging,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit> {
    if context.global.format == Format::Csv {
        bail!(Misuse("a document has no rows: show it with --format text or json".to_owned()));
    }
    let now = context.clock.now().wall;
    let reader = context.reader()?;
    let key = segment_in(&reader, &args.segment, None)?;
    let Some(segment) = reader.segment(&key)? else { bail!("no segment {key} is in {}", reader.path().display()) };
    let at = match (args.at, args.number) {
        (Some(time), _) => At::Time(time.moment(now)),
        (None, Some(number)) => At::Seq(number),
        (None, None) => At::Latest,
    };
    let version = version_in(&reader, &key, at)?;
    let document = document_of(&version)?;
    if context.global.format == Format::Json {
        if version.entry.op == Op::Delete && context.global.quiet == 0 {
            complain(&format!("{}: deleted; this is its last document", safe(&key.to_string())));
        }
        if !is_terminal() {
            let mut output = exact();
            writeln!(output, "{document}")?;
            output.flush()?;
            return Ok(Exit::Done);
        }
        let mut output = context.paged(&args.paging)?;
        writeln!(output, "{}", safe_json(document))?;
        output.flush()?;
        return Ok(Exit::Done);
    }
    let mut output = context.paged(&args.paging)?;
    for line in head(&segment, &version, now) {
        writeln!(output, "{line}")?;
    }
    writeln!(output, "\n{}", safe_json(&pretty(document)))?;
    output.flush()?;
    Ok(Exit::Done)
}

/// What is shown, in a few lines.
fn head(segment: &FreshnessRow, version: &StoredVersion, now: UnixMs) -> Vec<String> {
    let entry = &version.entry;
    let mut lines = Vec::new();
    let which = if entry.seq == segment.version {
        format!("v{}, the latest", entry.seq)
    } else {
        format!("v{} of {}", entry.seq, segment.version)
    };
    let is_deleted = entry.op == Op::Delete;
    let state = if is_deleted { "deleted" } else { "present" };
    lines.push(format!("{}  {which}, {state}", safe(&entry.key.to_string())));

    let until = entry.valid_to.map(|to| format!(" until {to}")).unwrap_or_default();
    lines.push(format!("valid from {}{until}", entry.observed_at));

    let by = entry.modified_by.as_ref().map(|name| format!(" by {}", safe(name))).unwrap_or_default();
    match (entry.modified_at, by.is_empty()) {
        (Some(at), _) => lines.push(format!("modified {at}{by}")),
        (None, false) => lines.push(format!("modified{by}")),
        (None, true) => {}
    }
    if let Some(revision) = entry.revision {
        lines.push(format!("revision {revision}"));
    }
    lines.push(checked(segment, now));
    match version.document_of {
        Some(earlier) => lines.push(format!("it is gone; this is its last document, of v{earlier}:")),
        None if is_deleted => lines.push("it is deleted; this is its last document:".to_owned()),
        None => {}
    }
    lines
}

/// How old this knowledge is.
fn checked(segment: &FreshnessRow, now: UnixMs) -> String {
    let mut text = match segment.last_checked_at {
        Some(at) => {
            let age = u64::try_from(now.since(at)).unwrap_or(0);
            format!("checked {at}, {} ago", span(std::time::Duration::from_millis(age)))
        }
        None => "never checked".to_owned(),
    };
    if !segment.tracked {
        text.push_str("; no longer tracked");
    }
    if let Some(error) = &segment.last_error {
        text.push_str(&format!("; the last poll failed: {}", safe(error)));
    }
    text
}
