//! Reading through to the provider: one request for all who wait, inside the budget, or the stored copy with a word.

use futures_util::future::join_all;
use reqwest::Method;
use rustix::process::{Resource, getrlimit, setrlimit};
use segsync::simulator::{Fault, On, Provider, Times};
use tokio_util::sync::CancellationToken;

use crate::common::{Bench, until};
use crate::http::client::Caller;
use crate::http::served;

const ONE: &str = "/v1/segments/statsig/seg_1";
const FRESH: &str = "/v1/segments/statsig/seg_1?max_age=0s";

/// How often the provider was asked.
fn asked(bench: &Bench) -> usize {
    bench.simulator.arrivals().iter().filter(|arrival| arrival.provider == Some(Provider::Statsig)).count()
}

/// The provider answers only once the gate opens.
fn gate(bench: &Bench) -> CancellationToken {
    let gate = CancellationToken::new();
    bench.simulator.misbehave(Provider::Statsig, On::Any, Times::Always, Fault::answer().gated(&gate));
    gate
}

/// Both ends of each connection are of this process.
fn allow_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Waits until so many callers wait for the provider.
async fn waiting(caller: &Caller, count: u64) {
    let wait = async || caller.get("/v1/status").await.json()["waiting"].as_u64() == Some(count);
    until(&format!("{count} callers to wait"), wait).await;
}

#[tokio::test]
async fn a_thousand_callers_share_one_request() {
    allow_files();
    let bench = served().await;
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            caller.sees(ONE, 1).await;
            assert_eq!(asked(&bench), 1);
            bench.describe("two");
            let gate = gate(&bench);
            let all = join_all((0..1000).map(|_| caller.get(FRESH)));
            let open = async {
                waiting(&caller, 1000).await;
                gate.cancel();
            };
            let (told, ()) = tokio::join!(all, open);
            for told in &told {
                assert_eq!((&told.json()["version"], told.header("warning")), (&2.into(), None));
            }
            assert_eq!(asked(&bench), 2, "one request for a thousand callers");
            waiting(&caller, 0).await;
        })
        .await;
    bench.assert_one_row_per_request();
}

#[tokio::test]
async fn a_copy_that_is_young_enough_is_served_as_it_is() {
    let bench = served().await;
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            caller.sees(ONE, 1).await;
            bench.describe("two");
            let young = caller.get("/v1/segments/statsig/seg_1?max_age=1h").await;
            assert_eq!((young.json()["version"].as_i64(), asked(&bench)), (Some(1), 1));
            let fresh = caller.get(FRESH).await;
            assert_eq!((fresh.json()["version"].as_i64(), asked(&bench)), (Some(2), 2));
            assert_eq!((fresh.is_young(), fresh.header("warning")), (true, None));
            // What is unchanged is asked for all the same, and told as before.
            let etag = fresh.header("etag").unwrap();
            assert_eq!(caller.get_with(FRESH, &[("if-none-match", etag)]).await.status, 304);
            assert_eq!(asked(&bench), 3);
            let checked = caller.get(ONE).await.json()["checked_at"].as_str().unwrap().to_owned();
            let rows = bench.rows("SELECT checked_at FROM segment_now WHERE source = 'statsig'");
            assert_eq!(rows, [checked], "but it is younger now");
        })
        .await;
}

#[tokio::test]
async fn a_provider_that_fails_leaves_the_stored_copy_with_a_word() {
    let bench = served().await;
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            caller.sees(ONE, 1).await;
            bench.describe("two");
            bench.misbehave(Times::Always, &Fault::echo_key(500).text("no \"way\" é: {key}"));
            let told = caller.get(FRESH).await;
            let warning = "111 segsync \"the stored copy: HTTP 500, the provider failed: no \\\"way\\\" ?: [key]\"";
            assert_eq!((told.status, told.json()["version"].as_i64()), (200, Some(1)));
            assert_eq!((told.header("warning"), told.is_young()), (Some(warning), true));
            let (status, detail) = caller.send(Method::POST, &format!("{ONE}/refresh")).await.problem();
            assert_eq!(status, 503);
            assert_eq!(detail, "statsig/seg_1 is as it was: HTTP 500, the provider failed: no \"way\" é: [key]");
            bench.behave();
            assert_eq!(caller.send(Method::POST, &format!("{ONE}/refresh")).await.json()["version"], 2);
        })
        .await;
}

