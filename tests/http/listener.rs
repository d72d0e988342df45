//! Where the API listens, whom it answers, and how it follows reloads.

use reqwest::Method;
use segsync::model::Outcome;

use crate::common::{Bench, until};
use crate::http::client::Caller;
use crate::http::served;

const TOKEN: &str = "a-token-of-some-length";

/// A bench with the API, and whatever further lines of `[http]`.
async fn bench(lines: &str) -> Bench {
    let mut bench = served().await;
    bench.written.http.push_str(&format!("\n{lines}"));
    bench
}

/// A line that takes the token from a file with this content.
fn token(bench: &Bench, content: &str) -> String {
    let path = bench.folder.path().join("token");
    std::fs::write(&path, content).unwrap();
    format!("token = {{ file = {path:?} }}")
}

#[tokio::test]
async fn it_answers_once_the_daemon_is_ready() {
    let bench = bench("").await;
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            assert_eq!((caller.get("/healthz").await.status, caller.get("/healthz").await.text), (200, "ok\n".into()));
            assert_eq!(
                caller.get("/nothing/here?x").await.problem(),
                (404, "there is no /nothing/here here; /openapi.json lists what there is".into())
            );
            let refused = caller.send(Method::DELETE, "/healthz").await;
            assert_eq!(refused.problem(), (405, "/healthz does not take DELETE".into()));
            assert_eq!(refused.header("allow"), Some("GET,HEAD"));
        })
        .await;
}

#[tokio::test]
async fn without_the_table_nobody_listens() {
    let bench = Bench::new().await;
    bench
        .run(async |running| {
            let told = Caller::new(&running.api).ask(Method::GET, "/healthz", &[]).await;
            assert!(told.is_err_and(|error| error.is_connect()));
        })
        .await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_before_ready() {
    let mut bench = Bench::new().await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    bench.written.http = format!("listen = \"{}\"", taken.local_addr().unwrap());
    let wiring = segsync::daemon::Wiring {
        clock: bench.clock.clone(),
        events: segsync::events::Events::default(),
        live: segsync::live::Live::default(),
        manager: segsync::daemon::Manager::default(),
        listener: None,
        reloads: tokio::sync::mpsc::channel(1).1,
        shutdown: tokio_util::sync::CancellationToken::new(),
    };
    let ended = segsync::daemon::run(bench.prepared(), wiring, || panic!("it is not ready")).await;
    let error = format!("{:#}", ended.expect_err("it cannot listen"));
    assert!(error.starts_with("listen on 127.0.0.1:") && error.contains("in use"), "{error}");
    assert_eq!(bench.pass().await.endings[0].outcome, Outcome::Created, "and the file was let go");
}

#[tokio::test]
async fn a_reload_moves_the_listener_and_changes_the_token() {
    const HERE: &str = "listen = \"127.0.0.1:0\"";
    let mut bench = bench("").await;
    let token = token(&bench, TOKEN);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut prepared = |http: &str| {
        bench.written.http = http.to_owned();
        bench.prepared()
    };
    let with_token = prepared(&format!("{HERE}\n{token}"));
    let elsewhere = prepared(&format!("listen = \"{free}\"\n{token}"));
    let off = prepared("");
    drop(prepared(HERE));
    bench
        .run(async |running| {
            let (open, known) = (Caller::new(&running.api), Caller::with_token(&running.api, TOKEN));
            assert_eq!(open.get("/x").await.status, 404);
            running.reload.send(with_token).await.unwrap();
            until("the token to be asked for", async || open.get("/x").await.status == 401).await;
            let refused = open.get("/x").await;
            assert_eq!(refused.problem(), (401, "send the configured token as `Authorization: Bearer …`".into()));
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
            assert_eq!(known.get("/x").await.status, 404);
            assert_eq!(Caller::with_token(&running.api, "another").get("/x").await.status, 401);
            assert_eq!(open.get("/healthz").await.status, 200, "asks for no token");

            running.reload.send(elsewhere).await.unwrap();
            let there = Caller::with_token(&format!("http://{free}"), TOKEN);
            let answers = async || there.ask(Method::GET, "/x", &[]).await.is_ok_and(|told| told.status() == 404);
            until("an answer at the new address", answers).await;
            until("silence at the old one", async || open.ask(Method::GET, "/healthz", &[]).await.is_err()).await;

            running.reload.send(off).await.unwrap();
            until("silence without [http]", async || there.ask(Method::GET, "/healthz", &[]).await.is_err()).await;
        })
        .await;
}
