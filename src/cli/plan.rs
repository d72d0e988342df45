//! `segsync plan`: what the budgets allow, what the intervals ask of them, and what comes of it, before anything runs.
//!
//! Only shows; the arithmetic is the schedule's own. Says what it assumed, and never what it would have to measure.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::{AccountOutlook, Context, Exit, Format, Outlook, Row, columns, csv_row, safe};
use crate::config::show_duration;
use crate::model::{Fetch, SourceName};
use crate::schedule::Forecast;

const EXAMPLES: &str = "\
For each account: its capacity, the demand of all intervals, the factor by which intervals stretch when the demand does not
fit, how long it takes until everything was polled once, and for each interval:
  BY GET, BY LIST   requests of one cycle, one for each segment or one for each page of the list
  POLLED            which of the two is taken, and whether the configuration says so or fetch = \"auto\" does
  AGE               how old a copy gets: the interval, stretched
  FITS              the interval that uses the budget up without stretching, if all of the account change alike

Reads no API key and asks no provider. Where the database exists, it tells how many segments \"all\" means.

Examples:
  segsync plan                              of the configuration that the daemon would use
  segsync plan -c new.toml                  of another one, before it is put in place
  segsync plan --format json                everything, with exact numbers

Exit codes: 0 also with warnings · 1 failed · 2 bad usage or configuration";

/// Show what the budgets allow: capacity, demand and the expected age of each segment
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {}

pub(super) fn run(context: &Context, _: &Args) -> Result<Exit> {
    let config = context.load_config()?;
    let outlook = Outlook::new(&config);
    let mut output = context.output();
    match context.global.format {
        Format::Text => text(&outlook, &mut output)?,
        Format::Json => writeln!(output, "{}", as_json(&outlook))?,
        Format::Csv => csv(&outlook, &mut output)?,
    }
    output.flush()?;
    Ok(Exit::Done)
}

fn text(outlook: &Outlook<'_>, output: &mut impl Write) -> Result<()> {
    for account in &outlook.accounts {
        account_text(account, output)?;
    }
    for line in &outlook.assumed {
        writeln!(output, "note: {}", safe(line))?;
    }
    writeln!(output, "note: what the providers take to answer is not counted")?;
    Ok(())
}

fn account_text(outlook: &AccountOutlook<'_>, output: &mut impl Write) -> Result<()> {
    let AccountOutlook { account, forecast, rows, warnings } = outlook;
    let names: Vec<String> = account.names().iter().map(SourceName::to_string).collect();
    writeln!(output, "account of {}", names.join(", "))?;
    let share = account.sources[0].share;
    let share = if share < 1.0 { format!("; {share} of what the provider allows") } else { String::new() };
    let limits: Vec<String> =
        forecast.limits.iter().map(|limit| format!("{} in {}", limit.requests, show_duration(limit.per))).collect();
    let capacity = match forecast.tightest() {
        Some(_) => format!("{}: {} in the long run{share}", limits.join(", "), rate(forecast.capacity)),
        None => "no limits".to_owned(),
    };
    writeln!(output, "  capacity    {capacity}")?;
    writeln!(output, "  demand      {}", demand(forecast))?;
    writeln!(output, "  outcome     {}", forecast.stretch)?;
    writeln!(output, "  first sync  {}\n", first_sync(forecast))?;
    let head =
        ["SOURCE", "SEGMENTS", "EVERY", "BY GET", "BY LIST", "POLLED", "AGE", "FITS"].map(str::to_owned).to_vec();
    let table = std::iter::once(head).chain(rows.iter().map(|row| cells(row).to_vec())).collect();
    for line in columns(table).lines() {
        writeln!(output, "  {}", line.trim_end())?;
    }
    writeln!(output)?;
    for warning in warnings {
        writeln!(output, "  warning: {}", safe(warning))?;
    }
    if !warnings.is_empty() {
        writeln!(output)?;
    }
    Ok(())
}

fn demand(forecast: &Forecast) -> String {
    let rate = rate(forecast.demand);
    let Some(window) = forecast.limits.iter().max_by_key(|limit| limit.per) else { return rate };
    let in_window = forecast.demand * window.per.as_secs_f64();
    let percent = forecast.demand / forecast.capacity * 100.0;
    format!("{rate}, {in_window:.0} in {}: {percent:.0} % of the capacity", show_duration(window.per))
}

fn first_sync(forecast: &Forecast) -> String {
    match forecast.first_sync {
        _ if forecast.limits.is_empty() => "as fast as the provider answers".to_owned(),
        Duration::ZERO => "at once".to_owned(),
        span => format!("{} when nothing was ever polled", show_duration(whole_seconds(span))),
    }
}

