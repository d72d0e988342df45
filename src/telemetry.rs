//! Logging: to the journal under systemd, in colour on a terminal, as JSON lines into a pipe. Only segsync's own lines
//! are written: what a library logs about a request could hold a key.

use std::io::{IsTerminal, stderr};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::model::{LogFormat, LogLevel};

/// Changes the level of the running log.
#[derive(Clone, Debug)]
pub struct LevelHandle(reload::Handle<Targets, Registry>);

impl LevelHandle {
    /// Logs at `level` from now on.
    pub fn set(&self, level: LogLevel) {
        if let Err(error) = self.0.reload(only_ours(level)) {
            tracing::warn!("failed to change the log level: {error}");
        }
    }
}

/// Starts the process's log on standard error, or on the journal. Fails when the process logs already.
pub fn init(level: LogLevel, format: LogFormat) -> Result<LevelHandle, TryInitError> {
    let (filter, handle) = reload::Layer::new(only_ours(level));
    tracing_subscriber::registry().with(layer(resolve(format)).with_filter(filter)).try_init()?;
    Ok(LevelHandle(handle))
}

fn only_ours(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    Targets::new().with_target(env!("CARGO_CRATE_NAME"), level)
}

/// What `auto` means here: systemd sets `JOURNAL_STREAM` where standard error goes to the journal (systemd.exec(5)).
fn resolve(format: LogFormat) -> LogFormat {
    match format {
        LogFormat::Auto if stderr().is_terminal() => LogFormat::Pretty,
        LogFormat::Auto if std::env::var_os("JOURNAL_STREAM").is_some() => LogFormat::Journal,
        LogFormat::Auto => LogFormat::Json,
        chosen => chosen,
    }
}

fn layer(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let json = || fmt::layer().json().flatten_event(true).with_target(false).with_writer(stderr).boxed();
    match format {
        LogFormat::Journal => match tracing_journald::layer() {
            Ok(journal) => journal.with_field_prefix(Some("SEGSYNC".to_owned())).boxed(),
            Err(_) => json(),
        },
        LogFormat::Pretty => {
            fmt::layer().with_target(false).with_ansi(stderr().is_terminal()).with_writer(stderr).boxed()
        }
        LogFormat::Json | LogFormat::Auto => json(),
    }
}
