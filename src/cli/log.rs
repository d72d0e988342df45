//! `segsync log`: what changed, newest first, or as it is committed.
//!
//! Reads page by page, so that neither a long history nor a slow pipe keeps a transaction open. Following goes by the ids of
//! versions, which only grow, whoever writes them and however often the writer is started anew.

use std::io::Write;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Context, Detail, Exit, Format, Output, Paging, Time, block, complain, csv_row, did_you_mean, known_source, line,
    runtime, safe_json, segment_in,
};
use crate::model::{ChangeOp, Op, UnixMs};
use crate::store::{self, LogFilter, OpenError, Pattern, Reader, Scope, VersionEntry, VersionId};

/// How many versions are read at once.
const PAGE: u32 = 500;

/// How often the file is looked at for new versions.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How many versions `--follow` begins with, unless somebody asks for others.
const LEAD: u32 = 10;

const EXAMPLES: &str = "\
TIME is RFC 3339 (2026-01-31T09:30:00Z), a date (2026-01-31: its start, UTC) or an age (2h, 3d).
FIELD is a field as the log shows it, such as name or rules[beta testers].passPercentage, or one that holds others, such
as rules. In FIELD and in the NAME of --by a * stands for any text.

Text leaves out fields that only repeat who, when and which revision, and cuts long values; --full shows all.
JSON has one version a line with its changes; old or new is left out where there was no value, and null where it was null.
CSV has one row for each change, and one for each version without; old and new are JSON.
On a terminal the log goes through $PAGER, or less; with an empty PAGER, PAGER=cat or --no-pager it does not.

Examples:
  segsync log                                         every version, newest first
  segsync log prod/beta_users -n 5                    the last five of one segment
  segsync log --since 2h                              the last two hours
  segsync log --field rules --since 2026-01-31        who touched the rules since that day
  segsync log --field 'rules*passPercentage'          every change of a pass percentage
  segsync log --op delete --oneline                   what was deleted, a line each
  segsync log --by 'ana*' --source prod               what Ana did there
  segsync log --no-schema                             without what the provider changed in all documents at once
  segsync log --follow                                the last ten, and then whatever comes; Ctrl-C ends it
  segsync log --format csv > changes.csv              for a spreadsheet";

/// Show what changed, newest first: who, when, from what to what
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// One segment only, SOURCE/ID or ID
    segment: Option<String>,
    /// Observed at this time or later
    #[arg(long, value_name = "TIME", value_parser = Time::parse)]
    since: Option<Time>,
    /// Observed before this time
    #[arg(long, value_name = "TIME", value_parser = Time::parse, conflicts_with = "follow")]
    until: Option<Time>,
    /// Versions that did this to their segment, or with a change that did this to a field
    #[arg(long, value_name = "OP", value_parser = ops())]
    op: Option<Wanted>,
    /// Changes of this field, or inside of it; * is any text
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// Segments of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Versions by this editor, in letters of any case; * is any text
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Without versions that are nothing but a change of the provider's schema
    #[arg(long)]
    no_schema: bool,
    /// Go on with new versions as they are committed, oldest first
    #[arg(short, long)]
    follow: bool,
    /// One line a version
    #[arg(long, conflicts_with = "full")]
    oneline: bool,
    /// Every field, and long values in full
    #[arg(long)]
    full: bool,
    /// At most so many versions; so many to begin with where it follows
    #[arg(short, value_name = "N")]
    number: Option<u32>,
    #[command(flatten)]
    paging: Paging,
}

/// What `--op` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Version(Op),
    Change(ChangeOp),
}

