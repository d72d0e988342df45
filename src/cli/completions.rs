//! `segsync completions`: what a shell offers while a command is typed.

use std::io::Write;

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Context, Exit, exact};

const EXAMPLES: &str = "\
Examples:
  segsync completions bash > ~/.local/share/bash-completion/completions/segsync
  segsync completions zsh > ~/.zfunc/_segsync
  segsync completions fish > ~/.config/fish/completions/segsync.fish";

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Whose
    shell: Shell,
}

pub(super) fn run(_: &Context, args: &Args) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "segsync", &mut script);
    let mut output = exact();
    output.write_all(&script)?;
    output.flush()?;
    Ok(Exit::Done)
}
