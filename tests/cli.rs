//! The reading verbs as people and scripts meet them: exact text on a file with known times, exit codes, pipes, hostile names.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::file::{Fixture, at, key, one_day};
use assert_cmd::cargo::CommandCargoExt;
use segsync::clock::Clock;
use segsync::document::parse;
use segsync::model::{Outcome, PollKind, SourceName, SourceState, UnixMs};
use segsync::store::{BeginPoll, FinishPoll, Reader};
use serde_json::{Value, json};

#[tokio::test]
async fn log_shows_blocks_newest_first() {
    let file = one_day().await;
    insta::assert_snapshot!(file.run(&["log"]).well(), @r#"
    2026-02-01T10:05:00.000Z  web/old  v2  deleted
      between 2026-01-31 10:00:00 and 2026-02-01 10:05:00

    2026-01-31T10:00:00.000Z  web/old  v1  created

    2026-01-31T09:19:02.500Z  web/beta_users  v2  updated by Bo
      between 09:14:03 and 09:19:02, at least 3 revisions · modified 09:17:40 · revision 6 → 9
    + description: "fintech companies of 50 to 5…s in Europe and North America"
    ~ rules[beta testers]: moved from 1 to 0
      rules[beta testers].passPercentage: 10 → 20
    + tags[eu]: "eu"

    2026-01-31T09:01:00.000Z  crm/sg_1  v1  created

    2026-01-31T09:00:00.000Z  web/beta_users  v1  created by Ana Lopez
      modified 2026-01-30 16:00:00 · revision 6
    "#);
}

#[tokio::test]
async fn log_has_one_line_a_version() {
    let file = one_day().await;
    insta::assert_snapshot!(file.run(&["log", "--oneline"]).well(), @r#"
    2026-02-01T10:05:00.000Z  delete   web/old  v2
    2026-01-31T10:00:00.000Z  create   web/old  v1
    2026-01-31T09:19:02.500Z  update   web/beta_users  v2  +description: "fintech companies of 50 to 5…s in Europe and North America" (+3 more)  by Bo
    2026-01-31T09:01:00.000Z  create   crm/sg_1  v1
    2026-01-31T09:00:00.000Z  create   web/beta_users  v1  by Ana Lopez
    "#);
}

#[tokio::test]
async fn log_shows_all_in_full() {
    let file = one_day().await;
    insta::assert_snapshot!(file.run(&["log", "--full", "beta_users", "-n", "1"]).well(), @r#"
    2026-01-31T09:19:02.500Z  web/beta_users  v2  updated by Bo
      between 09:14:03 and 09:19:02, at least 3 revisions · modified 09:17:40 · revision 6 → 9
    + description:
        + "fintech companies of 50 to 500 people that sell to other companies in Europe and North America"
      lastModifiedTime: 1769788800000 → 1769851060000
      lastModifierName: "Ana Lopez" → "Bo"
    ~ rules[beta testers]: moved from 1 to 0
      rules[beta testers].passPercentage: 10 → 20
    + tags[eu]: "eu"
      version: 6 → 9
    "#);
}

#[tokio::test]
async fn log_is_json_a_line() {
    let file = one_day().await;
    let text = file.run(&["log", "--format", "json", "beta_users", "-n1"]).well();
    insta::assert_snapshot!(text, @r#"{"observed_at":"2026-01-31T09:19:02.500Z","changed_after":"2026-01-31T09:14:03.000Z","source":"web","segment":"beta_users","version":2,"op":"update","cause":null,"valid_to":null,"modified_at":"2026-01-31T09:17:40.000Z","modified_by":"Bo","revision":9,"revision_before":6,"missed_revisions":2,"changes":[{"op":"add","field":"description","path":"$.description","new":"fintech companies of 50 to 500 people that sell to other companies in Europe and North America"},{"op":"replace","field":"lastModifiedTime","path":"$.lastModifiedTime","old":1769788800000,"new":1769851060000},{"op":"replace","field":"lastModifierName","path":"$.lastModifierName","old":"Ana Lopez","new":"Bo"},{"op":"move","field":"rules[beta testers]","path":"$.rules[0]","old":1,"new":0},{"op":"replace","field":"rules[beta testers].passPercentage","path":"$.rules[0].passPercentage","old":10,"new":20},{"op":"add","field":"tags[eu]","path":"$.tags[1]","new":"eu"},{"op":"replace","field":"version","path":"$.version","old":6,"new":9}]}"#);
    let all = file.run(&["log", "--format", "json"]).well();
    let versions: Vec<Value> = all.lines().map(|line| parse(line).expect("JSON")).collect();
    let segments: Vec<&Value> = versions.iter().map(|version| &version["segment"]).collect();
    assert_eq!(segments, ["old", "old", "beta_users", "sg_1", "beta_users"]);
}

#[tokio::test]
async fn log_tells_null_from_absent() {
    let file = Fixture::new(at("2026-01-31T08:00:00Z"), &[("web", "statsig", &["a"])]).await;
    file.sees("statsig", "web/a", at("2026-01-31T09:00:00Z"), json!({"id": "a", "x": null, "n": 1})).await;
    file.sees("statsig", "web/a", at("2026-01-31T09:01:00Z"), json!({"id": "a", "y": null, "n": "1"})).await;
    let text = file.run(&["log", "--format", "json", "-n1"]).well();
    let changes = parse(&text).expect("JSON")["changes"].clone();
    let expected = json!([
        {"op": "replace", "field": "n", "path": "$.n", "old": 1, "new": "1"},
        {"op": "remove", "field": "x", "path": "$.x", "old": null},
        {"op": "add", "field": "y", "path": "$.y", "new": null},
    ]);
    assert_eq!(changes, expected);
    insta::assert_snapshot!(file.run(&["log", "-n1"]).well(), @r#"
    2026-01-31T09:01:00.000Z  web/a  v2  updated
      between 09:00:00 and 09:01:00
      n: 1 → "1"
    - x: null
    + y: null
    "#);
}

#[tokio::test]
async fn log_is_csv_a_change() {
    let file = one_day().await;
    let text = file.run(&["log", "--format", "csv", "--source", "web"]).well();
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    insta::assert_snapshot!(text.replace("\r\n", "\n"), @r#"
    observed_at,changed_after,source,segment,version,version_op,op,field,path,old,new,modified_at,modified_by,revision
    2026-02-01T10:05:00.000Z,2026-01-31T10:00:00.000Z,web,old,2,delete,delete,,,,,,,
    2026-01-31T10:00:00.000Z,,web,old,1,create,create,,,,,,,
    2026-01-31T09:19:02.500Z,2026-01-31T09:14:03.000Z,web,beta_users,2,update,add,description,$.description,,"""fintech companies of 50 to 500 people that sell to other companies in Europe and North America""",2026-01-31T09:17:40.000Z,Bo,9
    2026-01-31T09:19:02.500Z,2026-01-31T09:14:03.000Z,web,beta_users,2,update,replace,lastModifiedTime,$.lastModifiedTime,1769788800000,1769851060000,2026-01-31T09:17:40.000Z,Bo,9
    2026-01-31T09:19:02.500Z,2026-01-31T09:14:03.000Z,web,beta_users,2,update,replace,lastModifierName,$.lastModifierName,"""Ana Lopez""","""Bo""",2026-01-31T09:17:40.000Z,Bo,9
    2026-01-31T09:19:02.500Z,2026-01-31T09:14:03.000Z,web,beta_users,2,update,move,rules[beta testers],$.rules[0],1,0,2026-01-31T09:17:40.000Z,Bo,9
    2026-01-31T09:19:02.500Z,2026-01-31T09:14:03.000Z,web,beta_users,2,update,replace,rules[beta testers].passPercentage,$.rules[0].passPercentage,10,20,2026-01-31T09:17:40.000Z,Bo,9
    2026-01-31T09:19:02.500Z,2026-01-31T09:14:03.000Z,web,beta_users,2,update,add,tags[eu],$.tags[1],,"""eu""",2026-01-31T09:17:40.000Z,Bo,9
    2026-01-31T09:19:02.500Z,2026-01-31T09:14:03.000Z,web,beta_users,2,update,replace,version,$.version,6,9,2026-01-31T09:17:40.000Z,Bo,9
    2026-01-31T09:00:00.000Z,,web,beta_users,1,create,create,,,,,2026-01-30T16:00:00.000Z,Ana Lopez,6
    "#);
}

#[tokio::test]
async fn log_picks_what_was_asked_for() {
    let file = one_day().await;
    let picked = |args: &[&str]| {
        let args: Vec<&str> = ["log", "--oneline"].into_iter().chain(args.iter().copied()).collect();
        let out = file.run(&args).well();
        let columns = |line: &str| line.split_whitespace().skip(1).take(3).collect::<Vec<_>>().join(" ");
        out.lines().map(columns).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(picked(&["--since", "2026-01-31T10:00:00Z"]), "delete web/old v2, create web/old v1");
    assert_eq!(picked(&["--until", "2026-01-31T09:01:00Z"]), "create web/beta_users v1", "the end is not in it");
    assert_eq!(picked(&["--since", "2026-02-01", "--until", "2026-02-02"]), "delete web/old v2");
    assert_eq!(picked(&["--op", "update"]), "update web/beta_users v2");
    assert_eq!(picked(&["--op", "move", "web/beta_users"]), "update web/beta_users v2");
    assert_eq!(picked(&["--source", "crm"]), "create crm/sg_1 v1");
    assert_eq!(picked(&["--source", "web", "old", "-n", "1"]), "delete web/old v2");
    assert_eq!(picked(&["--field", "rules"]), "update web/beta_users v2");
    let ran = file.run(&["log", "--field", "rule"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "", "no versions match\n"));
    assert_eq!(file.run(&["log", "--since", "1h", "--format", "json"]).well(), "");
    insta::assert_snapshot!(file.run(&["log", "--field", "rules", "--op", "replace"]).well(), @"
    2026-01-31T09:19:02.500Z  web/beta_users  v2  updated by Bo
      between 09:14:03 and 09:19:02, at least 3 revisions · modified 09:17:40 · revision 6 → 9
      rules[beta testers].passPercentage: 10 → 20
    ");
    insta::assert_snapshot!(file.run(&["log", "--field", "version"]).well(), @"
    2026-01-31T09:19:02.500Z  web/beta_users  v2  updated by Bo
      between 09:14:03 and 09:19:02, at least 3 revisions · modified 09:17:40 · revision 6 → 9
      version: 6 → 9
    ");
}

#[tokio::test]
async fn log_reads_long_histories_page_by_page() {
    let file = Fixture::new(at("2026-01-31T08:00:00Z"), &[("web", "statsig", &["a"])]).await;
    // Three to a moment, so that pages end between versions of the same time.
    for n in 0..1103_i64 {
        let wall = UnixMs(at("2026-01-31T09:00:00Z").0 + n / 3);
        file.sees("statsig", "web/a", wall, json!({"id": "a", "n": n})).await;
    }
    let seen = |args: &[&str]| {
        let out = file.run(args).well();
        let number = |line: &str| parse(line).expect("JSON")["version"].as_i64().expect("a number");
        out.lines().map(number).collect::<Vec<_>>()
    };
    assert_eq!(seen(&["log", "--format", "json"]), (1..=1103).rev().collect::<Vec<_>>());
    assert_eq!(seen(&["log", "--format", "json", "-n", "700"]), (404..=1103).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn unknown_names_get_a_hint() {
    let file = one_day().await;
    insta::assert_snapshot!(complaint(&file, &["log", "beta_user"]), @"1: segsync: no segment beta_user is in DB; did you mean web/beta_users?");
    insta::assert_snapshot!(complaint(&file, &["show", "wbe/beta_users"]), @"1: segsync: no segment wbe/beta_users is in DB; did you mean web/beta_users?");
    insta::assert_snapshot!(complaint(&file, &["show", "zzz"]), @"1: segsync: no segment zzz is in DB");
    insta::assert_snapshot!(complaint(&file, &["show", "old"]), @"2: segsync: old is in several sources; say which: crm/old, web/old");
    insta::assert_snapshot!(complaint(&file, &["log", "--source", "wbe"]), @"1: segsync: no source wbe is in DB; it holds web, crm");
    insta::assert_snapshot!(complaint(&file, &["show", "web/never"]), @"1: segsync: web/never is configured, but was never seen yet");
    insta::assert_snapshot!(complaint(&file, &["show", "web/old", "--version", "3"]), @"1: segsync: web/old has no version 3; the latest is 2");
    insta::assert_snapshot!(complaint(&file, &["show", "web/old", "--at", "2026-01-31T09:59:59Z"]), @"1: segsync: web/old was first seen at 2026-01-31T10:00:00.000Z; nothing is known of the time before");
    insta::assert_snapshot!(complaint(&file, &["show", "web/old", "--format", "csv"]), @"2: segsync: a document has no rows: show it with --format text or json");
    let (code, text) = file.run(&["log", "--since", "yesterday"]).complaint();
    assert_eq!(code, 2);
    assert!(text.contains("'yesterday' for '--since <TIME>': write a time like"), "{text}");
    let (code, text) = file.run(&["log", "--op", "updat"]).complaint();
    assert_eq!(code, 2);
    assert!(text.contains("create, update, delete, restore, add, remove, replace, move"), "{text}");
}

fn complaint(file: &Fixture, args: &[&str]) -> String {
    let (code, text) = file.run(args).complaint();
    format!("{code}: {text}")
}

#[tokio::test]
async fn show_prints_a_document_as_of_any_time() {
    let file = one_day().await;
    let shown = |args: &[&str]| {
        let args: Vec<&str> = ["show"].into_iter().chain(args.iter().copied()).collect();
        without_ages(&file.run(&args).well())
    };
    insta::assert_snapshot!(shown(&["beta_users"]), @r#"
    web/beta_users  v2, the latest, present
    valid from 2026-01-31T09:19:02.500Z
    modified 2026-01-31T09:17:40.000Z by Bo
    revision 9
    checked 2026-01-31T09:19:02.500Z, … ago

    {
      "description": "fintech companies of 50 to 500 people that sell to other companies in Europe and North America",
      "id": "beta_users",
      "lastModifiedTime": 1769851060000,
      "lastModifierName": "Bo",
      "name": "Beta users",
      "rules": [
        {
          "id": "r2",
          "name": "beta testers",
          "passPercentage": 20
        },
        {
          "id": "r1",
          "name": "staff",
          "passPercentage": 100
        }
      ],
      "tags": [
        "core",
        "eu"
      ],
      "type": "rule_based",
      "version": 9
    }
    "#);
    insta::assert_snapshot!(shown(&["web/old"]), @r#"
    web/old  v2, the latest, deleted
    valid from 2026-02-01T10:05:00.000Z
    checked 2026-02-01T10:05:00.000Z, … ago
    it is gone; this is its last document, of v1:

    {
      "id": "old",
      "name": "Old"
    }
    "#);
    assert_eq!(shown(&["beta_users", "--version", "1"]), shown(&["beta_users", "--at", "2026-01-31T09:19:02.499Z"]));
    assert_eq!(shown(&["beta_users", "--version", "2"]), shown(&["beta_users", "--at", "2026-01-31T09:19:02.500Z"]));
    insta::assert_snapshot!(shown(&["web/old", "--at", "2026-01-31T10:00:00Z"]), @r#"
    web/old  v1 of 2, present
    valid from 2026-01-31T10:00:00.000Z until 2026-02-01T10:05:00.000Z
    checked 2026-02-01T10:05:00.000Z, … ago

    {
      "id": "old",
      "name": "Old"
    }
    "#);
}

/// How long ago the fixed times of a test are depends on the day.
fn without_ages(text: &str) -> String {
    let line = |line: &str| match line.split_once("Z, ") {
        Some((before, age)) if age.ends_with(" ago") => format!("{before}Z, … ago\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[tokio::test]
async fn show_prints_exact_bytes_as_json() {
    let file = Fixture::new(at("2026-01-31T08:00:00Z"), &[("web", "statsig", &["a"])]).await;
    // DEL, a control sequence introducer and a direction mark may stand in JSON as they are.
    let odd = json!({"id": "a", "n": 12345678901234567890_u64, "s": "\u{7f}\u{9b}31m\u{202e}é\u{1b}[0m"});
    file.sees("statsig", "web/a", at("2026-01-31T09:00:00Z"), odd).await;
    let reader = Reader::open(file.path()).expect("open");
    let stored = reader.version(&key("web/a"), segsync::store::At::Latest).expect("read").expect("there");
    let stored = stored.document.expect("a document");
    assert!(stored.contains('\u{7f}') && stored.contains('\u{9b}') && stored.contains('\u{202e}'));
    assert_eq!(file.run(&["show", "a", "--format", "json"]).well(), format!("{stored}\n"));
    let text = file.run(&["show", "a"]).well();
    assert!(text.contains(r#""s": "\u007f\u009b31m\u202eé\u001b[0m""#), "{text}");

    file.misses("web/a", at("2026-01-31T10:00:00Z")).await;
    let ran = file.run(&["show", "a", "--format", "json"]);
    assert_eq!((ran.code, ran.out), (Some(0), format!("{stored}\n")));
    assert_eq!(ran.err, "web/a: deleted; this is its last document\n");
}

#[tokio::test]
async fn hostile_names_do_nothing() {
    let file = Fixture::new(at("2026-01-31T08:00:00Z"), &[("web", "statsig", &["\u{1b}[2J"])]).await;
    let hostile = |n: i32| json!({"id": "x", "lastModifierName": "=cmd()\u{1b}]0;x\u{7}\r\nweb/a", "=1+1\u{9b}": n});
    file.sees("statsig", "web/\u{1b}[2J", at("2026-01-31T09:00:00Z"), hostile(-1)).await;
    file.sees("statsig", "web/\u{1b}[2J", at("2026-01-31T09:01:00Z"), hostile(-2)).await;
    let runs: [&[&str]; 7] = [
        &["log"],
        &["log", "--full"],
        &["log", "--oneline"],
        &["log", "--format", "json"],
        &["log", "--format", "csv"],
        &["show", "\u{1b}[2J"],
        &["status", "--format", "csv"],
    ];
    for args in runs {
        let out = file.run(args).well();
        assert!(!out.contains(['\u{1b}', '\u{7}', '\u{9b}']), "{args:?}: {out:?}");
        assert!(out.contains("[2J"), "{args:?}: {out:?}");
    }
    insta::assert_snapshot!(file.run(&["log", "--format", "csv", "-n1"]).well().replace("\r\n", "\n"), @r#"
    observed_at,changed_after,source,segment,version,version_op,op,field,path,old,new,modified_at,modified_by,revision
    2026-01-31T09:01:00.000Z,2026-01-31T09:00:00.000Z,web,\u{1b}[2J,2,update,replace,"""=1+1\u{9b}""","$.""=1+1\u{9b}""",'-1,'-2,,'=cmd()\u{1b}]0;x\u{7}\u{d}\u{a}web/a,
    "#);
}

#[tokio::test]
async fn colour_is_for_terminals_or_on_demand() {
    let file = one_day().await;
    for args in [&["log"][..], &["log", "--oneline"], &["status"], &["show", "beta_users"]] {
        assert!(!file.run(args).well().contains('\u{1b}'), "{args:?}");
    }
    assert!(file.run(&["log", "--color", "always"]).well().contains("\u{1b}["));
}

#[tokio::test]
async fn a_closed_pipe_is_no_error() {
    let file = Fixture::new(at("2026-01-31T08:00:00Z"), &[("web", "statsig", &["a"])]).await;
    // More than a pipe holds.
    for n in 0..100 {
        let text = format!("{n}").repeat(2000);
        file.sees("statsig", "web/a", at("2026-01-31T09:00:00Z"), json!({"id": "a", "text": text})).await;
    }
    for args in [&["log", "--full"][..], &["log", "--format", "json"], &["log", "--full", "--follow"]] {
        let mut child = file.segsync(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        let mut first = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut first).expect("a line");
        assert!(!first.is_empty());
        let output = child.wait_with_output().expect("ended");
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{args:?}");
    }
}

/// A configuration of such sources, half of whose `limits` are ours; stale after three times `every`.
fn configuration(file: &Fixture, sources: &[(&str, &str, &[&str])], every: &str, limits: &str) {
    let mut text = format!("[store]\npath = {:?}\n[poll]\nevery = {every:?}\n", file.path());
    for (name, provider, ids) in sources {
        text += &format!(
            "[[source]]\nname = {name:?}\nprovider = {provider:?}\nbase_url = \"http://127.0.0.1:9\"\n\
             api_key = {{ env = \"KEY_{provider}\" }}\nlimits = {limits}\nshare = 0.5\nsegments = {ids:?}\n",
        )
        .replace("KEY_statsig", "KEY_S")
        .replace("KEY_octave", "KEY_O");
    }
    std::fs::write(file.folder.path().join("segsync.toml"), text).expect("written");
}

const LIMITS: &str = "[{ requests = 100, per = \"10s\" }, { requests = 900, per = \"15m\" }]";

/// The machine's time, a while ago.
fn ago(span: &str) -> UnixMs {
    Clock::system().now().wall.minus(humantime::parse_duration(span).expect("a span"))
}

/// Columns that hold times of this run.
fn masked(text: &str, times: &[UnixMs]) -> String {
    times.iter().fold(text.to_owned(), |text, time| text.replace(&time.to_string(), "TIME····················"))
}

#[tokio::test]
async fn status_tells_that_all_is_fresh() {
    let sources: &[(&str, &str, &[&str])] = &[("web", "statsig", &["a", "b"]), ("crm", "octave", &["sg"])];
    let (declared, checked) = (ago("90m"), ago("30s"));
    let file = Fixture::new(declared, sources).await;
    configuration(&file, sources, "1h", LIMITS);
    for (provider, name) in [("statsig", "web/a"), ("statsig", "web/b"), ("octave", "crm/sg")] {
        file.sees(provider, name, checked, json!({"id": name})).await;
    }
    file.misses("web/b", checked).await;
    let ran = file.run(&["status"]);
    let text = masked(&ran.well(), &[declared]);
    let own = std::process::id();
    let text = text.replace(&format!("pid {own}"), "pid OWN").replace(&text[seconds(&text)..], "N s ago\n");
    insta::assert_snapshot!(text, @"
    DB: segsync is running on this file (pid OWN)

    SOURCE  PROVIDER  STATE  SINCE                     TRACKED  PRESENT  DELETED  PENDING
    web     statsig   ok     TIME····················  2        1        1        0
    crm     octave    ok     TIME····················  1        1        0        0

    requests of web: 0/50 in 10s, 3/450 in 15m
    requests of crm: 0/50 in 10s, 1/450 in 15m
    3 of 3 segments are fresh; the oldest answer is of crm/sg, N s ago
    ");

    file.store.close().await.expect("closed");
    let json = parse(&file.run(&["status", "--format", "json"]).well()).expect("JSON");
    assert_eq!(json["daemon"], json!({"running": false, "pid": null}));
    assert_eq!((&json["tracked"], &json["fresh"], &json["stale"]), (&json!(3), &json!(3), &json!(0)));
    assert_eq!(json["budgets"][1]["limits"][1], json!({"limit": {"requests": 450, "per": "15m"}, "used": 1}));
    assert_eq!(json["segments"][0]["stale_after_seconds"], json!(10800));
}

/// Where the last age in seconds begins: it moves on while the test runs.
fn seconds(text: &str) -> usize {
    let end = text.rfind(" s ago").expect("an age in seconds");
    text[..end].rfind(' ').map_or(0, |at| at + 1)
}

#[tokio::test]
async fn status_ends_with_3_when_something_is_stale_or_refused() {
    let sources: &[(&str, &str, &[&str])] = &[("web", "statsig", &["a", "b", "c"]), ("crm", "octave", &["sg", "new"])];
    let (declared, early) = (ago("30h"), ago("210m"));
    let file = Fixture::new(declared, sources).await;
    configuration(&file, &[("web", "statsig", &["a", "b", "c", "d"]), sources[1]], "1h", LIMITS);
    file.sees("statsig", "web/a", early, json!({"id": "a"})).await;
    file.sees("statsig", "web/b", ago("150m"), json!({"id": "b"})).await;
    file.poll("web/b", ago("10s"), Outcome::Failed, None, Some("HTTP 503, the provider failed")).await;
    let stale = file.run(&["status"]);
    assert_eq!((stale.code, stale.err.as_str()), (Some(3), ""));

    file.poll("crm/sg", early, Outcome::Unauthorized, None, Some("HTTP 401, the key was refused")).await;
    let ran = file.run(&["status"]);
    assert_eq!(ran.code, Some(3));
    let text = masked(&ran.out, &[declared, early]).replace(&format!("pid {}", std::process::id()), "pid OWN");
    insta::assert_snapshot!(text, @"
    DB: segsync is running on this file (pid OWN)

    SOURCE  PROVIDER  STATE         SINCE                     TRACKED  PRESENT  DELETED  PENDING
    web     statsig   ok            TIME····················  3        2        0        1
    crm     octave    unauthorized  TIME····················  2        0        0        2

    requests of web: 0/50 in 10s, 1/450 in 15m
    requests of crm: 0/50 in 10s, 0/450 in 15m
    1 of 5 segments are fresh; the oldest answer is of web/a, 3 h ago
    configured, but not taken up by a daemon yet: 1

    SEGMENT  CHECKED          STALE AFTER  FAILURES  LAST ERROR
    web/c    never (stale)    3 h          0         none
    crm/sg   never (stale)    3 h          0         HTTP 401, the key was refused
    crm/new  never (stale)    3 h          0         none
    web/a    3 h ago (stale)  3 h          0         none
    web/b    2 h ago          3 h          1         HTTP 503, the provider failed

    2 of 3 segments are stale: web/c, web/a. `journalctl -u segsync SEGSYNC_SEGMENT=c` tells what happened to the first.
    crm has been unauthorized for 3 h: HTTP 401, the key was refused. The provider rejected the key in environment variable KEY_O; set it to a valid key and restart the service. Until then nothing of it is polled, apart from one request every 5 minutes, and nothing is deleted.
    2 of 2 segments are stale: crm/sg, crm/new. They follow once their source answers again.
    ");
    let check = file.run(&["status", "--check"]);
    let line = "NOT WELL: crm unauthorized for 3 h; 4 of 5 segments stale (web/c and others)\n";
    assert_eq!((check.code, check.out.as_str()), (Some(3), line));
    let quiet = file.run(&["status", "-q"]);
    assert_eq!((quiet.code, quiet.out.as_str()), (Some(3), ""));
}

#[tokio::test]
async fn status_without_a_configuration_does_not_guess() {
    let file = one_day().await;
    let text = file.run(&["status"]).well();
    assert!(text.contains("5 segments; the oldest answer is of crm/sg_1, "), "{text}");
    assert!(text.ends_with("; without a configuration nobody knows what is stale\n"), "{text}");
    assert!(!text.contains("fresh"), "{text}");
    let json = parse(&file.run(&["status", "--format", "json"]).well()).expect("JSON");
    assert_eq!((&json["fresh"], &json["stale"], &json["budgets"]), (&Value::Null, &Value::Null, &json!([])));
    assert_eq!(json["well"], json!(true));
    let csv = file.run(&["status", "--format", "csv"]).well();
    assert!(csv.contains("\r\nweb,never,pending,0,,,,,,0,\r\n"), "{csv}");

    // A configuration of another database tells nothing about this one.
    let other = one_day().await;
    configuration(&other, &[("web", "statsig", &["old"])], "1h", LIMITS);
    let toml = "segsync.toml";
    std::fs::copy(other.folder.path().join(toml), file.folder.path().join(toml)).expect("copied");
    assert!(!file.run(&["status"]).well().contains("fresh"));
    assert_eq!(file.run(&["status", "-c", toml]).code, Some(3), "unless it is named");

    file.poll("crm/sg_1", ago("1m"), Outcome::Unauthorized, None, Some("HTTP 401, the key was refused")).await;
    let ran = file.run(&["status"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(3), ""));
    assert!(ran.out.contains("crm has been unauthorized for "), "{}", ran.out);
}

#[tokio::test]
async fn status_takes_the_stretch_into_account() {
    let ids: Vec<String> = (0..20).map(|n| format!("s{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let sources: &[(&str, &str, &[&str])] = &[("web", "statsig", &ids)];
    let file = Fixture::new(ago("2h"), sources).await;
    // Half of 20 requests in 10 minutes for 20 segments that wish one each minute: one in 20 minutes; stale after an hour.
    configuration(&file, sources, "1m", "[{ requests = 20, per = \"10m\" }]");
    for id in &ids {
        file.sees("statsig", &format!("web/{id}"), ago("50m"), json!({"id": id})).await;
    }
    let text = file.run(&["status"]).well();
    assert!(text.contains("20 of 20 segments are fresh"), "{text}");
    assert!(text.contains("requests of web: 0/10 in 10m"), "{text}");
    let json = parse(&file.run(&["status", "--format", "json"]).well()).expect("JSON");
    assert_eq!(json["segments"][0]["stale_after_seconds"], json!(3600));
}

#[tokio::test]
async fn status_tells_what_each_account_waits_for() {
    let sources: &[(&str, &str, &[&str])] = &[("web", "statsig", &["a", "b"]), ("crm", "octave", &["sg"])];
    let file = Fixture::new(ago("2h"), sources).await;
    configuration(&file, sources, "1m", "[{ requests = 2, per = \"10m\" }]");
    let hold = |source: &str, kept: UnixMs| {
        let (source, segment) = (file.sources[&SourceName::new(source)], None);
        let (store, now) = (file.store.clone(), Clock::system().now());
        async move {
            let begin = BeginPoll { source, segment, kind: PollKind::Sweep, now };
            let poll = store.begin_poll(begin).await.expect("begun");
            let end = FinishPoll {
                poll,
                now,
                outcome: Outcome::Throttled,
                http_status: Some(429),
                bytes: None,
                usage: None,
                error: Some("HTTP 429, too many requests".to_owned()),
                segments: Vec::new(),
                source_state: Some((SourceState::Held, Some("HTTP 429, too many requests".to_owned()))),
                held_until: Some(kept),
                pace: Some(0.7),
            };
            store.finish_poll(end).await.expect("finished");
        }
    };
    // One hold goes on for 3.5 minutes, the other is over.
    let until = Clock::system().now().wall.plus(Duration::from_secs(210));
    hold("web", until).await;
    hold("crm", ago("10s")).await;
    let text = file.run(&["status"]).out;
    // One request in ten minutes for each account. Two segments that wish for one a minute stretch 20 times by themselves;
    // the list of two is one page.
    let line =
        |source: &str| text.lines().find(|line| line.starts_with(&format!("requests of {source}"))).expect("a line");
    assert_eq!(
        line("web"),
        "requests of web: 1/1 in 10m; held for another 3 min; pace 70 %; intervals stretched 10.00 times"
    );
    assert_eq!(line("crm"), "requests of crm: 1/1 in 10m; pace 70 %; intervals stretched 10.00 times");
    let json = parse(&file.run(&["status", "--format", "json"]).out).expect("JSON");
    assert_eq!((&json["budgets"][0]["held_until"], &json["budgets"][1]["held_until"]), (&json!(until), &Value::Null));
    assert_eq!(json["budgets"][0]["pace"].as_f64(), Some(0.7));
    assert_eq!(json["budgets"][0]["stretch"]["promises"].as_f64(), Some(1.0));
    assert!(json["budgets"][0]["stretch"]["wishes"].as_f64().is_some_and(|times| (times - 10.0).abs() < 1e-6));
}

#[test]
fn a_missing_file_is_told_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    for verb in [&["log"][..], &["status"], &["show", "a"]] {
        let mut command = Command::cargo_bin("segsync").expect("built");
        let output = command.args(verb).arg("--db").arg(folder.path().join("no.db")).output().expect("ran");
        let err = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1));
        assert!(err.starts_with("segsync: failed to open ") && err.contains("there is no database yet"), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

#[test]
fn every_help_has_examples() {
    let verbs: [&[&str]; 11] = [
        &[],
        &["log"],
        &["show"],
        &["status"],
        &["plan"],
        &["run"],
        &["sync"],
        &["config"],
        &["demo"],
        &["man"],
        &["completions"],
    ];
    for verb in verbs {
        let output = Command::cargo_bin("segsync").expect("built").args(verb).arg("--help").output().expect("ran");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success() && text.contains("Examples:\n  segsync "), "{verb:?}: {text}");
        assert!(text.lines().all(|line| line.chars().count() <= 122), "{verb:?}: {text}");
    }
}

#[test]
fn the_manual_and_the_completions_name_every_verb() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |args: &[&str]| {
        let output = Command::cargo_bin("segsync").expect("built").args(args).output().expect("ran");
        assert!(output.status.success(), "{args:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let page = run(&["man"]);
    assert!(page.contains(".TH segsync 1") && page.contains("segsync\\-status(1)"), "{page}");
    assert_eq!(run(&["man", "--dir", folder.path().to_str().expect("UTF-8")]), "");
    assert!(!folder.path().join("segsync-help.1").exists());
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        for verb in ["run", "sync", "status", "log", "show", "plan", "config", "demo", "man", "completions"] {
            assert!(script.contains(verb), "{shell}: {verb}");
            assert!(folder.path().join(format!("segsync-{verb}.1")).exists(), "{verb}");
        }
    }
}
