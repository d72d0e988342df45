//! The history as it can be written somewhere else, in the order in which it was committed.
//!
//! Page by page, so that a slow pipe keeps no transaction open; versions never change once they are there.

use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Row, named_params, params};

use super::{Error, Reader, changes_of};
use crate::model::{Change, Op, SourceName, UnixMs};
use crate::store::{Columns, VersionId};

/// How many versions are read at once …
const PAGE: u32 = 500;
/// … and after how many bytes of documents a page ends.
const PAGE_BYTES: usize = 4 << 20;

/// Which versions are exported; the default is all of them.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Of one source.
    pub source: Option<SourceName>,
    /// Observed at this time or later.
    pub since: Option<UnixMs>,
}

/// A version with its document, and without its changes where they follow from the documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Its row.
    pub id: VersionId,
    /// The source's name.
    pub source: Arc<str>,
    /// The provider's word.
    pub provider: Arc<str>,
    /// The provider's id of the segment.
    pub segment: Arc<str>,
    /// 1, 2, 3 … per segment.
    pub seq: i64,
    /// What it did to the segment.
    pub op: Op,
    /// `schema` where the provider changed the shape of many segments at once.
    pub cause: Option<String>,
    /// When a poll first saw it.
    pub observed_at: UnixMs,
    /// When the next version was observed, where that is no longer kept.
    pub valid_to: Option<UnixMs>,
    /// The last poll that still saw the old state.
    pub changed_after: Option<UnixMs>,
    /// When it was modified, as the provider says.
    pub modified_at: Option<UnixMs>,
    /// Who modified it, as the provider says; untrusted text.
    pub modified_by: Option<String>,
    /// What nothing else tells, where the version before is no longer kept.
    pub after_gap: Option<AfterGap>,
    /// Canonical JSON; `None` where a delete left none.
    pub document: Option<Arc<str>>,
}

/// What a version says of one before it that is no longer kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AfterGap {
    /// Revisions in between that no poll saw.
    pub missed_revisions: Option<i64>,
    /// What differed, in folding order.
    pub changes: Vec<Change>,
}

impl Reader {
    /// The versions that follow `after`, up to `through`: a page of them, none when there are no more.
    pub fn export(&self, selection: &Selection, after: VersionId, through: VersionId) -> Result<Vec<Exported>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT v.id, src.name AS source, src.provider, s.key, v.seq, v.op, v.cause, v.observed_at,
                        iif(v.end_seal IS NULL, NULL, v.valid_to) AS valid_to,
                        v.changed_after, v.modified_at, v.modified_by, v.missed_revisions, v.document,
                        v.seq > 1 AND NOT EXISTS (SELECT 1 FROM versions AS b
                            WHERE b.segment_id = v.segment_id AND b.seq = v.seq - 1) AS is_after_gap
                 FROM versions AS v
                 JOIN segments AS s ON s.id = v.segment_id
                 JOIN sources AS src ON src.id = s.source_id
                 WHERE v.id > :after AND v.id <= :through
                   AND (:since IS NULL OR v.observed_at >= :since) AND (:source IS NULL OR src.name = :source)
                 ORDER BY v.id LIMIT :page",
            )?;
            let source = selection.source.as_ref().map(SourceName::as_str);
            let since = selection.since.map(|since| since.0);
            let mut rows = statement.query(named_params! {
                ":after": after, ":through": through, ":since": since, ":source": source, ":page": PAGE,
            })?;
            let (mut page, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let mut version = exported(row)?;
                if let Some(gap) = &mut version.after_gap {
                    gap.changes = changes_of(connection, version.id)?;
                }
                bytes += version.document.as_ref().map_or(0, |document| document.len());
                page.push(version);
                if bytes > PAGE_BYTES {
                    break;
                }
            }
            Ok(page)
        })
    }

    /// The columns of the view `change_log`.
    pub fn change_log_columns(&self) -> Result<Vec<String>, Error> {
        self.read(|connection| {
            let statement = connection.prepare("SELECT * FROM change_log")?;
            Ok(statement.column_names().into_iter().map(str::to_owned).collect())
        })
    }

    /// The rows of the view `change_log` about one version, as text; NULL is empty.
    pub fn change_log_of(&self, version: &Exported) -> Result<Vec<Vec<String>>, Error> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT * FROM change_log WHERE source = ?1 AND segment = ?2 AND version = ?3")?;
            let columns = statement.column_count();
            let row = |row: &Row<'_>| (0..columns).map(|at| row.get_ref(at).map(text)).collect();
            statement.query_map(params![version.source, version.segment, version.seq], row)?.collect()
        })
    }
}

/// One row; the changes after a gap are still to be read.
fn exported(row: &Row<'_>) -> rusqlite::Result<Exported> {
    let missed_revisions = row.get("missed_revisions")?;
    let after_gap = row.get::<_, bool>("is_after_gap")?.then(|| AfterGap { missed_revisions, ..AfterGap::default() });
    Ok(Exported {
        id: row.get("id")?,
        source: row.get("source")?,
        provider: row.get("provider")?,
        segment: row.get("key")?,
        seq: row.get("seq")?,
        op: row.word("op")?,
        cause: row.get("cause")?,
        observed_at: row.time("observed_at")?,
        valid_to: row.maybe_time("valid_to")?,
        changed_after: row.maybe_time("changed_after")?,
        modified_at: row.maybe_time("modified_at")?,
        modified_by: row.get("modified_by")?,
        after_gap,
        document: row.get("document")?,
    })
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}
