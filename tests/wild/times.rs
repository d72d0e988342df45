//! Clocks that are set forth and back, machines that sleep and boot, time zones that are odd: no budget is broken, no age
//! is negative, and no history runs backwards.
//!
//! A few random histories in `cargo test`; `SEGSYNC_CLOCKS=500 cargo test --release --test suite wild::times` for many.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use segsync::clock::{self, Clock};
use segsync::model::UnixMs;
use segsync::simulator::{Fault, Limit, Times};
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::common::{BOTH, Bench, ID, api_key, key, name, put, unlimited, until};
use crate::wild::desk::{Desk, GUARD};

const SECOND: i64 = 1000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;
/// The longest window of the limits here.
const WINDOW: Duration = Duration::from_millis(400);

/// A machine whose clocks go with the real one, as far as they are not set.
#[derive(Clone)]
struct Machine(Arc<Mutex<Hands>>);

struct Hands {
    start: Instant,
    /// What the wall clock is off, and the least that it ever was, in milliseconds.
    off: i64,
    least_off: i64,
    /// What the clock from boot is ahead of the monotonic one.
    boot_off: i64,
    boot: u32,
}

impl Machine {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Hands { start: Instant::now(), off: 0, least_off: 0, boot_off: 0, boot: 1 })))
    }

    fn clock(&self) -> Clock {
        Clock::new(self.clone())
    }

    /// Somebody sets the wall clock.
    fn set(&self, by: i64) {
        let mut hands = self.0.lock().unwrap();
        hands.off += by;
        hands.least_off = hands.least_off.min(hands.off);
    }

    /// The machine sleeps: the world goes on, and its monotonic clock does not.
    async fn sleep(&self, ms: i64) {
        // The provider's clock cannot be moved, so its windows really pass.
        tokio::time::sleep(WINDOW).await;
        let mut hands = self.0.lock().unwrap();
        (hands.off, hands.boot_off) = (hands.off + ms, hands.boot_off + ms);
    }

    /// The machine boots. Of earlier boots only the wall clock tells, so it must not be ahead of what it was then.
    fn boot(&self) {
        let mut hands = self.0.lock().unwrap();
        hands.off = hands.least_off;
        hands.boot_off = -i64::try_from(hands.start.elapsed().as_millis()).unwrap();
        hands.boot += 1;
    }
}

impl clock::Source for Machine {
    fn wall(&self) -> UnixMs {
        let hands = self.0.lock().unwrap();
        UnixMs(1_800_000_000_000 + i64::try_from(hands.start.elapsed().as_millis()).unwrap() + hands.off)
    }
    fn boot_ms(&self) -> i64 {
        let hands = self.0.lock().unwrap();
        1_000 + i64::try_from(hands.start.elapsed().as_millis()).unwrap() + hands.boot_off
    }
    fn boot_id(&self) -> Option<String> {
        Some(self.0.lock().unwrap().boot.to_string())
    }
}

/// What happens before a process starts and polls everything once.
#[derive(Clone, Debug)]
enum Step {
    Set(i64),
    Sleep(i64),
    Boot,
    Edit,
    Remove,
    Restore,
    /// A wait is asked for, and the clock is set while it lasts.
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let set = prop_oneof![
        prop::sample::select(vec![-SECOND, SECOND, -HOUR, HOUR, -DAY, DAY, -YEAR, YEAR]),
        -YEAR..YEAR,
        -2 * SECOND..2 * SECOND,
    ];
    prop_oneof![
        4 => set.clone().prop_map(Step::Set),
        1 => prop_oneof![Just(8 * HOUR), HOUR..DAY].prop_map(Step::Sleep),
        1 => Just(Step::Boot),
        4 => Just(Step::Edit),
        1 => Just(Step::Remove),
        1 => Just(Step::Restore),
        1 => set.prop_map(Step::Wait),
    ]
}

/// What must hold of the file at any time.
fn check(bench: &Bench, edits: usize) {
    let none = |what: &str, sql: &str| assert_eq!(bench.count(sql), 0, "{what}");
    none(
        "a history that runs backwards",
        "SELECT count(*) FROM versions AS a JOIN versions AS b ON b.segment_id = a.segment_id AND b.seq = a.seq + 1
         WHERE b.observed_at < a.observed_at OR a.valid_to IS NOT b.observed_at OR b.id < a.id",
    );
    none(
        "an end before its beginning",
        "SELECT count(*) FROM versions WHERE valid_to < observed_at OR changed_after > observed_at",
    );
    none("a negative age", "SELECT count(*) FROM freshness WHERE age_seconds < 0");
    none("a negative duration", "SELECT count(*) FROM poll_health WHERE mean_ms < 0 OR max_ms < 0");
    none("an open request", "SELECT count(*) FROM polls WHERE outcome IS NULL");
    for provider in BOTH {
        let edits_of = |order: &str| {
            bench.rows(&format!(
                "SELECT CAST(document ->> '$.edit' AS INTEGER) FROM segment_history
                 WHERE source = '{}' AND segment = '{ID}' AND document ->> '$.edit' IS NOT NULL ORDER BY {order}",
                name(provider)
            ))
        };
        let told: Vec<usize> = edits_of("version").iter().map(|edit| edit.parse().unwrap()).collect();
        assert!(told.is_sorted() && told.last().is_none_or(|last| *last <= edits), "{provider:?}: {told:?}");
        assert_eq!(edits_of("valid_from, version"), edits_of("version"), "the order of time is that of the versions");
    }
    // One that timed out may never have arrived.
    let arrivals = i64::try_from(bench.simulator.arrivals().len()).unwrap();
    assert!(bench.count("SELECT count(*) FROM polls") >= arrivals, "a request without a row");
    assert_eq!(bench.simulator.violations(), 0, "the provider's own count");
}

