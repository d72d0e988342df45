//! What people type: times and segments. A name that is not exactly known is never guessed, only suggested.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::Misuse;
use crate::model::{SegmentKey, UnixMs};
use crate::store::Reader;

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
    /// An id of several sources; this is the first.
    Several(&'a SegmentKey),
    /// None; with `; did you mean …?` where one is close.
    Nothing(String),
}

/// Finds the segment that `name` means.
pub(super) fn named<'a>(name: &str, known: &'a [SegmentKey]) -> Named<'a> {
    if let Some(key) = known.iter().find(|key| key.to_string() == *name) {
        return Named::One(key);
    }
    let mut by_id = known.iter().filter(|key| *key.id == *name);
    match (by_id.next(), by_id.next()) {
        (Some(key), None) => Named::One(key),
        (Some(key), Some(_)) => Named::Several(key),
        (None, _) => Named::Nothing(nearest(name, known)),
    }
}

/// `; did you mean …?` where a known segment is close.
fn nearest(name: &str, known: &[SegmentKey]) -> String {
    let likeness =
        |key: &SegmentKey| strsim::jaro_winkler(name, &key.to_string()).max(strsim::jaro_winkler(name, &key.id));
    let best = known.iter().map(|key| (likeness(key), key)).max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(likeness, _)| *likeness > 0.8).map_or_else(String::new, |(_, key)| format!("; did you mean {key}?"))
}

/// The segment of the file that `name` means, among those of `source` where one is given. Unknown is a failure, an id of
/// several sources a misuse.
pub(super) fn segment_in(reader: &Reader, name: &str, source: Option<&str>) -> Result<SegmentKey> {
    let mut known = reader.segment_keys()?;
    known.retain(|key| source.is_none_or(|source| key.source.as_str() == source));
    match named(name, &known) {
        Named::One(key) => Ok(key.clone()),
        Named::Several(key) => {
            bail!(Misuse(format!("{name} is in several sources; say which, as in {key}")))
        }
        Named::Nothing(hint) => Err(anyhow!("no segment {name} is in {}{hint}", reader.path().display())),
    }
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
        assert_eq!(named("beta", &known), Named::Several(&known[0]));
        assert_eq!(named("vip", &known), Named::One(&known[2]));
        assert_eq!(named("b/vip", &known), Named::One(&known[3]), "an id may hold a slash");
        assert_eq!(named("a/vpi", &known), Named::Nothing("; did you mean a/vip?".to_owned()));
        assert_eq!(named("zzz", &known), Named::Nothing(String::new()));
        assert_eq!(named("beta", &[]), Named::Nothing(String::new()));
    }
}
