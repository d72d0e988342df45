//! Accounts as they start: the budget with what was spent before, the schedule as the file knows it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Once;
use super::account::{Account, Desk, Mode, Worker};
use super::board::Board;
use super::plan::{Plan, Tracked};
use super::prepare::{Prepared, PreparedAccount};
use super::pulse::Pulse;
use super::report;
use crate::budget::Budget;
use crate::clock::Clock;
use crate::config::Segments;
use crate::model::{SegmentKey, SourceName, SourceState, UnixMs};
use crate::poll::{Poller, Roster, Source};
use crate::schedule::{Forecast, Schedule};
use crate::store::{Declared, Known, KnownSource, SourceId, Store};

/// What every account is built from.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) declared: &'a Declared,
    pub(super) poller: &'a Poller,
    pub(super) store: &'a Store,
    pub(super) clock: &'a Clock,
    pub(super) once: Option<&'a Once>,
    pub(super) board: &'a Arc<Board>,
    /// The board of the engine that this one follows.
    pub(super) before: Option<&'a Board>,
}

/// A source of the file that does not work now: one of the past, or one that this pass leaves out. It may be of any
/// account with its provider and base URL, as the file knows no keys: what it sent counts for all of these.
pub(super) struct Other {
    id: SourceId,
    provider: String,
    base_url: String,
    held_until: Option<UnixMs>,
}

/// The sources of the file that do not work now.
pub(super) fn others(prepared: &Prepared, declared: &Declared) -> Vec<Other> {
    let works = |name: &SourceName| {
        prepared.accounts.iter().flat_map(|account| &account.sources).any(|source| source.config.name == *name)
    };
    let left_out = prepared.config.sources.iter().filter(|source| !works(&source.name)).filter_map(|source| {
        let known = declared.sources.iter().find(|known| known.name == source.name)?;
        let (provider, base_url) = (source.provider.to_owned(), source.base_url.to_string());
        Some(Other { id: known.id, provider, base_url, held_until: known.held_until })
    });
    let retired = declared.retired.iter().map(|retired| Other {
        id: retired.id,
        provider: retired.provider.clone(),
        base_url: retired.base_url.clone(),
        held_until: retired.held_until,
    });
    left_out.chain(retired).collect()
}

impl Site<'_> {
    /// One account, ready to be dispatched.
    pub(super) async fn account(self, prepared: PreparedAccount, others: &[Other]) -> Result<Account> {
        let now = self.clock.now();
        let is_own = |name: &SourceName| prepared.sources.iter().any(|source| source.config.name == *name);
        let sources: Vec<&KnownSource> = self.declared.sources.iter().filter(|source| is_own(&source.name)).collect();
        let budget = self.budget(&prepared, &sources, others).await?;

        let wanted = self.once.and_then(|once| once.wanted.as_ref());
        let is_wanted = |key: &SegmentKey| wanted.is_none_or(|wanted| wanted.contains(key));
        let roster = Roster::default();
        let (mut targets, mut workers) = (Vec::new(), HashMap::new());
        for source in prepared.sources {
            let Some(known) = sources.iter().find(|known| known.name == source.config.name) else { continue };
            let name = &source.config.name;
            let segments = self.declared.segments.iter().filter(|one| one.key.source == *name && is_wanted(&one.key));
            let segments: Vec<&Known> = segments.collect();
            let tracked: Vec<Tracked> = segments.iter().map(|known| tracked(known, now.mono)).collect();
            roster.add_all(name, segments.iter().map(|known| (Arc::clone(&known.key.id), known.id)));
            self.board.take_up(&source.config, known, &segments, self.before, now);
            // Segments that the caller named are asked for by themselves.
            let plan = if wanted.is_some() { Plan::Single } else { Plan::new(&source.config, &tracked) };
            let is_once = self.once.is_some();
            targets.extend(if is_once {
                plan.once(&source.config, &tracked)
            } else {
                plan.targets(&source.config, &tracked)
            });
            let ignore = source.config.ignore.clone();
            self.poller.metrics().expect(name);
            let worker = Worker {
                source: Source::new(known, source.provider, source.transport, ignore),
                timeout: source.config.timeout,
                concurrency: usize::from(source.config.concurrency),
                every: source.config.every,
                all: matches!(source.config.segments, Segments::All { .. }),
                instead: plan.instead(),
            };
            workers.insert(source.config.name, worker);
        }
        let mut schedule = Schedule::new(targets, fastrand::u64(..));
        if self.once.is_none() {
            report::too_much(&Forecast::new(&schedule, &prepared.terms), &schedule);
        }
        for source in sources.iter().filter(|source| source.state == SourceState::Unauthorized) {
            schedule.ask_again(&source.name, now.mono);
        }
        Ok(Account {
            budget,
            poller: self.poller.clone(),
            clock: self.clock.clone(),
            workers,
            roster,
            desk: Mutex::new(Desk::new(schedule, now)),
            board: Arc::clone(self.board),
            pulse: Pulse::default(),
            changed: Notify::new(),
            mode: self.once.map_or(Mode::Forever, |once| Mode::Once(once.endings.clone())),
        })
    }

    /// The budget of an account, with what earlier processes spent and were told.
    async fn budget(self, prepared: &PreparedAccount, sources: &[&KnownSource], others: &[Other]) -> Result<Budget> {
        let (now, terms) = (self.clock.now(), &prepared.terms);
        let others = others.iter().filter(|other| prepared.may_include(&other.provider, &other.base_url));
        let all = sources.iter().map(|source| (source.id, source.held_until));
        let (ids, holds): (Vec<SourceId>, Vec<Option<UnixMs>>) =
            all.chain(others.map(|other| (other.id, other.held_until))).unzip();
        let budget = Budget::new(terms, self.clock.clone(), fastrand::u64(..));
        budget.remember(self.store.spent(ids, terms.remembered(), terms.timeout, now).await?);
        let held_until = holds.into_iter().flatten().max();
        let left = held_until.and_then(|until| u64::try_from(until.since(now.wall)).ok());
        if let Some(left) = left.filter(|left| *left > 0) {
            budget.hold(Duration::from_millis(left));
        }
        Ok(budget)
    }
}

fn tracked(known: &Known, now: Instant) -> Tracked {
    let last = known.checked_ago.and_then(|ago| now.checked_sub(ago));
    Tracked { key: known.key.clone(), last, failures: known.failures }
}
