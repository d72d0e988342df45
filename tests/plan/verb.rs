//! The verb as people meet it: no network, no keys, with and without a database.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use assert_cmd::cargo::CommandCargoExt;
use segsync::clock::{Clock, Now};
use segsync::model::{Outcome, PollKind, SourceName, UnixMs};
use segsync::store::{BeginPoll, DeclareSource, FinishPoll, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

/// A folder with a configuration, and perhaps a database.
struct Place(TempDir);

struct Ran {
    out: String,
    err: String,
    code: Option<i32>,
}

impl Place {
    fn new(configuration: &str) -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        place.configure(configuration);
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn configure(&self, configuration: &str) {
        let text = format!("[store]\npath = \"x.db\"\n{configuration}");
        std::fs::write(self.path().join("segsync.toml"), text).expect("written");
    }

    /// Without any of the keys that the configuration names.
    fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::cargo_bin("segsync").expect("built");
        let output = command.current_dir(self.path()).env_clear().args(args).output().expect("ran");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8").replace(&self.path().display().to_string(), "DIR");
        Ran { out: text(output.stdout), err: text(output.stderr), code: output.status.code() }
    }

    fn plan(&self, args: &[&str]) -> String {
        let args: Vec<&str> = ["plan"].into_iter().chain(args.iter().copied()).collect();
        let ran = self.run(&args);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
        ran.out
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.plan(&["--format", "json"])).expect("JSON")
    }
}

/// A source of that many named segments, with further keys.
fn source(name: &str, provider: &str, count: usize, more: &str) -> String {
    let ids: Vec<String> = (0..count).map(|id| format!("s{id}")).collect();
    let mut text = format!("[[source]]\nname = {name:?}\nprovider = {provider:?}\nsegments = {ids:?}\n");
    if !more.contains("api_key") {
        text += "api_key = { env = \"KEY\" }\n";
    }
    writeln!(text, "{more}").expect("a String");
    text
}

