//! The providers' own APIs from the cache: what a client of theirs sees here is what it would see there.

use std::collections::BTreeSet;

use segsync::simulator::{OCTAVE_KEY, Provider, STATSIG_KEY, octave, statsig};
use serde_json::{Value, json};

use crate::common::{BOTH, Bench, ID, name, unlimited, until};
use crate::http::client::{Caller, Told};
use crate::http::served;

/// The header in which the provider's clients send their key, and the key.
fn key(provider: Provider) -> (&'static str, &'static str) {
    match provider {
        Provider::Statsig => ("statsig-api-key", STATSIG_KEY),
        Provider::Octave => ("api_key", OCTAVE_KEY),
    }
}

/// The path of one segment in the provider's own API.
fn one(provider: Provider, id: &str) -> String {
    let id = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
    match provider {
        Provider::Statsig => format!("/console/v1/segments/{id}"),
        Provider::Octave => format!("/api/v2/segment/get?oId={id}"),
    }
}

/// Ids of all forms, at both providers, tracked and known.
async fn populated() -> (Bench, BTreeSet<String>) {
    let mut bench = Bench::empty(unlimited()).await;
    bench.written.http = "listen = \"127.0.0.1:0\"".to_owned();
    let ids: BTreeSet<String> =
        (0..23).map(|id| format!("seg_{id:02}")).chain(["a/b", "é ü", "100%"].map(str::to_owned)).collect();
    bench.name(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    for id in &ids {
        let mut segment = statsig::Segment::new(id, "rule_based");
        segment.rules = vec![statsig::Rule {
            pass: statsig::Percent::hundredths(105),
            ..statsig::Rule::new("everybody", Vec::new())
        }];
        segment.version = Some(7);
        bench.simulator.statsig().add(segment);
        bench.simulator.octave().add(octave::Segment::new(id, "Banks"));
    }
    (bench, ids)
}

async fn all_known(caller: &Caller, count: usize) {
    let is_so = async || {
        let all = caller.get("/v1/segments").await.json();
        let all = all["segments"].as_array().unwrap();
        all.len() == count && all.iter().all(|one| one["version"] != 0)
    };
    until(&format!("a version of each of {count} segments"), is_so).await;
}

/// What both sides must say alike.
fn told(told: &Told, base: &str) -> (u16, String, Value) {
    let mut body: Value = told.json();
    if let Some(metadata) = body.as_object_mut().and_then(|body| body.remove("_metadata")) {
        let members: Vec<&str> = metadata.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            members.into_iter().collect::<BTreeSet<_>>(),
            BTreeSet::from(["message", "requestId", "timestamp", "usage"])
        );
    }
    for link in ["/pagination/nextPage", "/pagination/previousPage"] {
        if let Some(Value::String(link)) = body.pointer_mut(link) {
            *link = link.strip_prefix(base).unwrap_or_else(|| panic!("{link} does not start with {base}")).to_owned();
        }
    }
    if told.status >= 400 {
        // Whose words they are does not matter, only where they stand.
        body["message"] = Value::from(body["message"].as_str().unwrap().is_empty());
    }
    (told.status, told.header("content-type").unwrap().to_owned(), body)
}

#[tokio::test]
async fn every_request_is_answered_as_the_provider_does() {
    let (bench, ids) = populated().await;
    let there = bench.simulator.base_url(Provider::Statsig);
    bench
        .run(async |running| {
            let (here, provider) = (Caller::new(&running.api), Caller::new(&there));
            all_known(&here, 2 * ids.len()).await;
            for (vendor, paths) in [
                (
                    Provider::Statsig,
                    vec![
                        "/console/v1/segments",
                        "/console/v1/segments/",
                        "/console/v1/segments?limit=10&page=2",
                        "/console/v1/segments?page=3&limit=10",
                        "/console/v1/segments?limit=7&page=99",
                        "/console/v1/segments?limit=0&page=1",
                        "/console/v1/segments?page=x",
                        "/console/v1/segments/none",
                    ],
                ),
                (
                    Provider::Octave,
                    vec![
                        "/api/v2/segment/list",
                        "/api/v2/segment/list?limit=10&offset=10",
                        "/api/v2/segment/list?offset=99",
                        "/api/v2/segment/list?limit=0",
                        "/api/v2/segment/get",
                        "/api/v2/segment/get?oId=",
                        "/api/v2/segment/get?oId=none",
                    ],
                ),
            ] {
                let singles = ids.iter().map(|id| one(vendor, id));
                for path in paths.into_iter().map(str::to_owned).chain(singles) {
                    let from = name(vendor);
                    let theirs = provider.get_with(&path, &[key(vendor)]).await;
                    let ours = here.get_with(&format!("/proxy/{from}{path}"), &[key(vendor)]).await;
                    let host = |base: &str| base.strip_prefix("http://").unwrap().to_owned();
                    let base = format!("{}/proxy/{from}", host(&running.api));
                    assert!(
                        told(&ours, &base) == told(&theirs, &host(&there)),
                        "{path}: {}\n{}",
                        ours.text,
                        theirs.text
                    );
                    let has_segments = ours.status == 200 && !ours.text.contains("\"data\":[]");
                    assert_eq!(ours.header("age").is_some(), has_segments, "{path}");
                    for text in ours.headers.values().map(|value| value.to_str().unwrap()).chain([ours.text.as_str()]) {
                        assert!(!text.contains(key(vendor).1), "a key in an answer: {ours:?}");
                    }
                }
            }
        })
        .await;
}

