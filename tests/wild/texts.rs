//! Texts of a provider that would command a terminal, a spreadsheet, a browser, a database or a parser: every way out is
//! safe, and `show --format json` still gives the very bytes.

use std::path::PathBuf;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::Connection;
use segsync::simulator::Simulator;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::{BOTH, name, unlimited};
use crate::wild::desk::{Desk, GUARD, stop};
use crate::wild::wire::{ask, get};

const NASTY: [&str; 20] = [
    "\u{1b}[31m\u{1b}[2J\u{1b}[H",
    "\u{1b}]0;owned\u{7}\u{1b}]8;;https://x.example\u{1b}\\click\u{1b}]52;c;cm0=\u{7}",
    "\u{9b}2J\u{9d}0;owned\u{9c}\u{90}q\u{9c}",
    "\u{202e}fdp.exe\u{2066}\u{200f}\u{61c}",
    "one\ntwo\rthree\r\nfour\u{b}\u{c}\u{85}five\u{2028}six\u{2029}",
    "x\r\nHTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\n\r\n<html>",
    "x\n\nevent: version\nid: 999\ndata: {}\n\n",
    "x\n# HELP up Fake.\nup 1\n",
    "nul\0nul",
    "back\u{8}space\u{7f}\t",
    "'\"`\\ \"\"\" '' $(id) `id` ${HOME} %s%n%d {} {0} {name}",
    "=cmd|'/c calc'!A0",
    "+1+1",
    "-1-1",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "<script>alert(1)</script><img src=x onerror=alert(1)>&lt;",
    "'; DROP TABLE versions; --",
    "{\"a\":1},[key],null,\u{1f600}\u{301}\u{fffd}\u{feff}",
];

/// What nothing that people read may hold. Not the program's own list.
fn commands(char: char) -> bool {
    let code = u32::from(char);
    code < 0x20
        || (0x7f..0xa0).contains(&code)
        || [0x61c, 0x200e, 0x200f, 0x2028, 0x2029].contains(&code)
        || (0x202a..=0x202e).contains(&code)
        || (0x2066..=0x2069).contains(&code)
}

/// A text of lines that can be shown.
fn assert_harmless(what: &str, text: &str) {
    let found = text.chars().find(|char| commands(*char) && *char != '\n');
    assert!(found.is_none(), "{found:?} in {what}: {text:?}");
}

fn id(number: usize) -> String {
    format!("{}{number}", NASTY[number])
}

/// A document that is nasty everywhere.
fn document(number: usize, edit: &str) -> String {
    let text = NASTY[number];
    let more = format!("{text}{edit}{text}");
    json!({
        "id": id(number), "oId": id(number), "name": text, "internalName": text, "description": more, "tags": [text, more],
        "lastModifierName": format!("{text}{edit}"), "lastModifierEmail": format!("{text}@example.com"),
        "lastModifierID": text, "creatorName": text, "creatorEmail": text, "type": text, "idType": text,
        "userOId": text, "userName": text, "updatedAt": text,
        "rules": [
            { "id": text, "name": text, "passPercentage": edit.len(), "conditions": [{ "type": text, "targetValue": [text, more] }] },
            { "id": "plain", "name": format!("{text} too"), "passPercentage": 1, "conditions": [] },
        ],
        "qualifyingQuestions": [{ "question": text, "rationale": more }],
        "customFields": [{ "title": text, "value": more }],
        text: { text: more },
    })
    .to_string()
}

fn edit(simulator: &Simulator, edit: &str) {
    for number in 0..NASTY.len() {
        simulator.statsig().put_raw(&id(number), &document(number, edit));
        simulator.octave().put_raw(&id(number), &document(number, edit));
    }
}

/// The cells of all rows, as RFC 4180 has them.
fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut is_quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if is_quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !is_quoted && chars.peek() == Some(&'\n') => {
                chars.next();
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            other => cell.push(other),
        }
    }
    assert!(cell.is_empty() && row.is_empty(), "the last row ends");
    rows
}

fn assert_table(what: &str, text: &str) {
    let rows = rows(text);
    assert!(rows.len() > 1, "{what}: {text:?}");
    for row in &rows {
        assert_eq!(row.len(), rows[0].len(), "{what}: {row:?}");
        for cell in row {
            assert_harmless(what, cell);
            assert!(!cell.contains('\n') && !cell.starts_with(['=', '+', '-', '@']), "{what}: {cell:?}");
        }
    }
}

fn assert_objects(what: &str, text: &str) {
    assert!(!text.is_empty(), "{what}");
    for line in text.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|value| value.is_object()), "{what}: {line}");
    }
}

