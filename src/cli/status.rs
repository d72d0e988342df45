//! `segsync status`: how the sources, the copies and the budgets stand, from the file alone; with a configuration also
//! what is stale.
//!
//! Never says that all is well when it cannot know: without a configuration, staleness is called unknown.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    Account, Allowance, Context, Exit, Format, allowed_ages, columns, csv_row, forecasts, safe, safe_json, segment_in,
    segment_status, span,
};
use super::{about_source, about_stale, about_stretch, about_unknown};
use crate::config::{Config, Segments};
use crate::model::{Limit, SegmentKey, SegmentState, SourceName, SourceState, UnixMs};
use crate::schedule::{Forecast, Stretch};
use crate::store::{FreshnessRow, Holder, Reader, SourceRow};

/// How many segments with troubles are listed for people.
const MOST: usize = 20;

const EXAMPLES: &str = "\
A segment is stale when its last answer is older than [poll] stale_after times the interval that the budget allows. One that
was never answered is stale when its source has been polled for longer than that. This takes the configuration: the one
that -c names, or the usual one where it is the one of this database.

Examples:
  segsync status                            of the configured database
  segsync status --db copy.db               of any database, without a configuration
  segsync status -c segsync.toml --db copy.db
  segsync status --format json              everything, for monitoring
  segsync status --format csv               each segment's age
  segsync status --check                    one line and the exit code, for monitoring
  segsync status prod/beta_users            one segment: its versions, edits a week, editors, and how fresh it is
  segsync status -q || alert                for a shell

Exit codes: 0 all is fresh, as far as is known · 1 failed · 2 bad usage or configuration · 3 something is stale, or a source
is unauthorized";

/// Show sources, freshness and budget; exit 3 if something is stale
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// One line on whether all is well, and the exit code
    #[arg(long)]
    check: bool,
    /// What one segment's history comes to, SOURCE/ID or ID
    #[arg(conflicts_with = "check")]
    segment: Option<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit> {
    let reader = context.reader()?;
    let config = context.config_of(reader.path())?;
    let status = Status::read(context, &reader, config.as_ref())?;
    if let Some(name) = &args.segment {
        let key = segment_in(&reader, name, None)?;
        let allowance = status.allowance(&key);
        segment_status(context, &reader, &key, allowance)?;
        return Ok(if allowance.is_well() { Exit::Done } else { Exit::NotWell });
    }
    let mut output = context.output();
    match context.global.format {
        Format::Text if context.global.quiet > 0 => {}
        Format::Text if args.check => writeln!(output, "{}", status.check())?,
        Format::Text => status.text(&mut output)?,
        Format::Json => writeln!(output, "{}", safe_json(&status.json().to_string()))?,
        Format::Csv => status.csv(&mut output)?,
    }
    output.flush()?;
    Ok(if status.is_well() { Exit::Done } else { Exit::NotWell })
}

/// How things stand.
struct Status {
    database: String,
    holder: Holder,
    now: UnixMs,
    sources: Vec<SourceRow>,
    segments: Vec<Segment>,
    budgets: Vec<BudgetUse>,
    /// What to do, a sentence each.
    advice: Vec<String>,
    /// How many configured segments the file does not know; `None` without a configuration.
    not_taken_up: Option<usize>,
}

/// A tracked segment.
struct Segment {
    row: FreshnessRow,
    age: Option<Duration>,
    /// How old it may get, where a configuration tells.
    allowed: Option<Duration>,
    is_stale: bool,
}

/// What the sources of one account have used of their limits.
struct BudgetUse {
    sources: Vec<SourceName>,
    used: Vec<(Limit, u64)>,
    /// Until when nothing is sent, as the provider asked.
    held_until: Option<UnixMs>,
    /// The pacer's share of its full rate after the last answer.
    pace: f64,
    /// By how much the intervals stretch.
    stretch: Stretch,
}

