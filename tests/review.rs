//! What reviewers rely on: the filters of the log against a plain reading of all of it, following it across restarts of the
//! writer, paging on a terminal.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::file::{Fixture, Ran, at, key, one_day};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use segsync::clock::Clock;
use segsync::model::{Change, ChangeOp, Op, SourceName, UnixMs};
use segsync::store::{LogFilter, Pattern, Reader, Scope, Store, VersionEntry};
use serde_json::json;

/// A running `log --follow`, which is killed with the test.
struct Following {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Following {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, lines }
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line.split_whitespace().skip(1).take(3).collect::<Vec<_>>().join(" ")
    }
}

impl Following {
    /// Ctrl-C; returns what it still printed.
    fn stop(mut self) -> String {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::INT).expect("sent");
        assert_eq!(self.child.wait().expect("ended").code(), Some(0));
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("text");
        rest
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }
}

#[tokio::test]
async fn log_follows_without_a_gap_or_a_double() {
    let file = one_day().await;
    let mut following = Following::start(file.segsync(&["log", "--follow", "--oneline", "-n", "2"]));
    assert_eq!(following.next(), "create web/old v1");
    assert_eq!(following.next(), "delete web/old v2");
    file.sees("statsig", "web/never", at("2026-02-01T11:00:00Z"), json!({"id": "never"})).await;
    file.sees("statsig", "web/old", at("2026-02-01T11:00:01Z"), json!({"id": "old"})).await;
    assert_eq!(following.next(), "create web/never v1");
    assert_eq!(following.next(), "restore web/old v3");
    // Observed before the others by a clock that was set back, and still told.
    file.sees("octave", "crm/old", at("2026-01-30T11:00:01Z"), json!({"oId": "old"})).await;
    assert_eq!(following.next(), "create crm/old v1");

    assert_eq!(following.stop(), "");
}

#[tokio::test]
async fn following_goes_on_across_writers() {
    let mut file = one_day().await;
    let mut following = Following::start(file.segsync(&["log", "--follow", "--oneline", "-n", "0", "--source", "web"]));
    for (round, name) in ["web/never", "web/old", "web/beta_users"].into_iter().enumerate() {
        // The daemon stops, and a while later another one starts.
        file.store.close().await.expect("closed");
        file.store = Store::open(file.path(), &Clock::system(), Duration::from_secs(10)).expect("opened again");
        let wall = UnixMs(at("2026-02-02").0 + i64::try_from(round).expect("small"));
        for n in 0..2 {
            file.sees("octave", "crm/sg_1", wall, json!({"oId": "sg_1", "round": round, "n": n})).await;
            file.sees("statsig", name, wall, json!({"id": name, "round": round, "n": n})).await;
        }
        for _ in 0..2 {
            let line = following.next();
            assert!(line.contains(name), "{line}");
        }
    }
    assert_eq!(following.stop(), "", "nothing twice, nothing of other sources");
}

/// A file of so many versions that a part of them is found by walking and a part by an index.
fn long_history() -> (tempfile::TempDir, Reader) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.db");
    let mut connection = rusqlite::Connection::open(&path).expect("opened");
    segsync::store::migrate::upgrade(&mut connection).expect("upgraded");
    let script = include_str!("data/long_history.sql").replace(":versions", "5000");
    connection.execute_batch(&script).expect("filled");
    (folder, Reader::open(path).expect("opened"))
}

/// Which fields are meant.
type IsMeant<'a> = &'a dyn Fn(&str) -> bool;

/// Whether a version passes, by a plain reading of the filter; `field` is told by a function.
fn passes(version: &VersionEntry, filter: &LogFilter, is_meant: IsMeant<'_>) -> bool {
    let scope = match &filter.scope {
        None => true,
        Some(Scope::Source(name)) => version.key.source == *name,
        Some(Scope::Segment(key)) => version.key == *key,
    };
    let asks_changes = filter.field.is_some() || filter.change_op.is_some();
    let is_told = |change: &Change| {
        (filter.field.is_none() || is_meant(&change.field)) && filter.change_op.is_none_or(|op| change.op == op)
    };
    scope
        && filter.since.is_none_or(|since| version.observed_at >= since)
        && filter.until.is_none_or(|until| version.observed_at < until)
        && filter.op.is_none_or(|op| version.op == op)
        && filter.by.as_ref().is_none_or(|by| version.modified_by.as_ref().is_some_and(|name| by.contains(name)))
        && !(filter.no_schema && version.cause.is_some())
        && (!asks_changes || version.changes.iter().any(is_told))
}

