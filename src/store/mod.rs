//! The only SQL: one writer that commits, and readers of the same file.
//!
//! A result is never told before its commit, a failing job never takes another one's rows with it, and nothing here sends
//! a request or knows a vendor. [`Store`] is the daemon's handle; [`Reader`] is what the reading verbs open, with or
//! without a daemon.

mod age;
mod chain;
mod checkpoint;
mod entry;
mod error;
mod file;
mod latest;
pub mod migrate;
mod read;
mod row;
mod stored;
mod write;

use age::age_ms;
pub use age::{Moment, time_since};
pub use chain::{GENESIS, VersionFields, chain_link};
pub use entry::ToldChange;
pub use error::{Error, OpenError};
pub use file::Holder;
pub use latest::{Latest, SegmentNow};
pub use read::{
    AfterGap, At, Backup, BackupError, Exported, Finding, FreshnessRow, Gap, LogFilter, Pattern, Reader, Readers,
    SchemaPast, Scope, Selection, SourceRow, Step, StoredVersion, Story, Tally, Verified,
};
pub use write::{
    Absence, BeginPoll, Compacted, Cursor, DeclareSource, Declared, FinishPoll, Gone, Import, ImportedSource, Known,
    KnownSource, NewVersion, Observed, Retired, SchemaSeen, SegmentEnd, Standing, Store, StoredDocument,
};

use checkpoint::{Checkpoint, end_seal};
use error::Fault;
use file::{Lock, Look, beside, open_immutable, read_only, resolve};
use migrate::{latest_version, upgrade};
use row::{Columns, changes_of};
use stored::Stored;

use serde::Serialize;

use crate::model::{Change, Op, SegmentKey, UnixMs};

/// BLAKE3 of a document's text, or of a version row and its predecessors.
pub type Hash = [u8; 32];

/// Declares a row id of one table.
macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident),+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub struct $name(pub i64);

        impl rusqlite::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                self.0.to_sql()
            }
        }

        impl rusqlite::types::FromSql for $name {
            fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                i64::column_result(value).map(Self)
            }
        }
    )+};
}

ids! {
    /// A row of `sources`.
    SourceId,
    /// A row of `segments`.
    SegmentId,
    /// A row of `polls`; later polls have higher ids, and none is used twice.
    PollId,
    /// A row of `versions`, in the order of commits over the whole file.
    VersionId
}

/// One version with its changes: what an event, a log line and a page of history tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionEntry {
    /// Its row.
    pub id: VersionId,
    /// Whose version it is.
    pub key: SegmentKey,
    /// 1, 2, 3 … per segment.
    pub seq: i64,
    /// What it did to the segment.
    pub op: Op,
    /// `schema` where the provider changed the shape of many segments at once.
    pub cause: Option<String>,
    /// When a poll first saw it.
    pub observed_at: UnixMs,
    /// When a poll first saw the next one; `None` while it is the latest.
    pub valid_to: Option<UnixMs>,
    /// The last poll that still saw the old state; the change happened between the two.
    pub changed_after: Option<UnixMs>,
    /// When it was modified, as the provider says.
    pub modified_at: Option<UnixMs>,
    /// Who modified it, as the provider says; untrusted text.
    pub modified_by: Option<String>,
    /// The provider's own revision number.
    pub revision: Option<i64>,
    /// The revision number of the version before.
    pub revision_before: Option<i64>,
    /// When the version before was modified, as the provider said.
    pub modified_at_before: Option<UnixMs>,
    /// Who modified the version before, as the provider said; untrusted text.
    pub modified_by_before: Option<String>,
    /// Revisions in between that no poll saw.
    pub missed_revisions: Option<i64>,
    /// BLAKE3 of its document; `None` where a delete left none.
    pub hash: Option<Hash>,
    /// The poll that saw it.
    pub poll: PollId,
    /// What differs from the version before, in folding order.
    pub changes: Vec<Change>,
}
