//! The command line: what the verbs share, and which there are. A file per verb; no verb imports another.
//!
//! Standard output carries results only, standard error everything else. Exit codes: `Exit`.

mod advice;
mod backup;
mod completions;
mod config;
mod demo;
mod diff;
mod expected;
mod export;
mod findings;
mod import;
mod input;
mod log;
mod man;
mod outlook;
mod output;
mod pager;
mod plan;
mod render;
mod run;
mod segment;
mod show;
mod status;
mod sync;
mod verify;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::Prepared;
use crate::model::LogLevel;
use crate::provider;
use crate::store::{self, Reader};
use crate::telemetry;

// What the verbs share; they do not import one another.
use advice::{about_source, about_stale, about_stretch, about_unknown};
use expected::{Account, accounts, allowed_ages, forecasts, way};
use findings::{Findings, contents};
use input::{Named, Time, did_you_mean, document_of, known_source, named, say_which, segment_in, version_in};
use outlook::{AccountOutlook, Outlook, Row};
use output::{Output, columns, complain, counted, csv_row, exact, is_terminal, progress_bar, safe, safe_json, span};
use pager::{Pager, Paging};
use render::{Detail, block, line, pretty, show_change};
use segment::{Allowance, segment_status};

/// Where a configuration is looked for when none is named.
const PLACES: [&str; 2] = ["segsync.toml", "/etc/segsync/config.toml"];

const ABOUT: &str = "Mirrors customer segments into one SQLite file with a complete change history";

const LONG_ABOUT: &str = "\
Mirrors customer segments that live in other products into one SQLite file with a complete change history, and never \
exceeds the request budgets of these products. `segsync config example` shows which products there are.

`segsync run` is the daemon. The other verbs read the file it writes, whether it runs or not.";

const EXAMPLES: &str = "\
Examples:
  segsync demo                              see it at work against simulated providers; needs no keys
  segsync config example > segsync.toml     start a configuration
  segsync config check                      check it
  segsync plan                              what its budgets allow, and how old each copy gets
  segsync sync                              poll every segment once
  segsync run                               keep them fresh
  segsync log --since 2h                    who changed what in the last two hours
  segsync show prod/beta_users              one segment as it is now
  segsync diff prod/beta_users 2d           what has changed in it in two days
  segsync backup /backup/segsync.db         a checked copy, while the daemon runs
  segsync export > history.jsonl            the whole history, for other tools

Exit codes: 0 done · 1 failed · 2 bad usage or configuration · 3 some segments did not end well (sync), or something is
stale or unauthorized (status)";

#[derive(Debug, Parser)]
#[command(name = "segsync", version, about = ABOUT, long_about = LONG_ABOUT, after_help = EXAMPLES, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// The configuration; else ./segsync.toml, else /etc/segsync/config.toml
    #[arg(short, long, global = true, value_name = "FILE", env = "SEGSYNC_CONFIG")]
    config: Option<PathBuf>,
    /// The database, instead of the one that the configuration names
    #[arg(long, global = true, value_name = "FILE")]
    db: Option<PathBuf>,
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// When results are coloured
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: When,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Log warnings only; twice for errors only
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "verbose")]
    quiet: u8,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    #[value(alias = "jsonl")]
    Json,
    /// Comma-separated values with a header line (RFC 4180).
    Csv,
}

/// When results are coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum When {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Args),
    Sync(sync::Args),
    Log(log::Args),
    Show(show::Args),
    Diff(diff::Args),
    Status(status::Args),
    Plan(plan::Args),
    Export(export::Args),
    Import(import::Args),
    Verify(verify::Args),
    Backup(backup::Args),
    Config(config::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// 0: done.
    Done,
    /// 1: failed.
    Failed,
    /// 2: bad usage or configuration.
    Misuse,
    /// 3: some segments did not end well, or something is stale or unauthorized.
    NotWell,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Misuse => 2,
            Exit::NotWell => 3,
        })
    }
}

/// An error of whoever called: it ends with [`Exit::Misuse`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Misuse(String);

