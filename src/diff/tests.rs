//! What the changes between two documents are, sentence by sentence. Every comparison here is also folded both ways.

use super::*;
use crate::document::{Document, Keyed, parse};

const SHAPE: Shape = Shape {
    volatile: &["_metadata"],
    sets: &[&["tags"], &["x", "ids"]],
    keyed: &[
        Keyed { at: &["rules"], keys: &["id", "baseID", "name"], label: Some("name") },
        Keyed { at: &["data", "fields"], keys: &["title"], label: None },
    ],
    wrapped: &[&["rules"]],
    stamps: &[],
};

/// The changes as `op path | field: old → new`, after folding them both ways.
#[track_caller]
fn changes(old: &str, new: &str) -> String {
    let document = |text: &str| Document::new(parse(text).expect("JSON"), &SHAPE, &[]);
    let (old, new) = (document(old), document(new));
    let changes = diff(old.value(), new.value(), &SHAPE);
    assert_eq!(fold(old.value(), &changes).map(|value| value.to_string()), Ok(new.text().to_owned()));
    assert_eq!(unfold(new.value(), &changes).map(|value| value.to_string()), Ok(old.text().to_owned()));
    let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let line = |c: &Change| format!("{} {} | {}: {} → {}", c.op, c.path, c.field, side(&c.old), side(&c.new));
    changes.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Rules of these ids, each named like its id in capitals.
fn rules(ids: &str) -> String {
    let rules: Vec<String> =
        ids.chars().map(|id| format!(r#"{{"id":"{id}","name":"{}"}}"#, id.to_ascii_uppercase())).collect();
    format!(r#"{{"rules":[{}]}}"#, rules.join(","))
}

#[test]
fn what_stays_beside_a_change_is_named() {
    let unchanged = |old: &str, new: &str| {
        let value = |text: &str| Document::new(parse(text).expect("JSON"), &SHAPE, &[]).value().as_ref().clone();
        let (old, new) = (value(old), value(new));
        let comparison = compare(&old, &new, &SHAPE);
        assert_eq!(comparison.changes, diff(&old, &new, &SHAPE));
        comparison.unchanged.join(" ")
    };
    let rule = |id: &str, percentage: u32| {
        format!(r#"{{"id":"{id}","name":"{}","pass":{percentage},"conditions":[1]}}"#, id.to_uppercase())
    };
    let document = |rules: &[String]| format!(r#"{{"rules":[{}],"tags":["x"],"z":{{"a":1}}}}"#, rules.join(","));
    let (a, b, c) = (rule("a", 1), rule("b", 1), rule("c", 1));
    let old = document(&[a.clone(), b.clone(), c.clone()]);
    assert_eq!(
        unchanged(&old, &document(&[a.clone(), rule("b", 2), c.clone()])),
        "rules[A] rules[B].conditions rules[B].id rules[B].name rules[C] tags z"
    );
    assert_eq!(
        unchanged(&old, &document(&[c.clone(), a.clone(), b])),
        "rules[A] rules[B] tags z",
        "what moved did not stay"
    );
    assert_eq!(unchanged(&old, &old), "", "beside nothing");
    assert_eq!(unchanged(&old, &document(&[a, c]).replace("\"x\"", "\"x\",\"y\"")), "rules[A] rules[C] tags[x] z");
}

#[test]
fn null_absent_and_value_are_three_different_things() {
    let states = ["{}", r#"{"a":null}"#, r#"{"a":1}"#];
    let all: Vec<String> = states.iter().flat_map(|old| states.map(|new| changes(old, new))).collect();
    insta::assert_snapshot!(all.join("\n"), @"

    add $.a | a: - → null
    add $.a | a: - → 1
    remove $.a | a: null → -

    replace $.a | a: null → 1
    remove $.a | a: 1 → -
    replace $.a | a: 1 → null
    ");
}

#[test]
fn empty_values_differ_from_each_other() {
    let values = ["null", "[]", "{}", r#""""#, "0", "false"];
    for old in values {
        for new in values {
            let expected = if old == new { String::new() } else { format!("replace $.a | a: {old} → {new}") };
            assert_eq!(changes(&format!(r#"{{"a":{old}}}"#), &format!(r#"{{"a":{new}}}"#)), expected);
        }
    }
}

#[test]
fn equal_content_makes_no_change() {
    assert_eq!(changes(r#"{"tags":["a","b","c"],"n":1}"#, r#"{"n":1.0,"tags":["c","a","b"]}"#), "");
    assert_eq!(changes(r#"{"_metadata":1,"n":[1e2,-0]}"#, r#"{"_metadata":2,"n":[100,0.0]}"#), "");
    assert_eq!(changes(r#"{"rules":{"id":1}}"#, r#"{"rules":[{"id":1}]}"#), "");
}

#[test]
fn numbers_are_shown_in_full() {
    insta::assert_snapshot!(
        changes(r#"{"n":12345678901234567890}"#, r#"{"n":12345678901234567891}"#),
        @"replace $.n | n: 12345678901234567890 → 12345678901234567891"
    );
}

#[test]
fn a_rule_on_top_is_one_add() {
    insta::assert_snapshot!(
        changes(&rules("abc"), &rules("xabc")),
        @r#"add $.rules[0] | rules[X]: - → {"id":"x","name":"X"}"#
    );
    insta::assert_snapshot!(
        changes(&rules("xabc"), &rules("abc")),
        @r#"remove $.rules[0] | rules[X]: {"id":"x","name":"X"} → -"#
    );
}

#[test]
fn a_reordering_is_as_few_moves_as_can_be() {
    insta::assert_snapshot!(changes(&rules("ab"), &rules("ba")), @"move $.rules[0] | rules[B]: 1 → 0");
    insta::assert_snapshot!(changes(&rules("abcd"), &rules("bcda")), @"move $.rules[3] | rules[A]: 0 → 3");
    insta::assert_snapshot!(changes(&rules("abcd"), &rules("dabc")), @"move $.rules[0] | rules[D]: 3 → 0");
    insta::assert_snapshot!(changes(&rules("abc"), &rules("cba")), @"
    move $.rules[0] | rules[C]: 2 → 0
    move $.rules[2] | rules[A]: 0 → 2
    ");
}

#[test]
fn a_moved_rule_keeps_its_own_changes_at_its_new_place() {
    let old = r#"{"rules":[{"id":"a","p":1},{"id":"b","p":1},{"id":"c","p":1},{"id":"d"}]}"#;
    let new = r#"{"rules":[{"id":"c","p":2,"q":[0]},{"id":"x"},{"id":"a","p":1},{"id":"d","p":null}]}"#;
    insta::assert_snapshot!(changes(old, new), @r#"
    move $.rules[0] | rules[c]: 2 → 0
    replace $.rules[0].p | rules[c].p: 1 → 2
    add $.rules[0].q | rules[c].q: - → [0]
    add $.rules[1] | rules[x]: - → {"id":"x"}
    remove $.rules[1] | rules[b]: {"id":"b","p":1} → -
    add $.rules[3].p | rules[d].p: - → null
    "#);
}

#[test]
fn a_remove_inside_of_a_moved_rule_is_at_its_old_place() {
    let old = r#"{"rules":[{"id":"a","p":1,"c":[1,2,3]},{"id":"b"},{"id":"c"}]}"#;
    let new = r#"{"rules":[{"id":"b"},{"id":"c"},{"id":"a","c":[2]}]}"#;
    insta::assert_snapshot!(changes(old, new), @"
    move $.rules[2] | rules[a]: 0 → 2
    remove $.rules[0].c[0] | rules[a].c[0]: 1 → -
    remove $.rules[0].c[2] | rules[a].c[2]: 3 → -
    remove $.rules[0].p | rules[a].p: 1 → -
    ");
}

#[test]
fn the_first_key_that_every_rule_has_matches() {
    // No id in one of them: by baseID, although the ids say otherwise.
    let old = r#"{"rules":[{"id":"1","baseID":"a","name":"x"},{"id":"2","baseID":"b","name":"y"}]}"#;
    let new = r#"{"rules":[{"baseID":"b","name":"y"},{"id":"1","baseID":"a","name":"x"}]}"#;
    insta::assert_snapshot!(changes(old, new), @r#"
    move $.rules[0] | rules[y]: 1 → 0
    remove $.rules[1].id | rules[y].id: "2" → -
    "#);
    // Null is no key, one key of two rules is none, and then the name decides.
    let old = r#"{"rules":[{"id":null,"baseID":"a","name":"x"},{"id":"2","baseID":"a","name":"y"}]}"#;
    let new = r#"{"rules":[{"id":"2","baseID":"a","name":"y"}]}"#;
    insta::assert_snapshot!(changes(old, new), @r#"remove $.rules[0] | rules[x]: {"baseID":"a","id":null,"name":"x"} → -"#);
    let (old, new) = (r#"{"rules":[{"id":null,"baseID":"a"}]}"#, r#"{"rules":[{"id":null,"baseID":"b"}]}"#);
    insta::assert_snapshot!(changes(old, new), @r#"
    remove $.rules[0] | rules[a]: {"baseID":"a","id":null} → -
    add $.rules[0] | rules[b]: - → {"baseID":"b","id":null}
    "#);
    // A number is another key than the string of its digits.
    insta::assert_snapshot!(changes(r#"{"rules":[{"id":1}]}"#, r#"{"rules":[{"id":"1"}]}"#), @r#"
    remove $.rules[0] | rules[1]: {"id":1} → -
    add $.rules[0] | rules[1]: - → {"id":"1"}
    "#);
}

#[test]
fn without_a_key_rules_are_compared_by_position() {
    let old = r#"{"rules":[{"name":"x","p":1},{"name":"x","p":2},7]}"#;
    let new = r#"{"rules":[{"name":"x","p":1},{"name":"x","p":3},7]}"#;
    insta::assert_snapshot!(changes(old, new), @"replace $.rules[1].p | rules[1].p: 2 → 3");
}

#[test]
fn a_rule_is_called_by_its_name_where_that_means_no_other() {
    let old = r#"{"rules":[{"id":"1","name":"beta testers","p":1},{"id":"2","name":"all","p":1},{"id":"3","name":"all","p":1}]}"#;
    let new = r#"{"rules":[{"id":"1","name":"beta testers","p":2},{"id":"2","name":"all","p":2},{"id":"3","name":"rest","p":2}]}"#;
    insta::assert_snapshot!(changes(old, new), @r#"
    replace $.rules[0].p | rules[beta testers].p: 1 → 2
    replace $.rules[1].p | rules[2].p: 1 → 2
    replace $.rules[2].name | rules[rest].name: "all" → "rest"
    replace $.rules[2].p | rules[rest].p: 1 → 2
    "#);
    // Two rules that swap their names, a name that is another's id, a name that is no text.
    let old = r#"{"rules":[{"id":"1","name":"x"},{"id":"2","name":"y"},{"id":"3","name":"4"},{"id":"4","name":5},{"id":"5","name":""}]}"#;
    let new = r#"{"rules":[{"id":"1","name":"y"},{"id":"2","name":"x"},{"id":"3","name":"4","p":1},{"id":"4","name":5,"p":1},{"id":"5","name":"","p":1}]}"#;
    insta::assert_snapshot!(changes(old, new), @r#"
    replace $.rules[0].name | rules[1].name: "x" → "y"
    replace $.rules[1].name | rules[2].name: "y" → "x"
    add $.rules[2].p | rules[3].p: - → 1
    add $.rules[3].p | rules[4].p: - → 1
    add $.rules[4].p | rules[5].p: - → 1
    "#);
}

#[test]
fn what_is_unkeyed_is_aligned_and_compared_inside() {
    let old = r#"{"rules":[{"id":"1","name":"beta","conditions":[{"type":"a","targetValue":[1,2]},{"type":"b"},{"type":"c"}]}]}"#;
    let new = r#"{"rules":[{"id":"1","name":"beta","conditions":[{"type":"a","targetValue":[2,5]},{"type":"c"},{"type":"d"}]}]}"#;
    insta::assert_snapshot!(changes(old, new), @r#"
    remove $.rules[0].conditions[0].targetValue[0] | rules[beta].conditions[0].targetValue[0]: 1 → -
    add $.rules[0].conditions[0].targetValue[1] | rules[beta].conditions[0].targetValue[1]: - → 5
    remove $.rules[0].conditions[1] | rules[beta].conditions[1]: {"type":"b"} → -
    add $.rules[0].conditions[2] | rules[beta].conditions[2]: - → {"type":"d"}
    "#);
    // One gap with two old and three new elements: two pairs, one add.
    insta::assert_snapshot!(changes(r#"[0,{"a":1},"x",9]"#, r#"[0,{"a":2},[1],true,9]"#), @r#"
    replace $[1].a | [1].a: 1 → 2
    replace $[2] | [2]: "x" → [1]
    add $[3] | [3]: - → true
    "#);
    insta::assert_snapshot!(changes("[[1,2],[3]]", "[[3],[1,2]]"), @"
    add $[0] | [0]: - → [3]
    remove $[1] | [1]: [3] → -
    ");
}

#[test]
fn sets_change_by_membership() {
    insta::assert_snapshot!(changes(r#"{"tags":["a tag","b","b","d"]}"#, r#"{"tags":["c","b","d",7]}"#), @r#"
    remove $.tags[0] | tags[a tag]: "a tag" → -
    remove $.tags[2] | tags[b]: "b" → -
    add $.tags[1] | tags[c]: - → "c"
    add $.tags[3] | tags[7]: - → 7
    "#);
    // Only at the place that the shape names, which no array is in front of.
    insta::assert_snapshot!(
        changes(r#"{"x":{"ids":[1],"tags":["a"]}}"#, r#"{"x":{"ids":[2],"tags":["b"]}}"#),
        @r#"
    remove $.x.ids[0] | x.ids[1]: 1 → -
    add $.x.ids[0] | x.ids[2]: - → 2
    replace $.x.tags[0] | x.tags[0]: "a" → "b"
    "#
    );
    insta::assert_snapshot!(
        changes(r#"{"x":[{"ids":[1]}]}"#, r#"{"x":[{"ids":[2]}]}"#),
        @"replace $.x[0].ids[0] | x[0].ids[0]: 1 → 2"
    );
}

#[test]
fn an_unsorted_array_that_became_a_set_still_folds() {
    let (old, new) = (parse(r#"{"tags":["z","a","b","c"]}"#), parse(r#"{"tags":["a","b","c","z"]}"#));
    let (old, new) = (old.expect("JSON"), new.expect("JSON"));
    let changes = diff(&old, &new, &SHAPE);
    assert_eq!(changes.len(), 2);
    assert_eq!(fold(&old, &changes), Ok(new.clone()));
    assert_eq!(unfold(&new, &changes), Ok(old));
}

#[test]
fn fields_below_the_root_have_keys_of_their_own() {
    let old = r#"{"data":{"fields":[{"title":"Why now?","value":"a"},{"title":"ICP","value":"b"}]}}"#;
    let new = r#"{"data":{"fields":[{"title":"ICP","value":"b"},{"title":"Why now?","value":null}]}}"#;
    insta::assert_snapshot!(changes(old, new), @r#"
    move $.data.fields[0] | data.fields[ICP]: 1 → 0
    replace $.data.fields[1].value | data.fields[Why now?].value: "a" → null
    "#);
}

#[test]
fn another_type_is_one_replace() {
    insta::assert_snapshot!(changes(r#"{"a":{"b":1}}"#, r#"{"a":[1]}"#), @r#"replace $.a | a: {"b":1} → [1]"#);
    insta::assert_snapshot!(changes("1", r#"{"a":1}"#), @r#"replace $ | $: 1 → {"a":1}"#);
}

#[test]
fn odd_keys_are_quoted_in_path_and_field() {
    let old = "{}";
    let new = r#"{"":1,"a b":2,"a.b":{"c":3},"q\"d":4,"\n":5,"tags":[]}"#;
    insta::assert_snapshot!(changes(old, new), @r#"
    add $."" | "": - → 1
    add $."\n" | "\n": - → 5
    add $."a b" | a b: - → 2
    add $."a.b" | "a.b": - → {"c":3}
    add $."q\"d" | "q\"d": - → 4
    add $.tags | tags: - → []
    "#);
}

#[test]
fn below_a_monstrous_path_values_are_replaced_whole() {
    let key = "k".repeat(MAX_PATH + 1);
    let text = |rest: &str| format!(r#"{{"rules":[{rest},{{"id":"x","{key}":{{"a":1,"b":1}}}}]}}"#);
    let old = text(r#"{"id":"a"}"#);
    let new = old.replace(r#""a":1,"b":1"#, r#""a":2,"b":2"#);
    let shown = changes(&old, &new);
    assert!(shown.ends_with(r#": {"a":1,"b":1} → {"a":2,"b":2}"#) && shown.lines().count() == 1);
}

#[test]
fn keys_that_serde_json_keeps_for_itself_fold_too() {
    let odd = r#"{"$serde_json::private::Number":"5","a":1}"#;
    assert_eq!(changes("{}", odd).lines().count(), 2);
    assert_eq!(changes(&format!("[{odd}]"), "[1,{}]").lines().count(), 2);
}

fn change(op: ChangeOp, path: &str, old: Option<&str>, new: Option<&str>) -> Change {
    let text = |text: Option<&str>| text.map(str::to_owned);
    Change { op, path: path.to_owned(), field: String::new(), old: text(old), new: text(new) }
}

#[test]
fn changes_that_do_not_fit_are_errors() {
    use ChangeOp::{Add, Move, Remove, Replace};
    let document = parse(r#"{"a":1,"l":[1,2,3],"s":"x"}"#).expect("JSON");
    let deep = format!("${}", ".a".repeat(257));
    let bad: &[(&str, &[Change])] = &[
        ("something else is there", &[change(Replace, "$.a", Some("2"), Some("3"))]),
        ("something else is there", &[change(Remove, "$.l[0]", Some("2"), None)]),
        ("nothing is there", &[change(Remove, "$.b", Some("1"), None)]),
        ("nothing is there", &[change(Remove, "$.l[3]", Some("1"), None)]),
        ("something is there already", &[change(Add, "$.a", None, Some("1"))]),
        ("there is no such place", &[change(Replace, "$.b", Some("1"), Some("2"))]),
        ("there is no such place", &[change(Add, "$.s.x", None, Some("1"))]),
        ("there is no such place", &[change(Add, "$", None, Some("1"))]),
        ("there is no such place", &[change(Remove, "$", Some("1"), None)]),
        ("there is no such place", &[change(Add, "$.l.x", None, Some("1"))]),
        ("there is no such place", &[change(Add, "$[0]", None, Some("1"))]),
        ("there is no such place", &[change(Move, "$.a[0]", Some("0"), Some("0"))]),
        (
            "there is no such place",
            &[change(Replace, "$.a", Some("1"), Some("{}")), change(Add, "$.a.b", None, Some("1"))],
        ),
        ("there is no such place", &[change(Add, "$.n", None, Some("{}")), change(Add, "$.n.b", None, Some("1"))]),
        ("its index is beyond the array's end", &[change(Add, "$.l[4]", None, Some("1"))]),
        ("its index is beyond the array's end", &[change(Add, "$.l[18446744073709551615]", None, Some("1"))]),
        ("its index is beyond the array's end", &[change(Move, "$.l[3]", Some("0"), Some("3"))]),
        (
            "another element goes to its index",
            &[change(Move, "$.l[1]", Some("0"), Some("1")), change(Add, "$.l[1]", None, Some("1"))],
        ),
        ("nothing is there to move", &[change(Move, "$.l[0]", Some("3"), Some("0"))]),
        (
            "nothing is there to move",
            &[change(Move, "$.l[0]", Some("1"), Some("0")), change(Move, "$.l[2]", Some("1"), Some("2"))],
        ),
        (
            "nothing is there to move",
            &[change(Move, "$.l[0]", Some("1"), Some("0")), change(Remove, "$.l[1]", Some("2"), None)],
        ),
        ("its indexes do not suit its path", &[change(Move, "$.l[0]", Some("1"), Some("2"))]),
        ("its indexes do not suit its path", &[change(Move, "$.l[0]", Some("-1"), Some("0"))]),
        ("another change is at its place", &[change(Add, "$.b", None, Some("1")), change(Add, "$.b", None, Some("1"))]),
        ("its old and new do not suit what it does", &[change(Add, "$.b", Some("1"), Some("2"))]),
        ("its old and new do not suit what it does", &[change(Replace, "$.a", Some("1"), None)]),
        ("its value is not JSON", &[change(Add, "$.b", None, Some("{"))]),
        ("its path is none", &[change(Add, "b", None, Some("1"))]),
        ("its path is not one place in a document", &[change(Add, "$.l[*]", None, Some("1"))]),
        ("its path is not one place in a document", &[change(Add, &deep, None, Some("1"))]),
    ];
    for (what, changes) in bad {
        let error = fold(&document, changes).expect_err(what);
        assert_eq!((error.what, changes[error.ordinal].op), (*what, error.op), "{changes:?}");
    }
    let error = unfold(&document, &[change(Add, "$.\"\u{1b}\"", None, Some("1"))]).expect_err("no such member");
    assert_eq!(error.to_string(), r#"fold change 0 (add "$.\"\u{1b}\""): its path is none"#);
    let error = unfold(&document, &[change(Add, "$.a", None, Some("2"))]).expect_err("another value");
    assert_eq!(error.to_string(), r#"fold change 0 (add "$.a"): something else is there"#);
}