async fn live(steps: Vec<Step>) {
    // So little that every pass runs into it: three requests of each account.
    let limits = [Limit { requests: 3, per: Duration::from_millis(150) }];
    let mut bench = Bench::empty(unlimited().limited(&limits)).await;
    bench.written.source = "limits = [{ requests = 3, per = \"150ms\" }]".to_owned();
    bench.name(&[ID, "a", "b"]);
    // After a boot, rows that seem to be from the future hold each start up for a time-out.
    bench.written.poll = "every = \"1h\"\ntimeout = \"1s\"".to_owned();
    let machine = Machine::new();
    bench.clock = machine.clock();
    let put_all = |number: usize| {
        let members = format!("\"edit\":{number}");
        for id in [ID, "a", "b"] {
            BOTH.into_iter().for_each(|provider| put(&bench.simulator, provider, id, &members));
        }
    };
    put_all(0);
    bench.pass().await;
    let mut edits = 0;
    for step in steps {
        match step {
            Step::Set(by) => machine.set(by),
            Step::Sleep(ms) => machine.sleep(ms).await,
            Step::Boot => machine.boot(),
            Step::Edit => {
                edits += 1;
                put_all(edits);
            }
            // What is gone already, or is there, stays so.
            Step::Remove => drop((bench.simulator.statsig().remove(ID), bench.simulator.octave().remove(ID))),
            Step::Restore => drop((bench.simulator.statsig().restore(ID), bench.simulator.octave().restore(ID))),
            Step::Wait(by) => {
                bench.misbehave(Times::Next(1), &Fault::retry_after("1"));
                let before = bench.simulator.arrivals().len();
                let (end, prepared) = (CancellationToken::new(), bench.prepared());
                let pass = segsync::daemon::pass(prepared, None, &bench.clock, &end, |_, _| ());
                let refused = async {
                    bench.simulator.arrivals_until(|all| all.len() >= before + 2).await;
                    machine.set(by);
                };
                let (pass, ()) = timeout(GUARD, async { tokio::join!(pass, refused) }).await.expect("the wait ends");
                assert_eq!(pass.unwrap().endings.len(), 6);
            }
        }
        timeout(GUARD, bench.pass()).await.expect("no hang");
        check(&bench, edits);
    }
}

#[test]
fn clocks_that_are_set_between_and_within_processes_break_nothing() {
    let cases = std::env::var("SEGSYNC_CLOCKS").map_or(4, |cases| cases.parse().expect("a number"));
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 50, ..Config::default() };
    let steps = prop::collection::vec(step(), 3..7);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lived = TestRunner::new(config).run(&steps, |steps| {
        runtime.block_on(live(steps));
        Ok(())
    });
    lived.unwrap_or_else(|failure| panic!("{failure}"));
}

/// No number in it is negative.
fn assert_no_negative(what: &str, value: &Value) {
    match value {
        Value::Number(number) => assert!(number.as_f64().is_some_and(|number| number >= 0.0), "{what}: {number}"),
        Value::Array(items) => items.iter().for_each(|item| assert_no_negative(what, item)),
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| assert_no_negative(&format!("{what}.{name}"), member));
        }
        _ => (),
    }
}

/// What the local API tells: ages of the copy and of the oldest of all, and whether it is ready.
async fn told(api: &str) -> (u64, f64, bool) {
    let client = reqwest::Client::new();
    let get = async |path: &str| client.get(format!("{api}{path}")).send().await.unwrap();
    let age =
        |answer: &reqwest::Response| answer.headers()["age"].to_str().unwrap().parse::<u64>().expect("no negative age");
    let mut oldest = 0.0_f64;
    let ages = [
        age(&get(&format!("/v1/segments/statsig/{ID}")).await),
        age(&client
            .get(format!("{api}/proxy/octave/api/v2/segment/get?oId={ID}"))
            .header("api_key", api_key(BOTH[1]))
            .send()
            .await
            .unwrap()),
    ];
    for path in ["/v1/status", "/v1/segments", "/v1/changes"] {
        let value: Value = serde_json::from_str(&get(path).await.text().await.unwrap()).unwrap();
        assert_no_negative(path, &value);
        for source in value["sources"].as_array().into_iter().flatten() {
            oldest = oldest.max(source["segments"]["oldest_seconds"].as_f64().unwrap());
        }
    }
    for line in get("/metrics").await.text().await.unwrap().lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(!value.starts_with('-'), "{line}");
    }
    let ready = get("/readyz").await.status().is_success();
    (ages[0].max(ages[1]), oldest, ready)
}

