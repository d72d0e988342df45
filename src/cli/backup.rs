//! `segsync backup`: a checked copy of the database, while the daemon runs.

use std::path::PathBuf;

use anyhow::{Error, Result, anyhow};
use indicatif::HumanBytes;

use super::{Context, Exit, Findings, Misuse, contents};
use crate::store::BackupError;

const EXAMPLES: &str = "\
Copies the database as it is at one moment; a daemon goes on writing meanwhile. The copy is checked as `segsync verify`
does, and appears under its name only once it is whole and on the disk. It needs no -wal file beside it, and its rights
are those that the umask gives to a new file.

To restore it, stop the daemon, remove the -wal and -shm files of the database, and put the copy in its place.

Examples:
  segsync backup /backup/segsync.db                      refuses to overwrite
  segsync backup --force /backup/segsync.db              replaces yesterday's
  segsync backup /backup/segsync-$(date +%F).db          one a day

Exit codes: 0 done · 1 failed, also where the database is damaged; nothing is left then";

/// Write a checked copy of the database, while the daemon runs
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where the copy goes
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the file that is there
    #[arg(short, long)]
    force: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit> {
    let reader = context.reader()?;
    let mut findings = Findings::new(context);
    let bar = findings.bar();
    findings.begin()?;
    let done = reader.backup(
        &args.file,
        args.force,
        &mut |done, all| Findings::copying(&bar, done, all),
        &mut |step| Findings::step(&bar, step),
        &mut |finding| findings.tell(&finding),
    );
    let backup = match done {
        Ok(backup) => backup,
        Err(error) => {
            bar.finish_and_clear();
            return Err(advised(error));
        }
    };
    let to = args.file.display().to_string();
    let contents = contents(&backup.verified);
    let lead = format!("{to}: {}, checked: {contents}", HumanBytes(backup.bytes));
    let more = serde_json::json!({"file": to, "bytes": backup.bytes});
    findings.end(&lead, &backup.verified, &more)?;
    Ok(Exit::Done)
}

fn advised(error: BackupError) -> Error {
    match error {
        BackupError::Exists(_) => anyhow!("{error}; --force replaces it"),
        BackupError::Itself(_) => Misuse(format!("{error}; name another file")).into(),
        BackupError::Damaged { .. } => anyhow!("{error}"),
        other => Error::new(other).context("failed to back up"),
    }
}