#[test]
fn filters_pick_what_a_plain_reading_picks() {
    let (_folder, reader) = long_history();
    let all = reader.log(&LogFilter::default()).expect("read");
    assert_eq!(all.len(), 5000);
    assert!(all.is_sorted_by_key(|version| std::cmp::Reverse((version.observed_at, version.id))));
    let fields: [(Option<&str>, IsMeant<'_>); 6] = [
        (None, &|_| true),
        (Some("rules"), &|field| field.starts_with("rules[")),
        (Some("rules*passPercentage"), &|field| field.ends_with("passPercentage")),
        (Some("*rare*"), &|field| field.contains("rare")),
        (Some("description"), &|field| field == "description"),
        (Some("data"), &|field| field == "data.ICP fit"),
    ];
    let scopes = [None, Some(Scope::Source(SourceName::new("crm"))), Some(Scope::Segment(key("web/s7")))];
    let ops = [(None, None), (Some(Op::Restore), None), (Some(Op::Update), None), (None, Some(ChangeOp::Add))];
    let middle = all[2500].observed_at;
    let times = [(None, None), (Some(middle), None), (None, Some(middle))];
    let editors = [None, Some(vec!["Zoe".to_owned()]), Some(vec!["Ana".to_owned(), "Bo".to_owned()])];
    for ((field, is_meant), scope, (op, change_op), (since, until), by, no_schema) in fields.iter().flat_map(|field| {
        let rest =
            move |scope| ops.into_iter().flat_map(move |op| times.into_iter().map(move |time| (scope, op, time)));
        let editors = &editors;
        scopes.iter().flat_map(rest).flat_map(move |(scope, op, time)| {
            editors.iter().map(move |by| (*field, scope.clone(), op, time, by.clone(), by.is_some()))
        })
    }) {
        let field = field.map(Pattern::new);
        let mut filter = LogFilter { scope, since, until, op, change_op, field, by, no_schema, ..LogFilter::default() };
        let expected: Vec<i64> =
            all.iter().filter(|version| passes(version, &filter, is_meant)).map(|version| version.id.0).collect();
        // The first pages, as the verb reads them.
        filter.limit = Some(100);
        let mut found: Vec<i64> = Vec::new();
        for _ in 0..4 {
            let page = reader.log(&filter).expect("read");
            for version in &page {
                let told = version.changes.iter().all(|change| filter.field.is_none() || is_meant(&change.field));
                assert!(told, "{filter:?}\n{version:?}");
            }
            found.extend(page.iter().map(|version| version.id.0));
            let Some(last) = page.last().filter(|_| page.len() == 100) else { break };
            filter.below = Some((last.observed_at, last.id));
        }
        assert_eq!(found, expected[..expected.len().min(400)], "{filter:?}");
    }
    assert_eq!(reader.editors().expect("read"), ["Ana", "Bo", "Zoe"]);
}

/// Runs a command on a terminal of its own; returns the exit code and what the terminal showed.
fn on_a_terminal(mut command: Command) -> (Option<i32>, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let name = ptsname(&master, Vec::new()).expect("named").into_string().expect("UTF-8");
    let open = || File::options().read(true).write(true).open(&name).expect("opened");
    let mut child = command.env("TERM", "dumb").stdin(open()).stdout(open()).stderr(open()).spawn().expect("started");
    drop(command); // its ends of the terminal
    let mut shown = Vec::new();
    let mut master = File::from(master);
    let mut part = [0; 4096];
    loop {
        match master.read(&mut part) {
            Ok(0) => break,
            Ok(count) => shown.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // How a terminal says that nobody holds its other end any more.
            Err(_) => break,
        }
    }
    let code = child.wait().expect("ended").code();
    (code, String::from_utf8(shown).expect("UTF-8").replace("\r\n", "\n"))
}

#[tokio::test]
async fn long_results_are_paged_on_terminals_only() {
    let file = one_day().await;
    let run = |args: &[&str], pager: &str| {
        let mut command = file.segsync(args);
        command.env("PAGER", pager).env("NO_COLOR", "1");
        on_a_terminal(command)
    };
    let plain = run(&["log", "--oneline"], "").1;
    assert!(plain.contains("web/beta_users  v2"), "{plain}");
    let mark = "sed s/^/paged:/";
    let paged: String = plain.lines().map(|line| format!("paged:{line}\n")).collect();
    assert_eq!(run(&["log", "--oneline"], mark), (Some(0), paged));
    for (args, pager) in [
        (&["log", "--oneline", "--no-pager"][..], mark),
        (&["log", "--oneline"], "cat"),
        (&["log", "--oneline"], "/no/such/pager"),
    ] {
        assert_eq!(run(args, pager), (Some(0), plain.clone()), "{args:?} {pager}");
    }
    for args in [&["show", "beta_users"][..], &["show", "beta_users", "--format", "json"]] {
        let (code, shown) = run(args, mark);
        assert_eq!(code, Some(0));
        assert!(shown.lines().all(|line| line.starts_with("paged:")), "{shown}");
    }
    // A pipe is never paged.
    let mut command = file.segsync(&["log", "--oneline"]);
    command.env("PAGER", mark);
    assert_eq!(Ran::of(command.output().expect("ran"), &file.path()).well(), plain);
}

#[tokio::test]
async fn a_pager_that_is_quit_early_is_no_error() {
    let file = Fixture::new(at("2026-01-31T08:00:00Z"), &[("web", "statsig", &["a"])]).await;
    // More than a pipe holds.
    for n in 0..100 {
        let text = format!("{n}").repeat(2000);
        file.sees("statsig", "web/a", at("2026-01-31T09:00:00Z"), json!({"id": "a", "text": text})).await;
    }
    let mut command = file.segsync(&["log", "--full"]);
    command.env("PAGER", "head -n 1 | cut -c 1-10");
    assert_eq!(on_a_terminal(command), (Some(0), "2026-01-31\n".to_owned()));
}

#[tokio::test]
async fn editors_are_found_by_name() {
    let file = one_day().await;
    let by = |name: &str| file.run(&["log", "--oneline", "--by", name]).well().lines().count();
    assert_eq!((by("Ana Lopez"), by("ana*"), by("BO"), by("*")), (1, 1, 1, 2));
    assert_eq!(
        file.run(&["log", "--by", "ana lopes"]).complaint(),
        (1, "segsync: no version in DB is by ana lopes; did you mean Ana Lopez?\n".to_owned())
    );
    let text = file.run(&["log", "--oneline", "--field", "rules*passPercentage"]).well();
    assert!(text.contains("rules[beta testers].passPercentage: 10 → 20  by Bo"), "{text}");
}

#[tokio::test]
async fn diff_compares_any_two_versions_rule_by_rule() {
    let file = one_day().await;
    let third = json!({
        "id": "beta_users", "name": "Beta users", "type": "rule_based", "tags": ["core"], "version": 10,
        "lastModifierName": "Cy", "lastModifiedTime": at("2026-02-01T09:00:00Z").0,
        "rules": [
            {"id": "r3", "name": "eu", "passPercentage": 1},
            {"id": "r2", "name": "beta testers", "passPercentage": 30},
            {"id": "r1", "name": "staff", "passPercentage": 100},
        ],
    });
    file.sees("statsig", "web/beta_users", at("2026-02-01T09:30:00Z"), third).await;
    let diff = |args: &[&str]| file.run(&[&["diff", "beta_users"], args].concat()).well();
    insta::assert_snapshot!(diff(&["1..3"]), @r#"
    web/beta_users  v1 → v3
      2026-01-31T09:00:00.000Z → 2026-02-01T09:30:00.000Z · 2 versions by Bo, Cy, at least 4 revisions
      lastModifiedTime: 1769788800000 → 1769936400000
      lastModifierName: "Ana Lopez" → "Cy"
    + rules[eu]: {"id":"r3","name":"eu","passPercentage":1}
      rules[beta testers]
          passPercentage: 10 → 30
          unchanged: id, name
    ~ rules[staff]: moved from 0 to 2
      version: 6 → 10
      unchanged: id, name, tags, type
    "#);
    insta::assert_snapshot!(diff(&["2"]), @r#"
    web/beta_users  v1 → v2
      2026-01-31T09:00:00.000Z → 2026-01-31T09:19:02.500Z · 1 version by Bo, at least 3 revisions
    + description: "fintech companies of 50 to 5…s in Europe and North America"
      lastModifiedTime: 1769788800000 → 1769851060000
      lastModifierName: "Ana Lopez" → "Bo"
    ~ rules[beta testers]: moved from 1 to 0
          passPercentage: 10 → 20
          unchanged: id, name
    + tags[eu]: "eu"
      version: 6 → 9
      unchanged: id, name, rules[staff], tags[core], type
    "#);
    assert_eq!(diff(&["2"]), diff(&["1..2"]));
    assert_eq!(diff(&[]), diff(&["2..3"]));
    assert_eq!(diff(&["..3"]), diff(&["v2..v3"]));
    assert_eq!(diff(&["2026-01-31T09:14:00Z..2026-02-01T09:30:00Z"]), diff(&["1.."]), "the versions that held then");
    assert_eq!(diff(&["2026-01-31T09:14:00Z"]), diff(&["1.."]));
    assert!(
        diff(&["3..1"]).contains("beta testers].passPercentage: 30 → 10")
            || diff(&["3..1"]).contains("passPercentage: 30 → 10")
    );
    assert!(diff(&["2..2"]).contains("no difference"));

    let text = diff(&["1..3", "--format", "json"]);
    let value = segsync::document::parse(&text).expect("JSON");
    assert_eq!(
        (&value["from"]["version"], &value["to"]["version"], &value["versions"]),
        (&json!(1), &json!(3), &json!(2))
    );
    assert_eq!(value["missed_revisions"], json!(2));
    let text = diff(&["1..3", "--format", "csv"]).replace("\r\n", "\n");
    insta::assert_snapshot!(text, @r#"
    source,segment,from_version,to_version,group,op,field,path,old,new
    web,beta_users,1,3,lastModifiedTime,replace,lastModifiedTime,$.lastModifiedTime,1769788800000,1769936400000
    web,beta_users,1,3,lastModifierName,replace,lastModifierName,$.lastModifierName,"""Ana Lopez""","""Cy"""
    web,beta_users,1,3,rules[eu],add,rules[eu],$.rules[0],,"{""id"":""r3"",""name"":""eu"",""passPercentage"":1}"
    web,beta_users,1,3,rules[beta testers],replace,rules[beta testers].passPercentage,$.rules[1].passPercentage,10,30
    web,beta_users,1,3,rules[staff],move,rules[staff],$.rules[2],0,2
    web,beta_users,1,3,version,replace,version,$.version,6,10
    "#);
    insta::assert_snapshot!(file.run(&["diff", "web/old"]).well(), @"
    web/old  v1 → v2
      2026-01-31T10:00:00.000Z → 2026-02-01T10:05:00.000Z · 1 version
      v2 is deleted; its last document, of v1, is compared
      no difference
    ");
    for (args, text) in [
        (&["diff", "web/old", "..1"][..], "v1 is the first version of web/old; nothing is known of the time before"),
        (&["diff", "web/old", "1..9"], "web/old has no version 9; the latest is 2"),
        (
            &["diff", "web/old", "2026-01-01.."],
            "web/old was first seen at 2026-01-31T10:00:00.000Z; nothing is known of the time before",
        ),
        (&["diff", "web/never"], "web/never is configured, but was never seen yet"),
    ] {
        assert_eq!(file.run(args).complaint(), (1, format!("segsync: {text}\n")));
    }
    assert_eq!(file.run(&["diff", "old"]).complaint().0, 2);
    let (code, text) = file.run(&["diff", "beta_users", "x..2"]).complaint();
    assert!(code == 2 && text.contains("or a version's number"), "{text}");
}

#[tokio::test]
async fn status_of_a_segment_sums_up_its_history() {
    let file = one_day().await;
    let shown = |args: &[&str]| {
        let text = file.run(&[&["status"], args].concat()).well();
        // What depends on today.
        let line = |line: &str| match line.split_once("Z, ") {
            _ if line.starts_with("edits  ") => "edits         … a week; 0 in the last 7 days\n".to_owned(),
            Some((before, after)) => format!("{before}Z, …{}\n", after.split_once(" ago").expect("an age").1),
            None => format!("{line}\n"),
        };
        text.lines().map(line).collect::<String>()
    };
    insta::assert_snapshot!(shown(&["beta_users"]), @"
    web/beta_users  present
    first seen    2026-01-31T09:00:00.000Z, …
    last changed  2026-01-31T09:19:02.500Z, …, by Bo
    last seen     2026-01-31T09:19:02.500Z, …
    versions      2 (1 create, 1 update)
    edits         … a week; 0 in the last 7 days
    editors       Ana Lopez 1, Bo 1
    missed        2 revisions that came and went between two polls
    ");
    insta::assert_snapshot!(shown(&["web/old"]), @"
    web/old  deleted
    first seen    2026-01-31T10:00:00.000Z, …
    last changed  2026-02-01T10:05:00.000Z, …
    last seen     2026-02-01T10:05:00.000Z, …
    versions      2 (1 create, 1 delete)
    edits         … a week; 0 in the last 7 days
    editors       unknown 2
    missed        no revision, as far as the provider tells
    ");
    insta::assert_snapshot!(shown(&["web/never"]), @"
    web/never  pending
    last seen  never
    ");
    let value = segsync::document::parse(&shown(&["beta_users", "--format", "json"])).expect("JSON");
    assert_eq!(value["editors"], json!([{"name": "Ana Lopez", "versions": 1}, {"name": "Bo", "versions": 1}]));
    assert_eq!((&value["missed_revisions"], &value["stale"]), (&json!(2), &json!(null)));
    let csv = shown(&["beta_users", "--format", "csv"]);
    assert_eq!(csv.lines().count(), 2);
    assert_eq!(file.run(&["status", "old"]).complaint().0, 2);
}