fn ops() -> impl TypedValueParser<Value = Wanted> {
    let words = Op::ALL.iter().map(|op| op.as_str()).chain(ChangeOp::ALL.iter().map(|op| op.as_str()));
    PossibleValuesParser::new(words)
        .try_map(|word| word.parse().map(Wanted::Version).or_else(|_| word.parse().map(Wanted::Change)))
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit> {
    let reader = context.reader()?;
    let filter = filter(context, args, &reader)?;
    let detail = match (args.full, &args.field) {
        (true, _) => Detail::Full,
        (false, Some(_)) => Detail::EveryField,
        (false, None) => Detail::Brief,
    };
    let shape = match context.global.format {
        Format::Text if args.oneline => Shape::Line(detail),
        Format::Text => Shape::Block(detail),
        Format::Json => Shape::Json,
        Format::Csv => Shape::Csv,
    };
    let output = if args.follow { context.output() } else { context.paged(&args.paging)? };
    let mut printer = Printer { output, shape, shown: 0 };
    printer.begin()?;
    if args.follow {
        let lead = args.number.or(if args.since.is_some() { None } else { Some(LEAD) });
        follow(context, reader, filter, lead, &mut printer)?;
        return Ok(Exit::Done);
    }
    past(&reader, filter, args.number, &mut printer)?;
    let Printer { output, shown, .. } = printer;
    // A pager has ended before anything else is said.
    drop(output);
    if shown == 0 && context.global.format == Format::Text && context.global.quiet == 0 {
        complain("no versions match");
    }
    Ok(Exit::Done)
}

fn filter(context: &Context, args: &Args, reader: &Reader) -> Result<LogFilter> {
    let now = context.clock.now().wall;
    let scope = match (&args.segment, &args.source) {
        (Some(name), source) => Some(Scope::Segment(segment_in(reader, name, source.as_deref())?)),
        (None, Some(source)) => Some(Scope::Source(known_source(reader, source)?)),
        (None, None) => None,
    };
    let (op, change_op) = match args.op {
        Some(Wanted::Version(op)) => (Some(op), None),
        Some(Wanted::Change(op)) => (None, Some(op)),
        None => (None, None),
    };
    Ok(LogFilter {
        scope,
        since: args.since.map(|time| time.moment(now)),
        until: args.until.map(|time| time.moment(now)),
        op,
        change_op,
        field: args.field.as_ref().map(Pattern::new),
        by: args.by.as_ref().map(|name| editors(reader, name)).transpose()?,
        no_schema: args.no_schema,
        ..LogFilter::default()
    })
}

/// The editors that `name` means.
fn editors(reader: &Reader, name: &str) -> Result<Vec<String>> {
    let known = reader.editors()?;
    let pattern = Pattern::new(name);
    let meant: Vec<String> = known.iter().filter(|known| pattern.fits_any_case(known)).cloned().collect();
    if meant.is_empty() {
        let hint = did_you_mean(name, known.iter().map(|known| (known.as_str(), known.as_str())));
        bail!("no version in {} is by {name}{hint}", reader.path().display());
    }
    Ok(meant)
}

/// Prints what is there, newest first.
fn past(reader: &Reader, mut filter: LogFilter, most: Option<u32>, printer: &mut Printer) -> Result<()> {
    let mut left = most.unwrap_or(u32::MAX);
    while left > 0 {
        let page = PAGE.min(left);
        filter.limit = Some(page);
        let versions = reader.log(&filter)?;
        for version in &versions {
            printer.print(version)?;
        }
        printer.output.flush()?;
        let Some(last) = versions.last().filter(|_| versions.len() >= page as usize) else { break };
        filter.below = Some((last.observed_at, last.id));
        left -= page;
    }
    Ok(())
}

/// Prints the last versions that are there and then what is committed, oldest first, until Ctrl-C.
fn follow(
    context: &Context,
    reader: Reader,
    mut filter: LogFilter,
    lead: Option<u32>,
    printer: &mut Printer,
) -> Result<()> {
    // Read before the versions: one that is committed in between is then among them or after it, never lost.
    let mut last = reader.last_version()?;
    filter.limit = lead;
    print_new(&reader.log(&filter)?, &mut last, printer)?;
    filter.limit = None;
    drop(reader);
    runtime()?.block_on(async {
        let mut interrupted = pin!(tokio::signal::ctrl_c());
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                heard = &mut interrupted => return Ok(heard?),
                _ = look.tick() => {}
            }
            match new_versions(context, &mut filter, last) {
                Ok((versions, newest)) => {
                    last = newest;
                    print_new(&versions, &mut last, printer)?;
                }
                // A daemon that starts may keep the file for a while.
                Err(error) if is_busy(&error) => {}
                Err(error) => return Err(error),
            }
        }
    })
}

