//! A snapshot in words: one line for the service manager, and reasons why the daemon is not ready.

use std::time::Duration;

use super::{AccountLive, Phase, Snapshot, SourceLive};
use crate::model::{SourceState, UnixMs, plain};

/// How many accounts the line names.
const ACCOUNTS: usize = 3;
/// How many sources in trouble the line names.
const TROUBLES: usize = 4;
/// The longest error text within a line, in characters.
const LONGEST: usize = 120;

impl Snapshot {
    /// Whether what the daemon serves is as fresh as it promises.
    pub fn is_ready(&self) -> bool {
        self.reasons().is_empty()
    }

    /// Why not, a sentence each; empty when it is.
    pub fn reasons(&self) -> Vec<String> {
        match self.phase {
            Phase::Starting => return vec!["the daemon is starting".to_owned()],
            Phase::Stopping => return vec!["the daemon is stopping".to_owned()],
            Phase::Running => (),
        }
        let store = self.store_error.iter().map(|trouble| {
            let since = self.time(trouble.since);
            format!("the database cannot be written since {since}: failed to {}", line(&trouble.error))
        });
        let refused = self.sources.iter().filter(|source| source.is_refused());
        let refused = refused.map(|source| {
            let why = source.last_error.as_deref().map(|why| format!(": {}", line(why))).unwrap_or_default();
            format!("{} is unauthorized since {}{why}", source.name, self.time(source.since))
        });
        let stale = self.sources.iter().filter(|source| source.segments.stale > 0).map(stale);
        store.chain(refused).chain(stale).collect()
    }

    /// How things stand in one line.
    pub fn line(&self) -> String {
        match self.phase {
            Phase::Starting => return "starting".to_owned(),
            Phase::Stopping => return "stopping".to_owned(),
            Phase::Running => (),
        }
        let (ok, troubled): (Vec<_>, Vec<_>) =
            self.sources.iter().partition(|source| source.state == SourceState::Ok || source.segments.tracked == 0);
        let mut parts: Vec<String> = Vec::new();
        if let Some(trouble) = &self.store_error {
            parts.push(format!("cannot write since {}: {}", self.time(trouble.since), line(&trouble.error)));
        }
        parts.extend(troubled.iter().take(TROUBLES).map(|source| self.trouble(source)));
        if troubled.len() > TROUBLES {
            parts.push(format!("{} more sources in trouble", troubled.len() - TROUBLES));
        }
        if troubled.is_empty() || ok.len() > TROUBLES {
            parts.extend(all(&ok));
        } else {
            parts.extend(ok.iter().map(|source| one(source)));
        }
        parts.extend(self.accounts.iter().filter_map(account).take(ACCOUNTS));
        parts.extend(self.accounts.iter().filter_map(|account| account.next_poll).min().map(next));
        parts.join(", ")
    }

    /// A source that does not answer as it should.
    fn trouble(&self, source: &SourceLive) -> String {
        let (name, since) = (&source.name, self.time(source.since));
        let hold = || self.accounts.iter().find(|account| account.sources.contains(name))?.hold;
        let stale = match source.segments.stale {
            0 => String::new(),
            stale => format!(" ({stale}/{} stale)", source.segments.tracked),
        };
        match (source.state, hold()) {
            (SourceState::Held, Some(hold)) => format!("{name} held for another {}{stale}", span(hold)),
            (state, _) => format!("{name} {state} since {since}{stale}"),
        }
    }

    /// Hours and minutes; with the date where it is another one than now.
    fn time(&self, at: UnixMs) -> String {
        let (text, now) = (at.to_string(), self.at.map(|now| now.to_string()).unwrap_or_default());
        match (text.get(..10), text.get(11..16)) {
            (Some(date), Some(time)) if now.starts_with(date) => format!("{time} UTC"),
            (Some(date), Some(time)) => format!("{date} {time} UTC"),
            _ => text,
        }
    }
}