impl Status {
    fn read(context: &Context, reader: &Reader, config: Option<&Config>) -> Result<Self> {
        let now = context.clock.now().wall;
        let sources = reader.sources()?;
        let rows = reader.freshness()?;
        let is_refused =
            |name: &SourceName| sources.iter().any(|source| source.name == *name && is_unauthorized(source));
        let tracked: Vec<&SegmentKey> = rows.iter().map(|row| &row.key).collect();
        let (mut polled_for, mut by_list) = (HashMap::new(), HashSet::new());
        for source in &sources {
            if reader.uses_list(source.id)? {
                by_list.insert(source.name.clone());
            }
            if let Some(first) = reader.first_request(source.id)? {
                polled_for.insert(source.name.clone(), age(first, now));
            }
        }
        let uses_list = |name: &SourceName| by_list.contains(name);
        let forecasts = config.map_or_else(Vec::new, |config| forecasts(config, &tracked, is_refused, uses_list));
        let allowed = allowed_ages(&forecasts, &tracked);
        let budgets = budgets(reader, &forecasts, &sources, now)?;
        let not_taken_up = config.map(|config| missing(config, &rows));
        let segment = |row: FreshnessRow| {
            let age = row.last_checked_at.map(|at| age(at, now));
            let allowed = allowed.get(&row.key).copied();
            let waits = age.or_else(|| polled_for.get(&row.key.source).copied());
            let is_stale = waits.zip(allowed).is_some_and(|(waits, allowed)| waits > allowed);
            Segment { row, age, allowed, is_stale }
        };
        let mut status = Self {
            database: reader.path().display().to_string(),
            holder: reader.holder(),
            now,
            segments: rows.into_iter().map(segment).collect(),
            sources,
            budgets,
            advice: Vec::new(),
            not_taken_up,
        };
        status.advice = status.advise(config);
        Ok(status)
    }

    /// What is wrong, and what helps.
    fn advise(&self, config: Option<&Config>) -> Vec<String> {
        let mut advice = Vec::new();
        for source in &self.sources {
            let config = config.and_then(|config| config.sources.iter().find(|one| one.name == source.name));
            advice.extend(about_source(source, config, self.now));
            let own = || self.segments.iter().filter(|segment| segment.row.key.source == source.name);
            let stale: Vec<String> =
                own().filter(|segment| segment.is_stale).map(|segment| segment.row.key.to_string()).collect();
            let tracked = own().count();
            advice.extend(about_stale(&stale, tracked, self.holder, source.state == SourceState::Ok));
            let is_unknown = |segment: &&Segment| segment.row.state == SegmentState::Pending && segment.age.is_some();
            let unknown: Vec<String> = own().filter(is_unknown).map(|segment| segment.row.key.to_string()).collect();
            advice.extend(about_unknown(&unknown));
        }
        let stretched = self.budgets.iter().filter(|budget| !budget.stretch.is_none());
        advice.extend(stretched.map(|budget| about_stretch(&names(&budget.sources))));
        advice
    }

    /// Everything in one line.
    fn check(&self) -> String {
        let stale: Vec<&SegmentKey> = self.segments.iter().filter(|one| one.is_stale).map(|one| &one.row.key).collect();
        let refused = self.sources.iter().filter(|source| is_unauthorized(source));
        let mut parts: Vec<String> = refused
            .map(|source| {
                let (name, since) = (safe(source.name.as_str()), span(age(source.state_since, self.now)));
                format!("{name} unauthorized for {since}")
            })
            .collect();
        if let Some(first) = stale.first() {
            let more = if stale.len() > 1 { " and others" } else { "" };
            let of = self.segments.len();
            parts.push(format!("{} of {of} segments stale ({}{more})", stale.len(), safe(&first.to_string())));
        }
        let is_well = parts.is_empty();
        if is_well {
            parts.push(self.freshness_line());
        }
        if self.holder == Holder::Nobody {
            parts.push("no daemon is running".to_owned());
        }
        format!("{}: {}", if is_well { "OK" } else { "NOT WELL" }, parts.join("; "))
    }

