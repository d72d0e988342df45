//! Keys that a provider echoes in every way it can: afterwards none is to be found, in no spelling, in anything that the
//! program has written or answered.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use segsync::clock::Clock;
use segsync::simulator::{Fault, On, Provider, Settings, Side, Simulator, Times};
use segsync::{config, daemon, provider};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::{BOTH, unlimited};
use crate::wild::desk::{Desk, GUARD, stop};
use crate::wild::wire::{ask, get};

/// One of each form, with characters that each encoding changes.
const ENV: &str = r#"canary-env-A/b+9"Q%41\x~1"#;
const FILE: &str = r#"canary-file-Z/y+8"W%42\v~2"#;
const CREDENTIAL: &str = r#"canary-cred-C/d+7"E%43\u~3"#;
const TOKEN: &str = r#"canary-token-F/g+6"R%44\t~4"#;
const CANARIES: [&str; 4] = [ENV, FILE, CREDENTIAL, TOKEN];

/// How somebody may write a key.
fn spellings(key: &str) -> Vec<String> {
    let each = |form: fn(u8) -> String| key.bytes().map(form).collect::<String>();
    let quoted = serde_json::to_string(key).unwrap();
    let mut all = vec![
        key.to_owned(),
        utf8_percent_encode(key, NON_ALPHANUMERIC).to_string(),
        each(|byte| format!("%{byte:02x}")),
        quoted.trim_matches('"').to_owned(),
        each(|byte| format!("\\u{byte:04x}")),
        each(|byte| format!("\\u{byte:04X}")),
        utf8_percent_encode(&STANDARD.encode(key), NON_ALPHANUMERIC).to_string(),
    ];
    for lead in ["", "u", "u:"] {
        all.extend([STANDARD.encode(format!("{lead}{key}:x")), URL_SAFE_NO_PAD.encode(format!("{lead}{key}"))]);
    }
    all
}

/// Where a text spells the key in a way that a reader could undo, and what stands around it. Not how the program looks
/// for it: it decodes.
fn holds(text: &[u8], key: &str) -> Option<String> {
    let text = String::from_utf8_lossy(text).into_owned();
    let unescaped = unescape(&text);
    let percent = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let layers = [percent(&text), percent(&unescaped), unescape(&unescaped), unescaped, text];
    layers.iter().find_map(|layer| {
        let digits = layer.replace('-', "+").replace('_', "/");
        let at = layer.find(key).or_else(|| cores(key).iter().find_map(|core| digits.find(core)))?;
        Some(String::from_utf8_lossy(&layer.as_bytes()[at.saturating_sub(80)..layer.len().min(at + 80)]).into_owned())
    })
}

/// The digits of base64 that the key alone decides, at each alignment.
fn cores(key: &str) -> [String; 3] {
    [0, 1, 2].map(|lead: usize| {
        let all = STANDARD.encode([&vec![0; lead], key.as_bytes()].concat());
        let (from, to) = ((lead * 8).div_ceil(6), (lead + key.len()) * 8 / 6);
        all[from..to].to_owned()
    })
}

fn unescape(text: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let code = rest.strip_prefix('u').and_then(|hex| u32::from_str_radix(hex.get(..4)?, 16).ok());
        match (code.and_then(char::from_u32), rest.chars().next()) {
            (Some(char), _) => {
                plain.push(char);
                rest = &rest[5..];
            }
            (None, Some(char @ ('"' | '\\' | '/'))) => {
                plain.push(char);
                rest = &rest[1..];
            }
            _ => plain.push('\\'),
        }
    }
    plain + rest
}

#[test]
fn the_search_finds_every_spelling() {
    for key in CANARIES {
        for spelling in spellings(key) {
            assert!(holds(format!("é{spelling}.").as_bytes(), key).is_some(), "{spelling}");
            assert!(holds(serde_json::to_string(&spelling).unwrap().as_bytes(), key).is_some(), "{spelling}");
        }
        assert!(holds(&key.as_bytes()[1..], key).is_none());
    }
}

