//! Finds one key in a text, in every spelling in which providers and proxies echo it, and cuts it out.
//!
//! Must never give back a text that still spells the key, nor change a text that does not.

use std::borrow::Cow;

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretSlice};
use serde_json::{Map, Value};

use super::MARK;

/// The spellings of one key.
pub(super) struct Matcher {
    forms: [Form; 4],
    /// For each byte, the forms (one bit each) that may start with it, and those that may go on with it; the two together
    /// hold back nearly all positions of a text.
    starts: [u8; 256],
    goes_on: [u8; 256],
}

/// The key as a row of units: its own characters, or the base64 digits that its bits reach into.
struct Form {
    units: SecretSlice<u8>,
    kind: Kind,
}

/// How a unit stands in a text. Either way each character may further be percent-encoded or JSON-escaped.
enum Kind {
    Plain,
    /// Digits of either base64 alphabet. The masks say which bits of the first and last digit are the key's own.
    Base64 {
        first: u8,
        last: u8,
    },
}

const WHOLE_DIGIT: u8 = 0x3f;

impl Matcher {
    pub(super) fn new(key: &[u8]) -> Self {
        let forms = [Form::plain(key), Form::base64(key, 0), Form::base64(key, 1), Form::base64(key, 2)];
        let table = |unit| {
            std::array::from_fn(|byte| {
                let byte = u8::try_from(byte).unwrap_or(0);
                let may = |form: &Form| is_encoding(byte) || form.takes(form.core().0 + unit, byte);
                forms.iter().enumerate().filter(|(_, form)| may(form)).fold(0, |bits, (at, _)| bits | 1 << at)
            })
        };
        let (starts, goes_on) = (table(0), table(1));
        Self { forms, starts, goes_on }
    }

    pub(super) fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut clean = Cow::Borrowed(text);
        // Again until nothing is found: a cut may join what stands around it to a new occurrence. Each cut shortens.
        while let Some(cut) = self.cut_all(&clean) {
            clean = Cow::Owned(cut);
        }
        clean
    }

    pub(super) fn scrub_value(&self, value: &mut Value) -> bool {
        match value {
            Value::Null | Value::Bool(_) => false,
            Value::Number(number) => {
                let found = matches!(self.scrub(number.as_str()), Cow::Owned(_));
                if found {
                    *value = Value::from(MARK);
                }
                found
            }
            Value::String(text) => match self.scrub(text) {
                Cow::Borrowed(_) => false,
                Cow::Owned(clean) => {
                    *text = clean;
                    true
                }
            },
            Value::Array(items) => items.iter_mut().fold(false, |found, item| self.scrub_value(item) | found),
            Value::Object(members) => {
                let found = members.values_mut().fold(false, |found, member| self.scrub_value(member) | found);
                self.scrub_names(members) | found
            }
        }
    }

    /// Scrubs an object's keys. Two keys that become the same stay two: `[key]`, `[key] 2`.
    fn scrub_names(&self, members: &mut Map<String, Value>) -> bool {
        if !members.keys().any(|name| matches!(self.scrub(name), Cow::Owned(_))) {
            return false;
        }
        let (clean, dirty): (Vec<_>, Vec<_>) =
            std::mem::take(members).into_iter().partition(|(name, _)| matches!(self.scrub(name), Cow::Borrowed(_)));
        members.extend(clean);
        for (name, member) in dirty {
            let base = self.scrub(&name).into_owned();
            let mut free = base.clone();
            let mut count = 1;
            while members.contains_key(&free) {
                count += 1;
                free = format!("{base} {count}");
            }
            members.insert(free, member);
        }
        true
    }

    /// One pass from left to right; `None` when nothing is found.
    fn cut_all(&self, text: &str) -> Option<String> {
        let bytes = text.as_bytes();
        let (mut clean, mut done, mut at) = (String::new(), 0, 0);
        let mut scratch = Scratch::default();
        while let Some(byte) = bytes.get(at) {
            let mut may = self.starts[usize::from(*byte)];
            if !is_encoding(*byte) {
                may &= bytes.get(at + 1).map_or(0, |next| self.goes_on[usize::from(*next)]);
            }
            let longest = if may == 0 {
                None
            } else {
                let forms = self.forms.iter().enumerate().filter(|(form, _)| may & (1 << form) != 0);
                let found = forms.filter_map(|(_, form)| form.find(bytes, at, done, &mut scratch));
                found.max_by_key(|(_, end)| *end)
            };
            // A found range starts and ends beside ASCII characters, hence between characters.
            if let Some((start, end)) = longest {
                clean.push_str(&text[done..start]);
                clean.push_str(MARK);
                (done, at) = (end, end);
            } else {
                at += 1;
            }
        }
        (done > 0).then(|| clean + &text[done..])
    }
}

