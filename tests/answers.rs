//! What each answer means (DESIGN §5), for both providers, through the whole pipe: one pass a step.

use std::time::Duration;

use crate::common::{BOTH, Bench, ID, Row, name, unlimited};
use segsync::simulator::{Fault, Moment, Provider, Settings, Times};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const ONCE: Times = Times::Next(1);

/// An answer that tells nothing of the segment: what it is recorded as.
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

/// A present segment meets each case, and then a good answer again: nothing but the poll is recorded.
async fn nothing_changes(bench: &Bench, cases: Vec<Case>) {
    bench.pass().await;
    for (number, Case { fault, outcome, status, says }) in cases.into_iter().enumerate() {
        bench.misbehave(ONCE, &fault);
        bench.pass().await;
        for provider in BOTH {
            let at = format!("case {number}, {says:?}, {provider:?}");
            let row = bench.row(provider);
            assert_eq!((row.outcome.as_deref(), row.status), (Some(outcome), status), "{at}: {row:?}");
            let error = row.error.unwrap();
            assert!(error.contains(says) && !error.contains('\n') && error.chars().count() <= 300, "{at}: {error}");
            assert_eq!((row.state.as_str(), row.version, row.failures), ("present", 1, 1), "{at}");
            assert_eq!(row.source_state, "ok", "{at}: one failure is no state of a source");
        }
        bench.pass().await;
        for provider in BOTH {
            let row = bench.row(provider);
            let healed = ("unchanged", 1, 0, None);
            assert_eq!(
                (row.outcome.as_deref().unwrap(), row.version, row.failures, row.error),
                healed,
                "case {number}"
            );
        }
    }
    assert_eq!(bench.count("SELECT count(*) FROM versions"), 2);
    bench.assert_one_row_per_request();
}

#[tokio::test]
async fn a_200_is_new_then_the_same_then_different() {
    let bench = Bench::new().await;
    let mut seen = Vec::new();
    for step in 0..3 {
        if step == 2 {
            bench.describe("now different");
        }
        bench.pass().await;
        seen.push(BOTH.map(|provider| {
            let Row { outcome, status, error, version, .. } = bench.row(provider);
            assert_eq!((status, error), (Some(200), None));
            (outcome.unwrap(), version)
        }));
    }
    let told = |outcome: &str, version| [(outcome.to_owned(), version), (outcome.to_owned(), version)];
    assert_eq!(seen, [told("created", 1), told("unchanged", 1), told("updated", 2)]);
    for provider in BOTH {
        assert!(bench.changes(provider).contains(&"replace description \"\" \"now different\"".to_owned()));
        assert_eq!(
            bench.rows(&format!(
                "SELECT count(*) FROM change_log WHERE source = '{}' AND op = 'create'",
                name(provider)
            )),
            ["1"]
        );
    }
    assert_eq!(bench.count("SELECT count(*) FROM polls WHERE usage IS NOT NULL"), 3, "Octave tells the usage");
    let arrivals = bench.simulator.arrivals();
    assert!(arrivals.iter().all(|a| a.api_version.is_some() == (a.provider == Some(Provider::Statsig))));
    bench.assert_one_row_per_request();
}

#[tokio::test]
async fn a_validator_saves_the_body_and_nothing_else() {
    let bench = Bench::with(Settings { etags: true, ..unlimited() }).await;
    assert_eq!(bench.step().await, "created present v1");
    assert_eq!(bench.step().await, "unchanged present v1");
    assert_eq!(BOTH.map(|provider| bench.row(provider).status), [Some(304); 2]);
    assert_eq!(bench.count("SELECT count(*) FROM segments WHERE last_checked_at > first_seen_at"), 2);
    bench.describe("x");
    assert_eq!(bench.step().await, "updated present v2");
    // An answer without a validator replaces the old one: the next request asks for the whole.
    bench.misbehave(ONCE, &Fault::answer().header("etag", &"long".repeat(100)));
    bench.describe("y");
    assert_eq!(bench.step().await, "updated present v3");
    assert_eq!(bench.step().await, "unchanged present v3");
    let sent = || bench.simulator.arrivals().iter().filter(|arrival| arrival.if_none_match.is_some()).count();
    assert_eq!((sent(), BOTH.map(|provider| bench.row(provider).status)), (6, [Some(200); 2]));

    // A single 404 keeps the validator; the way back from a deletion must not be "not modified".
    bench.remove();
    assert_eq!(bench.step().await, "not_found present v3");
    assert_eq!(bench.step().await, "deleted deleted v4");
    assert_eq!(sent(), 10);
    bench.restore();
    assert_eq!(bench.step().await, "restored present v5");
    assert_eq!(bench.step().await, "unchanged present v5");
    assert_eq!((sent(), BOTH.map(|provider| bench.row(provider).status)), (12, [Some(304); 2]));
    bench.assert_one_row_per_request();
}

