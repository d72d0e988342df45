//! Typed readers over a TOML table: each takes one value, or says where and why it cannot and what it expects.
//!
//! Reading goes on after an error, so that one run shows them all. Must never let a key pass that nobody reads:
//! a section refuses what it does not list.

use std::fmt::Display;
use std::ops::RangeInclusive;

use toml::de::{DeTable, DeValue};

use super::{SIZE, Sink, bytes, quote, size};

/// One kind of table in the file.
#[derive(Debug)]
pub struct Place {
    /// The dotted path of its keys; empty at the top level.
    pub path: &'static str,
    /// How the file writes it, such as `[[source]]`.
    pub heading: &'static str,
    /// Every key that it may have.
    pub keys: &'static [&'static str],
}

const fn place(path: &'static str, heading: &'static str, keys: &'static [&'static str]) -> Place {
    Place { path, heading, keys }
}

pub(super) const ROOT: Place = place("", "the top level", &["store", "poll", "http", "log", "source"]);
pub(super) const STORE: Place = place("store", "[store]", &["path", "keep_polls", "keep_versions"]);
pub(super) const POLL: Place = place("poll", "[poll]", &["every", "timeout", "concurrency", "stale_after"]);
pub(super) const HTTP: Place = place("http", "[http]", &["listen", "token", "hosts", "cache"]);
pub(super) const LOG: Place = place("log", "[log]", &["level", "format"]);
pub(super) const SOURCE: Place = place(
    "source",
    "[[source]]",
    &[
        "name",
        "provider",
        "base_url",
        "api_key",
        "limits",
        "share",
        "burst",
        "fetch",
        "every",
        "timeout",
        "concurrency",
        "stale_after",
        "ignore",
        "max_body",
        "segments",
        "segment",
    ],
);
pub(super) const API_KEY: Place = place("source.api_key", "api_key", &["env", "file", "credential"]);
pub(super) const TOKEN: Place = place("http.token", "token", API_KEY.keys);
pub(super) const LIMIT: Place = place("source.limits", "limits", &["requests", "per"]);
pub(super) const SEGMENT: Place = place("source.segment", "[[source.segment]]", &["id", "every"]);

/// Every kind of table in the file, with its keys.
pub const PLACES: [&Place; 10] = [&ROOT, &STORE, &POLL, &HTTP, &TOKEN, &LOG, &SOURCE, &API_KEY, &LIMIT, &SEGMENT];

/// A table that is being read.
pub(super) struct Section<'a> {
    sink: &'a Sink<'a>,
    place: &'static Place,
    table: &'a DeTable<'a>,
    offset: usize,
    /// The known keys that its unknown ones were probably meant to be.
    meant: Vec<&'static str>,
}

/// A value that is being read.
pub(super) struct Field<'a> {
    pub(super) sink: &'a Sink<'a>,
    key: String,
    value: &'a DeValue<'a>,
    pub(super) offset: usize,
}

impl<'a> Section<'a> {
    /// Starts to read a table, whose unknown keys are reported at once.
    pub(super) fn new(sink: &'a Sink<'a>, place: &'static Place, table: &'a DeTable<'a>, offset: usize) -> Self {
        let mut section = Self { sink, place, table, offset, meant: Vec::new() };
        for key in table.keys() {
            let (offset, key) = (key.span().start, key.get_ref().as_ref());
            if !section.place.keys.contains(&key) {
                section.unknown(offset, key);
            }
        }
        section
    }