    /// How one segment stands; one that is not tracked may get as old as it likes.
    fn allowance(&self, key: &SegmentKey) -> Allowance {
        let segment = self.segments.iter().find(|segment| segment.row.key == *key);
        Allowance {
            stale_after: segment.and_then(|segment| segment.allowed),
            is_stale: segment.is_some_and(|segment| segment.is_stale),
            is_refused: self.sources.iter().any(|source| source.name == key.source && is_unauthorized(source)),
        }
    }

    fn is_well(&self) -> bool {
        !self.segments.iter().any(|segment| segment.is_stale) && !self.sources.iter().any(is_unauthorized)
    }

    fn count(&self, source: &SourceRow, state: SegmentState) -> usize {
        self.segments
            .iter()
            .filter(|segment| segment.row.key.source == source.name && segment.row.state == state)
            .count()
    }

    /// What is neither stale, nor failing, nor unknown.
    fn fresh(&self) -> usize {
        self.segments
            .iter()
            .filter(|segment| segment.age.is_some() && segment.allowed.is_some() && !segment.is_stale)
            .count()
    }

    /// The answered segment whose answer is the oldest.
    fn oldest(&self) -> Option<(&SegmentKey, Duration)> {
        let answered = self.segments.iter().filter_map(|segment| Some((&segment.row.key, segment.age?)));
        answered.max_by_key(|(_, age)| *age)
    }

    fn text(&self, output: &mut impl Write) -> Result<()> {
        writeln!(output, "{}: {}", safe(&self.database), running(self.holder))?;
        if self.sources.is_empty() {
            writeln!(output, "it holds no source yet")?;
            return Ok(());
        }
        writeln!(output, "\n{}\n", columns(self.source_table()))?;
        for line in self.source_lines() {
            writeln!(output, "{line}")?;
        }
        writeln!(output, "{}", self.freshness_line())?;
        if let Some(missing) = self.not_taken_up.filter(|missing| *missing > 0) {
            writeln!(output, "configured, but not taken up by a daemon yet: {missing}")?;
        }
        let troubled: Vec<&Segment> =
            self.segments.iter().filter(|segment| segment.is_stale || segment.row.last_error.is_some()).collect();
        if !troubled.is_empty() {
            writeln!(output, "\n{}", columns(segment_table(&troubled)))?;
        }
        if troubled.len() > MOST {
            writeln!(output, "and {} more; --format csv lists all", troubled.len() - MOST)?;
        }
        if !self.advice.is_empty() {
            writeln!(output)?;
        }
        for sentence in &self.advice {
            writeln!(output, "{sentence}")?;
        }
        Ok(())
    }

    fn source_table(&self) -> Vec<Vec<String>> {
        let head = ["SOURCE", "PROVIDER", "STATE", "SINCE", "TRACKED", "PRESENT", "DELETED", "PENDING"];
        let row = |source: &SourceRow| {
            let count = |state| self.count(source, state).to_string();
            vec![
                safe(source.name.as_str()).into_owned(),
                safe(&source.provider).into_owned(),
                source.state.to_string(),
                source.state_since.to_string(),
                source.tracked.to_string(),
                count(SegmentState::Present),
                count(SegmentState::Deleted),
                count(SegmentState::Pending),
            ]
        };
        [head.map(str::to_owned).to_vec()].into_iter().chain(self.sources.iter().map(row)).collect()
    }

    /// What the sources have used of their limits.
    fn source_lines(&self) -> Vec<String> {
        let budget = |budget: &BudgetUse| {
            let used: Vec<String> = budget.used.iter().map(|(limit, used)| spent(*limit, *used)).collect();
            let used = if used.is_empty() { "no limits".to_owned() } else { used.join(", ") };
            let left = budget.held_until.map(|until| age(self.now, until));
            let held = left.map(|left| format!("; held for another {}", span(left))).unwrap_or_default();
            let stretch = if budget.stretch.is_none() { String::new() } else { format!("; {}", budget.stretch) };
            let pace = if budget.pace < 1.0 { format!("; pace {:.0} %", budget.pace * 100.0) } else { String::new() };
            format!("requests of {}: {used}{held}{pace}{stretch}", names(&budget.sources))
        };
        self.budgets.iter().map(budget).collect()
    }

