//! Single values: from the text in the file to what it means, and back.
//!
//! Functions of their arguments. Errors read "what is wrong; what is expected".

use std::time::Duration;

use url::{Host, Url};

use super::Listen;

pub(super) const DURATION: &str = r#"a duration such as "30s", "5m" or "1h30m""#;
pub(super) const KEPT: &str = r#"a day or more, such as "90d" or "2y"; without the key, versions are kept for ever"#;
pub(super) const SIZE: &str = r#"a size such as "16MiB", or a number of bytes"#;
pub(super) const MULTIPLE: &str = r#"a multiple of the interval such as "3x""#;
pub(super) const BASE_URL: &str = r#"a URL such as "https://example.com""#;
pub(super) const LISTEN: &str =
    r#"an address and a port such as "127.0.0.1:7464", "unix:" and an absolute path, or "systemd""#;
pub(super) const HOST: &str = r#"names of this machine without a port, such as "segsync.example.org""#;
pub(super) const SOURCE_NAME: &str = "lower-case letters, digits and -, not starting with -";

/// The longest accepted duration: far beyond use, and safe to add to any clock.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
/// The shortest history.
const LEAST_KEPT: Duration = Duration::from_secs(86_400);
/// What fits into a socket's address (unix(7)), with the zero at its end.
const LONGEST_SOCKET: usize = 107;
/// Answers are held in memory.
const LARGEST: u64 = 1 << 30;

/// Quotes a value for an error line: escaped, and not longer than a line bears.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(60) {
        None => format!("{text:?}"),
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
    }
}

/// A positive duration in whole milliseconds, as the database keeps time.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match read_duration(text) {
        Ok(Duration::ZERO) => Err(format!("{} is zero; expected {DURATION}", quote(text))),
        other => other,
    }
}

/// How long versions are kept: what is meant as months or years must not be taken for minutes.
pub(super) fn kept(text: &str) -> Result<Duration, String> {
    let wrong = |what: &str| format!("{} {what}; expected {KEPT}", quote(text));
    match duration(text) {
        Ok(given) if given < LEAST_KEPT && text.trim_end().ends_with('m') => {
            Err(wrong("is minutes (months are \"M\"), too short a history"))
        }
        Ok(given) if given < LEAST_KEPT => Err(wrong("is too short a history")),
        Ok(given) => Ok(given),
        Err(_) => Err(wrong("is not such a duration")),
    }
}

/// A duration in whole milliseconds as people write it, at most 100 years; the error says what is expected.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    let wrong = |what| format!("{} {what}; expected {DURATION}", quote(text));
    // humantime panics where a sum meets the end of u64: so much cannot be written in these bounds.
    let compact: String = text.split_whitespace().collect();
    if compact.len() > 40 || compact.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 10) {
        return Err(wrong("is too long"));
    }
    match humantime::parse_duration(text) {
        Err(_) => Err(wrong("is not a duration")),
        Ok(duration) if duration > LONGEST => Err(wrong("is too long")),
        Ok(duration) if duration.subsec_nanos() % 1_000_000 != 0 => Err(wrong("is finer than a millisecond")),
        Ok(duration) => Ok(duration),
    }
}

/// The shortest text that a configuration reads back as this whole number of milliseconds: `1h30m`.
pub fn show_duration(duration: Duration) -> String {
    let mut left = duration.as_millis();
    let mut text = String::new();
    for (unit, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if left >= millis {
            text.push_str(&format!("{}{unit}", left / millis));
            left %= millis;
        }
    }
    text
}

/// A number of bytes with an optional unit of 1000 (`kB`, `MB`, `GB`) or 1024 (`KiB`, `MiB`, `GiB`).
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{} is not a size; expected {SIZE}", quote(text));
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit.trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    bytes(number.saturating_mul(unit))
}

/// A size that fits in memory.
pub(super) fn bytes(bytes: u64) -> Result<u64, String> {
    match bytes {
        0 => Err(format!("not a positive size; expected {SIZE}")),
        1..=LARGEST => Ok(bytes),
        _ => Err(format!("more than {}; expected {SIZE}", show_size(LARGEST))),
    }
}

/// A text that [`size`] reads back: the largest binary unit without a rest.
pub(super) fn show_size(bytes: u64) -> String {
    for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    format!("{bytes}B")
}

/// `3x` or `1.5x`: at least once, or a segment would be stale before it is due.
pub(super) fn multiple(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('x').and_then(|number| number.parse::<f64>().ok());
    match number {
        Some(number) if (1.0..=1e6).contains(&number) => Ok(number),
        Some(_) => Err(format!("{} is out of range; expected 1x or more, such as \"3x\"", quote(text))),
        None => Err(format!("{} is not a multiple; expected {MULTIPLE}", quote(text))),
    }
}

/// Where the local API listens.
pub(super) fn listen(text: &str) -> Result<Listen, String> {
    let wrong = || format!("{} is not where to listen; expected {LISTEN}", quote(text));
    match text.strip_prefix("unix:") {
        Some(path) if path.len() > LONGEST_SOCKET => {
            Err(format!("a socket's path has at most {LONGEST_SOCKET} bytes; expected {LISTEN}"))
        }
        Some(path) if path.starts_with('/') && !path.contains('\0') => Ok(Listen::Unix(path.into())),
        None if text == "systemd" => Ok(Listen::Systemd),
        None => text.parse().map(Listen::Tcp).map_err(|_| wrong()),
        Some(_) => Err(wrong()),
    }
}

