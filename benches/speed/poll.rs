//! The poll pipeline and the sweep, each beside a loop that only asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use reqwest::Client;
use segsync::simulator::STATSIG_KEY;
use segsync::transport::choose_algorithms;
use tokio::task::JoinSet;

use super::common::{CONCURRENCY, Report, Took, World, id, own_cpu, seconds};

pub async fn timed(work: impl Future<Output = ()>) -> Took {
    let (began, cpu) = (Instant::now(), own_cpu());
    work.await;
    Took { wall: seconds(began.elapsed()), cpu: own_cpu() - cpu }
}

fn client() -> Client {
    choose_algorithms();
    Client::builder().no_proxy().tls_certs_only([]).build().expect("a client")
}

async fn ask(client: &Client, url: String) -> bytes::Bytes {
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

/// One pass of segsync.
pub async fn ours(world: &World, fetch: &str, versions: usize) -> Took {
    timed(async {
        let pass = world.pass(fetch).await;
        let made = pass.endings.iter().filter(|ending| ending.outcome.made_version()).count();
        assert_eq!(made, versions, "versions");
    })
    .await
}

/// A pass over one segment of them: what a pass takes besides its polls.
pub async fn one(world: &World) -> Took {
    timed(async { assert_eq!(world.pass_over("each", Some(&[world.key(0)])).await.endings.len(), 1) }).await
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
    report.note(
        &format!("{what}, CPU time of each in this process"),
        each(|round| round.0.cpu),
        each(|round| round.1.cpu),
    );
}

/// Both in turns; who goes first changes.
macro_rules! in_turns {
    ($rounds:expr, $before:block, $floor:expr, $ours:expr) => {{
        let mut all = Vec::new();
        for round in 0..$rounds {
            $before
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
    ours(&world, "each", segments).await;
    let all = in_turns!(rounds, {}, bare(&world), ours(&world, "each", 0));
    report.share(&format!("{segments} polls, unchanged"), "polls/s", &rates(segments, &all), 0.6);
    note_cpu(report, "unchanged polls", segments, &all);
    let all = in_turns!(rounds, { world.edit().await }, bare(&world), ours(&world, "each", segments));
    report.share(&format!("{segments} polls, one field changed"), "changes/s", &rates(segments, &all), 0.35);
    note_cpu(report, "changed polls", segments, &all);
    world.end().await;
}

pub async fn sweep(report: &Report, segments: usize, rounds: usize) {
    let world = World::new(segments).await;
    ours(&world, "list", segments).await;
    let all = in_turns!(rounds, {}, bare_pages(&world), ours(&world, "list", 0));
    report.share(&format!("sweep of {segments}, unchanged"), "segments/s", &rates(segments, &all), 0.6);
    note_cpu(report, "sweep, for each segment", segments, &all);
    world.end().await;
}
