//! The simulator as a client sees it: over HTTP, with no word of the rest of the crate.

use std::error::Error;
use std::time::{Duration, Instant};

use reqwest::{Client, Response, redirect};
use segsync::simulator::statsig::{Condition, Percent, Rule, Segment, Target};
use segsync::simulator::{
    Fault, Limit, Moment, OCTAVE_KEY, OctaveList, On, Person, Provider, STATSIG_KEY, Settings, Simulator, Times,
    lively, octave,
};
use segsync::transport::choose_algorithms;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

struct Bench {
    simulator: Simulator,
    client: Client,
}

impl Bench {
    async fn new(settings: Settings) -> Self {
        choose_algorithms();
        let client = Client::builder().redirect(redirect::Policy::none()).no_proxy().build().unwrap();
        let simulator = Simulator::start(settings).await.unwrap();
        simulator.statsig().add(Segment::rule_based("beta", vec![Rule::new("all", vec![Condition::public()])]));
        simulator.octave().add(octave::Segment::new("sg_1", "Banks"));
        Self { simulator, client }
    }

    async fn open() -> Self {
        Self::new(Settings::default().limited(&[])).await
    }

    async fn send(&self, path: &str) -> reqwest::Result<Response> {
        let url = format!("{}{path}", self.simulator.base_url(Provider::Statsig));
        self.client.get(url).header("STATSIG-API-KEY", STATSIG_KEY).header("api_key", OCTAVE_KEY).send().await
    }

