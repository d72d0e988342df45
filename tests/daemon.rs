//! The daemon's life: starts, stops, kills, reloads, a network that is not there, clocks that are set.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::common::{BOTH, Bench, ID, key, put, unlimited};
use segsync::clock::{Clock, Source};
use segsync::daemon::{self, Manager, Prepared, Wiring};
use segsync::events::Events;
use segsync::live::Live;
use segsync::model::UnixMs;
use segsync::simulator::{Arrival, Fault, Limit, On, Provider, Settings, Times};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Requests that were answered.
fn answered(arrivals: &[Arrival]) -> usize {
    arrivals.iter().filter(|arrival| arrival.status.is_some()).count()
}

/// Statsig's side only, with these segments.
async fn statsig_only(settings: Settings, ids: &[&str]) -> Bench {
    let mut bench = Bench::empty(settings).await;
    ids.iter().for_each(|id| put(&bench.simulator, Provider::Statsig, id, "\"x\":1"));
    bench.name(ids);
    bench.written.octave.clear();
    bench
}

fn asked(bench: &Bench, from: usize) -> Vec<String> {
    let mut ids: Vec<_> = bench.simulator.arrivals()[from..].iter().map(|a| a.segment().unwrap().to_owned()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_cycle_loses_and_doubles_nothing() {
    let bench = statsig_only(unlimited(), &["a", "b", "c", "d"]).await;
    let gate = CancellationToken::new();
    for id in ["c", "d"] {
        let late = Fault::status(500).gated(&gate);
        bench.simulator.misbehave(Provider::Statsig, On::Segment(id.to_owned()), Times::Next(1), late);
    }
    bench
        .run(async |daemon| {
            for _ in 0..2 {
                daemon.events.recv().await.unwrap();
            }
            bench.simulator.arrivals_reach(4).await;
            // Their answers come while the daemon stops: they are committed all the same.
            daemon.shutdown.cancel();
            gate.cancel();
        })
        .await;
    bench.assert_one_row_per_request();
    assert_eq!(bench.rows("SELECT key, version, failures FROM segments"), ["a 1 0", "b 1 0", "c 0 1", "d 0 1"]);

    // Whoever was checked is not due before its hour is over.
    bench
        .run(async |daemon| {
            for _ in 0..2 {
                daemon.events.recv().await.unwrap();
            }
        })
        .await;
    assert_eq!(asked(&bench, 4), ["c", "d"]);
    assert_eq!(bench.rows("SELECT segment, version FROM segment_history ORDER BY 1"), ["a 1", "b 1", "c 1", "d 1"]);
    bench.assert_one_row_per_request();
}

#[tokio::test]
async fn the_ledger_outlives_processes() {
    let limit = Limit { requests: 5, per: Duration::from_secs(3) };
    let ids: Vec<String> = (0..12).map(|n| format!("s{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut bench = statsig_only(Settings::default().limited(&[limit]), &ids).await;
    bench.written.source = "limits = [{ requests = 5, per = \"3s\" }]\nburst = 100".to_owned();
    for least in [5, 6, 12] {
        bench.run(async |_| drop(bench.simulator.arrivals_until(|all| answered(all) >= least).await)).await;
    }
    assert_eq!(bench.simulator.violations(), 0);
    assert!(bench.simulator.worst_window(Provider::Statsig, limit.per) <= 5);
    assert_eq!(bench.count("SELECT count(*) FROM versions"), 12);
    bench.assert_one_row_per_request();
}

#[tokio::test]
async fn sources_of_one_account_share_its_budget() {
    let limit = Limit { requests: 5, per: Duration::from_secs(2) };
    let mut bench = statsig_only(Settings::default().limited(&[limit]), &["a", "b", "c", "d"]).await;
    let key = bench.folder.path().join("statsig.key");
    bench.written.source = format!(
        "limits = [{{ requests = 5, per = \"2s\" }}]\nburst = 100\n[[source]]\nname = \"twin\"\nprovider = \"statsig\"\n\
         base_url = \"{}\"\napi_key = {{ file = {key:?} }}\nfetch = \"each\"\nsegments = [\"a\", \"b\", \"c\", \"d\"]\n\
         limits = [{{ requests = 5, per = \"2s\" }}]\nburst = 100",
        bench.simulator.base_url(Provider::Statsig)
    );
    let pass = bench.pass().await;
    assert_eq!((pass.usage.len(), pass.endings.len()), (1, 8));
    assert_eq!(bench.simulator.violations(), 0);
    assert_eq!(bench.rows("SELECT source, count(*) FROM segment_history GROUP BY 1"), ["statsig 4", "twin 4"]);
}

#[tokio::test]
async fn the_last_request_of_a_window_is_used() {
    let mut bench = statsig_only(unlimited(), &["a", "b", "c"]).await;
    for limits in ["{ requests = 1, per = \"300ms\" }", "{ requests = 3, per = \"1h\" }"] {
        bench.written.source = format!("limits = [{limits}]\nburst = 100");
        bench.written.db = Some(bench.folder.path().join(format!("{}.db", limits.len())));
        let pass = bench.pass().await;
        assert_eq!(pass.endings.len(), 3, "{limits}");
    }
    assert_eq!(bench.look().await.usage[0].1.used[0].1, 3);
}

#[tokio::test]
async fn a_source_of_another_name_is_the_same_account() {
    let mut bench = statsig_only(unlimited(), &["a", "b", "c"]).await;
    bench.written.source = "limits = [{ requests = 5, per = \"10m\" }]".to_owned();
    bench.pass().await;
    let renamed = format!(
        "\n[[source]]\nname = \"renamed\"\nprovider = \"statsig\"\nbase_url = {:?}\napi_key = {{ file = {:?} }}\nfetch = \"each\"\nsegments = [\"a\"]\n{}",
        bench.simulator.base_url(Provider::Statsig),
        bench.folder.path().join("statsig.key"),
        bench.written.source
    );
    bench.written.poll.push_str(&renamed);
    bench.written.statsig.clear();
    assert_eq!(bench.look().await.usage[0].1.used[0].1, 3, "what went out under the old name counts");
}

#[tokio::test]
async fn a_refused_key_is_asked_for_once_a_source_and_reload() {
    let ids: Vec<String> = (0..30).map(|n| format!("s{n}")).collect();
    let mut bench = Bench::empty(unlimited()).await;
    bench.name(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    bench.written.source = "limits = []\nconcurrency = 1".to_owned();
    bench.refuse_keys(true);
    bench
        .run(async |daemon| {
            for round in 1..=4 {
                bench.simulator.arrivals_until(|all| answered(all) >= 2 * round).await;
                if round < 4 {
                    daemon.reload.send(bench.prepared()).await.unwrap();
                }
            }
        })
        .await;
    assert_eq!(bench.rows("SELECT kind, count(*) FROM polls GROUP BY 1 ORDER BY 1"), ["get 2", "probe 6"]);
    assert_eq!(bench.rows("SELECT DISTINCT state, version FROM segments"), ["pending 0"]);
    bench.assert_one_row_per_request();
}

#[test]
fn a_kill_leaves_rows_that_the_next_start_closes() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let outside = runtime();
    let bench = outside.block_on(statsig_only(unlimited(), &["a", "b"]));
    let never = Fault::answer().gated(&CancellationToken::new());
    bench.simulator.misbehave(Provider::Statsig, On::Segment("b".to_owned()), Times::Next(1), never);

    // A runtime that goes takes every task along, wherever it is.
    let killed = runtime();
    let (events, (_reload, reloads)) = (Events::default(), mpsc::channel(1));
    let mut committed = events.subscribe();
    let wiring = Wiring {
        clock: bench.clock.clone(),
        events,
        live: Live::default(),
        manager: Manager::default(),
        listener: None,
        reloads,
        shutdown: CancellationToken::new(),
    };
    killed.spawn(daemon::run(bench.prepared(), wiring, || ()));
    outside.block_on(async {
        committed.recv().await.unwrap();
        bench.simulator.arrivals_reach(2).await;
    });
    assert_eq!(bench.count("SELECT count(*) FROM polls WHERE outcome IS NULL"), 1, "the row was there before the send");
    killed.shutdown_timeout(Duration::from_secs(60));

    outside.block_on(bench.run(async |daemon| drop(daemon.events.recv().await.unwrap())));
    let polls =
        "SELECT s.key, p.outcome, p.error FROM polls AS p JOIN segments AS s ON s.id = p.segment_id ORDER BY p.id";
    let mut polls = bench.rows(polls);
    polls[..2].sort_unstable();
    assert_eq!(polls, ["a created -", "b failed interrupted", "b created -"]);
    outside.block_on(async { bench.assert_one_row_per_request() });
}

#[tokio::test]
async fn a_failed_poll_is_tried_again_before_its_hour() {
    let mut bench = statsig_only(unlimited(), &["a"]).await;
    bench.simulator.misbehave(Provider::Statsig, On::Any, Times::Next(2), Fault::status(500));
    bench.simulator.misbehave(Provider::Statsig, On::Any, Times::Next(1), Fault::missing_id());
    // The second of two processes goes on where the first was.
    bench.run(async |_| drop(bench.simulator.arrivals_reach(1).await)).await;
    bench.written.poll = "every = \"3h\"".to_owned();
    let version = bench.run(async |daemon| daemon.events.recv().await.unwrap()).await;
    assert_eq!((version.seq, version.key.to_string().as_str()), (1, "statsig/a"));
    assert_eq!(bench.rows("SELECT outcome FROM polls ORDER BY id"), ["failed", "failed", "malformed", "created"]);
    assert_eq!(bench.rows("SELECT state, failures, last_error FROM segments"), ["present 0 -"]);
}

#[tokio::test]
async fn no_more_requests_are_in_flight_than_allowed() {
    let mut bench = statsig_only(unlimited(), &["a", "b", "c", "d", "e"]).await;
    bench.written.source = "limits = []\nconcurrency = 2".to_owned();
    let gate = CancellationToken::new();
    bench.simulator.misbehave(Provider::Statsig, On::Any, Times::Always, Fault::answer().gated(&gate));
    bench
        .run(async |daemon| {
            bench.simulator.arrivals_reach(2).await;
            // What has been started by now arrives and ends; nothing is started any more.
            daemon.shutdown.cancel();
            gate.cancel();
        })
        .await;
    assert_eq!(asked(&bench, 0), ["a", "b"]);
    bench.assert_one_row_per_request();
}

#[tokio::test]
async fn one_daemon_a_file() {
    let bench = Bench::new().await;
    let refused = bench.run(async |_| bench.pass_of(None).await.unwrap_err()).await;
    let path = bench.db_path().canonicalize().unwrap();
    let pid = std::process::id();
    assert_eq!(format!("{refused:#}"), format!("open {}: another segsync (pid {pid}) is using it", path.display()));
    bench.pass().await;
}

#[tokio::test]
async fn a_reload_brings_and_takes_segments_and_keeps_what_is_known() {
    let limit = Limit { requests: 4, per: Duration::from_secs(600) };
    let mut bench = statsig_only(Settings::default().limited(&[limit]), &["a", "b", "c"]).await;
    let limited = |requests: u32| format!("limits = [{{ requests = {requests}, per = \"10m\" }}]\nburst = 100");
    bench.written.source = limited(4);
    bench.name(&["a", "b"]);
    bench.written.octave.clear();
    let before = bench.prepared();
    bench.name(&["b", "c", "gone"]);
    bench.written.octave.clear();
    let after = bench.prepared();
    bench.written.source = limited(5);
    let wider = bench.prepared();
    bench.name(&["a", "b"]);
    bench.written.octave.clear();
    bench.written.source = limited(4);
    drop(before);
    bench
        .run(async |daemon| {
            let committed = [daemon.events.recv().await.unwrap(), daemon.events.recv().await.unwrap()];
            assert!(committed.iter().all(|version| version.seq == 1));
            daemon.reload.send(after).await.unwrap();
            assert_eq!(&*daemon.events.recv().await.unwrap().key.id, "c");
            bench.simulator.arrivals_until(|all| answered(all) == 4).await;
            // Now the limit is used up; with another limit what was sent counts on.
            daemon.reload.send(wider).await.unwrap();
            bench.simulator.arrivals_reach(4).await;
        })
        .await;
    assert_eq!(asked(&bench, 0)[..4], ["a", "b", "c", "gone"]);
    let tracked = bench.rows("SELECT key, tracked, state, version FROM segments ORDER BY key");
    assert_eq!(tracked, ["a 0 present 1", "b 1 present 1", "c 1 present 1", "gone 1 pending 0"]);
    assert_eq!(bench.rows("SELECT segment FROM freshness ORDER BY 1"), ["b", "c", "gone"]);
    assert_eq!(bench.rows("SELECT segment FROM segment_now ORDER BY 1"), ["a", "b", "c"], "history stays");
    bench.written.source = limited(5);
    assert_eq!(bench.look().await.usage[0].1.used[0].1, bench.simulator.arrivals().len());
}

#[tokio::test]
async fn a_reload_leaves_no_request_open() {
    let bench = statsig_only(unlimited(), &["a"]).await;
    let never = Fault::answer().gated(&CancellationToken::new());
    bench.simulator.misbehave(Provider::Statsig, On::Any, Times::Next(1), never);
    let again = bench.prepared();
    let open = bench
        .run(async |daemon| {
            bench.simulator.arrivals_reach(1).await;
            daemon.reload.send(again).await.unwrap();
            daemon.events.recv().await.unwrap();
            bench.rows("SELECT outcome, error, finished_at >= started_at FROM polls ORDER BY id")
        })
        .await;
    assert_eq!(open, ["failed interrupted 1", "created - 1"]);
    assert_eq!(bench.rows("SELECT failures, last_error FROM segments"), ["0 -"], "it is no failure of the segment");
    bench.assert_one_row_per_request();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let bench = statsig_only(unlimited(), &["a", "b", "c"]).await;
    let (gate, never) = (CancellationToken::new(), CancellationToken::new());
    let at = |id: &str, gate| {
        let late = Fault::answer().gated(gate);
        bench.simulator.misbehave(Provider::Statsig, On::Segment(id.to_owned()), Times::Always, late);
    };
    at("a", &gate);
    at("b", &never);
    bench
        .run(async |daemon| {
            bench.simulator.arrivals_until(|all| answered(all) == 1 && all.len() == 3).await;
            daemon.shutdown.cancel();
            gate.cancel();
        })
        .await;
    let polls =
        "SELECT s.key, p.outcome, p.error FROM polls AS p JOIN segments AS s ON s.id = p.segment_id ORDER BY s.key";
    assert_eq!(bench.rows(polls), ["a created -", "b failed interrupted", "c created -"]);
    bench.assert_one_row_per_request();
}

#[tokio::test]
async fn a_network_that_is_not_there_is_waited_for() {
    let mut bench = Bench::new().await;
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    bench.written.base_url = Some(format!("http://{closed}"));
    // `run` comes back, so it got ready.
    bench.run(async |_| ()).await;
    bench.pass().await;
    for provider in BOTH {
        let row = bench.row(provider);
        let error = row.error.unwrap();
        assert_eq!((row.outcome.as_deref(), row.status, row.version), (Some("failed"), None, 0));
        assert!(error.to_lowercase().contains("connection refused") && !error.contains('\n'), "{error}");
    }
    bench.written.base_url = None;
    bench.pass().await;
    assert_eq!(bench.both(), "created present v1");
}

#[tokio::test]
async fn a_path_that_cannot_be_written_is_one_clear_error() {
    let mut bench = Bench::new().await;
    let folder = bench.folder.path().to_owned();
    std::fs::write(folder.join("file"), "no database").unwrap();
    for (path, says) in [
        ("no/such/folder/x.db", "No such file or directory"),
        ("file/x.db", "Not a directory"),
        ("file", "it is no SQLite database, not a segsync database; it is left as it is"),
        (".", "it is not a regular file"),
    ] {
        let path = folder.join(path);
        bench.written.db = Some(path.clone());
        let error = format!("{:#}", bench.pass_of(None).await.unwrap_err());
        assert!(error.starts_with("open ") && error.contains(says) && error.lines().count() == 1, "{error}");
    }
    assert!(bench.simulator.arrivals().is_empty(), "nothing is sent that could not be written down");
    assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "no database");
}

/// A wall clock that somebody sets.
struct Settable(Arc<AtomicI64>, Clock);

impl Source for Settable {
    fn wall(&self) -> UnixMs {
        UnixMs(self.1.now().wall.0 + self.0.load(Ordering::Relaxed))
    }

    fn boot_ms(&self) -> i64 {
        self.1.now().boot_ms
    }

    fn boot_id(&self) -> Option<String> {
        self.1.boot_id()
    }
}

#[tokio::test]
async fn a_wall_clock_that_is_set_upsets_neither_history_nor_ledger() {
    let limit = Limit { requests: 900, per: Duration::from_secs(900) };
    let mut bench = Bench::with(Settings::default().limited(&[limit])).await;
    bench.written.source = "limits = [{ requests = 900, per = \"15m\" }]\nburst = 100".to_owned();
    let off = Arc::new(AtomicI64::new(0));
    bench.clock = Clock::new(Settable(Arc::clone(&off), Clock::system()));
    for (step, hours) in [0, 7, -30, 2, -1, 0].into_iter().enumerate() {
        off.store(hours * 3_600_000, Ordering::Relaxed);
        bench.describe(&format!("step {step}"));
        let ids = BOTH.map(|provider| key(provider, ID));
        let pass = bench.pass_of(Some(&ids)).await.unwrap();
        for (_, usage) in pass.usage {
            assert_eq!(usage.used, [(segsync::model::Limit { requests: 900, per: limit.per }, 2 * step + 1)]);
        }
        // Whoever was checked is not due, whatever the wall says: only the newcomer is asked for.
        let (newcomer, before) = (format!("new {step}"), bench.simulator.arrivals().len());
        bench.name(&[ID, &newcomer]);
        bench.run(async |_| drop(bench.simulator.arrivals_until(|all| answered(all) == before + 2).await)).await;
        assert_eq!(asked(&bench, before), [newcomer.clone(), newcomer]);
    }
    let backwards = "SELECT count(*) FROM versions AS a JOIN versions AS b
        ON b.segment_id = a.segment_id AND b.seq = a.seq + 1 WHERE b.observed_at < a.observed_at OR a.valid_to <> b.observed_at";
    assert_eq!((bench.count("SELECT count(*) FROM versions"), bench.count(backwards)), (12, 0));
    assert_eq!(bench.simulator.violations(), 0);
    assert_eq!(bench.count("SELECT count(DISTINCT observed_at) FROM versions WHERE segment_id = 1"), 2);
    assert_eq!(bench.row_of(Provider::Statsig, ID).version, 6);
}

/// The requests of a source that a pass leaves out count for the account that both may share.
#[tokio::test]
async fn a_pass_over_one_source_counts_what_the_others_of_its_account_sent() {
    let mut bench = statsig_only(unlimited(), &["a", "b", "c"]).await;
    bench.written.source = "limits = [{ requests = 3, per = \"10m\" }]\nburst = 100".to_owned();
    bench.pass().await;
    let twin = format!(
        "\n[[source]]\nname = \"twin\"\nprovider = \"statsig\"\nbase_url = {:?}\napi_key = {{ file = {:?} }}\nfetch = \"each\"\nsegments = [\"a\"]\n{}",
        bench.simulator.base_url(Provider::Statsig),
        bench.folder.path().join("statsig.key"),
        bench.written.source
    );
    bench.written.poll.push_str(&twin);
    let over = CancellationToken::new();
    over.cancel();
    let prepared = Prepared::of_sources(bench.config(), &bench.clock, |name| name.as_str() == "twin").unwrap();
    let pass = daemon::pass(prepared, None, &bench.clock, &over, |_, _| ()).await.unwrap();
    assert_eq!(pass.usage[0].1.used[0].1, 3, "nothing is left for the twin");
}
