//! API keys: read once, shown never.
//!
//! A key must not reach a log line, an error, `Debug`, the database or a terminal: it has no `Display`, its `Debug` says
//! `[key]`, and provider text that may echo it is scrubbed here. Only the transport calls [`ApiKey::expose`].

mod scrub;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

/// What stands where a key stood.
pub const MARK: &str = "[key]";

/// Characters that [`ApiKey::excerpt`] keeps of a provider's text.
pub const EXCERPT_CHARS: usize = 300;

/// The fewest characters of a key: with fewer, scrubbing would hit innocent text.
const MIN_CHARS: usize = 8;

/// A provider's API key. Cheap to clone; the memory is wiped with the last clone.
#[derive(Clone)]
pub struct ApiKey(Arc<Inner>);

struct Inner {
    text: SecretString,
    matcher: scrub::Matcher,
}

/// Tells whether two keys are the same, without being one. Compared in constant time, never printed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyPrint(blake3::Hash);

impl KeyPrint {
    /// The print of a text that somebody claims to be the key.
    pub fn of(claimed: &str) -> Self {
        Self(blake3::hash(claimed.as_bytes()))
    }
}

/// A text that cannot be an API key. Says why, without the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an API key is {MIN_CHARS} or more visible ASCII characters, and this one {0}")]
pub struct NotAKey(&'static str);

impl ApiKey {
    /// A key of 8 or more visible ASCII characters (0x21 to 0x7e). A file's final newline is the caller's to strip.
    pub fn new(text: &str) -> Result<Self, NotAKey> {
        if text.is_empty() {
            return Err(NotAKey("is empty"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NotAKey("has a blank, a line break or a character that is not ASCII"));
        }
        if text.len() < MIN_CHARS {
            return Err(NotAKey("is shorter"));
        }
        let matcher = scrub::Matcher::new(text.as_bytes());
        Ok(Self(Arc::new(Inner { text: SecretString::from(text), matcher })))
    }

    /// The key itself, for a request's header and nothing else.
    pub fn expose(&self) -> &str {
        self.0.text.expose_secret()
    }

    /// By which the sources of one account find each other.
    pub fn fingerprint(&self) -> KeyPrint {
        KeyPrint::of(self.expose())
    }

    /// The text with `[key]` for every occurrence of the key: as it is, percent-encoded, JSON-escaped (any of its
    /// characters, any mix, also one within the other), in base64 and base64url at any alignment. Borrowed when there is
    /// none. Linear in the text.
    ///
    /// Give it the whole text: a text that was cut before may end in the first half of a key, which nobody can find.
    pub fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.0.matcher.scrub(text)
    }

    /// Scrubs a document in place: strings, object keys, and numbers whose text holds the key (they become the string
    /// `[key]`). Says whether anything was scrubbed.
    pub fn scrub_value(&self, value: &mut serde_json::Value) -> bool {
        self.0.matcher.scrub_value(value)
    }

    /// A provider's text, scrubbed, then cut at [`EXCERPT_CHARS`] characters: what may be stored, logged and shown.
    pub fn excerpt(&self, text: &str) -> String {
        let clean = self.scrub(text);
        match clean.char_indices().nth(EXCERPT_CHARS) {
            None => clean.into_owned(),
            Some(_) => clean.chars().take(EXCERPT_CHARS - 1).chain(['…']).collect(),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MARK)
    }
}

impl fmt::Debug for KeyPrint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key print]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii_and_its_error_does_not_repeat_it() {
        assert!(ApiKey::new("12345678").is_ok() && ApiKey::new("!~!~!~!~").is_ok());
        for (text, why) in [
            ("", "is empty"),
            ("s3cr3t7", "is shorter"),
            ("s3cr3t s3cr3t", "has a blank, a line break or a character that is not ASCII"),
            ("s3cr3ts3cr3t\n", "has a blank, a line break or a character that is not ASCII"),
            ("s3cr3ts3cr3té", "has a blank, a line break or a character that is not ASCII"),
        ] {
            let shown = ApiKey::new(text).expect_err("not a key").to_string();
            assert_eq!(shown, format!("an API key is 8 or more visible ASCII characters, and this one {why}"));
        }
    }

    #[test]
    fn a_key_cannot_print_itself() {
        let key = ApiKey::new("console-Abc123").expect("a key");
        assert_eq!(
            format!("{key:?} {:?} {:#?}", key.fingerprint(), Some(&key)),
            "[key] [key print] Some(\n    [key],\n)"
        );
        assert_eq!(key.expose(), "console-Abc123");
    }

    #[test]
    fn equal_keys_have_equal_prints() {
        let print = |text| ApiKey::new(text).expect("a key").fingerprint();
        assert_eq!(print("console-Abc123"), print("console-Abc123"));
        assert_ne!(print("console-Abc123"), print("console-Abc124"));
    }

    #[test]
    fn an_excerpt_is_scrubbed_before_it_is_cut() {
        let key = ApiKey::new("console-Abc123").expect("a key");
        assert_eq!(key.excerpt("refused: console-Abc123"), "refused: [key]");
        assert_eq!(key.excerpt(&"ü".repeat(300)), "ü".repeat(300));
        assert_eq!(key.excerpt(&"ü".repeat(301)), format!("{}…", "ü".repeat(299)));
        let across_the_cut = format!("{}console-Abc123", "x".repeat(292));
        assert_eq!(key.excerpt(&across_the_cut), format!("{}[key]", "x".repeat(292)));
    }
}
