//! Every misbehaviour of a provider while its list is read: what is known stays, each request has one row, and the next
//! pass finds all well.

use std::time::Duration;

use segsync::simulator::{Fault, Moment, On, Settings, Times};

use super::world::{BOTH, World, id, pages, unlimited};

/// How a page must be recorded that tells nothing.
struct Case {
    fault: Fault,
    outcome: &'static str,
    says: &'static str,
}

fn case(fault: Fault, outcome: &'static str, says: &'static str) -> Case {
    Case { fault, outcome, says }
}

/// A list of which one page meets each case, and then is good again.
async fn nothing_changes(mut world: World, cases: Vec<Case>) {
    world.full_pass().await;
    world.asked();
    let before = world.rows("SELECT * FROM segment_history ORDER BY segment");
    for Case { fault, outcome, says } in cases {
        let at = format!("{:?}, {says:?}", world.provider);
        let last = world.last_poll();
        world.misbehave(On::List, Times::Next(1), fault);
        let pass = world.full_pass().await;
        assert!(pass.endings.iter().all(|end| end.outcome.as_str() == outcome), "{at}: {:?}", pass.endings);
        let told = world.rows(&format!("SELECT kind, outcome FROM polls WHERE id > {last}"));
        assert_eq!(told, [format!("sweep {outcome}")], "{at}");
        let error = world.rows(&format!("SELECT error FROM polls WHERE id > {last}")).remove(0);
        assert!(error.contains(says) && !error.contains('\n') && error.chars().count() <= 300, "{at}: {error}");
        assert!(!error.contains(world.key()), "{at}: {error}");
        world.asked();
        assert_eq!(world.pass().await, pages(1..=1), "{at}");
        assert_eq!(world.rows("SELECT DISTINCT state || failures FROM segments"), ["present0"], "{at}");
    }
    assert_eq!(world.rows("SELECT * FROM segment_history ORDER BY segment"), before);
    assert_eq!(world.rows("SELECT state, last_error FROM sources"), ["ok -"]);
    world.assert_one_row_per_request();
}

#[tokio::test]
async fn a_page_that_is_none_is_malformed() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..3).await;
        world.more = "max_body = \"1MiB\"\n".to_owned();
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let deep_item = format!("{{\"data\":[{{\"id\":\"x\",\"oId\":\"x\",\"deep\":{deep}}}]}}");
        let json = |text: &str| Fault::answer().json(text);
        let cases = vec![
            case(json("{\"data\": [nonsense"), "malformed", "not JSON"),
            case(json(""), "malformed", "not JSON"),
            case(json(&deep), "malformed", "not JSON"),
            case(json(&deep_item), "malformed", "not JSON"),
            case(json("null"), "malformed", ""),
            case(json("7"), "malformed", ""),
            case(json("{}"), "malformed", ""),
            case(json("{\"data\":null}"), "malformed", ""),
            case(json("{\"data\":{}}"), "malformed", ""),
            case(json("{\"data\":[],\"data\":\"{key}\"}"), "malformed", ""),
            case(Fault::answer().html("<html>\n<h1>Log in, {key}</h1>"), "malformed", "not JSON"),
            case(Fault::huge(2, true), "malformed", "larger than 1048576 bytes"),
            case(Fault::huge(2, false), "malformed", "larger than 1048576 bytes"),
            case(Fault::truncated(), "malformed", "ended early"),
            case(Fault::answer().header("content-encoding", "gzip"), "malformed", "ended early"),
            case(garbage(b"200 OK\r\ncontent-length: 2\r\n\r\n\xff\xfe"), "malformed", "not UTF-8"),
            case(garbage(b"200 OK\r\ncontent-length: 1\r\n\r\n{\"data\":[]}"), "malformed", "not JSON"),
            case(garbage(b"200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n"), "malformed", "ended early"),
        ];
        nothing_changes(world, cases).await;
    }
}

