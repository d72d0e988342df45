//! Logging: to the journal under systemd, in colour on a terminal, as JSON lines into a pipe. Only segsync's own lines
//! are written: what a library logs about a request could hold a key.

use std::fmt::Debug;
use std::io::{self, IsTerminal, Write, stderr};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::model::{LogFormat, LogLevel, escaped, escaped_json};

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

/// What `auto` means here.
fn resolve(format: LogFormat) -> LogFormat {
    match format {
        LogFormat::Auto if stderr().is_terminal() => LogFormat::Pretty,
        LogFormat::Auto if is_journal() => LogFormat::Journal,
        LogFormat::Auto => LogFormat::Json,
        chosen => chosen,
    }
}

/// Whether standard error goes to the journal. systemd sets `JOURNAL_STREAM` to the device and inode of the stream that it
/// opened (systemd.exec(5)); a process below a service inherits the variable even where its output goes elsewhere.
pub fn is_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(stderr()).is_ok_and(|found| stream == *format!("{}:{}", found.st_dev, found.st_ino))
}

fn layer(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let json = || fmt::layer().json().flatten_event(true).with_target(false).with_writer(|| Harmless(stderr())).boxed();
    match format {
        LogFormat::Journal => match tracing_journald::layer() {
            Ok(journal) => {
                let journal = journal.with_field_prefix(Some("SEGSYNC".to_owned()));
                journal.with_syslog_identifier("segsync".to_owned()).with_priority_mappings(PRIORITIES).boxed()
            }
            Err(_) => json(),
        },
        LogFormat::Pretty => {
            fmt::layer().event_format(Short).with_ansi(stderr().is_terminal()).with_writer(stderr).boxed()
        }
        LogFormat::Json | LogFormat::Auto => json(),
    }
}

/// Takes lines of JSON, one a write, and makes what their strings could command a terminal an escape.
struct Harmless<W>(W);

impl<W: Write> Write for Harmless<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) => self.0.write_all(escaped_json(text).as_bytes())?,
            Err(_) => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// What the journal calls our levels: what the library would call a notice is not more than information, so that
/// `journalctl -p notice` shows nothing that goes well.
const PRIORITIES: PriorityMappings = PriorityMappings {
    error: Priority::Error,
    warn: Priority::Warning,
    info: Priority::Informational,
    debug: Priority::Debug,
    trace: Priority::Debug,
};

/// Lines for a terminal: the time of day (UTC), the level, the message. What its text could command is shown as `\u{…}`.
struct Short;

impl<S, N> FormatEvent<S, N> for Short
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let mut now = String::new();
        SystemTime.format_time(&mut Writer::new(&mut now))?;
        let mut message = Message::default();
        event.record(&mut message);
        let (level, colour) = match *event.metadata().level() {
            Level::ERROR => ("error", "\x1b[31m"),
            Level::WARN => ("warn ", "\x1b[33m"),
            Level::INFO => ("info ", "\x1b[32m"),
            Level::DEBUG => ("debug", "\x1b[34m"),
            Level::TRACE => ("trace", "\x1b[35m"),
        };
        let (colour, dim, plain) =
            if writer.has_ansi_escapes() { (colour, "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
        let time = now.get(11..19).unwrap_or(&now);
        writeln!(writer, "{dim}{time}{plain} {colour}{level}{plain} {}", message.0)
    }
}

/// An event's message, harmless to a terminal.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0.push_str(&escaped(&format!("{value:?}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_on_a_terminal_are_short_and_harmless() {
        let told = |ansi| {
            let lines = Lines::default();
            let writer = lines.clone();
            let layer = fmt::layer().event_format(Short).with_ansi(ansi).with_writer(move || writer.clone());
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                tracing::warn!(source = "prod", "prod/a: \u{1b}[2J gone\u{202e}");
            });
            let bytes = lines.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            String::from_utf8(bytes).expect("UTF-8")
        };
        let plain = told(false);
        assert_eq!(&plain[8..], " warn  prod/a: \\u{1b}[2J gone\\u{202e}\n", "{plain}");
        assert_eq!((&plain[2..3], &plain[5..6]), (":", ":"));
        assert_eq!(&told(true)[12..], "\x1b[0m \x1b[33mwarn \x1b[0m prod/a: \\u{1b}[2J gone\\u{202e}\n");
    }

    #[test]
    fn lines_of_json_are_harmless_too() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = fmt::layer().json().flatten_event(true).with_writer(move || Harmless(writer.clone()));
        let segment = "a\u{1b}[2J\u{9b}2J\u{202e}b\n";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(segment, "prod/{segment} is gone");
        });
        let line = String::from_utf8(lines.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).expect("UTF-8");
        assert!(!line.trim_end_matches('\n').contains(crate::model::is_unsafe), "{line:?}");
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            (&value["segment"], &value["message"]),
            (&segment.into(), &format!("prod/{segment} is gone").into())
        );
    }

    #[test]
    fn what_is_inherited_is_no_journal() {
        // The tests' standard error is none, whatever the variable says.
        assert!(!is_journal());
    }
}
