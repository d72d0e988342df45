//! What an answer's headers tell about when and how often to ask. Pure, and believes nothing that is no number or time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::budget::Remaining;
use crate::model::UnixMs;

/// From here on the reset of an `X-` form is Unix time in seconds, below it a number of seconds from now.
const LEAST_EPOCH: u64 = 1_000_000_000;

/// No limit's window is longer; what is said to reset later is nonsense.
const LONGEST_RESET: Duration = Duration::from_secs(24 * 3600);

/// `Retry-After` as seconds or as a date (RFC 9110 §10.2.3), a date counted from the answer's own `Date` where it has
/// one. What lies in the past, is zero or is no time says nothing.
pub fn retry_after(headers: &HeaderMap, now: UnixMs) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let until = httpdate::parse_http_date(text).ok()?;
        until.duration_since(sent_at(headers, now)?).ok()?
    };
    (!text.is_empty() && !wait.is_zero()).then_some(wait)
}

/// How many requests are left, and for how long: the least that any of these headers tells.
///
/// - `RateLimit: "default";r=50;t=30` and `RateLimit: limit=100, remaining=50, reset=30`
///   (draft-ietf-httpapi-ratelimit-headers, 08 and later, 07);
/// - `RateLimit-Remaining` with `RateLimit-Reset` (the same, up to 06), also with `X-`.
///
/// A number left without a reset, or one that lies in the past or more than a day ahead, says nothing.
pub fn remaining(headers: &HeaderMap, now: UnixMs) -> Option<Remaining> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let number = |name: &str| digits(text(name)?);
    let after = |seconds: u64| Some(Duration::from_secs(seconds));
    let after_or_at = |seconds: u64| {
        let at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
        if seconds < LEAST_EPOCH { after(seconds) } else { at.duration_since(sent_at(headers, now)?).ok() }
    };
    let pair = |left: Option<u64>, reset_after: Option<Duration>| {
        let reset_after = reset_after.filter(|reset| !reset.is_zero() && *reset <= LONGEST_RESET)?;
        Some(Remaining { left: left?, reset_after })
    };
    let structured =
        text("ratelimit").into_iter().flat_map(policies).map(|(left, reset)| pair(left, reset.and_then(after)));
    let plain = pair(number("ratelimit-remaining"), number("ratelimit-reset").and_then(after));
    let prefixed = pair(number("x-ratelimit-remaining"), number("x-ratelimit-reset").and_then(after_or_at));
    structured.chain([plain, prefixed]).flatten().min_by_key(|told| told.left)
}

/// What each policy of a `RateLimit` header says is left, and for how many seconds.
fn policies(text: &str) -> Vec<(Option<u64>, Option<u64>)> {
    let value = |part: &str, names: [&str; 2]| {
        let (name, value) = part.split_once('=')?;
        names.contains(&name.trim()).then(|| digits(value)).flatten()
    };
    let policy = |text: &str, between: &[char]| {
        let parts = || text.split(between);
        (parts().find_map(|part| value(part, ["r", "remaining"])), parts().find_map(|part| value(part, ["t", "reset"])))
    };
    // The older form is one policy, its parts apart by commas; the newer is a list of policies.
    if text.contains("remaining") {
        vec![policy(text, &[',', ';'])]
    } else {
        text.split(',').map(|item| policy(item, &[';'])).collect()
    }
}

fn digits(text: &str) -> Option<u64> {
    let text = text.trim();
    // `parse` alone takes a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// When the answer was sent: by its own `Date`, else `now`.
fn sent_at(headers: &HeaderMap, now: UnixMs) -> Option<SystemTime> {
    let date = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let now = Duration::from_millis(u64::try_from(now.0).unwrap_or(0));
    date.or_else(|| UNIX_EPOCH.checked_add(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_a_date_or_nothing() {
        let now = UnixMs::parse("2026-01-31T09:30:00Z").expect("a time");
        let read = |text: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect("a value"));
            if let Some(date) = date {
                headers.insert(DATE, date.parse().expect("a value"));
            }
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(read("120", None), Some(120));
        assert_eq!(read("Sat, 31 Jan 2026 09:31:00 GMT", None), Some(60));
        assert_eq!(read("Sat, 31 Jan 2026 09:31:00 GMT", Some("Sat, 31 Jan 2026 09:30:50 GMT")), Some(10));
        assert_eq!(read("99999999999999999999999", None), Some(u64::MAX));
        for nothing in ["Sat, 31 Dec 2016 23:59:60 GMT", "0", "-5", "soon", "", "1.5", "Sat, 31 Jan 2026 09:29:00 GMT"]
        {
            assert_eq!(read(nothing, None), None, "{nothing}");
        }
    }

    #[test]
    fn what_is_left_is_read_in_every_form() {
        let now = UnixMs::parse("2026-01-31T09:30:00Z").expect("a time");
        let read = |told: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, text) in told {
                headers.insert(*name, text.parse().expect("a value"));
            }
            remaining(&headers, now).map(|told| (told.left, told.reset_after.as_secs()))
        };
        let pair = |left: &str, reset: &str| read(&[("ratelimit-remaining", left), ("ratelimit-reset", reset)]);
        let x_pair = |left: &str, reset: &str| read(&[("x-ratelimit-remaining", left), ("x-ratelimit-reset", reset)]);
        let one = |text: &str| read(&[("ratelimit", text)]);
        assert_eq!(pair("50", "30"), Some((50, 30)));
        assert_eq!(x_pair(" 0 ", "30"), Some((0, 30)));
        assert_eq!(x_pair("50", "1769851830"), Some((50, 30)), "Unix time");
        assert_eq!(one(r#""default";r=50;t=30"#), Some((50, 30)));
        assert_eq!(one(r#""burst";r=40;t=3, "day";r=7;t=900"#), Some((7, 900)), "the least that is left");
        assert_eq!(one("limit=100, remaining=50, reset=30"), Some((50, 30)));
        assert_eq!(one("limit=100,remaining=50,reset=30;w=60"), Some((50, 30)));
        let date = ("date", "Sat, 31 Jan 2026 09:30:20 GMT");
        assert_eq!(read(&[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "1769851830"), date]), Some((5, 10)));
        let both = [("ratelimit", r#""a";r=9;t=9"#), ("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "4")];
        assert_eq!(read(&both), Some((3, 4)));
        for (left, reset) in [
            ("50", "0"),
            ("50", "-5"),
            ("50", "soon"),
            ("50", ""),
            ("50", "99999999"),
            ("50", "1769851830000"),
            ("50", "99999999999999999999999"),
            ("50", "1769851790"),
            ("-1", "30"),
            ("many", "30"),
            ("", "30"),
            ("99999999999999999999999", "30"),
        ] {
            assert_eq!(x_pair(left, reset), None, "{left} {reset}");
        }
        assert_eq!(pair("50", "1769851830"), None, "only the X- form may be Unix time");
        for text in ["", "r", "r=;t=", r#""default";r=50"#, "limit=100, reset=30", "remaining", ",;=,"] {
            assert_eq!(one(text), None, "{text}");
        }
        assert_eq!(read(&[("ratelimit-remaining", "3")]), None);
    }
}
