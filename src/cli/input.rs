//! What people type: times and segments. A name that is not exactly known is never guessed, only suggested.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::Misuse;
use crate::model::{SegmentKey, SegmentState, SourceName, UnixMs};
use crate::store::{At, FreshnessRow, Reader, StoredVersion};

/// A TIME of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// RFC 3339, or a date.
    At(UnixMs),
    /// An age, such as "2h".
    Ago(Duration),
}

impl Time {
    /// Reads what somebody typed.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(at) = UnixMs::parse(text) {
            return Ok(Self::At(at));
        }
        humantime::parse_duration(text).map(Self::Ago).map_err(|_| {
            "write a time like 2026-01-31T09:30:00Z, a date like 2026-01-31 (its start, UTC), or an age like 2h or 3d"
                .to_owned()
        })
    }

    /// The moment that it means at `now`.
    pub(super) fn moment(self, now: UnixMs) -> UnixMs {
        match self {
            Self::At(at) => at,
            Self::Ago(age) => now.minus(age),
        }
    }
}

/// What a typed name means among known segments.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// This one: by `source/id`, or by an id that only one source has.
    One(&'a SegmentKey),
    /// An id of several sources: these.
    Several(Vec<&'a SegmentKey>),
    /// None; with `; did you mean …?` where one is close.
    Nothing(String),
}

/// Finds the segment that `name` means.
pub(super) fn named<'a>(name: &str, known: &'a [SegmentKey]) -> Named<'a> {
    if let Some(key) = known.iter().find(|key| key.to_string() == *name) {
        return Named::One(key);
    }
    let by_id: Vec<&SegmentKey> = known.iter().filter(|key| *key.id == *name).collect();
    match *by_id {
        [key] => Named::One(key),
        [] => {
            let whole: Vec<String> = known.iter().map(SegmentKey::to_string).collect();
            let both = known.iter().zip(&whole).flat_map(|(key, whole)| [(&*key.id, whole), (whole.as_str(), whole)]);
            Named::Nothing(did_you_mean(name, both.map(|(text, whole)| (text, whole.as_str()))))
        }
        _ => Named::Several(by_id),
    }
}

/// What to say of an id of several sources.
pub(super) fn say_which(name: &str, keys: &[&SegmentKey]) -> Misuse {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    Misuse(format!("{name} is in several sources; say which: {}", keys.join(", ")))
}

/// `; did you mean …?` where names that are known are close: those of the texts that look most like `name`.
pub(super) fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    const CLOSE: f64 = 0.8;
    const MOST: usize = 3;
    let name = name.to_lowercase();
    let likeness = |(text, shown)| (strsim::jaro_winkler(&name, &str::to_lowercase(text)), shown);
    let mut close: Vec<(f64, &str)> = known.map(likeness).filter(|(likeness, _)| *likeness > CLOSE).collect();
    close.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(other.1)));
    let mut shown: Vec<&str> = Vec::new();
    for (_, text) in close {
        if shown.len() < MOST && !shown.contains(&text) {
            shown.push(text);
        }
    }
    match shown.split_last() {
        None => String::new(),
        Some((last, [])) => format!("; did you mean {last}?"),
        Some((last, others)) => format!("; did you mean {} or {last}?", others.join(", ")),
    }
}

/// The source of the file with that name.
pub(super) fn known_source(reader: &Reader, name: &str) -> Result<SourceName> {
    let known: Vec<SourceName> = reader.sources()?.into_iter().map(|source| source.name).collect();
    match known.iter().find(|known| known.as_str() == name) {
        Some(name) => Ok(name.clone()),
        None => {
            let known: Vec<&str> = known.iter().map(SourceName::as_str).collect();
            bail!("no source {name} is in {}; it holds {}", reader.path().display(), known.join(", "))
        }
    }
}

/// The segment of the file that `name` means, among those of `source` where one is given. Unknown is a failure, an id of
/// several sources a misuse.
pub(super) fn segment_in(reader: &Reader, name: &str, source: Option<&str>) -> Result<SegmentKey> {
    let mut known = reader.segment_keys()?;
    known.retain(|key| source.is_none_or(|source| key.source.as_str() == source));
    match named(name, &known) {
        Named::One(key) => Ok(key.clone()),
        Named::Several(keys) => bail!(say_which(name, &keys)),
        Named::Nothing(hint) => Err(anyhow!("no segment {name} is in {}{hint}", reader.path().display())),
    }
}

