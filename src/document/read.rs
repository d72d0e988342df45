//! Reading JSON text exactly. No text from a provider may turn into another value than the one it writes.
//!
//! With `arbitrary_precision`, `serde_json` passes numbers through as an object with one private key, and so takes an object
//! with that key for a number (or fails) when it reads one. Such keys are put out of its sight here.

use serde_json::{Map, Value};

/// What `serde_json`'s private keys begin with.
const PRIVATE: &str = "$serde_json::private::";
/// What stands in its place while `serde_json` reads: never `PRIVATE` followed by something else than `~`, so it can be undone.
const GUARDED: &str = "$serde_json::private::~";

/// Reads JSON text; objects and arrays may be nested 127 deep. Of equal keys in one object the last counts.
pub fn parse(text: &str) -> Result<Value, serde_json::Error> {
    // Only a \u escape can hide a letter of the private key.
    let suspect = text.contains(PRIVATE) || text.contains("\\u");
    match suspect.then(|| guard(text)).flatten() {
        None => serde_json::from_str(text),
        Some(guarded) => serde_json::from_str(&guarded).map(unguard),
    }
}

/// The text with every private key, and every string that looks like one, guarded; `None` if there is none.
fn guard(text: &str) -> Option<String> {
    let (mut out, mut rest, mut found) = (String::with_capacity(text.len()), text, false);
    while let Some(start) = rest.find('"') {
        let end = string_end(rest, start);
        let literal = &rest[start..end];
        out.push_str(&rest[..start]);
        match serde_json::from_str::<String>(literal) {
            Ok(string) if string.contains(PRIVATE) => {
                found = true;
                out.push_str(&Value::from(string.replace(PRIVATE, GUARDED)).to_string());
            }
            _ => out.push_str(literal),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    found.then_some(out)
}

/// Where the string that begins at `start` ends: after its closing quote, or at the text's end.
fn string_end(text: &str, start: usize) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(start + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn unguard(value: Value) -> Value {
    match value {
        Value::String(string) => Value::String(string.replace(GUARDED, PRIVATE)),
        Value::Array(items) => Value::Array(items.into_iter().map(unguard).collect()),
        Value::Object(members) => {
            let open = |(key, value): (String, Value)| (key.replace(GUARDED, PRIVATE), unguard(value));
            Value::Object(members.into_iter().map(open).collect::<Map<_, _>>())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_a_key_like_any_other() {
        for text in [
            r#"{"$serde_json::private::Number":"5"}"#,
            r#"{"$serde_json::private::Number":"no number","a":[1.5,"x"]}"#,
            r#"[{"$serde_json::private::RawValue":"[1]"}]"#,
            r#"{"$serde_json::private::~":"$serde_json::private::Number","$serde_json::private::~~":1}"#,
        ] {
            let value = parse(text).expect("JSON");
            assert_eq!(value.to_string(), text);
        }
        let hidden = parse(r#"{"\u0024serde_json::private::Number":"5","b":"\u00e9\""}"#).expect("JSON");
        assert_eq!(hidden.to_string(), r#"{"$serde_json::private::Number":"5","b":"é\""}"#);
    }

    #[test]
    fn other_text_reads_as_ever() {
        assert_eq!(parse(r#"{"a":"\u0041\\","b":1e400}"#).expect("JSON").to_string(), r#"{"a":"A\\","b":1e+400}"#);
        for text in ["", "{", r#"{"a":"\u00"#, r#""\ud800""#, "[1]]", r#"{"$serde_json::private::Number":}"#] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
