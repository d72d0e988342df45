//! The plain words that every floor speaks: keys, limits, outcomes, changes, times.
//!
//! Data only. Nothing here reads a clock, a file or a socket, and nothing here knows a vendor.

mod path;
mod text;
mod time;

pub use path::{Path, PathError, Step};
pub use text::{escaped, escaped_json, is_unsafe, plain};
pub use time::{UnixMs, UnixMsError};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

/// Declares an enum whose variants have one fixed word each, used in the database, in JSON and on the terminal.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every variant, in declaration order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word that the database, JSON and the terminal use.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok($name::$variant),)+
                    _ => Err(UnknownWord { word: text.to_owned(), known: &[$($word),+] }),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }
    };
}

/// A word that is none of the known ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is none of {}", known.join(", "))]
pub struct UnknownWord {
    word: String,
    known: &'static [&'static str],
}

words! {
    /// Why a request was made: `polls.kind`.
    PollKind {
        /// One segment by its id.
        Get = "get",
        /// One page of a list.
        Sweep = "sweep",
        /// The one request that asks whether a refused key works again.
        Probe = "probe",
        /// A file of observations, not a request.
        Import = "import",
    }
}

words! {
    /// What became of one request: `polls.outcome`.
    Outcome {
        /// The first document of a segment.
        Created = "created",
        /// A document that differs from the last one.
        Updated = "updated",
        /// The same document, or 304.
        Unchanged = "unchanged",
        /// The answer that turned the segment's state to deleted.
        Deleted = "deleted",
        /// A deleted segment is back.
        Restored = "restored",
        /// 404 that does not (or not yet) mean a deletion.
        NotFound = "not_found",
        /// 401 or 403.
        Unauthorized = "unauthorized",
        /// 429, or another refusal with `Retry-After`.
        Throttled = "throttled",
        /// No usable answer: 5xx, time-out, reset, DNS, TLS, redirect, unknown status.
        Failed = "failed",
        /// 200 with a body that is not this segment.
        Malformed = "malformed",
    }
}

impl Outcome {
    /// Whether the provider told what the segment is: the answers that renew its freshness.
    pub const fn is_answer(self) -> bool {
        matches!(
            self,
            Outcome::Created
                | Outcome::Updated
                | Outcome::Unchanged
                | Outcome::Deleted
                | Outcome::Restored
                | Outcome::NotFound
        )
    }

    /// Whether the answer made a version.
    pub const fn made_version(self) -> bool {
        matches!(self, Outcome::Created | Outcome::Updated | Outcome::Deleted | Outcome::Restored)
    }
}

words! {
    /// What a version did to its segment: `versions.op`.
    Op {
        /// The first document.
        Create = "create",
        /// Another document.
        Update = "update",
        /// Gone, or marked as deleted.
        Delete = "delete",
        /// Back after a delete.
        Restore = "restore",
    }
}

words! {
    /// What a change did to its field: `changes.op`.
    ChangeOp {
        /// A value where none was.
        Add = "add",
        /// No value where one was.
        Remove = "remove",
        /// Another value.
        Replace = "replace",
        /// The same array element at another index.
        Move = "move",
    }
}

words! {
    /// How a provider's schema changed at one place: `schema_events.kind`.
    SchemaKind {
        /// A member is there that was not.
        Appeared = "appeared",
        /// A member is no longer there.
        Disappeared = "disappeared",
        /// A value is of another type.
        TypeChanged = "type_changed",
    }
}

words! {
    /// `segments.state`.
    SegmentState {
        /// Never seen.
        Pending = "pending",
        /// Its last version is a create, an update or a restore.
        Present = "present",
        /// Its last version is a delete.
        Deleted = "deleted",
    }
}

impl SegmentState {
    /// What it is after a version with this op: the one place where a state changes. `None` where the op cannot follow.
    pub const fn after(self, op: Op) -> Option<Self> {
        match (self, op) {
            (Self::Pending, Op::Create) | (Self::Present, Op::Update) | (Self::Deleted, Op::Restore) => {
                Some(Self::Present)
            }
            (Self::Pending | Self::Present, Op::Delete) => Some(Self::Deleted),
            _ => None,
        }
    }
}

