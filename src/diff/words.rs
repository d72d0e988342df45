//! The words that `field` is made of. For people: `path` is what machines use, so a word may be cut.

use std::borrow::Cow;

use serde_json::Value;

/// An item's word is cut to this many characters.
const MAX_ITEM: usize = 200;

/// An object key: as it is, or as a JSON string where it would read as something else.
pub(super) fn member(key: &str) -> Cow<'_, str> {
    let odd = |c: char| matches!(c, '.' | '[' | ']' | '"') || c.is_control();
    if key.is_empty() || key.trim() != key || key.contains(odd) { quoted(key).into() } else { key.into() }
}

/// An array item by its name, key or text: strings without their quotes where that stays readable, all else as JSON.
pub(super) fn item(value: &Value) -> String {
    let odd = |c: char| matches!(c, '[' | ']') || c.is_control();
    let word = match value.as_str() {
        Some(text) if text.is_empty() || text.trim() != text || text.starts_with('"') || text.contains(odd) => {
            quoted(text)
        }
        Some(text) => text.to_owned(),
        None => value.to_string(),
    };
    match word.char_indices().nth(MAX_ITEM) {
        Some(_) => word.chars().take(MAX_ITEM - 1).chain(['…']).collect(),
        None => word,
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_read_as_what_they_name() {
        for (key, word) in [("passPercentage", "passPercentage"), ("ICP fit", "ICP fit"), ("é-1", "é-1")] {
            assert_eq!(member(key), word);
        }
        for (key, word) in
            [("", r#""""#), ("a.b", r#""a.b""#), ("a[0]", r#""a[0]""#), ("a\nb", r#""a\nb""#), (" a", r#"" a""#)]
        {
            assert_eq!(member(key), word);
        }
        assert_eq!(item(&json!("beta testers")), "beta testers");
        assert_eq!(item(&json!("Uses \"X\"? v1.2")), "Uses \"X\"? v1.2");
        assert_eq!(item(&json!("a]b")), r#""a]b""#);
        assert_eq!(item(&json!("")), r#""""#);
        assert_eq!(item(&json!(7)), "7");
        assert_eq!(item(&json!({"b": [null]})), r#"{"b":[null]}"#);
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(item(&json!("é".repeat(200))), "é".repeat(200));
        assert_eq!(item(&json!("é".repeat(201))), format!("{}…", "é".repeat(199)));
    }
}
