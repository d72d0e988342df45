//! Whether what the file kept is what was so. Functions of what was seen and of the truth.

use std::collections::BTreeMap;

use segsync::simulator::Provider;

use crate::soak::audit::Name;
use crate::soak::stage::{EVERY, LIST_EVERY, OWN, PAGE, TIMEOUT, Trouble, ids, name, own_id};
use crate::soak::time::{MINUTE, show};
use crate::soak::truth::{State, Truth};

/// A poll may be late by so much without anything in its way: others go first, and all keep an even pace.
const LATE: i64 = 10 * MINUTE;
/// After a provider's trouble: the longest hold, the next probe of a key, and an hour's requests used up.
const RECOVERY: i64 = 75 * MINUTE;
/// After the daemon was away or was reloaded: all that is due goes out, evenly.
const RETURN: i64 = 15 * MINUTE;

/// A version in the file.
#[derive(Clone, Debug)]
pub struct Seen {
    pub seq: i64,
    pub is_delete: bool,
    pub text: Option<String>,
    pub at: i64,
    pub changed_after: Option<i64>,
    /// The poll that made it, and when that began and ended.
    pub poll: i64,
    pub started: i64,
    pub finished: i64,
    /// Which of the segment's true states it is.
    pub state: Option<usize>,
}

/// A request in the file, ended.
#[derive(Clone, Debug)]
pub struct Poll {
    pub id: i64,
    pub provider: Provider,
    pub way: &'static str,
    /// `None`: a page of the list.
    pub segment: Option<String>,
    pub started: i64,
    pub finished: i64,
    pub outcome: String,
}

/// A page of a list that the provider answered.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub provider: Provider,
    pub at: i64,
    /// How many segments come before it.
    pub skip: usize,
}

/// Which of the segment's true states a version is: one that comes after that of the version before, and that was so
/// while its poll was on its way.
pub fn place(
    truth: &Truth,
    troubles: &[Trouble],
    name: &Name,
    before: Option<&Seen>,
    version: &Seen,
) -> Result<usize, String> {
    let states = truth.states(name.0, &name.2);
    let first = before.and_then(|before| before.state).map_or(0, |state| state + 1);
    let is_it = |place: &usize| {
        let state = &states[*place];
        state.is_there != version.is_delete && state.text == version.text
    };
    let was_so = |place: &usize| was(states, *place, version.started, version.finished);
    let found = (first..states.len()).filter(is_it).find(was_so);
    let told = || format!("{} v{} of {}", call(name), version.seq, show(version.at));
    let Some(found) = found else {
        let ever: Vec<String> = (0..states.len()).filter(is_it).map(|place| show(states[place].from)).collect();
        return Err(format!("{} was not so then, or not after v{}: so since {ever:?}", told(), version.seq - 1));
    };
    if let (Some(before), Some(after)) = (before, version.changed_after) {
        let is_like = |place: &usize| {
            states[*place].is_there != before.is_delete && (before.is_delete || states[*place].text == before.text)
        };
        // It is the start of a poll; what a whole list lacks is known as of its first page.
        let until = if name.1 == "list" { version.started } else { after + TIMEOUT };
        let still = (0..states.len()).filter(is_like).any(|place| was(states, place, after, until));
        // A whole list without a segment that is known as deleted says that it still is; so does one that lies.
        let was_told = before.is_delete && name.1 == "list" && lies(troubles, name.0, after, after + TIMEOUT);
        if !still && !was_told {
            return Err(format!("{} says that the one before was still so at {}", told(), show(after)));
        }
        if states[found].from < after && !was_told {
            return Err(format!("{} was so before {}, when the one before is said to be", told(), show(after)));
        }
    }
    Ok(found)
}

/// Whether a state held at any moment between two.
fn was(states: &[State], place: usize, from: i64, to: i64) -> bool {
    states[place].from <= to + 1 && states.get(place + 1).is_none_or(|next| next.from >= from - 1)
}