/// What was committed after `last`, and the newest version that was looked at.
fn new_versions(context: &Context, filter: &mut LogFilter, last: VersionId) -> Result<(Vec<VersionEntry>, VersionId)> {
    // Opened anew: a copy that was read as one that never changes may have a writer by now.
    let reader = context.reader()?;
    let newest = reader.last_version()?;
    // Ids only grow: lower ones are of another file in the same place, none of which was told yet.
    filter.after = Some(if newest < last { VersionId(0) } else { last });
    Ok((reader.log(filter)?, newest))
}

fn is_busy(error: &anyhow::Error) -> bool {
    let is_busy = |error: &store::Error| matches!(error, store::Error::Busy { .. });
    match error.downcast_ref() {
        Some(OpenError::Database(error)) => is_busy(error),
        _ => error.downcast_ref().is_some_and(is_busy),
    }
}

/// Prints versions in the order of their commits, and remembers the last.
fn print_new(versions: &[VersionEntry], last: &mut VersionId, printer: &mut Printer) -> Result<()> {
    let mut versions: Vec<&VersionEntry> = versions.iter().collect();
    versions.sort_by_key(|version| version.id);
    for version in versions {
        printer.print(version)?;
        *last = version.id.max(*last);
    }
    Ok(printer.output.flush()?)
}

/// How versions are printed.
#[derive(Clone, Copy)]
enum Shape {
    Block(Detail),
    Line(Detail),
    Json,
    Csv,
}

struct Printer {
    output: Output,
    shape: Shape,
    shown: u64,
}

impl Printer {
    fn begin(&mut self) -> Result<()> {
        if let Shape::Csv = self.shape {
            csv_row(&mut self.output, COLUMNS)?;
        }
        Ok(self.output.flush()?)
    }

    fn print(&mut self, version: &VersionEntry) -> Result<()> {
        let output = &mut self.output;
        match self.shape {
            Shape::Block(detail) => {
                if self.shown > 0 {
                    writeln!(output)?;
                }
                block(output, version, detail)?;
            }
            Shape::Line(detail) => line(output, version, detail)?,
            Shape::Json => writeln!(output, "{}", safe_json(&serde_json::to_string(version)?))?,
            Shape::Csv => csv(output, version)?,
        }
        self.shown += 1;
        Ok(())
    }
}

const COLUMNS: [&str; 14] = [
    "observed_at",
    "changed_after",
    "source",
    "segment",
    "version",
    "version_op",
    "op",
    "field",
    "path",
    "old",
    "new",
    "modified_at",
    "modified_by",
    "revision",
];

/// A row for each change; one without a field where there is none.
fn csv(output: &mut Output, version: &VersionEntry) -> Result<()> {
    let time = |at: Option<UnixMs>| at.map(|at| at.to_string()).unwrap_or_default();
    let (seq, revision) = (version.seq.to_string(), version.revision.map(|n| n.to_string()).unwrap_or_default());
    let (observed_at, changed_after) = (version.observed_at.to_string(), time(version.changed_after));
    let modified_at = time(version.modified_at);
    let mut row = |change: [&str; 5]| {
        let [op, field, path, old, new] = change;
        let who = version.modified_by.as_deref().unwrap_or_default();
        let key = &version.key;
        let head = [&*observed_at, &changed_after, key.source.as_str(), &key.id, &seq, version.op.as_str()];
        let cells = head.into_iter().chain([op, field, path, old, new, &modified_at, who, &revision]);
        csv_row(output, cells)
    };
    for change in &version.changes {
        let text = |value: &'_ Option<String>| value.clone().unwrap_or_default();
        row([change.op.as_str(), &change.field, &change.path, &text(&change.old), &text(&change.new)])?;
    }
    if version.changes.is_empty() {
        row([version.op.as_str(), "", "", "", ""])?;
    }
    Ok(())
}