/// An answer as it stands on the wire, after the protocol's version.
fn garbage(answer: &[u8]) -> Fault {
    Fault::garbage(&[b"HTTP/1.1 ", answer].concat())
}

#[tokio::test]
async fn a_page_without_a_usable_answer_has_failed() {
    for provider in BOTH {
        let world = World::new(provider, 0..3).await;
        let lines: String = (0..1000).map(|number| format!("x-{number}: y\r\n")).collect();
        let headers = garbage(format!("200 OK\r\n{lines}content-length: 2\r\n\r\n{{}}").as_bytes());
        let mut cases = vec![
            case(headers, "failed", ""),
            case(Fault::garbage(b"\x16\x03\x01 no HTTP at all\r\n\r\n"), "failed", ""),
            case(Fault::garbage(b""), "failed", ""),
            case(Fault::garbage(b"HTTP/1.1 200 OK\r\ncontent-le"), "failed", ""),
            case(garbage(b"200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}"), "failed", ""),
            case(Fault::reset(Moment::BeforeHeaders), "failed", ""),
            case(Fault::reset(Moment::AfterHeaders), "failed", ""),
            case(Fault::reset(Moment::MidBody), "failed", ""),
            case(Fault::redirect("https://elsewhere.example/{key}"), "failed", "redirect refused"),
            case(Fault::redirect("/console/v1/segments"), "failed", "redirect refused"),
            case(Fault::echo_key(500), "failed", "HTTP 500"),
        ];
        for status in [201, 204, 206, 300, 304, 307, 308, 400, 404, 405, 408, 410, 418, 425, 500, 502, 503, 504, 599] {
            cases.push(case(Fault::status(status), "failed", ""));
        }
        nothing_changes(world, cases).await;
    }
}

#[tokio::test]
async fn a_page_that_drips_is_given_up_in_time() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..3).await;
        world.full_pass().await;
        world.more = "timeout = \"1s\"\n".to_owned();
        let drip = Fault::answer().drip(200, Duration::from_millis(50));
        world.misbehave(On::List, Times::Next(1), drip);
        world.full_pass().await;
        let row = "SELECT outcome, error FROM polls ORDER BY id DESC LIMIT 1";
        assert_eq!(world.rows(row), ["failed no whole answer within 1s"], "{provider:?}");
        assert_eq!(world.rows("SELECT DISTINCT state || version FROM segments"), ["present1"]);
    }
}

#[tokio::test]
async fn a_page_cut_at_any_byte_is_malformed() {
    for provider in BOTH {
        let mut world = World::with(provider, 0..0, Settings { gzip: false, ..unlimited() }).await;
        world.put("a", "x");
        world.full_pass().await;
        let length = world.rows("SELECT bytes FROM polls ORDER BY id DESC LIMIT 1")[0].parse().expect("a number");
        assert!((40..400).contains(&length), "{length}");
        world.put("a", "y");
        for bytes in 0..length {
            world.misbehave(On::List, Times::Next(1), Fault::cut(bytes));
            world.full_pass().await;
        }
        let outcomes = "SELECT outcome, count(*) FROM polls WHERE id > 1 GROUP BY outcome";
        assert_eq!(world.rows(outcomes), [format!("malformed {length}")], "{provider:?}");
        assert_eq!(world.descriptions("a"), ["x"]);
        world.pass().await;
        assert_eq!(world.descriptions("a"), ["x", "y"]);
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn a_list_that_answers_another_id_shows_no_other_segment() {
    for provider in BOTH {
        let world = World::new(provider, 0..1).await.name(&[&id(0)]);
        world.full_pass().await;
        world.misbehave(On::List, Times::Next(1), Fault::answer().json(&world.page(&[("SEG_00000", "stranger")])));
        world.full_pass().await;
        assert_eq!(world.descriptions(&id(0)), ["first"], "{provider:?}");
        assert_eq!(world.count("SELECT count(*) FROM segments"), 1);
    }
}