struct Texts {
    desk: Desk,
    socket: PathBuf,
}

impl Texts {
    async fn new() -> Self {
        let desk =
            Desk::new(Simulator::start(unlimited()).await.unwrap(), "limits = []\nevery = \"5ms\"\nsegments = \"all\"");
        let socket = desk.path("api.sock");
        Self { desk, socket }
    }

    /// The daemon sees this edit of everything.
    async fn live(&mut self, format: &str, text: &str) -> tokio::process::Child {
        let desk = &mut self.desk;
        desk.head = format!(
            "[http]\nlisten = \"unix:{}\"\n[log]\nlevel = \"trace\"\nformat = \"{format}\"\n",
            self.socket.display()
        );
        desk.configure();
        edit(&desk.simulator, text);
        let child = desk.start(&format!("log.{format}"));
        let wanted = 2 * NASTY.len();
        let sql = format!("SELECT count(*) FROM segment_now WHERE document LIKE '%{text}%'");
        let seen = |_: &[_]| self.count(&sql) == Some(wanted);
        timeout(GUARD, self.desk.simulator.arrivals_until(seen)).await.expect("no hang");
        child
    }

    fn count(&self, sql: &str) -> Option<usize> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let file = Connection::open_with_flags(self.desk.path("x.db"), flags).ok()?;
        usize::try_from(file.query_row(sql, [], |row| row.get::<_, i64>(0)).ok()?).ok()
    }

    /// Every segment's source, id and document.
    fn documents(&self) -> Vec<(String, String, String)> {
        let file = Connection::open(self.desk.path("x.db")).unwrap();
        let mut all = file.prepare("SELECT source, segment, document FROM segment_now ORDER BY 1, 2").unwrap();
        let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    async fn over_http(&self) {
        let versions = self.count("SELECT max(id) FROM versions").unwrap();
        for (source, id, document) in self.documents() {
            let path = format!("/v1/segments/{source}/{}", utf8_percent_encode(&id, NON_ALPHANUMERIC));
            let told = get(&self.socket, &path, "").await;
            assert_head(&path, &told.head, "application/json");
            assert!(told.body.contains(&format!(",\"document\":{document}}}")), "{path}: byte for byte: {told:?}");
            assert_objects(&path, &told.body);
            let missing = get(&self.socket, &format!("{path}%0A"), "").await;
            assert!(missing.head.starts_with("HTTP/1.1 404"), "{missing:?}");
            assert_head(&path, &missing.head, "application/problem+json");
        }
        for path in ["/v1/status", "/v1/segments", "/v1/changes?limit=1000", "/proxy/statsig/console/v1/segments"] {
            let told =
                get(&self.socket, path, &format!("statsig-api-key: {}\r\n", segsync::simulator::STATSIG_KEY)).await;
            assert_head(path, &told.head, "application/json");
            assert_objects(path, &told.body);
        }
        let metrics = get(&self.socket, "/metrics", "").await.body;
        for line in metrics.lines() {
            assert_harmless("metrics", line);
            let is_ours = ["# ", "segsync_", "process_"].iter().any(|start| line.starts_with(start));
            assert!(is_ours, "{line:?}");
        }
        let last = format!("\nid: {versions}\n");
        let whole = |text: &str| text.find(&last).is_some_and(|at| text[at..].contains("\n\n"));
        let stream = ask(&self.socket, "/v1/changes/stream?after=0", "", whole).await;
        assert_head("stream", &stream.head, "text/event-stream");
        self.framed(&stream.body, versions);
    }

    /// A stream of events, each whole: what is in their data begins no field and no event.
    fn framed(&self, body: &str, versions: usize) {
        // The sizes of chunks stand on lines of their own, between events or at the end.
        let is_size = |line: &str| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (mut ids, mut data) = (Vec::new(), 0);
        for line in body.split("\r\n").filter(|part| !is_size(part)).flat_map(|part| part.split('\n')) {
            match line.split_once(": ") {
                Some(("id", id)) => ids.push(id.parse::<usize>().unwrap()),
                Some(("data", text)) => {
                    assert_objects("data", text);
                    data += 1;
                }
                Some(("event", event)) => assert_eq!(event, "version"),
                _ => assert_eq!(line, "", "a line of the stream"),
            }
        }
        assert_eq!((ids, data), ((1..=versions).collect(), versions));
    }
}

