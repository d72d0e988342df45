//! Every misbehaviour of a provider, met by the running daemon: single requests and lists, both providers. After each
//! what is known stays, the request has its one row, and the next poll finds all well by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use segsync::model::Op;
use segsync::simulator::{Fault, Moment, On, Provider, Settings, Simulator, Times};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::common::{BOTH, Bench, ID, name, put, unlimited, until};
use crate::wild::desk::{Desk, GUARD, stop};

/// A misbehaviour: what its poll is recorded as.
struct Case {
    fault: Fault,
    outcome: &'static str,
    status: Option<u16>,
    /// In the poll's error.
    says: &'static str,
}

fn case(fault: Fault, outcome: &'static str, status: impl Into<Option<u16>>, says: &'static str) -> Case {
    Case { fault, outcome, status: status.into(), says }
}

/// An answer as it stands on the wire, after the protocol's version.
fn wire(answer: &[u8]) -> Fault {
    Fault::garbage(&[b"HTTP/1.1 ", answer].concat())
}

/// Answers of which nothing can be told.
fn senseless() -> Vec<Case> {
    let json = |text: &str| Fault::answer().json(text);
    let bad = |fault, says| case(fault, "malformed", 200, says);
    let deep = |open: &str, close: &str| format!("{}0{}", open.repeat(10_000), close.repeat(10_000));
    let held = |value: &str| json(&format!("{{\"data\":{{\"id\":\"{ID}\",\"deep\":{value}}},\"oId\":{value}}}"));
    vec![
        bad(json(""), "not JSON"),
        bad(json("{\"data\":"), "not JSON"),
        bad(json("{\"data\":1}{\"data\":1}"), "not JSON"),
        bad(json("\u{feff}{}"), "not JSON"),
        bad(json(&deep("[", "]")), "not JSON"),
        bad(held(&deep("[", "]")), "not JSON"),
        bad(held(&deep("{\"a\":", "}")), "not JSON"),
        // The last one of two equal keys counts.
        bad(json(&format!("{{\"data\":[],\"data\":\"{ID}\",\"oId\":\"{ID}\",\"oId\":7}}")), ""),
        bad(json("{}"), ""),
        bad(json("null"), ""),
        bad(json("\"text\""), ""),
        bad(Fault::answer().html("<html>\n<h1>Please log in</h1></html>"), "not JSON"),
        bad(wire(b"200 OK\r\ncontent-length: 2\r\n\r\n\xff\xfe"), "not UTF-8"),
        bad(wire(b"200 OK\r\ncontent-length: 19\r\n\r\n{\"data\":\"caf\xe9\",\"a\":"), "not UTF-8"),
        bad(Fault::truncated(), "ended early"),
        bad(Fault::huge(2, true), "larger than 1048576 bytes"),
        bad(Fault::huge(2, false), "larger than 1048576 bytes"),
        bad(Fault::answer().json("{}").header("content-encoding", "gzip"), "ended early"),
        bad(wire(b"200 OK\r\ncontent-length: 1\r\n\r\n{\"data\":[]}"), "not JSON"),
        bad(wire(b"200 OK\r\ncontent-length: 999999999999\r\n\r\n{\"data\":[]}"), "ended early"),
        bad(wire(b"200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n"), "ended early"),
        bad(wire(b"200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n"), "ended early"),
        bad(wire(b"200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n"), "ended early"),
    ]
}

