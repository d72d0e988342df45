//! The typed views against an independent answer: what each column must say is worked out here from the documents, for the
//! published documents and for all that come of putting every type of JSON at every place in them.

use std::collections::{BTreeMap, BTreeSet};

use segsync::diff::diff;
use segsync::document::{Document, parse};
use segsync::model::{ChangeOp, Path, Step};
use segsync::provider;
use serde_json::{Value, json};

use crate::views::world::{Cell, assert_system_agrees, documents, holding, table};

/// The columns of each typed view, in its order.
const VIEWS: [(&str, &str); 6] = [
    (
        "statsig_segments",
        "source, segment, name, type, is_enabled, id_type, description, count, tags, target_apps, holdout_ids, team, team_id,
         revision, created_at, creator_id, creator_name, creator_email, modified_at, modifier_id, modifier_name,
         modifier_email, rule_count",
    ),
    (
        "statsig_rules",
        "source, segment, position, id, base_id, name, pass_percentage, environments, return_value, condition_count",
    ),
    (
        "statsig_conditions",
        "source, segment, rule_position, rule_id, rule_name, position, type, operator, field, custom_id, target_value",
    ),
    (
        "octave_segments",
        "source, segment, name, internal_name, description, active, unrecognized, rejected, created_at, updated_at,
         deleted_at, archived_at, user_id, user_name, workspace_id, data",
    ),
    ("octave_questions", "source, segment, position, question, rationale, fit_type, weight, archived_at"),
    ("segment_fields", "source, segment, field, path, type, value"),
];

type Rows = BTreeSet<Vec<Cell>>;

fn found(connection: &rusqlite::Connection, view: &str) -> Rows {
    let columns = VIEWS.iter().find(|(name, _)| *name == view).expect("a view").1;
    let rows = table(connection, &format!("SELECT {columns} FROM {view}"));
    let count = rows.len();
    let rows: Rows = rows.into_iter().collect();
    assert_eq!(rows.len(), count, "{view} has a row twice");
    rows
}

fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, key| value.as_object()?.get(key)).filter(|found| !found.is_null())
}

fn text(value: &Value, path: &str) -> Cell {
    at(value, path).map(|found| found.as_str().map_or_else(|| found.to_string(), str::to_owned))
}

fn json_text(value: &Value, path: &str) -> Cell {
    at(value, path).map(Value::to_string)
}

/// As SQLite has it: true is 1.
fn number(value: &Value, path: &str) -> Cell {
    match at(value, path)? {
        Value::Bool(truth) => Some(u8::from(*truth).to_string()),
        Value::Number(number) => {
            Some(number.as_i64().map_or_else(|| format!("{:?}", number.as_f64().expect("a double")), |n| n.to_string()))
        }
        other => Some(other.to_string()),
    }
}

fn real(value: &Value, path: &str) -> Cell {
    let shown = number(value, path)?;
    Some(shown.parse::<f64>().map_or(shown, |number| format!("{number:?}")))
}

fn time(value: &Value, path: &str) -> Cell {
    let ms = at(value, path).and_then(Value::as_number).and_then(serde_json::Number::as_f64);
    #[expect(clippy::cast_possible_truncation, reason = "the test's times are small")]
    ms.map_or_else(|| text(value, path), |ms| Some(segsync::model::UnixMs(ms as i64).to_string()))
}

/// The items of an array; an object stands for the array of it.
fn items(value: &Value, path: &str) -> Option<Vec<Value>> {
    match at(value, path)? {
        Value::Array(items) => Some(items.clone()),
        object @ Value::Object(_) => Some(vec![object.clone()]),
        _ => None,
    }
}

fn count(value: &Value, path: &str) -> Cell {
    items(value, path).map(|items| items.len().to_string())
}