#[tokio::test]
async fn without_budget_the_stored_copy_comes_in_time() {
    let mut bench = served().await;
    bench.written.octave.clear();
    bench.pass().await;
    // What is in the file is known at once; the next request would be one too many.
    bench.written.poll = "every = \"1h\"\ntimeout = \"300ms\"".to_owned();
    bench.written.source = "limits = [{ requests = 1, per = \"10m\" }]".to_owned();
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            caller.sees(ONE, 1).await;
            let told = caller.get(FRESH).await;
            let warning = "111 segsync \"the stored copy: neither budget nor provider allowed it within 300ms\"";
            assert_eq!((told.status, told.header("warning")), (200, Some(warning)));
            assert_eq!(asked(&bench), 1, "the budget holds");
        })
        .await;
}

#[tokio::test]
async fn a_hold_or_a_refused_key_is_told_without_waiting() {
    let mut bench = served().await;
    bench.written.octave.clear();
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            caller.sees(ONE, 1).await;
            bench.refuse_keys(true);
            let told = caller.get(FRESH).await;
            assert!(told.header("warning").unwrap().contains("HTTP 401, the key was refused"), "{told:?}");
            let again = caller.get(FRESH).await;
            let warning = "111 segsync \"the stored copy: the provider refuses the key\"";
            assert_eq!((again.header("warning"), asked(&bench)), (Some(warning), 2));
        })
        .await;
    bench.refuse_keys(false);
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            let is_ready = async || asked(&bench) == 3 && caller.get("/readyz").await.status == 200;
            until("a third request, and to be ready again", is_ready).await;
            bench.simulator.misbehave(Provider::Statsig, On::Any, Times::Always, Fault::retry_after("600"));
            let told = caller.get(FRESH).await;
            assert!(told.header("warning").unwrap().contains("too many requests"), "{told:?}");
            let again = caller.get(FRESH).await;
            assert!(again.header("warning").unwrap().contains("the provider asked to wait for another "), "{again:?}");
            assert_eq!(asked(&bench), 4);
        })
        .await;
}

#[tokio::test]
async fn segments_of_a_list_are_asked_for_singly_and_once() {
    let mut bench = served().await;
    bench.written.source = "limits = []\n".to_owned();
    bench.written.fetch = "list".to_owned();
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            for path in [ONE, "/v1/segments/octave/seg_1"] {
                caller.sees(path, 1).await;
            }
            bench.describe("two");
            for round in 0..3 {
                let told = caller.get(FRESH).await;
                assert_eq!((told.json()["version"].as_i64(), told.header("warning")), (Some(2), None), "{round}");
            }
            let singly = bench.count("SELECT count(*) FROM polls WHERE kind = 'get'");
            assert_eq!(singly, 3, "and never by itself");
        })
        .await;
    bench.assert_one_row_per_request();
}

#[tokio::test]
async fn a_reload_lets_go_of_those_who_wait() {
    let mut bench = served().await;
    bench.written.source = "limits = [{ requests = 1, per = \"10m\" }]".to_owned();
    bench.written.octave.clear();
    let again = bench.prepared();
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            caller.sees(ONE, 1).await;
            let reload = async {
                waiting(&caller, 1).await;
                running.reload.send(again).await.unwrap();
            };
            let (told, ()) = tokio::join!(caller.get(FRESH), reload);
            let warning = "111 segsync \"the stored copy: the request was given up\"";
            assert_eq!((told.status, told.header("warning")), (200, Some(warning)));
        })
        .await;
}
