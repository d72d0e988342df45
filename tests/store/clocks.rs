//! Times: what the ledger counts, what a kill leaves open, and clocks that are set.

use std::time::Duration;

use segsync::model::{Op, Outcome, PollKind, Spent};
use segsync::store::{BeginPoll, FinishPoll, Store};

use crate::store::world::{MAIN, START, TIMEOUT, World, begin, change, end, poll, source, tracking};

const HOUR: i64 = 3_600_000;
const DAY: Duration = Duration::from_secs(86_400);

const fn spent(ended_ago_ms: i64, unanswered: bool) -> Spent {
    Spent { ended_ago_ms, unanswered }
}

/// What the ledger has to know of the one source, up to `at_least` and as many again.
async fn ledger(world: &World, store: &Store, at_least: usize) -> Vec<Spent> {
    store.spent(vec![MAIN], at_least, TIMEOUT, world.now()).await.expect("told")
}

/// How the one poll of the file ended: outcome, error, end, status.
fn only_poll(world: &World) -> (String, String, i64, Option<i64>) {
    world
        .raw()
        .query_row("SELECT outcome, error, finished_at, http_status FROM polls", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .expect("one row")
}

#[tokio::test]
async fn the_ledger_tells_ends_newest_first_and_leaves_out_what_is_no_request() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let a = &declared.segments[0];
    poll(&world, &store, a, Outcome::NotFound, None).await.expect("ended");
    world.pass(1_000);
    poll(&world, &store, a, Outcome::Failed, None).await.expect("ended");
    world.pass(2_000);
    begin(&world, &store, a).await;
    let import = BeginPoll { source: MAIN, segment: None, kind: PollKind::Import, now: world.now() };
    store.begin_poll(import).await.expect("begun");
    world.pass(500);
    let all = ledger(&world, &store, 10).await;
    // One millisecond less than it seems: both readings are cut.
    assert_eq!(all, [spent(-9_501, true), spent(2_499, true), spent(3_549, false)]);
    assert_eq!(ledger(&world, &store, 1).await, all[..2], "twice what is asked for");
    assert_eq!(store.spent(vec![], 10, TIMEOUT, world.now()).await.expect("told"), []);
}

#[tokio::test]
async fn one_in_flight_ends_at_its_time_out_or_now_whatever_the_wall_clock_says() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    begin(&world, &store, &declared.segments[0]).await;
    let started = world.now().boot_ms;
    for (passed, set) in [(1, 0), (3_000, HOUR), (5_999, -2 * HOUR), (999, 0), (2, 9 * HOUR), (60_000, -30 * HOUR)] {
        world.set(|hands| hands.wall += set);
        let now = world.pass(passed);
        let left = 10_000 - (now.boot_ms - started);
        let told = ledger(&world, &store, 1).await;
        assert_eq!(told, [spent((-left - 1).min(0), true)], "{left} ms before its time-out");
        let minute = Duration::from_secs(60);
        let told = store.spent(vec![MAIN], 1, minute, now).await.expect("told");
        assert_eq!(told, [spent((-left - 50_001).min(0), true)], "the time-out is the caller's");
    }
}

#[tokio::test]
async fn setting_the_wall_clock_changes_no_age_within_a_boot() {
    for (running, stopped) in [(HOUR, 0), (-HOUR, 0), (0, 5 * HOUR), (0, -5 * HOUR), (7 * HOUR, -3 * HOUR)] {
        let world = World::new();
        let (store, declared) = tracking(&world, &["a"]).await;
        let a = &declared.segments[0];
        poll(&world, &store, a, Outcome::NotFound, None).await.expect("ended");
        world.pass(1_000);
        world.set(|hands| hands.wall += running);
        poll(&world, &store, a, Outcome::Unauthorized, None).await.expect("ended");
        begin(&world, &store, a).await;
        world.set(|hands| hands.wall -= running / 2);
        assert_eq!(ledger(&world, &store, 9).await, [spent(-10_001, true), spent(-1, true), spent(1_049, false)]);
        store.close().await.expect("closed");
        world.set(|hands| hands.wall += stopped);
        world.pass(3_000);
        let store = world.open();
        let told = ledger(&world, &store, 9).await;
        assert_eq!(told, [spent(-7_001, true), spent(2_999, true), spent(4_049, false)], "{running} {stopped}");
        let known = store.declare(vec![source("main", &["a"])], world.now()).await.expect("declared");
        assert_eq!(known.segments[0].checked_ago, Some(Duration::from_millis(4_050)), "{running} {stopped}");
        // The interrupted one goes on to its end, and past it.
        world.set(|hands| hands.wall -= 11 * HOUR);
        world.pass(9_000);
        let told = ledger(&world, &store, 9).await;
        assert_eq!(told, [spent(1_999, true), spent(11_999, true), spent(13_049, false)], "{running} {stopped}");
    }
}

