//! Refusals (DESIGN §5), for both providers, through the whole pipe: gone segments, refused keys, holds.

use std::time::Duration;

use crate::common::{BOTH, Bench, ID, api_key, put, unlimited};
use segsync::simulator::{Fault, Moment, Provider, Settings, Times, octave};

const ONCE: Times = Times::Next(1);

#[tokio::test]
async fn a_second_404_in_a_row_deletes() {
    let bench = Bench::new().await;
    let mut seen = Vec::new();
    for step in ["", "remove", "", "", "restore", "remove", "restore", "", "remove", "500", "", "malformed", "", ""] {
        match step {
            "remove" => bench.remove(),
            "restore" => bench.restore(),
            "500" => bench.misbehave(ONCE, &Fault::status(500)),
            "malformed" => bench.misbehave(ONCE, &Fault::status(200)),
            _ => (),
        }
        seen.push(bench.step().await);
    }
    let expected = [
        "created present v1",
        "not_found present v1",
        "deleted deleted v2",
        "not_found deleted v2",
        "restored present v3",
        "not_found present v3",
        // Back in between: the restore left its stamps.
        "updated present v4",
        "unchanged present v4",
        "not_found present v4",
        "failed present v4",
        "not_found present v4",
        "malformed present v4",
        "not_found present v4",
        "deleted deleted v5",
    ];
    assert_eq!(seen, expected);
    for provider in BOTH {
        assert_eq!(bench.ops(provider), ["create", "delete", "restore", "update", "delete"]);
    }
    assert_eq!(bench.count("SELECT count(*) FROM versions WHERE op = 'delete' AND document IS NULL"), 4);
    let of_null = "SELECT count(*) FROM changes AS c JOIN versions AS v ON v.id = c.version_id WHERE v.op <> 'update'";
    assert_eq!(bench.count(of_null), 0, "a deletion by 404 has no document to differ from");
    assert_eq!(bench.rows("SELECT DISTINCT state, last_error FROM sources"), ["ok -"]);
    bench.assert_one_row_per_request();
}

#[tokio::test]
async fn a_segment_that_was_never_there_is_not_deleted() {
    let bench = Bench::empty(unlimited()).await;
    for _ in 0..3 {
        assert_eq!(bench.step().await, "not_found pending v0");
    }
    bench.put("");
    assert_eq!(bench.step().await, "created present v1");
}

#[tokio::test]
async fn a_404_that_was_not_heard_out_deletes_nothing() {
    let bench = Bench::new().await;
    bench.pass().await;
    bench.remove();
    for fault in [Fault::reset(Moment::MidBody), Fault::truncated(), Fault::reset(Moment::AfterHeaders)] {
        bench.misbehave(Times::Next(2), &fault);
        assert_eq!(bench.step().await, "failed present v1");
        assert_eq!(bench.step().await, "failed present v1");
    }
    assert_eq!(bench.step().await, "not_found present v1");
    assert_eq!(bench.step().await, "deleted deleted v2");
}

#[tokio::test]
async fn a_good_answer_after_a_refused_key_or_a_hold_leaves_no_error_behind() {
    let bench = Bench::new().await;
    bench.pass().await;
    bench.misbehave(ONCE, &Fault::status(403));
    bench.pass().await;
    assert_eq!(bench.rows("SELECT DISTINCT state, last_error IS NULL FROM sources"), ["unauthorized 0"]);
    bench.remove();
    assert_eq!(bench.step().await, "not_found present v1");
    assert_eq!(bench.rows("SELECT DISTINCT state, last_error FROM sources"), ["ok -"], "a 404 is a good answer, too");
}

#[tokio::test]
async fn octaves_soft_deletion_is_a_deletion() {
    let mut bench = Bench::new().await;
    let octave = bench.simulator.octave();
    octave.add(octave::Segment::new("late", "Seen late"));
    octave.soft_delete("late").unwrap();
    bench.written.octave.push("late".to_owned());
    let mut seen = Vec::new();
    for step in 0..8 {
        match step {
            1 => octave.soft_delete(ID).unwrap(),
            2 => octave.edit(ID, |s| s.describe("edited while deleted")).unwrap(),
            3 => octave.remove(ID).unwrap(),
            5 => octave.restore(ID).unwrap(),
            6 => octave.set_archived(ID, true).unwrap(),
            7 => octave.restore("late").unwrap(),
            _ => (),
        }
        bench.pass().await;
        let row = bench.row(Provider::Octave);
        seen.push(format!("{} {} v{}", row.outcome.unwrap(), row.state, row.version));
    }
    let expected = [
        "created present v1",
        "deleted deleted v2",
        "unchanged deleted v2",
        "not_found deleted v2",
        "not_found deleted v2",
        "restored present v3",
        "updated present v4",
        "unchanged present v4",
    ];
    assert_eq!(seen, expected);
    assert_eq!(bench.count("SELECT count(*) FROM versions WHERE document IS NULL"), 0, "the documents are kept");
    let restore = bench.rows(
        "SELECT c.op, c.field, c.old FROM changes AS c JOIN versions AS v ON v.id = c.version_id
         WHERE v.op = 'restore' AND v.seq = 3 AND c.field = 'description'",
    );
    assert_eq!(restore, ["replace description \"\""], "from the last document of the file, not from one never stored");
    assert_eq!(
        bench.rows("SELECT version, op FROM segment_history WHERE segment = 'late' ORDER BY version"),
        ["1 delete", "2 restore"],
        "first seen deleted"
    );
    assert_eq!(bench.rows("SELECT old FROM changes WHERE field = 'deletedAt' AND new = 'null'").len(), 2);
}

