//! `segsync demo`: simulated providers, people who edit, and the real daemon between them and a database. No keys needed.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::{Context, Detail, Exit, Output, block, runtime, safe};
use crate::config::{self, Config};
use crate::daemon::{self, Manager, Prepared, Wiring};
use crate::events::Events;
use crate::live::Live;
use crate::model::LogLevel;
use crate::provider;
use crate::simulator::lively::{Script, ids};
use crate::simulator::{Limit, OCTAVE_KEY, Provider, STATSIG_KEY, Settings, Simulator};
use crate::store::VersionEntry;
use crate::telemetry;

/// Time between two edits; every kind of edit comes up within 20 of them.
const EDIT_EVERY: Duration = Duration::from_millis(750);

/// What both simulated providers allow, and the daemon keeps: the short one of the real limits. The long one would let
/// each segment be polled once in 20 seconds, which is too dull to watch.
const REQUESTS: u32 = 100;
const PER: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  segsync demo                              half a minute, into a new database below the temporary directory
  segsync demo --for 20s --db /tmp/x.db     afterwards: sqlite3 /tmp/x.db \"select * from change_log\"";

/// Watch segsync at work: simulated providers, people who edit, and the real daemon
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// How long; Ctrl-C ends it earlier
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    duration: Duration,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Exit> {
    telemetry::init(context.log_level(LogLevel::Error), crate::model::LogFormat::Auto).context("start the log")?;
    let folder = std::env::temp_dir().join(format!("segsync-demo-{}", std::process::id()));
    let db = match &context.global.db {
        Some(db) => std::path::absolute(db)?,
        None => folder.join("demo.db"),
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    runtime()?.block_on(play(context, args.duration, &folder, &db))?;
    if context.global.db.is_some() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let mut output = context.output();
    farewell(&mut output, &db)?;
    Ok(Exit::Done)
}

async fn play(context: &Context, duration: Duration, folder: &Path, db: &Path) -> Result<()> {
    let limit = Limit { requests: REQUESTS as usize, per: PER };
    let simulator = Simulator::start(Settings::default().limited(&[limit])).await.context("start the simulator")?;
    let newcomers = usize::try_from(duration.as_millis() / EDIT_EVERY.as_millis()).unwrap_or(usize::MAX) / 20 + 1;
    let config = configuration(&simulator, folder, db, newcomers)?;
    let prepared = Prepared::new(config, &context.clock)?;

    let mut output = context.output();
    greet(&mut output, &prepared, db)?;
    let (events, shutdown) = (Events::default(), CancellationToken::new());
    let committed = events.subscribe();
    let (_reload, reloads) = mpsc::channel(1);
    let wiring = Wiring {
        clock: context.clock.clone(),
        events,
        live: Live::default(),
        manager: Manager::default(),
        listener: None,
        reloads,
        shutdown: shutdown.clone(),
    };
    let script = Script::new(context.clock.now().wall.0.unsigned_abs(), simulator.statsig(), simulator.octave());
    let end = async {
        tokio::select! {
            () = sleep(duration) => (),
            _ = tokio::signal::ctrl_c() => (),
            () = edit(script) => (),
        }
        shutdown.cancel();
        Ok(())
    };
    tokio::select! {
        result = async { tokio::try_join!(daemon::run(prepared, wiring, || ()), end) } => result.map(drop)?,
        result = show(&mut output, committed) => result?,
    }
    let refused = simulator.violations();
    simulator.stop().await;
    if refused > 0 {
        bail!("the simulator counted {refused} requests over its limits");
    }
    Ok(())
}

/// Edits on and on; ends only when the script does.
async fn edit(mut script: Script) {
    let mut next = interval(EDIT_EVERY);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        next.tick().await;
        if script.step().is_err() {
            return;
        }
    }
}

/// Prints versions as they are committed.
async fn show(output: &mut Output, mut committed: broadcast::Receiver<Arc<VersionEntry>>) -> Result<()> {
    loop {
        match committed.recv().await {
            Ok(version) => {
                block(output, &version, Detail::Brief)?;
                writeln!(output)?;
                output.flush()?;
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => writeln!(output, "({missed} more)")?,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// A configuration as an operator would write it, for the simulator.
fn configuration(simulator: &Simulator, folder: &Path, db: &Path, newcomers: usize) -> Result<Config> {
    let mut text = format!("[store]\npath = {}\n[poll]\nevery = \"1s\"\n", quoted(db));
    for (name, provider, key) in [("statsig", Provider::Statsig, STATSIG_KEY), ("octave", Provider::Octave, OCTAVE_KEY)]
    {
        let key_file: PathBuf = folder.join(format!("{name}.key"));
        std::fs::write(&key_file, key).with_context(|| format!("write {}", key_file.display()))?;
        let segments: Vec<String> = ids(provider, newcomers).iter().map(|id| format!("{id:?}")).collect();
        write!(
            text,
            "[[source]]\nname = \"{name}-demo\"\nprovider = \"{name}\"\nbase_url = \"{url}\"\n\
             api_key = {{ file = {key_file} }}\nlimits = [{{ requests = {REQUESTS}, per = \"{per}\" }}]\n\
             segments = [{segments}]\n",
            url = simulator.base_url(provider),
            key_file = quoted(&key_file),
            per = humantime::format_duration(PER),
            segments = segments.join(", "),
        )?;
    }
    Ok(config::parse(&text, "demo.toml", &provider::catalogue())?)
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    toml::Value::from(path.to_string_lossy().into_owned()).to_string()
}

fn greet(output: &mut Output, prepared: &Prepared, db: &Path) -> Result<()> {
    let count = |at: usize| match &prepared.config().sources[at].segments {
        config::Segments::All { own: segments } | config::Segments::Named(segments) => segments.len(),
    };
    writeln!(
        output,
        "segsync keeps a faithful history of customer segments that live in other products.\n\
         \n\
         In this demo two fake providers run in this process, and somebody edits a segment every {edit:?}. The real daemon\n\
         polls {statsig} Statsig and {octave} Octave segments over HTTP, never more than {REQUESTS} requests in {per} each, and\n\
         writes every change that it sees to {db}.\n\
         This is its change log as it grows:\n",
        edit = EDIT_EVERY,
        statsig = count(0),
        octave = count(1),
        per = humantime::format_duration(PER),
        db = safe(&db.to_string_lossy()),
    )?;
    Ok(output.flush()?)
}

fn farewell(output: &mut Output, db: &Path) -> Result<()> {
    let db = db.to_string_lossy();
    writeln!(
        output,
        "\nThat was all. The history stays in {db}; go on with\n\
         \n\
         \x20 segsync log --db {db}                       every version, newest first\n\
         \x20 segsync show statsig-demo/beta_users --db {db}\n\
         \x20 sqlite3 {db} \"select summary from change_log\""
    )?;
    Ok(output.flush()?)
}