    fn freshness_line(&self) -> String {
        let all = self.segments.len();
        if all == 0 {
            return "no segment is tracked".to_owned();
        }
        let oldest = match self.oldest() {
            Some((key, age)) => format!("the oldest answer is of {}, {} ago", safe(&key.to_string()), span(age)),
            None => "none was ever answered".to_owned(),
        };
        match self.not_taken_up {
            Some(_) => format!("{} of {all} segments are fresh; {oldest}", self.fresh()),
            None => format!("{all} segments; {oldest}; without a configuration nobody knows what is stale"),
        }
    }

    fn json(&self) -> Value {
        let pid = match self.holder {
            Holder::Somebody(pid) => pid,
            Holder::Nobody | Holder::Unknown => None,
        };
        let running = match self.holder {
            Holder::Somebody(_) => Some(true),
            Holder::Nobody => Some(false),
            Holder::Unknown => None,
        };
        let source = |source: &SourceRow| {
            json!({
                "name": source.name, "provider": source.provider, "base_url": source.base_url, "state": source.state,
                "state_since": source.state_since, "last_error": source.last_error, "tracked": source.tracked,
                "present": self.count(source, SegmentState::Present),
                "deleted": self.count(source, SegmentState::Deleted),
                "pending": self.count(source, SegmentState::Pending),
            })
        };
        let budget = |budget: &BudgetUse| {
            let used = budget.used.iter().map(|(limit, used)| json!({"limit": limit, "used": used}));
            json!({
                "sources": budget.sources, "limits": used.collect::<Vec<_>>(), "held_until": budget.held_until,
                "pace": budget.pace,
                "stretch": {"wishes": budget.stretch.wishes, "promises": budget.stretch.promises},
            })
        };
        let is_known = self.not_taken_up.is_some();
        let stale = self.segments.iter().filter(|segment| segment.is_stale).count();
        json!({
            "database": self.database,
            "daemon": {"running": running, "pid": pid},
            "well": self.is_well(),
            "sources": self.sources.iter().map(source).collect::<Vec<_>>(),
            "budgets": self.budgets.iter().map(budget).collect::<Vec<_>>(),
            "tracked": self.segments.len(),
            "fresh": is_known.then(|| self.fresh()),
            "stale": is_known.then_some(stale),
            "not_taken_up": self.not_taken_up,
            "advice": self.advice,
            "segments": self.segments.iter().map(Segment::json).collect::<Vec<_>>(),
        })
    }

    fn csv(&self, output: &mut impl Write) -> Result<()> {
        csv_row(
            output,
            [
                "source",
                "segment",
                "state",
                "version",
                "checked_at",
                "changed_at",
                "age_seconds",
                "stale_after_seconds",
                "stale",
                "failures",
                "last_error",
            ],
        )?;
        for segment in &self.segments {
            csv_row(output, segment.cells())?;
        }
        Ok(())
    }
}

impl Segment {
    /// Whether it is stale; `None` where no configuration tells.
    fn stale(&self) -> Option<bool> {
        self.allowed.map(|_| self.is_stale)
    }

    fn json(&self) -> Value {
        let row = &self.row;
        json!({
            "source": row.key.source, "segment": row.key.id, "state": row.state, "version": row.version,
            "checked_at": row.last_checked_at, "changed_at": row.last_changed_at,
            "age_seconds": self.age.map(|age| age.as_secs()),
            "stale_after_seconds": self.allowed.map(|allowed| allowed.as_secs()),
            "stale": self.stale(), "failures": row.failures, "last_error": row.last_error,
        })
    }

