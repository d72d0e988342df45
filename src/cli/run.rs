//! `segsync run`: the daemon in the foreground, as a service manager starts it.

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Context, Exit, Misuse, runtime};
use crate::config::{Config, Listen};
use crate::daemon::{self, Manager, Notice, Prepared, Wiring};
use crate::events::Events;
use crate::http::Listener;
use crate::live::Live;
use crate::systemd;
use crate::telemetry::{self, LevelHandle};

const EXAMPLES: &str = "\
Signals:
  SIGTERM, SIGINT   stop: requests in flight get 5 s, everything answered is committed, exit 0
  SIGHUP            read the configuration again; a bad one is refused and the old one stays

Examples:
  segsync run                               with ./segsync.toml or /etc/segsync/config.toml
  segsync run -c /etc/segsync/eu.toml -v    another configuration, and a line for each request
  systemctl reload segsync                  the same as SIGHUP, for the service";

/// Run the daemon: keep every configured segment fresh
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {}

pub(super) fn run(context: &Context, _: &Args) -> Result<Exit> {
    let passed = systemd::sockets().context("take over the sockets that systemd passes")?;
    let runtime = runtime()?;
    let entered = runtime.enter();
    // From here on a signal is an order, whatever the daemon is at.
    let signals = Signals::new().context("listen for signals")?;
    let config = context.load_config()?;
    let level = telemetry::init(context.log_level(config.log.level), config.log.format).context("start the log")?;
    let prepared = super::prepare(config, &context.clock, Prepared::new)?;
    let sockets = wanted(passed, prepared.config())?;
    let served = runtime.block_on(serve(context, prepared, sockets, &level, signals));
    drop(entered);
    // All is committed; what is read still, nobody waits for.
    runtime.shutdown_background();
    match served {
        Ok(()) => Ok(Exit::Done),
        Err(failure) => {
            let why = format!("{}{failure:#}", super::lead(&failure));
            error!("{why}");
            systemd::status(&why);
            Ok(Exit::Failed)
        }
    }
}

/// The sockets that systemd passes, where the configuration wants them.
fn wanted(sockets: Vec<systemd::Socket>, config: &Config) -> Result<Vec<systemd::Socket>> {
    let is_wanted = config.http.as_ref().is_some_and(|http| http.listen == Listen::Systemd);
    if is_wanted && sockets.is_empty() {
        let what = "[http] listen is \"systemd\", but systemd passed no socket: enable and start segsync.socket";
        return Err(Misuse(what.to_owned()).into());
    }
    if !is_wanted && !sockets.is_empty() {
        warn!("systemd passed {} sockets, which stay unused: [http] listen is not \"systemd\"", sockets.len());
    }
    Ok(if is_wanted { sockets } else { Vec::new() })
}

async fn serve(
    context: &Context,
    prepared: Prepared,
    sockets: Vec<systemd::Socket>,
    level: &LevelHandle,
    mut signals: Signals,
) -> Result<()> {
    let (reload, reloads) = mpsc::channel(1);
    let shutdown = CancellationToken::new();
    let running = prepared.config().clone();
    let listener = if sockets.is_empty() { None } else { Some(Listener::passed(sockets)?) };
    let wiring = Wiring {
        clock: context.clock.clone(),
        events: Events::default(),
        live: Live::default(),
        manager: Manager::new(systemd::watchdog(), notify),
        listener,
        reloads,
        shutdown: shutdown.clone(),
    };
    systemd::status("opening the database");
    let daemon = daemon::run(prepared, wiring, systemd::ready);
    tokio::select! {
        result = daemon => result,
        () = signals.obey(context, &running, level, &reload, &shutdown) => unreachable!("signals are obeyed for ever"),
    }
}

/// Tells the service manager.
fn notify(notice: Notice) {
    match notice {
        Notice::Extend(by) => {
            systemd::extend(by);
            systemd::status("upgrading the database");
        }
        Notice::Reloading => systemd::reloading(),
        Notice::Reloaded => systemd::ready(),
        Notice::Alive => systemd::alive(),
        Notice::Status(line) => systemd::status(&line),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Turns signals into reloads and the shutdown, for ever. The configuration is read when the daemon is ready to take
    /// it over: asked several times meanwhile, it reloads once.
    async fn obey(
        &mut self,
        context: &Context,
        running: &Config,
        level: &LevelHandle,
        reload: &mpsc::Sender<Prepared>,
        shutdown: &CancellationToken,
    ) {
        let mut is_asked = false;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => stop(shutdown),
                _ = self.interrupt.recv() => stop(shutdown),
                _ = self.hang_up.recv() => is_asked = true,
                // The daemon is gone only when the process is about to end.
                Ok(slot) = reload.reserve(), if is_asked => {
                    is_asked = false;
                    match read_again(context, running) {
                        Ok(prepared) => {
                            level.set(context.log_level(prepared.config().log.level));
                            slot.send(prepared);
                        }
                        Err(failure) => refuse(&failure),
                    }
                }
            }
        }
    }
}

/// A reload that changes nothing has an end, too.
fn refuse(failure: &anyhow::Error) {
    systemd::reloading();
    for problem in format!("{failure:#}").lines() {
        error!("reload refused, the old configuration stays: {problem}");
    }
    systemd::ready();
}

fn stop(shutdown: &CancellationToken) {
    systemd::stopping();
    systemd::status("stopping");
    info!("asked to stop");
    shutdown.cancel();
}

/// Reads the configuration again, as far as a running daemon can take it over.
fn read_again(context: &Context, running: &Config) -> Result<Prepared> {
    let config = context.load_config()?;
    if config.store.path != running.store.path {
        bail!("another [store] path needs a restart");
    }
    Prepared::new(config, &context.clock)
}