/// Whether a provider sent empty lists, although it has segments, at any moment between two.
fn lies(troubles: &[Trouble], provider: Provider, from: i64, to: i64) -> bool {
    let is_it = |trouble: &Trouble| trouble.provider == Some(provider) && trouble.what == "empty list";
    troubles.iter().any(|trouble| is_it(trouble) && trouble.from <= to && trouble.to >= from)
}

/// Which segments an answer told about.
pub fn told(poll: &Poll, pages: &[Page], truth: &Truth, troubles: &[Trouble]) -> Vec<String> {
    let is_answer = ["created", "updated", "unchanged", "deleted", "restored"].contains(&poll.outcome.as_str());
    let (from, to) = (poll.started - 1, poll.finished + 1);
    match &poll.segment {
        _ if !is_answer => Vec::new(),
        Some(id) => vec![id.clone()],
        None => {
            let page = pages.iter().find(|page| page.provider == poll.provider && (from..=to).contains(&page.at));
            // Whoever comes or goes moves the others to other pages.
            let is_listed = |id: &String, at: i64| {
                truth.at(poll.provider, id, at).is_some_and(|at| {
                    let state = &truth.states(poll.provider, id)[at];
                    state.is_there || (state.text.is_some() && poll.provider == Provider::Statsig)
                })
            };
            let listed = |at: i64| ids(poll.provider).into_iter().filter(move |id| is_listed(id, at));
            let stays = listed(from).eq(listed(to));
            let page = page.filter(|_| stays && !lies(troubles, poll.provider, from, to));
            page.map_or_else(Vec::new, |page| listed(to).skip(page.skip).take(PAGE).collect())
        }
    }
}

/// What became of an answer.
pub enum Kept {
    Yes,
    /// Another answer about the segment made a version while this one was on its way. Which of the two is newer nobody
    /// can know, so this one was passed by; the next poll tells, and [`unknown`] holds that it does.
    Overtaken,
    No(String),
}

/// Whether the file knew, after a poll, what was so when that poll was sent, or something newer.
pub fn answer(truth: &Truth, name: &Name, seen: &[Seen], poll: &Poll) -> Kept {
    let Some(place) = truth.at(name.0, &name.2, poll.started) else { return Kept::Yes };
    let state = &truth.states(name.0, &name.2)[place];
    // Not found once is no deletion yet.
    if state.text.is_none() {
        return Kept::Yes;
    }
    let known = seen.iter().rev().find(|version| version.at <= poll.finished);
    let is_newer = known.and_then(|known| known.state).is_some_and(|known| known > place);
    if is_newer || agrees(state, known) {
        return Kept::Yes;
    }
    if known.is_some_and(|known| known.poll != poll.id && (poll.started..=poll.finished).contains(&known.finished)) {
        return Kept::Overtaken;
    }
    let known = known.map(|known| format!("v{} of {}", known.seq, show(known.at)));
    let (asked, since) = (show(poll.started), show(state.from));
    Kept::No(format!(
        "{}: poll {} of {asked} was told what was so since {since}, and {known:?} was still the last ({})",
        call(name),
        poll.id,
        poll.outcome
    ))
}

fn agrees(state: &State, known: Option<&Seen>) -> bool {
    match known {
        Some(known) if state.is_there => !known.is_delete && known.text == state.text,
        Some(known) => known.is_delete,
        // What was never there when it was looked for is not known.
        None => !state.is_there,
    }
}

/// The times in which nothing stood in the way of a provider's polls.
pub struct Calm {
    windows: Vec<(i64, i64)>,
    length: i64,
}

