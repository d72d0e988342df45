//! Pages that fail: what is known stays, the sweep goes on, and one bad page starves nobody.

use segsync::model::Outcome;
use segsync::simulator::{Fault, On, Provider, Times};

use super::world::{BOTH, World, id, is_page, pages};

/// A page that failed so often in a row is passed by.
const TRIES: usize = 3;

#[tokio::test]
async fn a_page_that_fails_once_is_asked_for_again() {
    for provider in BOTH {
        for fault in [Fault::status(500), Fault::answer().html("<p>sorry</p>"), Fault::truncated(), Fault::status(404)]
        {
            let mut world = World::new(provider, 0..250).await;
            world.misbehave_on_page(2, fault);
            world.run(async |_| world.answered(4, is_page).await).await;
            let asked = world.asked();
            assert_eq!(asked, ["page 1", "page 2", "page 2", "page 3"], "{provider:?}");
            assert_eq!(world.count("SELECT count(*) FROM segments WHERE state = 'present'"), 250);
            world.assert_one_row_per_request();
        }
    }
}

#[tokio::test]
async fn a_page_that_fails_fails_the_rest_of_a_pass() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..250).await;
        world.full_pass().await;
        world.asked();
        world.misbehave_on_page(2, Fault::status(500));
        let pass = world.full_pass().await;
        assert_eq!(world.asked(), pages(1..=2));
        let ended = |outcome| pass.endings.iter().filter(|end| end.outcome == outcome).count();
        assert_eq!((ended(Outcome::Unchanged), ended(Outcome::Failed)), (100, 150));
        assert_eq!(pass.endings.len(), 250, "each is told once");
    }
}

#[tokio::test]
async fn a_hold_in_the_middle_is_waited_for() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..250).await;
        world.misbehave_on_page(2, Fault::retry_after("1"));
        let pass = world.full_pass().await;
        assert_eq!(world.asked(), ["page 1", "page 2", "page 2", "page 3"]);
        assert_eq!(pass.endings.len(), 250);
        assert!(pass.endings.iter().all(|end| end.outcome == Outcome::Created));
        let outcomes = ["updated", "throttled", "updated", "updated"];
        assert_eq!(world.rows("SELECT outcome FROM polls ORDER BY id"), outcomes);
    }
}

#[tokio::test]
async fn a_page_that_never_works_is_passed_by_and_its_segments_asked_for_singly() {
    let faults = || [Fault::status(500), Fault::answer().html("<p>sorry</p>")];
    let [[a, b], [c, d]] = BOTH.map(|provider| faults().map(|fault| a_page_never_works(provider, fault)));
    // Side by side, for each waits for its own retries.
    tokio::join!(a, b, c, d);
}

async fn a_page_never_works(provider: Provider, fault: Fault) {
    // No more than may wait at a time: page 2 has 100 others than the one that is gone, one of them unwanted.
    let ids: Vec<String> = (0..250).filter(|number| *number != 110).map(id).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut world = World::new(provider, 0..250).await.name(&ids);
    world.remove(&id(150));
    world.misbehave(On::List, Times::Next(1), Fault::answer());
    world.misbehave(On::List, Times::Next(TRIES), fault);
    world.run(async |_| world.answered(100, |words| words.starts_with("get")).await).await;
    let asked = world.asked();
    let listed: Vec<_> = asked.iter().filter(|words| is_page(words)).take(5).collect();
    assert_eq!(listed, ["page 1", "page 2", "page 2", "page 2", "page 3"], "{provider:?}");
    assert_eq!(world.descriptions(&id(120)), ["first"]);
    assert_eq!(world.descriptions(&id(220)), ["first"]);
    let word = "SELECT p.outcome FROM polls AS p JOIN segments AS s ON s.id = p.segment_id
        WHERE s.key = 'seg_00150' ORDER BY p.id LIMIT 1";
    assert_eq!(world.rows(word), ["not_found"], "one 404 after a partial sweep is a doubt");
    world.assert_one_row_per_request();
}

#[tokio::test]
async fn a_list_that_never_works_is_asked_for_and_nothing_else() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..120).await;
        world.full_pass().await;
        world.asked();
        world.every = "50ms";
        world.misbehave(On::List, Times::Always, Fault::status(503));
        world.run(async |_| world.answered(3 * TRIES, is_page).await).await;
        let asked = world.asked();
        assert!(asked.iter().all(|words| is_page(words)), "{asked:?}");
        assert_eq!(world.rows("SELECT state FROM sources"), ["failing"]);
        assert_eq!(world.rows("SELECT DISTINCT state || version FROM segments"), ["present1"]);
        world.simulator.behave(provider);
        assert_eq!(world.pass().await, pages(1..=2));
        assert_eq!(world.rows("SELECT state FROM sources"), ["ok"]);
    }
}

#[tokio::test]
async fn a_list_of_nonsense_shows_in_the_state_of_its_source() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..2).await;
        world.every = "50ms";
        world.misbehave(On::List, Times::Always, Fault::answer().html("<p>log in</p>"));
        world.run(async |_| world.answered(4, is_page).await).await;
        assert_eq!(world.rows("SELECT state, last_error IS NOT NULL FROM sources"), ["failing 1"], "{provider:?}");
        assert_eq!(world.rows("SELECT DISTINCT outcome FROM polls"), ["malformed"]);
    }
}

#[tokio::test]
async fn a_list_that_is_empty_by_mistake_is_soon_read_again() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..250).await;
        world.every = "50ms";
        world.pass().await;
        let empty = match provider {
            Provider::Statsig => r#"{"message": "ok", "data": [], "pagination": {"nextPage": null}}"#,
            Provider::Octave => r#"{"data": [], "hasNext": false, "total": 0}"#,
        };
        world.simulator.misbehave(provider, On::List, Times::Next(1), Fault::status(200).json(empty));
        let before = world.simulator.arrivals().len();
        world.run(async |_| world.answered(4, is_page).await).await;
        let arrivals = world.simulator.arrivals();
        let after_the_empty_page = arrivals.iter().skip(before + 1);
        let between = after_the_empty_page.take_while(|arrival| !arrival.target.contains("limit=")).count();
        assert!(between <= 100, "{between} single requests before the list is read again");
        assert_eq!(world.count("SELECT count(*) FROM versions"), 250, "nothing is deleted");
        world.assert_one_row_per_request();
    }
}
