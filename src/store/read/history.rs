//! What changed, and what a segment was at a time.
//!
//! Newest first, in an order that no clock can upset within a segment: by observation, then by commit.

use std::fmt;
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::{Error, Pattern, Reader, VersionEntry, changes_of, log};
use crate::model::{Change, ChangeOp, Op, SegmentKey, SourceName, UnixMs};
use crate::store::VersionId;

/// Whose versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of one source's segments.
    Source(SourceName),
    /// One segment's.
    Segment(SegmentKey),
}

/// Which versions; the default is all of them.
#[derive(Clone, Debug, Default)]
pub struct LogFilter {
    /// Whose.
    pub scope: Option<Scope>,
    /// Observed at this time or later.
    pub since: Option<UnixMs>,
    /// Observed before this time.
    pub until: Option<UnixMs>,
    /// With this op.
    pub op: Option<Op>,
    /// That changed a field which fits, or one inside of it; then only these changes are told.
    pub field: Option<Pattern>,
    /// By one of these, as the provider names them.
    pub by: Option<Vec<String>>,
    /// Without versions that are nothing but a change of the provider's schema.
    pub no_schema: bool,
    /// With a change of this op; then only these changes are told, of `field` where that is given, too.
    pub change_op: Option<ChangeOp>,
    /// Committed after this one.
    pub after: Option<VersionId>,
    /// Further down than this one, which was told last: the next page.
    pub below: Option<(UnixMs, VersionId)>,
    /// At most so many.
    pub limit: Option<u32>,
}

/// Which version of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The newest.
    Latest,
    /// By its number.
    Seq(i64),
    /// The one that held at this time.
    Time(UnixMs),
}

/// A version with its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredVersion {
    /// The version and its changes.
    pub entry: VersionEntry,
    /// Its document; for a delete that left none, the one before. `None` where that is no longer kept.
    pub document: Option<Arc<str>>,
    /// The version that `document` is of, where it is an earlier one.
    pub document_of: Option<i64>,
}

/// Versions of a segment that are no longer kept, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The number of the first.
    pub first: i64,
    /// The number of the last.
    pub last: i64,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { first, last } if first == last => write!(f, "version {first}"),
            Self { first, last } => write!(f, "versions {first} to {last}"),
        }
    }
}

impl Reader {
    /// The versions that pass the filter, newest first.
    pub fn log(&self, filter: &LogFilter) -> Result<Vec<VersionEntry>, Error> {
        self.read(|connection| {
            let (columns, tables) = (VersionEntry::COLUMNS, VersionEntry::TABLES);
            let mut statement = connection.prepare(&format!("SELECT {columns} FROM {tables} WHERE v.id = ?1"))?;
            let entry = |id| {
                let mut entry = statement.query_row([id], VersionEntry::from_row)?;
                entry.changes = changes_of(connection, entry.id)?;
                entry.changes.retain(|change| filter.tells(change));
                Ok(entry)
            };
            log::ids(connection, filter)?.into_iter().map(entry).collect()
        })
    }

    /// Everybody that the provider named as the editor of a version.
    pub fn editors(&self) -> Result<Vec<String>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare(log::EDITORS)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        })
    }

    /// One version of a segment; `None` where there is no such segment or version, the time is before its first, or what it
    /// was then is no longer kept: [`Reader::gap`] tells the latter from the others.
    pub fn version(&self, key: &SegmentKey, at: At) -> Result<Option<StoredVersion>, Error> {
        self.read(|connection| {
            let (sql, value) = version_sql(at);
            let names = [Value::from(key.source.as_str().to_owned()), Value::from(key.id.to_string())];
            let found = connection
                .prepare(&sql)?
                .query_row(params_from_iter(names.into_iter().chain(value)), |row| {
                    Ok((VersionEntry::from_row(row)?, row.get("segment_id")?, row.get("document")?))
                })
                .optional()?;
            let Some((mut entry, segment, document)) = found else { return Ok(None) };
            if is_over(&entry, at) {
                return Ok(None);
            }
            entry.changes = changes_of(connection, entry.id)?;
            let (document, document_of) = match document {
                Some(own) => (Some(own), None),
                None => earlier_document(connection, segment, entry.seq)?.unzip(),
            };
            Ok(Some(StoredVersion { entry, document, document_of }))
        })
    }
}

