//! Standard output and error, and making a provider's text safe to show there.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Pager, When};
pub(super) use crate::model::{escaped as safe, escaped_json as safe_json};

/// Standard output, perhaps through a pager; strips colours where they are not wanted.
pub(super) struct Output {
    // The pager sees the end of the text before it is waited for.
    text: BufWriter<AutoStream<Box<dyn Write>>>,
    _pager: Option<Pager>,
}

impl Output {
    pub(super) fn new(color: When, pager: Option<Pager>) -> Self {
        let stdout = io::stdout();
        let choice = match color {
            When::Auto => AutoStream::choice(&stdout),
            When::Always => ColorChoice::AlwaysAnsi,
            When::Never => ColorChoice::Never,
        };
        let mut pager = pager;
        let target: Box<dyn Write> = match pager.as_mut().and_then(Pager::take_input) {
            Some(input) => Box::new(input),
            None => Box::new(stdout),
        };
        Self { text: BufWriter::new(AutoStream::new(target, choice)), _pager: pager }
    }
}

impl Write for Output {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.text.flush()
    }
}

/// Standard output as it is: for what must keep every byte.
pub(super) fn exact() -> BufWriter<io::Stdout> {
    BufWriter::new(io::stdout())
}

/// Whether standard output is a terminal.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Rows as columns, without lines.
pub(super) fn columns(rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A progress bar on standard error, where that is a terminal.
pub(super) fn progress_bar(template: &str) -> ProgressBar {
    let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(0), target).with_style(style)
}

/// A count with its thing: `1 version`, `12,345 versions`.
pub(super) fn counted(count: u64, thing: &str) -> String {
    format!("{} {thing}{}", HumanCount(count), if count == 1 { "" } else { "s" })
}

/// One line on standard error.
pub(super) fn complain(line: &str) {
    // There is nowhere left to say that this failed.
    drop(writeln!(anstream::stderr(), "{line}"));
}

/// One row of comma-separated values (RFC 4180). A cell that a spreadsheet would take for a formula starts with `'`.
pub(super) fn csv_row<T: AsRef<str>>(output: &mut impl Write, cells: impl IntoIterator<Item = T>) -> io::Result<()> {
    for (at, cell) in cells.into_iter().enumerate() {
        if at > 0 {
            output.write_all(b",")?;
        }
        let text = cell.as_ref();
        let lead = if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { "'" } else { "" };
        let text = safe(text);
        if text.contains([',', '"']) {
            write!(output, "\"{lead}{}\"", text.replace('"', "\"\""))?;
        } else {
            write!(output, "{lead}{text}")?;
        }
    }
    output.write_all(b"\r\n")
}

/// A span of time in one rounded unit.
pub(super) fn span(span: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match span.as_secs() {
        seconds if seconds < 2 * MINUTE => format!("{seconds} s"),
        seconds if seconds < 2 * HOUR => format!("{} min", seconds / MINUTE),
        seconds if seconds < 2 * DAY => format!("{} h", seconds / HOUR),
        seconds => format!("{} days", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_never_formulas() {
        let row = |cells: &[&str]| {
            let mut out = Vec::new();
            csv_row(&mut out, cells).expect("written");
            String::from_utf8(out).expect("text")
        };
        assert_eq!(row(&["a", "", "b,\"c\""]), "a,,\"b,\"\"c\"\"\"\r\n");
        assert_eq!(row(&["=1+1", "-5", "@x", "+y,z", "\tq"]), "'=1+1,'-5,'@x,\"'+y,z\",'\\u{9}q\r\n");
        assert_eq!(row(&["\u{1b}[31m\r\nx"]), "\\u{1b}[31m\\u{d}\\u{a}x\r\n");
    }

    /// The cells of one row, as RFC 4180 has them.
    fn cells(row: &str) -> Vec<String> {
        let row = row.strip_suffix("\r\n").expect("a row");
        let (mut cells, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
        let mut chars = row.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '"' if is_quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => cells.push(std::mem::take(&mut cell)),
                other => cell.push(other),
            }
        }
        cells.push(cell);
        cells
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_one_cell_and_no_formula(
            texts in proptest::collection::vec("[=+@\\-\t\r\n]?[\\PC\u{0}-\u{9f}\u{200e}-\u{202e},\"';]{0,12}", 1..4),
        ) {
            let mut out = Vec::new();
            csv_row(&mut out, &texts).expect("written");
            let row = String::from_utf8(out).expect("text");
            let cells = cells(&row);
            proptest::prop_assert_eq!(cells.len(), texts.len());
            for (cell, text) in cells.iter().zip(&texts) {
                proptest::prop_assert!(!cell.contains(crate::model::is_unsafe), "{:?}", cell);
                proptest::prop_assert!(!cell.starts_with(['=', '+', '-', '@']), "{:?}", cell);
                let shown = safe(text);
                proptest::prop_assert_eq!(cell.trim_start_matches('\''), shown.trim_start_matches('\''));
            }
        }
    }

    #[test]
    fn spans_have_one_unit() {
        let spans = [0, 119, 120, 7199, 7200, 172_799, 172_800].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 days"]);
    }
}
