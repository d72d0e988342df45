//! What a configuration will come to once it runs, for `plan` and `config check`: each account's forecast, how its sources
//! are polled, what cannot be kept, and what had to be assumed.
//!
//! Reads no key and needs neither network nor database; where there is a database, it tells how many segments "all" means.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::{Account, accounts, safe, way};
use crate::config::{Config, Segments, Source, show_duration};
use crate::daemon::{Plan, Tracked, own_intervals, pages};
use crate::model::{Fetch, SegmentKey, SourceName};
use crate::schedule::{Expected, Forecast};
use crate::store::{Error, OpenError, Reader};

/// What is to be expected of all accounts.
#[derive(Debug)]
pub(super) struct Outlook<'a> {
    pub(super) accounts: Vec<AccountOutlook<'a>>,
    /// What had to be assumed, a line each.
    pub(super) assumed: Vec<String>,
}

/// What is to be expected of one account.
#[derive(Debug)]
pub(super) struct AccountOutlook<'a> {
    pub(super) account: Account<'a>,
    pub(super) forecast: Forecast,
    pub(super) rows: Vec<Row>,
    /// What cannot be kept, a line each.
    pub(super) warnings: Vec<String>,
}

/// What is polled alike.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) expected: Expected,
    /// How many segments; `None` where only the provider's list tells.
    pub(super) segments: Option<usize>,
    /// Whether these are all that the provider lists.
    pub(super) all: bool,
    /// Requests of one cycle by the list; `None` where that is no choice.
    pub(super) by_list: Option<u32>,
    /// Whether it is polled by the list.
    pub(super) is_list: bool,
    /// What the configuration says.
    pub(super) fetch: Fetch,
}

/// What a database knows of the sources.
#[derive(Debug, Default)]
struct Known {
    tracked: Vec<SegmentKey>,
    /// Sources that have been polled, and whether by their list.
    uses_list: HashMap<SourceName, bool>,
}

impl<'a> Outlook<'a> {
    /// Looks ahead at `config`, with what the database that it names knows.
    pub(super) fn new(config: &'a Config) -> Self {
        let mut assumed = Vec::new();
        let known = Known::read(&config.store.path).unwrap_or_else(|why| {
            assumed.push(why);
            Known::default()
        });
        let accounts: Vec<_> =
            accounts(config).into_iter().map(|account| known.account(account, &mut assumed)).collect();
        for (at, one) in accounts.iter().enumerate() {
            let first = one.account.sources[0];
            let twin = accounts[..at].iter().map(|other| other.account.sources[0]);
            let mut twin = twin.filter(|other| (other.provider, &other.base_url) == (first.provider, &first.base_url));
            if let Some(twin) = twin.next() {
                assumed.push(format!(
                    "{} and {} are counted as two accounts, as their keys come from different places",
                    twin.name, first.name
                ));
            }
        }
        Self { accounts, assumed }
    }

    /// What cannot be kept.
    pub(super) fn warnings(&self) -> impl Iterator<Item = &str> {
        self.accounts.iter().flat_map(|account| &account.warnings).map(String::as_str)
    }
}

impl Known {
    /// What the database at `path` knows, or why nothing is known.
    fn read(path: &Path) -> Result<Self, String> {
        const COUNTED: &str = "only segments that the configuration names are counted";
        let reader = Reader::open(path).map_err(|error| match error {
            OpenError::Missing { path } => format!("there is no database at {} yet: {COUNTED}", path.display()),
            other => format!("failed to {other}: {COUNTED}"),
        })?;
        Self::of(&reader).map_err(|error| format!("failed to {error}: {COUNTED}"))
    }

    fn of(reader: &Reader) -> Result<Self, Error> {
        let tracked = reader.freshness()?.into_iter().map(|row| row.key).collect();
        let mut uses_list = HashMap::new();
        for source in reader.sources()? {
            if reader.first_request(source.id)?.is_some() {
                uses_list.insert(source.name, reader.uses_list(source.id)?);
            }
        }
        Ok(Self { tracked, uses_list })
    }

    /// What the daemon would track: what the configuration names, and all that the file tracks where it says "all".
    fn tracked(&self, source: &Source) -> Vec<Tracked> {
        let named = source.segments.named().iter().map(|one| SegmentKey::new(source.name.clone(), one.id.clone()));
        let mut keys: Vec<SegmentKey> = named.collect();
        if let Segments::All { .. } = source.segments {
            keys.extend(self.tracked.iter().filter(|key| key.source == source.name).cloned());
            keys.sort();
            keys.dedup();
        }
        keys.into_iter().map(Tracked::never).collect()
    }

    /// The way in which the daemon polls a source: the list, until a list that is too long was seen.
    fn way(&self, source: &Source, tracked: &[Tracked]) -> Plan {
        way(source, tracked, self.uses_list.get(&source.name).copied().unwrap_or(true))
    }