#[tokio::test]
async fn what_is_no_segment_is_malformed() {
    let mut bench = Bench::new().await;
    bench.written.source.push_str("\nmax_body = \"1MiB\"");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let json = |text: &str| Fault::answer().json(text);
    nothing_changes(
        &bench,
        vec![
            case(json("{\"message\": nonsense"), "malformed", 200, "not JSON"),
            case(json(""), "malformed", 200, "not JSON"),
            case(json(&deep), "malformed", 200, "not JSON"),
            case(Fault::answer().html("<html>\n<h1>Maintenance</h1>"), "malformed", 200, "not JSON"),
            case(json("[]"), "malformed", 200, "no segment"),
            case(json("null"), "malformed", 200, "no segment"),
            case(json("{\"data\":[]}"), "malformed", 200, "no segment"),
            case(Fault::wrong_id("another"), "malformed", 200, "another segment: its id is \"another\""),
            case(Fault::wrong_id("SEG_1"), "malformed", 200, "another segment"),
            case(Fault::wrong_id(""), "malformed", 200, "no segment"),
            case(Fault::missing_id(), "malformed", 200, "no segment"),
            case(Fault::huge(2, true), "malformed", 200, "larger than 1048576 bytes"),
            case(Fault::huge(2, false), "malformed", 200, "larger than 1048576 bytes"),
            case(Fault::truncated(), "malformed", 200, "ended early"),
            case(Fault::answer().header("content-encoding", "gzip"), "malformed", 200, "ended early"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_gzip_bomb_stops_at_the_cap() {
    let mut bench = Bench::with(Settings { gzip: true, ..unlimited() }).await;
    bench.written.source.push_str("\nmax_body = \"1MiB\"");
    // 64 GiB: to read it to its end would take longer than the guard allows.
    let bomb = Fault::gzip_bomb(64 << 10);
    let truncated = Fault::truncated();
    nothing_changes(
        &bench,
        vec![
            case(bomb, "malformed", 200, "larger than 1048576 bytes"),
            case(truncated, "malformed", 200, "ended early"),
            case(Fault::reset(Moment::MidBody), "failed", 200, ""),
        ],
    )
    .await;
    let accepted =
        bench.simulator.arrivals().into_iter().all(|a| a.accept_encoding.is_some_and(|e| e.contains("gzip")));
    assert!(accepted);
}

#[tokio::test]
async fn a_lost_answer_is_a_failure() {
    let bench = Bench::new().await;
    let garbage = Fault::garbage(b"\x16\x03\x01 not HTTP at all\r\n\r\n");
    nothing_changes(
        &bench,
        vec![
            case(Fault::reset(Moment::BeforeHeaders), "failed", None, ""),
            case(Fault::reset(Moment::AfterHeaders), "failed", 200, ""),
            case(Fault::reset(Moment::MidBody), "failed", 200, ""),
            case(garbage, "failed", None, ""),
            case(Fault::garbage(b""), "failed", None, ""),
            case(Fault::garbage(b"HTTP/1.1 200 OK\r\ncontent-le"), "failed", None, ""),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_late_answer_is_a_failure() {
    let mut bench = Bench::new().await;
    bench.pass().await;
    bench.written.poll = "every = \"1h\"\ntimeout = \"1500ms\"".to_owned();
    let never = CancellationToken::new();
    let slow = Fault::answer().drip(100, Duration::from_millis(100));
    let late_refusal = Fault::status(404).text("gone, and more to come").drip(100, Duration::from_millis(100));
    for (fault, status) in [(Fault::answer().gated(&never), None), (slow, Some(200)), (late_refusal, Some(404))] {
        bench.misbehave(ONCE, &fault);
        bench.pass().await;
        for provider in BOTH {
            let Row { outcome, status: seen, error, version, .. } = bench.row(provider);
            assert_eq!((outcome.as_deref(), seen, version), (Some("failed"), status, 1), "{error:?}");
            assert!(error.unwrap().contains("no whole answer within 1s 500ms"));
        }
        never.cancel();
    }
    assert_eq!(bench.count("SELECT count(*) FROM segments WHERE failures = 3 AND last_error IS NOT NULL"), 2);
}

#[tokio::test]
async fn a_source_fails_after_three_failures_in_a_row() {
    let mut bench = Bench::new().await;
    let states = "SELECT DISTINCT state, last_error FROM sources";
    for (ids, expected) in [(&[ID, "a"][..], "ok -"), (&[ID, "a", "b"], "failing HTTP 500, the provider failed")] {
        bench.name(ids);
        bench.misbehave(Times::Next(ids.len()), &Fault::status(500));
        bench.pass().await;
        assert_eq!(bench.rows(states), [expected]);
    }
    assert_eq!(bench.rows("SELECT DISTINCT failures FROM segments ORDER BY 1"), ["1", "2"]);
    bench.pass().await;
    assert_eq!(bench.rows(states), ["ok -"]);
}

#[tokio::test]
async fn other_statuses_are_failures() {
    let bench = Bench::new().await;
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = format!("http://{}/console/v1/segments/{ID}", target.local_addr().unwrap());
    let message = "{\"message\":\"line one\\nline two\"}";
    let long = format!("<html>{}</html>", "very long \u{1f600} ".repeat(2000));
    let mut cases = vec![
        case(Fault::status(500).json(message), "failed", 500, "line one line two"),
        case(Fault::status(500).html(&long), "failed", 500, "very long"),
        case(Fault::status(502), "failed", 502, "HTTP 502"),
        case(Fault::status(503), "failed", 503, "HTTP 503"),
        case(Fault::status(304), "failed", 304, "no validator"),
        case(Fault::redirect(&elsewhere), "failed", 302, "redirect refused"),
        case(Fault::redirect(&elsewhere).json("{}"), "failed", 302, "redirect refused"),
    ];
    for status in [301, 303, 307, 308] {
        let redirect = Fault::status(status).header("location", &elsewhere);
        cases.push(case(redirect, "failed", status, "redirect refused"));
    }
    for status in [204, 206, 203, 400, 402, 405, 408, 409, 410, 418, 425, 451, 501, 599] {
        cases.push(case(Fault::status(status), "failed", status, "HTTP "));
    }
    nothing_changes(&bench, cases).await;
    let reached = tokio::time::timeout(Duration::ZERO, target.accept()).await;
    assert!(reached.is_err(), "a redirect was followed");
}
