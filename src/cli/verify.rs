//! `segsync verify`: whether the database is whole and its history as it was written.

use anyhow::Result;

use super::{Context, Exit, Findings, complain, contents, counted};

const EXAMPLES: &str = "\
Checks, in one look at the file, while a daemon may write it and without the right to write to it:
  file        SQLite's own integrity check of every page, index and constraint
  reference   no row names another one that is not there
  chain       every version and its changes are as they were written; none was removed, other than by [store]
              keep_versions, or inserted
  hash        every document has its hash
  fold        every version's changes lead from the document before, where that is kept, to its own, and back
  order       numbers, times and states follow one another

Prints a line for each finding, or one line when all is well. JSON has one line for each finding and one in the end.

Examples:
  segsync verify                            the configured database
  segsync verify --db /backup/segsync.db    a copy of it
  segsync verify --format json | jq .       for a program

Exit codes: 0 all is well · 1 something is wrong, or the file cannot be read";

/// Check that the database is whole and its history as it was written
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {}

pub(super) fn run(context: &Context, _: &Args) -> Result<Exit> {
    let reader = context.reader()?;
    let mut findings = Findings::new(context);
    findings.begin()?;
    let bar = findings.bar();
    let verified = reader.verify(&mut |step| Findings::step(&bar, step), &mut |finding| findings.tell(&finding))?;
    let lead = format!("{}: all is well: {}", reader.path().display(), contents(&verified));
    findings.end(&lead, &verified, &serde_json::json!({}))?;
    if verified.findings == 0 {
        return Ok(Exit::Done);
    }
    complain(&format!("segsync: {} in {}", counted(verified.findings, "finding"), reader.path().display()));
    Ok(Exit::Failed)
}
