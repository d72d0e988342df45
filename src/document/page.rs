//! Reading a list without reading its items: most of them are known by their text.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Deserializer, Error, Map, Value};

use super::parse;

/// A list whose items are still to be read.
#[derive(Debug)]
pub struct Opened<'t> {
    /// The text of each item; `None` where there is no list. Only reading one tells for sure that it is JSON.
    pub items: Option<Vec<&'t str>>,
    /// The members that stand beside the list; none where the list is all.
    pub rest: Value,
}

/// Reads JSON text apart from the items of its array `member`, or of the text itself where that is an array. Of equal keys in
/// one object the last counts, as in [`parse`].
pub fn open_list<'t>(text: &'t str, member: &str) -> Result<Opened<'t>, Error> {
    if !text.trim_start().starts_with(['{', '[']) {
        return Ok(Opened { items: None, rest: parse(text)? });
    }
    let mut reader = Deserializer::from_str(text);
    let opened = reader.deserialize_any(Outer(member))?;
    reader.end()?;
    Ok(opened)
}

/// The last member `name` of an object, where that is a plain string; a quick look that takes no care for what stands around it.
pub fn peek_member<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut reader = Deserializer::from_str(text);
    reader.deserialize_map(Peek(name)).ok()?
}

struct Outer<'m>(&'m str);

impl<'t> Visitor<'t> for Outer<'_> {
    type Value = Opened<'t>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_seq<A: SeqAccess<'t>>(self, items: A) -> Result<Opened<'t>, A::Error> {
        Ok(Opened { items: Some(texts(items)?), rest: Value::Null })
    }

    fn visit_map<A: MapAccess<'t>>(self, mut members: A) -> Result<Opened<'t>, A::Error> {
        let (mut items, mut rest) = (None, Map::new());
        while let Some(name) = members.next_key::<String>()? {
            if name == self.0 {
                items = members.next_value::<Items<'t>>()?.0;
            } else {
                let member: &RawValue = members.next_value()?;
                rest.insert(name, parse(member.get()).map_err(serde::de::Error::custom)?);
            }
        }
        Ok(Opened { items, rest: Value::Object(rest) })
    }
}

/// The texts of an array's items; nothing where it is no array.
struct Items<'t>(Option<Vec<&'t str>>);

impl<'t> Deserialize<'t> for Items<'t> {
    fn deserialize<D: serde::Deserializer<'t>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(Inner).map(Self)
    }
}

struct Inner;

impl<'t> Visitor<'t> for Inner {
    type Value = Option<Vec<&'t str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_seq<A: SeqAccess<'t>>(self, items: A) -> Result<Self::Value, A::Error> {
        texts(items).map(Some)
    }

    // Most numbers, too, come as a map.
    fn visit_map<A: MapAccess<'t>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

fn texts<'t, A: SeqAccess<'t>>(mut items: A) -> Result<Vec<&'t str>, A::Error> {
    let mut all = Vec::new();
    while let Some(item) = items.next_element::<&RawValue>()? {
        all.push(item.get());
    }
    Ok(all)
}

struct Peek<'m>(&'m str);

impl<'t> Visitor<'t> for Peek<'_> {
    type Value = Option<&'t str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_wanted) = members.next_key_seed(Is(self.0))? {
            if is_wanted {
                let text = members.next_value::<&RawValue>()?.get();
                let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
                found = inside.filter(|text| !text.contains('\\'));
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a key is this one.
struct Is<'m>(&'m str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_are_left_as_they_are_written() {
        let opened =
            open_list(r#" {"total": 1.50, "data": [ {"id":"a", "x": 1e0}, 7 ,[]] , "next":{"a":[1]}} "#, "data");
        let Opened { items, rest } = opened.expect("JSON");
        assert_eq!(items, Some(vec![r#"{"id":"a", "x": 1e0}"#, "7", "[]"]));
        assert_eq!(rest.to_string(), r#"{"next":{"a":[1]},"total":1.50}"#);
        let Opened { items, rest } = open_list(r#"[{"id":"a"}]"#, "data").expect("JSON");
        assert_eq!((items, rest), (Some(vec![r#"{"id":"a"}"#]), json!(null)));
    }

    #[test]
    fn a_list_may_be_missing() {
        for text in
            ["{}", "7", "\"data\"", "null", r#"{"data":{"a":[1]}}"#, r#"{"data":7.5e3,"b":1}"#, r#"{"data":"x"}"#]
        {
            assert_eq!(open_list(text, "data").expect("JSON").items, None, "{text}");
        }
        for text in
            [r#"{"data":null}"#, r#"{"data":true}"#, r#"{"data":[1],"data":2}"#, r#"{"data":-2}"#, r#"{"data":1.5}"#]
        {
            assert_eq!(open_list(text, "data").expect("JSON").items, None, "{text}");
        }
        let twice = open_list(r#"{"data":2,"data":[1],"a":1,"a":2}"#, "data").expect("JSON");
        assert_eq!((twice.items, twice.rest), (Some(vec!["1"]), json!({"a": 2})));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "[1", r#"{"data":[1],}"#, "[1]]", r#"{"data":[01]}"#, r#"{"a":"\ud800","data":[]}"#] {
            assert!(open_list(text, "data").is_err(), "{text}");
        }
    }

    #[test]
    fn a_private_key_is_a_key_like_any_other() {
        let text = r#"{"$serde_json::private::Number":"5","data":[{"$serde_json::private::RawValue":"[1]"}]}"#;
        let Opened { items, rest } = open_list(text, "data").expect("JSON");
        assert_eq!(items, Some(vec![r#"{"$serde_json::private::RawValue":"[1]"}"#]));
        assert_eq!(rest.to_string(), r#"{"$serde_json::private::Number":"5"}"#);
        assert_eq!(peek_member(r#"{"$serde_json::private::Number":"5","id":"a"}"#, "id"), Some("a"));
    }

    #[test]
    fn a_plain_member_is_seen() {
        assert_eq!(peek_member(r#"{"x":{"id":"b"},"\u0069d":"a"}"#, "id"), Some("a"));
        assert_eq!(peek_member(r#"{"id":"a","id":"b"}"#, "id"), Some("b"));
        for text in ["7", "[]", "{}", r#"{"id":7}"#, r#"{"id":"a","id":null}"#, r#"{"id":"\u0061"}"#, r#"{"id":"a"#, ""]
        {
            assert_eq!(peek_member(text, "id"), None, "{text}");
        }
    }
}
