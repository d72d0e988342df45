//! Wall-clock times as the database keeps them: integer Unix milliseconds, UTC.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// A point in wall-clock time, in Unix milliseconds, UTC. Shown as `2026-01-31T09:30:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub i64);

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time; write it like 2026-01-31T09:30:00Z or 2026-01-31")]
pub struct UnixMsError(String);

impl UnixMs {
    /// Reads an RFC 3339 time, or a date (its first instant in UTC).
    pub fn parse(text: &str) -> Result<Self, UnixMsError> {
        let is_date = text.len() == 10;
        let whole = if is_date { format!("{text}T00:00:00Z") } else { text.to_owned() };
        whole.parse::<jiff::Timestamp>().map(|at| Self(at.as_millisecond())).map_err(|_| UnixMsError(text.to_owned()))
    }

    /// Milliseconds since `earlier`; negative when `earlier` is later.
    pub const fn since(self, earlier: UnixMs) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time plus `by`, saturating.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This time minus `by`, saturating.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for UnixMs {
    /// RFC 3339 with milliseconds; a time outside of years −9999 to 9999 shows as its number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => f.pad(&format!("{at:.3}")),
            Err(_) => self.0.fmt(f),
        }
    }
}

impl Serialize for UnixMs {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_and_show() {
        let at = UnixMs::parse("2026-01-31T09:30:00Z").expect("a time");
        assert_eq!(at.to_string(), "2026-01-31T09:30:00.000Z");
        assert_eq!(UnixMs::parse("2026-01-31").map(|t| t.0), Ok(at.0 - 9 * 3_600_000 - 30 * 60_000));
        assert_eq!(UnixMs::parse("2026-01-31T09:30:00+01:00").map(|t| t.0), Ok(at.0 - 3_600_000));
        assert!(UnixMs::parse("yesterday").is_err());
        // A leap second is the second before it.
        assert_eq!(UnixMs::parse("2016-12-31T23:59:60Z"), UnixMs::parse("2016-12-31T23:59:59Z"));
        // Without an offset nobody knows which of two hours it is, or whether there is one.
        assert!(UnixMs::parse("2026-10-25T02:30:00").is_err());
        assert_eq!(UnixMs(i64::MAX).to_string(), i64::MAX.to_string());
    }
}