fn statsig(source: &[Cell], d: &Value, rows: &mut BTreeMap<&str, Rows>) {
    let mut segment = source.to_vec();
    segment.extend([
        text(d, "name"),
        text(d, "type"),
        number(d, "isEnabled"),
        text(d, "idType"),
        text(d, "description"),
    ]);
    segment.extend([number(d, "count"), json_text(d, "tags"), json_text(d, "targetApps"), json_text(d, "holdoutIDs")]);
    segment.extend([text(d, "team"), text(d, "teamID"), number(d, "version"), time(d, "createdTime")]);
    segment.extend(["creatorID", "creatorName", "creatorEmail"].map(|path| text(d, path)));
    segment.push(time(d, "lastModifiedTime"));
    segment.extend(["lastModifierID", "lastModifierName", "lastModifierEmail"].map(|path| text(d, path)));
    segment.push(count(d, "rules"));
    rows.entry("statsig_segments").or_default().insert(segment);

    for (place, r) in items(d, "rules").unwrap_or_default().iter().enumerate() {
        let mut rule = source.to_vec();
        rule.extend([Some(place.to_string()), text(r, "id"), text(r, "baseID"), text(r, "name")]);
        rule.extend([real(r, "passPercentage"), json_text(r, "environments"), json_text(r, "returnValue")]);
        rule.push(count(r, "conditions"));
        rows.entry("statsig_rules").or_default().insert(rule);
        for (position, c) in items(r, "conditions").unwrap_or_default().iter().enumerate() {
            let mut condition = source.to_vec();
            condition.extend([Some(place.to_string()), text(r, "id"), text(r, "name"), Some(position.to_string())]);
            condition.extend(["type", "operator", "field", "customID"].map(|path| text(c, path)));
            condition.push(json_text(c, "targetValue"));
            rows.entry("statsig_conditions").or_default().insert(condition);
        }
    }
}

fn octave(source: &[Cell], d: &Value, rows: &mut BTreeMap<&str, Rows>) {
    let mut segment = source.to_vec();
    segment.extend(["name", "internalName", "description"].map(|path| text(d, path)));
    segment.extend(["active", "unrecognized", "rejected"].map(|path| number(d, path)));
    segment.extend(["createdAt", "updatedAt", "deletedAt", "archivedAt", "user.oId"].map(|path| text(d, path)));
    let names = ["user.firstName", "user.lastName"].map(|path| text(d, path).unwrap_or_default()).join(" ");
    segment.push(Some(names.trim().to_owned()).filter(|name| !name.is_empty()));
    segment.extend([text(d, "workspace.oId"), json_text(d, "data")]);
    rows.entry("octave_segments").or_default().insert(segment);

    for (position, q) in items(d, "qualifyingQuestions").unwrap_or_default().iter().enumerate() {
        let mut question = source.to_vec();
        question.push(Some(position.to_string()));
        question.extend(["question", "rationale", "fitType", "weight", "archivedAt"].map(|path| text(q, path)));
        rows.entry("octave_questions").or_default().insert(question);
    }
}

