//! The configuration file as operators meet it: what is accepted, what it means, and each error's exact line.

use std::path::PathBuf;
use std::time::Duration;

use insta::assert_snapshot;
use segsync::config::{self, Config, EXAMPLE, KeyRef, LoadError, PLACES, Segment, Segments};
use segsync::model::{Fetch, Limit, LogFormat, LogLevel, ProviderEntry};

const CATALOGUE: &[ProviderEntry] = &[
    ProviderEntry { name: "statsig", base_url: "https://statsigapi.net" },
    ProviderEntry { name: "octave", base_url: "https://app.octavehq.com" },
];

/// Line 1 is the store, line 2 opens a source; what a test is about starts on line 6.
const HEAD: &str = r#"store = { path = "/var/x.db" }
[[source]]
name = "a"
provider = "octave"
api_key = { env = "KEY" }
"#;

fn parse(text: &str) -> Result<Config, String> {
    config::parse(text, "x.toml", CATALOGUE).map_err(|problems| problems.to_string())
}

fn good(text: &str) -> Config {
    let parsed = parse(text);
    assert_eq!(parsed.as_ref().err(), None, "{text}");
    parsed.unwrap_or_else(|_| unreachable!())
}

fn errors(text: &str) -> String {
    let parsed = parse(text);
    assert!(parsed.is_err(), "{text}");
    parsed.err().unwrap_or_default()
}

/// What a source with these further lines means.
fn source(lines: &str) -> config::Source {
    good(&format!("{HEAD}{lines}")).sources.remove(0)
}

/// The errors of a source with one more line, which has a segment anyway.
fn source_errors(line: &str) -> String {
    errors(&format!("{HEAD}{line}\nsegments = [\"s\"]\n"))
}

/// The errors of a source whose key comes from there.
fn key_errors(api_key: &str) -> String {
    let api_key = format!("api_key = {api_key}");
    errors(&format!("{HEAD}segments = [\"s\"]").replace("api_key = { env = \"KEY\" }", &api_key))
}

fn segment(id: &str, every: Option<u64>) -> Segment {
    Segment { id: id.into(), every: every.map(Duration::from_secs) }
}

#[test]
fn the_least_configuration_has_every_default() {
    let config = good(&format!("{HEAD}segments = [\"s\"]"));
    assert_eq!(config.store.path, PathBuf::from("/var/x.db"));
    assert_eq!(config.store.keep_polls, Duration::from_secs(7 * 86_400));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Info, LogFormat::Auto));
    assert_snapshot!(config.show(), @r#"
    [store]
    path = "/var/x.db"
    keep_polls = "7d"

    [log]
    level = "info"
    format = "auto"

    [[source]]
    name = "a"
    provider = "octave"
    base_url = "https://app.octavehq.com"
    api_key = { env = "KEY" }
    limits = [{ requests = 100, per = "10s" }, { requests = 900, per = "15m" }]
    share = 1.0
    burst = 10
    fetch = "auto"
    every = "5m"
    timeout = "10s"
    concurrency = 8
    stale_after = "3x"
    ignore = []
    max_body = "16MiB"
    segments = ["s"]
    "#);
}