impl Calm {
    pub fn of(troubles: &[Trouble], provider: Provider, begin: i64, end: i64) -> Self {
        let concerns = |trouble: &&Trouble| trouble.provider.is_none_or(|whose| whose == provider);
        let mut busy: Vec<(i64, i64)> = troubles
            .iter()
            .filter(concerns)
            .map(|trouble| (trouble.from, trouble.to + if trouble.provider.is_some() { RECOVERY } else { RETURN }))
            .collect();
        busy.push((end, end));
        busy.sort_unstable();
        let (mut windows, mut free) = (Vec::new(), begin);
        for (from, to) in busy {
            if from > free {
                windows.push((free, from.min(end)));
            }
            free = free.max(to);
        }
        Self { windows, length: end - begin }
    }

    /// Of the whole time.
    pub fn share(&self) -> f64 {
        self.windows.iter().map(|(from, to)| to - from).sum::<i64>() as f64 / self.length as f64
    }
}

/// How often a segment is polled by itself, or with its list (`None`: the list).
fn every(provider: Provider, way: &str, id: Option<&str>) -> i64 {
    match way {
        _ if id == Some(&own_id(provider)) => OWN,
        "list" => LIST_EVERY,
        _ => EVERY,
    }
}

/// States that lasted for longer than an interval while nothing stood in the way, and that the file did not know then.
pub fn unknown(truth: &Truth, seen: &BTreeMap<Name, Vec<Seen>>, provider: Provider, calm: &Calm) -> Vec<String> {
    let mut findings = Vec::new();
    for (_, id, states) in truth.all().filter(|(whose, ..)| *whose == provider) {
        for way in crate::soak::stage::WAYS {
            let name = (provider, way, id.to_owned());
            let versions = seen.get(&name).map_or(&[][..], Vec::as_slice);
            for (place, state) in states.iter().enumerate() {
                // Gone is what was not found twice; once, if a list lacked it that polls it no more often by itself.
                let every = every(provider, way, Some(id));
                let is_listed = every == LIST_EVERY;
                let need = if state.text.is_none() && !is_listed { 2 * every } else { every } + LATE;
                let end = states.get(place + 1).map_or(i64::MAX, |next| next.from);
                let windows = calm.windows.iter().map(|(from, to)| (state.from.max(*from), end.min(*to)));
                for (from, _) in windows.filter(|(from, to)| to - from > need) {
                    let known = versions.iter().rev().find(|version| version.at <= from + need);
                    if !agrees(state, known) {
                        let known = known.map(|known| format!("v{} of {}", known.seq, show(known.at)));
                        let (since, by) = (show(state.from), show(from + need));
                        findings.push(format!("{}: so since {since}, not known by {by}: {known:?}", call(&name)));
                    }
                }
            }
        }
    }
    findings
}

/// Segments and lists that were not polled for longer than their interval while nothing stood in the way.
pub fn unpolled(polls: &[Poll], provider: Provider, calm: &Calm) -> Vec<String> {
    let singly = ids(provider).into_iter().map(|id| ("each", Some(id)));
    let mut findings = Vec::new();
    for (way, segment) in singly.chain([("list", Some(own_id(provider))), ("list", None)]) {
        let is_it = |poll: &&Poll| {
            let is_answer = !["failed", "malformed", "throttled", "unauthorized"].contains(&poll.outcome.as_str());
            (poll.provider, poll.way, &poll.segment) == (provider, way, &segment) && is_answer
        };
        let answered: Vec<i64> = polls.iter().filter(is_it).map(|poll| poll.finished).collect();
        let most = every(provider, way, segment.as_deref()) + LATE;
        for &(from, to) in &calm.windows {
            let within = answered.iter().copied().filter(|at| (from..to).contains(at));
            let times: Vec<i64> = [from].into_iter().chain(within).chain([to]).collect();
            for gap in times.windows(2).filter(|gap| gap[1] - gap[0] > most) {
                let (from, to) = (show(gap[0]), show(gap[1]));
                let what = segment.as_deref().unwrap_or("the list");
                findings.push(format!("{}-{way}: {what} was not polled from {from} to {to}", name(provider)));
            }
        }
    }
    findings
}

fn call((provider, way, id): &Name) -> String {
    format!("{}-{way}/{id}", name(*provider))
}
