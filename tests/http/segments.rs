//! Segments by name: envelopes, validators, ages, the past, lists.

use std::time::Duration;

use reqwest::Method;
use segsync::clock::Clock;
use segsync::model::UnixMs;
use segsync::simulator::{Provider, statsig};
use segsync::store::{Cursor, Store};
use serde_json::{Value, json};

use crate::common::{BOTH, ID, name, put, until};
use crate::http::client::Caller;
use crate::http::served;

const ONE: &str = "/v1/segments/statsig/seg_1";

#[tokio::test]
async fn an_envelope_is_what_the_file_has() {
    let bench = served().await;
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            for provider in BOTH {
                let path = format!("/v1/segments/{}/{ID}", name(provider));
                caller.sees(&path, 1).await;
                let told = caller.get(&path).await;
                let body = told.json();
                assert_eq!(body["document"].to_string(), canonical(&bench.document(provider)));
                let sql = "SELECT source, segment, provider, state, version, valid_from, checked_at, modified_at,
                    modified_by FROM segment_now WHERE source = ";
                let row = bench.rows(&format!("{sql}'{}'", name(provider))).remove(0);
                let members =
                    ["source", "id", "provider", "state", "version", "valid_from", "checked_at", "modified_at"];
                let shown: Vec<String> = members.iter().map(|member| plain(&body[member])).collect();
                assert_eq!(format!("{} {}", shown.join(" "), plain(&body["modified_by"])), row);
                assert_eq!((&body["valid_to"], &body["tracked"]), (&Value::Null, &json!(true)));
                assert_eq!(told.header("content-type"), Some("application/json"));
                assert!(told.is_young(), "{told:?}");
                assert_eq!(told.header("cache-control"), Some("no-cache"));
                assert!(told.header("last-modified").unwrap().ends_with(" GMT"), "{told:?}");
            }
        })
        .await;
}

#[tokio::test]
async fn a_caller_that_has_it_is_told_so() {
    let bench = served().await;
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            caller.sees(ONE, 1).await;
            let told = caller.get(ONE).await;
            let etag = told.header("etag").unwrap().to_owned();
            assert!(etag.starts_with("W/\"1-") && etag.len() == 22, "{etag}");
            for known in [etag.clone(), etag.replace("W/", ""), "*".to_owned(), format!("\"x\", {etag}")] {
                let again = caller.get_with(ONE, &[("if-none-match", &known)]).await;
                assert_eq!((again.status, again.text.as_str()), (304, ""), "{known}");
                assert_eq!(again.header("etag"), Some(etag.as_str()));
                assert!(again.header("age").is_some());
            }
            for other in ["\"1\"", "W/\"1-0000000000000000\"", ""] {
                assert_eq!(caller.get_with(ONE, &[("if-none-match", other)]).await.status, 200, "{other}");
            }
            let head = caller.send(Method::HEAD, ONE).await;
            assert_eq!((head.status, head.text.as_str()), (200, ""));
            assert_eq!(head.header("etag"), Some(etag.as_str()));
            assert_eq!(head.header("content-length"), Some(told.text.len().to_string().as_str()));

            bench.describe("another");
            assert_eq!(caller.send(Method::POST, &format!("{ONE}/refresh")).await.json()["version"], 2);
            let next = caller.get_with(ONE, &[("if-none-match", &etag)]).await;
            assert_eq!((next.status, next.json()["version"].as_i64()), (200, Some(2)));
        })
        .await;
}

#[tokio::test]
async fn ids_are_any_text() {
    let mut bench = served().await;
    let ids = ["a/b", "../x", "a b?c#d", "é/ü", "100%", "a+b", "%2F"];
    bench.name(&ids);
    for id in ids {
        bench.simulator.statsig().add(statsig::Segment::new(id, "rule_based"));
        put(&bench.simulator, Provider::Octave, id, "");
    }
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            for id in ids {
                let raw = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
                let path = format!("/v1/segments/statsig/{raw}");
                caller.sees(&path, 1).await;
                assert_eq!(caller.get(&path).await.json()["document"]["id"], id);
                assert_eq!(caller.get(&format!("{path}/versions")).await.json()["versions"][0]["segment"], id);
            }
            let (status, detail) = caller.get("/v1/segments/statsig/%ff").await.problem();
            assert_eq!(status, 400, "{detail}");
        })
        .await;
}