/// Path, type and value of every leaf.
fn leaves(value: &Value, path: &Path, found: &mut Vec<(String, &'static str, String)>) {
    let kind = match value {
        Value::Object(members) if !members.is_empty() => {
            return members.iter().for_each(|(key, member)| leaves(member, &path.join(Step::Key(key.clone())), found));
        }
        Value::Array(items) if !items.is_empty() => {
            return items.iter().enumerate().for_each(|(at, item)| leaves(item, &path.join(Step::Index(at)), found));
        }
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "text",
        Value::Null => "null",
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::Number(number) if number.to_string().contains(['.', 'e', 'E']) => "real",
        Value::Number(_) => "integer",
    };
    found.push((path.to_string(), kind, value.to_string()));
}

/// Asserts that all typed views say of these documents what they must, and that the system's `sqlite3` agrees.
fn assert_views(all: &[(&str, &[Value])]) {
    let connection = holding(all);
    let mut expected: BTreeMap<&str, Rows> = BTreeMap::new();
    let mut fields = BTreeSet::new();
    for (provider, documents) in all {
        for (number, document) in documents.iter().enumerate() {
            let source = [Some((*provider).to_owned()), Some(number.to_string())];
            if *provider == "statsig" {
                statsig(&source, document, &mut expected);
            } else {
                octave(&source, document, &mut expected);
            }
            let mut found = Vec::new();
            leaves(document, &Path::default(), &mut found);
            let row = |(path, kind, value): (String, &str, String)| {
                [source[0].clone(), source[1].clone(), Some(path), Some(kind.to_owned()), Some(value)].to_vec()
            };
            fields.extend(found.into_iter().map(row));
        }
    }
    for (view, rows) in expected {
        same(view, &found(&connection, view), &rows);
    }
    let without_words = |mut row: Vec<Cell>| {
        row.remove(2);
        row
    };
    same("segment_fields", &found(&connection, "segment_fields").into_iter().map(without_words).collect(), &fields);
    let queries = VIEWS.map(|(view, columns)| {
        let cells =
            columns.split(',').map(|column| format!("quote({})", column.trim())).collect::<Vec<_>>().join("||','||");
        format!("SELECT {cells} AS cells FROM {view} ORDER BY 1")
    });
    assert_system_agrees(&connection, &queries);
}

fn same(view: &str, found: &Rows, expected: &Rows) {
    let (missing, surplus) = (expected.difference(found).next(), found.difference(expected).next());
    assert!(missing.is_none() && surplus.is_none(), "{view}\nmissing {missing:?}\nsurplus {surplus:?}");
}

/// Every document that comes of putting each of `values`, or nothing, in one place of `document`.
fn with_each_place_changed(document: &Value, values: &[Value]) -> Vec<Value> {
    fn places(value: &Value, pointer: &str, found: &mut Vec<String>) {
        let below: Vec<(String, &Value)> = match value {
            Value::Object(members) => members.iter().map(|(key, member)| (key.clone(), member)).collect(),
            Value::Array(items) => items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect(),
            _ => Vec::new(),
        };
        for (step, value) in below {
            let pointer = format!("{pointer}/{step}");
            places(value, &pointer, found);
            found.push(pointer);
        }
    }
    let mut pointers = Vec::new();
    places(document, "", &mut pointers);
    let mut made = Vec::new();
    for pointer in pointers {
        for value in values {
            let mut other = document.clone();
            *other.pointer_mut(&pointer).expect("a place") = value.clone();
            made.push(other);
        }
        let (parent, step) = pointer.rsplit_once('/').expect("a step");
        let mut other = document.clone();
        match other.pointer_mut(parent).expect("a place") {
            Value::Object(members) => drop(members.remove(step)),
            Value::Array(items) => drop(items.remove(step.parse::<usize>().expect("an index"))),
            _ => panic!("{parent} holds nothing"),
        }
        made.push(other);
    }
    made
}

fn anything() -> Vec<Value> {
    let odd = "it's \"odd\" \\ [0] é😀\n\u{1}\u{7f}";
    vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-7),
        json!(12.5),
        json!(""),
        json!("text"),
        json!("7"),
        json!("null"),
        json!("[]"),
        json!("{malformed"),
        json!(odd),
        json!([]),
        json!({}),
        json!([null, true, 7, 0.25, "text", [], {}]),
        json!([[{ "id": "a" }], { "id": "b", "name": { "x": [1] }, "conditions": 7, "question": [null] }]),
        json!({ "id": "c", "name": "only one", "conditions": { "type": "email", "targetValue": { "a": 1 } } }),
        json!({ "a_b": { "c d": 1, "e.f": [2], "": 3, "é": {}, "x\"y": [], "$": "$", "0": null } }),
    ]
}

