//! Lists that cannot be trusted: their ends, their page sizes, their items.

use segsync::simulator::{Fault, OctaveList, On, Provider, Settings, Times};

use super::world::{BOTH, World, id, is_page, pages, unlimited};

#[tokio::test]
async fn every_form_of_a_list_is_read_to_its_end() {
    for octave_list in [OctaveList::Proper, OctaveList::AlwaysHasNext, OctaveList::NoHasNext, OctaveList::BareArray] {
        for max_page in [100, 50, 30] {
            let settings = Settings { octave_list, max_page, ..unlimited() };
            let mut world = World::with(Provider::Octave, 0..130, settings).await;
            for round in 0..2 {
                let asked = world.pass().await;
                let needed = 130_usize.div_ceil(max_page);
                let idle = usize::from(octave_list != OctaveList::Proper);
                let said = format!("{octave_list:?} {max_page} {round}: {asked:?}");
                assert_eq!(asked.len(), needed + idle, "{said}");
                assert!(asked.iter().all(|words| is_page(words)), "{said}");
            }
            world.remove(&id(5));
            assert!(world.pass().await.contains(&"get seg_00005".to_owned()));
            assert_eq!(world.count("SELECT count(*) FROM segments WHERE state = 'present'"), 129);
            assert_eq!(world.story(&id(5)), "create delete deleted", "{octave_list:?} {max_page}");
        }
    }
}

#[tokio::test]
async fn smaller_pages_than_asked_for_are_followed() {
    let settings = Settings { max_page: 40, ..unlimited() };
    let mut world = World::with(Provider::Statsig, 0..100, settings).await;
    assert_eq!(world.pass().await, pages(1..=3));
    assert_eq!(world.count("SELECT count(*) FROM segments WHERE state = 'present'"), 100);
}

#[tokio::test]
async fn a_list_without_any_word_of_its_end_ends_with_an_empty_page() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..3).await;
        let items = [(&*id(0), "first"), (&*id(1), "first"), (&*id(2), "first")];
        let (list, bare) = (world.page(&items), world.page(&items).replace(r#"{"data":"#, "").replace("]}", "]"));
        for (full, empty) in [(list, r#"{"data":[]}"#), (bare, "[]")] {
            world.misbehave(On::List, Times::Next(1), Fault::answer().json(&full));
            world.misbehave(On::List, Times::Next(1), Fault::answer().json(empty));
            let asked = world.pass().await;
            assert!(asked.len() == 2 && asked.iter().all(|words| is_page(words)), "{provider:?} {asked:?}");
            assert_eq!(world.rows("SELECT state || version FROM segments"), ["present1"; 3]);
        }
    }
}

#[tokio::test]
async fn an_empty_page_in_the_middle_hides_nothing() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..250).await;
        world.full_pass().await;
        world.asked();
        let empty = match provider {
            Provider::Statsig => r#"{"data":[],"pagination":{"nextPage":"x","totalItems":250}}"#,
            Provider::Octave => r#"{"data":[],"hasNext":true,"total":250}"#,
        };
        world.misbehave_on_page(2, Fault::answer().json(empty));
        let asked = world.pass().await;
        let gets = asked.iter().filter(|words| words.starts_with("get")).count();
        assert_eq!(gets, 100, "{asked:?}");
        assert_eq!(world.rows("SELECT DISTINCT state || version FROM segments"), ["present1"]);
        assert_eq!(world.count("SELECT count(*) FROM polls WHERE outcome = 'deleted'"), 0);
    }
}

#[tokio::test]
async fn a_list_that_runs_in_circles_is_left() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..5).await;
        world.full_pass().await;
        world.asked();
        // Every page is the same one, and it is never the last.
        let items = [(&*id(0), "first"), (&*id(1), "first"), (&*id(0), "first")];
        world.misbehave(On::List, Times::Always, Fault::answer().json(&world.page(&items)));
        world.remove(&id(4));
        let asked = world.pass().await;
        let gets: Vec<_> = asked.iter().filter(|words| !is_page(words)).collect();
        assert_eq!(gets, ["get seg_00002", "get seg_00003", "get seg_00004"]);
        assert!(asked.len() - gets.len() <= 3, "{asked:?}");
        // The list is partial, so that one 404 is a doubt and two are a deletion.
        assert_eq!(world.story(&id(4)), "create present");
        world.full_pass().await;
        assert_eq!(world.story(&id(4)), "create delete deleted");
        assert_eq!(world.count("SELECT count(*) FROM segments WHERE state = 'present'"), 4);
    }
}

#[tokio::test]
async fn an_item_without_a_usable_id_makes_the_sweep_partial() {
    for provider in BOTH {
        let word = if provider == Provider::Statsig { "id" } else { "oId" };
        for odd in ["7".to_owned(), "null".to_owned(), format!(r#"{{"{word}":"  "}}"#), format!(r#"{{"{word}":9}}"#)] {
            let mut world = World::new(provider, 0..3).await;
            world.full_pass().await;
            world.asked();
            world.remove(&id(1));
            let page = world.page(&[(&id(0), "second")]).replace("]}", &format!(",{odd}]}}"));
            world.misbehave(On::List, Times::Next(1), Fault::answer().json(&page));
            world.misbehave(On::List, Times::Next(1), Fault::answer().json(r#"{"data":[]}"#));
            let asked = world.pass().await;
            let gets: Vec<_> = asked.into_iter().filter(|words| words.starts_with("get")).collect();
            assert_eq!(gets, ["get seg_00001", "get seg_00002"], "{provider:?} {odd}");
            assert_eq!(world.descriptions(&id(0)), ["first", "second"]);
            assert_eq!(world.story(&id(1)), "create present", "one 404 after a partial sweep is a doubt");
            assert_eq!(world.count("SELECT count(*) FROM segments"), 3);
        }
    }
}

#[tokio::test]
async fn an_item_whose_id_is_the_key_is_not_stored() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..1).await;
        let page = world.page(&[(&id(0), "first"), ("pre-{key}", "first")]);
        world.misbehave(On::List, Times::Next(1), Fault::answer().json(&page));
        world.misbehave(On::List, Times::Next(1), Fault::answer().json(r#"{"data":[]}"#));
        world.full_pass().await;
        assert_eq!(world.rows("SELECT key FROM segments"), [id(0)], "{provider:?}");
        world.asked();
        for file in ["segsync.db", "segsync.db-wal"] {
            let bytes = std::fs::read(world.db_path().with_file_name(file)).unwrap_or_default();
            let key = world.key().as_bytes();
            assert!(!bytes.windows(key.len()).any(|window| window == key), "the key is in {file}");
        }
    }
}