#[tokio::test]
async fn after_a_reboot_the_wall_clock_is_believed_and_the_future_is_at_most_a_time_out_away() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    poll(&world, &store, &declared.segments[0], Outcome::NotFound, None).await.expect("ended");
    store.close().await.expect("closed");
    for (boot, shift, ledger_ago, checked_ago) in
        [(Some("second"), 60_000, 59_999, 60_000), (None, 0, 59_999, 60_000), (Some("third"), -HOUR, -10_000, 0)]
    {
        world.set(|hands| {
            hands.wall += shift;
            hands.boot_ms = 5_000_000;
            hands.boot = boot;
        });
        let store = world.open();
        assert_eq!(ledger(&world, &store, 9).await, [spent(ledger_ago, false)], "{boot:?}");
        let known = store.declare(vec![source("main", &["a"])], world.now()).await.expect("declared");
        assert_eq!(known.segments[0].checked_ago, Some(Duration::from_millis(checked_ago)), "{boot:?}");
    }
}

#[tokio::test]
async fn a_boot_clock_that_went_back_is_another_boot() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    poll(&world, &store, &declared.segments[0], Outcome::NotFound, None).await.expect("ended");
    store.close().await.expect("closed");
    world.set(|hands| {
        hands.wall += 20_000;
        hands.boot_ms = 10;
    });
    assert_eq!(ledger(&world, &world.open(), 9).await, [spent(19_999, false)]);
}

#[tokio::test]
async fn a_poll_that_was_interrupted_is_closed_at_its_time_out_or_now() {
    for (away, ended) in [(3_000, 10_000), (60_000, 60_000)] {
        let world = World::new();
        let (store, declared) = tracking(&world, &["a"]).await;
        begin(&world, &store, &declared.segments[0]).await;
        drop(store);
        world.pass(away);
        let store = world.open();
        assert_eq!(only_poll(&world), ("failed".to_owned(), "interrupted".to_owned(), START + ended, None));
        assert_eq!(ledger(&world, &store, 1).await, [spent(away - ended - 1, true)]);
        drop(store);
        world.pass(20_000);
        let store = world.open();
        assert_eq!(ledger(&world, &store, 1).await, [spent(20_000 + away - ended - 1, true)], "it is closed once");
        assert_eq!(only_poll(&world).2, START + ended);
    }
}

#[tokio::test]
async fn an_interrupted_poll_that_ends_in_the_future_still_does_after_a_reboot() {
    // Whether a process of the same boot closed the row, then what the wall clock says since, and what is told.
    for (closed_before, away, ago) in [
        (true, 1_000, -9_001),
        (false, 1_000, -9_001),
        (true, 9_999, -2),
        (false, 9_999, -2),
        (true, 60_000, 49_999),
        (false, 60_000, -1), // nobody knows when it ended: now, for whoever closes it
        (true, -HOUR, -10_000),
        (false, -HOUR, -10_000),
    ] {
        let world = World::new();
        let (store, declared) = tracking(&world, &["a"]).await;
        begin(&world, &store, &declared.segments[0]).await;
        drop(store);
        if closed_before {
            let store = world.open();
            assert_eq!(only_poll(&world).2, START + 10_000);
            assert_eq!(ledger(&world, &store, 1).await, [spent(-10_000, true)]);
        }
        world.set(|hands| {
            hands.wall += away;
            (hands.boot, hands.boot_ms) = (Some("second"), 500);
        });
        let store = world.open();
        assert_eq!(only_poll(&world).1, "interrupted");
        assert_eq!(ledger(&world, &store, 1).await, [spent(ago, true)], "{closed_before} {away}");
        let short = store.spent(vec![MAIN], 1, Duration::from_secs(2), world.now()).await.expect("told");
        assert_eq!(short, [spent(ago.max(-2_000), true)], "never further away than the caller's time-out");
    }
}

/// A refusal that asks for a wait.
async fn hold(store: &Store, end: FinishPoll, wait: Duration) {
    let held_until = Some(end.now.wall.plus(wait));
    store.finish_poll(FinishPoll { held_until, ..end }).await.expect("ended");
}

