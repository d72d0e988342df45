//! The poll pipeline and the sweep, each beside a loop that only asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use segsync::simulator::STATSIG_KEY;
use segsync::transport::choose_algorithms;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::common::{CONCURRENCY, Report, Took, World, id, own_cpu, seconds};
use super::least::{Segments, least};
use super::life::Daemon;

/// How often it is looked how far a daemon is.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// So many answers a round takes at least: CPU time is told in hundredths of a second.
const ENOUGH: usize = 30_000;

pub async fn timed(work: impl Future<Output = ()>) -> Took {
    let (began, cpu) = (Instant::now(), own_cpu());
    work.await;
    Took { wall: seconds(began.elapsed()), cpu: own_cpu() - cpu }
}

pub fn client() -> Client {
    choose_algorithms();
    Client::builder().no_proxy().tls_certs_only([]).build().expect("a client")
}

pub async fn ask(client: &Client, url: String) -> bytes::Bytes {
    let answer = client.get(url).header("STATSIG-API-KEY", STATSIG_KEY).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.bytes().await.expect("a body")
}

/// The floor: asks for every segment and drops what comes.
pub async fn bare(world: &World) -> Took {
    let (client, base, all) = (client(), Arc::new(world.url.clone()), world.segments);
    timed(async {
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..CONCURRENCY {
            let (client, base, next) = (client.clone(), Arc::clone(&base), Arc::clone(&next));
            tasks.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= all {
                        return;
                    }
                    drop(ask(&client, format!("{base}/console/v1/segments/{}", id(number))).await);
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("no panic");
        }
    })
    .await
}

/// A daemon whose segments are always due; it has asked for each of them once.
pub async fn at_work(world: &World, fetch: &str) -> Daemon {
    let daemon = Daemon::start(&world.folder, &world.configure(fetch, "100ms"));
    daemon.ready();
    told(world, requests(world, fetch)).await;
    daemon
}

/// Requests that tell about every segment once.
fn requests(world: &World, fetch: &str) -> usize {
    if fetch == "list" { world.segments.div_ceil(100) } else { world.segments }
}

/// Waits for the end of so many more requests.
async fn told(world: &World, requests: usize) {
    let ended = || world.highest("polls", "outcome IS NOT NULL");
    let enough = ended() + requests;
    while ended() < enough {
        sleep(LOOK_EVERY).await;
    }
}

/// What a daemon takes to ask for every segment once, while none of them changes.
pub async fn unchanged(world: &World, fetch: &str) -> Took {
    let times = ENOUGH.div_ceil(world.segments);
    let daemon = at_work(world, fetch).await;
    let (began, before) = (Instant::now(), daemon.stand().0);
    told(world, times * requests(world, fetch)).await;
    let (wall, cpu) = (seconds(began.elapsed()), daemon.stand().0 - before);
    daemon.end().await;
    Took { wall: wall / times as f64, cpu: cpu / times as f64 }
}

/// What a daemon takes to see that one field of every segment has changed.
pub async fn changed(world: &mut World) -> Took {
    let daemon = at_work(world, "each").await;
    let versions = world.highest("versions", "true");
    let (began, before) = (Instant::now(), daemon.stand().0);
    world.edit().await;
    while world.highest("versions", "true") < versions + world.segments {
        sleep(LOOK_EVERY).await;
    }
    let took = Took { wall: seconds(began.elapsed()), cpu: daemon.stand().0 - before };
    daemon.end().await;
    took
}

/// The floor of a sweep: asks for page after page, and parses each.
async fn bare_pages(world: &World) -> Took {
    let client = client();
    timed(async {
        let mut seen = 0;
        for page in 1.. {
            let url = format!("{}/console/v1/segments?limit=100&page={page}", world.url);
            let body = ask(&client, url).await;
            let page: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            seen += page["data"].as_array().expect("a list").len();
            if page["pagination"]["nextPage"].is_null() {
                break;
            }
        }
        assert_eq!(seen, world.segments);
    })
    .await
}

fn rates(segments: usize, rounds: &[(Took, Took)]) -> Vec<(f64, f64)> {
    rounds.iter().map(|(floor, ours)| (segments as f64 / floor.wall, segments as f64 / ours.wall)).collect()
}

fn note_cpu(report: &Report, what: &str, segments: usize, rounds: &[(Took, Took)]) {
    let each = |of: fn(&(Took, Took)) -> f64| {
        let cpu = super::common::median(rounds.iter().map(of).collect());
        format!("{:.1} µs", cpu / segments as f64 * 1e6)
    };
    report.note(&format!("{what}, CPU time of each"), each(|round| round.0.cpu), each(|round| round.1.cpu));
}

/// Floor and ours in turns, `rounds` times; who goes first changes.
macro_rules! in_turns {
    ($rounds:expr, $floor:expr, $ours:expr) => {{
        let mut all = Vec::new();
        for round in 0..$rounds {
            all.push(if round % 2 == 0 {
                let floor = $floor.await;
                (floor, $ours.await)
            } else {
                let ours = $ours.await;
                ($floor.await, ours)
            });
        }
        all
    }};
}

pub async fn gets(report: &Report, segments: usize, rounds: usize) {
    let mut world = World::new(segments).await;
    eprintln!("{} bytes in a segment", super::common::segment(1, 1).len());
    at_work(&world, "each").await.end().await;
    let all = in_turns!(rounds, bare(&world), least(&world, Segments::Unchanged));
    note_least(report, "unchanged", segments, &all);
    let all = in_turns!(rounds, bare(&world), unchanged(&world, "each"));
    report.share(&format!("{segments} polls, unchanged"), "polls/s", &rates(segments, &all), 0.6);
    note_cpu(report, "unchanged polls", segments, &all);
    let all = in_turns!(rounds, bare(&world), {
        world.edit().await;
        least(&world, Segments::Changed)
    });
    note_least(report, "one field changed", segments, &all);
    let all = in_turns!(rounds, bare(&world), changed(&mut world));
    report.share(&format!("{segments} polls, one field changed"), "changes/s", &rates(segments, &all), 0.35);
    note_cpu(report, "changed polls", segments, &all);
    world.end().await;
}

/// What the promises of the file leave of the bare loop, before anything else is done.
fn note_least(report: &Report, what: &str, segments: usize, rounds: &[(Took, Took)]) {
    report.ratio(&format!("the rows of polls alone, {what}"), "polls/s", &rates(segments, rounds));
    note_cpu(report, &format!("the same, {what}"), segments, rounds);
}

pub async fn sweep(report: &Report, segments: usize, rounds: usize) {
    let world = World::new(segments).await;
    at_work(&world, "list").await.end().await;
    let all = in_turns!(rounds, bare_pages(&world), unchanged(&world, "list"));
    report.share(&format!("sweep of {segments}, unchanged"), "segments/s", &rates(segments, &all), 0.6);
    note_cpu(report, "sweep, for each segment", segments, &all);
    world.end().await;
}