/// One answer's head, with nothing of a provider's in it.
fn assert_head(path: &str, head: &str, kind: &str) {
    let mut lines = head.split("\r\n");
    assert!(lines.next().is_some_and(|status| status.starts_with("HTTP/1.1 ")), "{path}: {head:?}");
    let mut kinds = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{path}: {line:?}"));
        assert_harmless(path, value);
        assert!(!value.contains('\n') && name != "set-cookie", "{path}: {line:?}");
        if name == "content-type" {
            kinds.push(value.to_owned());
        }
    }
    assert!(head.contains("x-content-type-options: nosniff"), "{path}: {head}");
    assert!(kinds.len() == 1 && kinds[0].starts_with(kind), "{path}: {kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_does_anything() {
    let mut texts = Texts::new().await;
    let child = texts.live("json", "(first)").await;
    stop(child).await;
    let child = texts.live("pretty", "(second)").await;
    texts.over_http().await;
    let desk = &texts.desk;
    // Errors are a provider's text, too. A list that fails for good leaves its segments stale.
    for provider in BOTH {
        let page = format!("{{\"message\":{}}}", json!(NASTY.concat()));
        let fault = segsync::simulator::Fault::status(500).json(&page);
        desk.simulator.misbehave(provider, segsync::simulator::On::Any, segsync::simulator::Times::Always, fault);
    }
    let failing = |_: &[_]| texts.count("SELECT count(*) FROM sources WHERE state = 'failing'") == Some(2);
    timeout(GUARD, desk.simulator.arrivals_until(failing)).await.expect("no hang");
    for path in ["/readyz", "/v1/status"] {
        let told = get(&texts.socket, path, "").await;
        assert_objects(path, &told.body);
        let lines: Value = serde_json::from_str(&told.body).unwrap();
        for reason in lines["reasons"].as_array().into_iter().flatten() {
            assert!(!reason.as_str().unwrap().contains(commands), "{path}: {reason}");
        }
    }
    stop(child).await;

    for format in ["json", "pretty"] {
        let log = std::fs::read_to_string(desk.path(&format!("log.{format}"))).unwrap();
        assert_harmless(format, &log);
        assert!(log.lines().count() > NASTY.len(), "{log}");
        for line in log.lines().filter(|_| format == "json") {
            // What the journal is told, too: a control character there would hide the whole line.
            let line: Value = serde_json::from_str(line).unwrap();
            assert!(!line["message"].as_str().unwrap().contains(commands), "{line}");
        }
    }

    let documents = texts.documents();
    for (source, id, document) in &documents {
        let is_as_sent = serde_json::from_str::<Value>(document).unwrap()["rules"][0]["name"].is_string();
        assert!(is_as_sent, "{source}/{id:?}");
    }
    // An argument holds no NUL; one of each source is enough for the verbs that take a segment.
    for (number, (source, id, document)) in documents.iter().enumerate().filter(|(_, (_, id, _))| !id.contains('\0')) {
        let key = format!("{source}/{id}");
        let shown = desk.run(&["show", &key, "--format", "json"]).await;
        assert_eq!((shown.out.strip_suffix('\n'), shown.code), (Some(document.as_str()), 0), "{key:?}: {}", shown.err);
        let verbs = [["status", &key], ["show", &key], ["log", &key], ["diff", &key]];
        let args = verbs[number % verbs.len()];
        let ended = desk.run(&args).await;
        assert!(!ended.out.is_empty() && [0, 3].contains(&ended.code), "{args:?}: {ended:?}");
        assert_harmless(args[0], &(ended.out + &ended.err));
        let ended = desk.run(&[args[0], &format!("{key}\u{1b}[2J\u{202e}")]).await;
        assert!(ended.code != 0 && !ended.err.is_empty(), "{ended:?}");
        assert_harmless(args[0], &(ended.out + &ended.err));
    }
    for args in
        [&["status"][..], &["log"], &["log", "--full"], &["log", "--oneline"], &["sync"], &["plan"], &["verify"]]
    {
        let ended = desk.run(args).await;
        assert!(!(ended.out.is_empty() && ended.err.is_empty()), "{args:?}");
        assert_harmless(args[0], &(ended.out + &ended.err));
    }
    for args in [["log", "csv"], ["status", "csv"], ["export", "csv"]] {
        let ended = desk.run(&[args[0], "--format", args[1]]).await;
        assert_table(args[0], &ended.out);
    }
    for args in [["log", "json"], ["status", "json"], ["export", "jsonl"], ["sync", "json"]] {
        let ended = desk.run(&[args[0], "--format", args[1]]).await;
        assert_objects(args[0], &ended.out);
    }
    let sources = BOTH.map(name).map(|name| {
        format!("SELECT count(*) FROM segments WHERE source_id = (SELECT id FROM sources WHERE name = '{name}')")
    });
    assert!(
        sources.iter().all(|sql| texts.count(sql) == Some(NASTY.len())),
        "nothing was dropped, and nothing came up"
    );
}
