//! What comes and goes: new segments, deletions only on the word of a single request, ways back.

use segsync::simulator::{Fault, On, Provider, Settings, Times, octave};
use tokio_util::sync::CancellationToken;

use super::world::{BOTH, World, id, is_page, pages, unlimited};

fn get(id: &str) -> String {
    format!("get {id}")
}

#[tokio::test]
async fn new_segments_appear_and_deleted_ones_cost_one_request() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..150).await;
        world.full_pass().await;
        world.asked();

        world.put("new", "first");
        world.remove(&id(7));
        let last = world.last_poll();
        assert_eq!(world.pass().await, [pages(1..=2), vec![get(&id(7))]].concat());
        assert_eq!(world.story("new"), "create present");
        assert_eq!(world.story(&id(7)), "create delete deleted");
        assert!(world.polls_after(last).contains(&format!("get deleted {}", id(7))), "{provider:?}");

        // From here on its absence says it all.
        let checked = format!("SELECT last_checked_at FROM segments WHERE key = '{}'", id(7));
        let before = world.count(&checked);
        let pass = world.full_pass().await;
        assert_eq!(world.asked(), pages(1..=2));
        assert_eq!(pass.endings.len(), 151);
        assert!(world.count(&checked) > before, "it was checked by the list");
        assert_eq!(world.story(&id(7)), "create delete deleted");

        world.restore(&id(7));
        assert_eq!(world.pass().await, pages(1..=2));
        assert_eq!(world.story(&id(7)), "create delete restore present");
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn a_list_that_forgets_a_segment_deletes_nothing() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..3).await;
        world.full_pass().await;
        for round in 0..3 {
            world.asked();
            // It is there, but no list has it.
            world.misbehave(On::List, Times::Next(1), Fault::answer().json(&world.page(&[("seg_00000", "first")])));
            world.misbehave(On::List, Times::Next(1), Fault::answer().json(r#"{"data":[]}"#));
            let asked = world.pass().await;
            assert!(asked.ends_with(&[get(&id(1)), get(&id(2))]), "{round}: {asked:?}");
        }
        assert_eq!(world.rows("SELECT state || version FROM segments"), ["present1"; 3]);
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn nothing_is_deleted_without_an_answer_of_its_own() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..3).await;
        world.full_pass().await;
        world.remove(&id(1));
        world.misbehave(On::Segment(id(1)), Times::Next(1), Fault::status(500));
        world.full_pass().await;
        assert_eq!(world.story(&id(1)), "create present");
        world.asked();
        assert_eq!(world.pass().await, ["page 1".to_owned(), get(&id(1))]);
        assert_eq!(world.story(&id(1)), "create delete deleted");
    }
}

