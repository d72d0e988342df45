//! What the running daemon says of itself: the snapshot that the service manager, readiness and gauges are rendered from.

use std::time::Duration;

use crate::common::{BOTH, Bench, ID, PATIENCE, Running, in_time};
use segsync::clock::Clock;
use segsync::daemon::Notice;
use segsync::live::{Live, Phase, Snapshot, SourceLive};
use segsync::model::{SourceState, UnixMs};
use segsync::simulator::{Fault, On, Times};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Between two looks at what cannot be waited for.
const LOOK: Duration = Duration::from_millis(5);

/// The snapshot once it is `enough`, which is told in words. It can only be asked for, so it is asked again and again.
async fn until(live: &Live, what: &str, enough: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let wait = async {
        loop {
            let now = live.snapshot();
            if enough(&now) {
                return now;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}: {:?}", live.snapshot()))
}

/// Tracked, fresh, pending and deleted segments of each source.
fn counts(snapshot: &Snapshot) -> Vec<(usize, usize, usize, usize)> {
    let of = |source: &SourceLive| {
        let found = &source.segments;
        (found.tracked, found.fresh, found.pending, found.deleted)
    };
    snapshot.sources.iter().map(of).collect()
}

fn fresh(segments: usize) -> impl Fn(&Snapshot) -> bool {
    move |now| now.sources.iter().all(|source| source.segments.fresh == segments)
}

#[tokio::test]
async fn it_follows_polls_and_reloads() {
    let mut bench = Bench::new().await;
    assert_eq!(Live::default().snapshot().phase, Phase::Starting);
    let first = bench.prepared();
    bench.name(&[ID, "new"]);
    let live = bench
        .run(async |daemon| {
            daemon.reload.send(first).await.unwrap();
            let one = until(&daemon.live, "one segment of each", |now| counts(now) == [(1, 1, 0, 0); 2]).await;
            assert!(one.phase == Phase::Running && one.is_ready(), "{one:?}");
            let hour = Duration::from_secs(3600);
            assert!(one.accounts.iter().all(|account| account.next_poll.is_some_and(|wait| wait <= hour)), "{one:?}");
            assert!(one.line().starts_with("2/2 fresh, oldest "), "{}", one.line());

            daemon.reload.send(bench.prepared()).await.unwrap();
            // Nobody has the new one: it is answered, and pending.
            let both = until(&daemon.live, "two segments of each", |now| counts(now) == [(2, 2, 1, 0); 2]).await;
            assert_eq!(both.running_since, one.running_since);
            daemon.live.clone()
        })
        .await;
    assert_eq!(live.snapshot().line(), "stopping");

    bench.remove();
    bench.pass().await;
    bench.pass().await;
    let restarted = bench.run(async |daemon| daemon.live.snapshot()).await;
    assert_eq!(counts(&restarted), [(2, 2, 1, 1); 2], "what the file knows counts from the start");
}

#[tokio::test]
async fn the_next_poll_is_told_as_late_as_the_pace_lets_it_go() {
    let mut bench = Bench::new().await;
    bench.written.source = "limits = [{ requests = 2, per = \"1h\" }]\nburst = 1".to_owned();
    bench.name(&[ID, "second"]);
    bench
        .run(async |daemon| {
            until(&daemon.live, "one fresh segment of each", fresh(1)).await;
            let paced = |now: &Snapshot| {
                let late = Duration::from_secs(1200);
                now.accounts.iter().all(|account| account.next_poll.is_some_and(|wait| wait > late))
            };
            until(&daemon.live, "a next poll that is paced", paced).await;
        })
        .await;
}

#[tokio::test]
async fn a_refused_key_is_a_reason_not_to_be_ready_until_it_works_again() {
    let bench = Bench::new().await;
    bench.refuse_keys(true);
    bench
        .run(async |daemon| {
            let is_refused = |source: &SourceLive| source.state == SourceState::Unauthorized;
            let refused = until(&daemon.live, "a refusal of each", |now| now.sources.iter().all(is_refused)).await;
            let reasons = refused.reasons();
            assert!(!refused.is_ready() && reasons.len() == 2, "{reasons:?}");
            assert!(reasons[0].contains("octave is unauthorized since ") && reasons[0].contains("401"), "{reasons:?}");
            assert!(refused.line().contains("statsig unauthorized since "), "{}", refused.line());

            bench.refuse_keys(false);
            daemon.reload.send(bench.prepared()).await.unwrap();
            let again = until(&daemon.live, "an end of the refusals", |now| now.is_ready() && fresh(1)(now)).await;
            assert!(again.sources.iter().all(|source| source.last_error.is_none()));
        })
        .await;
}

/// The real clock, set forth.
struct Later(Duration);

impl segsync::clock::Source for Later {
    fn wall(&self) -> UnixMs {
        Clock::system().now().wall.plus(self.0)
    }

    fn boot_ms(&self) -> i64 {
        Clock::system().now().boot_ms + i64::try_from(self.0.as_millis()).unwrap()
    }

    fn boot_id(&self) -> Option<String> {
        Clock::system().boot_id()
    }
}

#[tokio::test]
async fn what_is_older_than_three_intervals_is_named() {
    let mut bench = Bench::new().await;
    bench.pass().await;
    bench.clock = Clock::new(Later(Duration::from_secs(3 * 3600 + 60)));
    for provider in BOTH {
        bench.simulator.misbehave(provider, On::Any, Times::Always, Fault::status(500));
    }
    bench
        .run(async |daemon| {
            let stale = daemon.live.snapshot();
            let expected = |source| format!("1 of 1 segments of {source} are stale: {ID} (3 h old, 3 h allowed)");
            assert_eq!(stale.reasons(), [expected("octave"), expected("statsig")]);
            assert!(stale.line().starts_with("0/2 fresh, 2 stale, oldest 3 h"), "{}", stale.line());
            for provider in BOTH {
                bench.simulator.behave(provider);
            }
            until(&daemon.live, "readiness", Snapshot::is_ready).await;
        })
        .await;
}

/// Waits for so many more signs of life than there are.
async fn lives_on(daemon: &Running, times: usize) {
    let alive = || daemon.notices.lock().unwrap().iter().filter(|notice| **notice == Notice::Alive).count();
    let before = alive();
    let wait = async {
        while alive() < before + times {
            tokio::time::sleep(LOOK).await;
        }
    };
    in_time("signs of life", wait).await;
}

#[tokio::test]
async fn the_watchdog_is_fed_while_idle_held_and_waiting() {
    let bench = Bench::new().await;
    bench
        .run(async |daemon| {
            until(&daemon.live, "one fresh segment of each", fresh(1)).await;
            lives_on(daemon, 4).await;
        })
        .await;

    // A provider that does not answer, in the time that a request may take.
    let gate = CancellationToken::new();
    for provider in BOTH {
        bench.simulator.misbehave(provider, On::Any, Times::Always, Fault::status(500).gated(&gate));
    }
    bench.describe("asked for again");
    let mut again = Bench::new().await;
    again.simulator = bench.simulator;
    again
        .run(async |daemon| {
            let asked = |now: &Snapshot| now.accounts.iter().all(|account| account.in_flight == 1);
            until(&daemon.live, "a request of each", asked).await;
            lives_on(daemon, 4).await;
            gate.cancel();
        })
        .await;

    // One that asks to be left alone for long.
    for provider in BOTH {
        again.simulator.behave(provider);
        again.simulator.misbehave(provider, On::Any, Times::Always, Fault::status(429).header("retry-after", "600"));
    }
    again
        .run(async |daemon| {
            let held = |now: &Snapshot| now.sources.iter().all(|source| source.state == SourceState::Held);
            let now = until(&daemon.live, "a hold of each", held).await;
            assert!(now.line().contains("statsig held for another 1"), "{}", now.line());
            assert!(now.accounts.iter().all(|account| account.next_poll >= account.hold), "{now:?}");
            lives_on(daemon, 4).await;
        })
        .await;
}

#[tokio::test]
async fn a_manager_hears_of_reloads_and_of_the_state() {
    let bench = Bench::new().await;
    bench
        .run(async |daemon| {
            daemon.reload.send(bench.prepared()).await.unwrap();
            let told = |notice: &Notice| matches!(notice, Notice::Status(line) if line.starts_with("2/2 fresh"));
            let wait = async {
                loop {
                    let notices = daemon.notices.lock().unwrap().clone();
                    let reloads: Vec<_> =
                        notices.iter().filter(|one| matches!(one, Notice::Reloading | Notice::Reloaded)).collect();
                    if reloads.len() == 2 && notices.iter().any(told) {
                        assert_eq!(reloads, [&Notice::Reloading, &Notice::Reloaded]);
                        return;
                    }
                    tokio::time::sleep(LOOK).await;
                }
            };
            in_time("notices of a reload, and the state", wait).await;
        })
        .await;
}