#[tokio::test]
async fn a_refused_key_stops_its_source_and_deletes_nothing() {
    for concurrency in [1, 8] {
        refused_key(concurrency).await;
    }
}

async fn refused_key(concurrency: i64) {
    let mut bench = Bench::new().await;
    let ids: Vec<String> = (0..30).map(|n| format!("seg_{n}")).collect();
    for id in &ids {
        BOTH.into_iter().for_each(|provider| put(&bench.simulator, provider, id, ""));
    }
    bench.name(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    bench.written.source = format!("limits = []\nconcurrency = {concurrency}");
    bench.pass().await;
    let known = bench.simulator.arrivals().len();

    bench.refuse_keys(true);
    let pass = bench.pass().await;
    assert_eq!(pass.endings.len(), 60, "every segment is told");
    let sent = bench.count("SELECT count(*) FROM polls WHERE outcome = 'unauthorized' AND http_status = 401");
    assert!((2..=2 * concurrency).contains(&sent), "{sent} requests of at most {concurrency} at once");
    assert_eq!(bench.simulator.arrivals().len() - known, usize::try_from(sent).unwrap());
    assert_eq!(bench.rows("SELECT DISTINCT state FROM sources"), ["unauthorized"]);
    assert_eq!(bench.rows("SELECT DISTINCT state, version, failures FROM segments"), ["present 1 0"]);

    // At a start one request asks for the whole source.
    bench.pass().await;
    let probes = "SELECT count(*), outcome FROM polls WHERE kind = 'probe' GROUP BY 2 ORDER BY 2";
    assert_eq!(bench.rows(probes), ["2 unauthorized"]);
    let before = bench.simulator.arrivals().len();
    bench.run(async |_| drop(bench.simulator.arrivals_until(|all| all[before..].len() >= 2).await)).await;
    assert_eq!(bench.rows(probes), ["4 unauthorized"]);

    // What else goes wrong with the probe is no answer either, and ends a pass all the same.
    bench.refuse_keys(false);
    bench.misbehave(ONCE, &Fault::status(500));
    let pass = bench.pass().await;
    assert_eq!(pass.endings.len(), 60);
    assert_eq!(bench.rows("SELECT DISTINCT state FROM sources"), ["unauthorized"]);
    bench.misbehave(ONCE, &Fault::retry_after("1"));
    let pass = bench.pass().await;
    assert_eq!(pass.endings.iter().filter(|ending| ending.error.is_none()).count(), 60);
    assert_eq!(bench.rows("SELECT DISTINCT state, last_error FROM sources"), ["ok -"]);
    assert_eq!(bench.count("SELECT count(*) FROM versions WHERE op = 'delete'"), 0);
    bench.assert_one_row_per_request();
}

#[tokio::test]
async fn a_key_never_reaches_the_file() {
    let bench = Bench::new().await;
    for provider in BOTH {
        let key = api_key(provider);
        put(
            &bench.simulator,
            provider,
            ID,
            &format!("\"description\":\"mine is {key}!\",\"lastModifierName\":\"{key}\""),
        );
    }
    let pass = bench.pass().await;
    let mut told: Vec<_> = pass.endings.into_iter().filter_map(|ending| ending.error).collect();
    let body = "{\"message\":\"who uses {key} here?\"}";
    for status in [200, 301, 400, 401, 403, 404, 500] {
        for fault in [Fault::echo_key(status), Fault::status(status).json(body).header("location", "http://x/{key}")] {
            bench.misbehave(ONCE, &fault);
            told.extend(bench.pass().await.endings.into_iter().filter_map(|ending| ending.error));
        }
    }
    bench.refuse_keys(true);
    told.extend(bench.pass().await.endings.into_iter().filter_map(|ending| ending.error));
    assert!(bench.rows("SELECT error FROM polls WHERE http_status = 401").iter().any(|error| error.contains("[key]")));
    assert_eq!(
        bench.rows("SELECT DISTINCT modified_by FROM versions WHERE document LIKE '%:\"mine is [key]!\"%' ORDER BY 1"),
        ["-", "[key]"]
    );
    assert!(told.iter().any(|error| error.contains("[key]")), "{told:?}");
    for provider in BOTH {
        let key = api_key(provider);
        assert!(told.iter().all(|error| !error.contains(key)), "{told:?}");
        for file in std::fs::read_dir(bench.folder.path()).unwrap().map(|file| file.unwrap().path()) {
            let holds_key = std::fs::read(&file).unwrap().windows(key.len()).any(|bytes| bytes == key.as_bytes());
            let is_key_file = file.extension().is_some_and(|ending| ending == "key");
            assert!(!holds_key || is_key_file, "{}", file.display());
        }
    }
}

#[tokio::test]
async fn a_refusal_to_serve_more_holds_the_account() {
    let far = "Fri, 31 Dec 2100 23:59:59 GMT";
    let dated = |header: &str, date: &str| Fault::status(429).header("retry-after", header).header("date", date);
    let (date, later) = ("Sat, 31 Jan 2026 09:30:00 GMT", "Sat, 31 Jan 2026 09:32:00 GMT");
    let cases = [
        ("seconds", Fault::retry_after("120"), 120_u64, "HTTP 429, too many requests"),
        ("a date", dated(later, date), 120, "HTTP 429"),
        ("a far date", Fault::retry_after(far), 900, "HTTP 429"),
        ("many seconds", Fault::retry_after("86400"), 900, "HTTP 429"),
        ("more than a number holds", Fault::retry_after("99999999999999999999999"), 900, "HTTP 429"),
        ("nothing", Fault::status(429).html("<h1>slow down</h1>"), 10, "slow down"),
        ("a past date", dated(date, later), 10, "HTTP 429"),
        ("nonsense", Fault::retry_after("in a while"), 10, "HTTP 429"),
        ("unavailable", Fault::status(503).header("retry-after", "120"), 120, "HTTP 503, asked to come back later"),
        ("forbidden for now", Fault::status(403).header("retry-after", "120"), 120, "HTTP 403"),
        ("gone for now", Fault::status(404).header("retry-after", "120"), 120, "HTTP 404"),
        ("elsewhere for now", Fault::redirect("/").header("retry-after", "120"), 120, "HTTP 302"),
        ("no content for now", Fault::status(204).header("retry-after", "120"), 120, "HTTP 204"),
    ];
    for (what, fault, seconds, says) in cases {
        let bench = Bench::new().await;
        bench.pass().await;
        bench.misbehave(ONCE, &fault);
        let pass = bench.pass_until(2).await;
        assert_eq!(bench.both(), "throttled present v1", "{what}");
        assert!(pass.endings.is_empty(), "{what}: the pass waits for them");
        for provider in BOTH {
            let row = bench.row(provider);
            assert!(row.error.as_ref().unwrap().contains(says), "{what}: {row:?}");
            assert_eq!((row.source_state.as_str(), row.failures), ("held", 0), "{what}");
        }
        let (least, most) = (seconds * 1000, seconds * 1100 + 1);
        let held = format!(
            "SELECT s.held_until - p.finished_at BETWEEN {least} AND {most} FROM sources AS s JOIN polls AS p ON p.source_id = s.id AND p.outcome = 'throttled'"
        );
        assert_eq!(bench.rows(&held), ["1", "1"], "{what}");
        assert_eq!(bench.rows("SELECT pace FROM sources"), ["0.7", "0.7"], "{what}");
        // The next process keeps it.
        let usage = if seconds > 60 { bench.look().await.usage } else { Vec::new() };
        for (_, usage) in usage {
            let hold = usage.hold.unwrap();
            assert!(hold.as_millis() <= u128::from(most) && hold.as_secs() + 60 > seconds, "{what}: {hold:?}");
        }
    }
}

#[tokio::test]
async fn a_hold_is_kept_and_ends() {
    let bench = Bench::new().await;
    bench.pass().await;
    bench.describe("seen at last");
    bench.misbehave(ONCE, &Fault::retry_after("1"));
    let pass = bench.pass().await;
    assert_eq!(pass.endings.len(), 2);
    assert_eq!(bench.both(), "updated present v2");
    for provider in BOTH {
        let own = bench.simulator.arrivals().into_iter().filter(|arrival| arrival.provider == Some(provider));
        let at: Vec<_> = own.map(|arrival| arrival.at).collect();
        assert!(at.len() == 3 && at[2] - at[1] >= Duration::from_secs(1));
    }
    assert_eq!(bench.rows("SELECT DISTINCT state, last_error FROM sources"), ["ok -"]);
    bench.assert_one_row_per_request();
}

#[tokio::test]
async fn a_good_answer_can_ask_to_wait() {
    for etags in [false, true] {
        let bench = Bench::with(Settings { etags, ..unlimited() }).await;
        bench.pass().await;
        bench.misbehave(ONCE, &Fault::answer().header("retry-after", "120"));
        let pass = bench.pass().await;
        assert_eq!(bench.both(), "unchanged present v1");
        assert_eq!(BOTH.map(|provider| bench.row(provider).status), [Some(if etags { 304 } else { 200 }); 2]);
        for (_, usage) in pass.usage.into_iter().chain(bench.look().await.usage) {
            assert!(usage.hold.is_some_and(|hold| hold > Duration::from_secs(60)), "{usage:?}");
            assert!((usage.pace - 1.0).abs() < f64::EPSILON, "nothing was refused: {usage:?}");
        }
    }
}
