//! Pages over a set that changes while it is read.

use segsync::simulator::Fault;
use tokio_util::sync::CancellationToken;

use super::world::{BOTH, World, id, is_page};

/// Edits between the first page and the `nth` of a pass.
async fn edit_before_page(world: &World, nth: usize, edit: impl FnOnce()) {
    let gate = CancellationToken::new();
    world.misbehave_on_page(nth, Fault::answer().gated(&gate));
    world
        .pass_and(async {
            world.arrived(nth, is_page).await;
            edit();
            gate.cancel();
        })
        .await;
}

#[tokio::test]
async fn an_item_that_slips_to_an_earlier_page_is_asked_for_by_itself() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..250).await;
        world.full_pass().await;
        world.asked();
        // All after it move up by one: the first of page 2 is on no page.
        edit_before_page(&world, 2, || world.remove(&id(3))).await;
        let asked = world.asked();
        assert_eq!(asked[3..], ["get seg_00100"], "{provider:?}: {asked:?}");
        assert_eq!(world.count("SELECT count(*) FROM segments WHERE state = 'present'"), 250);
        assert_eq!(world.count("SELECT count(*) FROM versions"), 250);
        let pass = world.pass().await;
        assert_eq!(pass[3..], ["get seg_00003"], "{provider:?}");
        assert_eq!(world.story(&id(3)), "create delete deleted");
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn an_item_that_slips_to_a_later_page_is_read_twice_and_recorded_once() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..250).await;
        world.full_pass().await;
        world.asked();
        // All move down by one: the last of page 1 is the first of page 2, by now changed.
        edit_before_page(&world, 2, || {
            world.put("aaa", "first");
            world.put(&id(99), "second");
        })
        .await;
        // One fewer was seen than the list says, so that a further page is asked for.
        let asked = world.asked();
        assert!(asked.len() == 4 && asked.iter().all(|words| is_page(words)), "{provider:?}: {asked:?}");
        assert_eq!(world.descriptions(&id(99)), ["first", "second"]);
        assert_eq!(world.story("aaa"), "", "it came behind the sweep");
        world.full_pass().await;
        assert_eq!(world.story("aaa"), "create present");
        assert_eq!(world.count("SELECT count(*) FROM versions"), 252);
        world.assert_one_row_per_request();
    }
}

#[tokio::test]
async fn a_set_that_shrinks_below_the_page_asked_for_ends_the_sweep() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..250).await;
        world.full_pass().await;
        world.asked();
        edit_before_page(&world, 3, || (150..250).for_each(|number| world.remove(&id(number)))).await;
        let asked = world.asked();
        assert_eq!(asked.iter().filter(|words| words.starts_with("get")).count(), 50, "{asked:?}");
        assert_eq!(world.count("SELECT count(*) FROM segments WHERE state = 'deleted'"), 50);
        world.full_pass().await;
        assert_eq!(world.count("SELECT count(*) FROM segments WHERE state = 'deleted'"), 100);
        assert_eq!(world.count("SELECT count(*) FROM segments WHERE state = 'present'"), 150);
    }
}
