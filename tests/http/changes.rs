//! The feed of versions, by pages and as a stream: nothing missed, nothing doubled.

use std::time::Duration;

use reqwest::Method;
use segsync::daemon::{self, Manager, Wiring};
use segsync::events::Events;
use segsync::http::Listener;
use segsync::live::Live;
use segsync::simulator::{Provider, statsig};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::common::{Bench, ID, put, until};
use crate::http::client::Caller;
use crate::http::served;

/// The rows of all versions, in order.
fn rows(bench: &Bench) -> Vec<String> {
    bench.rows("SELECT id FROM versions ORDER BY id")
}

fn cursors(page: &Value) -> Vec<String> {
    page["changes"].as_array().unwrap().iter().map(|one| one["cursor"].as_str().unwrap().to_owned()).collect()
}

/// An event of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    id: Option<String>,
    name: String,
    data: String,
}

/// A client of the stream.
struct Client {
    response: reqwest::Response,
    text: String,
}

impl Client {
    async fn connect(caller: &Caller, path: &str, last: Option<&str>) -> Self {
        let headers: Vec<_> = last.map(|last| ("last-event-id", last)).into_iter().collect();
        let response = caller.ask(Method::GET, path, &headers).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event, heartbeats aside; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    line.map(str::to_owned)
                };
                let read = (field("id"), field("event"), field("data"));
                self.text = rest.to_owned();
                if let (id, Some(name), Some(data)) = read {
                    return Some(Event { id, name, data });
                }
                continue;
            }
            let more = self.response.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&more).unwrap());
        }
    }

    /// The ids of the next events.
    async fn ids(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        while ids.len() < count {
            let event = self.next().await.expect("another event");
            assert_eq!(event.name, "version");
            let data: Value = serde_json::from_str(&event.data).unwrap();
            assert_eq!(data["cursor"].as_str(), event.id.as_deref());
            ids.push(event.id.unwrap());
        }
        ids
    }
}

#[tokio::test]
async fn a_page_tells_versions_as_the_log_does() {
    let bench = served().await;
    bench.pass().await;
    bench.describe("two");
    bench.pass().await;
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            let all = caller.get("/v1/changes").await.json();
            assert_eq!((cursors(&all), all["more"].as_bool()), (rows(&bench), Some(false)));
            let last = &all["changes"][3];
            assert_eq!(
                (last["segment"].as_str(), last["op"].as_str(), last["version"].as_i64()),
                (Some(ID), Some("update"), Some(2))
            );
            let description = last["changes"].as_array().unwrap().iter().find(|one| one["field"] == "description");
            assert_eq!(description.unwrap()["new"], "two");

            let next = all["next"].as_str().unwrap();
            let none = caller.get(&format!("/v1/changes?after={next}")).await.json();
            assert_eq!((cursors(&none).len(), none["next"].as_str()), (0, Some(next)));
            let one = caller.get("/v1/changes?source=octave").await.json();
            assert_eq!((cursors(&one).len(), one["next"].as_str()), (2, Some(next)));
            assert_eq!(cursors(&caller.get("/v1/changes?segment=octave/seg_1").await.json()), cursors(&one));
            assert_eq!(cursors(&caller.get("/v1/changes?source=octave&segment=seg_1").await.json()), cursors(&one));
            assert_eq!(cursors(&caller.get("/v1/changes?segment=octave/no").await.json()).len(), 0);
            for (query, status) in [
                ("after=x", 400),
                ("after=-1", 400),
                ("after=999", 400),
                ("limit=0", 400),
                ("limit=1001", 400),
                ("segment=seg_1", 400),
                ("source=no", 404),
                ("afetr=1", 400),
            ] {
                assert_eq!(caller.get(&format!("/v1/changes?{query}")).await.problem().0, status, "{query}");
            }
        })
        .await;
}

#[tokio::test]
async fn a_reader_that_pages_while_changes_arrive_misses_and_doubles_nothing() {
    let mut bench = served().await;
    bench.name(&["a", "b", "c"]);
    for id in ["a", "b", "c"] {
        bench.simulator.statsig().add(statsig::Segment::new(id, "rule_based"));
        put(&bench.simulator, Provider::Octave, id, "");
    }
    bench.written.poll = "every = \"5ms\"\ntimeout = \"60s\"".to_owned();
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            let is_over = std::cell::Cell::new(false);
            let edit = async {
                for round in 0..40 {
                    for id in ["a", "b", "c"] {
                        bench.simulator.statsig().edit(id, |segment| segment.describe(&format!("{round}"))).unwrap();
                        put(&bench.simulator, Provider::Octave, id, &format!("\"x\":{round}"));
                    }
                    let before = rows(&bench).len();
                    until("a version of an edit", async || rows(&bench).len() > before).await;
                }
                is_over.set(true);
            };
            let read = async |limit: usize| {
                let (mut seen, mut after) = (Vec::new(), "0".to_owned());
                loop {
                    let was_over = is_over.get();
                    let page = caller.get(&format!("/v1/changes?after={after}&limit={limit}")).await.json();
                    assert!(cursors(&page).len() <= limit);
                    seen.extend(cursors(&page));
                    after = page["next"].as_str().unwrap().to_owned();
                    if was_over && page["more"] == false && rows(&bench).len() == seen.len() {
                        return seen;
                    }
                }
            };
            let ((), small, large) = tokio::join!(edit, read(1), read(7));
            let all = rows(&bench);
            assert!(all.len() > 40);
            assert_eq!((small.as_slice(), large.as_slice()), (&all[..small.len()], &all[..large.len()]));
        })
        .await;
}