impl Reader {
    /// The versions that are no longer kept, of which the one that is asked for is one.
    pub fn gap(&self, key: &SegmentKey, at: At) -> Result<Option<Gap>, Error> {
        let term = match at {
            At::Latest => return Ok(None),
            At::Seq(seq) => format!("v.seq < {seq} AND n.seq > {seq}"),
            At::Time(time) => format!("v.valid_to <= {0} AND n.observed_at > {0}", time.0),
        };
        self.read(|connection| {
            connection
                .prepare(&format!(
                    "SELECT v.seq + 1 AS first, n.seq - 1 AS last
                     FROM versions AS v
                     JOIN versions AS n ON n.segment_id = v.segment_id AND n.seq = (
                        SELECT min(f.seq) FROM versions AS f WHERE f.segment_id = v.segment_id AND f.seq > v.seq)
                     WHERE v.end_seal IS NOT NULL AND {term}
                        AND v.segment_id = (SELECT s.id FROM segments AS s JOIN sources AS src ON src.id = s.source_id
                                            WHERE src.name = ?1 AND s.key = ?2)"
                ))?
                .query_row(params![key.source.as_str(), key.id], |row| {
                    Ok(Gap { first: row.get("first")?, last: row.get("last")? })
                })
                .optional()
        })
    }
}

impl LogFilter {
    /// Whether a change is told of a version that passes.
    fn tells(&self, change: &Change) -> bool {
        self.field.as_ref().is_none_or(|field| field.holds(&change.field))
            && self.change_op.is_none_or(|op| change.op == op)
    }
}

/// Whether a version is not what was asked for after all: it ended before that time, and those that came next are no longer
/// kept.
fn is_over(version: &VersionEntry, at: At) -> bool {
    matches!((at, version.valid_to), (At::Time(time), Some(valid_to)) if valid_to <= time)
}

/// The statement behind [`Reader::version`], after the source's name and the segment's id.
fn version_sql(at: At) -> (String, Option<Value>) {
    let (term, order, value) = match at {
        At::Latest => ("", "v.seq", None),
        At::Seq(seq) => ("AND v.seq = ?3", "v.seq", Some(seq.into())),
        At::Time(time) => ("AND v.observed_at <= ?3", "v.observed_at DESC, v.id", Some(time.0.into())),
    };
    let (columns, tables) = (VersionEntry::COLUMNS, VersionEntry::TABLES);
    let sql = format!(
        "SELECT {columns}, v.segment_id, v.document FROM {tables}
         WHERE src.name = ?1 AND s.key = ?2 {term}
         ORDER BY {order} DESC LIMIT 1"
    );
    (sql, value)
}

/// The document before a delete that left none: no delete follows another.
fn earlier_document(connection: &Connection, segment: i64, seq: i64) -> rusqlite::Result<Option<(Arc<str>, i64)>> {
    connection
        .query_row(
            "SELECT document, seq FROM versions
             WHERE segment_id = ?1 AND seq = ?2 - 1 AND hash IS NOT NULL",
            [segment, seq],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
}

#[cfg(test)]
mod tests {
    use rusqlite::ToSql;

    use super::*;
    use crate::store::upgrade;

    /// How SQLite finds the rows.
    fn plan(sql: &str, values: &[Value]) -> String {
        let mut connection = Connection::open_in_memory().expect("opened");
        upgrade(&mut connection).expect("upgraded");
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect(sql);
        let values: Vec<&dyn ToSql> = values.iter().map(|value| value as &dyn ToSql).collect();
        let rows = statement.query_map(&*values, |row| row.get::<_, String>("detail")).expect(sql);
        rows.map(|row| row.expect("a row")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_version_is_one_step_in_an_index() {
        let names = [Value::from("s".to_owned()), Value::from("k".to_owned())];
        for (at, index) in [
            (At::Latest, "sqlite_autoindex_versions_1 (segment_id=?)"),
            (At::Seq(1), "sqlite_autoindex_versions_1 (segment_id=? AND seq=?)"),
            (At::Time(UnixMs(1)), "versions_as_of (segment_id=? AND observed_at<?)"),
        ] {
            let (sql, value) = version_sql(at);
            let values: Vec<Value> = names.iter().cloned().chain(value).collect();
            let plan = plan(&sql, &values);
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{at:?}\n{plan}");
        }
    }
}