#[test]
fn every_type_of_json_at_every_place_is_told_as_it_is() {
    let changed = |provider| -> Vec<Value> {
        let all = documents(provider);
        let few = [json!("7"), json!([{}]), json!({})];
        let others = all[1..].iter().flat_map(|one| with_each_place_changed(one, &few));
        all.iter().cloned().chain(with_each_place_changed(&all[0], &anything())).chain(others).collect()
    };
    let (statsig, octave) = (changed("statsig"), changed("octave"));
    assert!(statsig.len() > 800 && octave.len() > 800, "{} {}", statsig.len(), octave.len());
    let all: [(&str, &[Value]); 2] = [("statsig", &statsig), ("octave", &octave)];
    assert_views(&all);
    // For the tools that are tried by hand, see tests/tools/views.py.
    if let Some(file) = std::env::var_os("SEGSYNC_SHAPES") {
        holding(&all).execute("VACUUM INTO ?1", [file.to_str()]).expect("written");
    }
}

#[test]
fn documents_without_anything_are_rows_of_nothing() {
    assert_views(&[
        ("statsig", &[json!({}), json!({ "rules": [{}, { "conditions": [{}] }] })]),
        ("octave", &[json!({})]),
    ]);
}

/// Every member that a provider documents is in a column of its own, or in one that holds the whole.
#[test]
fn every_documented_member_has_a_column() {
    let statsig = documents("statsig");
    let octave = documents("octave");
    let full = [("statsig", &statsig[..1]), ("octave", &octave[..1])];
    let connection = holding(&full);
    let mut cells: Vec<String> = Vec::new();
    for (view, _) in &VIEWS[..5] {
        cells.extend(found(&connection, view).into_iter().flatten().flatten());
    }
    for (provider, documents) in full {
        let mut all = Vec::new();
        leaves(&documents[0], &Path::default(), &mut all);
        for (path, kind, value) in all {
            let bare: Value = parse(&value).expect("JSON");
            let shown = match (path.as_str(), &bare) {
                // The id is the column `segment`.
                ("$.id" | "$.oId", _) => continue,
                ("$.createdTime" | "$.lastModifiedTime", _) => time(&json!({ "it": bare }), "it").expect("a time"),
                ("$.user.firstName" | "$.user.lastName", _) => "John Doe".to_owned(),
                (_, Value::String(text)) => text.clone(),
                (_, Value::Bool(truth)) => u8::from(*truth).to_string(),
                // Without a value there is nothing to look for; the test above has them all.
                (_, Value::Null | Value::Array(_) | Value::Object(_)) => continue,
                _ => value.clone(),
            };
            let in_json = format!("\"{shown}\"");
            let is_there = cells.iter().any(|cell| *cell == shown || cell.contains(&in_json) || cell.contains(&value));
            assert!(is_there, "{provider} {path} {kind} {value}");
        }
    }
    // The schema that the vendor publishes has no member that the document above lacks.
    let schema: Value = serde_json::from_str(include_str!("../data/statsig-segment.schema.json")).expect("JSON");
    for key in schema["properties"].as_object().expect("members").keys() {
        assert!(statsig[0].get(key).is_some(), "{key}");
    }
}

