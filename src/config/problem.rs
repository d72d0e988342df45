//! What is wrong in a configuration file, all of it at once, a line each.
//!
//! Must never repeat the value of an API key: whoever pushes a problem chooses its words accordingly.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// One thing wrong. Shown as `file:line:column: key: what is wrong; what is expected`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as the caller named it.
    pub file: Arc<str>,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The dotted key, such as `source.limits.per`; empty where the text is not TOML.
    pub key: String,
    /// What is wrong and what is expected.
    pub what: String,
}

/// Everything wrong in one file, in the file's order; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, problem)| {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")
        })
    }
}

/// Where the readers put what they find wrong, so that they can read on.
pub(super) struct Sink<'a> {
    file: Arc<str>,
    text: &'a str,
    found: RefCell<Vec<Problem>>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(file: &str, text: &'a str) -> Self {
        Self { file: Arc::from(file), text, found: RefCell::default() }
    }

    /// A problem at a byte offset of the text.
    pub(super) fn push(&self, offset: usize, key: impl Into<String>, what: impl Into<String>) {
        self.found.borrow_mut().push(self.problem(offset, key.into(), what.into()));
    }

    /// The line of a byte offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }

    /// The value, if nothing was found wrong on the way to it.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Problems> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|problem| (problem.line, problem.column));
        if found.is_empty() { Ok(value) } else { Err(Problems(found)) }
    }

    /// One problem that makes all others pointless.
    pub(super) fn only(&self, offset: usize, what: String) -> Problems {
        Problems(vec![self.problem(offset, String::new(), what)])
    }

    fn problem(&self, offset: usize, key: String, what: String) -> Problem {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[start..].chars().count() + 1;
        Problem { file: Arc::clone(&self.file), line: self.line(offset), column, key, what }
    }
}
