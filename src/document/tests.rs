//! What a canonical document is, sentence by sentence. Nothing here reads a vendor's file.

use super::*;

const SHAPE: Shape = Shape {
    volatile: &["_metadata"],
    sets: &[&["tags"], &["deep", "set"]],
    keyed: &[],
    wrapped: &[&["rules"], &["deep", "one"]],
    stamps: &[],
};

#[track_caller]
fn document(json: &str) -> Document {
    Document::new(parse(json).expect("JSON"), &SHAPE, &[])
}

#[track_caller]
fn without(json: &str, paths: &[&str]) -> String {
    let ignore: Vec<Path> = paths.iter().map(|path| Path::parse(path).expect("a path")).collect();
    Document::new(parse(json).expect("JSON"), &SHAPE, &ignore).text().to_owned()
}

#[test]
fn keys_are_sorted_by_code_point_and_unknown_ones_kept() {
    let text = r#"{ "b": {"é": 1, "z": 2, "😀": 3, "\uffee": 4, "Z": 5}, "": null, "a.b": [ {"y": 1, "x": 2} ] }"#;
    assert_eq!(
        document(text).text(),
        "{\"\":null,\"a.b\":[{\"x\":2,\"y\":1}],\"b\":{\"Z\":5,\"z\":2,\"é\":1,\"\u{ffee}\":4,\"😀\":3}}"
    );
}

#[test]
fn numbers_are_equal_by_value() {
    assert_eq!(
        document("[1.0,1e0,-0.0,0.50,1E400,12345678901234567890123]").text(),
        "[1,1,0,0.5,1e+400,12345678901234567890123]"
    );
    assert_eq!(document(r#"{"a":1.0}"#), document(r#"{"a":10e-1}"#));
    assert_ne!(document("12345678901234567890"), document("12345678901234567891"));
}

#[test]
fn empty_things_stay_different() {
    let texts = [r#"{"a":null}"#, "{}", r#"{"a":[]}"#, r#"{"a":""}"#, r#"{"a":{}}"#, r#"{"a":0}"#, r#"{"a":false}"#];
    let hashes: BTreeSet<[u8; 32]> = texts.iter().map(|text| *document(text).hash()).collect();
    assert_eq!(hashes.len(), texts.len());
    assert!(texts.iter().all(|text| document(text).text() == *text));
}

#[test]
fn sets_are_sorted_with_their_duplicates_and_other_arrays_are_not() {
    let text =
        r#"{"tags":["b","a",10,9,1.0,"a",{"y":1,"x":2}],"deep":{"set":[2,1]},"list":["b","a"],"x":{"tags":[2,1]}}"#;
    assert_eq!(
        document(text).text(),
        r#"{"deep":{"set":[1,2]},"list":["b","a"],"tags":["a","a","b",1,10,9,{"x":2,"y":1}],"x":{"tags":[2,1]}}"#
    );
    assert_eq!(document(r#"{"tags":{"b":1}}"#).text(), r#"{"tags":{"b":1}}"#);
}

#[test]
fn an_object_for_an_array_is_wrapped_once() {
    assert_eq!(document(r#"{"rules":{"id":"1"}}"#).text(), r#"{"rules":[{"id":"1"}]}"#);
    assert_eq!(document(r#"{"rules":[{"id":"1"}]}"#).text(), r#"{"rules":[{"id":"1"}]}"#);
    assert_eq!(document(r#"{"rules":null,"deep":{"one":{}}}"#).text(), r#"{"deep":{"one":[{}]},"rules":null}"#);
}

#[test]
fn volatile_members_are_left_out_of_the_root_only() {
    assert_eq!(document(r#"{"_metadata":{"requestId":1},"a":{"_metadata":1}}"#).text(), r#"{"a":{"_metadata":1}}"#);
    assert_eq!(document(r#"["_metadata"]"#).text(), r#"["_metadata"]"#);
}

#[test]
fn ignored_paths_are_taken_out_and_nothing_else() {
    let json = r#"{"a":1,"b":{"c":2,"d":3},"rules":[{"n":1,"k":1},{"n":2},3],"o.d":4}"#;
    assert_eq!(without(json, &["$.a", "$.b.c"]), r#"{"b":{"d":3},"o.d":4,"rules":[{"k":1,"n":1},{"n":2},3]}"#);
    assert_eq!(without(json, &["$.rules[*].n", "$.b", "$.a"]), r#"{"o.d":4,"rules":[{"k":1},{},3]}"#);
    assert_eq!(
        without(json, &["$.rules[0]", "$.rules[1].n", "$.rules[2]", "$.b", "$.a", "$.\"o.d\""]),
        r#"{"rules":[{}]}"#
    );
    assert_eq!(without(json, &["$.rules[*]", "$.rules[0].n", "$.a", "$.b", "$.b.c"]), r#"{"o.d":4,"rules":[]}"#);
    let same = document(json).text().to_owned();
    assert_eq!(without(json, &["$", "$.a.b", "$.nowhere", "$[0]", "$[*]", "$.rules.n", "$.rules[9]", "$.b[*]"]), same);
}

#[test]
fn ignored_paths_speak_of_the_document() {
    assert_eq!(without(r#"{"rules":{"a":1,"b":2}}"#, &["$.rules[*].a"]), r#"{"rules":[{"b":2}]}"#);
    let first = without(r#"{"tags":[{"at":1,"t":"b"},{"at":2,"t":"a"}]}"#, &["$.tags[*].at"]);
    assert_eq!(first, without(r#"{"tags":[{"at":3,"t":"a"},{"at":4,"t":"b"}]}"#, &["$.tags[*].at"]));
    assert_eq!(first, r#"{"tags":[{"t":"a"},{"t":"b"}]}"#);
}

#[test]
fn the_hash_is_blake3_of_the_text() {
    let document = document(r#"{"b":1.0,"a":[]}"#);
    assert_eq!(document.hash(), blake3::hash(br#"{"a":[],"b":1}"#).as_bytes());
    let stored = Document::stored(document.text()).expect("JSON");
    assert_eq!((stored.value(), stored.text(), stored.hash()), (document.value(), document.text(), document.hash()));
    assert!(Arc::ptr_eq(document.value(), document.clone().value()));
}

#[test]
fn a_stored_text_is_kept_as_it_is() {
    let stored = Document::stored("{\"a\": 1.0}").expect("JSON");
    assert_eq!(stored.text(), "{\"a\": 1.0}");
    assert_eq!(stored.value().to_string(), r#"{"a":1}"#);
    let error = Document::stored("{").expect_err("no JSON");
    assert_eq!(error.to_string(), "read a stored document: EOF while parsing an object at line 1 column 1");
}
