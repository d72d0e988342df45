//! The configuration file: TOML text in, a checked [`Config`] with nothing left to interpret out.
//!
//! Every default is filled in here, every value checked, and all errors are told at once, each with its file, line,
//! column and key. Must never hold, print or repeat an API key (it holds a [`KeyRef`]), and never name a vendor (the
//! caller gives the catalogue of providers). Pure, apart from [`load`] and [`Source::read_key`], which read files.

mod http;
mod key;
mod problem;
mod section;
mod show;
mod source;
mod value;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;
use url::Url;

use crate::model::{self, Fetch, Limit, LogFormat, LogLevel, ProviderEntry, SourceName};

pub use key::{KeyError, KeyRef};
pub use problem::{Problem, Problems};
pub use section::{PLACES, Place};
pub use value::{read_duration, show_duration};

// What the rooms in this folder share; they do not import one another.
use key::{KEY_FORMS, key_ref};
use problem::Sink;
use section::{API_KEY, Field, HTTP, LIMIT, LOG, POLL, ROOT, SEGMENT, SOURCE, STORE, Section, TOKEN};
use value::{BASE_URL, DURATION, HOST, LISTEN, MULTIPLE, SIZE, SOURCE_NAME, base_url, bytes, duration, host_name};
use value::{KEPT, kept, listen, multiple, quote, show_size, size, source_name};

/// The commented example for operators, as it stands in the repository.
pub const EXAMPLE: &str = include_str!("../../config.example.toml");

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the history is kept.
    pub store: Store,
    /// The local API; none: no listener.
    pub http: Option<Http>,
    /// What is logged and how.
    pub log: Log,
    /// The accounts, in the file's order; never empty, no name twice.
    pub sources: Vec<Source>,
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The SQLite file. A relative path in the configuration starts at the configuration file's directory.
    pub path: PathBuf,
    /// How long rows of `polls` are kept; not shorter than the longest limit.
    pub keep_polls: Duration,
    /// How long versions are kept after they ended; none: for ever. A day or more.
    pub keep_versions: Option<Duration>,
}

/// `[http]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where it listens.
    pub listen: Listen,
    /// Where the token comes from that callers must send; none: everybody may ask.
    pub token: Option<KeyRef>,
    /// Further names by which callers may call the machine, in lower case.
    pub hosts: Vec<String>,
    /// What the cache of documents may hold, in bytes.
    pub cache: u64,
}

/// Where the local API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address; port 0 is any free one.
    Tcp(SocketAddr),
    /// A socket in the file system, by its absolute path: whoever may write to it may ask.
    Unix(PathBuf),
    /// The sockets that systemd passes at the start, of whatever kind.
    Systemd,
}

impl Listen {
    /// Whether only this machine reaches it, as far as the configuration tells.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) | Self::Systemd => true,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd => f.write_str("systemd"),
        }
    }
}

/// `[log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important lines that are logged.
    pub level: LogLevel,
    /// How log lines are written.
    pub format: LogFormat,
}

/// `[[source]]`, with `[poll]` applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its name, once in the file.
    pub name: SourceName,
    /// A name of the catalogue.
    pub provider: &'static str,
    /// Https, or http on loopback; without user, query or fragment. A path is a prefix and does not end in a slash.
    pub base_url: Url,
    /// Where its API key comes from.
    pub api_key: KeyRef,
    /// The account's limits, unscaled; empty is unlimited.
    pub limits: Vec<Limit>,
    /// The part of the limits that is ours: above 0, at most 1. Leaves at least one request of each limit.
    pub share: f64,
    /// Requests that may be sent without a pause; at least 1.
    pub burst: u32,
    /// One by one, or by lists.
    pub fetch: Fetch,
    /// The wished interval of segments that have none of their own.
    pub every: Duration,
    /// For a whole request, from connecting to the body's end.
    pub timeout: Duration,
    /// Requests in flight; 1 to 1000.
    pub concurrency: u16,
    /// A segment is stale after this many of its intervals; at least 1.
    pub stale_after: f64,
    /// Paths that are no part of a document; none is the whole document.
    pub ignore: Vec<model::Path>,
    /// The longest answer that is read, in bytes after decompression.
    pub max_body: u64,
    /// What is tracked.
    pub segments: Segments,
}

/// The segments of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segments {
    /// Every one that the provider lists.
    All {
        /// Those with an interval of their own.
        own: Vec<Segment>,
    },
    /// These, each id once; never empty.
    Named(Vec<Segment>),
}

impl Segments {
    /// Those that the configuration names.
    pub fn named(&self) -> &[Segment] {
        match self {
            Self::All { own: segments } | Self::Named(segments) => segments,
        }
    }
}