#[tokio::test]
async fn one_that_is_back_on_the_list_is_not_asked_for_any_more() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..3).await;
        world.full_pass().await;
        world.asked();
        world.every = "50ms";
        world.remove(&id(1));
        world.misbehave(On::Segment(id(1)), Times::Always, Fault::status(500));
        world
            .run(async |_| {
                world.answered(2, |words| words == "get seg_00001").await;
                world.restore(&id(1));
                // Its own request still fails and is tried again every 25 ms or so, until the list has it.
                world.last_are(10, is_page).await;
            })
            .await;
        assert_eq!(world.story(&id(1)), "create present", "{provider:?}");
        world.asked();
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn one_that_is_back_on_the_list_takes_two_refusals_again() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..3).await;
        world.full_pass().await;
        world.asked();
        world.every = "50ms";
        world.more = format!("[[source.segment]]\nid = \"{}\"\nevery = \"50ms\"", id(1));
        let (own, gate) = (On::Segment(id(1)), CancellationToken::new());
        world.misbehave(own.clone(), Times::Next(1), Fault::status(500).gated(&gate));
        world
            .run(async |_| {
                // The list lacks it while its own request fails; then the list has it again.
                world.arrived(1, |words| words == "get seg_00001").await;
                world.remove(&id(1));
                world.arrived(3, is_page).await;
                world.restore(&id(1));
                world.arrived(6, is_page).await;
                world.misbehave(own, Times::Next(1), Fault::status(404));
                gate.cancel();
                world.answered(3, |words| words == "get seg_00001").await;
            })
            .await;
        assert_eq!(world.story(&id(1)), "create present", "{provider:?}");
        assert_eq!(world.count("SELECT count(*) FROM polls WHERE outcome = 'not_found'"), 1);
        world.asked();
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn a_named_segment_that_the_list_lacks_is_asked_for_by_itself() {
    for provider in BOTH {
        // `hidden` is there although no list has it; `absent` is nowhere.
        let world = World::new(provider, 0..3).await;
        let mut world = world.name(&[&id(0), "hidden", "absent"]);
        let list = world.page(&[(&id(0), "first")]);
        world.put("hidden", "first");
        for expected in [vec![get("absent"), get("hidden")], vec![get("hidden")], vec![get("hidden")]] {
            world.misbehave(On::List, Times::Next(1), Fault::answer().json(&list));
            world.misbehave(On::List, Times::Next(1), Fault::answer().json(r#"{"data":[]}"#));
            let asked = world.pass().await;
            assert_eq!(asked.into_iter().filter(|words| words.starts_with("get")).collect::<Vec<_>>(), expected);
        }
        assert_eq!(world.story("hidden"), "create present");
        assert_eq!(world.story("absent"), "pending");
        assert_eq!(world.count("SELECT count(*) FROM segments WHERE last_checked_at IS NULL"), 0);
        world.put("absent", "here");
        assert_eq!(world.pass().await, pages(1..=1));
        assert_eq!(world.story("absent"), "create present");
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn softly_deleted_segments_keep_their_document() {
    for list_soft_deleted in [false, true] {
        let settings = Settings { list_soft_deleted, ..unlimited() };
        let mut world = World::with(Provider::Octave, 0..2, settings).await;
        world.simulator.octave().add(octave::Segment::new("soft", "Banks"));
        world.full_pass().await;
        world.asked();
        world.simulator.octave().soft_delete("soft").unwrap();
        let asked = world.pass().await;
        let expected = if list_soft_deleted { pages(1..=1) } else { vec!["page 1".to_owned(), get("soft")] };
        assert_eq!(asked, expected);
        assert_eq!(world.story("soft"), "create delete deleted");
        assert_eq!(world.count("SELECT count(*) FROM versions WHERE op = 'delete' AND document IS NOT NULL"), 1);
        assert_eq!(world.pass().await, pages(1..=1), "it stays deleted at no cost");
        world.simulator.octave().restore("soft").unwrap();
        assert_eq!(world.pass().await, pages(1..=1));
        assert_eq!(world.story("soft"), "create delete restore present");
        // The first that is seen of one that only a single request shows is its deletion.
        world.simulator.octave().add(octave::Segment::new("old", "Banks"));
        world.simulator.octave().soft_delete("old").unwrap();
        world.segments = r#"["old", "seg_00000"]"#.to_owned();
        world.full_pass().await;
        assert_eq!(world.story("old"), "delete deleted", "{list_soft_deleted}");
    }
}

#[tokio::test]
async fn a_segment_with_an_interval_of_its_own_is_deleted_by_its_own_request() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..3).await;
        world.every = "50ms";
        world.more = format!("[[source.segment]]\nid = \"{}\"\nevery = \"50ms\"", id(1));
        world
            .run(async |_| {
                world.until("SELECT count(*) FROM segments WHERE state = 'present'", &["3"]).await;
                world.remove(&id(1));
                world.until("SELECT state FROM segments WHERE key = 'seg_00001'", &["deleted"]).await;
                world.restore(&id(1));
                world.until("SELECT state FROM segments WHERE key = 'seg_00001'", &["present"]).await;
            })
            .await;
        assert_eq!(world.story(&id(1)), "create delete restore present", "{provider:?}");
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn what_is_back_changed_after_the_sweep_before_began() {
    // Absence is as old as the first page: one that came back behind the sweep was not absent until its last page.
    for provider in BOTH {
        let mut world = World::new(provider, 0..150).await;
        world.full_pass().await;
        world.remove(&id(7));
        world.full_pass().await;
        world.asked();
        let last = world.last_poll();
        let gate = CancellationToken::new();
        world.misbehave_on_page(2, Fault::answer().gated(&gate));
        world
            .pass_and(async {
                world.arrived(2, is_page).await;
                gate.cancel();
            })
            .await;
        world.restore(&id(7));
        world.full_pass().await;
        let first_page = world.count(&format!("SELECT started_at FROM polls WHERE id = {}", last + 1));
        let after = world.count("SELECT changed_after FROM versions WHERE op = 'restore'");
        assert_eq!(after, first_page, "{provider:?}");
    }
}