impl SourceLive {
    /// Whether the key of a source that has segments is refused.
    pub fn is_refused(&self) -> bool {
        self.state == SourceState::Unauthorized && self.segments.tracked > 0
    }
}

fn stale(source: &SourceLive) -> String {
    let segments = &source.segments;
    let names = segments.named.iter().map(|stale| {
        let (waits, allowed) = (span(stale.waits), span(stale.stale_after));
        let id = line(&stale.id);
        if stale.is_answered {
            format!("{id} ({waits} old, {allowed} allowed)")
        } else {
            format!("{id} (never answered for {waits}, {allowed} allowed)")
        }
    });
    let mut names: Vec<String> = names.collect();
    if segments.stale > names.len() {
        names.push(format!("{} more", segments.stale - names.len()));
    }
    format!("{} of {} segments of {} are stale: {}", segments.stale, segments.tracked, source.name, names.join(", "))
}

/// Sources without trouble, together.
fn all(sources: &[&SourceLive]) -> Vec<String> {
    let sum = |count: fn(&SourceLive) -> usize| sources.iter().copied().map(count).sum::<usize>();
    let tracked = sum(|source| source.segments.tracked);
    if tracked == 0 {
        return vec!["no segment is tracked".to_owned()];
    }
    let mut parts = vec![format!("{}/{tracked} fresh", sum(|source| source.segments.fresh))];
    let stale = sum(|source| source.segments.stale);
    if stale > 0 {
        parts.push(format!("{stale} stale"));
    }
    parts.extend(sources.iter().filter_map(|source| source.segments.oldest).max().map(oldest));
    parts
}

/// A source without trouble, beside others that have some.
fn one(source: &SourceLive) -> String {
    let (name, segments) = (&source.name, &source.segments);
    if segments.fresh == segments.tracked {
        format!("{name} fresh")
    } else {
        format!("{name} {}/{} fresh", segments.fresh, segments.tracked)
    }
}

fn oldest(age: Duration) -> String {
    format!("oldest {}", span(age))
}

fn next(wait: Duration) -> String {
    if wait.is_zero() { "polling".to_owned() } else { format!("next poll in {}", span(wait)) }
}

/// The use of the limit with the lowest rate, which binds in the long run; `None` without limits.
fn account(account: &AccountLive) -> Option<String> {
    let rate = |used: &&super::Used| f64::from(used.limit.requests) / used.limit.per.as_secs_f64();
    let tightest = account.limits.iter().min_by(|one, other| rate(one).total_cmp(&rate(other)))?;
    let names: Vec<&str> = account.sources.iter().map(crate::model::SourceName::as_str).collect();
    Some(format!("{} {}/{}", names.join("+"), tightest.used, tightest.limit.requests))
}

/// One line, not too long, whatever the text is.
fn line(text: &str) -> String {
    let plain = plain(text);
    match plain.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &plain[..end]),
        None => plain,
    }
}

