//! What an answer's headers ask for: a wait is what was written, and nonsense says nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use segsync::model::UnixMs;
use segsync::transport::{remaining, retry_after};

const NOW: UnixMs = UnixMs(1_769_851_800_000);

/// `Retry-After` in the first line, `Date` in the second, what is left of limits in the rest.
pub fn any(data: &[u8]) {
    let mut headers = HeaderMap::new();
    let names =
        ["retry-after", "date", "ratelimit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit-remaining"];
    for (name, line) in names.into_iter().chain(["ratelimit-reset"]).zip(data.split(|byte| *byte == b'\n')) {
        // Other bytes never come out of a reader of HTTP.
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        if !line.is_empty() {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    a_wait_is_what_was_written(&headers);
    what_is_left_was_written(&headers);
}

fn a_wait_is_what_was_written(headers: &HeaderMap) {
    let wait = retry_after(headers, NOW);
    assert_ne!(wait, Some(Duration::ZERO));
    let Some(text) = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::trim) else {
        return assert_eq!(wait, None);
    };
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let now: SystemTime = UNIX_EPOCH + Duration::from_millis(1_769_851_800_000);
    let sent = headers.get(DATE).and_then(|value| date(value.to_str().ok()?)).unwrap_or(now);
    let expected = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let significant = text.trim_start_matches('0');
        let seconds = if significant.is_empty() { 0 } else { significant.parse().unwrap_or(u64::MAX) };
        Some(Duration::from_secs(seconds))
    } else {
        date(text).and_then(|until| until.duration_since(sent).ok())
    };
    assert_eq!(wait, expected.filter(|wait| !wait.is_zero()), "{text:?}");
}

fn what_is_left_was_written(headers: &HeaderMap) {
    let Some(told) = remaining(headers, NOW) else { return };
    assert!(!told.reset_after.is_zero() && told.reset_after <= Duration::from_secs(86_400), "{told:?}");
    let is_written = headers.iter().filter(|(name, _)| name.as_str().contains("ratelimit")).any(|(_, value)| {
        let text = value.to_str().unwrap_or_default();
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<u64>().ok());
        numbers.any(|number| number == told.left)
    });
    assert!(is_written, "{told:?} out of {headers:?}");
}