/// Whether an encoded character may begin with this byte.
fn is_encoding(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\')
}

/// Reused between positions, as most of them fail after one or two characters.
#[derive(Default)]
struct Scratch {
    ends: Vec<usize>,
    next: Vec<usize>,
}

impl Form {
    fn plain(key: &[u8]) -> Self {
        Self { units: SecretSlice::from(key.to_vec()), kind: Kind::Plain }
    }

    /// The base64 digits of a text that has the key after `lead` bytes (modulo 3) of something else.
    fn base64(key: &[u8], lead: usize) -> Self {
        let mut bytes = Zeroizing::new(vec![0; lead]);
        bytes.extend_from_slice(key);
        let digits = (bytes.len() * 8).div_ceil(6);
        let last = match bytes.len() % 3 {
            0 => WHOLE_DIGIT,
            1 => 0x30,
            _ => 0x3c,
        };
        bytes.extend_from_slice(&[0, 0]);
        let all = bytes.chunks_exact(3).flat_map(|three| {
            let [a, b, c] = [three[0], three[1], three[2]];
            [a >> 2, (a & 0x03) << 4 | b >> 4, (b & 0x0f) << 2 | c >> 6, c & WHOLE_DIGIT]
        });
        // With one byte before it the key begins in digit 1, with two in digit 2.
        let units: Vec<u8> = all.take(digits).skip(lead).collect();
        let first = [WHOLE_DIGIT, 0x0f, 0x03][lead];
        Self { units: SecretSlice::from(units), kind: Kind::Base64 { first, last } }
    }

    /// Which bits of the unit are the key's own.
    fn mask(&self, unit: usize) -> u8 {
        match self.kind {
            Kind::Plain => u8::MAX,
            Kind::Base64 { first, .. } if unit == 0 => first,
            Kind::Base64 { last, .. } if unit + 1 == self.units.expose_secret().len() => last,
            Kind::Base64 { .. } => WHOLE_DIGIT,
        }
    }

    /// Whether `byte` may stand for the unit, as far as its bits are the key's own.
    fn takes(&self, unit: usize, byte: u8) -> bool {
        let wanted = self.units.expose_secret()[unit];
        let mask = self.mask(unit);
        match self.kind {
            Kind::Plain => byte == wanted,
            Kind::Base64 { .. } => digit(byte).is_some_and(|digit| digit & mask == wanted & mask),
        }
    }

    /// Index of the first and one past the last unit that the key determines wholly.
    fn core(&self) -> (usize, usize) {
        let count = self.units.expose_secret().len();
        match self.kind {
            Kind::Plain => (0, count),
            Kind::Base64 { first, last } => {
                (usize::from(first != WHOLE_DIGIT), count - usize::from(last != WHOLE_DIGIT))
            }
        }
    }

