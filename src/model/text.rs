//! A provider's text where people read it. It is untrusted: characters that command a terminal, turn the text around or
//! break a line are shown instead of sent.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character does something to a terminal or to the text around it: controls (C0, C1, DEL), marks that turn
/// the direction of text, and separators of lines. All of them are below U+10000.
pub fn is_unsafe(char: char) -> bool {
    let turns =
        matches!(char, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    char.is_control() || turns || matches!(char, '\u{2028}' | '\u{2029}')
}

/// The text with `\u{…}` for what is unsafe.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if is_unsafe(char) { shown.extend(char.escape_unicode()) } else { shown.push(char) }
    }
    Cow::Owned(shown)
}

/// JSON that means the same and is safe: in JSON, such characters stand in strings only, where they can be escaped. Line
/// breaks between the values stay.
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    let is_unsafe = |char: char| is_unsafe(char) && char != '\n';
    if !json.contains(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 8);
    for char in json.chars() {
        if is_unsafe(char) {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\u{:04x}", u32::from(char));
        } else {
            shown.push(char);
        }
    }
    Cow::Owned(shown)
}

/// The text with `�` for what is unsafe: a line stays one line.
pub fn plain(text: &str) -> String {
    text.chars().map(|char| if is_unsafe(char) { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_cannot_command_a_terminal() {
        assert!(matches!(escaped("Zürich → 東京 🙂"), Cow::Borrowed(_)));
        assert_eq!(escaped("a\u{1b}[31mb\nc"), "a\\u{1b}[31mb\\u{a}c");
        assert_eq!(escaped("x\u{202e}y\u{9b}z"), "x\\u{202e}y\\u{9b}z");
        assert_eq!(plain("x\u{202e}y\u{9b}z\u{2028}"), "x\u{fffd}y\u{fffd}z\u{fffd}");
    }

    #[test]
    fn json_stays_the_same_value() {
        let text = "{\n \"a\u{9b}\": \"\u{7f}é\u{202e}\"}";
        assert_eq!(escaped_json(text), "{\n \"a\\u009b\": \"\\u007fé\\u202e\"}");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left_and_json_means_the_same(text in "[\\PC\u{0}-\u{9f}\u{200e}-\u{202e}]{0,40}") {
            prop_assert!(!escaped(&text).contains(is_unsafe) && !plain(&text).contains(is_unsafe));
            let json = serde_json::to_string(&text).expect("JSON");
            let shown = escaped_json(&json);
            prop_assert!(!shown.contains(is_unsafe));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).expect("JSON"), text);
        }
    }
}
