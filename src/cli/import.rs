//! `segsync import`: a file of observations becomes history, all of it or nothing.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::json;

use super::{Context, Exit, Format, complain, counted, progress_bar, runtime};
use crate::config::Config;
use crate::model::SourceName;
use crate::poll::{Configured, Import, ImportError, Imported, import};
use crate::store::{OpenError, Store};

/// How much of the file is read at once.
const BUFFER: usize = 1 << 20;

const EXAMPLES: &str = "\
FILE has one JSON object a line: a line of `segsync export`, or at least
  {\"id\": \"beta_users\", \"observed_at\": \"2026-01-31T09:30:00Z\", \"document\": {…}}
observed_at is RFC 3339 or whole milliseconds since 1970; document is the segment's own object, without
what a provider wraps around it, null where it was gone. The lines of a segment are in the order of time. Each is judged
as if it had been polled then: what is the same makes no version, what differs is recorded with its changes.

Nothing is sent anywhere, and no key is read. A source is known from the configuration, else from the database, else
from the line itself (an export names its provider). Lines that are known already change nothing, so a file can be
imported twice; others that are older than what is known of their segment are refused.
The database must not be in use: stop the daemon first. Either the whole file is imported or nothing.

Examples:
  segsync import --source prod past.jsonl                     what another tool has collected
  segsync import history.jsonl --db new.db                    an export, into a new database
  zcat week.gz | segsync import -                             from a pipe
  segsync import --partial --source prod past.jsonl           keep what comes before the first bad line

Exit codes: 0 done · 1 failed; the first bad line is named as FILE:LINE:COLUMN";

/// Bring in a history from JSON lines: an export, or what another tool has collected
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Whose all lines are; else each line names its source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// JSON lines; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Keep what comes before the first bad line
    #[arg(long)]
    partial: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit> {
    let db = context.database()?;
    let config = context.config_of(&db.canonicalize().unwrap_or_else(|_| db.clone()))?;
    let name = if args.file == Path::new("-") { "standard input".to_owned() } else { args.file.display().to_string() };
    let (mut input, length) = open(&args.file).with_context(|| format!("failed to open {name}"))?;
    let timeout = config.as_ref().and_then(|config| config.sources.iter().map(|source| source.timeout).max());
    let store = Store::open(&db, &context.clock, timeout.unwrap_or_default()).map_err(in_use)?;
    let how = Import {
        source: args.source.as_deref().map(SourceName::new),
        configured: config.iter().flat_map(configured).collect(),
        partial: args.partial,
    };
    let bar = progress_bar(match length {
        Some(_) => "{bar:30} {msg}, {elapsed} of about {duration}",
        None => "{spinner} {msg}, {elapsed}",
    });
    bar.set_length(length.unwrap_or(0));
    let done = import(&store, context.clock.now(), &mut input, how, &mut |lines, bytes| {
        bar.set_position(bytes);
        bar.set_message(counted(lines, "line"));
    });
    bar.finish_and_clear();
    let closed = runtime()?.block_on(store.close());
    match done {
        Ok(imported) => {
            closed?;
            tell(context, &name, &db, &imported)
        }
        Err(ImportError::Line(bad)) => bail!("{name}:{bad}; nothing of it was imported"),
        Err(ImportError::Read(error)) => {
            Err(anyhow!(error).context(format!("failed to read {name}; nothing of it was imported")))
        }
        Err(ImportError::Store(error)) => Err(error.into()),
    }
}

/// The file, and its length where it has one.
fn open(file: &Path) -> io::Result<(Box<dyn BufRead>, Option<u64>)> {
    if file == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let file = File::open(file)?;
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let length = found.is_file().then_some(found.len());
    Ok((Box::new(BufReader::with_capacity(BUFFER, file)), length))
}

fn in_use(error: OpenError) -> anyhow::Error {
    match error {
        OpenError::Locked { .. } => anyhow!("failed to {error}; an import must be alone, so stop that first"),
        other => other.into(),
    }
}

fn configured(config: &Config) -> Vec<Configured> {
    let one = |source: &crate::config::Source| Configured {
        name: source.name.clone(),
        provider: source.provider,
        base_url: source.base_url.to_string(),
        ignore: source.ignore.clone(),
    };
    config.sources.iter().map(one).collect()
}

fn tell(context: &Context, name: &str, db: &Path, imported: &Imported) -> Result<Exit> {
    let Imported { lines, bytes, segments, versions, known, stopped } = imported;
    let mut output = context.output();
    match context.global.format {
        Format::Json => {
            let stopped =
                stopped.as_ref().map(|bad| json!({"line": bad.line, "column": bad.column, "error": bad.what}));
            let line = json!({
                "file": name, "lines": lines, "bytes": bytes, "segments": segments, "versions": versions,
                "known": known, "stopped": stopped,
            });
            writeln!(output, "{line}")?;
        }
        Format::Text | Format::Csv => {
            let known = if *known > 0 { format!(", {} known already", counted(*known, "line")) } else { String::new() };
            let (lines, segments) = (counted(*lines, "line"), counted(*segments, "segment"));
            let versions = counted(*versions, "new version");
            writeln!(output, "{name}: {lines} about {segments} made {versions} in {}{known}", db.display())?;
        }
    }
    output.flush()?;
    match stopped {
        None => Ok(Exit::Done),
        Some(bad) => {
            complain(&format!("segsync: {name}:{bad}; what comes before it was imported"));
            Ok(Exit::Failed)
        }
    }
}