/// A name as it stands in a `Host` header.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !text.is_empty() && text.len() <= 253 && text.bytes().all(fits) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("{} is not a name; expected {HOST}", quote(text)))
    }
}

/// `[a-z0-9][a-z0-9-]*`.
pub(super) fn source_name(text: &str) -> Result<&str, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !text.is_empty() && !text.starts_with('-') && text.bytes().all(fits) {
        Ok(text)
    } else {
        Err(format!("{} is not a source's name; expected {SOURCE_NAME}", quote(text)))
    }
}

/// A provider's address: https, or http on loopback; a path prefix is kept, without its final slash.
///
/// The error does not repeat the text, which may hold a password.
pub(super) fn base_url(text: &str) -> Result<Url, String> {
    let wrong = |what| Err(format!("{what}; expected {BASE_URL}"));
    let Ok(mut url) = Url::parse(text) else { return wrong("not a URL") };
    let loopback = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => return wrong("plain http would show the API key to the network, and is for loopback only"),
        _ => return wrong("not a web address"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("it holds a user name or a password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("it holds a query or a fragment");
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_and_show() {
        for (text, millis, shown) in [
            ("30s", 30_000, "30s"),
            ("90 min", 5_400_000, "1h30m"),
            ("365d", 365 * 86_400_000, "365d"),
            ("1500ms", 1_500, "1s500ms"),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
            assert_eq!(show_duration(Duration::from_millis(millis)), shown);
        }
        for text in [
            "",
            "5",
            "5 parsecs",
            "-5s",
            "0s",
            "0ms",
            "1us",
            "101y",
            "18446744073709551615s1000ms",
            "1844674407 3709551615s1000ms",
            "5m\n5x",
        ] {
            assert!(duration(text).is_err_and(|error| error.ends_with(&format!("; expected {DURATION}"))), "{text}");
        }
    }

    #[test]
    fn a_history_is_a_day_or_more() {
        assert_eq!(kept("2y"), Ok(Duration::from_secs(2 * 31_557_600)));
        assert_eq!(kept("1d"), Ok(LEAST_KEPT));
        assert_eq!(kept(&show_duration(Duration::from_secs(63_115_200))), kept("2y"));
        for (text, why) in [
            ("2m", "is minutes (months are \"M\"), too short a history"),
            ("23h 59m 59s", "is too short a history"),
            ("0s", "is not such a duration"),
            ("101y", "is not such a duration"),
            ("for ever", "is not such a duration"),
        ] {
            assert_eq!(kept(text), Err(format!("{text:?} {why}; expected {KEPT}")));
        }
    }

    proptest! {
        #[test]
        fn every_duration_and_size_reads_back(millis in 1u64..3_000_000_000_000, bytes in 1u64..=LARGEST) {
            let length = Duration::from_millis(millis);
            prop_assert_eq!(duration(&show_duration(length)), Ok(length));
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in ".{0,20}|[0-9]{0,22}(ns|s|y|d| ){0,2}[0-9]{0,22}(ms|ns|d|y)") {
            drop((duration(&text), size(&text), multiple(&text), base_url(&text), quote(&text)));
        }
    }

    #[test]
    fn sizes_and_multiples_read() {
        assert_eq!((size("16MiB"), size("2 kB"), size("17")), (Ok(16 << 20), Ok(2_000), Ok(17)));
        for text in ["", "MiB", "1.5MiB", "-1", "0", "2GiB", "99999999999999999999", "5XB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!((multiple("3x"), multiple("1.5x")), (Ok(3.0), Ok(1.5)));
        for text in ["3", "x", "0.9x", "NaNx", "infx", "-1x"] {
            assert!(multiple(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_https_or_loopback() {
        for (text, shown) in [
            ("https://api.example", "https://api.example/"),
            ("https://host:8443/a/prefix//", "https://host:8443/a/prefix"),
            ("http://127.0.0.1:7000", "http://127.0.0.1:7000/"),
            ("http://127.8.8.8/x/", "http://127.8.8.8/x"),
            ("http://[::1]:80/", "http://[::1]/"),
            ("http://LOCALHOST", "http://localhost/"),
        ] {
            assert_eq!(base_url(text).as_ref().map(Url::as_str), Ok(shown), "{text}");
        }
        for text in [
            "",
            "host",
            "https://",
            "ftp://host",
            "file:///etc",
            "http://host",
            "http://10.0.0.1",
            "http://0.0.0.0",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://[::ffff:127.0.0.1]",
            "https://user@host",
            "https://:pw@host",
            "https://host/?a",
            "https://host/#a",
            "http://localhost@evil.example",
        ] {
            let error = base_url(text).expect_err(text);
            let what = error.strip_suffix(BASE_URL).expect("what is expected");
            assert!(text.is_empty() || !what.contains(text), "{error}");
        }
    }
}
