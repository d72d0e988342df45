//! Standard output and error, and making a provider's text safe to show there.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};

use anstream::{AutoStream, ColorChoice};

use super::When;

/// Standard output; strips colours where they are not wanted.
pub(super) struct Output(BufWriter<AutoStream<io::Stdout>>);

impl Output {
    pub(super) fn new(color: When) -> Self {
        let stdout = io::stdout();
        let choice = match color {
            When::Auto => AutoStream::choice(&stdout),
            When::Always => ColorChoice::AlwaysAnsi,
            When::Never => ColorChoice::Never,
        };
        Self(BufWriter::new(AutoStream::new(stdout, choice)))
    }
}

impl Write for Output {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// One line on standard error.
pub(super) fn complain(line: &str) {
    // There is nowhere left to say that this failed.
    drop(writeln!(anstream::stderr(), "{line}"));
}

/// Text that cannot move a terminal's cursor, hide itself or turn around: control characters and the marks that change
/// the direction of writing are shown as `\u{…}`.
pub(super) fn safe(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if is_unsafe(char) { shown.extend(char.escape_unicode()) } else { shown.push(char) }
    }
    Cow::Owned(shown)
}

fn is_unsafe(char: char) -> bool {
    let turns =
        matches!(char, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    char.is_control() || turns || matches!(char, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_command_a_terminal() {
        assert!(matches!(safe("Zürich → 東京 🙂"), Cow::Borrowed(_)));
        assert_eq!(safe("a\u{1b}[31mb\nc"), "a\\u{1b}[31mb\\u{a}c");
        assert_eq!(safe("x\u{202e}y\u{9b}z"), "x\\u{202e}y\\u{9b}z");
    }
}