/// A document full of a key.
fn document(key: &str, id: &str, number: usize) -> String {
    let all = spellings(key);
    let mut extra: serde_json::Map<String, Value> = all.iter().map(|text| (text.clone(), json!(text))).collect();
    extra.insert("texts".to_owned(), json!(all));
    extra.insert("nested".to_owned(), json!(json!({ "url": format!("https://x/?key={key}") }).to_string()));
    let rule = |(at, text): (usize, &String)| json!({ "id": format!("{text}-{at}"), "name": text, "conditions": [] });
    let document = json!({
        "id": id, "oId": id, "name": key, "description": format!("edit {number} {key}"), "tags": all,
        "lastModifierName": key, "lastModifierEmail": format!("{key}@example.com"), "lastModifierID": key,
        "rules": all.iter().enumerate().map(rule).collect::<Vec<_>>(), "extra": extra,
    });
    // The same once more, spelled in JSON's own escapes.
    let hidden: String = key.bytes().map(|byte| format!("\\u{byte:04X}")).collect();
    format!("{},\"hidden\":\"{hidden}\",\"{hidden}\":1}}", document.to_string().strip_suffix('}').unwrap())
}

/// What is asked with which key.
fn asked() -> [(Provider, On, &'static str); 3] {
    let one = || On::Segment("seg_1".to_owned());
    [(Provider::Statsig, one(), ENV), (Provider::Octave, one(), FILE), (Provider::Statsig, On::List, CREDENTIAL)]
}

/// What the program said or wrote, by what it was.
type Heard = BTreeMap<String, Vec<u8>>;

fn simulated() -> Settings {
    let side = |keys: &[&str]| Side { keys: keys.iter().map(|&key| key.to_owned()).collect(), limits: Vec::new() };
    Settings { statsig: side(&[ENV, CREDENTIAL]), octave: side(&[FILE]), ..unlimited() }
}

struct Canaries {
    desk: Desk,
    socket: PathBuf,
}

impl Canaries {
    async fn new() -> Self {
        let mut desk = Desk::new(Simulator::start(simulated()).await.unwrap(), "");
        for name in ["statsig.key", "octave.key"] {
            std::fs::remove_file(desk.path(name)).unwrap();
        }
        let keys = tempfile::TempDir::new().unwrap().keep();
        for (name, key) in [("file", FILE), ("third", CREDENTIAL), ("token", TOKEN)] {
            std::fs::write(keys.join(name), format!("{key}\n")).unwrap();
        }
        desk.env = vec![
            ("CANARY".to_owned(), ENV.to_owned()),
            ("CREDENTIALS_DIRECTORY".to_owned(), keys.display().to_string()),
        ];
        let (socket, url) = (desk.path("api.sock"), desk.simulator.base_url(Provider::Statsig));
        let sources = [
            ("first", "statsig", "{ env = \"CANARY\" }".to_owned(), "each", "seg_1"),
            ("second", "octave", format!("{{ file = {:?} }}", keys.join("file")), "each", "seg_1"),
            ("third", "statsig", "{ credential = \"third\" }".to_owned(), "list", "seg_2"),
        ];
        desk.head = format!(
            "[http]\nlisten = \"unix:{}\"\ntoken = {{ file = {:?} }}\n[log]\nlevel = \"trace\"\nformat = \"FORMAT\"\n",
            socket.display(),
            keys.join("token")
        );
        for (name, provider, key, fetch, segment) in sources {
            desk.head += &format!(
                "[[source]]\nname = {name:?}\nprovider = {provider:?}\nbase_url = {url:?}\napi_key = {key}\nlimits = []\n\
                 every = \"5ms\"\ntimeout = \"60s\"\nfetch = {fetch:?}\nsegments = [{segment:?}]\n"
            );
        }
        Self { desk, socket }
    }

    fn configure(&self, format: &str) -> String {
        let text = format!("[store]\npath = \"x.db\"\n{}", self.desk.head.replace("FORMAT", format));
        std::fs::write(self.desk.path("segsync.toml"), &text).unwrap();
        text
    }

    /// Each segment holds the key that its source is asked with.
    fn edit(&self, number: usize) {
        let simulator = &self.desk.simulator;
        simulator.statsig().put_raw("seg_1", &document(ENV, "seg_1", number));
        simulator.statsig().put_raw("seg_2", &document(CREDENTIAL, "seg_2", number));
        simulator.octave().put_raw("seg_1", &document(FILE, "seg_1", number));
    }

    /// Every spelling in every place of an answer, one after the other; a good answer after each.
    fn misbehave(&self, each: usize) {
        for (provider, on, key) in asked() {
            for spelling in spellings(key).into_iter().step_by(each) {
                let page = format!("<html>{spelling}</html>");
                let etag = format!("\"{spelling}\"");
                let faults = [
                    Fault::answer().header("etag", &etag).header("x-echo", &spelling),
                    Fault::answer().html(&page).header("etag", &etag),
                    Fault::wrong_id(&spelling),
                    Fault::status(302).html(&page).header("location", &format!("https://x.example/{spelling}")),
                    Fault::status(400).json(&json!({ "message": spelling }).to_string()),
                    Fault::status(404).text(&spelling),
                    Fault::answer(),
                    Fault::status(500).json(&json!({ "errors": [{ "message": spelling }] }).to_string()),
                    Fault::garbage(format!("HTTP/1.1 500 {spelling}\r\n{spelling}: x\r\n\r\n").as_bytes()),
                ];
                for fault in faults {
                    self.desk.simulator.misbehave(provider, on.clone(), Times::Next(1), fault);
                }
            }
        }
    }

    /// The daemon meets all of it; its local API is asked meanwhile, and it is looked at from outside.
    async fn live(&self, format: &str, heard: &mut Heard) {
        let (desk, log) = (&self.desk, format!("log.{format}"));
        self.configure(format);
        self.edit(0);
        let child = desk.start(&log);
        let updates = async |number: usize| {
            let sql = format!("SELECT count(*) >= 3 FROM versions WHERE document LIKE '%edit {number} %'");
            let seen = |_: &[_]| desk.path("x.db").exists() && is_true(desk, &sql);
            timeout(GUARD, desk.simulator.arrivals_until(seen)).await.expect("no hang");
        };
        updates(0).await;
        // What is found does not depend on the format; what is logged does.
        self.misbehave(if format == "json" { 1 } else { 4 });
        let is_over = |_: &[_]| BOTH.into_iter().all(|provider| desk.simulator.faults_left(provider) == 0);
        timeout(GUARD, desk.simulator.arrivals_until(is_over)).await.expect("no hang");
        self.edit(1);
        updates(1).await;
        let token = format!("Authorization: Bearer {TOKEN}\r\n");
        let one = "/v1/segments/first/seg_1";
        for path in [
            "/healthz",
            "/readyz",
            "/metrics",
            "/v1/status",
            "/openapi.json",
            "/v1/segments",
            one,
            "/v1/segments/first/seg_1?version=1",
            "/v1/segments/first/seg_1/versions",
            "/v1/segments/second/seg_1",
            "/v1/segments/third/seg_2?max_age=0s",
            "/v1/changes?limit=1000",
            "/proxy/first/console/v1/segments/seg_1",
            "/proxy/second/api/v2/segment/get?oId=seg_1",
            "/nowhere",
        ] {
            let told = get(&self.socket, path, &token).await;
            let is_found = told.head.starts_with("HTTP/1.1 200") || ["/nowhere", "/readyz"].contains(&path);
            assert!(is_found, "{path}: {told:?}");
            heard.insert(format!("{format} {path}"), format!("{told:?}").into_bytes());
        }
        let stream = ask(&self.socket, "/v1/changes/stream?after=0", &token, |text| text.contains("id: 4\n")).await;
        heard.insert(format!("{format} stream"), format!("{stream:?}").into_bytes());
        for wrong in ["", "Authorization: Bearer wrong\r\n"] {
            heard.insert(
                format!("{format} refusal {wrong}"),
                format!("{:?}", get(&self.socket, one, wrong).await).into(),
            );
        }
        for file in ["environ", "cmdline"] {
            let mut bytes = std::fs::read(format!("/proc/{}/{file}", child.id().unwrap())).unwrap();
            if file == "environ" {
                // A key in a variable is there for its own user to see: SECURITY.md says so. The others are not.
                let text = String::from_utf8_lossy(&bytes).into_owned();
                assert!(text.contains(ENV));
                bytes = text.replace(ENV, "").into_bytes();
            }
            heard.insert(format!("{format} /proc {file}"), bytes);
        }
        // It goes with the last connection.
        heard.insert(format!("{format}/x.db-wal"), std::fs::read(desk.path("x.db-wal")).unwrap());
        stop(child).await;
    }

    async fn verb(&self, args: &[&str], heard: &mut Heard) {
        let ended = self.desk.run(args).await;
        heard.insert(args.join(" "), format!("{}{}", ended.out, ended.err).into_bytes());
    }
}

fn is_true(desk: &Desk, sql: &str) -> bool {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let file = rusqlite::Connection::open_with_flags(desk.path("x.db"), flags);
    file.and_then(|file| file.query_row(sql, [], |row| row.get(0))).unwrap_or(false)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_left_anywhere() {
    let canaries = Canaries::new().await;
    let mut heard = Heard::new();
    canaries.live("json", &mut heard).await;
    std::fs::copy(canaries.desk.path("x.db"), canaries.desk.path("first.db")).unwrap();
    for name in ["x.db", "x.db-wal", "x.db-shm"] {
        std::fs::remove_file(canaries.desk.path(name)).ok();
    }
    canaries.live("pretty", &mut heard).await;

    let desk = &canaries.desk;
    // A refused key, and a wait.
    for (status, headers) in [(401, ("x-echo", ENV)), (403, ("etag", "\"{key}\"")), (429, ("retry-after", "1"))] {
        for (provider, on, key) in asked() {
            let body = json!({ "message": spellings(key)[status % 11] , "key": "{key}" }).to_string();
            let fault = Fault::status(u16::try_from(status).unwrap()).json(&body).header(headers.0, headers.1);
            desk.simulator.misbehave(provider, on, Times::Next(1), fault);
        }
        canaries.verb(&["sync", "-vv"], &mut heard).await;
    }
    let first = "first/seg_1";
    for args in [
        &["status"][..],
        &["status", "--format", "json"],
        &["status", "--format", "csv"],
        &["status", "--check"],
        &["status", first],
        &["log"],
        &["log", "--full"],
        &["log", "--oneline"],
        &["log", "--format", "json"],
        &["log", "--format", "csv"],
        &["show", first],
        &["show", first, "--format", "json"],
        &["show", first, "--version", "1"],
        &["diff", first, "1..2"],
        &["diff", first, "1..2", "--format", "json"],
        &["export"],
        &["export", "--format", "csv"],
        &["verify"],
        &["plan"],
        &["config", "check", "--keys"],
        &["config", "show"],
        &["backup", "backup.db"],
        &["show", "nothing"],
        &["run", "-c", "nothing"],
    ] {
        canaries.verb(&[args, &["-vv"]].concat(), &mut heard).await;
    }
    let exported = String::from_utf8_lossy(&heard["export -vv"]).into_owned();
    assert!(exported.lines().count() >= 6 && exported.contains("[key]"), "{exported}");
    let errors = desk.query("SELECT group_concat(DISTINCT outcome) FROM (SELECT outcome FROM polls ORDER BY outcome)");
    for outcome in ["created", "updated", "unchanged", "malformed", "failed", "not_found", "unauthorized", "throttled"]
    {
        assert!(errors.contains(outcome), "{outcome} is missing: {errors}");
    }

    // What a configuration and what is made of it say of themselves; the variable is not set in this process.
    let text = canaries.configure("json").replace("{ env = \"CANARY\" }", "{ credential = \"third\" }");
    let text = text.replace("{ credential = \"third\" }", &format!("{{ file = {:?} }}", credential(desk)));
    let config = config::parse(&text, "segsync.toml", &provider::catalogue()).unwrap();
    heard.insert("Config".to_owned(), format!("{config:#?}").into_bytes());
    let prepared = daemon::Prepared::new(config, &Clock::system()).unwrap();
    heard.insert("Prepared".to_owned(), format!("{prepared:#?}").into_bytes());

    for file in std::fs::read_dir(desk.folder.path()).unwrap().map(|file| file.unwrap().path()) {
        if file.is_file() {
            heard.insert(file.display().to_string(), std::fs::read(&file).unwrap());
        }
    }
    for arrival in desk.simulator.arrivals() {
        // A validator comes back to us, and is sent again: to whom it came from, but through logs in between.
        let validator = heard.entry("If-None-Match".to_owned()).or_default();
        validator.extend(arrival.if_none_match.unwrap_or_default().into_bytes());
        validator.push(b'\n');
        heard.entry("URLs".to_owned()).or_default().extend(format!("{}\n", arrival.target).into_bytes());
    }
    for what in ["x.db", "first.db", "x.db-wal", "log.json", "log.pretty", "backup.db"] {
        let is_there = heard.keys().any(|name| name.ends_with(&format!("/{what}")));
        assert!(is_there, "{what} was not looked at: {:?}", heard.keys());
    }
    let mut leaks = Vec::new();
    for (what, bytes) in &heard {
        for key in CANARIES {
            if let Some(around) = holds(bytes, key) {
                leaks.push(format!("{key} in {what}: {around:?}"));
            }
        }
    }
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    std::fs::remove_dir_all(credential(desk).parent().unwrap()).unwrap();
}

fn credential(desk: &Desk) -> PathBuf {
    PathBuf::from(&desk.env[1].1).join("third")
}