/// A configured segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The provider's id, not blank.
    pub id: Arc<str>,
    /// A promised interval, from `[[source.segment]]`; none is the source's wish.
    pub every: Option<Duration>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("read the configuration {}: {error}", path.display())]
    Read {
        /// The file as it was asked for.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file can be read but not used; one line for each problem.
    #[error(transparent)]
    Invalid(#[from] Problems),
}

/// Reads and checks a configuration file. Reads no API key.
pub fn load(path: &Path, catalogue: &[ProviderEntry]) -> Result<Config, LoadError> {
    let failed = |error| LoadError::Read { path: path.to_owned(), error };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    // Absolute, so that the database stays the same file whatever becomes of the working directory.
    let whole = std::path::absolute(path).map_err(failed)?;
    Ok(read(&text, &path.to_string_lossy(), whole.parent().unwrap_or(&whole), catalogue)?)
}

/// Checks a configuration. `file` names it in errors, and a relative `[store] path` starts at its directory.
pub fn parse(text: &str, file: &str, catalogue: &[ProviderEntry]) -> Result<Config, Problems> {
    let directory = Path::new(file).parent().unwrap_or(Path::new(""));
    read(text, file, directory, catalogue)
}

fn read(text: &str, file: &str, directory: &Path, catalogue: &[ProviderEntry]) -> Result<Config, Problems> {
    let sink = Sink::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    // The first only: those after it are mostly its consequences.
    if let Some(error) = errors.first() {
        let span = error.span().unwrap_or(text.len()..text.len());
        let what = error.message().replace('\n', " ");
        // Only a doubled key's text is shown: any other text might be an API key without its quotes.
        let shown = text.get(span.clone()).filter(|_| what == "duplicate key").map(quote).unwrap_or_default();
        return Err(sink.only(span.start, format!("not TOML: {what} {shown}").trim_end().to_owned()));
    }
    let root = Section::new(&sink, &ROOT, table.get_ref(), 0);
    let poll = match section(&root, "poll", &POLL) {
        Some(table) => source::poll(&table, source::Poll::default()),
        None => source::Poll::default(),
    };
    let (http, log) = (http::http(&root), log(&root));
    let sources = source::sources(&root, catalogue, poll);
    let store = store(&root, directory, &sources);
    sink.finish(Config { store, http, log, sources })
}

fn section<'a>(root: &Section<'a>, key: &'static str, place: &'static Place) -> Option<Section<'a>> {
    root.get(key)?.section(place, &format!("the table {}", place.heading))
}

fn log(root: &Section<'_>) -> Log {
    let table = section(root, "log", &LOG);
    let get = |key| table.as_ref().and_then(|table| table.get(key));
    let level = get("level").and_then(|field| field.read(&source::words(LogLevel::ALL), str::parse));
    let format = get("format").and_then(|field| field.read(&source::words(LogFormat::ALL), str::parse));
    Log { level: level.unwrap_or(LogLevel::Info), format: format.unwrap_or(LogFormat::Auto) }
}

const DAY: Duration = Duration::from_secs(86_400);

/// Reads `[store]`, which must keep the polls for as long as some limit counts them.
fn store(root: &Section<'_>, directory: &Path, sources: &[Source]) -> Store {
    let expected = r#"the database file, such as "/var/lib/segsync/segsync.db""#;
    let mut store = Store { path: PathBuf::new(), keep_polls: DAY * 7, keep_versions: None };
    let Some(table) = section(root, "store", &STORE) else {
        root.require("store", "the table [store] with the path of the database file");
        return store;
    };
    if let Some(field) = table.require("path", expected) {
        match field.text(expected) {
            Some(text) if text.trim().is_empty() || text.contains('\0') => {
                field.wrong(format!("{} is no path; expected {expected}", quote(text)));
            }
            Some(text) => store.path = directory.join(text),
            None => {}
        }
    }
    if let Some(field) = table.get("keep_polls") {
        let Some(given) = field.read(DURATION, duration) else { return store };
        store.keep_polls = given;
    }
    store.keep_versions = table.get("keep_versions").and_then(|field| field.read(KEPT, kept));
    let longest = sources.iter().flat_map(|source| &source.limits).max_by_key(|limit| limit.per);
    if let Some(limit) = longest.filter(|limit| limit.per > store.keep_polls) {
        let [kept, least] = [store.keep_polls, limit.per].map(show_duration);
        let what =
            format!("{kept} is shorter than the limit {limit}, which counts the polls; expected {least} or more");
        table.wrong("keep_polls", what);
    }
    store
}