    fn unknown(&mut self, offset: usize, key: &str) {
        let advice = if let Some(other) = PLACES.iter().find(|place| place.keys.contains(&key)) {
            format!("it belongs to {}", other.heading)
        } else if let Some(nearest) = nearest(key, self.place.keys) {
            self.meant.push(nearest);
            format!("did you mean {nearest}?")
        } else {
            format!("{} has {}", self.place.heading, self.place.keys.join(", "))
        };
        let shown = if key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
            key.chars().take(60).collect()
        } else {
            quote(key)
        };
        self.sink.push(offset, self.dotted(&shown), format!("unknown key; {advice}"));
    }

    fn dotted(&self, key: &str) -> String {
        if self.place.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place.path) }
    }

    /// The key's value, if it is there.
    pub(super) fn get(&self, key: &'static str) -> Option<Field<'a>> {
        let (sink, value) = (self.sink, self.table.get(key)?);
        Some(Field { sink, key: self.dotted(key), value: value.get_ref(), offset: value.span().start })
    }

    /// The key's value; a problem where it is missing.
    pub(super) fn require(&self, key: &'static str, expected: &str) -> Option<Field<'a>> {
        let field = self.get(key);
        // A misspelt key has had its line already.
        if field.is_none() && !self.meant.contains(&key) {
            self.wrong(key, format!("missing; expected {expected}"));
        }
        field
    }

    /// A problem with a key of this table, at the key's value or, where it is missing, at the table's heading.
    pub(super) fn wrong(&self, key: &'static str, what: String) {
        let offset = self.get(key).map_or(self.offset, |field| field.offset);
        self.sink.push(offset, self.dotted(key), what);
    }

    /// Whether it holds keys that are unknown.
    pub(super) fn is_odd(&self) -> bool {
        self.table.keys().any(|key| !self.place.keys.contains(&key.get_ref().as_ref()))
    }
}

impl<'a> Field<'a> {
    /// A problem with this value: "what is wrong; what is expected".
    pub(super) fn wrong(&self, what: impl Into<String>) {
        self.sink.push(self.offset, self.key.as_str(), what);
    }

    /// A problem with this value's type.
    pub(super) fn mistyped<T>(&self, expected: &str) -> Option<T> {
        let article = if matches!(self.value, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
        self.wrong(format!("found {article} {}; expected {expected}", self.value.type_str()));
        None
    }

    pub(super) fn as_text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    pub(super) fn text(&self, expected: &str) -> Option<&'a str> {
        self.as_text().or_else(|| self.mistyped(expected))
    }

    /// A text, as `read` understands it.
    pub(super) fn read<T, E: Display>(&self, expected: &str, read: impl FnOnce(&'a str) -> Result<T, E>) -> Option<T> {
        read(self.text(expected)?).map_err(|error| self.wrong(error.to_string())).ok()
    }

    /// An integer; `None` for any other type, and for one beyond 64 bits.
    pub(super) fn as_integer(&self) -> Option<i64> {
        let integer = self.value.as_integer()?;
        i64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    pub(super) fn whole<T: TryFrom<i64> + PartialOrd + Display>(&self, range: RangeInclusive<T>) -> Option<T> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let Some(number) = self.value.as_integer() else { return self.mistyped(&expected) };
        let fits = self.as_integer().and_then(|fits| T::try_from(fits).ok()).filter(|fits| range.contains(fits));
        if fits.is_none() {
            self.wrong(format!(
                "{} is out of range; expected {expected}",
                quote(&number.to_string()).trim_matches('"')
            ));
        }
        fits
    }

    /// A size: a text with its unit, or a number of bytes.
    pub(super) fn size(&self) -> Option<u64> {
        match self.as_integer() {
            Some(number) => bytes(u64::try_from(number).unwrap_or(0)).map_err(|error| self.wrong(error)).ok(),
            None => self.read(SIZE, size),
        }
    }

    /// A number, whole or not, as it is written and as it is.
    pub(super) fn number(&self, expected: &str) -> Option<(&'a str, f64)> {
        let text = match self.value {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            _ => return self.mistyped(expected),
        };
        text.parse().ok().map(|number| (text, number))
    }

    pub(super) fn list(&self, expected: &str) -> Option<Vec<Field<'a>>> {
        let Some(items) = self.value.as_array() else { return self.mistyped(expected) };
        let field = |item: &'a toml::Spanned<DeValue<'a>>| Field {
            sink: self.sink,
            key: self.key.clone(),
            value: item.get_ref(),
            offset: item.span().start,
        };
        Some(items.iter().map(field).collect())
    }

    pub(super) fn section(&self, place: &'static Place, expected: &str) -> Option<Section<'a>> {
        let Some(table) = self.value.as_table() else { return self.mistyped(expected) };
        Some(Section::new(self.sink, place, table, self.offset))
    }
}

/// The known key that the unknown one most resembles, if any does.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let likeness = |known: &&'static str| (strsim::normalized_damerau_levenshtein(key, known), *known);
    let best = known.iter().map(likeness).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.5).then_some(best.1)
}
