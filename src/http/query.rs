//! What callers ask for besides the path. Each parameter is known, once, and makes sense, or the caller is told.

use std::time::Duration;

use super::Problem;
use crate::config::read_duration;
use crate::model::UnixMs;

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query that may have these parameters.
    pub(super) fn read(raw: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut read: Vec<(String, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(raw.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                let name: String = name.chars().take(60).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Problem::bad_request(format!("there is no parameter {name:?} here; expected {known}")));
            }
            if read.iter().any(|(other, _)| *other == name) {
                return Err(Problem::bad_request(format!("{name} is there twice")));
            }
            read.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(read))
    }

    /// A parameter's value, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// A parameter as `read` understands it; its error says what is expected.
    fn read_as<T>(&self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, Problem> {
        let wrong = |what| Problem::bad_request(format!("{name}: {what}"));
        self.get(name).map(read).transpose().map_err(wrong)
    }

    /// A span of time, also none.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, Problem> {
        self.read_as(name, read_duration)
    }

    /// A moment: RFC 3339, a date, or an age before `now`.
    pub(super) fn time(&self, name: &str, now: UnixMs) -> Result<Option<UnixMs>, Problem> {
        self.read_as(name, |text| {
            let age = |_| read_duration(text).map(|age| now.minus(age));
            let expected =
                "a time like 2026-01-31T09:30:00Z, a date like 2026-01-31 (its start, UTC), or an age like 2h";
            UnixMs::parse(text).or_else(age).map_err(|_: String| format!("expected {expected}"))
        })
    }

    /// A whole number from 1 to `most`.
    pub(super) fn number(&self, name: &str, most: u32) -> Result<Option<u32>, Problem> {
        self.read_as(name, |text| {
            let number = text.parse().ok().filter(|number| (1..=most).contains(number));
            number.ok_or_else(|| format!("expected a whole number from 1 to {most}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_769_851_800_000);

    fn read(raw: &str) -> Result<Query, String> {
        Query::read(Some(raw), &["at", "max_age", "limit"]).map_err(|problem| problem.detail)
    }

    #[test]
    fn parameters_are_known_and_there_once() {
        assert_eq!(read("max_age=5s&at=a%20b+c").expect("known").get("at"), Some("a b c"));
        assert_eq!(
            read("a%0At=1").expect_err("unknown"),
            r#"there is no parameter "a\nt" here; expected at, max_age, limit"#
        );
        assert_eq!(read("at=1&at=2").expect_err("twice"), "at is there twice");
        assert!(Query::read(None, &[]).is_ok_and(|query| query.get("at").is_none()));
    }

    #[test]
    fn values_make_sense() {
        let time = |text: &str| read(&format!("at={text}")).expect("known").time("at", NOW);
        assert_eq!(
            time("2026-01-31").map(|at| at.map(|at| at.to_string())),
            Ok(Some("2026-01-31T00:00:00.000Z".into()))
        );
        assert_eq!(time("90m"), Ok(Some(UnixMs(NOW.0 - 5_400_000))));
        assert!(time("yesterday").is_err() && time("").is_err());
        let age = |text: &str| read(&format!("max_age={text}")).expect("known").duration("max_age");
        assert_eq!((age("0s"), age("1m30s")), (Ok(Some(Duration::ZERO)), Ok(Some(Duration::from_secs(90)))));
        for wrong in ["", "5", "-1s", "18446744073709551615s1000ms"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
        let limit = |text: &str| read(&format!("limit={text}")).expect("known").number("limit", 100);
        assert_eq!((limit("1"), limit("100")), (Ok(Some(1)), Ok(Some(100))));
        assert!(limit("0").is_err() && limit("101").is_err() && limit("x").is_err());
    }
}
