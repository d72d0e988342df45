//! Reads `[poll]` and the `[[source]]` tables: who is asked, how, how often, and for which segments.
//!
//! Must never accept a source that cannot be polled, nor repeat an API key that someone wrote into the file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use super::{API_KEY, LIMIT, SEGMENT, SOURCE};
use super::{BASE_URL, DURATION, MULTIPLE, SOURCE_NAME};
use super::{Field, KEY_FORMS, Section, Segment, Segments, Source};
use super::{base_url, duration, key_ref, multiple, quote, source_name};
use crate::model::{Fetch, Limit, Path, ProviderEntry, SourceName};

const LIMIT_FORM: &str = r#"{ requests = 100, per = "10s" }"#;
const SEGMENTS: &str = r#""all" or a list of segment ids"#;
const SHARE: &str = "more than 0 and at most 1.0";

/// What `[poll]` sets for all sources, and each source for itself.
#[derive(Clone, Copy)]
pub(super) struct Poll {
    every: Duration,
    timeout: Duration,
    concurrency: u16,
    stale_after: f64,
}

impl Default for Poll {
    fn default() -> Self {
        Self { every: Duration::from_secs(300), timeout: Duration::from_secs(10), concurrency: 8, stale_after: 3.0 }
    }
}

/// Reads the polling keys of `[poll]` or `[[source]]`; what is absent, or wrong and reported, comes from `base`.
pub(super) fn poll(table: &Section<'_>, base: Poll) -> Poll {
    let interval = |key| table.get(key).and_then(|field| field.read(DURATION, duration));
    Poll {
        every: interval("every").unwrap_or(base.every),
        timeout: interval("timeout").unwrap_or(base.timeout),
        concurrency: table.get("concurrency").and_then(|field| field.whole(1..=1000)).unwrap_or(base.concurrency),
        stale_after: table
            .get("stale_after")
            .and_then(|field| field.read(MULTIPLE, multiple))
            .unwrap_or(base.stale_after),
    }
}

/// Reads every `[[source]]`. Sources that lack something have been reported and are left out.
pub(super) fn sources(root: &Section<'_>, catalogue: &[ProviderEntry], base: Poll) -> Vec<Source> {
    let expected = "at least one [[source]] table";
    let fields = root.require("source", expected).and_then(|field| {
        let list = field.list("[[source]], with two brackets on either side")?;
        if list.is_empty() {
            field.wrong(format!("empty; expected {expected}"));
        }
        Some(list)
    });
    let mut seen = HashMap::new();
    let mut sources = Vec::new();
    for field in fields.unwrap_or_default() {
        let table = field.section(&SOURCE, "a table");
        sources.extend(table.and_then(|table| source(&table, catalogue, base, &mut seen)));
    }
    sources
}

fn source<'a>(
    table: &Section<'a>,
    catalogue: &[ProviderEntry],
    base: Poll,
    seen: &mut HashMap<&'a str, usize>,
) -> Option<Source> {
    let poll = poll(table, base);
    let name = table.require("name", SOURCE_NAME).and_then(|field| {
        let name = field.read(SOURCE_NAME, source_name)?;
        once(&field, name, seen, "source").map(SourceName::new)
    });
    let provider = provider(table, catalogue);
    let address = match table.get("base_url") {
        Some(field) => field.read(BASE_URL, base_url),
        None => {
            provider.and_then(|entry| base_url(entry.base_url).map_err(|error| table.wrong("base_url", error)).ok())
        }
    };
    let api_key = table.require("api_key", KEY_FORMS).and_then(|field| key_ref(&field, &API_KEY, "API key"));
    let limits = limits(table);
    let share = share(table, &limits);
    let max_body = table.get("max_body").and_then(|field| field.size());
    let burst = table.get("burst").and_then(|field| field.whole(1..=10_000)).unwrap_or(10);
    let fetch = table.get("fetch").and_then(|field| field.read(&words(Fetch::ALL), str::parse)).unwrap_or(Fetch::Auto);
    let ignore = ignore(table);
    let segments = segments(table);
    Some(Source {
        name: name?,
        provider: provider?.name,
        base_url: address?,
        api_key: api_key?,
        limits,
        share,
        burst,
        fetch,
        every: poll.every,
        timeout: poll.timeout,
        concurrency: poll.concurrency,
        stale_after: poll.stale_after,
        ignore,
        max_body: max_body.unwrap_or(16 << 20),
        segments: segments?,
    })
}

/// The known words, for an error line.
pub(super) fn words(all: &[impl ToString]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    format!("one of {}", all.join(", "))
}

/// Passes the text on unless it came before, at an offset of `seen`.
fn once<'a>(field: &Field<'a>, text: &'a str, seen: &mut HashMap<&'a str, usize>, what: &str) -> Option<&'a str> {
    match seen.entry(text) {
        Entry::Vacant(free) => {
            free.insert(field.offset);
            Some(text)
        }
        Entry::Occupied(first) => {
            let (text, line) = (quote(text), field.sink.line(*first.get()));
            field.wrong(format!("{text} is already a {what} on line {line}; expected each {what} once"));
            None
        }
    }
}