#[test]
fn the_columns_of_a_full_document_read_well() {
    let (statsig, octave) = (documents("statsig"), documents("octave"));
    let connection = holding(&[("statsig", &statsig[..1]), ("octave", &octave[..1])]);
    let shown = |view: &str| {
        let rows = found(&connection, view).into_iter();
        let line =
            |row: Vec<Cell>| row.into_iter().map(|cell| cell.unwrap_or("-".to_owned())).collect::<Vec<_>>().join(" | ");
        rows.map(line).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(shown("statsig_rules"), @r#"
    statsig | 0 | 0 | rule-1 | base-1 | first rule | 12.34 | ["production"] | {"key":true} | 4
    statsig | 0 | 1 | rule-2 | base-2 | second rule | 100.0 | - | - | 0
    statsig | 0 | 2 | rule-3 | base-3 | second rule | 0.0 | [] | - | 0
    "#);
    insta::assert_snapshot!(shown("statsig_conditions"), @r#"
    statsig | 0 | 0 | rule-1 | first rule | 0 | email | str_contains_any | a field | custom-1 | ["@example.com","@example.net"]
    statsig | 0 | 0 | rule-1 | first rule | 1 | custom_field | gte | seats | - | 250
    statsig | 0 | 0 | rule-1 | first rule | 2 | public | - | - | - | -
    statsig | 0 | 0 | rule-1 | first rule | 3 | country | any | - | - | "DE"
    "#);
    insta::assert_snapshot!(shown("octave_questions"), @r#"
    octave | 0 | 0 | a question? | a rationale | GOOD | MEDIUM | 2024-01-01T00:00:00.000Z
    octave | 0 | 1 | another question? | - | BAD | LOW | -
    "#);
    insta::assert_snapshot!(shown("statsig_segments"), @r#"
    statsig | 0 | the name | rule_based | 1 | userID | helpful summary | 11 | ["a tag","b tag"] | ["an app"] | ["a holdout"] | the team | team-1 | 12 | 2023-11-14T22:13:20.123Z | creator-1 | the creator | creator@example.com | 2023-11-14T22:15:00.456Z | modifier-1 | the modifier | modifier@example.com | 3
    "#);
    insta::assert_snapshot!(shown("octave_segments"), @r#"
    octave | 0 | the name | the internal name | the description | 1 | 1 | 0 | 2021-01-01T00:00:00.000Z | 2022-01-01T00:00:00.000Z | - | 2023-01-01T00:00:00.000Z | us_1 | John Doe | ws_1 | {"businessDrivers":["driver"],"customFields":[{"title":"a title","value":["a value"]}],"definingAttributes":[],"firmographicCharacteristics":[],"firmographics":{"businessModel":[],"employees":["employees"],"geography":["geography"],"industry":["industry"],"revenue":[]},"marketPressures":[],"relevanceToOurBusiness":["relevance"],"strategicPriorities":[]}
    "#);
}

/// A leaf that changes is called in `changes` as `segment_fields` calls it.
#[test]
fn a_field_is_called_as_in_the_change_log() {
    let mut compared = 0;
    for name in ["statsig", "octave"] {
        let shape = provider::by_name(name).expect("a provider").shape();
        let canonical = |value: &Value| Document::new(value.clone(), shape, &[]);
        let mut base = documents(name)[0].clone();
        base["data"]["odd"] =
            json!({ "a_b": 1, "c d": [1], "e.f": 2, "": 3, "x]": 4, "é": 5, " s": 6, "t\n": 7, "-0": 8 });
        let before = canonical(&base);
        let after: Vec<Document> =
            with_each_place_changed(before.value(), &[json!("another")]).iter().map(canonical).collect();
        let values: Vec<Value> = after.iter().map(|document| (**document.value()).clone()).collect();
        let connection = holding(&[(name, &values)]);
        let words: BTreeMap<(Cell, Cell), Cell> = found(&connection, "segment_fields")
            .into_iter()
            .map(|row| ((row[1].clone(), row[3].clone()), row[2].clone()))
            .collect();
        for (number, document) in after.iter().enumerate() {
            let changes = diff(before.value(), document.value(), shape);
            for change in changes.iter().filter(|change| change.op == ChangeOp::Replace) {
                let key = (Some(number.to_string()), Some(change.path.clone()));
                let Some(word) = words.get(&key) else { continue };
                // What is itself the name or the key of an item may be called by the old one.
                if !["name", "id", "baseID", "question", "title"].iter().any(|key| change.path.ends_with(key)) {
                    assert_eq!(word.as_ref(), Some(&change.field), "{name} {}", change.path);
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 80, "{compared}");
}