words! {
    /// What is checked of a database, and what a finding is about.
    Check {
        /// SQLite's own look at its pages, indexes and constraints.
        File = "file",
        /// Rows that name rows which are not there.
        Reference = "reference",
        /// No version was removed or inserted, and each is as it was written.
        Chain = "chain",
        /// Each document has its hash.
        Hash = "hash",
        /// Each version's changes lead from the document before to its own, and back.
        Fold = "fold",
        /// Numbers, times and states follow one another.
        Order = "order",
    }
}

words! {
    /// `sources.state`.
    SourceState {
        /// The last answers were usable.
        Ok = "ok",
        /// The provider refuses the key.
        Unauthorized = "unauthorized",
        /// The provider asked to wait.
        Held = "held",
        /// Several requests in a row failed.
        Failing = "failing",
    }
}

/// A source's configured name: `[a-z0-9][a-z0-9-]*`, checked by `config`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct SourceName(Arc<str>);

impl SourceName {
    /// Wraps a name that has been checked, or that comes from the database.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One segment: the provider's id within a source, written `source/id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentKey {
    /// The configured account.
    pub source: SourceName,
    /// The provider's id, any non-blank text.
    pub id: Arc<str>,
}

impl SegmentKey {
    /// The segment `id` of `source`.
    pub fn new(source: SourceName, id: impl Into<Arc<str>>) -> Self {
        Self { source, id: id.into() }
    }
}

impl fmt::Display for SegmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.source, self.id)
    }
}

/// "At most `requests` in any window of length `per`."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Limit {
    /// Requests that a window may hold; at least 1.
    pub requests: u32,
    /// The window's length.
    #[serde(with = "humantime_serde")]
    pub per: Duration,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.requests, humantime::format_duration(self.per))
    }
}

/// A provider that this program knows: what `config` must be told, as only `provider` names vendors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderEntry {
    /// The word in the configuration and the database.
    pub name: &'static str,
    /// Where it answers unless the configuration says otherwise.
    pub base_url: &'static str,
}

words! {
    /// Whether a source is polled one segment at a time or by its lists.
    Fetch {
        /// Whichever takes fewer requests per cycle.
        Auto = "auto",
        /// One request per segment.
        Each = "each",
        /// Whole list pages.
        List = "list",
    }
}

words! {
    /// The least important lines that are logged.
    LogLevel {
        /// Everything, for debugging the program itself.
        Trace = "trace",
        /// Each request and decision.
        Debug = "debug",
        /// What happened to segments and sources.
        Info = "info",
        /// What heals by itself but should be known.
        Warn = "warn",
        /// What does not heal by itself.
        Error = "error",
    }
}

words! {
    /// How log lines are written.
    LogFormat {
        /// The journal under systemd, colour on a terminal, JSON when piped.
        Auto = "auto",
        /// The journal's own protocol, with fields.
        Journal = "journal",
        /// Lines for people.
        Pretty = "pretty",
        /// One JSON object a line.
        Json = "json",
    }
}

/// One field's difference between a version and the one before: a row of `changes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What happened.
    pub op: ChangeOp,
    /// SQLite JSON path, right for `json_extract` on this version's document (on the previous one's for a remove).
    pub path: String,
    /// The same in words that stay stable over time, such as `rules[beta testers].passPercentage`.
    pub field: String,
    /// JSON text of the value before; for a move the index before; `None` for an add.
    pub old: Option<String>,
    /// JSON text of the value after; for a move the index after; `None` for a remove.
    pub new: Option<String>,
}

/// What a provider says about a document besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// When the provider says that it was last modified.
    pub modified_at: Option<UnixMs>,
    /// Who the provider says modified it.
    pub modified_by: Option<String>,
    /// The provider's own revision number.
    pub revision: Option<i64>,
    /// Whether the provider marks it as deleted although it still answers.
    pub deleted: bool,
}

/// A request of the past, as far as a budget needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Milliseconds since it ended, rounded down; negative for one without a known end, which counts as ending once its
    /// time-out is over.
    pub ended_ago_ms: i64,
    /// Whether no answer was seen, so that it may have been served later than it ended.
    pub unanswered: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.as_str().parse(), Ok(*outcome));
        }
        let error = "gone".parse::<SegmentState>().expect_err("not a state");
        assert_eq!(error.to_string(), r#""gone" is none of pending, present, deleted"#);
    }

    #[test]
    fn a_limit_reads_as_people_write_it() {
        assert_eq!(Limit { requests: 900, per: Duration::from_secs(900) }.to_string(), "900/15m");
    }
}