    fn account<'a>(&self, account: Account<'a>, assumed: &mut Vec<String>) -> AccountOutlook<'a> {
        let forecast = account.forecast(|source| {
            let tracked = self.tracked(source);
            Some((self.way(source, &tracked), tracked))
        });
        let sources = || account.sources.iter().copied();
        let rows = forecast.groups.iter().filter_map(|group| {
            let source = sources().find(|source| source.name == group.source)?;
            Some(self.row(source, group))
        });
        let rows: Vec<Row> = rows.collect();
        assumed.extend(sources().filter_map(|source| self.assumed(source)));
        let mut warnings: Vec<String> =
            rows.iter().filter(|row| !row.expected.is_kept()).map(|row| cannot_keep(row, &account)).collect();
        warnings.extend(contradiction(&account));
        AccountOutlook { account, forecast, rows, warnings }
    }

    fn row(&self, source: &Source, expected: &Expected) -> Row {
        let (tracked, own) = (self.tracked(source), own_intervals(source));
        let interval = expected.promise.then_some(expected.every);
        let count = tracked.iter().filter(|one| own.get(&one.key.id).copied() == interval).count();
        let all = matches!(source.segments, Segments::All { .. }) && !expected.promise;
        let has_no_choice = expected.promise || (count < 2 && !all && source.fetch != Fetch::List);
        Row {
            expected: expected.clone(),
            segments: (!all || self.knows(source)).then_some(count),
            all,
            by_list: (!has_no_choice).then(|| pages(tracked.len())),
            is_list: !expected.promise && matches!(self.way(source, &tracked), Plan::List { .. }),
            fetch: source.fetch,
        }
    }

    /// Whether the file has seen a segment of the source.
    fn knows(&self, source: &Source) -> bool {
        self.tracked.iter().any(|key| key.source == source.name)
    }

    /// What is assumed of a source's list.
    fn assumed(&self, source: &Source) -> Option<String> {
        let (name, tracked) = (&source.name, self.tracked(source));
        match (&source.segments, self.way(source, &tracked)) {
            (Segments::All { .. }, _) if !self.knows(source) => Some(format!(
                "source {name}: how many segments \"all\" means shows when its list is first read; {} is counted",
                some(pages(tracked.len()), "page")
            )),
            (_, Plan::List { instead: Some(wishes) }) => Some(format!(
                "source {name}: pages are counted as if its list had these segments only; when it turns out to have {} \
                 pages or more, single requests take its place",
                wishes.len()
            )),
            (_, Plan::Single) if self.fell_back(source, &tracked) => Some(format!(
                "source {name}: counted by single requests, as its latest ones were; at its next start the daemon tries \
                 its list again"
            )),
            (Segments::Named(_), Plan::List { instead: None }) => {
                Some(format!("source {name}: pages are counted as if its list had these segments only"))
            }
            _ => None,
        }
    }

    /// Whether single requests have taken the place of a list.
    fn fell_back(&self, source: &Source, tracked: &[Tracked]) -> bool {
        Plan::new(source, tracked) != self.way(source, tracked)
    }
}

/// Why an interval cannot be kept, and what to do about it.
fn cannot_keep(row: &Row, account: &Account<'_>) -> String {
    let Expected { source, promise, every, requests, fits, .. } = &row.expected;
    let of = match (promise, row.segments) {
        (false, _) => String::new(),
        (true, Some(1)) => {
            let of_source = account.sources.iter().filter(|other| other.name == *source);
            let mut named = of_source.flat_map(|source| source.segments.named());
            let id = named.find(|segment| segment.every == Some(*every)).map(|segment| safe(&segment.id));
            format!(" of segment {}", id.unwrap_or_default())
        }
        (true, count) => format!(" of {} segments", count.unwrap_or(0)),
    };
    // What fell back from its list would do so again.
    let is_shorter = row.by_list.is_some_and(|pages| u64::from(pages) < *requests) && row.fetch == Fetch::Each;
    let or = if is_shorter { " or poll by list" } else { "" };
    let [every, allowed] = [*every, *fits].map(show_duration);
    format!(
        "source {source}: every = {every}{of} cannot be kept: {allowed} is what the budget allows; set every = \"{}\"{or}",
        setting(*fits)
    )
}

/// Sources of one account must agree on its terms.
fn contradiction(account: &Account<'_>) -> Option<String> {
    let first = account.sources[0];
    let terms = |source: &Source| (source.limits.clone(), source.share.to_bits(), source.burst);
    let other = account.sources.iter().find(|other| terms(other) != terms(first))?;
    Some(format!(
        "sources {} and {} share one account: `segsync run` refuses them until both have the same limits, share and \
         burst; those of {} are counted",
        first.name, other.name, first.name
    ))
}

/// A duration as one would write it: in seconds up to two minutes.
fn setting(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=120 if duration.subsec_millis() == 0 => format!("{seconds}s"),
        _ => show_duration(duration),
    }
}

fn some(count: u32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