#[tokio::test]
async fn what_is_not_kept_is_not_found_and_nobody_is_asked() {
    let bench = served().await;
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            until("two requests", async || bench.simulator.arrivals().len() == 2).await;
            for path in ["/v1/segments/statsig/no", "/v1/segments/no/seg_1", "/v1/segments/statsig/no?max_age=0s"] {
                let (status, detail) = caller.get(path).await.problem();
                assert_eq!((status, detail.ends_with(" is none of the segments that are kept here")), (404, true));
            }
            let refresh = caller.send(Method::POST, "/v1/segments/statsig/no/refresh").await;
            assert_eq!(refresh.problem().0, 404);
            assert_eq!(bench.simulator.arrivals().len(), 2, "nobody was asked");
        })
        .await;
}

#[tokio::test]
async fn a_past_that_is_no_longer_kept_is_gone() {
    let bench = served().await;
    bench.pass().await;
    for text in ["two", "three", "four"] {
        bench.describe(text);
        bench.pass().await;
    }
    let store = Store::open(bench.db_path(), &Clock::system(), Duration::from_secs(1)).expect("opened");
    let times = bench.rows("SELECT valid_from FROM segment_history WHERE source = 'statsig' ORDER BY version");
    let done = store.compact(Clock::system().now(), UnixMs(i64::MAX), Cursor::START, 100).await.expect("compacted");
    assert_eq!((done.removed, done.next), (4, None));
    store.close().await.expect("closed");
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            for (asked, version) in [(format!("at={}", times[0]), 1), ("version=1".into(), 1), ("version=4".into(), 4)]
            {
                assert_eq!(caller.get(&format!("{ONE}?{asked}")).await.json()["version"], version, "{asked}");
            }
            for asked in [format!("at={}", times[1]), "version=2".into(), "version=3".into()] {
                assert_eq!(
                    caller.get(&format!("{ONE}?{asked}")).await.problem(),
                    (
                        410,
                        "statsig/seg_1 is as of then no longer kept ([store] keep_versions; gone: versions 2 to 3)"
                            .into()
                    ),
                    "{asked}"
                );
            }
        })
        .await;
}

#[tokio::test]
async fn the_past_is_there_by_time_and_by_number() {
    let bench = served().await;
    bench.pass().await;
    for text in ["two", "three"] {
        bench.describe(text);
        bench.pass().await;
    }
    bench.remove();
    bench.pass().await;
    bench.pass().await;
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            let now = caller.get(ONE).await;
            assert_eq!((now.json()["state"].as_str(), &now.json()["document"]), (Some("deleted"), &Value::Null));
            let second = caller.get(&format!("{ONE}?version=2")).await.json();
            assert_eq!(
                (second["version"].as_i64(), second["document"]["description"].as_str()),
                (Some(2), Some("two"))
            );
            let from = second["valid_from"].as_str().unwrap();
            assert_eq!(caller.get(&format!("{ONE}?at={from}")).await.json(), second);
            let until_then = second["valid_to"].as_str().unwrap();
            assert_eq!(caller.get(&format!("{ONE}?at={until_then}")).await.json()["version"], 3);
            assert_eq!(caller.get(&format!("{ONE}?at=0s")).await.json()["version"], 4);
            assert_eq!(caller.get(&format!("{ONE}?at=1h")).await.problem().0, 404);
            assert_eq!(
                caller.get(&format!("{ONE}?version=9")).await.problem(),
                (404, "statsig/seg_1 has no such version; the latest is 4".into())
            );
            assert_eq!(
                caller.get(&format!("{ONE}?at=yesterday")).await.problem(),
                (
                    400,
                    "at: expected a time like 2026-01-31T09:30:00Z, a date like 2026-01-31 (its start, UTC), or an age \
                     like 2h"
                        .into()
                )
            );
            assert_eq!(
                caller.get(&format!("{ONE}?at=1h&max_age=0s")).await.problem(),
                (400, "at, version and max_age exclude each other".into())
            );

            let all = caller.get(&format!("{ONE}/versions")).await.json();
            let ops: Vec<&str> =
                all["versions"].as_array().unwrap().iter().map(|one| one["op"].as_str().unwrap()).collect();
            assert_eq!((ops, &all["next"]), (vec!["delete", "update", "update", "create"], &Value::Null));
            assert_eq!(all["versions"][1]["changes"][0]["new"], "three");
            let (mut pages, mut below) = (Vec::new(), String::new());
            loop {
                let page = caller.get(&format!("{ONE}/versions?limit=3{below}")).await.json();
                pages.extend(page["versions"].as_array().unwrap().clone());
                let Some(next) = page["next"].as_str() else { break };
                below = format!("&below={next}");
            }
            assert_eq!(&Value::from(pages), &all["versions"]);
        })
        .await;
}

