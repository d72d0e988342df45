//! `segsync export`: the history as lines, for other tools, for another database, for a spreadsheet.

use std::io::Write;

use anyhow::Result;
use serde_json::Value;

use super::{Context, Exit, Format, Time, csv_row, exact, is_terminal, known_source, progress_bar, safe_json};
use crate::model::{Change, UnixMs};
use crate::store::{AfterGap, Exported, Reader, Selection, VersionId};

/// What tells a spreadsheet that the text is UTF-8.
const BYTE_ORDER_MARK: &str = "\u{feff}";

const EXAMPLES: &str = "\
Writes to standard output, in the order in which the versions were committed.

jsonl (or json, or text) has one version a line, with
  source, provider, id, version, op, cause (only where there is one), observed_at, changed_after, modified_at,
  modified_by, document
Where versions are no longer kept ([store] keep_versions), the one before them has valid_to as well, and the one after
them changes and missed_revisions. `segsync import` takes these lines: into an empty database it makes the same history of them, whose export is the same,
byte for byte.

csv has the rows of the view change_log: one for each field that changed, one for each create, delete or restore. It is
RFC 4180 with a byte order mark, so that spreadsheets read its UTF-8; a cell that would be a formula starts with '.

Examples:
  segsync export > history.jsonl                             everything
  segsync export --source prod --since 7d | gzip > week.gz   one source's last week
  segsync export --format csv > changes.csv                  for a spreadsheet
  segsync export | jq -r 'select(.op == \"delete\") | .id'     what was ever deleted";

/// Write the history as JSON lines, or the change log as CSV
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Versions of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Observed at this time or later: RFC 3339, a date, or an age such as 2h or 3d
    #[arg(long, value_name = "TIME", value_parser = Time::parse)]
    since: Option<Time>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit> {
    let reader = context.reader()?;
    let source = args.source.as_deref().map(|name| known_source(&reader, name)).transpose()?;
    let since = args.since.map(|time| time.moment(context.clock.now().wall));
    let selection = Selection { source, since };
    let is_csv = context.global.format == Format::Csv;
    let mut output = exact();
    if is_csv {
        output.write_all(BYTE_ORDER_MARK.as_bytes())?;
        csv_row(&mut output, reader.change_log_columns()?)?;
    }
    let (through, is_terminal) = (reader.last_version()?, is_terminal());
    let bar = progress_bar("{bar:30} {percent} %, {elapsed} of about {duration}");
    bar.set_length(through.0.unsigned_abs());
    let mut after = VersionId(0);
    loop {
        let page = reader.export(&selection, after, through)?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for version in &page {
            match is_csv {
                true => rows(&reader, version, &mut output)?,
                false if is_terminal => writeln!(output, "{}", safe_json(&line(version)))?,
                false => writeln!(output, "{}", line(version))?,
            }
        }
        if !is_terminal {
            bar.set_position(after.0.unsigned_abs());
        }
    }
    bar.finish_and_clear();
    output.flush()?;
    Ok(Exit::Done)
}

fn rows(reader: &Reader, version: &Exported, output: &mut impl Write) -> Result<()> {
    reader.change_log_of(version)?.into_iter().try_for_each(|row| Ok(csv_row(output, row)?))
}

/// A version as one JSON object, its document as it is stored.
fn line(version: &Exported) -> String {
    let text = |text: &str| Value::from(text).to_string();
    let maybe = |value: Option<String>| value.unwrap_or_else(|| "null".to_owned());
    let mut members = vec![
        ("source", text(&version.source)),
        ("provider", text(&version.provider)),
        ("id", text(&version.segment)),
        ("version", version.seq.to_string()),
        ("op", text(version.op.as_str())),
    ];
    if let Some(cause) = &version.cause {
        members.push(("cause", text(cause)));
    }
    members.push(("observed_at", time(version.observed_at)));
    if let Some(valid_to) = version.valid_to {
        members.push(("valid_to", time(valid_to)));
    }
    members.extend([
        ("changed_after", maybe(version.changed_after.map(time))),
        ("modified_at", maybe(version.modified_at.map(time))),
        ("modified_by", maybe(version.modified_by.as_deref().map(text))),
    ]);
    if let Some(AfterGap { missed_revisions, changes }) = &version.after_gap {
        members.push(("missed_revisions", maybe(missed_revisions.map(|missed| missed.to_string()))));
        members.push(("changes", format!("[{}]", changes.iter().map(change).collect::<Vec<_>>().join(","))));
    }
    members.push(("document", maybe(version.document.as_deref().map(str::to_owned))));
    let members: Vec<String> = members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// A change as a JSON object, its values as they are stored.
fn change(change: &Change) -> String {
    let text = |text: &str| Value::from(text).to_string();
    let mut object =
        format!(r#"{{"op":{},"path":{},"field":{}"#, text(change.op.as_str()), text(&change.path), text(&change.field));
    for (name, value) in [("old", &change.old), ("new", &change.new)] {
        if let Some(value) = value {
            object.push_str(&format!(",\"{name}\":{value}"));
        }
    }
    object.push('}');
    object
}

/// RFC 3339, or the milliseconds where that has no such time.
fn time(at: UnixMs) -> String {
    let shown = at.to_string();
    match UnixMs::parse(&shown) {
        Ok(read) if read == at => Value::from(shown).to_string(),
        _ => at.0.to_string(),
    }
}