#[tokio::test]
async fn what_is_served_fits_the_schema_that_the_vendor_published() {
    let (bench, ids) = populated().await;
    let schema: Value = serde_json::from_str(include_str!("../data/statsig-segment.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            all_known(&caller, 2 * ids.len()).await;
            let list =
                caller.get_with("/proxy/statsig/console/v1/segments?limit=100&page=1", &[key(Provider::Statsig)]).await;
            let list = list.json()["data"].as_array().unwrap().clone();
            let mut seen = BTreeSet::new();
            for segment in &list {
                let errors: Vec<String> = schema.iter_errors(segment).map(|error| error.to_string()).collect();
                assert!(errors.is_empty(), "{errors:?} in {segment}");
                seen.insert(segment["id"].as_str().unwrap().to_owned());
            }
            assert_eq!(seen, ids);
        })
        .await;
}

#[tokio::test]
async fn a_caller_must_send_the_key_or_the_token() {
    let mut bench = served().await;
    let token = bench.folder.path().join("token");
    std::fs::write(&token, "a-token-of-some-length").unwrap();
    bench.written.http.push_str(&format!("\ntoken = {{ file = {token:?} }}"));
    bench
        .run(async |running| {
            let (caller, known) =
                (Caller::new(&running.api), Caller::with_token(&running.api, "a-token-of-some-length"));
            all_known(&known, 2).await;
            for provider in BOTH {
                let path = format!("/proxy/{}{}", name(provider), one(provider, ID));
                let (header, right) = key(provider);
                let other = BOTH.into_iter().find(|other| *other != provider).unwrap();
                let wrong = ["wrong-key-of-some-length", "", key(other).1, &right[1..], &format!("{right}x")]
                    .map(str::to_owned);
                let mut refused = vec![caller.get(&path).await];
                for wrong in &wrong {
                    refused.push(caller.get_with(&path, &[(header, wrong)]).await);
                }
                refused.push(caller.get_with(&path, &[key(other)]).await);
                refused.push(caller.get_with(&format!("/proxy/{}/x", name(provider)), &[]).await);
                for refused in refused {
                    assert_eq!(refused.status, 401, "{refused:?}");
                    assert!(refused.json()["message"].is_string());
                    assert!(wrong.iter().filter(|wrong| !wrong.is_empty()).all(|wrong| !refused.text.contains(wrong)));
                }
                assert_eq!(caller.get_with(&path, &[(header, right)]).await.status, 200);
                assert_eq!(caller.get_with(&path, &[(header, "a-token-of-some-length")]).await.status, 200);
                assert_eq!(known.get(&path).await.status, 200);
                let posted = known.send(reqwest::Method::POST, &path).await;
                assert_eq!(
                    (posted.status, posted.json()["message"].as_str()),
                    (405, Some("only reading is served here"))
                );
            }
            assert_eq!(caller.get("/proxy/no/console/v1/segments").await.problem().0, 404);
            // The key opens the provider's door only.
            assert_eq!(caller.get_with("/v1/segments", &[key(Provider::Statsig)]).await.status, 401);
        })
        .await;
}

#[tokio::test]
async fn what_is_gone_or_not_known_yet_is_told_apart() {
    let mut bench = served().await;
    bench.pass().await;
    bench.simulator.statsig().remove(ID).unwrap();
    bench
        .simulator
        .octave()
        .edit(ID, |segment| {
            segment.deleted_ms = Some(7);
            Ok(())
        })
        .unwrap();
    bench.pass().await;
    bench.pass().await;
    bench.written.statsig.push("later".to_owned());
    bench.refuse_keys(true);
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            let ask = async |provider: Provider, id: &str| {
                let path = format!("/proxy/{}{}", name(provider), one(provider, id));
                caller.get_with(&path, &[key(provider)]).await
            };
            assert_eq!(ask(Provider::Statsig, ID).await.status, 404);
            let marked = ask(Provider::Octave, ID).await;
            assert_eq!((marked.status, marked.json()["deletedAt"].is_string()), (200, true), "{marked:?}");
            let list = caller.get_with("/proxy/octave/api/v2/segment/list", &[key(Provider::Octave)]).await.json();
            assert_eq!((&list["total"], &list["data"]), (&json!(0), &json!([])));
            let later = ask(Provider::Statsig, "later").await;
            assert_eq!((later.status, later.json()["status"].as_i64()), (503, Some(503)), "not known is not gone");
        })
        .await;
}

/// The clients are ours, but they do not know where they are: a second daemon with another base URL and nothing else.
#[tokio::test]
async fn a_daemon_behind_the_daemon_mirrors_the_same() {
    for fetch in ["each", "list"] {
        let (bench, ids) = populated().await;
        bench
            .run(async |running| {
                let caller = Caller::new(&running.api);
                all_known(&caller, 2 * ids.len()).await;
                for provider in BOTH {
                    let before = bench.simulator.arrivals().len();
                    let mut behind = Bench::empty(unlimited()).await;
                    behind.written.base_url = Some(format!("{}/proxy/{}", running.api, name(provider)));
                    behind.written.fetch = fetch.to_owned();
                    let named = ids.iter().cloned().collect();
                    (behind.written.statsig, behind.written.octave) = match provider {
                        Provider::Statsig => (named, Vec::new()),
                        Provider::Octave => (Vec::new(), named),
                    };
                    behind.pass().await;
                    let sql = format!(
                        "SELECT segment, state, document FROM segment_now WHERE source = '{}' ORDER BY 1",
                        name(provider)
                    );
                    assert_eq!(behind.rows(&sql), bench.rows(&sql), "{fetch}");
                    assert_eq!(behind.rows(&sql).len(), ids.len());
                    assert_eq!(bench.simulator.arrivals().len(), before, "nobody asked the provider");
                }
            })
            .await;
    }
}
