//! Which versions a page of the log tells, found so that a page of a long history takes milliseconds.
//!
//! What many versions have is soon found by walking back in time, what few have by an index. Nobody knows which it is, so
//! the newest versions are walked through, and the index is asked for what came before.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::{LogFilter, Scope};
use crate::model::{ChangeOp, Op, UnixMs};
use crate::store::VersionId;

/// So many of the newest versions are walked through before an index is asked, and so many more for each that is wanted.
const WALK: u32 = 2000;
const WALK_FOR_EACH: u32 = 10;

/// How rare versions are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One after the other, newest first.
    Walk,
    /// By the index of fields, of ops, of editors or of segments.
    Index,
}

/// The rows of the versions that pass the filter, newest first.
pub(super) fn ids(connection: &Connection, filter: &LogFilter) -> rusqlite::Result<Vec<VersionId>> {
    let is_rare = filter.field.is_some() || filter.by.is_some() || matches!(filter.scope, Some(Scope::Source(_)));
    let is_rare = is_rare || filter.change_op.is_some_and(|op| op != ChangeOp::Replace);
    let is_rare = is_rare && filter.after.is_none();
    let Some(turn) = is_rare.then(|| walked(connection, filter)).transpose()?.flatten() else {
        return run(connection, sql(filter, Way::Walk, filter.limit));
    };
    // Versions of one moment stay together: they are all on this side of the turn.
    let newer = LogFilter { since: filter.since.max(Some(turn)), ..filter.clone() };
    let mut found = run(connection, sql(&newer, Way::Walk, filter.limit))?;
    let left = filter.limit.map(|limit| limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX)));
    if left != Some(0) {
        let older = LogFilter { until: Some(turn), ..filter.clone() };
        found.extend(run(connection, sql(&older, Way::Index, left))?);
    }
    Ok(found)
}

fn run(connection: &Connection, (sql, values): (String, Vec<Value>)) -> rusqlite::Result<Vec<VersionId>> {
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| row.get("id"))?;
    rows.collect()
}

/// The moment at which the walk ends; `None` where there are not that many versions.
fn walked(connection: &Connection, filter: &LogFilter) -> rusqlite::Result<Option<UnixMs>> {
    let terms = Terms::of_time(filter);
    let walk = WALK.saturating_add(filter.limit.unwrap_or(0).saturating_mul(WALK_FOR_EACH));
    let sql = format!(
        "SELECT v.observed_at FROM versions AS v {} ORDER BY v.observed_at DESC LIMIT 1 OFFSET {walk}",
        terms.filter()
    );
    connection.query_row(&sql, params_from_iter(terms.values), |row| row.get(0).map(UnixMs)).optional()
}

/// Parts of a `WHERE`, all of which must hold.
#[derive(Default)]
struct Terms {
    terms: Vec<String>,
    values: Vec<Value>,
}

impl Terms {
    /// Adds a value; returns how a term names it.
    fn value(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }

    fn add(&mut self, term: impl Into<String>) {
        self.terms.push(term.into());
    }

    fn filter(&self) -> String {
        if self.terms.is_empty() { String::new() } else { format!("WHERE {}", self.terms.join(" AND ")) }
    }

    /// When, and of which segment: what indexes of time can find.
    fn of_time(filter: &LogFilter) -> Self {
        let mut terms = Self::default();
        if let Some(Scope::Segment(segment)) = &filter.scope {
            let (name, key) = (terms.value(segment.source.as_str().to_owned()), terms.value(segment.id.to_string()));
            terms.add(format!("v.segment_id = (SELECT f.id FROM {OF_SOURCE} {name} AND f.key = {key})"));
        }
        if let Some(since) = filter.since {
            terms.add(format!("v.observed_at >= {}", since.0));
        }
        if let Some(until) = filter.until {
            terms.add(format!("v.observed_at < {}", until.0));
        }
        if let Some(after) = filter.after {
            terms.add(format!("v.id > {}", after.0));
        }
        if let Some((observed_at, id)) = filter.below {
            terms.add(format!("v.observed_at <= {}", observed_at.0));
            terms.add(format!("(v.observed_at < {} OR v.id < {})", observed_at.0, id.0));
        }
        terms
    }
}