#[tokio::test]
async fn a_wait_ends_when_it_should_whatever_the_wall_clock_says() {
    let year = 365 * 24 * HOUR;
    for (running, stopped) in [(0, 0), (24 * HOUR, 0), (-year, 0), (0, year), (0, -24 * HOUR), (year, -2 * year)] {
        let world = World::new();
        let (store, declared) = tracking(&world, &["a"]).await;
        let a = &declared.segments[0];
        let (id, held) = (begin(&world, &store, a).await, world.now());
        hold(&store, end(id, held, a, Outcome::Throttled, None), DAY).await;
        let left = async |store: &Store| {
            let now = world.now();
            let known = store.declare(vec![source("main", &["a"])], now).await.expect("declared");
            let left = known.sources[0].held_until.expect("a wait").since(now.wall);
            assert_eq!(left, 24 * HOUR - (now.boot_ms - held.boot_ms), "{running} {stopped}");
        };
        world.set(|hands| hands.wall += running);
        world.pass(1_000);
        store.beat(world.now()).await.expect("written");
        left(&store).await;
        world.set(|hands| hands.wall -= running / 2);
        left(&store).await;
        store.close().await.expect("closed");
        world.set(|hands| hands.wall += stopped);
        world.pass(3_000);
        left(&world.open()).await;
    }
}

#[tokio::test]
async fn a_wait_that_is_over_does_not_come_back_with_a_wall_clock_that_is_set_back() {
    for set in [-24 * HOUR * 365, -24 * HOUR, -2_000] {
        let world = World::new();
        let (store, declared) = tracking(&world, &["a"]).await;
        let a = &declared.segments[0];
        let (id, held) = (begin(&world, &store, a).await, world.now());
        hold(&store, end(id, held, a, Outcome::Throttled, None), Duration::from_secs(1)).await;
        store.beat(world.pass(1_500)).await.expect("written");
        world.set(|hands| hands.wall += set);
        let now = world.now();
        let known = store.declare(vec![source("main", &["a"])], now).await.expect("declared");
        let left = known.sources[0].held_until.map(|until| until.since(now.wall));
        assert!(left.is_none_or(|left| left <= 0), "{set}: {left:?} ms are left");
    }
}

#[tokio::test]
async fn a_wait_that_is_written_after_the_clock_was_set_counts_from_when_it_was_told() {
    for set in [-24 * HOUR * 365, HOUR, 400] {
        let world = World::new();
        let (store, declared) = tracking(&world, &["a"]).await;
        let a = &declared.segments[0];
        let id = begin(&world, &store, a).await;
        let told = world.now();
        world.set(|hands| hands.wall += set);
        store.beat(world.pass(2)).await.expect("another job comes first");
        hold(&store, end(id, told, a, Outcome::Throttled, None), DAY).await;
        let now = world.now();
        let known = store.declare(vec![source("main", &["a"])], now).await.expect("declared");
        let left = known.sources[0].held_until.expect("a wait").since(now.wall);
        // What may be a slewed clock is let be.
        let wrong = if set.abs() > 1_000 { 0 } else { set };
        assert_eq!(left, 24 * HOUR - (now.boot_ms - told.boot_ms) - wrong, "{set}");
    }
}

#[tokio::test]
async fn a_wait_does_not_come_back_with_a_wall_clock_that_lost_its_time() {
    // How long the wait is over at the last write, and what the wall clock says after the boot; what is left then.
    for (over, shift, left) in [
        (-1_000, -HOUR * 24 * 365, Some(1_000)),
        (1_000, -HOUR * 24 * 365, None),
        (-1_000, 400, Some(600)),
        (-1_000, HOUR, Some(1_000 - HOUR)),
    ] {
        let world = World::new();
        let (store, declared) = tracking(&world, &["a"]).await;
        let a = &declared.segments[0];
        let (id, held) = (begin(&world, &store, a).await, world.now());
        hold(&store, end(id, held, a, Outcome::Throttled, None), DAY).await;
        store.beat(world.pass(24 * HOUR + over)).await.expect("written");
        store.close().await.expect("closed");
        world.set(|hands| {
            hands.wall += shift;
            (hands.boot, hands.boot_ms) = (Some("second"), 500);
        });
        let now = world.now();
        let known = world.open().declare(vec![source("main", &["a"])], now).await.expect("declared");
        assert_eq!(known.sources[0].held_until.map(|until| until.since(now.wall)), left, "{over} {shift}");
    }
}

#[tokio::test]
async fn a_history_never_runs_backwards() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let a = &declared.segments[0];
    let first = change(&world, &store, a, 0, Op::Create, Some("1")).await;
    world.set(|hands| hands.wall -= HOUR);
    let second = change(&world, &store, a, 1, Op::Update, Some("2")).await;
    assert_eq!(second.observed_at, first.observed_at);
    assert_eq!(second.changed_after.map(|at| at.0), Some(START), "the poll that saw the first began then");
    world.set(|hands| hands.wall += 2 * HOUR);
    let third = change(&world, &store, a, 2, Op::Update, Some("3")).await;
    assert!(third.observed_at > second.observed_at);
    let holes = "SELECT count(*) FROM versions AS a LEFT JOIN versions AS b ON b.segment_id = a.segment_id AND b.seq = a.seq + 1
                 WHERE a.valid_to IS NOT b.observed_at";
    assert_eq!(world.number(holes), 0);
}

