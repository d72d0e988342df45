//! The page's queries and their outputs: a block `sql`, and the block `text` that follows it.

use std::ops::Range;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

/// A query with what the page says it prints.
pub(crate) struct Query<'p> {
    pub(crate) sql: &'p str,
    pub(crate) output: &'p str,
    /// Where the output stands in the page.
    place: Range<usize>,
}

/// All blocks `sql` of the page, in order. Each must be followed by a block `text`.
pub(crate) fn queries(page: &str) -> Vec<Query<'_>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(sql) = block(page, "\n```sql\n", from) {
        let output = block(page, "\n```text\n", sql.end).expect("an output after each query");
        let between = page[sql.end + "```".len()..output.start - "```text\n".len()].trim();
        assert!(between.is_empty(), "between a query and its output: {between}");
        from = output.end;
        found.push(Query { sql: &page[sql], output: &page[output.clone()], place: output });
    }
    found
}

/// The inside of the next block that starts like this.
fn block(page: &str, opening: &str, from: usize) -> Option<Range<usize>> {
    let start = from + page[from..].find(opening)? + opening.len();
    // The line before is the block's own where it is empty.
    let end = start - 1 + page[start - 1..].find("\n```").expect("a block ends") + 1;
    Some(start..end)
}

/// The page with these outputs.
pub(crate) fn blessed(page: &str, queries: &[Query<'_>], outputs: &[String]) -> String {
    let (mut text, mut from) = (String::new(), 0);
    for (query, output) in queries.iter().zip(outputs) {
        text.push_str(&page[from..query.place.start]);
        text.push_str(output);
        from = query.place.end;
    }
    text + &page[from..]
}

/// The rows as `sqlite3 -header -column` prints them, without blanks at the ends of lines.
pub(crate) fn columns(db: &Connection, sql: &str) -> String {
    let mut statement = db.prepare(sql).unwrap_or_else(|error| panic!("{error}\n{sql}"));
    let header: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut table = vec![header];
    let mut rows = statement.query([]).expect(sql);
    while let Some(row) = rows.next().unwrap_or_else(|error| panic!("{error}\n{sql}")) {
        let cell = |at| match row.get_ref(at).expect("a column") {
            ValueRef::Null => String::new(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => format!("{number:?}"),
            ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned(),
        };
        table.push((0..table[0].len()).map(cell).collect());
    }
    assert!(table.len() > 1, "no rows\n{sql}");
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table[0].len()).map(width).collect();
    table.insert(1, widths.iter().map(|width| "-".repeat(*width)).collect());
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    table.iter().map(line).collect()
}