#[test]
fn each_setting_is_taken() {
    let text = r#"
        [store]
        path = "data/x.db"
        keep_polls = "30d"
        [poll]
        every = "1m"
        timeout = "3s"
        concurrency = 2
        stale_after = "1.5x"
        [log]
        level = "trace"
        format = "json"
        [[source]]
        name = "0-b"
        provider = "statsig"
        base_url = "http://127.0.0.1:7000/prefix/"
        api_key = { credential = "b.key" }
        limits = []
        share = 1
        burst = 3
        fetch = "list"
        ignore = ["$.a", '$.rules[*]."odd key"']
        max_body = 4096
        segments = "all"
        [[source]]
        name = "c"
        provider = "octave"
        api_key.file = "/etc/c.key"
        limits = [{ requests = 5, per = "1m" }]
        share = 0.2
        every = "1h30m"
        timeout = "4s"
        concurrency = 9
        stale_after = "2x"
        max_body = "2MB"
        segments = ["../x?", "é"]
    "#;
    let config = config::parse(text, "/etc/segsync/config.toml", CATALOGUE).expect("good");
    assert_eq!(config.store.path, PathBuf::from("/etc/segsync/data/x.db"), "beside the configuration");
    assert_eq!(config.store.keep_polls, Duration::from_secs(30 * 86_400));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Trace, LogFormat::Json));
    let [b, c] = config.sources.as_slice() else { panic!("two sources") };

    assert_eq!((b.name.as_str(), b.provider, b.base_url.as_str()), ("0-b", "statsig", "http://127.0.0.1:7000/prefix"));
    assert_eq!(b.api_key, KeyRef::Credential("b.key".to_owned()));
    assert_eq!((b.limits.as_slice(), b.share, b.burst, b.fetch), (&[][..], 1.0, 3, Fetch::List));
    let poll = |source: &config::Source| (source.every.as_secs(), source.timeout.as_secs(), source.concurrency);
    assert_eq!((poll(b), b.stale_after, b.max_body), ((60, 3, 2), 1.5, 4096));
    let ignore: Vec<String> = b.ignore.iter().map(ToString::to_string).collect();
    assert_eq!(ignore, ["$.a", r#"$.rules[*]."odd key""#]);
    assert_eq!(b.segments, Segments::All { own: Vec::new() });

    assert_eq!(c.api_key, KeyRef::File(PathBuf::from("/etc/c.key")));
    assert_eq!(c.limits, [Limit { requests: 5, per: Duration::from_secs(60) }]);
    assert_eq!((poll(c), c.stale_after, c.max_body, c.share), ((5400, 4, 9), 2.0, 2_000_000, 0.2));
    assert_eq!(c.segments, Segments::Named(vec![segment("../x?", None), segment("é", None)]));

    assert_eq!(config::parse(&config.show(), "/elsewhere/x.toml", CATALOGUE), Ok(config.clone()));
}

#[test]
fn a_segment_with_its_own_interval_counts_once() {
    let own = "[[source.segment]]\nid = \"vip\"\nevery = \"30s\"\n";
    let named =
        source(&format!("segments = [\"a\", \"vip\", \"b\"]\n{own}[[source.segment]]\nid = \"c\"\nevery = \"1m\""));
    let expected = vec![segment("a", None), segment("vip", Some(30)), segment("b", None), segment("c", Some(60))];
    assert_eq!(named.segments, Segments::Named(expected));
    assert_eq!(source(own).segments, Segments::Named(vec![segment("vip", Some(30))]));
    assert_eq!(source(&format!("segments = []\n{own}")).segments, Segments::Named(vec![segment("vip", Some(30))]));
    let all = Segments::All { own: vec![segment("vip", Some(30))] };
    assert_eq!(source(&format!("segments = \"all\"\n{own}")).segments, all);
}

#[test]
fn what_is_shown_reads_back() {
    let odd = r#"segments = ["quote\"", "back\\slash", "tab\t\u007f\u0000é", "vip"]
        ignore = ['$."a.b"[0]', '$."quote\""']
        stale_after = "1.25x"
        share = 0.3333333333333333
        every = "1d 2h 3m 4s 5ms"
        max_body = 1001
        [[source.segment]]
        id = "vip"
        every = "90s"
    "#;
    for text in [EXAMPLE.to_owned(), format!("{HEAD}{odd}"), format!("{HEAD}segments = \"all\"\n")] {
        let config = good(&text);
        assert_eq!(parse(&config.show()), Ok(config.clone()), "{}", config.show());
    }
}

#[test]
fn the_example_loads_and_shows_every_key() {
    let config = config::parse(EXAMPLE, "config.example.toml", CATALOGUE).expect("good");
    assert_eq!(config.store.path, PathBuf::from("/var/lib/segsync/segsync.db"));
    let [statsig, octave] = config.sources.as_slice() else { panic!("two sources") };
    assert_eq!(statsig.api_key, KeyRef::Credential("statsig-prod".to_owned()));
    assert_eq!(octave.api_key, KeyRef::Env("OCTAVE_API_KEY".to_owned()));
    for place in PLACES {
        for key in place.keys {
            let written = [format!("{key} = "), format!("[{key}]"), format!("[[{key}]]"), format!("[[source.{key}]]")];
            assert!(written.iter().any(|form| EXAMPLE.contains(form)), "{} {key}", place.heading);
        }
    }
    for line in EXAMPLE.lines() {
        assert!(line.chars().count() <= 120, "{line}");
    }
}

#[test]
fn every_known_key_is_read() {
    // A date fits no key: whoever reads the key complains.
    for place in PLACES {
        for key in place.keys {
            let line = match place.path {
                "" => format!("{key} = 2026-01-31"),
                "source" => format!("[[source]]\n{key} = 2026-01-31"),
                "source.segment" => format!("[[source]]\n[[source.segment]]\n{key} = 2026-01-31"),
                "source.limits" => format!("[[source]]\nlimits = [{{ {key} = 2026-01-31 }}]"),
                "http.token" => format!("http.token.{key} = 2026-01-31"),
                "source.api_key" => format!("[[source]]\napi_key.{key} = 2026-01-31"),
                path => format!("[{path}]\n{key} = 2026-01-31"),
            };
            assert!(errors(&line).contains("found a datetime; expected "), "{line}{}", errors(&line));
        }
    }
}

#[test]
fn unknown_keys_name_the_nearest() {
    assert_snapshot!(errors("stroe = 1\n[poll]\nevry = \"5m\"\nx = 1\nlevel = 1\n"), @r"
    x.toml:1:1: stroe: unknown key; did you mean store?
    x.toml:1:1: source: missing; expected at least one [[source]] table
    x.toml:3:1: poll.evry: unknown key; did you mean every?
    x.toml:4:1: poll.x: unknown key; [poll] has every, timeout, concurrency, stale_after
    x.toml:5:1: poll.level: unknown key; it belongs to [log]
    ");
    assert_snapshot!(source_errors("base-url = 1\nlimits = [{ request = 1, per = \"1s\" }]\n\"odd\\nkey\" = 1"), @r#"
    x.toml:6:1: source.base-url: unknown key; did you mean base_url?
    x.toml:7:13: source.limits.request: unknown key; did you mean requests?
    x.toml:8:1: source."odd\nkey": unknown key; [[source]] has name, provider, base_url, api_key, limits, share, burst, fetch, every, timeout, concurrency, stale_after, ignore, max_body, segments, segment
    "#);
    let below = "segments = [\"s\"]\n[[source.segment]]\nid = \"t\"\nevery = \"1m\"\nshare = 0.5\n";
    assert_snapshot!(errors(&format!("{HEAD}{below}")),
        @"x.toml:10:1: source.segment.share: unknown key; it belongs to [[source]]");
}

#[test]
fn versions_are_kept_for_ever_or_for_a_day_at_least() {
    let config = |kept: &str| {
        format!(
            "{}segments = [\"s\"]",
            HEAD.replace("\"/var/x.db\"", &format!("\"/var/x.db\", keep_versions = {kept}"))
        )
    };
    assert_eq!(good(&format!("{HEAD}segments = [\"s\"]")).store.keep_versions, None);
    let two_years = good(&config("\"2y\""));
    assert_eq!(two_years.store.keep_versions, Some(Duration::from_secs(2 * 31_557_600)));
    assert_eq!(good(&two_years.show()), two_years);
    assert_snapshot!(["\"2m\"", "\"23h\"", "730"].map(|kept| errors(&config(kept))).join("\n"), @r#"
    x.toml:1:47: store.keep_versions: "2m" is minutes (months are "M"), too short a history; expected a day or more, such as "90d" or "2y"; without the key, versions are kept for ever
    x.toml:1:47: store.keep_versions: "23h" is too short a history; expected a day or more, such as "90d" or "2y"; without the key, versions are kept for ever
    x.toml:1:47: store.keep_versions: found an integer; expected a day or more, such as "90d" or "2y"; without the key, versions are kept for ever
    "#);
}

#[test]
fn the_local_api_is_off_unless_there_is_a_table() {
    let http = |lines: &str| good(&format!("{HEAD}segments = [\"s\"]\n{lines}")).http;
    assert_eq!(http(""), None);
    let usual = http("[http]").expect("on");
    assert_eq!((usual.listen.to_string().as_str(), usual.token, usual.cache), ("127.0.0.1:7464", None, 64 << 20));
    let all = http("[http]\nlisten = \"[::]:80\"\ntoken = { file = \"/etc/t\" }\ncache = \"1KiB\"").expect("on");
    assert_eq!((all.listen.to_string().as_str(), all.cache), ("[::]:80", 1024));
    assert_eq!(all.token, Some(KeyRef::File(PathBuf::from("/etc/t"))));
    let shown = good(&good(&format!("{HEAD}segments = [\"s\"]\n[http]\ntoken.env = \"T\"\n")).show()).http;
    assert_eq!(shown.and_then(|http| http.token), Some(KeyRef::Env("T".to_owned())), "what is shown reads back");
    for listen in ["unix:/run/segsync/api.sock", "systemd", "[::1]:80"] {
        let http = http(&format!("[http]\nlisten = {listen:?}\nhosts = [\"Segsync.example.org\"]")).expect("on");
        assert_eq!((http.listen.to_string().as_str(), http.hosts), (listen, vec!["segsync.example.org".to_owned()]));
    }
    let long = format!("[http]\nlisten = \"unix:/{}\"\nhosts = [\"a:80\", \"\"]", "x".repeat(107));
    assert_snapshot!(errors(&format!("{HEAD}segments = [\"s\"]\n{long}")), @r#"
    x.toml:8:10: http.listen: a socket's path has at most 107 bytes; expected an address and a port such as "127.0.0.1:7464", "unix:" and an absolute path, or "systemd"
    x.toml:9:10: http.hosts: "a:80" is not a name; expected names of this machine without a port, such as "segsync.example.org"
    x.toml:9:18: http.hosts: "" is not a name; expected names of this machine without a port, such as "segsync.example.org"
    "#);
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    let errors = |lines: &str| errors(&format!("{HEAD}segments = [\"s\"]\n[http]\n{lines}"));
    assert_snapshot!(errors("listen = \"0.0.0.0:7464\""), @"x.toml:7:1: http.token: missing; an address that other machines reach needs one, so that not everybody may ask");
    assert_snapshot!(errors("listen = \"192.0.2.1:80\"\ntoken = \"s3cr3ts3cr3t\""), @r#"x.toml:9:9: http.token: a token must not stand in this file; expected { env = "NAME" }, { file = "/absolute/path" } or { credential = "name" }"#);
    assert_snapshot!(errors("listen = \"localhost:80\"\ncache = 0"), @r#"
    x.toml:8:10: http.listen: "localhost:80" is not where to listen; expected an address and a port such as "127.0.0.1:7464", "unix:" and an absolute path, or "systemd"
    x.toml:9:9: http.cache: not a positive size; expected a size such as "16MiB", or a number of bytes
    "#);
    for listen in ["127.0.0.1", ":80", "127.0.0.1:99999", "http://127.0.0.1:80", "", "unix:", "unix:a/b", "Systemd"] {
        assert!(errors(&format!("listen = {listen:?}")).contains("is not where to listen"), "{listen}");
    }
}

#[test]
fn missing_things_are_told_where_they_belong() {
    assert_snapshot!(errors(""), @r"
    x.toml:1:1: source: missing; expected at least one [[source]] table
    x.toml:1:1: store: missing; expected the table [store] with the path of the database file
    ");
    assert_snapshot!(errors("source = []\n\n[store]\n"), @r#"
    x.toml:1:10: source: empty; expected at least one [[source]] table
    x.toml:3:1: store.path: missing; expected the database file, such as "/var/lib/segsync/segsync.db"
    "#);
    assert_snapshot!(errors("[store]\npath = \" \"\n[[source]]\n[[source.segment]]\n"), @r#"
    x.toml:2:8: store.path: " " is no path; expected the database file, such as "/var/lib/segsync/segsync.db"
    x.toml:3:1: source.name: missing; expected lower-case letters, digits and -, not starting with -
    x.toml:3:1: source.provider: missing; expected one of statsig, octave
    x.toml:3:1: source.api_key: missing; expected { env = "NAME" }, { file = "/absolute/path" } or { credential = "name" }
    x.toml:4:1: source.segment.id: missing; expected a segment id
    x.toml:4:1: source.segment.every: missing; expected a duration such as "30s", "5m" or "1h30m"
    "#);
    for lines in ["", "segment = []"] {
        assert_eq!(
            errors(&format!("{HEAD}{lines}")),
            r#"x.toml:2:1: source.segments: missing; expected "all" or a list of segment ids"#
        );
    }
    assert_snapshot!(errors(&format!("{HEAD}segments = []")),
        @r#"x.toml:6:12: source.segments: no segment; expected "all" or a list of segment ids"#);
}

#[test]
fn an_inline_key_is_refused_and_not_repeated() {
    const FORMS: &str = r#"{ env = "NAME" }, { file = "/absolute/path" } or { credential = "name" }"#;
    for (text, expected) in [
        (
            r#""console-SeCrEt9""#,
            format!("5:11: source.api_key: an API key must not stand in this file; expected {FORMS}"),
        ),
        ("console-SeCrEt9", "5:11: not TOML: string values must be quoted, expected literal string".to_owned()),
        (r#"["console-SeCrEt9"]"#, format!("5:11: source.api_key: found an array; expected {FORMS}")),
        (
            r#"{ value = "console-SeCrEt9" }"#,
            "5:13: source.api_key.value: unknown key; api_key has env, file, credential".to_owned(),
        ),
        (
            r#"{ env = "console-SeCrEt9" }"#,
            "5:19: source.api_key.env: not the name of an environment variable; \
             expected capitals, digits and _, such as PROD_API_KEY"
                .to_owned(),
        ),
        (
            r#"{ file = "console-SeCrEt9" }"#,
            "5:20: source.api_key.file: not an absolute path; expected one such as /etc/segsync/prod.key".to_owned(),
        ),
        (
            r#"{ credential = "console-SeCrEt9" }"#,
            "5:26: source.api_key.credential: not the name of a systemd credential; \
             expected lower-case letters, digits, -, _ and ."
                .to_owned(),
        ),
    ] {
        let told = key_errors(text);
        assert_eq!(told, format!("x.toml:{expected}"));
        assert!(!told.contains("SeCrEt9"));
    }
    assert_snapshot!(key_errors("{}"), @r#"x.toml:5:11: source.api_key: not exactly one place to find the API key; expected { env = "NAME" }, { file = "/absolute/path" } or { credential = "name" }"#);
    assert_snapshot!(key_errors(r#"{ env = "A", file = "/b" }"#), @r#"x.toml:5:11: source.api_key: not exactly one place to find the API key; expected { env = "NAME" }, { file = "/absolute/path" } or { credential = "name" }"#);
    for name in ["", "..", "a/b", ".hidden"] {
        assert!(key_errors(&format!("{{ credential = \"{name}\" }}")).contains("not the name of a systemd credential"));
    }
    for name in ["", "9A", "A B", "A=B"] {
        assert!(key_errors(&format!("{{ env = \"{name}\" }}")).contains("not the name of an environment variable"));
    }
}

#[test]
fn sources_are_told_apart() {
    let second =
        "segments = [\"s\"]\n[[source]]\nname = \"a\"\nprovider = \"acme\"\napi_key.env = \"K\"\nsegments = [\"s\"]\n";
    assert_snapshot!(errors(&format!("{HEAD}{second}")), @r#"
    x.toml:8:8: source.name: "a" is already a source on line 3; expected each source once
    x.toml:9:12: source.provider: "acme" is not a known provider; expected one of statsig, octave
    "#);
    for name in ["", "-a", "A", "a_b", "a b", "ä", "a/b"] {
        let told = errors(&format!("{HEAD}segments = [\"s\"]").replace("name = \"a\"", &format!("name = \"{name}\"")));
        let expected = "is not a source's name; expected lower-case letters, digits and -, not starting with -";
        assert_eq!(told, format!("x.toml:3:8: source.name: {name:?} {expected}"));
    }
}

#[test]
fn addresses_must_not_show_the_key_to_the_network() {
    assert_snapshot!(source_errors(r#"base_url = "http://api.example.com""#), @r#"x.toml:6:12: source.base_url: plain http would show the API key to the network, and is for loopback only; expected a URL such as "https://example.com""#);
    assert_snapshot!(source_errors(r#"base_url = "https://me:pw@example.com""#), @r#"x.toml:6:12: source.base_url: it holds a user name or a password; expected a URL such as "https://example.com""#);
    assert_snapshot!(source_errors(r#"base_url = "https://example.com/?a=b""#), @r#"x.toml:6:12: source.base_url: it holds a query or a fragment; expected a URL such as "https://example.com""#);
    assert_snapshot!(source_errors(r#"base_url = "example.com""#), @r#"x.toml:6:12: source.base_url: not a URL; expected a URL such as "https://example.com""#);
}

#[test]
fn segments_are_ids_each_once() {
    let lines = "segments = [\n  \"s\",\n  \"\",\n  \"s\",\n  7,\n]\n[[source.segment]]\nid = \"v\"\nevery = \"x\"\n[[source.segment]]\nid = \"v\"\nevery = \"1m\"";
    assert_snapshot!(errors(&format!("{HEAD}{lines}")), @r#"
    x.toml:8:3: source.segments: a blank segment; expected the provider's id of one
    x.toml:9:3: source.segments: "s" is already a segment on line 7; expected each segment once
    x.toml:10:3: source.segments: found an integer; expected a segment id
    x.toml:14:9: source.segment.every: "x" is not a duration; expected a duration such as "30s", "5m" or "1h30m"
    x.toml:16:6: source.segment.id: "v" is already a segment on line 13; expected each segment once
    "#);
    assert_snapshot!(errors(&format!("{HEAD}segments = \"every\"")),
        @r#"x.toml:6:12: source.segments: "every" is neither; expected "all" or a list of segment ids"#);
}

#[test]
fn numbers_and_durations_stay_in_their_ranges() {
    assert_snapshot!(source_errors("limits = [{ requests = 0, per = \"0s\" }, { requests = -1, per = 10 }]"), @r#"
    x.toml:6:24: source.limits.requests: 0 is out of range; expected a whole number from 1 to 4294967295
    x.toml:6:33: source.limits.per: "0s" is zero; expected a duration such as "30s", "5m" or "1h30m"
    x.toml:6:54: source.limits.requests: -1 is out of range; expected a whole number from 1 to 4294967295
    x.toml:6:64: source.limits.per: found an integer; expected a duration such as "30s", "5m" or "1h30m"
    "#);
    assert_snapshot!(source_errors("burst = 0\nconcurrency = 99999999999999999999\nfetch = \"lits\"\nmax_body = 0\nstale_after = \"0.5x\"\nevery = \"5 minuts\"\nignore = [\"name\", \"$\"]"), @r#"
    x.toml:6:9: source.burst: 0 is out of range; expected a whole number from 1 to 10000
    x.toml:7:15: source.concurrency: 99999999999999999999 is out of range; expected a whole number from 1 to 1000
    x.toml:8:9: source.fetch: "lits" is none of auto, each, list
    x.toml:9:12: source.max_body: not a positive size; expected a size such as "16MiB", or a number of bytes
    x.toml:10:15: source.stale_after: "0.5x" is out of range; expected 1x or more, such as "3x"
    x.toml:11:9: source.every: "5 minuts" is not a duration; expected a duration such as "30s", "5m" or "1h30m"
    x.toml:12:11: source.ignore: "name" is not a JSON path; expected one such as "$.rules[*].name"
    x.toml:12:19: source.ignore: $ is the whole document; expected a list of JSON paths such as "$.lastModifierName"
    "#);
    for (share, shown) in [("0", "0"), ("-0.5", "-0.5"), ("1.01", "1.01"), ("nan", "nan"), ("inf", "inf"), ("2", "2")] {
        assert_eq!(
            source_errors(&format!("share = {share}")),
            format!("x.toml:6:9: source.share: {shown} is out of range; expected more than 0 and at most 1.0")
        );
    }
    assert_snapshot!(source_errors("share = 0.001"),
        @"x.toml:6:9: source.share: leaves less than one request of the limit 100/10s; expected 0.01 or more");
    assert_snapshot!(errors(&format!("[log]\nlevel = \"inof\"\nformat = 1\n[poll]\ntimeout = true\n[store]\npath = \"x\"\nkeep_polls = \"7\"\n{}segments = \"all\"", HEAD.split_once('\n').map_or("", |(_, source)| source))), @r#"
    x.toml:2:9: log.level: "inof" is none of trace, debug, info, warn, error
    x.toml:3:10: log.format: found an integer; expected one of auto, journal, pretty, json
    x.toml:5:11: poll.timeout: found a boolean; expected a duration such as "30s", "5m" or "1h30m"
    x.toml:8:14: store.keep_polls: "7" is not a duration; expected a duration such as "30s", "5m" or "1h30m"
    "#);
}

#[test]
fn polls_are_kept_as_long_as_a_limit_counts_them() {
    let limits = "limits = [{ requests = 9, per = \"8d\" }]\nsegments = \"all\"";
    assert_snapshot!(errors(&format!("{HEAD}{limits}")),
        @"x.toml:1:9: store.keep_polls: 7d is shorter than the limit 9/8days, which counts the polls; expected 8d or more");
    let kept = HEAD.replace("\"/var/x.db\"", "\"/var/x.db\", keep_polls = \"8d\"");
    assert_eq!(good(&format!("{kept}{limits}")).store.keep_polls, Duration::from_secs(8 * 86_400));
    let short = HEAD.replace("\"/var/x.db\"", "\"/var/x.db\", keep_polls = \"14m\"");
    assert_snapshot!(errors(&format!("{short}segments = \"all\"")),
        @"x.toml:1:44: store.keep_polls: 14m is shorter than the limit 900/15m, which counts the polls; expected 15m or more");
}

#[test]
fn tables_of_the_wrong_kind_are_told() {
    assert_snapshot!(errors("log = 1\n[[store]]\n[source]\nname = \"a\""), @r"
    x.toml:1:7: log: found an integer; expected the table [log]
    x.toml:2:1: store: found an array; expected the table [store]
    x.toml:3:1: source: found a table; expected [[source]], with two brackets on either side
    ");
    assert_snapshot!(errors(&format!("{HEAD}[source.segment]\nid = \"x\"")),
        @"x.toml:6:1: source.segment: found a table; expected [[source.segment]], with two brackets on either side");
}

#[test]
fn what_is_not_toml_is_one_line() {
    for (text, expected) in [
        ("[store\n", "x.toml:1:7: not TOML: unclosed table, expected `]`"),
        ("# é\nü = 1\n", "x.toml:2:1: not TOML: "),
        ("[store]\npath = \"a\"\npath = \"b\"\n", "x.toml:3:1: not TOML: duplicate key \"path\""),
        ("[[source]]\napi_key = \"console-SeCrEt9\n", "x.toml:2:"),
        ("[[source]]\napi_key = 'console-SeCrEt9' x\n", "x.toml:2:"),
        ("[[source]]\nconsole-SeCrEt9\n", "x.toml:2:"),
    ] {
        let told = errors(text);
        assert!(told.starts_with(expected), "{told}");
        assert!(told.lines().count() == 1 && !told.contains("SeCrEt9"), "{told}");
    }
}

#[test]
fn a_file_is_loaded_from_where_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("segsync.toml");
    let load = || config::load(&path, CATALOGUE);
    let missing = load().expect_err("no file");
    assert!(matches!(missing, LoadError::Read { .. }));
    let shown = missing.to_string();
    assert_eq!(shown, format!("read the configuration {}: No such file or directory (os error 2)", path.display()));

    std::fs::write(&path, HEAD.replace("/var/x.db", "x.db") + "segments = 1").expect("written");
    let wrong = load().expect_err("wrong");
    assert!(matches!(&wrong, LoadError::Invalid(problems) if problems.iter().count() == 1));
    assert_eq!(
        wrong.to_string(),
        format!(
            "{}:6:12: source.segments: found an integer; expected \"all\" or a list of segment ids",
            path.display()
        )
    );

    std::fs::write(&path, HEAD.replace("/var/x.db", "x.db") + "segments = \"all\"").expect("written");
    assert_eq!(load().expect("good").store.path, directory.path().join("x.db"));
}

#[test]
fn keys_are_read_apart_from_the_file() {
    // Cargo sets this one for every test; nine characters, wherever the checkout lies.
    let with = |name: &str| config::Source { api_key: KeyRef::Env(name.to_owned()), ..source("segments = \"all\"") };
    let key = with("CARGO_PKG_README").read_key().expect("a key");
    assert_eq!(key.expose(), "README.md");
    assert_eq!(
        with("SEGSYNC_TEST_UNSET").read_key().map(|_| ()).expect_err("unset").to_string(),
        "source a: environment variable SEGSYNC_TEST_UNSET is not set; set it to the API key"
    );
}