/// One version of a segment of the file; a failure that says why where there is none.
pub(super) fn version_in(reader: &Reader, key: &SegmentKey, at: At) -> Result<StoredVersion> {
    match (reader.version(key, at)?, reader.segment(key)?) {
        (Some(version), _) => Ok(version),
        (None, Some(segment)) => bail!(why_nothing(reader, &segment, at)?),
        (None, None) => bail!("no segment {key} is in {}", reader.path().display()),
    }
}

/// The document to show for a version; a failure that says why where there is none.
pub(super) fn document_of(version: &StoredVersion) -> Result<&str> {
    let (key, seq) = (&version.entry.key, version.entry.seq);
    match version.document.as_deref() {
        Some(document) => Ok(document),
        None if seq > 1 => bail!(
            "version {seq} of {key} is its deletion, and its last document, of version {}, is no longer kept \
             ([store] keep_versions)",
            seq - 1
        ),
        None => bail!("{key} never had a document"),
    }
}

/// Why there is no version to show.
fn why_nothing(reader: &Reader, segment: &FreshnessRow, at: At) -> Result<String> {
    let key = &segment.key;
    if segment.state == SegmentState::Pending {
        let why = segment.last_error.as_ref().map(|error| format!("; the last poll says: {error}"));
        let tracked = if segment.tracked { "is configured, but" } else { "is no longer tracked, and" };
        return Ok(format!("{key} {tracked} was never seen yet{}", why.unwrap_or_default()));
    }
    if let Some(gap) = reader.gap(key, at)? {
        let what = match at {
            At::Seq(number) => format!("version {number} of {key}"),
            At::Time(at) => format!("what {key} was at {at}"),
            At::Latest => format!("what {key} was"),
        };
        return Ok(format!("{what} is no longer kept ([store] keep_versions; gone: {gap})"));
    }
    let first = reader.version(key, At::Seq(1))?.map(|first| first.entry.observed_at.to_string());
    Ok(match at {
        At::Seq(number) => format!("{key} has no version {number}; the latest is {}", segment.version),
        At::Latest | At::Time(_) => {
            format!("{key} was first seen at {}; nothing is known of the time before", first.unwrap_or_default())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SourceName;

    #[test]
    fn times_are_moments_or_ages() {
        let now = UnixMs::parse("2026-01-31T12:00:00Z").expect("a time");
        let at = |text: &str| Time::parse(text).map(|time| time.moment(now).to_string());
        assert_eq!(at("2026-01-30"), Ok("2026-01-30T00:00:00.000Z".to_owned()));
        assert_eq!(at("2026-01-30T01:00:00+02:00"), Ok("2026-01-29T23:00:00.000Z".to_owned()));
        assert_eq!(at("1h 30m"), Ok("2026-01-31T10:30:00.000Z".to_owned()));
        assert_eq!(at("3d"), Ok("2026-01-28T12:00:00.000Z".to_owned()));
        for wrong in ["", "yesterday", "5", "-2h", "2026-13-01", "2026-01-30T01:00:00"] {
            assert!(Time::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_exact_or_nothing() {
        let key = |source: &str, id: &str| SegmentKey::new(SourceName::new(source), id);
        let known = [key("a", "beta"), key("b", "beta"), key("a", "vip"), key("a", "b/vip"), key("b", "vip2")];
        assert_eq!(named("b/beta", &known), Named::One(&known[1]));
        assert_eq!(named("beta", &known), Named::Several(vec![&known[0], &known[1]]));
        assert_eq!(named("vip", &known), Named::One(&known[2]));
        assert_eq!(named("b/vip", &known), Named::One(&known[3]), "an id may hold a slash");
        assert_eq!(named("a/vpi", &known), Named::Nothing("; did you mean a/vip or a/b/vip?".to_owned()));
        assert_eq!(named("zzz", &known), Named::Nothing(String::new()));
        assert_eq!(named("beta", &[]), Named::Nothing(String::new()));
    }
}