    /// Where the form stands, if its core starts at `at`: start (not before `floor`) and end.
    fn find(&self, text: &[u8], at: usize, floor: usize, scratch: &mut Scratch) -> Option<(usize, usize)> {
        let (first, last) = self.core();
        scratch.ends.clear();
        scratch.ends.push(at);
        for unit in first..last {
            // `%` and `\` may stand for themselves or begin an encoded character: follow both.
            scratch.next.clear();
            for end in &scratch.ends {
                spellings(text, *end, LAYERS, &mut |byte, end| {
                    if self.takes(unit, byte) {
                        scratch.next.push(end);
                    }
                });
            }
            scratch.next.sort_unstable();
            scratch.next.dedup();
            if scratch.next.is_empty() {
                return None;
            }
            std::mem::swap(&mut scratch.ends, &mut scratch.next);
        }
        let mut end = scratch.ends.last().copied()?;
        let mut start = at;
        // The digits at the edges share their bits with what stands beside the key: they go too.
        if first > 0 {
            let is_shared = |from: &usize| {
                let mut found = false;
                spellings(text, *from, LAYERS, &mut |byte, to| found |= to == at && self.takes(0, byte));
                found
            };
            start = (floor.max(at.saturating_sub(LONGEST_SPELLING))..at).find(is_shared).unwrap_or(at);
        }
        if last < self.units.expose_secret().len() {
            let from = end;
            spellings(text, from, LAYERS, &mut |byte, to| {
                if self.takes(last, byte) {
                    end = end.max(to);
                }
            });
        }
        Some((start, end))
    }
}

/// How many encodings may lie on top of each other: an error in JSON that quotes JSON.
const LAYERS: u32 = 2;

/// The bytes of the longest spelling: `\u0041`, each character of it spelled so again.
const LONGEST_SPELLING: usize = 36;

/// Tells what the text may spell at `at`: the character itself, and those that are encoded there; each with its end.
fn spellings(text: &[u8], at: usize, layers: u32, tell: &mut dyn FnMut(u8, usize)) {
    let Some(byte) = text.get(at) else { return };
    tell(*byte, at + 1);
    if layers == 0 || !is_encoding(*byte) {
        return;
    }
    // The characters of an encoding may be encoded themselves.
    let below = layers - 1;
    spellings(text, at, below, &mut |first, next| match first {
        b'%' => hex(text, next, below, tell),
        b'\\' => spellings(text, next, below, &mut |second, next| match second {
            b'/' | b'"' | b'\\' => tell(second, next),
            b'u' => spellings(text, next, below, &mut |zero, next| {
                if zero == b'0' {
                    spellings(text, next, below, &mut |zero, next| {
                        if zero == b'0' {
                            hex(text, next, below, tell);
                        }
                    });
                }
            }),
            _ => {}
        }),
        _ => {}
    });
}

/// Tells the byte that two hexadecimal digits stand for.
fn hex(text: &[u8], at: usize, layers: u32, tell: &mut dyn FnMut(u8, usize)) {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    spellings(text, at, layers, &mut |high, next| {
        let Some(high) = value(high) else { return };
        spellings(text, next, layers, &mut |low, next| {
            if let Some(low) = value(low) {
                tell(high << 4 | low, next);
            }
        });
    });
}

