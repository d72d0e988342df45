//! `segsync config`: check a configuration, show it with its defaults, print the example.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;

use super::{Context, Exit, Outlook, complain, safe};
use crate::config::EXAMPLE;
use crate::daemon::Prepared;

const EXAMPLES: &str = "\
Examples:
  segsync config example > segsync.toml     start a configuration
  segsync config check                      every problem in one line each; exit 2 if there is one. Intervals that the
                                            budget does not allow are warnings: `segsync plan` tells more
  segsync config check --keys               read the API keys, too
  segsync config show                       every default filled in; keys are named, never shown";

/// Check, show or start a configuration
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Check a configuration; reads no API key unless asked to
    Check {
        /// Instead of the one that the other verbs would use
        file: Option<PathBuf>,
        /// Read the API keys, too
        #[arg(long)]
        keys: bool,
    },
    /// Print a commented example
    Example,
    /// Print the configuration with every default filled in
    Show,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit> {
    let mut output = context.output();
    match &args.verb {
        Verb::Check { file, keys } => {
            let path = file.clone().map_or_else(|| context.config_path(), Ok)?;
            let config = context.load_config_at(&path)?;
            let sources = config.sources.len();
            for warning in Outlook::new(&config).warnings() {
                complain(&format!("segsync: warning: {}", safe(warning)));
            }
            if *keys {
                super::prepare(config, &context.clock, Prepared::new)?;
            }
            let with = if *keys { ", every key can be read" } else { "" };
            writeln!(output, "{}: ok, {sources} sources{with}", safe(&path.to_string_lossy()))?;
        }
        Verb::Example => write!(output, "{EXAMPLE}")?,
        Verb::Show => write!(output, "{}", context.load_config()?.show())?,
    }
    output.flush()?;
    Ok(Exit::Done)
}