#[tokio::test]
async fn a_change_is_dated_from_the_start_of_the_last_poll_that_saw_the_old_state() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let a = &declared.segments[0];
    let at =
        |entry: segsync::store::VersionEntry| (entry.changed_after.map(|at| at.0 - START), entry.observed_at.0 - START);
    poll(&world, &store, a, Outcome::Failed, None).await.expect("ended"); // 0 to 50
    poll(&world, &store, a, Outcome::NotFound, None).await.expect("ended"); // 50 to 100: surely absent
    assert_eq!(at(change(&world, &store, a, 0, Op::Create, Some("1")).await), (Some(50), 150));
    poll(&world, &store, a, Outcome::Unchanged, None).await.expect("ended"); // 150 to 200
    poll(&world, &store, a, Outcome::NotFound, None).await.expect("ended"); // 200 to 250: no longer the old state
    assert_eq!(at(change(&world, &store, a, 1, Op::Delete, None).await), (Some(150), 300));
    poll(&world, &store, a, Outcome::NotFound, None).await.expect("ended"); // 300 to 350: still deleted
    poll(&world, &store, a, Outcome::Malformed, None).await.expect("ended"); // 350 to 400
    assert_eq!(at(change(&world, &store, a, 2, Op::Restore, Some("1")).await), (Some(300), 450));
    let first_seen = world.number("SELECT first_seen_at FROM segments") - START;
    assert_eq!((first_seen, world.number("SELECT last_changed_at FROM segments") - START), (150, 450));
}

#[tokio::test]
async fn only_old_polls_are_pruned_whatever_the_wall_clock_says() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let a = &declared.segments[0];
    for _ in 0..5 {
        poll(&world, &store, a, Outcome::NotFound, None).await.expect("ended");
    }
    let rows = || world.number("SELECT count(*) FROM polls");
    world.set(|hands| hands.wall += 400 * 24 * HOUR);
    assert_eq!(store.prune(world.now(), DAY, 10).await.expect("pruned"), 0, "set forth, and nothing is lost");
    begin(&world, &store, a).await;
    let now = world.pass(25 * HOUR);
    assert_eq!(store.prune(now, DAY, 3).await.expect("pruned"), 3);
    assert_eq!(store.prune(now, DAY, 3).await.expect("pruned"), 2);
    assert_eq!(store.prune(now, DAY, 3).await.expect("pruned"), 0, "what is in flight stays");
    assert_eq!(rows(), 1);
    drop(store);

    // An earlier boot's rows go by the wall clock, or once this boot is older than they may be.
    world.set(|hands| {
        (hands.boot, hands.boot_ms) = (Some("second"), 0);
        hands.wall -= 300 * 24 * HOUR;
    });
    let store = world.open();
    assert_eq!(store.prune(world.now(), DAY, 3).await.expect("pruned"), 0, "it seems to be from the future");
    assert_eq!(store.prune(world.pass(25 * HOUR), DAY, 3).await.expect("pruned"), 1);
    let id = begin(&world, &store, a).await;
    assert_eq!(id.0, 7, "no id is used twice");
    store.finish_poll(end(id, world.now(), a, Outcome::NotFound, None)).await.expect("ended");
}

#[tokio::test]
async fn a_clock_that_is_set_far_forth_is_not_believed_before_the_log_of_requests_agrees() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let a = &declared.segments[0];
    let keep = DAY * 10;
    let keep_ms = i64::try_from(keep.as_millis()).expect("days");
    let ago = async || {
        let long_ago = store.long_ago(world.now(), keep, DAY).await.expect("told");
        long_ago.map(|at| at.0 + keep_ms - START)
    };
    assert_eq!(ago().await, None, "nothing tells what time it is");
    let logged = async || {
        poll(&world, &store, a, Outcome::NotFound, None).await.expect("ended");
    };
    logged().await;
    assert_eq!(ago().await, Some(50), "now");
    world.set(|hands| hands.wall += 4000 * 24 * HOUR);
    logged().await;
    assert_eq!(ago().await, Some(24 * HOUR), "what was logged first cannot be older than a day");
    let now = world.pass(25 * HOUR);
    assert_eq!(store.prune(now, DAY, 10).await.expect("pruned"), 2);
    logged().await;
    assert_eq!(ago().await, Some(4001 * 24 * HOUR + HOUR + 150), "a day later it is believed");
    world.set(|hands| hands.wall -= 4000 * 24 * HOUR);
    assert_eq!(ago().await, Some(25 * HOUR + 150), "set back, it is believed at once");
}
