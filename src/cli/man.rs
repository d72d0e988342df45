//! `segsync man`: the manual pages, made from what `--help` says.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::CommandFactory;
use clap_mangen::Man;

use super::{Cli, Context, Exit, exact};

const EXAMPLES: &str = "\
Examples:
  segsync man | man -l -                    read segsync(1)
  segsync man --dir /usr/local/share/man/man1
                                            write it and a page for each verb, such as segsync-run.1";

/// Print the manual page, or write those of all verbs
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Write segsync.1 and a page for each verb into this folder
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

pub(super) fn run(_: &Context, args: &Args) -> Result<Exit> {
    // `help` explains what `--help` does: no pages of its own.
    let without_help = |verb: clap::Command| verb.disable_help_subcommand(true);
    let mut command = without_help(Cli::command()).mut_subcommands(without_help);
    command.build();
    match &args.dir {
        None => {
            let mut page = Vec::new();
            Man::new(command).render(&mut page)?;
            let mut output = exact();
            output.write_all(&page)?;
            output.flush()?;
        }
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
            clap_mangen::generate_to(command, folder).with_context(|| format!("write to {}", folder.display()))?;
        }
    }
    Ok(Exit::Done)
}
