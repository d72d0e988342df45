//! `segsync sync`: one full pass with a progress bar and a closing table.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use indicatif::ProgressBar;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Context, Exit, Format, Misuse, Named, complain, progress_bar, runtime, safe};
use crate::config::{Config, Source};
use crate::daemon::{self, Ending, Pass, Prepared};
use crate::model::{LogLevel, Outcome, SegmentKey, SourceName};
use crate::telemetry;

const EXAMPLES: &str = "\
Polls inside the same request budget as the daemon, which must not run on the same database meanwhile.

Examples:
  segsync sync                                    every configured segment once
  segsync sync prod/beta_users                    one segment
  segsync sync beta_users staff                   ids without a source, where only one source has them
  segsync sync --format json                      one line of JSON when done

Exit codes: 0 all ended well · 1 none did · 3 some did not";

/// Poll every segment once, then exit
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Segments to poll, SOURCE/ID or ID; all if none is named
    #[arg(value_name = "SEGMENT")]
    segments: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit> {
    let config = context.load_config()?;
    telemetry::init(context.log_level(LogLevel::Error), config.log.format).context("start the log")?;
    let wanted = if args.segments.is_empty() { None } else { Some(named(&config, &args.segments)?) };
    let is_wanted = |name: &SourceName| wanted.as_ref().is_none_or(|keys| keys.iter().any(|key| key.source == *name));
    let prepared =
        super::prepare(config, &context.clock, |config, clock| Prepared::of_sources(config, clock, is_wanted))?;
    let started = context.clock.now().mono;
    let bar = progress_bar("{bar:30} {pos}/{len} segments, {elapsed} of about {duration}  {msg}");
    let shutdown = CancellationToken::new();
    let on_end = |ending: &Ending, segments: usize| show_end(&bar, ending, segments);
    let pass = runtime()?.block_on(async {
        tokio::select! {
            pass = daemon::pass(prepared, wanted.as_deref(), &context.clock, &shutdown, on_end) => pass,
            _ = stop_on_interrupt(&shutdown) => bail!("cannot listen for Ctrl-C"),
        }
    })?;
    bar.finish_and_clear();
    let took = context.clock.now().mono - started;
    match context.global.format {
        Format::Json => print_json(context, &pass, took)?,
        Format::Text | Format::Csv => print_table(context, &pass, took)?,
    }
    Ok(exit(&pass))
}

/// Cancels at the first Ctrl-C; ends only if that cannot be heard.
async fn stop_on_interrupt(shutdown: &CancellationToken) -> std::io::Result<()> {
    tokio::signal::ctrl_c().await?;
    shutdown.cancel();
    std::future::pending().await
}

/// Every configured segment.
fn keys(config: &Config) -> impl Iterator<Item = SegmentKey> {
    let of = |source: &'_ Source| {
        let ids = source.segments.named().iter().map(|segment| segment.id.clone());
        ids.map(|id| SegmentKey::new(source.name.clone(), id)).collect::<Vec<_>>()
    };
    config.sources.iter().flat_map(of)
}

/// The configured segments that `names` mean, each once.
fn named(config: &Config, names: &[String]) -> Result<Vec<SegmentKey>> {
    let known: Vec<SegmentKey> = keys(config).collect();
    let mut wanted = Vec::new();
    for name in names {
        let key = match super::named(name, &known) {
            Named::One(key) => key,
            Named::Several(keys) => bail!(super::say_which(name, &keys)),
            Named::Nothing(hint) => bail!(Misuse(format!("{name} is not in the configuration{hint}"))),
        };
        if !wanted.contains(key) {
            wanted.push(key.clone());
        }
    }
    Ok(wanted)
}

/// Moves the bar; what did not end well is told as it comes.
fn show_end(bar: &ProgressBar, ending: &Ending, segments: usize) {
    bar.set_length(segments as u64);
    bar.set_message(safe(&ending.key.to_string()).into_owned());
    bar.inc(1);
    if !is_well(ending.outcome) {
        let why = ending.error.as_deref().unwrap_or_default();
        bar.suspend(|| {
            complain(&format!("{}: {}: {}", safe(&ending.key.to_string()), ending.outcome, safe(why)));
        });
    }
}

fn is_well(outcome: Outcome) -> bool {
    outcome.made_version() || outcome == Outcome::Unchanged
}

fn exit(pass: &Pass) -> Exit {
    match pass.endings.iter().filter(|ending| is_well(ending.outcome)).count() {
        well if well == pass.segments => Exit::Done,
        0 => Exit::Failed,
        _ => Exit::NotWell,
    }
}

fn counts(pass: &Pass) -> BTreeMap<Outcome, usize> {
    let mut counts = BTreeMap::new();
    for ending in &pass.endings {
        *counts.entry(ending.outcome).or_default() += 1;
    }
    counts
}

fn new_versions(pass: &Pass) -> usize {
    pass.endings.iter().filter(|ending| ending.outcome.made_version()).count()
}

fn print_table(context: &Context, pass: &Pass, took: Duration) -> Result<()> {
    let mut table = Table::new();
    table.load_style(NOTHING);
    for (outcome, count) in counts(pass) {
        table.add_row([outcome.to_string(), count.to_string()]);
    }
    let open = pass.segments.saturating_sub(pass.endings.len());
    if open > 0 {
        table.add_row(["not polled".to_owned(), open.to_string()]);
    }
    table.add_row(["new versions".to_owned(), new_versions(pass).to_string()]);
    table.add_row(["time".to_owned(), format!("{:.1} s", took.as_secs_f64())]);
    for (names, usage) in &pass.usage {
        let names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let used = usage
            .used
            .iter()
            .map(|(limit, used)| format!("{used}/{} in {}", limit.requests, humantime::format_duration(limit.per)));
        let used = used.collect::<Vec<_>>().join(", ");
        table.add_row([format!("requests of {names}"), if used.is_empty() { "no limits".to_owned() } else { used }]);
    }
    let mut output = context.output();
    writeln!(output, "{}", table.trim_fmt())?;
    Ok(output.flush()?)
}

fn print_json(context: &Context, pass: &Pass, took: Duration) -> Result<()> {
    let outcomes: BTreeMap<&str, usize> =
        counts(pass).into_iter().map(|(outcome, count)| (outcome.as_str(), count)).collect();
    let budgets = pass.usage.iter().map(|(names, usage)| {
        let used = usage.used.iter().map(|(limit, used)| json!({"limit": limit, "used": used}));
        json!({"sources": names, "limits": used.collect::<Vec<_>>()})
    });
    let summary = json!({
        "segments": pass.segments,
        "polled": pass.endings.len(),
        "outcomes": outcomes,
        "new_versions": new_versions(pass),
        "seconds": took.as_secs_f64(),
        "budgets": budgets.collect::<Vec<_>>(),
    });
    let mut output = context.output();
    writeln!(output, "{summary}")?;
    Ok(output.flush()?)
}
