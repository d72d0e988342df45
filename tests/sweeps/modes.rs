//! Which requests are sent: by list, singly, or whichever takes fewer; across restarts and reloads.

use segsync::model::Outcome;
use segsync::simulator::{Fault, On, Provider, Times};
use tokio_util::sync::CancellationToken;

use super::world::{BOTH, World, id, is_page, pages, unlimited};

fn gets(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("get {}", id(number))).collect()
}

#[tokio::test]
async fn each_way_to_poll_asks_for_what_it_should() {
    for provider in BOTH {
        let named: Vec<String> = (0..3).map(id).collect();
        for (fetch, segments, asked) in [
            ("list", "\"all\"".to_owned(), pages(1..=1)),
            ("auto", "\"all\"".to_owned(), pages(1..=1)),
            // Which ones there are, only the list tells.
            ("each", "\"all\"".to_owned(), pages(1..=1)),
            ("list", format!("{named:?}"), pages(1..=1)),
            ("auto", format!("{named:?}"), pages(1..=1)),
            ("each", format!("{named:?}"), gets(0..3)),
            ("auto", format!("{:?}", &named[..1]), gets(0..1)),
            ("list", format!("{:?}", &named[..1]), pages(1..=1)),
        ] {
            let mut world = World::new(provider, 0..5).await.fetch(fetch);
            let tracked = if segments == "\"all\"" { 5 } else { segments.matches("seg").count() };
            world.segments = segments;
            assert_eq!(world.pass().await, asked, "{provider:?} {fetch} {}", world.segments);
            let stories = world.rows("SELECT state || version FROM segments");
            assert_eq!(stories, vec!["present1"; tracked], "{provider:?} {fetch} {}", world.segments);
            world.assert_one_row_per_request();
        }
    }
}

#[tokio::test]
async fn two_hundred_and_fifty_segments_are_three_requests() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..250).await;
        let first = world.full_pass().await;
        assert_eq!(world.asked(), pages(1..=3));
        assert_eq!((first.segments, first.endings.len()), (250, 250));
        assert!(first.endings.iter().all(|ending| ending.outcome == Outcome::Created));
        assert_eq!(world.rows("SELECT DISTINCT kind, outcome, segment_id FROM polls"), ["sweep updated -"]);

        let (last, before) = (world.last_poll(), world.count("SELECT max(last_checked_at) FROM segments"));
        let second = world.full_pass().await;
        assert_eq!(world.asked(), pages(1..=3));
        assert_eq!(second.endings.len(), 250);
        assert!(second.endings.iter().all(|ending| ending.outcome == Outcome::Unchanged));
        assert_eq!(world.polls_after(last), ["sweep unchanged -"; 3]);
        assert!(world.count("SELECT min(last_checked_at) FROM segments") >= before, "all are checked again");
        assert_eq!(world.count("SELECT count(*) FROM versions"), 250);

        world.put(&id(120), "second");
        let last = world.last_poll();
        assert_eq!(world.pass().await, pages(1..=3));
        assert_eq!(world.polls_after(last), ["sweep unchanged -", "sweep updated -", "sweep unchanged -"]);
        assert_eq!(world.descriptions(&id(120)), ["first", "second"]);
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn auto_falls_back_to_single_requests_and_stays_there() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..350).await.fetch("auto").name(&[&id(1), &id(340)]);
        world.every = "50ms";
        world.run(async |_| world.answered(8, |words| words.starts_with("get")).await).await;
        let asked = world.asked();
        // Two pages for two segments are no gain.
        assert_eq!(asked.iter().filter(|words| is_page(words)).collect::<Vec<_>>(), ["page 1", "page 2"]);
        for number in [1, 340] {
            assert!(asked.contains(&format!("get {}", id(number))), "{asked:?}");
            assert_eq!(world.story(&id(number)), "create present");
        }
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn a_pass_that_falls_back_tells_each_segment_once() {
    for provider in BOTH {
        // The last one has an interval of its own, the one before is nowhere.
        let mut world = World::new(provider, 0..350).await.fetch("auto").name(&[&id(1), &id(340), "absent"]);
        world.more = format!("[[source.segment]]\nid = \"{}\"\nevery = \"1s\"", id(345));
        let pass = world.full_pass().await;
        let mut told: Vec<_> = pass.endings.iter().map(|end| format!("{} {}", end.key.id, end.outcome)).collect();
        told.sort();
        let expected = ["absent not_found".to_owned(), "seg_00001 created".to_owned()];
        let expected = [&expected[..], &[340, 345].map(|number| format!("{} created", id(number)))].concat();
        assert_eq!(told, expected, "{provider:?}");
        let asked = world.asked();
        assert_eq!(asked[..3], pages(1..=3));
        assert_eq!(asked[3..], ["get absent".to_owned(), format!("get {}", id(340)), format!("get {}", id(345))]);
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn a_list_that_is_left_at_its_very_end_was_complete() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..150).await.fetch("auto").name(&[&id(1), &id(140)]);
        world.full_pass().await;
        world.asked();
        world.remove(&id(1));
        assert_eq!(world.pass().await, [pages(1..=2), vec![format!("get {}", id(1))]].concat());
        assert_eq!(world.story(&id(1)), "create delete deleted");
        assert_eq!(world.pass().await, pages(1..=2), "its absence says it all");
        assert_eq!(world.story(&id(140)), "create present");
    }
}

