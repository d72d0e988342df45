//! What a check of a database found, a line each, and how far it is.

use std::io::Write;

use anyhow::Result;
use indicatif::ProgressBar;
use serde_json::json;

use super::{Context, Format, Output, counted, csv_row, progress_bar, safe};
use crate::store::{Finding, Step, Verified};

/// Prints findings as they come.
pub(super) struct Findings {
    output: Output,
    format: Format,
    bar: ProgressBar,
    failed: Option<std::io::Error>,
}

impl Findings {
    pub(super) fn new(context: &Context) -> Self {
        let bar = progress_bar("{bar:30} {msg}, {elapsed} of about {duration}");
        Self { output: context.output(), format: context.global.format, bar, failed: None }
    }

    /// What the bar of a copy shows.
    pub(super) fn copying(bar: &ProgressBar, done: u64, all: u64) {
        bar.set_length(all);
        bar.set_position(done);
        bar.set_message(format!("{done}/{all} pages copied"));
    }

    /// The bar, to move it.
    pub(super) fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// Moves the bar.
    pub(super) fn step(bar: &ProgressBar, step: Step) {
        match step {
            Step::File => {
                bar.set_position(0);
                bar.set_message("reading every page");
            }
            Step::Versions { done, all } => {
                bar.set_length(all);
                bar.set_position(done);
                bar.set_message(format!("{done}/{all} versions checked"));
            }
        }
    }

    /// Prints one finding.
    pub(super) fn tell(&mut self, finding: &Finding) {
        // A pipe that is closed is told in the end.
        if self.failed.is_none() {
            let bar = self.bar.clone();
            self.failed = bar.suspend(|| self.print(finding)).err();
        }
    }

    fn print(&mut self, finding: &Finding) -> std::io::Result<()> {
        let Finding { check, segment, seq, row, what } = finding;
        match self.format {
            Format::Text => {
                let seq = seq.map(|seq| format!(" v{seq}")).unwrap_or_default();
                let row = row.map(|row| format!(" (row {row})")).unwrap_or_default();
                let segment = segment.as_ref().map(ToString::to_string).unwrap_or_default();
                let place = format!("{}{seq}{row}", safe(&segment));
                let place = if place.is_empty() { place } else { format!("{}: ", place.trim_start()) };
                writeln!(self.output, "{check}: {place}{}", safe(what))?;
            }
            Format::Json => {
                let (source, id) = segment.as_ref().map(|key| (key.source.as_str(), &*key.id)).unzip();
                let line = json!({
                    "check": check, "source": source, "segment": id, "version": seq, "row": row, "finding": what,
                });
                writeln!(self.output, "{line}")?;
            }
            Format::Csv => self.row(finding)?,
        }
        self.output.flush()
    }

    fn row(&mut self, finding: &Finding) -> std::io::Result<()> {
        let Finding { check, segment, seq, row, what } = finding;
        let number = |number: &Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
        let (source, id) = segment.as_ref().map(|key| (key.source.as_str(), &*key.id)).unwrap_or_default();
        csv_row(&mut self.output, [check.as_str(), source, id, &number(seq), &number(row), what])
    }

    /// Begins the table, where there is one.
    pub(super) fn begin(&mut self) -> Result<()> {
        if self.format == Format::Csv {
            csv_row(&mut self.output, ["check", "source", "segment", "version", "row", "finding"])?;
        }
        Ok(())
    }

    /// Ends with a closing line: what was checked, if nothing is wrong with it.
    pub(super) fn end(mut self, lead: &str, verified: &Verified, more: &serde_json::Value) -> Result<()> {
        self.bar.finish_and_clear();
        if let Some(error) = self.failed.take() {
            return Err(error.into());
        }
        let Verified { segments, versions, changes, removed, findings } = *verified;
        match self.format {
            Format::Text if findings == 0 => writeln!(self.output, "{lead}")?,
            Format::Json => {
                let mut line = json!({
                    "segments": segments, "versions": versions, "changes": changes, "removed": removed,
                    "findings": findings,
                });
                if let (Some(line), Some(more)) = (line.as_object_mut(), more.as_object()) {
                    line.extend(more.clone());
                }
                writeln!(self.output, "{line}")?;
            }
            Format::Text | Format::Csv => {}
        }
        Ok(self.output.flush()?)
    }
}

/// What a database holds, in words.
pub(super) fn contents(verified: &Verified) -> String {
    let Verified { segments, versions, changes, removed, .. } = *verified;
    let mut parts = vec![counted(segments, "segment"), counted(versions, "version"), counted(changes, "change")];
    if removed > 0 {
        parts.push(format!("{} no longer kept", counted(removed, "version")));
    }
    parts.join(", ")
}