/// Reads the command line, runs the verb, tells what went wrong.
pub fn main() -> ExitCode {
    let Cli { global, verb } = Cli::parse_from(std::env::args_os().collect::<Vec<OsString>>());
    let context = Context { global, clock: Clock::system() };
    let result = match verb {
        Verb::Run(args) => run::run(&context, &args),
        Verb::Sync(args) => sync::run(&context, &args),
        Verb::Log(args) => log::run(&context, &args),
        Verb::Show(args) => show::run(&context, &args),
        Verb::Diff(args) => diff::run(&context, &args),
        Verb::Status(args) => status::run(&context, &args),
        Verb::Plan(args) => plan::run(&context, &args),
        Verb::Export(args) => export::run(&context, &args),
        Verb::Import(args) => import::run(&context, &args),
        Verb::Verify(args) => verify::run(&context, &args),
        Verb::Backup(args) => backup::run(&context, &args),
        Verb::Config(args) => config::run(&context, &args),
        Verb::Demo(args) => demo::run(&context, &args),
        Verb::Completions(args) => completions::run(&context, &args),
        Verb::Man(args) => man::run(&context, &args),
    };
    result.unwrap_or_else(|error| fail(&error)).into()
}

/// Tells an error on standard error, a line for each problem; a closed pipe is none.
fn fail(error: &anyhow::Error) -> Exit {
    if error.chain().any(is_broken_pipe) {
        return Exit::Done;
    }
    let text = format!("{}{error:#}", lead(error));
    // sd-daemon(3): what the journal takes for an error.
    let level = if telemetry::is_journal() { "<3>" } else { "" };
    for line in text.lines() {
        complain(&format!("{level}segsync: {}", safe(line)));
    }
    if error.is::<Misuse>() { Exit::Misuse } else { Exit::Failed }
}

/// What stands before an error that reads after it.
fn lead(error: &anyhow::Error) -> &'static str {
    if error.is::<store::OpenError>() || error.is::<store::Error>() { "failed to " } else { "" }
}

fn is_broken_pipe(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// What a verb is given besides its own arguments.
#[derive(Debug)]
struct Context {
    global: Global,
    clock: Clock,
}

impl Context {
    /// Where the configuration is: the one named, else the first that exists.
    fn config_path(&self) -> Result<PathBuf> {
        let named = self.global.config.clone();
        let found = || PLACES.iter().map(PathBuf::from).find(|path| path.exists());
        named.or_else(found).ok_or_else(|| {
            let places = PLACES.join(" nor ");
            Misuse(format!(
                "there is no configuration: neither {places} exists; name one with --config FILE, or start one with \
                 `segsync config example > segsync.toml`"
            ))
            .into()
        })
    }

    /// Loads and checks the configuration.
    fn load_config(&self) -> Result<Config> {
        self.load_config_at(&self.config_path()?)
    }

    fn load_config_at(&self, path: &Path) -> Result<Config> {
        let mut config =
            crate::config::load(path, &provider::catalogue()).map_err(|error| Misuse(format!("{error}")))?;
        if let Some(db) = &self.global.db {
            config.store.path = std::path::absolute(db).context("find the working directory")?;
        }
        Ok(config)
    }

    /// Where the database is: the one named, else the configured one.
    fn database(&self) -> Result<PathBuf> {
        match &self.global.db {
            Some(path) => Ok(path.clone()),
            None => Ok(self.load_config()?.store.path),
        }
    }

    /// The database, to read from.
    fn reader(&self) -> Result<Reader> {
        Ok(Reader::open(self.database()?)?)
    }

    /// The configuration that the database at `path` is written by, where there is one: the named one, else one of the
    /// usual places, but only if it names this database.
    fn config_of(&self, path: &Path) -> Result<Option<Config>> {
        if self.global.db.is_none() || self.global.config.is_some() {
            return self.load_config().map(Some);
        }
        let found = PLACES.iter().find_map(|place| crate::config::load(Path::new(place), &provider::catalogue()).ok());
        Ok(found.filter(|config| config.store.path.canonicalize().is_ok_and(|own| own == path)))
    }

    /// Standard output.
    fn output(&self) -> Output {
        Output::new(self.global.color, None)
    }

    /// Standard output through a pager, where that is a terminal and nobody minds.
    fn paged(&self, paging: &Paging) -> Result<Output> {
        Ok(Output::new(self.global.color, Pager::start(paging)?))
    }

    /// The level that `-v` and `-q` ask for, else `usual`.
    fn log_level(&self, usual: LogLevel) -> LogLevel {
        match (self.global.verbose, self.global.quiet) {
            (0, 0) => usual,
            (1, _) => LogLevel::Debug,
            (2.., _) => LogLevel::Trace,
            (0, 1) => LogLevel::Warn,
            (0, 2..) => LogLevel::Error,
        }
    }
}

/// A runtime for the verbs that poll.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")
}

/// Reads the keys of a configuration; one that is missing is the caller's to provide.
fn prepare(
    config: Config,
    clock: &Clock,
    prepare: impl FnOnce(Config, &Clock) -> Result<Prepared>,
) -> Result<Prepared> {
    prepare(config, clock).map_err(|error| Misuse(format!("{error:#}")).into())
}