    fn cells(&self) -> [String; 11] {
        let (row, text) = (&self.row, |at: Option<UnixMs>| at.map(|at| at.to_string()).unwrap_or_default());
        let seconds = |span: Option<Duration>| span.map(|span| span.as_secs().to_string()).unwrap_or_default();
        [
            row.key.source.to_string(),
            row.key.id.to_string(),
            row.state.to_string(),
            row.version.to_string(),
            text(row.last_checked_at),
            text(row.last_changed_at),
            seconds(self.age),
            seconds(self.allowed),
            self.stale().map(|stale| stale.to_string()).unwrap_or_default(),
            row.failures.to_string(),
            row.last_error.clone().unwrap_or_default(),
        ]
    }
}

fn segment_table(troubled: &[&Segment]) -> Vec<Vec<String>> {
    let head = ["SEGMENT", "CHECKED", "STALE AFTER", "FAILURES", "LAST ERROR"];
    let row = |segment: &&Segment| {
        let row = &segment.row;
        let stale = if segment.is_stale { " (stale)" } else { "" };
        vec![
            safe(&row.key.to_string()).into_owned(),
            segment.age.map_or_else(|| format!("never{stale}"), |age| format!("{} ago{stale}", span(age))),
            segment.allowed.map_or_else(|| "unknown".to_owned(), span),
            row.failures.to_string(),
            safe(row.last_error.as_deref().unwrap_or("none")).into_owned(),
        ]
    };
    [head.map(str::to_owned).to_vec()].into_iter().chain(troubled.iter().take(MOST).map(row)).collect()
}

/// A source that is still configured and whose key is refused.
fn is_unauthorized(source: &SourceRow) -> bool {
    source.state == SourceState::Unauthorized && source.tracked > 0
}

fn age(at: UnixMs, now: UnixMs) -> Duration {
    Duration::from_millis(u64::try_from(now.since(at)).unwrap_or(0))
}

fn names(sources: &[SourceName]) -> String {
    sources.iter().map(SourceName::as_str).collect::<Vec<_>>().join(", ")
}

fn running(holder: Holder) -> String {
    match holder {
        Holder::Nobody => "no daemon is running on this file".to_owned(),
        Holder::Somebody(Some(pid)) => format!("segsync is running on this file (pid {pid})"),
        Holder::Somebody(None) => "segsync is running on this file".to_owned(),
        Holder::Unknown => "whether a daemon is running cannot be told, as its lock file cannot be read".to_owned(),
    }
}

fn spent(limit: Limit, used: u64) -> String {
    format!("{used}/{} in {}", limit.requests, humantime::format_duration(limit.per))
}

fn budgets(
    reader: &Reader,
    forecasts: &[(Account<'_>, Forecast)],
    sources: &[SourceRow],
    now: UnixMs,
) -> Result<Vec<BudgetUse>> {
    let mut budgets = Vec::new();
    for (account, forecast) in forecasts {
        let names = account.names();
        let own = || sources.iter().filter(|source| names.contains(&source.name));
        let mut used = Vec::new();
        for limit in account.limits() {
            let mut requests = 0;
            for source in own() {
                requests += reader.requests_since(source.id, now.minus(limit.per))?;
            }
            used.push((limit, requests));
        }
        let held_until = own().filter_map(|source| source.held_until).filter(|until| *until > now).max();
        let pace = own().map(|source| source.pace).fold(1.0, f64::min);
        budgets.push(BudgetUse { used, held_until, pace, stretch: forecast.stretch, sources: names });
    }
    Ok(budgets)
}

/// How many configured segments are not among the tracked ones.
fn missing(config: &Config, tracked: &[FreshnessRow]) -> usize {
    let named = config.sources.iter().flat_map(|source| {
        let (Segments::All { own: named } | Segments::Named(named)) = &source.segments;
        named.iter().map(|segment| SegmentKey::new(source.name.clone(), segment.id.clone()))
    });
    let tracked: HashSet<&SegmentKey> = tracked.iter().map(|row| &row.key).collect();
    named.filter(|key| !tracked.contains(key)).count()
}