    async fn json(&self, path: &str) -> Value {
        let text = self.send(path).await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    async fn status(&self, path: &str) -> u16 {
        self.send(path).await.unwrap().status().as_u16()
    }

    fn once(&self, fault: Fault) {
        self.simulator.misbehave(Provider::Statsig, On::Any, Times::Next(1), fault);
    }
}

const BETA: &str = "/console/v1/segments/beta";
const BANKS: &str = "/api/v2/segment/get?oId=sg_1";

#[tokio::test]
async fn edits_show_in_the_next_answer_and_are_stamped() {
    let bench = Bench::open().await;
    let before = bench.json(BETA).await;
    assert_eq!(before["data"]["rules"][0]["passPercentage"].to_string(), "100");
    let (statsig, ada) = (bench.simulator.statsig(), Person::named("Ada Berg"));
    statsig.edit_by(&ada, "beta", |s| s.set_pass_percentage("all", Percent::hundredths(1250))).unwrap();
    let after = bench.json(BETA).await;
    let data = &after["data"];
    assert_eq!(data["rules"][0]["passPercentage"].to_string(), "12.5");
    assert_eq!((data["version"].as_u64(), data["lastModifierName"].as_str()), (Some(2), Some("Ada Berg")));
    assert!(data["lastModifiedTime"].as_u64() > before["data"]["lastModifiedTime"].as_u64());
    assert_eq!(data["createdTime"], before["data"]["createdTime"]);

    let refused = statsig.edit("beta", |s| s.set_target("all", 1, Target::Null)).unwrap_err();
    assert_eq!(refused.to_string(), "no condition 1 of rule `all`");
    assert!(statsig.edit("gone", |s| s.rename("x")).is_err());
    assert_eq!(bench.json(BETA).await, after, "a failed edit leaves no trace");
}

#[tokio::test]
async fn segments_go_and_come_back() {
    let bench = Bench::open().await;
    bench.simulator.statsig().remove("beta").unwrap();
    assert_eq!(bench.status(BETA).await, 404);
    assert_eq!(bench.json("/console/v1/segments").await["data"].as_array().map(Vec::len), Some(0));
    bench.simulator.statsig().restore("beta").unwrap();
    assert_eq!(bench.status(BETA).await, 200);
    assert!(bench.simulator.statsig().restore("beta").is_err(), "it is not deleted");

    bench.simulator.octave().soft_delete("sg_1").unwrap();
    let deleted = bench.json(BANKS).await;
    assert_eq!(deleted["deletedAt"], deleted["updatedAt"]);
    assert!(deleted["deletedAt"].as_str().is_some_and(|at| at.ends_with('Z') && at.len() == 24), "{deleted}");
    assert_eq!(bench.json("/api/v2/segment/list").await["total"], 0);
    bench.simulator.octave().restore("sg_1").unwrap();
    assert_eq!(bench.json(BANKS).await["deletedAt"], Value::Null);
    bench.simulator.octave().remove("sg_1").unwrap();
    let gone = bench.send(BANKS).await.unwrap();
    assert_eq!(gone.status(), 404);
    assert!(gone.text().await.unwrap().contains("_metadata"));
}

#[tokio::test]
async fn octaves_metadata_differs_every_time_and_the_rest_does_not() {
    let bench = Bench::open().await;
    let (mut one, mut other) = (bench.json(BANKS).await, bench.json(BANKS).await);
    let take = |json: &mut Value| json.as_object_mut().unwrap().remove("_metadata").unwrap();
    let (first, second) = (take(&mut one), take(&mut other));
    assert!(first["requestId"] != second["requestId"] && first["usage"] != second["usage"]);
    assert_eq!(one, other);
    assert_eq!(one["oId"], "sg_1");
    assert_eq!(bench.json("/api/v2/api-key/validate").await["valid"], true);
}

#[tokio::test]
async fn lists_are_paged() {
    let bench = Bench::new(Settings { max_page: 4, ..Settings::default() }).await;
    for n in 0..9 {
        bench.simulator.statsig().add(Segment::id_list(&format!("list_{n}"), n));
        bench.simulator.octave().add(octave::Segment::new(&format!("sg_x{n}"), "More"));
    }
    let mut seen = Vec::new();
    for page in 1..=4 {
        let answer = bench.json(&format!("/console/v1/segments?limit=100&page={page}")).await;
        let pagination = &answer["pagination"];
        let told = [&pagination["pageNumber"], &pagination["itemsPerPage"], &pagination["totalItems"]];
        assert_eq!(told.map(Value::as_u64), [Some(page), Some(4), Some(10)]);
        assert_eq!(pagination["nextPage"].is_null(), page >= 3);
        assert_eq!(pagination["previousPage"].is_null(), page == 1);
        assert!(!pagination["nextPage"].as_str().is_some_and(|link| link.contains("://")));
        seen.extend(answer["data"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()));
    }
    assert_eq!(seen, bench.simulator.statsig().ids(true));

    let octave = |from| format!("/api/v2/segment/list?limit=3&offset={from}");
    let page = bench.json(&octave(9)).await;
    assert_eq!((page["hasNext"].as_bool(), page["data"].as_array().map(Vec::len)), (Some(false), Some(1)));
    let page = bench.json(&octave(6)).await;
    assert_eq!((page["hasNext"].as_bool(), page["total"].as_u64()), (Some(true), Some(10)));
    for bad in ["/console/v1/segments?page=0", "/api/v2/segment/list?limit=x", "/api/v2/segment/get?oId="] {
        assert_eq!(bench.status(bad).await, 400, "{bad}");
    }
}

#[tokio::test]
async fn octaves_list_comes_in_all_the_forms_that_were_seen() {
    for (form, has_next) in [(OctaveList::AlwaysHasNext, Some(true)), (OctaveList::NoHasNext, None)] {
        let bench = Bench::new(Settings { octave_list: form, ..Settings::default() }).await;
        let page = bench.json("/api/v2/segment/list?offset=50").await;
        assert_eq!((page["hasNext"].as_bool(), page["data"].as_array().map(Vec::len)), (has_next, Some(0)));
    }
    let settings = Settings { octave_list: OctaveList::BareArray, list_soft_deleted: true, ..Settings::default() };
    let bench = Bench::new(settings).await;
    bench.simulator.octave().soft_delete("sg_1").unwrap();
    assert!(bench.json("/api/v2/segment/list").await[0]["deletedAt"].is_string());
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_statsig_repeats_it() {
    let bench = Bench::open().await;
    let get = |path: &str, header: &str, key: &str| {
        let url = format!("{}{path}", bench.simulator.base_url(Provider::Octave));
        bench.client.get(url).header(header, key).send()
    };
    let refused = get(BETA, "statsig-api-key", "console-stolen").await.unwrap();
    assert_eq!(refused.status(), 401);
    let text = refused.text().await.unwrap();
    assert!(text.contains(r#""status":401"#) && text.contains("Key: console-stolen"), "{text}");
    let refused = get(BANKS, "api_key", "stolen").await.unwrap();
    assert_eq!(refused.status(), 401);
    let text = refused.text().await.unwrap();
    assert!(text.contains("_metadata") && text.contains("message") && !text.contains("stolen"), "{text}");
    assert_eq!(get(BETA, "x-none", "").await.unwrap().status(), 401);

    bench.simulator.set_keys(Provider::Statsig, &["console-rotated"]);
    assert_eq!(bench.status(BETA).await, 401);
    assert_eq!(get(BETA, "statsig-api-key", "console-rotated").await.unwrap().status(), 200);
    assert!(!format!("{:?}", bench.simulator).contains("rotated"));
    let arrivals = bench.simulator.arrivals();
    assert!(!format!("{arrivals:?}").contains("stolen"));
    assert_eq!(arrivals.iter().map(|a| a.account).collect::<Vec<_>>(), [0, 0, 1, 2, 3]);
}

#[tokio::test]
async fn one_request_too_many_is_a_429_and_a_violation() {
    let hour = Duration::from_secs(3600);
    let limits = [Limit { requests: 5, per: hour }];
    let bench = Bench::new(Settings::default().limited(&limits)).await;
    for _ in 0..5 {
        assert_eq!(bench.status(BETA).await, 200);
    }
    assert_eq!((bench.simulator.violations(), bench.simulator.worst_window(Provider::Statsig, hour)), (0, 5));
    assert_eq!(bench.status(BANKS).await, 200, "another account");
    assert_eq!(bench.status("/console/v1/segments").await, 429);
    assert_eq!((bench.simulator.violations(), bench.simulator.worst_window(Provider::Statsig, hour)), (1, 6));
    assert_eq!(bench.simulator.worst_window(Provider::Octave, hour), 1);
    assert_eq!(bench.simulator.arrivals().last().unwrap().status, Some(429));
}

#[tokio::test]
async fn raw_documents_are_sent_letter_by_letter() {
    let bench = Bench::open().await;
    let odd = r#"{"id":"odd" , "n":12345678901234567890.10,"e":1E+400,"z":-0.0,"rules":{"name":"x"},"type":"novel"}"#;
    bench.simulator.statsig().put_raw("odd", odd);
    bench.simulator.octave().put_raw("odd", odd);
    let text = async |path| bench.send(path).await.unwrap().text().await.unwrap();
    assert_eq!(
        text("/console/v1/segments/odd").await,
        format!(r#"{{"message":"Segment read successfully.","data":{odd}}}"#)
    );
    assert!(text("/console/v1/segments").await.contains(odd));
    assert!(text("/api/v2/segment/list").await.contains(odd));
    let single = text("/api/v2/segment/get?oId=odd").await;
    assert!(single.starts_with(r#"{"_metadata":{"#) && single.ends_with(&odd[1..]), "{single}");
    bench.simulator.octave().put_raw("odd", "{ }");
    assert!(bench.json("/api/v2/segment/get?oId=odd").await["_metadata"].is_object());
}

#[tokio::test]
async fn every_arrival_is_in_the_log() {
    let bench = Bench::open().await;
    bench.simulator.statsig().put_raw("a/b %2e?é", r#"{"id":"a/b %2e?é"}"#);
    assert_eq!(bench.status("/console/v1/segments/a%2Fb%20%252e%3F%C3%A9").await, 200);
    for stray in ["/console/v1/gates", "/", "/console/v1/segments/a/b"] {
        assert_eq!(bench.status(stray).await, 404);
    }
    let url = format!("{}{BETA}", bench.simulator.base_url(Provider::Statsig));
    let request = bench.client.get(url).header("STATSIG-API-VERSION", "20240601").header("If-None-Match", "\"x\"");
    request.header("accept-encoding", "br").send().await.unwrap();
    let all = bench.simulator.arrivals_reach(5).await;
    let words: Vec<_> = all.iter().map(|a| (a.provider, a.segment(), a.status)).collect();
    assert_eq!(
        words,
        [
            (Some(Provider::Statsig), Some("a/b %2e?é"), Some(200)),
            (Some(Provider::Statsig), None, Some(404)),
            (None, None, Some(404)),
            (Some(Provider::Statsig), None, Some(404)),
            (Some(Provider::Statsig), Some("beta"), Some(401)),
        ]
    );
    assert_eq!(all[0].target, "/console/v1/segments/a%2Fb%20%252e%3F%C3%A9");
    let told = [&all[4].api_version, &all[4].if_none_match, &all[4].accept_encoding].map(Option::as_deref);
    assert_eq!(told, [Some("20240601"), Some("\"x\""), Some("br")]);
    assert_eq!(bench.simulator.strays().len(), 3);
}

#[tokio::test]
async fn faults_that_are_answers() {
    let bench = Bench::open().await;
    let fetch = async |fault| {
        bench.once(fault);
        let response = bench.send(BETA).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.text().await.unwrap())
    };
    for status in [204, 206, 304, 400, 403, 408, 500, 599] {
        let (seen, headers, body) = fetch(Fault::status(status)).await;
        assert_eq!((seen, body.as_str(), headers.get("etag")), (status, "", None));
    }
    let (status, headers, body) = fetch(Fault::answer().html("<h1>Sorry</h1>")).await;
    assert_eq!((status, body.as_str()), (200, "<h1>Sorry</h1>"));
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(fetch(Fault::answer().json("{nonsense")).await.2, "{nonsense");
    assert_eq!(fetch(Fault::status(503).text("down")).await.2, "down");
    for text in ["7", "Wed, 21 Oct 2026 07:28:00 GMT", "soon"] {
        let (status, headers, _) = fetch(Fault::retry_after(text)).await;
        assert_eq!((status, headers["retry-after"].to_str().unwrap()), (429, text));
    }
    let (status, headers, body) = fetch(Fault::answer().header("RateLimit-Remaining", "0")).await;
    assert_eq!((status, &headers["ratelimit-remaining"]), (200, &"0".parse().unwrap()));
    assert!(body.contains(r#""id":"beta""#));
    let (status, headers, _) = fetch(Fault::redirect("https://elsewhere.example/")).await;
    assert_eq!((status, headers["location"].to_str().unwrap()), (302, "https://elsewhere.example/"));
    let (status, headers, body) = fetch(Fault::echo_key(500)).await;
    assert_eq!((status, body.contains(STATSIG_KEY)), (500, true));
    assert_eq!(headers["etag"].to_str().unwrap(), format!("W/\"{STATSIG_KEY}\""));
    assert!(fetch(Fault::wrong_id("alpha")).await.2.contains(r#""id":"alpha""#));
    let missing: Value = serde_json::from_str(&fetch(Fault::missing_id()).await.2).unwrap();
    assert!(missing["data"].get("id").is_none() && missing["data"]["rules"][0]["id"].is_string());
    assert_eq!(bench.status(BETA).await, 200, "all used up");

    bench.simulator.misbehave(Provider::Octave, On::Any, Times::Always, Fault::wrong_id("sg_2"));
    assert_eq!(bench.json(BANKS).await["oId"], "sg_2");
    assert_eq!(bench.json(BANKS).await["oId"], "sg_2");
    bench.simulator.behave(Provider::Octave);
    assert_eq!(bench.json(BANKS).await["oId"], "sg_1");
}

#[tokio::test]
async fn faults_that_are_no_answers() {
    let bench = Bench::open().await;
    let cut = |error: &reqwest::Error| std::iter::successors(error.source(), |e| (*e).source()).any(is_reset);
    bench.once(Fault::reset(Moment::BeforeHeaders));
    assert!(cut(&bench.send(BETA).await.unwrap_err()));
    for moment in [Moment::AfterHeaders, Moment::MidBody] {
        bench.once(Fault::reset(moment));
        let mut response = bench.send(BETA).await.unwrap();
        let mut got = 0;
        let error = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => got += chunk.len(),
                Ok(None) => panic!("a whole body"),
                Err(error) => break error,
            }
        };
        assert!(cut(&error), "{error:?}");
        assert_eq!(got > 0, moment == Moment::MidBody);
    }
    bench.once(Fault::status(200).header("x-empty", "yes"));
    assert_eq!(bench.send(BETA).await.unwrap().text().await.unwrap(), "");

    bench.once(Fault::truncated());
    let response = bench.send(BETA).await.unwrap();
    let told = response.content_length().unwrap();
    let error = response.bytes().await.unwrap_err();
    assert!(told > 0 && !cut(&error), "{error:?}");

    bench.once(Fault::garbage(b"\0\xff garbage \r\n\r\n"));
    assert!(bench.send(BETA).await.is_err());
    let statuses: Vec<_> = bench.simulator.arrivals().iter().map(|a| a.status).collect();
    assert_eq!(statuses, [None, Some(200), Some(200), Some(200), Some(200), None], "and no request was repeated");
}

fn is_reset(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn huge_bodies_and_bombs() {
    const MEBIBYTE: usize = 1 << 20;
    let bench = Bench::open().await;
    let truth = bench.send(BETA).await.unwrap().bytes().await.unwrap();
    for (fault, told) in [
        (Fault::huge(2, true), Some(2 * MEBIBYTE + truth.len())),
        (Fault::huge(2, false), None),
        (Fault::gzip_bomb(2), None),
    ] {
        bench.once(fault);
        let response = bench.send(BETA).await.unwrap();
        assert_eq!(response.content_length(), told.map(|told| told as u64));
        let body = response.bytes().await.unwrap();
        assert_eq!((body.len(), body.trim_ascii()), (2 * MEBIBYTE + truth.len(), &*truth));
    }
}

#[tokio::test]
async fn slow_answers() {
    let bench = Bench::open().await;
    let whole = bench.send(BETA).await.unwrap().bytes().await.unwrap();
    let (wait, start) = (Duration::from_millis(2), Instant::now());
    bench.once(Fault::answer().wait(wait).drip(7, wait));
    let response = bench.send(BETA).await.unwrap();
    assert!(start.elapsed() >= wait);
    assert_eq!(response.bytes().await.unwrap(), whole);
    // It can be slower, never faster.
    assert!(start.elapsed() >= 8 * wait);

    // One request is held; another one, for another segment, is not; then the gate opens.
    let gate = CancellationToken::new();
    bench.simulator.misbehave(
        Provider::Statsig,
        On::Segment("beta".to_owned()),
        Times::Next(1),
        Fault::answer().gated(&gate),
    );
    let others = async {
        let arrived = |log: &[segsync::simulator::Arrival]| log.iter().any(|a| a.status.is_none());
        bench.simulator.arrivals_until(arrived).await;
        assert_eq!(bench.status("/console/v1/segments/other").await, 404);
        bench.simulator.statsig().edit("beta", |s| s.rename("renamed meanwhile")).unwrap();
        gate.cancel();
    };
    let (held, ()) = tokio::join!(bench.json(BETA), others);
    assert_eq!(held["data"]["name"], "renamed meanwhile");
}

#[tokio::test]
async fn etags_and_gzip_where_switched_on() {
    let bench = Bench::new(Settings { etags: true, gzip: true, ..Settings::default() }).await;
    choose_algorithms();
    let raw = Client::builder().no_proxy().no_gzip().build().unwrap();
    for path in [BETA, BANKS, "/console/v1/segments", "/api/v2/segment/list"] {
        let known = async |etag: &str| {
            let url = format!("{}{path}", bench.simulator.base_url(Provider::Statsig));
            let request = raw.get(url).header("STATSIG-API-KEY", STATSIG_KEY).header("api_key", OCTAVE_KEY);
            request.header("if-none-match", etag).header("accept-encoding", "gzip").send().await.unwrap()
        };
        let first = known("\"other\"").await;
        assert_eq!((first.status().as_u16(), &first.headers()["content-encoding"]), (200, &"gzip".parse().unwrap()));
        let etag = first.headers()["etag"].to_str().unwrap().to_owned();
        assert!(etag.starts_with("W/\""));
        assert_eq!(first.bytes().await.unwrap()[..2], [0x1f, 0x8b], "{path}");
        assert_eq!(known(&format!("\"other\", {etag}")).await.status(), 304);
        bench.simulator.statsig().edit("beta", |s| s.add_tag("new")).unwrap();
        bench.simulator.octave().edit("sg_1", |s| s.set_active(false)).unwrap();
        assert_eq!(known(&etag).await.status(), 200, "{path}");
    }
    // A client that unpacks by itself sees no difference.
    assert_eq!(bench.json(BETA).await["data"]["id"], "beta");
}

#[tokio::test]
async fn a_stop_ends_every_connection_and_so_does_a_drop() {
    for stop in [true, false] {
        let bench = Bench::open().await;
        assert_eq!(bench.status(BETA).await, 200, "leaves an idle connection");
        let on = |id: &str, fault| {
            bench.simulator.misbehave(Provider::Statsig, On::Segment(id.to_owned()), Times::Next(1), fault);
        };
        on("held", Fault::answer().gated(&CancellationToken::new()));
        on("beta", Fault::answer().drip(1, Duration::from_secs(3600)));
        let url = bench.simulator.base_url(Provider::Statsig);
        let held = bench.client.get(format!("{url}/console/v1/segments/held")).header("STATSIG-API-KEY", STATSIG_KEY);
        let held = tokio::spawn(held.send());
        let stalled = bench.send(BETA).await.unwrap();
        bench.simulator.arrivals_reach(3).await;
        let Bench { simulator, client } = bench;
        if stop {
            simulator.stop().await;
            assert!(client.get(&url).send().await.unwrap_err().is_connect());
        } else {
            drop(simulator);
        }
        assert!(held.await.unwrap().is_err());
        assert!(stalled.bytes().await.is_err());
    }
}

fn schema() -> jsonschema::Validator {
    let text = include_str!("data/statsig-segment.schema.json");
    jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
}

fn complaints(schema: &jsonschema::Validator, segment: &Value) -> Vec<String> {
    schema.iter_errors(segment).map(|error| error.to_string()).collect()
}

#[tokio::test]
async fn statsigs_objects_obey_the_vendors_schema() {
    let (bench, schema) = (Bench::open().await, schema());
    let simulator = &bench.simulator;
    let mut script = lively::Script::new(3, simulator.statsig(), simulator.octave());
    for _ in 0..200 {
        let step = script.step().unwrap();
        let list = bench.json("/console/v1/segments?limit=100&page=1").await;
        let mut seen = list["data"].as_array().unwrap().clone();
        assert!(seen.len() > 11);
        if simulator.statsig().text(&step.segment).is_some() {
            seen.push(bench.json(&format!("/console/v1/segments/{}", step.segment)).await["data"].clone());
        }
        for segment in &seen {
            assert_eq!(complaints(&schema, segment), Vec::<String>::new(), "after {step}: {segment}");
        }
    }
    assert_eq!(simulator.strays().len(), 0);
}

#[tokio::test]
async fn the_schema_tells_wrong_objects() {
    let (bench, schema) = (Bench::open().await, schema());
    let good = bench.json(BETA).await["data"].clone();
    assert_eq!(complaints(&schema, &good), Vec::<String>::new());
    for (pointer, wrong) in [
        ("/id", "7"),
        ("/type", "\"holiday_list\""),
        ("/isEnabled", "null"),
        ("/tags", "[1]"),
        ("/createdTime", "\"yesterday\""),
        ("/rules", "{}"),
        ("/rules/0/passPercentage", "100.01"),
        ("/rules/0/passPercentage", "12.345"),
        ("/rules/0/name", "null"),
        ("/rules/0/conditions/0/type", "\"phase_of_the_moon\""),
        ("/rules/0/conditions/0/targetValue", "[\"a\", 1]"),
        ("/rules/0/conditions/0", "{\"operator\": \"any\"}"),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = serde_json::from_str(wrong).unwrap();
        assert_eq!(complaints(&schema, &bad).len(), 1, "{pointer} {wrong}");
    }
    for (pointer, key) in [("", "lastModifierEmail"), ("", "idType"), ("/rules/0", "conditions")] {
        let mut bad = good.clone();
        bad.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(key).unwrap();
        assert_eq!(complaints(&schema, &bad).len(), 1, "without {key}");
    }
    for percent in ["0", "0.01", "0.07", "12.35", "33.33", "64.1", "99.99", "100"] {
        let mut fine = good.clone();
        fine["rules"][0]["passPercentage"] = serde_json::from_str(percent).unwrap();
        assert_eq!(complaints(&schema, &fine), Vec::<String>::new(), "{percent}");
    }
}