/// No usable answer at all.
fn failures() -> Vec<Case> {
    let none = |fault| case(fault, "failed", None, "");
    let (many, long) = ((0..1000).map(|number| format!("x-{number}: y\r\n")).collect::<String>(), "y".repeat(1 << 20));
    let headers = |lines: &str| wire(format!("200 OK\r\n{lines}content-length: 2\r\n\r\n{{}}").as_bytes());
    let mut cases = vec![
        none(headers(&many)),
        none(headers(&format!("x: {long}\r\n"))),
        none(headers("content-length: 3\r\n")),
        none(headers("content-length: -1\r\n")),
        none(headers("x y\r\n")),
        none(wire(b"2OO OK\r\n\r\n")),
        none(wire(b"200 OK\r\ncontent-le")),
        none(Fault::garbage(b"")),
        none(Fault::garbage(b"<html>no headers at all</html>")),
        none(Fault::garbage(b"\x15\x03\x01\x00\x02\x02\x28")),
        none(Fault::garbage(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
        none(Fault::reset(Moment::BeforeHeaders)),
        case(Fault::reset(Moment::AfterHeaders), "failed", 200, ""),
        case(Fault::reset(Moment::MidBody), "failed", 200, ""),
        case(Fault::status(304), "failed", 304, "no validator"),
        case(Fault::status(206).json("{\"data\":[]}").header("content-range", "bytes 0-10/99"), "failed", 206, ""),
        case(Fault::status(500).html("<h1>line one\nline two</h1>"), "failed", 500, "line one line two"),
    ];
    for status in [201, 204, 300, 400, 405, 408, 410, 418, 425, 500, 502, 503, 504, 599] {
        cases.push(case(Fault::status(status), "failed", status, "HTTP "));
    }
    cases
}

/// Ways to somewhere else, and round and round.
fn redirects(elsewhere: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for status in [301, 302, 303, 307, 308] {
        for target in [
            format!("http://{elsewhere}/console/v1/segments/{ID}?key={{key}}"),
            format!("//{elsewhere}/api/v2/segment/get?oId={ID}"),
            format!("http://{{key}}@{elsewhere}/"),
            format!("/console/v1/segments/{ID}"),
            String::new(),
        ] {
            let fault =
                Fault::status(status).header("location", &target).header("refresh", &format!("0; url={target}"));
            cases.push(case(fault, "failed", status, "redirect refused"));
        }
    }
    cases
}

/// Both providers, with one small segment each.
async fn bench(fetch: &str) -> Bench {
    let mut bench = Bench::empty(unlimited()).await;
    bench.put("\"description\":\"first\"");
    bench.written.fetch = fetch.to_owned();
    bench.written.poll = "every = \"5ms\"\ntimeout = \"60s\"".to_owned();
    bench.written.source = "limits = []\nmax_body = \"1MiB\"".to_owned();
    bench.pass().await;
    bench
}

/// The daemon meets the faults one by one; then an edit, which it must see. Returns the rows of the polls since, of each
/// provider: outcome, status, error.
async fn meet(bench: &Bench, faults: &[&Fault]) -> [Vec<String>; 2] {
    let last = bench.count("SELECT max(id) FROM polls");
    for fault in faults {
        bench.misbehave(Times::Next(1), fault);
    }
    bench
        .run(async |running| {
            let is_over = |provider| bench.simulator.faults_left(provider) == 0;
            bench.simulator.arrivals_until(|_| BOTH.into_iter().all(is_over)).await;
            let others = "SELECT count(*) FROM versions WHERE op <> 'create' OR document NOT LIKE '%first%'";
            assert_eq!(bench.count(others), 0, "nothing of it became a version");
            bench.put("\"description\":\"second\"");
            for _ in BOTH {
                assert_eq!(running.events.recv().await.unwrap().op, Op::Update);
            }
        })
        .await;
    assert_eq!(bench.rows("SELECT DISTINCT state, last_error FROM sources"), ["ok -"]);
    assert_eq!(bench.rows("SELECT DISTINCT state, version, failures FROM segments"), ["present 2 0"]);
    bench.assert_one_row_per_request();
    BOTH.map(|provider| {
        bench.rows(&format!(
            "SELECT p.outcome, p.http_status, p.error FROM polls AS p JOIN sources AS s ON s.id = p.source_id
             WHERE s.name = '{}' AND p.id > {last} ORDER BY p.id",
            name(provider)
        ))
    })
}

async fn one_by_one(fetch: &str, cases: Vec<Case>) {
    let (bench, well) = (bench(fetch).await, Fault::answer());
    let faults: Vec<&Fault> = cases.iter().flat_map(|case| [&case.fault, &well]).collect();
    let told = meet(&bench, &faults).await;
    for (provider, rows) in BOTH.into_iter().zip(told) {
        for (number, (case, pair)) in cases.iter().zip(rows.chunks(2)).enumerate() {
            let status = case.status.map_or("-".to_owned(), |status| status.to_string());
            let (at, row) = (format!("{fetch}, {provider:?}, {number}, {:?}", case.says), &pair[0]);
            assert!(row.starts_with(&format!("{} {status} ", case.outcome)) && row.contains(case.says), "{at}: {row}");
            let is_plain = row.chars().all(|char| !char.is_control()) && row.chars().count() <= 330;
            let has_key = BOTH.iter().any(|provider| row.contains(crate::common::api_key(*provider)));
            assert!(is_plain && !has_key, "{at}: {row}");
            assert_eq!(pair[1], "unchanged 200 -", "the next poll after {at}");
        }
    }
}

#[tokio::test]
async fn senseless_answers_change_nothing() {
    tokio::join!(one_by_one("each", senseless()), one_by_one("list", senseless()));
}

#[tokio::test]
async fn answers_of_another_segment_change_nothing() {
    let other = |id: &str| case(Fault::wrong_id(id), "malformed", 200, "another segment");
    let cases = vec![
        other("another"),
        other("SEG_1"),
        other("seg_1 "),
        other("seg_1\u{0}"),
        other("\u{1b}]0;x\u{7}\n"),
        case(Fault::wrong_id(""), "malformed", 200, "no segment"),
        case(Fault::missing_id(), "malformed", 200, "no segment"),
    ];
    one_by_one("each", cases).await;
}

#[tokio::test]
async fn failures_change_nothing() {
    tokio::join!(one_by_one("each", failures()), one_by_one("list", failures()));
}

#[tokio::test]
async fn an_answer_is_known_by_what_it_is_and_not_by_its_content_type() {
    for fetch in ["each", "list"] {
        let faults = ["text/html", "image/png", "application/json; charset=latin1", ";;"]
            .map(|kind| Fault::answer().header("content-type", kind));
        let told = meet(&bench(fetch).await, &faults.iter().collect::<Vec<_>>()).await;
        assert!(told.iter().flatten().take(faults.len()).all(|row| row == "unchanged 200 -"), "{told:?}");
    }
}

#[tokio::test]
async fn a_redirect_takes_the_key_nowhere() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = listener.local_addr().unwrap().to_string();
    let (callers, seen) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let (count, mut tasks) = (Arc::clone(&callers), seen);
    tasks.spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    tokio::join!(one_by_one("each", redirects(&elsewhere)), one_by_one("list", redirects(&elsewhere)));
    // One more caller, so that all before it have been counted.
    drop(tokio::net::TcpStream::connect(&elsewhere).await.unwrap());
    until("the last caller", async || callers.load(Ordering::Relaxed) > 0).await;
    assert_eq!(callers.load(Ordering::Relaxed), 1, "somebody followed");
}

#[tokio::test]
async fn a_byte_a_second_is_given_up_in_time() {
    for fetch in ["each", "list"] {
        let mut bench = bench(fetch).await;
        bench.written.poll = "every = \"5ms\"\ntimeout = \"1s\"".to_owned();
        let told = meet(&bench, &[&Fault::answer().drip(1_000_000, Duration::from_secs(1))]).await;
        assert!(told.iter().all(|rows| rows[0].ends_with("no whole answer within 1s")), "{fetch}: {told:?}");
    }
}

// A list's page is cut at each byte in `tests/sweeps/faults.rs`.
#[tokio::test]
async fn an_answer_cut_at_any_byte_changes_nothing() {
    let bench = bench("each").await;
    let length = usize::try_from(bench.count("SELECT min(bytes) FROM polls")).unwrap();
    let cuts: Vec<Fault> = (0..length).map(Fault::cut).collect();
    let told = meet(&bench, &cuts.iter().collect::<Vec<_>>()).await;
    for (provider, rows) in BOTH.into_iter().zip(told) {
        let is_cut = |row: &&String| row.starts_with("malformed 200 body ended early");
        assert_eq!(rows.iter().take_while(is_cut).count(), length, "{provider:?}");
    }
}

/// The most memory that a process ever had in use, in KiB.
fn peak(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn however_much_is_sent_little_is_kept_in_memory() {
    let simulator = Simulator::start(Settings { gzip: true, ..unlimited() }).await.unwrap();
    BOTH.into_iter().for_each(|provider| put(&simulator, provider, ID, ""));
    // One provider by single requests, the other by its list.
    let source = format!("limits = []\nevery = \"5ms\"\nsegments = [{ID:?}]\nmax_body = \"1MiB\"");
    let mut desk = Desk::new(simulator, &source);
    desk.fetch = |provider| if provider == Provider::Statsig { "each" } else { "list" };
    desk.configure();
    let child = desk.start("log");
    let answered = async |count: usize| {
        let before = desk.simulator.arrivals().len();
        let is_enough = |provider: Provider, all: &[segsync::simulator::Arrival]| {
            all[before..].iter().filter(|one| one.provider == Some(provider) && one.status.is_some()).count() > count
        };
        let enough = |all: &[_]| BOTH.into_iter().all(|provider| is_enough(provider, all));
        timeout(GUARD, desk.simulator.arrivals_until(enough)).await.expect("no hang");
    };
    answered(20).await;
    let usual = peak(child.id().unwrap());
    // The last one is 64 GiB: to read it to its end would take longer than the guard allows.
    let faults = [Fault::huge(64, true), Fault::huge(64, false), Fault::gzip_bomb(64 << 10)];
    for fault in &faults {
        for provider in BOTH {
            desk.simulator.misbehave(provider, On::Any, Times::Next(1), fault.clone());
        }
    }
    answered(20).await;
    let large = "SELECT count(*) || '' FROM polls WHERE outcome = 'malformed' AND error LIKE '%larger than%'";
    let is_told = |_: &[_]| desk.query(large) == (2 * faults.len()).to_string();
    timeout(GUARD, desk.simulator.arrivals_until(is_told)).await.expect("no hang");
    assert!(BOTH.into_iter().all(|provider| desk.simulator.faults_left(provider) == 0));
    let worst = peak(child.id().unwrap());
    println!("{usual} KiB before, {worst} KiB after {} answers of 64 MiB and more", 2 * faults.len());
    assert!(worst - usual < 16 << 10, "{usual} KiB before, {worst} KiB after");
    stop(child).await;
}