#[tokio::test]
async fn ages_are_true_while_clocks_are_set_and_the_machine_sleeps() {
    let limits = [Limit { requests: 4, per: WINDOW }];
    let mut bench = Bench::empty(unlimited().limited(&limits)).await;
    let ids = [ID, "a", "b", "c", "d", "e", "f", "g"];
    bench.name(&ids);
    bench.written.http = "listen = \"127.0.0.1:0\"".to_owned();
    bench.written.poll = "every = \"1h\"\ntimeout = \"60s\"".to_owned();
    bench.written.source = "limits = [{ requests = 4, per = \"400ms\" }]".to_owned();
    let machine = Machine::new();
    bench.clock = machine.clock();
    ids.iter().for_each(|id| BOTH.into_iter().for_each(|provider| put(&bench.simulator, provider, id, "")));
    bench.pass().await;
    let known = bench.simulator.arrivals().len();
    bench
        .run(async |running| {
            for by in [DAY, -DAY, -DAY, YEAR, -2 * YEAR, SECOND, -SECOND, 2 * YEAR] {
                machine.set(by);
                let (age, oldest, ready) = told(&running.api).await;
                assert!(age < 600 && oldest < 600.0 && ready, "{by}: {age} {oldest} {ready}");
                let fresh = format!("{}/v1/segments/statsig/{ID}?max_age=30m", running.api);
                assert!(!reqwest::get(fresh).await.unwrap().headers().contains_key("warning"));
            }
            assert_eq!(bench.simulator.arrivals().len(), known, "nothing is due, whatever the wall clock says");

            let gate = CancellationToken::new();
            bench.misbehave(Times::Next(ids.len()), &Fault::answer().gated(&gate));
            machine.sleep(8 * HOUR).await;
            let (age, oldest, ready) = told(&running.api).await;
            assert!(age >= 8 * 3600 && oldest >= 8.0 * 3600.0 && !ready, "{age} {oldest} {ready}");
            // All are due at once; the budget paces them.
            gate.cancel();
            let again = |all: &[segsync::simulator::Arrival]| {
                all[known..].iter().filter(|one| one.status.is_some()).count() >= 2 * ids.len()
            };
            timeout(GUARD, bench.simulator.arrivals_until(again))
                .await
                .expect("what became due in its sleep is polled");
            until("it to be ready again by itself", async || told(&running.api).await.2).await;
        })
        .await;
    check(&bench, 0);
    assert_eq!(bench.simulator.arrivals().len(), known + 2 * ids.len(), "once each");
}

#[tokio::test]
async fn verbs_tell_the_same_in_any_time_zone_and_no_negative_age_of_any_row() {
    for off in [0, YEAR, -YEAR] {
        let desk = Desk::new(segsync::simulator::Simulator::start(unlimited()).await.unwrap(), "");
        let mut bench = Bench::new().await;
        bench.written.db = Some(desk.path("x.db"));
        // The verbs go by the machine's own clock; this file was written by one that is right, or a year off.
        let machine = Machine::new();
        machine.set(Clock::system().now().wall.0 - machine.clock().now().wall.0 + off);
        bench.clock = machine.clock();
        bench.pass().await;
        bench.describe("edited");
        bench.pass().await;
        bench.misbehave(Times::Next(1), &Fault::retry_after("600"));
        bench.pass_until(2).await;
        let all: [&[&str]; 4] = [&["log"], &["log", "--format", "csv"], &["export"], &["verify"]];
        let mut seen = Vec::new();
        for zone in [
            "UTC",
            "Pacific/Apia",
            "Africa/Casablanca",
            "Europe/Dublin",
            "right/UTC",
            "<-03>3<-02>,M3.2.0",
            "none such",
        ] {
            let mut outs = Vec::new();
            for args in all {
                let mut command = desk.command(&[args, &["--db", "x.db"]].concat());
                let output = command.env("TZ", zone).output().await.unwrap();
                assert!(output.status.success(), "{args:?}: {output:?}");
                outs.push(output.stdout);
            }
            seen.push(outs);
        }
        assert!(seen.iter().all(|outs| *outs == seen[0]), "the time zone shows");
        for args in
            [&["status", "--format", "json"][..], &["status", &key(BOTH[0], ID).to_string(), "--format", "json"]]
        {
            let ended = desk.run(&[args, &["--db", "x.db"]].concat()).await;
            assert_no_negative(
                "status",
                &serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}")),
            );
        }
        for args in [["status", "--color=never"], ["show", &key(BOTH[0], ID).to_string()]] {
            let ended = desk.run(&[&args[..], &["--db", "x.db"]].concat()).await;
            let is_negative =
                |word: &str| word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
            assert!(!ended.out.split_whitespace().any(is_negative), "{ended:?}");
        }
    }
}