/// The value of a digit of base64 or base64url.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "console-Ab/9\"%\\z";

    fn matcher() -> Matcher {
        Matcher::new(KEY.as_bytes())
    }

    /// What a reader of the text could decode: an independent, plain search.
    fn spells(text: &str, key: &[u8]) -> bool {
        let unquoted = unescape(text);
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (once, twice) = (percent(text.as_bytes()), unescape(&lossy(&unquoted)));
        let layers = [
            percent(&once),
            unescape(&lossy(&once)),
            percent(&percent(&unescape(&lossy(&percent(&unquoted))))),
            percent(&twice),
            percent(&unquoted),
            text.as_bytes().to_vec(),
            twice,
            once,
            unquoted,
        ];
        layers.iter().any(|layer| holds(layer, key) || in_base64(layer, key))
    }

    fn holds(text: &[u8], key: &[u8]) -> bool {
        text.windows(key.len()).any(|window| window == key)
    }

    fn percent(text: &[u8]) -> Vec<u8> {
        percent_encoding::percent_decode(text).collect()
    }

    fn unescape(text: &str) -> Vec<u8> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('\\') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let size = if rest.starts_with("\\u") { 6 } else { 2 };
            match rest.get(..size).and_then(|one| serde_json::from_str::<String>(&format!("\"{one}\"")).ok()) {
                Some(one) => {
                    out.push_str(&one);
                    rest = &rest[size..];
                }
                None => {
                    out.push('\\');
                    rest = &rest[1..];
                }
            }
        }
        (out + rest).into_bytes()
    }

    /// Decodes each run of digits from each of its first four positions.
    fn in_base64(text: &[u8], key: &[u8]) -> bool {
        let runs = text.split(|byte| digit(*byte).is_none());
        runs.flat_map(|run| (0..4.min(run.len())).map(move |from| &run[from..])).any(|run| {
            let digits: Vec<u8> = run.iter().filter_map(|byte| digit(*byte)).collect();
            let bits: Vec<bool> = digits.iter().flat_map(|d| (0..6).rev().map(move |bit| d >> bit & 1 == 1)).collect();
            let bytes = bits.chunks_exact(8).map(|eight| eight.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit)));
            holds(&bytes.collect::<Vec<u8>>(), key)
        })
    }

    /// Encodes some characters, as `choice` says.
    fn encode(text: &str, choices: &[u8]) -> String {
        let one = |(c, choice): (char, &u8)| match (choice % 6, c) {
            (1, _) => format!("%{:02X}", u32::from(c)),
            (2, _) => format!("%{:02x}", u32::from(c)),
            (3, _) => format!("\\u{:04x}", u32::from(c)),
            (4, _) => format!("\\u{:04X}", u32::from(c)),
            (5, '/' | '"' | '\\') => format!("\\{c}"),
            _ => c.to_string(),
        };
        text.chars().zip(choices.iter().cycle()).map(one).collect()
    }

    /// Base64 in which only `+`, `/` and `=` are encoded further.
    fn encode_odd(text: &str, choices: &[u8]) -> String {
        let odd = |(c, choice): (char, &u8)| match c {
            '+' | '/' | '=' => encode(&c.to_string(), &[*choice]),
            _ => c.to_string(),
        };
        text.chars().zip(choices.iter().cycle()).map(odd).collect()
    }

    #[test]
    fn the_plain_spellings_are_cut() {
        for text in [
            KEY.to_owned(),
            serde_json::to_string(KEY).expect("a string").trim_matches('"').to_owned(),
            percent_encoding::utf8_percent_encode(KEY, percent_encoding::NON_ALPHANUMERIC).to_string(),
            r#"console-Ab\/9\"%\\z"#.to_owned(),
            r#"\u0063onsole%2dAb%2F9\u0022%25\u005Cz"#.to_owned(),
            // An encoding within an encoding.
            r#"\\u0063onsole-Ab\\/9\\\"%\\\\z"#.to_owned(),
            "%2563onsole%252dAb%25%32%469%2522%2525%255Cz".to_owned(),
            r#"%5cu0063onsole-Ab%5C/9\u005c\u0022%25%5c%5cz"#.to_owned(),
        ] {
            assert_eq!(matcher().scrub(&format!("é{text}é{text}")), "é[key]é[key]", "{text}");
        }
    }

    #[test]
    fn base64_is_cut_with_the_digits_that_it_shares() {
        for (lead, left) in [("", ""), ("a", "Y"), ("ab", "YW")] {
            let text = STANDARD.encode(format!("{lead}{KEY}"));
            let clean = matcher().scrub(&text).into_owned();
            assert_eq!(clean.trim_end_matches('='), format!("{left}[key]"), "{text}");
            assert_eq!(matcher().scrub(&URL_SAFE_NO_PAD.encode(format!("{lead}{KEY}"))), format!("{left}[key]"));
        }
        // A key whose base64 has both odd digits.
        let odd = Matcher::new(b"~~~???>>>");
        assert_eq!(STANDARD.encode("~~~???>>>"), "fn5+Pz8/Pj4+");
        for text in ["fn5+Pz8/Pj4+", "fn5-Pz8_Pj4-", "fn5%2bPz8%2FPj4%2B", r"fn5\u002bPz8\/Pj4+"] {
            assert_eq!(odd.scrub(text), MARK, "{text}");
        }
    }

    #[test]
    fn a_cut_never_makes_the_key_anew() {
        let odd = Matcher::new(b"aa[key]aa");
        assert_eq!(odd.scrub("aaaa[key]aaaa"), MARK);
        let slashes = Matcher::new(br"\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\");
        assert!(matches!(slashes.scrub(&r"\\x".repeat(100)), Cow::Borrowed(_)));
    }

    #[test]
    fn documents_are_scrubbed_where_they_hold_the_key() {
        let digits = Matcher::new(b"12345678");
        let mut value: Value = serde_json::from_str(
            r#"{"12345678": 1, "%312345678": [912345678, 1234567, -12345678.5e1], "[key]": {"a": "is 12345678"}}"#,
        )
        .expect("JSON");
        assert!(digits.scrub_value(&mut value));
        assert_eq!(value.to_string(), r#"{"[key]":{"a":"is [key]"},"[key] 2":["[key]",1234567,"[key]"],"[key] 3":1}"#);
        let again = value.clone();
        assert!(!digits.scrub_value(&mut value));
        assert_eq!(value, again);
    }

    fn keys() -> impl Strategy<Value = String> {
        prop_oneof![4 => "[!-~]{8,40}", 1 => r#"[%\\/"25u0]{8,12}"#, 1 => "console-[A-Za-z0-9]{20}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn no_spelling_of_the_key_is_left(
            key in keys(), before in ".{0,8}", after in ".{0,8}", choices in prop::collection::vec(any::<u8>(), 1..20),
        ) {
            let text = format!("{before}{}{after}", encode(&key, &choices));
            prop_assume!(spells(&format!("{before}{key}{after}"), key.as_bytes()));
            let matcher = Matcher::new(key.as_bytes());
            let clean = matcher.scrub(&text);
            prop_assert!(clean.contains(MARK));
            prop_assert!(!spells(&clean, key.as_bytes()), "{clean}");
        }

        #[test]
        fn no_spelling_of_a_spelling_is_left(
            key in keys(), before in "[ -~]{0,8}", after in "[ -~]{0,8}", choices in prop::collection::vec(any::<u8>(), 1..20),
            again in 0_u8..6,
        ) {
            // The same outer spelling of all, as one program writes it.
            let text = format!("{before}{}{after}", encode(&encode(&key, &choices), &[again]));
            prop_assume!(spells(&text, key.as_bytes()));
            let matcher = Matcher::new(key.as_bytes());
            let clean = matcher.scrub(&text);
            prop_assert!(clean.contains(MARK), "{text}");
            prop_assert!(!spells(&clean, key.as_bytes()), "{clean}");
        }

        #[test]
        fn no_base64_of_the_key_is_left(
            key in keys(), lead in prop::collection::vec(any::<u8>(), 0..7), tail in prop::collection::vec(any::<u8>(), 0..7),
            before in "[ -~]{0,5}", after in "[ -~]{0,5}", choices in prop::collection::vec(any::<u8>(), 1..20),
        ) {
            let whole = [&lead, key.as_bytes(), &tail].concat();
            for coded in [STANDARD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
                prop_assert!(spells(&coded, key.as_bytes()));
                let text = format!("{before}{}{after}", encode_odd(&coded, &choices));
                let matcher = Matcher::new(key.as_bytes());
                let clean = matcher.scrub(&text);
                prop_assert!(clean.contains(MARK), "{text}");
                prop_assert!(!spells(&clean, key.as_bytes()), "{clean}");
            }
        }

        #[test]
        fn a_text_without_the_key_stays_as_it_is(key in keys(), text in r#"[ -~é%\\/"]{0,60}"#, cut in 0usize..40) {
            // Also all of the key but one character.
            let cut = cut % key.len();
            let near = format!("{text}{}{}", &key[..cut], &key[cut + 1..]);
            prop_assume!(!spells(&near, key.as_bytes()));
            let matcher = Matcher::new(key.as_bytes());
            prop_assert!(matches!(matcher.scrub(&near), Cow::Borrowed(_)), "{near}");
        }
    }
}