#[test]
fn it_shows_capacity_demand_and_what_comes_of_it() {
    let vip = "every = \"1m\"\nfetch = \"each\"\n[[source.segment]]\nid = \"vip\"\nevery = \"30s\"";
    let all = "[[source]]\nname = \"crm\"\nprovider = \"octave\"\napi_key = { file = \"/no/such\" }\nshare = 0.5\n\
               segments = \"all\"\n";
    let text = [source("web", "statsig", 100, vip), source("app", "statsig", 150, ""), all.to_owned()].concat();
    let place = Place::new(&text);
    insta::assert_snapshot!(place.plan(&[]), @r#"
    account of web, app
      capacity    100 in 10s, 900 in 15m: 1 a second in the long run
      demand      1.707 a second, 1536 in 15m: 171 % of the capacity
      outcome     intervals stretched 1.73 times
      first sync  11s when nothing was ever polled

      SOURCE  SEGMENTS  EVERY      BY GET  BY LIST  POLLED          AGE    FITS
      app     150       5m         150     2        by list (auto)  8m40s  8m40s
      web     100       1m         100     2        by get          1m44s  1m44s
      web     1         30s (own)  1       –        by get          30s    30s

      warning: source app: every = 5m cannot be kept: 8m40s is what the budget allows; set every = "8m40s"
      warning: source web: every = 1m cannot be kept: 1m44s is what the budget allows; set every = "104s" or poll by list

    account of crm
      capacity    50 in 10s, 450 in 15m: 0.5 a second in the long run; 0.5 of what the provider allows
      demand      0.2 a minute, 3 in 15m: 1 % of the capacity
      outcome     every interval is kept
      first sync  at once

      SOURCE  SEGMENTS  EVERY  BY GET  BY LIST  POLLED   AGE  FITS
      crm     all       5m     –       1        by list  5m   2s

    note: there is no database at DIR/x.db yet: only segments that the configuration names are counted
    note: source app: pages are counted as if its list had these segments only; when it turns out to have 150 pages or more, single requests take its place
    note: source crm: how many segments "all" means shows when its list is first read; 1 page is counted
    note: what the providers take to answer is not counted
    "#);
    assert!(!place.path().join("x.db").exists());
}

#[test]
fn json_tells_the_exact_numbers() {
    let place = Place::new(&source("web", "statsig", 2000, "fetch = \"each\""));
    let json = place.json();
    let account = &json["accounts"][0];
    assert_eq!((&account["sources"], &account["fits"]), (&json!(["web"]), &json!(false)));
    assert_eq!(account["limits"], json!([{"requests": 100, "per": "10s"}, {"requests": 900, "per": "15m"}]));
    let number = |value: &Value| value.as_f64().expect("a number");
    assert_eq!((number(&account["capacity_per_second"]), number(&account["longest_window_seconds"])), (1.0, 900.0));
    // 2000 each 300 s, for 900 s.
    assert!((number(&account["demand_per_longest_window"]) - 6000.0).abs() < 1e-6);
    assert!((number(&account["stretch"]["wishes"]) - 20.0 / 3.0).abs() < 1e-9);
    // 900 in each of two windows, and 200 in 19 s.
    assert!((number(&account["first_sync_seconds"]) - 1819.0).abs() < 1e-6);
    let group = &account["groups"][0];
    assert_eq!(group["requests_per_cycle"], json!({"get": 2000, "list": 20, "taken": 2000}));
    assert!((number(&group["age_seconds"]) - 2000.0).abs() < 1e-6);
    assert_eq!((&group["polled"], &group["kept"], &group["fits"]), (&json!("get"), &json!(false), &json!("33m20s")));
    let warning = "source web: every = 5m cannot be kept: 33m20s is what the budget allows; set every = \"33m20s\" or \
                   poll by list";
    assert_eq!(json["warnings"], json!([warning]));

    place.configure(&source("web", "statsig", 2000, "limits = []"));
    let account = &place.json()["accounts"][0];
    assert_eq!((&account["capacity_per_second"], &account["groups"][0]["fits"]), (&Value::Null, &Value::Null));
}

#[test]
fn its_advice_works() {
    let sources = |every: &str| {
        let own = "\n[[source.segment]]\nid = \"s1\"\nevery = \"50s\"";
        let terms = "limits = [{ requests = 30, per = \"5m\" }]\nshare = 0.7\nfetch = \"each\"";
        source("web", "statsig", 41, &format!("{terms}\nevery = {every:?}{own}"))
    };
    let place = Place::new(&sources("1m"));
    let warning = place.json()["warnings"][0].as_str().expect("a warning").to_owned();
    let advice = warning.split('"').nth(1).expect("a value");
    place.configure(&sources(advice));
    assert_eq!(place.json()["warnings"], json!([]), "{warning}");
}

#[test]
fn a_check_warns_in_one_line_and_is_still_ok() {
    let place = Place::new(&source("x", "statsig", 100, "every = \"1m\"\nfetch = \"each\""));
    let ran = place.run(&["config", "check"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "segsync.toml: ok, 1 sources\n"));
    let warning =
        "source x: every = 1m cannot be kept: 1m40s is what the budget allows; set every = \"100s\" or poll by list";
    assert_eq!(ran.err, format!("segsync: warning: {warning}\n"));
    place.configure(&source("x", "statsig", 100, "every = \"100s\"\nfetch = \"each\""));
    assert_eq!(place.run(&["config", "check"]).err, "");
}

#[test]
fn promises_that_cannot_be_kept_are_named() {
    let own = "limits = [{ requests = 1, per = \"1m\" }]\n[[source.segment]]\nid = \"vip\"\nevery = \"30s\"";
    let place = Place::new(&source("x", "statsig", 0, own));
    let warning =
        "source x: every = 30s of segment vip cannot be kept: 1m is what the budget allows; set every = \"60s\"";
    assert_eq!(place.json()["warnings"], json!([warning]));
}

#[test]
fn accounts_that_contradict_themselves_are_told() {
    let place = Place::new(&[source("a", "statsig", 1, ""), source("b", "statsig", 1, "share = 0.5")].concat());
    let warning = place.json()["warnings"][0].as_str().expect("a warning").to_owned();
    assert!(warning.starts_with("sources a and b share one account: `segsync run` refuses them"), "{warning}");
    let other = source("b", "statsig", 1, "api_key = { env = \"OTHER\" }");
    place.configure(&[source("a", "statsig", 1, ""), other].concat());
    assert_eq!(place.json()["accounts"].as_array().map(Vec::len), Some(2));
    assert!(place.plan(&[]).contains("a and b are counted as two accounts"));
}

/// A database that tracks so many segments of a source, one of which was polled in this way.
async fn database(place: &Place, name: &str, count: usize, kind: PollKind) {
    let store = Store::open(place.path().join("x.db"), &Clock::system(), Duration::from_secs(10)).expect("opened");
    let now = Now { mono: Instant::now(), wall: UnixMs(1_800_000_000_000), boot_ms: 0 };
    let declare = DeclareSource {
        name: SourceName::new(name),
        provider: "statsig".to_owned(),
        base_url: "http://127.0.0.1:9".to_owned(),
        segments: (0..count).map(|id| format!("s{id}").into()).collect(),
        all: false,
    };
    let source = store.declare(vec![declare], now).await.expect("declared").sources[0].id;
    let poll = store.begin_poll(BeginPoll { source, segment: None, kind, now }).await.expect("begun");
    let end = FinishPoll {
        poll,
        now,
        outcome: Outcome::Unchanged,
        http_status: Some(200),
        bytes: None,
        usage: None,
        error: None,
        segments: Vec::new(),
        source_state: None,
        held_until: None,
        pace: None,
    };
    store.finish_poll(end).await.expect("finished");
    store.close().await.expect("closed");
}

#[tokio::test]
async fn a_database_tells_how_many_all_are() {
    let all = "[[source]]\nname = \"web\"\nprovider = \"statsig\"\napi_key = { env = \"KEY\" }\nsegments = \"all\"\n\
               [[source.segment]]\nid = \"s7\"\nevery = \"1m\"\n[[source.segment]]\nid = \"new\"\nevery = \"1m\"";
    let place = Place::new(all);
    let groups = |json: &Value| {
        let of = |group: &Value| (group["segments"].clone(), group["requests_per_cycle"]["list"].clone());
        json["accounts"][0]["groups"].as_array().expect("groups").iter().map(of).collect::<Vec<_>>()
    };
    let before = place.json();
    assert_eq!(groups(&before), [(Value::Null, json!(1)), (json!(2), Value::Null)]);
    assert!(before["assumed"][0].as_str().is_some_and(|line| line.starts_with("there is no database at ")));
    database(&place, "web", 250, PollKind::Sweep).await;
    let after = place.json();
    assert_eq!(groups(&after), [(json!(249), json!(3)), (json!(2), Value::Null)]);
    assert_eq!(after["assumed"], json!([]));
}

#[tokio::test]
async fn a_list_that_was_too_long_is_not_counted_on() {
    let place = Place::new(&source("web", "statsig", 3, ""));
    assert_eq!(place.json()["accounts"][0]["groups"][0]["polled"], json!("list"));
    database(&place, "web", 3, PollKind::Get).await;
    let json = place.json();
    assert_eq!(json["accounts"][0]["groups"][0]["polled"], json!("get"));
    assert!(json["assumed"][0].as_str().is_some_and(|line| line.contains("counted by single requests")), "{json}");
}

#[test]
fn a_foreign_file_is_noted_and_left_alone() {
    let place = Place::new(&source("web", "statsig", 3, ""));
    std::fs::write(place.path().join("x.db"), "not a database at all").expect("written");
    let text = place.plan(&[]);
    assert!(text.contains("note: failed to open DIR/x.db: ") && text.contains("only segments that"), "{text}");
    assert_eq!(std::fs::read(place.path().join("x.db")).expect("read"), b"not a database at all");
}

#[test]
fn csv_has_a_row_a_group() {
    let place = Place::new(&source("web", "statsig", 200, "every = \"1m\""));
    let text = place.plan(&["--format", "csv"]);
    insta::assert_snapshot!(text.replace("\r\n", "\n"), @"
    source,own_interval,segments,every_seconds,by_get,by_list,polled,age_seconds,kept
    web,false,200,60,200,2,list,60,true
    ");
}

#[test]
fn no_configuration_is_a_misuse() {
    let place = Place::new("");
    assert_eq!(place.run(&["plan"]).code, Some(2));
}
