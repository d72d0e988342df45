//! What a configuration lets one expect: which sources share a budget, what comes of it, and how old each copy may get. The
//! arithmetic is the schedule's; nothing here is measured.

use std::collections::HashMap;
use std::time::Duration;

use crate::budget::Terms;
use crate::config::{Config, Source};
use crate::daemon::{Plan, Tracked, own_intervals, terms};
use crate::model::{Limit, SegmentKey, SourceName};
use crate::schedule::{Forecast, Schedule};

/// Sources that share one budget, as far as the configuration tells: two places of one key look like two keys.
#[derive(Debug)]
pub(super) struct Account<'a> {
    /// Its sources; never empty.
    pub(super) sources: Vec<&'a Source>,
    terms: Terms,
}

impl Account<'_> {
    /// The limits that it keeps, scaled by the share.
    pub(super) fn limits(&self) -> Vec<Limit> {
        self.terms.scaled()
    }

    /// The names of its sources.
    pub(super) fn names(&self) -> Vec<SourceName> {
        self.sources.iter().map(|source| source.name.clone()).collect()
    }

    /// What comes of its terms where each source polls as `way` says; one without a way takes no part.
    pub(super) fn forecast(&self, way: impl Fn(&Source) -> Option<(Plan, Vec<Tracked>)>) -> Forecast {
        let ways = self.sources.iter().filter_map(|source| Some((source, way(source)?)));
        let targets = ways.flat_map(|(source, (plan, tracked))| plan.targets(source, &tracked)).collect();
        Forecast::new(&Schedule::new(targets, 0), &self.terms)
    }
}

/// The accounts of a configuration, in its order.
pub(super) fn accounts(config: &Config) -> Vec<Account<'_>> {
    let is_same = |one: &Source, other: &Source| {
        one.provider == other.provider && one.base_url == other.base_url && one.api_key == other.api_key
    };
    let mut accounts: Vec<Account<'_>> = Vec::new();
    for source in &config.sources {
        match accounts.iter_mut().find(|account| is_same(account.sources[0], source)) {
            Some(account) => account.sources.push(source),
            None => accounts.push(Account { sources: vec![source], terms: terms(source) }),
        }
    }
    accounts
}

/// The accounts of a configuration and what comes of each, given the segments that the file tracks. A source whose key is
/// refused takes no part in the arithmetic; `uses_list` tells of a source that may be polled either way whether it is by
/// its list.
pub(super) fn forecasts<'a>(
    config: &'a Config,
    tracked: &[&SegmentKey],
    is_refused: impl Fn(&SourceName) -> bool,
    uses_list: impl Fn(&SourceName) -> bool,
) -> Vec<(Account<'a>, Forecast)> {
    let way = |source: &Source| {
        let tracked = (!is_refused(&source.name)).then(|| tracked_of(source, tracked))?;
        Some((way(source, &tracked, uses_list(&source.name)), tracked))
    };
    let forecast = |account: Account<'a>| {
        let forecast = account.forecast(way);
        (account, forecast)
    };
    accounts(config).into_iter().map(forecast).collect()
}

/// How old the copy of each of these tracked segments may get before it counts as stale: so many times the interval that
/// the budget allows. Segments of sources that the configuration does not name are left out.
pub(super) fn allowed_ages(
    forecasts: &[(Account<'_>, Forecast)],
    tracked: &[&SegmentKey],
) -> HashMap<SegmentKey, Duration> {
    let mut ages = HashMap::new();
    for (account, forecast) in forecasts {
        for source in &account.sources {
            let own = own_intervals(source);
            for key in keys_of(source, tracked) {
                let interval = match own.get(&key.id) {
                    Some(own) => own.as_secs_f64() * forecast.stretch.promises,
                    None => source.every.as_secs_f64() * forecast.stretch.wishes,
                };
                let age = Duration::try_from_secs_f64(interval * source.stale_after).unwrap_or(Duration::MAX);
                ages.insert(key.clone(), age);
            }
        }
    }
    ages
}

/// The way in which the daemon polls a source, as far as the file shows it.
pub(super) fn way(source: &Source, tracked: &[Tracked], uses_list: bool) -> Plan {
    match Plan::new(source, tracked) {
        Plan::List { instead: Some(_) } if !uses_list => Plan::Single,
        plan => plan,
    }
}

fn keys_of<'a>(source: &'a Source, keys: &'a [&SegmentKey]) -> impl Iterator<Item = &'a SegmentKey> {
    keys.iter().copied().filter(|key| key.source == source.name)
}

fn tracked_of(source: &Source, keys: &[&SegmentKey]) -> Vec<Tracked> {
    keys_of(source, keys).cloned().map(Tracked::never).collect()
}