#[tokio::test]
async fn a_stream_tells_what_is_committed_and_resumes_over_a_restart() {
    let bench = served().await;
    bench.pass().await;
    let last = bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            let mut from_now = Client::connect(&caller, "/v1/changes/stream", None).await;
            let mut from_start = Client::connect(&caller, "/v1/changes/stream?after=0", None).await;
            let mut one = Client::connect(&caller, "/v1/changes/stream?source=octave", None).await;
            assert_eq!(from_start.ids(2).await, ["1", "2"]);
            bench.describe("two");
            for source in ["statsig", "octave"] {
                caller.send(Method::POST, &format!("/v1/segments/{source}/{ID}/refresh")).await;
            }
            assert_eq!(
                (from_now.ids(2).await, from_start.ids(2).await),
                (vec!["3".into(), "4".into()], vec!["3".into(), "4".into()])
            );
            assert_eq!(one.ids(1).await, ["4"]);
            running.shutdown.cancel();
            assert_eq!((from_now.next().await, one.next().await), (None, None), "the daemon's end is the stream's");
            "3"
        })
        .await;
    bench.describe("three");
    bench.pass().await;
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            let mut again = Client::connect(&caller, "/v1/changes/stream?after=0", Some(last)).await;
            assert_eq!(again.ids(3).await, ["4", "5", "6"]);
            let of_another = caller.get_with("/v1/changes/stream", &[("last-event-id", "99")]).await;
            assert_eq!(of_another.problem().0, 400);
        })
        .await;
}

/// Nothing in between holds as much as this client does not take.
#[tokio::test]
async fn a_slow_client_is_dropped_with_a_word_and_slows_nobody() {
    let mut bench = served().await;
    bench.written.octave.clear();
    let (events, shutdown) = (Events::holding(2), CancellationToken::new());
    let (_reload, reloads) = mpsc::channel(1);
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let caller = Caller::new(&format!("http://{}", socket.local_addr().unwrap()));
    let wiring = Wiring {
        clock: bench.clock.clone(),
        events,
        live: Live::default(),
        manager: Manager::default(),
        listener: Some(Listener::from(socket)),
        reloads,
        shutdown: shutdown.clone(),
    };
    let play = async {
        let one = "/v1/segments/statsig/seg_1";
        caller.sees(one, 1).await;
        let mut slow = Client::connect(&caller, "/v1/changes/stream?after=0", None).await;
        assert_eq!(slow.ids(1).await, ["1"]);
        for round in 0..8 {
            bench
                .simulator
                .statsig()
                .edit(ID, |segment| segment.describe(&format!("{round}").repeat(1 << 21)))
                .unwrap();
            let told = caller.send(Method::POST, &format!("{one}/refresh")).await;
            assert_eq!(told.json()["version"], round + 2, "nobody waits for the slow one");
        }
        let mut ids = Vec::new();
        let last = loop {
            let event = slow.next().await.expect("a word before the end");
            match event.id {
                Some(id) => ids.push(id.parse::<i64>().unwrap()),
                None => break event,
            }
        };
        assert_eq!(last.name, "dropped");
        assert!(last.data.contains("too slow"), "{last:?}");
        assert_eq!(slow.next().await, None);
        let told = i64::try_from(ids.len()).unwrap();
        assert_eq!(ids, (2..2 + told).collect::<Vec<_>>(), "in order, without a gap");
        assert!(told < 8);
        let mut again = Client::connect(&caller, "/v1/changes/stream", Some(&(1 + told).to_string())).await;
        let rest: Vec<String> = (2 + told..=9).map(|id| id.to_string()).collect();
        assert_eq!(again.ids(rest.len()).await, rest);
        shutdown.cancel();
        Ok(())
    };
    let daemon = daemon::run(bench.prepared(), wiring, || ());
    let both = async { tokio::try_join!(daemon, play) };
    tokio::time::timeout(Duration::from_secs(120), both).await.unwrap().unwrap();
}