const OF_SOURCE: &str = "segments AS f JOIN sources AS g ON g.id = f.source_id WHERE g.name =";

/// The statement that finds the versions, and its values.
fn sql(filter: &LogFilter, way: Way, limit: Option<u32>) -> (String, Vec<Value>) {
    let mut terms = Terms::of_time(filter);
    // A plus keeps SQLite from using an index.
    let plus = |is_best: bool| if way == Way::Index && is_best { "" } else { "+" };
    if let Some(Scope::Source(source)) = &filter.scope {
        let name = terms.value(source.as_str().to_owned());
        let plus = plus(filter.field.is_none() && filter.by.is_none() && filter.change_op.is_none());
        terms.add(format!("{plus}v.segment_id IN (SELECT f.id FROM {OF_SOURCE} {name})"));
    }
    if let Some(op) = filter.op {
        terms.add(format!("v.op = '{op}'"));
        if op != Op::Update {
            terms.add("v.op <> 'update'"); // as the index of these few says it
        }
    }
    if let Some(by) = &filter.by {
        let names = terms.value(serde_json::Value::from(by.clone()).to_string());
        let plus = plus(filter.field.is_none() && filter.change_op.is_none());
        terms.add(format!("{plus}v.modified_by IN (SELECT value FROM json_each({names}))"));
    }
    if filter.no_schema {
        terms.add("v.cause IS NULL AND NOT EXISTS (SELECT 1 FROM schema_versions AS x WHERE x.version_id = v.id)");
    }
    let mut change = match filter.change_op {
        None => String::new(),
        Some(ChangeOp::Replace) => " AND c.op IS NULL".to_owned(),
        Some(op) => format!(" AND c.op = '{op}'"),
    };
    if let Some(field) = &filter.field {
        let (lead, glob) = (terms.value(field.lead().to_owned()), terms.value(field.glob()));
        let plus = plus(true);
        change += &format!(" AND {plus}c.field_id IN ({})", fields(&lead, &glob));
    }
    if !change.is_empty() {
        terms.add(match way {
            Way::Walk => format!("EXISTS (SELECT 1 FROM change_rows AS c WHERE c.version_id = v.id{change})"),
            Way::Index => format!("v.id IN (SELECT c.version_id FROM change_rows AS c WHERE true{change})"),
        });
    }
    // The few that are new, or that an index found, are better not looked for in the order of time.
    let time = if filter.after.is_some() || way == Way::Index { "+v.observed_at" } else { "v.observed_at" };
    let limit = limit.map_or(String::new(), |limit| format!("LIMIT {limit}"));
    let filter = terms.filter();
    (format!("SELECT v.id FROM versions AS v {filter} ORDER BY {time} DESC, v.id DESC {limit}"), terms.values)
}

/// The fields that fit the pattern which `glob` names, or are inside of one that does; `lead` names the text that it begins
/// with.
fn fields(lead: &str, glob: &str) -> String {
    // The last code point there is ends what begins so.
    format!(
        "SELECT f.id FROM fields AS f
         WHERE f.field >= {lead} AND f.field < {lead} || char(1114111)
            AND (f.field GLOB {glob} OR f.field GLOB {glob} || '[.[]*')"
    )
}

/// Each editor once: from one to the next in the index, whatever number of versions each has.
pub(super) const EDITORS: &str = "
    WITH RECURSIVE known (name) AS (
        SELECT min(v.modified_by) FROM versions AS v WHERE v.modified_by IS NOT NULL
        UNION ALL
        SELECT (SELECT min(v.modified_by) FROM versions AS v WHERE v.modified_by > known.name)
        FROM known WHERE known.name IS NOT NULL)
    SELECT name FROM known WHERE name IS NOT NULL";

#[cfg(test)]
mod tests {
    use rusqlite::ToSql;

    use super::*;
    use crate::model::{SegmentKey, SourceName};
    use crate::store::{Pattern, upgrade};

