//! What changed, and what a segment was at a time.
//!
//! Newest first, in an order that no clock can upset within a segment: by observation, then by commit.

use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::{Error, Reader, VersionEntry, changes_of};
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
    /// That changed this field or one inside of it; then only these changes are told.
    pub field: Option<String>,
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
    /// Its document; for a delete that left none, the last one before. `None` where there never was one.
    pub document: Option<Arc<str>>,
    /// The version that `document` is of, where it is an earlier one.
    pub document_of: Option<i64>,
}

impl Reader {
    /// The versions that pass the filter, newest first.
    pub fn log(&self, filter: &LogFilter) -> Result<Vec<VersionEntry>, Error> {
        self.read(|connection| {
            let (sql, values) = log_sql(filter);
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map(params_from_iter(values), VersionEntry::from_row)?;
            let mut entries = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            for entry in &mut entries {
                entry.changes = changes_of(connection, entry.id)?;
                entry.changes.retain(|change| filter.tells(change));
            }
            Ok(entries)
        })
    }

    /// One version of a segment; `None` where there is no such segment or version, or the time is before its first.
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
            entry.changes = changes_of(connection, entry.id)?;
            let (document, document_of) = match document {
                Some(own) => (Some(own), None),
                None => earlier_document(connection, segment, entry.seq)?.unzip(),
            };
            Ok(Some(StoredVersion { entry, document, document_of }))
        })
    }
}

impl LogFilter {
    /// Whether a change is told of a version that passes.
    fn tells(&self, change: &Change) -> bool {
        self.field.as_ref().is_none_or(|field| is_within(&change.field, field))
            && self.change_op.is_none_or(|op| change.op == op)
    }
}

/// The statement behind [`Reader::log`] and its values.
fn log_sql(filter: &LogFilter) -> (String, Vec<Value>) {
    let mut terms = Vec::new();
    let mut values = Vec::new();
    let mut add = |term: &str, value: Value| {
        values.push(value);
        terms.push(term.replace('?', &format!("?{}", values.len())));
    };
    match &filter.scope {
        Some(Scope::Source(name)) => add(
            "v.segment_id IN (SELECT f.id FROM segments AS f JOIN sources AS g ON g.id = f.source_id WHERE g.name = ?)",
            name.as_str().to_owned().into(),
        ),
        Some(Scope::Segment(key)) => {
            add("src.name = ?", key.source.as_str().to_owned().into());
            add("s.key = ?", key.id.to_string().into());
        }
        None => {}
    }
    if let Some(since) = filter.since {
        add("v.observed_at >= ?", since.0.into());
    }
    if let Some(until) = filter.until {
        add("v.observed_at < ?", until.0.into());
    }
    if let Some(op) = filter.op {
        add("v.op = ?", op.as_str().to_owned().into());
    }
    if let Some(after) = filter.after {
        add("v.id > ?", after.0.into());
    }
    if let Some((observed_at, id)) = filter.below {
        add("v.observed_at <= ?", observed_at.0.into());
        add(&format!("(v.observed_at < {} OR v.id < ?)", observed_at.0), id.0.into());
    }
    match (&filter.field, filter.change_op) {
        (Some(field), None) => add(&format!("v.id IN ({CHANGES_WITHIN})"), field.clone().into()),
        (Some(field), Some(op)) => {
            add(&format!("v.id IN ({CHANGES_WITHIN} AND c.op = '{op}')"), field.clone().into());
        }
        (None, Some(op)) => add(
            "EXISTS (SELECT 1 FROM changes AS c WHERE c.version_id = v.id AND c.op = ?)",
            op.as_str().to_owned().into(),
        ),
        (None, None) => {}
    }
    let filter_text = if terms.is_empty() { String::new() } else { format!("WHERE {}", terms.join(" AND ")) };
    let limit = filter.limit.map_or(String::new(), |limit| format!("LIMIT {limit}"));
    // The few that are new are found by their ids; the plus keeps SQLite from walking all of them in the order of time.
    let time = if filter.after.is_some() { "+v.observed_at" } else { "v.observed_at" };
    let (columns, tables) = (VersionEntry::COLUMNS, VersionEntry::TABLES);
    (format!("SELECT {columns} FROM {tables} {filter_text} ORDER BY {time} DESC, v.id DESC {limit}"), values)
}

/// The versions with a change of a field or inside of it. The range is what the index can find; 1114111 is the last code
/// point.
const CHANGES_WITHIN: &str = "
    SELECT c.version_id FROM changes AS c
    WHERE c.field >= ? AND c.field < ? || char(1114111)
    AND (c.field = ? OR substr(c.field, length(?) + 1, 1) IN ('.', '['))";

/// Whether `field` is `outer` or a part of it.
fn is_within(field: &str, outer: &str) -> bool {
    field.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
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

fn earlier_document(connection: &Connection, segment: i64, seq: i64) -> rusqlite::Result<Option<(Arc<str>, i64)>> {
    connection
        .query_row(
            "SELECT document, seq FROM versions
             WHERE segment_id = ?1 AND seq < ?2 AND hash IS NOT NULL
             ORDER BY seq DESC LIMIT 1",
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

    fn log_plan(filter: &LogFilter) -> String {
        let (sql, values) = log_sql(filter);
        plan(&sql, &values)
    }

    #[test]
    fn the_log_is_read_in_order_from_an_index() {
        let time = LogFilter { since: Some(UnixMs(1)), until: Some(UnixMs(2)), ..LogFilter::default() };
        let key = SegmentKey::new(SourceName::new("s"), "k");
        let segment = LogFilter { scope: Some(Scope::Segment(key)), since: Some(UnixMs(1)), ..LogFilter::default() };
        for (filter, index) in [
            (LogFilter::default(), "versions_by_time"),
            (time, "versions_by_time (observed_at>? AND observed_at<?)"),
            (segment, "versions_as_of (segment_id=? AND observed_at>?)"),
        ] {
            let plan = log_plan(&filter);
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{filter:?}\n{plan}");
        }
        let field = log_plan(&LogFilter { field: Some("rules".to_owned()), ..LogFilter::default() });
        assert!(field.contains("changes_by_field (field>? AND field<?)") && !field.contains("SCAN v"), "{field}");
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
