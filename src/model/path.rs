//! Paths into JSON in SQLite's syntax: `$.rules[0]."odd key"`.
//!
//! An odd key is the JSON string that `serde_json` writes in the document, which every SQLite finds, apart from one case:
//! before it read escapes in paths (3.40 does not, 3.53 does), SQLite ended a quoted key at its first `"`, and gives NULL
//! for a key that holds one.

use std::fmt;

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// A member of an object.
    Key(String),
    /// An element of an array.
    Index(usize),
    /// Every element of an array: `[*]`, in configured paths only.
    Each,
}

/// A path into a JSON value; empty is the value itself, `$`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(pub Vec<Step>);

/// A text that is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a JSON path ({what}); write it like $.lastModifierName or $.rules[*].\"odd key\"")]
pub struct PathError {
    text: String,
    what: &'static str,
}

impl Path {
    /// Reads a path such as `$.rules[*].name`; keys may be quoted as JSON strings.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let bad = |what| PathError { text: text.to_owned(), what };
        let mut rest = text.strip_prefix('$').ok_or_else(|| bad("it does not start with $"))?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, left) = if let Some(after) = rest.strip_prefix('.') {
                key_step(after).map_err(bad)?
            } else if let Some(after) = rest.strip_prefix('[') {
                index_step(after).map_err(bad)?
            } else {
                return Err(bad("after $ come .key or [index]"));
            };
            steps.push(step);
            rest = left;
        }
        Ok(Self(steps))
    }

    /// This path with one more step.
    #[must_use]
    pub fn join(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

fn key_step(after: &str) -> Result<(Step, &str), &'static str> {
    if !after.starts_with('"') {
        let end = after.find(['.', '[']).unwrap_or(after.len());
        let (key, rest) = after.split_at(end);
        return if key.is_empty() { Err("a key is empty") } else { Ok((Step::Key(key.to_owned()), rest)) };
    }
    let mut strings = serde_json::Deserializer::from_str(after).into_iter::<String>();
    match strings.next() {
        Some(Ok(key)) => Ok((Step::Key(key), &after[strings.byte_offset()..])),
        _ => Err("a quoted key does not end"),
    }
}

fn index_step(after: &str) -> Result<(Step, &str), &'static str> {
    let (index, rest) = after.split_once(']').ok_or("a [ is not closed")?;
    if index == "*" {
        return Ok((Step::Each, rest));
    }
    let digits = Some(index).filter(|index| index.bytes().all(|byte| byte.is_ascii_digit()));
    let at = digits.and_then(|digits| digits.parse().ok()).ok_or("an index is a number or *")?;
    Ok((Step::Index(at), rest))
}

/// Whether SQLite takes the key without quotes; the set is narrower than SQLite's own, to be safe in every version.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Key(key) if is_plain(key) => write!(f, ".{key}"),
            Step::Key(key) => write!(f, ".{}", serde_json::Value::from(key.as_str())),
            Step::Index(at) => write!(f, "[{at}]"),
            Step::Each => f.write_str("[*]"),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        self.0.iter().try_for_each(|step| step.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_and_show() {
        for text in [
            "$",
            "$.a",
            "$.rules[0].name",
            "$.rules[*]",
            r#"$."a.b"[1]"#,
            r#"$."quote\"d".x"#,
            r#"$."""#,
            r#"$."".""[0]"#,
        ] {
            assert_eq!(Path::parse(text).map(|path| path.to_string()), Ok(text.to_owned()));
        }
        for text in
            ["", "a", "$a", "$.", "$[x]", "$[1", "$[+1]", "$[]", "$[99999999999999999999]", r#"$."open"#, "$..a"]
        {
            assert!(Path::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_key_comes_back() {
        for key in ["", "a.b", "\"", "\\", "\\\"", "[0]", "x]y", " ", "$", "*", "\u{0}\u{1f}\n\u{7f}", "é😀", "0", "-1"]
        {
            let path = Path(vec![Step::Key(key.to_owned()), Step::Index(7), Step::Key(key.to_owned())]);
            assert_eq!(Path::parse(&path.to_string()), Ok(path), "{key:?}");
        }
    }
}