    fn plan((sql, values): (String, Vec<Value>)) -> String {
        let mut connection = Connection::open_in_memory().expect("opened");
        upgrade(&mut connection).expect("upgraded");
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("prepared");
        let values: Vec<&dyn ToSql> = values.iter().map(|value| value as &dyn ToSql).collect();
        let rows = statement.query_map(&*values, |row| row.get::<_, String>("detail")).expect("asked");
        rows.map(|row| row.expect("a row")).collect::<Vec<_>>().join("\n")
    }

    fn field() -> LogFilter {
        LogFilter { field: Some(Pattern::new("rules*x")), ..LogFilter::default() }
    }

    fn by() -> LogFilter {
        LogFilter { by: Some(vec!["Ana".to_owned()]), ..LogFilter::default() }
    }

    #[test]
    fn a_walk_is_in_the_order_of_an_index() {
        let time = LogFilter { since: Some(UnixMs(1)), until: Some(UnixMs(2)), ..LogFilter::default() };
        let key = SegmentKey::new(SourceName::new("s"), "k");
        let segment = LogFilter { scope: Some(Scope::Segment(key)), since: Some(UnixMs(1)), ..LogFilter::default() };
        let source = LogFilter { scope: Some(Scope::Source(SourceName::new("s"))), ..LogFilter::default() };
        let below = LogFilter { below: Some((UnixMs(1), VersionId(1))), ..LogFilter::default() };
        let deletes = LogFilter { op: Some(Op::Delete), since: Some(UnixMs(1)), ..LogFilter::default() };
        for (filter, index) in [
            (LogFilter::default(), "versions_by_time"),
            (time, "versions_by_time (observed_at>? AND observed_at<?)"),
            (below, "versions_by_time (observed_at<?)"),
            (segment, "versions_as_of (segment_id=? AND observed_at>?)"),
            (source, "versions_by_time"),
            (deletes, "versions_by_op (op=? AND observed_at>?)"),
            (field(), "versions_by_time"),
            (by(), "versions_by_time"),
        ] {
            let plan = plan(sql(&filter, Way::Walk, Some(50)));
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{filter:?}\n{plan}");
        }
    }

    #[test]
    fn what_is_rare_is_found_by_an_index() {
        let text = plan(sql(&field(), Way::Index, Some(50)));
        assert!(!text.contains("SCAN v") && !text.contains("SCAN c"), "{text}");
        assert!(text.contains("COVERING INDEX sqlite_autoindex_fields_1 (field>? AND field<?)"), "{text}");
        assert!(text.contains("COVERING INDEX changes_by_shown_field (field_id=?)"), "{text}");
        let moves = LogFilter { change_op: Some(ChangeOp::Move), ..LogFilter::default() };
        let text = plan(sql(&moves, Way::Index, Some(50)));
        assert!(text.contains("COVERING INDEX changes_by_op (op=?)"), "{text}");
        let source = LogFilter { scope: Some(Scope::Source(SourceName::new("s"))), ..LogFilter::default() };
        let text = plan(sql(&source, Way::Index, Some(50)));
        assert!(text.contains("COVERING INDEX versions_as_of (segment_id=?)"), "{text}");
        let both = LogFilter { by: by().by, scope: source.scope, ..field() };
        assert!(plan(sql(&both, Way::Index, Some(50))).contains("SEARCH v USING INTEGER PRIMARY KEY"));
        let text = plan(sql(&by(), Way::Index, Some(50)));
        assert!(text.contains("versions_by_editor (modified_by=?)"), "{text}");
        let text = plan((EDITORS.to_owned(), Vec::new()));
        let looks: Vec<&str> = text.lines().filter(|line| line.contains(" v")).collect();
        assert!(
            looks.len() == 2 && looks.iter().all(|look| look.contains("versions_by_editor (modified_by>?)")),
            "{text}"
        );
        let after = LogFilter { after: Some(VersionId(1)), ..LogFilter::default() };
        let text = plan(sql(&after, Way::Walk, None));
        assert!(text.contains("SEARCH v USING INTEGER PRIMARY KEY (rowid>?)"), "{text}");
    }
}
