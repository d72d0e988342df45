//! Versions in the order of their commits: who goes on where he stopped misses and doubles nothing.

use rusqlite::params_from_iter;
use rusqlite::types::Value;

use super::{Error, Reader, Scope, VersionEntry, changes_of};
use crate::store::VersionId;

impl Reader {
    /// The versions committed after `after`, up to `until`, in the order of their commits: the oldest `limit` of them.
    pub fn committed(
        &self,
        after: VersionId,
        until: VersionId,
        scope: Option<&Scope>,
        limit: u32,
    ) -> Result<Vec<VersionEntry>, Error> {
        self.read(|connection| {
            let (sql, values) = committed_sql(after, until, scope, limit);
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(values), VersionEntry::from_row)?;
            let mut entries = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            for entry in &mut entries {
                entry.changes = changes_of(connection, entry.id)?;
            }
            Ok(entries)
        })
    }
}

/// The statement behind [`Reader::committed`] and its values.
fn committed_sql(after: VersionId, until: VersionId, scope: Option<&Scope>, limit: u32) -> (String, Vec<Value>) {
    let mut values = vec![after.0.into(), until.0.into(), i64::from(limit).into()];
    let term = match scope {
        None => "",
        Some(Scope::Source(name)) => {
            values.push(name.as_str().to_owned().into());
            // The plus keeps SQLite from gathering and sorting all versions of the source.
            "AND +src.name = ?4"
        }
        Some(Scope::Segment(key)) => {
            values.extend([key.source.as_str().to_owned().into(), key.id.to_string().into()]);
            // Its own versions are fewer than those of the file.
            "AND v.segment_id = (SELECT f.id FROM segments AS f JOIN sources AS g ON g.id = f.source_id
                                 WHERE g.name = ?4 AND f.key = ?5)"
        }
    };
    let (columns, tables) = (VersionEntry::COLUMNS, VersionEntry::TABLES);
    let sql = format!("SELECT {columns} FROM {tables} WHERE v.id > ?1 AND v.id <= ?2 {term} ORDER BY v.id LIMIT ?3");
    (sql, values)
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, ToSql};

    use super::*;
    use crate::model::{SegmentKey, SourceName};
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
    fn the_feed_walks_the_rows_in_order() {
        let key = SegmentKey::new(SourceName::new("s"), "k");
        let source = Scope::Source(SourceName::new("s"));
        for scope in [None, Some(&source)] {
            let (sql, values) = committed_sql(VersionId(7), VersionId(9), scope, 3);
            let plan = plan(&sql, &values);
            assert!(plan.contains("SEARCH v USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"), "{scope:?}\n{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{scope:?}\n{plan}");
        }
        let (sql, values) = committed_sql(VersionId(7), VersionId(9), Some(&Scope::Segment(key)), 3);
        let plan = plan(&sql, &values);
        assert!(!plan.contains("SCAN"), "{plan}");
    }
}
