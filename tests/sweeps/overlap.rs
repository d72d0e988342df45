//! A single request and a page that are on their way at the same time tell of different moments.

use segsync::clock::Clock;
use segsync::simulator::{Fault, On, Times};
use tokio_util::sync::CancellationToken;

use super::world::{BOTH, World, id, is_page};

/// A world in which one segment has an interval of its own.
async fn world(provider: segsync::simulator::Provider) -> World {
    let mut world = World::new(provider, 0..3).await;
    world.full_pass().await;
    world.asked();
    world.every = "100ms";
    world.more = format!("[[source.segment]]\nid = \"{}\"\nevery = \"100ms\"", id(1));
    world
}

const NOW: &str = "SELECT document ->> '$.description' FROM segment_now WHERE segment = 'seg_00001'";

#[tokio::test]
async fn an_old_page_does_not_undo_what_a_single_request_saw_meanwhile() {
    for provider in BOTH {
        let mut world = world(provider).await;
        let gate = CancellationToken::new();
        // Served before the edit, received after it.
        let old = world.page(&[(&id(0), "first"), (&id(1), "first"), (&id(2), "first")]);
        world.misbehave(On::List, Times::Next(1), Fault::answer().json(&old).gated(&gate));
        world
            .run(async |_| {
                world.arrived(1, is_page).await;
                world.put(&id(1), "second");
                world.until(NOW, &["second"]).await;
                gate.cancel();
                world.answered(4, is_page).await;
            })
            .await;
        assert_eq!(world.descriptions(&id(1)), ["first", "second"], "{provider:?}");
        world.asked();
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn an_old_single_answer_does_not_undo_what_a_page_saw_meanwhile() {
    for provider in BOTH {
        let mut world = world(provider).await;
        let gate = CancellationToken::new();
        let old = Fault::answer().json(&world.answer(&id(1), "first")).gated(&gate);
        world.misbehave(On::Segment(id(1)), Times::Next(1), old);
        world
            .run(async |_| {
                world.arrived(1, |words| words == "get seg_00001").await;
                world.put(&id(1), "second");
                world.until(NOW, &["second"]).await;
                gate.cancel();
                world.answered(3, |words| words == "get seg_00001").await;
            })
            .await;
        assert_eq!(world.descriptions(&id(1)), ["first", "second"], "{provider:?}");
        world.asked();
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn an_old_page_does_not_bring_back_what_was_deleted_meanwhile() {
    for provider in BOTH {
        let mut world = world(provider).await;
        let gate = CancellationToken::new();
        let old = world.page(&[(&id(0), "first"), (&id(1), "first"), (&id(2), "first")]);
        world.misbehave(On::List, Times::Next(1), Fault::answer().json(&old).gated(&gate));
        world
            .run(async |_| {
                world.arrived(1, is_page).await;
                world.remove(&id(1));
                world.until("SELECT state FROM segments WHERE key = 'seg_00001'", &["deleted"]).await;
                gate.cancel();
                world.answered(4, is_page).await;
            })
            .await;
        assert_eq!(world.story(&id(1)), "create delete deleted", "{provider:?}");
        world.asked();
    }
}

#[tokio::test]
async fn both_seeing_the_same_change_record_it_once() {
    for provider in BOTH {
        let mut world = world(provider).await;
        let gate = CancellationToken::new();
        for on in [On::List, On::Segment(id(1))] {
            world.misbehave(on, Times::Next(1), Fault::answer().gated(&gate));
        }
        world
            .run(async |_| {
                world.arrived(1, is_page).await;
                world.arrived(1, |words| words == "get seg_00001").await;
                world.put(&id(1), "second");
                gate.cancel();
                world.answered(3, is_page).await;
                world.answered(3, |words| words == "get seg_00001").await;
            })
            .await;
        assert_eq!(world.descriptions(&id(1)), ["first", "second"], "{provider:?}");
        world.asked();
        world.assert_one_row_per_request();
    }
}

const CHANGED_AFTER: &str = "SELECT v.changed_after FROM versions AS v JOIN segments AS s ON s.id = v.segment_id
    WHERE s.key = 'seg_00001' AND v.seq = 3";

#[tokio::test]
async fn a_page_that_is_passed_by_confirms_nothing() {
    for provider in BOTH {
        let world = world(provider).await;
        let [single, old_page, page, later] = [(); 4].map(|()| CancellationToken::new());
        let second = Fault::answer().json(&world.answer(&id(1), "second")).gated(&single);
        world.misbehave(On::Segment(id(1)), Times::Next(1), second);
        world.misbehave(On::Segment(id(1)), Times::Next(1), Fault::answer().gated(&later));
        let old = world.page(&[(&id(0), "first"), (&id(1), "first"), (&id(2), "first")]);
        world.misbehave(On::List, Times::Next(1), Fault::answer().json(&old).gated(&old_page));
        // A list that does not say where it ends is asked for another page.
        world.misbehave(On::List, Times::Next(1), Fault::answer());
        world.misbehave(On::List, Times::Next(1), Fault::answer().gated(&page));
        let edited = world
            .run(async |_| {
                world.arrived(1, |words| words == "get seg_00001").await;
                world.arrived(1, is_page).await;
                let edited = Clock::system().now().wall.0;
                world.put(&id(1), "third");
                old_page.cancel();
                world.arrived(3, is_page).await;
                single.cancel();
                world.until(NOW, &["second"]).await;
                page.cancel();
                world.until(NOW, &["third"]).await;
                later.cancel();
                edited
            })
            .await;
        assert_eq!(world.descriptions(&id(1)), ["first", "second", "third"], "{provider:?}");
        assert!(world.count(CHANGED_AFTER) <= edited, "{provider:?}: the page saw the third, not still the second");
    }
}

#[tokio::test]
async fn a_single_answer_that_is_passed_by_confirms_nothing() {
    for provider in BOTH {
        let world = world(provider).await;
        let [page, old_single, single, later] = [(); 4].map(|()| CancellationToken::new());
        let second = world.page(&[(&id(0), "first"), (&id(1), "second"), (&id(2), "first")]);
        world.misbehave(On::List, Times::Next(1), Fault::answer().json(&second).gated(&page));
        world.misbehave(On::List, Times::Next(1), Fault::answer().gated(&later));
        let old = Fault::answer().json(&world.answer(&id(1), "first")).gated(&old_single);
        world.misbehave(On::Segment(id(1)), Times::Next(1), old);
        world.misbehave(On::Segment(id(1)), Times::Next(1), Fault::answer().gated(&single));
        let edited = world
            .run(async |_| {
                world.arrived(1, |words| words == "get seg_00001").await;
                world.arrived(1, is_page).await;
                let edited = Clock::system().now().wall.0;
                world.put(&id(1), "third");
                old_single.cancel();
                world.arrived(2, |words| words == "get seg_00001").await;
                page.cancel();
                world.until(NOW, &["second"]).await;
                single.cancel();
                world.until(NOW, &["third"]).await;
                later.cancel();
                edited
            })
            .await;
        assert_eq!(world.descriptions(&id(1)), ["first", "second", "third"], "{provider:?}");
        assert!(world.count(CHANGED_AFTER) <= edited, "{provider:?}: it saw the third, not still the second");
    }
}