#[tokio::test]
async fn what_is_asked_for_singly_when_the_list_turns_out_too_long_is_asked_for_again_and_again() {
    // One segment is missing from a short list and answers with an error at first; then the list grows.
    for provider in BOTH {
        let mut world = World::new(provider, 0..5).await.fetch("auto").name(&[&id(1), "late"]);
        world.every = "50ms";
        let late = On::Segment("late".to_owned());
        let gate = CancellationToken::new();
        world.misbehave(late, Times::Next(1), Fault::answer().gated(&gate));
        world
            .run(async |_| {
                world.arrived(1, |words| words == "get late").await;
                (5..250).for_each(|number| world.put(&id(number), "first"));
                world.answered(1, |words| words == "page 2").await;
                world.answered(3, |words| words == "get seg_00001").await;
                world.put("late", "here");
                gate.cancel();
                world.until("SELECT state FROM segments WHERE key = 'late'", &["present"]).await;
                world.put("late", "again");
                let sql = "SELECT document ->> '$.description' FROM segment_now WHERE segment = 'late'";
                world.until(sql, &["again"]).await;
            })
            .await;
        assert_eq!(world.descriptions("late"), ["here", "again"]);
        world.asked();
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn an_interval_of_its_own_is_kept_by_single_requests() {
    for provider in BOTH {
        for fetch in ["list", "auto"] {
            let mut world = World::new(provider, 0..5).await.fetch(fetch);
            if fetch == "auto" {
                world = world.name(&[&id(1), &id(2)]);
            }
            world.more = format!("[[source.segment]]\nid = \"{}\"\nevery = \"50ms\"", id(3));
            world.run(async |_| world.answered(4, |words| words == "get seg_00003").await).await;
            let asked = world.asked();
            assert_eq!(asked.iter().filter(|words| is_page(words)).collect::<Vec<_>>(), ["page 1"], "{asked:?}");
            assert!(asked.iter().all(|words| is_page(words) || words == "get seg_00003"), "{asked:?}");
            assert_eq!(world.story(&id(3)), "create present");
            world.assert_one_row_per_request();
        }
    }
}

#[tokio::test]
async fn a_restart_in_the_middle_of_a_sweep_begins_anew_and_doubles_nothing() {
    // Stopping waits for the page in flight: once is enough.
    for provider in [Provider::Octave] {
        let mut world = World::new(provider, 0..250).await;
        world.segments = format!("{:?}", (0..250).map(id).collect::<Vec<_>>());
        let gate = CancellationToken::new();
        world.misbehave_on_page(3, Fault::answer().gated(&gate));
        world
            .run(async |running| {
                world.arrived(3, is_page).await;
                // The third page is given up with the daemon.
                running.shutdown.cancel();
            })
            .await;
        gate.cancel();
        assert_eq!(world.asked(), pages(1..=3));
        assert_eq!(world.count("SELECT count(*) FROM versions"), 200);
        assert_eq!(world.count("SELECT count(*) FROM polls WHERE outcome IS NULL"), 0);
        assert_eq!(world.rows("SELECT error FROM polls WHERE outcome = 'failed'"), ["interrupted"]);

        world.run(async |_| world.answered(3, is_page).await).await;
        assert_eq!(world.asked(), pages(1..=3));
        assert_eq!(world.count("SELECT count(*) FROM versions"), 250);
        assert_eq!(world.rows("SELECT error FROM polls WHERE outcome = 'failed'"), ["interrupted"]);
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn a_reload_changes_the_way_and_keeps_the_history() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..5).await;
        world.every = "50ms";
        let (list, each) = (world.prepared(), {
            world.fetch = "each";
            world.segments = format!("{:?}", (0..5).map(id).collect::<Vec<_>>());
            world.prepared()
        });
        let (fetch, segments) = ("list", "\"all\"".to_owned());
        (world.fetch, world.segments) = (fetch, segments);
        world
            .run(async |running| {
                world.answered(2, is_page).await;
                running.reload.send(each).await.unwrap();
                world.answered(10, |words| words.starts_with("get")).await;
                let before = world.simulator.arrivals().len();
                running.reload.send(list).await.unwrap();
                let later = |all: &[segsync::simulator::Arrival]| {
                    all.iter().skip(before).filter(|one| !one.target.contains("seg_")).count() >= 2
                };
                world.simulator.arrivals_until(later).await;
            })
            .await;
        assert_eq!(world.rows("SELECT state || version FROM segments"), ["present1"; 5]);
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn a_refused_key_in_the_middle_ends_the_sweep_and_a_restart_asks_at_once() {
    for provider in BOTH {
        let mut world = World::with(provider, 0..250, unlimited()).await;
        world.full_pass().await;
        world.asked();
        let gate = CancellationToken::new();
        world.misbehave_on_page(2, Fault::status(401));
        let last = world.last_poll();
        let pass = world.full_pass().await;
        assert_eq!(world.asked(), pages(1..=2));
        assert_eq!(world.polls_after(last), ["sweep unchanged -", "sweep unauthorized -"]);
        let ended = |outcome| pass.endings.iter().filter(|end| end.outcome == outcome).count();
        assert_eq!((ended(Outcome::Unchanged), ended(Outcome::Unauthorized)), (100, 150));
        assert_eq!(world.rows("SELECT state FROM sources"), ["unauthorized"]);

        // Still refused: one probe, and nothing more.
        world.refuse_key(true);
        let last = world.last_poll();
        assert_eq!(world.pass().await, pages(1..=1));
        assert_eq!(world.polls_after(last), ["probe unauthorized -"]);
        world.refuse_key(false);
        let last = world.last_poll();
        assert_eq!(world.pass().await, pages(1..=3));
        assert_eq!(world.polls_after(last), ["probe unchanged -", "sweep unchanged -", "sweep unchanged -"]);
        assert_eq!(world.rows("SELECT state FROM sources"), ["ok"]);
        assert_eq!(world.count("SELECT count(*) FROM versions"), 250);
        gate.cancel();
    }
}