#[tokio::test]
async fn the_list_has_what_is_tracked() {
    let mut bench = served().await;
    bench.written.octave.push("unseen".to_owned());
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            let checked = "SELECT count(*) FROM segments WHERE last_checked_at IS NOT NULL";
            until("three polls", async || bench.count(checked) == 3).await;
            let all = caller.get("/v1/segments").await.json();
            let seen = |one: &Value| {
                format!("{}/{} {} {}", plain(&one["source"]), plain(&one["id"]), plain(&one["state"]), one["version"])
            };
            let seen: Vec<String> = all["segments"].as_array().unwrap().iter().map(seen).collect();
            assert_eq!(seen, ["octave/seg_1 present 1", "octave/unseen pending 0", "statsig/seg_1 present 1"]);
            let one = caller.get("/v1/segments?source=statsig").await.json();
            assert_eq!(one["segments"].as_array().unwrap().len(), 1);
            assert_eq!(caller.get("/v1/segments?source=no").await.problem(), (404, "there is no source \"no\"".into()));
            let pending = caller.get("/v1/segments/octave/unseen").await;
            assert_eq!((pending.json()["state"].as_str(), pending.header("etag")), (Some("pending"), None));
        })
        .await;
}

#[tokio::test]
async fn a_commit_that_fails_moves_neither_cache_nor_feed() {
    let bench = served().await;
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            until("two versions", async || bench.count("SELECT count(*) FROM versions") == 2).await;
            caller.sees(ONE, 1).await;
            let before = caller.get(ONE).await;
            let file = rusqlite::Connection::open(bench.db_path()).unwrap();
            file.busy_timeout(Duration::from_secs(30)).unwrap();
            let fail = "CREATE TRIGGER fail BEFORE INSERT ON versions BEGIN SELECT RAISE(ABORT, 'not now'); END";
            file.execute_batch(fail).unwrap();
            bench.describe("it must not be seen");
            let refused = caller.send(Method::POST, &format!("{ONE}/refresh")).await.problem();
            assert_eq!(refused, (503, "statsig/seg_1 is as it was: the request was given up".into()));
            let after = caller.get(ONE).await;
            assert_eq!((&after.text, after.header("etag")), (&before.text, before.header("etag")));
            assert_eq!(caller.get("/v1/changes").await.json()["changes"].as_array().unwrap().len(), 2);
            assert_eq!(caller.get(&format!("{ONE}?max_age=0s")).await.json()["version"], 1);

            file.execute_batch("DROP TRIGGER fail").unwrap();
            let told = caller.send(Method::POST, &format!("{ONE}/refresh")).await.json();
            assert_eq!(
                (told["version"].as_i64(), told["document"]["description"].as_str()),
                (Some(2), Some("it must not be seen"))
            );
            assert_eq!(caller.get(ONE).await.json(), told);
        })
        .await;
}

#[tokio::test]
async fn a_cache_for_nothing_only_costs_reads() {
    let mut bench = served().await;
    bench.written.http.push_str("\ncache = 1");
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            caller.sees(ONE, 1).await;
            bench.describe("two");
            assert_eq!(caller.send(Method::POST, &format!("{ONE}/refresh")).await.json()["version"], 2);
            for _ in 0..3 {
                assert_eq!(caller.get(ONE).await.json()["document"]["description"], "two");
            }
        })
        .await;
}

/// A source that points elsewhere after a reload loses its validators: the cache must not keep one.
#[tokio::test]
async fn a_validator_of_another_place_is_not_sent_after_a_reload() {
    let mut bench = served().await;
    let elsewhere = segsync::simulator::Simulator::start(crate::common::unlimited()).await.unwrap();
    elsewhere.statsig().add(statsig::Segment::new(ID, "rule_based"));
    bench.written.octave.clear();
    bench.written.base_url = Some(elsewhere.base_url(Provider::Statsig));
    let moved = bench.prepared();
    bench.written.base_url = None;
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            caller.sees(ONE, 1).await;
            running.reload.send(moved).await.unwrap();
            let is_asked = async || {
                caller.send(Method::POST, &format!("{ONE}/refresh")).await.status == 200
                    && !elsewhere.arrivals().is_empty()
            };
            until("an answer of the other place", is_asked).await;
            assert_eq!(elsewhere.arrivals()[0].if_none_match, None, "it knows nothing of that place");
        })
        .await;
    elsewhere.stop().await;
}

/// The text of a JSON value without quotes; `-` for null.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn canonical(text: &str) -> String {
    serde_json::from_str::<Value>(text).unwrap().to_string()
}