/// A span of time in one unit, rounded up: what waits for a moment does not wait 0 s.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    match seconds {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7200 => format!("{} min", seconds / 60),
        seconds if seconds < 172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::live::{Freshness, Stale, StoreTrouble, Used};
    use crate::model::{Limit, SourceName};

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn source(name: &str, state: SourceState, tracked: usize, stale: usize) -> SourceLive {
        let named = (0..stale.min(2)).map(|number| Stale {
            id: Arc::from(format!("seg{number}")),
            waits: seconds(1000),
            stale_after: seconds(900),
            is_answered: number == 0,
        });
        SourceLive {
            name: SourceName::new(name),
            provider: "any",
            state,
            since: UnixMs::parse("2026-11-25T09:14:30Z").expect("a time"),
            last_error: (state != SourceState::Ok).then(|| "401 Unauthorized\nindeed".to_owned()),
            segments: Freshness {
                tracked,
                fresh: tracked - stale,
                stale,
                oldest: (tracked > 0).then_some(seconds(38)),
                named: named.collect(),
                ..Freshness::default()
            },
        }
    }

    fn account(name: &str, used: usize, next_poll: Option<u64>) -> AccountLive {
        let limit = |requests, per| Limit { requests, per: seconds(per) };
        AccountLive {
            sources: vec![SourceName::new(name)],
            limits: vec![Used { limit: limit(100, 10), used: 3 }, Used { limit: limit(900, 900), used }],
            hold: None,
            pace: 1.0,
            stretch: 1.0,
            own_stretch: 1.0,
            in_flight: 0,
            next_poll: next_poll.map(seconds),
        }
    }

    fn running(sources: Vec<SourceLive>, accounts: Vec<AccountLive>) -> Snapshot {
        let at = Some(UnixMs::parse("2026-11-25T18:00:00Z").expect("a time"));
        Snapshot { phase: Phase::Running, at, sources, accounts, ..Snapshot::default() }
    }

    #[test]
    fn the_line_follows_the_state() {
        use SourceState::{Failing, Held, Ok, Unauthorized};
        let held = AccountLive { hold: Some(seconds(42)), ..account("octave", 9, Some(42)) };
        let lines = [
            Snapshot::default(),
            running(Vec::new(), Vec::new()),
            running(vec![source("statsig", Ok, 42, 0)], vec![account("statsig", 412, Some(2))]),
            running(vec![source("statsig", Ok, 42, 2)], vec![account("statsig", 412, Some(0))]),
            running(vec![source("statsig-prod", Unauthorized, 9, 0), source("octave", Ok, 2, 0)], Vec::new()),
            running(vec![source("statsig", Failing, 9, 9), source("octave", Held, 2, 0)], vec![held]),
            Snapshot {
                store_error: Some(StoreTrouble {
                    since: UnixMs(0),
                    error: "write to /x/a.db: the disk is full".to_owned(),
                }),
                ..running(vec![source("statsig", Ok, 1, 0)], Vec::new())
            },
            Snapshot { phase: Phase::Stopping, ..Snapshot::default() },
        ];
        insta::assert_snapshot!(lines.map(|snapshot| snapshot.line()).join("\n"), @"
        starting
        no segment is tracked
        42/42 fresh, oldest 38 s, statsig 412/900, next poll in 2 s
        40/42 fresh, 2 stale, oldest 38 s, statsig 412/900, polling
        statsig-prod unauthorized since 09:14 UTC, octave fresh
        statsig failing since 09:14 UTC (9/9 stale), octave held for another 42 s, octave 9/900, next poll in 42 s
        cannot write since 1970-01-01 00:00 UTC: write to /x/a.db: the disk is full, 1/1 fresh, oldest 38 s
        stopping
        ");
    }

    #[test]
    fn what_keeps_it_from_being_ready_is_told_in_sentences() {
        let good = running(vec![source("statsig", SourceState::Failing, 42, 0)], Vec::new());
        assert!(good.is_ready(), "{:?}", good.reasons());
        assert!(!Snapshot::default().is_ready());
        let bad = Snapshot {
            store_error: Some(StoreTrouble { since: UnixMs(0), error: "use /x/a.db: Error code 10".to_owned() }),
            ..running(
                vec![
                    source("statsig", SourceState::Unauthorized, 5, 3),
                    source("gone", SourceState::Unauthorized, 0, 0),
                ],
                Vec::new(),
            )
        };
        insta::assert_snapshot!(bad.reasons().join("\n"), @"
        the database cannot be written since 1970-01-01 00:00 UTC: failed to use /x/a.db: Error code 10
        statsig is unauthorized since 09:14 UTC: 401 Unauthorized�indeed
        3 of 5 segments of statsig are stale: seg0 (16 min old, 15 min allowed), seg1 (never answered for 16 min, 15 min allowed), 1 more
        ");
    }
}