/// At least one.
fn whole_seconds(span: Duration) -> Duration {
    Duration::from_secs((span + Duration::from_millis(500)).as_secs().max(1))
}

/// A number of requests in the unit that keeps it readable.
fn rate(per_second: f64) -> String {
    match per_second {
        many if many >= 0.1 => format!("{} a second", number(many)),
        some if some * 60.0 >= 0.1 => format!("{} a minute", number(some * 60.0)),
        few => format!("{} an hour", number(few * 3600.0)),
    }
}

/// Up to three digits after the point.
fn number(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn cells(row: &Row) -> [String; 8] {
    let expected = &row.expected;
    let segments = match (row.all, row.segments) {
        (true, None) => "all".to_owned(),
        (true, Some(known)) => format!("all, {known} known"),
        (false, count) => count.unwrap_or(0).to_string(),
    };
    let count = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), |count| count.to_string());
    let own = if expected.promise { " (own)" } else { "" };
    let age = if expected.is_kept() { expected.every } else { expected.fits };
    [
        safe(expected.source.as_str()).into_owned(),
        segments,
        format!("{}{own}", show_duration(expected.every)),
        count(row.segments.map(|count| count as u64)),
        count(row.by_list.map(u64::from)),
        format!("{}{}", polled(row), if is_automatic(row) { " (auto)" } else { "" }),
        show_duration(age),
        if expected.fits.is_zero() { "any".to_owned() } else { show_duration(expected.fits) },
    ]
}

fn polled(row: &Row) -> &'static str {
    if row.is_list { "by list" } else { "by get" }
}

/// Whether the configuration leaves the way open.
fn is_automatic(row: &Row) -> bool {
    row.fetch == Fetch::Auto && !row.all && !row.expected.promise
}

fn as_json(outlook: &Outlook<'_>) -> Value {
    let account = |outlook: &AccountOutlook<'_>| {
        let AccountOutlook { account, forecast, rows, warnings } = outlook;
        let window = forecast.limits.iter().max_by_key(|limit| limit.per).map(|limit| limit.per);
        let is_limited = !forecast.limits.is_empty();
        json!({
            "sources": account.names(),
            "limits": forecast.limits,
            "share": account.sources[0].share,
            "burst": account.sources[0].burst,
            "capacity_per_second": is_limited.then_some(forecast.capacity),
            "demand_per_second": forecast.demand,
            "longest_window_seconds": window.map(|window| window.as_secs_f64()),
            "demand_per_longest_window": window.map(|window| forecast.demand * window.as_secs_f64()),
            "fits": forecast.stretch.is_none(),
            "stretch": {"wishes": forecast.stretch.wishes, "promises": forecast.stretch.promises},
            "first_sync_seconds": is_limited.then_some(forecast.first_sync.as_secs_f64()),
            "groups": rows.iter().map(group).collect::<Vec<_>>(),
            "warnings": warnings,
        })
    };
    json!({
        "accounts": outlook.accounts.iter().map(account).collect::<Vec<_>>(),
        "warnings": outlook.warnings().collect::<Vec<_>>(),
        "assumed": outlook.assumed,
    })
}

fn group(row: &Row) -> Value {
    let expected = &row.expected;
    json!({
        "source": expected.source,
        "own_interval": expected.promise,
        "all": row.all,
        "segments": row.segments,
        "every_seconds": expected.every.as_secs_f64(),
        "fetch": row.fetch.as_str(),
        "polled": if row.is_list { "list" } else { "get" },
        "requests_per_cycle": {"get": row.segments, "list": row.by_list, "taken": expected.requests},
        "age_seconds": expected.age.as_secs_f64(),
        "kept": expected.is_kept(),
        "fits": (!expected.fits.is_zero()).then(|| show_duration(expected.fits)),
    })
}

fn csv(outlook: &Outlook<'_>, output: &mut impl Write) -> Result<()> {
    let head =
        ["source", "own_interval", "segments", "every_seconds", "by_get", "by_list", "polled", "age_seconds", "kept"];
    csv_row(output, head)?;
    for row in outlook.accounts.iter().flat_map(|account| &account.rows) {
        let expected = &row.expected;
        let segments = row.segments.map(|count| count.to_string()).unwrap_or_default();
        csv_row(
            output,
            [
                expected.source.to_string(),
                expected.promise.to_string(),
                segments.clone(),
                number(expected.every.as_secs_f64()),
                segments,
                row.by_list.map(|pages| pages.to_string()).unwrap_or_default(),
                if row.is_list { "list" } else { "get" }.to_owned(),
                number(expected.age.as_secs_f64()),
                expected.is_kept().to_string(),
            ],
        )?;
    }
    Ok(())
}