fn provider(table: &Section<'_>, catalogue: &[ProviderEntry]) -> Option<ProviderEntry> {
    let names: Vec<&str> = catalogue.iter().map(|entry| entry.name).collect();
    let expected = words(&names);
    let find = |text: &str| {
        let known = catalogue.iter().find(|entry| entry.name == text).copied();
        known.ok_or_else(|| format!("{} is not a known provider; expected {expected}", quote(text)))
    };
    table.require("provider", &expected)?.read(&expected, find)
}

fn limits(table: &Section<'_>) -> Vec<Limit> {
    let limit = |requests, seconds| Limit { requests, per: Duration::from_secs(seconds) };
    let expected = format!("a list of limits such as {LIMIT_FORM}; [] is unlimited");
    let Some(items) = table.get("limits").map(|field| field.list(&expected)) else {
        return vec![limit(100, 10), limit(900, 900)];
    };
    let read = |field: &Field<'_>| {
        let table = field.section(&LIMIT, LIMIT_FORM)?;
        let requests = table.require("requests", LIMIT_FORM).and_then(|field| field.whole(1..=u32::MAX));
        let per = table.require("per", LIMIT_FORM).and_then(|field| field.read(DURATION, duration));
        Some(Limit { requests: requests?, per: per? })
    };
    items.unwrap_or_default().iter().filter_map(read).collect()
}

fn share(table: &Section<'_>, limits: &[Limit]) -> f64 {
    let Some(field) = table.get("share") else { return 1.0 };
    let Some((text, share)) = field.number(SHARE) else { return 1.0 };
    if !(share > 0.0 && share <= 1.0) {
        field.wrong(format!("{} is out of range; expected {SHARE}", quote(text).trim_matches('"')));
    } else if let Some(limit) = limits.iter().find(|limit| f64::from(limit.requests) * share < 1.0) {
        let least = (1000.0 / f64::from(limit.requests)).ceil() / 1000.0;
        field.wrong(format!("leaves less than one request of the limit {limit}; expected {least} or more"));
    }
    share
}

fn ignore(table: &Section<'_>) -> Vec<Path> {
    let expected = r#"a list of JSON paths such as "$.lastModifierName""#;
    let items = table.get("ignore").and_then(|field| field.list(expected)).unwrap_or_default();
    let read = |text: &str| match Path::parse(text) {
        Ok(path) if path.0.is_empty() => Err(format!("$ is the whole document; expected {expected}")),
        Ok(path) => Ok(path),
        Err(_) => Err(format!("{} is not a JSON path; expected one such as \"$.rules[*].name\"", quote(text))),
    };
    items.iter().filter_map(|item| item.read(expected, read)).collect()
}

fn segments(table: &Section<'_>) -> Option<Segments> {
    let tables = table.get("segment").map(|field| field.list("[[source.segment]], with two brackets on either side"));
    let none_own = tables.as_ref().is_none_or(|tables| tables.as_ref().is_some_and(Vec::is_empty));
    let mut seen = HashMap::new();
    let own: Vec<_> = tables.flatten().unwrap_or_default().iter().filter_map(|field| own(field, &mut seen)).collect();
    let Some(field) = table.get("segments") else {
        if none_own {
            table.require("segments", SEGMENTS);
        }
        return Some(Segments::Named(own));
    };
    if let Some(text) = field.as_text() {
        if text != "all" {
            field.wrong(format!("{} is neither; expected {SEGMENTS}", quote(text)));
        }
        return Some(Segments::All { own });
    }
    let items = field.list(SEGMENTS)?;
    if items.is_empty() && none_own {
        field.wrong(format!("no segment; expected {SEGMENTS}"));
    }
    let mut seen = HashMap::with_capacity(items.len());
    let ids: Vec<_> = items.iter().filter_map(|item| id(item, &mut seen)).collect();
    let promised: HashMap<&str, Option<Duration>> = own.iter().map(|segment| (&*segment.id, segment.every)).collect();
    let every = |id: &str| promised.get(id).copied().flatten();
    let mut named: Vec<_> = ids.iter().map(|id| Segment { id: Arc::from(*id), every: every(id) }).collect();
    named.extend(own.iter().filter(|segment| !seen.contains_key(&*segment.id)).cloned());
    Some(Segments::Named(named))
}

/// A `[[source.segment]]` table.
fn own<'a>(field: &Field<'a>, seen: &mut HashMap<&'a str, usize>) -> Option<Segment> {
    let table = field.section(&SEGMENT, "a table")?;
    let id = table.require("id", "a segment id").and_then(|field| id(&field, seen));
    let every = table.require("every", DURATION).and_then(|field| field.read(DURATION, duration));
    Some(Segment { id: Arc::from(id?), every: Some(every?) })
}

fn id<'a>(field: &Field<'a>, seen: &mut HashMap<&'a str, usize>) -> Option<&'a str> {
    let text = field.text("a segment id")?;
    if text.trim().is_empty() {
        field.wrong("a blank segment; expected the provider's id of one");
        return None;
    }
    once(field, text, seen, "segment")
}
