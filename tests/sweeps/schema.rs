//! A change of the provider's schema through the whole daemon, by lists and by single requests, with a new process for
//! each pass.

use segsync::simulator::Provider;
use segsync::store::{LogFilter, Reader};

use crate::sweeps::world::{BOTH, World, id};

const ALL: usize = 6;

/// A document as the provider sends it: `more` are further members, `stamp` is the second of its last edit.
fn document(provider: Provider, number: usize, stamp: u32, more: &str) -> String {
    let id = id(number);
    match provider {
        Provider::Statsig => format!(
            r#"{{"id":"{id}","name":"{id}","lastModifiedTime":17700000{stamp:02}000,"lastModifierName":"Ana","rules":[{{"id":"r","name":"r"{more}}}]}}"#
        ),
        Provider::Octave => {
            format!(
                r#"{{"oId":"{id}","name":"{id}","updatedAt":"2026-02-02T02:40:{stamp:02}.000Z","data":{{"a":1{more}}}}}"#
            )
        }
    }
}

fn put(world: &World, number: usize, stamp: u32, more: &str) {
    let text = document(world.provider, number, stamp, more);
    match world.provider {
        Provider::Statsig => world.simulator.statsig().put_raw(&id(number), &text),
        Provider::Octave => world.simulator.octave().put_raw(&id(number), &text),
    }
}

async fn world(provider: Provider, fetch: &'static str) -> World {
    let ids: Vec<String> = (0..ALL).map(id).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let world = World::new(provider, 0..ALL).await.name(&ids).fetch(fetch);
    (0..ALL).for_each(|number| put(&world, number, 0, ""));
    world.full_pass().await;
    world
}

/// Segments whose newest version reviewers see although they hide changes of the schema.
fn seen(world: &World) -> Vec<String> {
    let filter = LogFilter { no_schema: true, ..LogFilter::default() };
    let log = Reader::open(world.db_path()).unwrap().log(&filter).unwrap();
    let mut seen: Vec<String> =
        log.iter().filter(|version| version.seq > 1).map(|version| version.key.id.to_string()).collect();
    seen.sort();
    seen
}

const EVENTS: &str = "SELECT path, kind, segments FROM schema_events ORDER BY path, kind";

#[tokio::test]
async fn a_new_field_in_all_segments_is_a_change_of_the_schema() {
    for provider in BOTH {
        for fetch in ["list", "each"] {
            let world = world(provider, fetch).await;
            // It comes to two segments, and after a restart to all; one of them has been edited as well.
            (0..2).for_each(|number| put(&world, number, 0, r#","new":true"#));
            world.full_pass().await;
            assert_eq!(world.rows(EVENTS), [""; 0], "{provider:?} {fetch}");
            (2..ALL - 1).for_each(|number| put(&world, number, 0, r#","new":true"#));
            let edited = if provider == Provider::Statsig {
                r#","new":true,"passPercentage":5"#
            } else {
                r#","new":true,"a":2"#
            };
            put(&world, ALL - 1, 7, edited);
            world.full_pass().await;
            let path = if provider == Provider::Statsig { "$.rules[*].new" } else { "$.data.new" };
            let events = world.rows(EVENTS);
            assert_eq!(events.len(), 1, "{provider:?} {fetch} {events:?}");
            assert!(events[0].starts_with(&format!("{path} appeared ")), "{events:?}");
            assert_eq!(seen(&world), [id(ALL - 1)], "{provider:?} {fetch}");
            let marked = world.count("SELECT count(*) FROM versions WHERE cause = 'schema'");
            let late = world.count("SELECT count(*) FROM schema_versions");
            assert_eq!(marked + late, 5, "{provider:?} {fetch}");
            assert!(late >= 2, "the first two were written before anybody could know");

            // It goes again, after another restart.
            (0..ALL).for_each(|number| put(&world, number, 0, ""));
            world.full_pass().await;
            assert_eq!(world.rows(EVENTS).len(), 2);
        }
    }
}

#[tokio::test]
async fn edits_of_some_segments_are_none() {
    for provider in BOTH {
        for fetch in ["list", "each"] {
            let world = world(provider, fetch).await;
            // Somebody adds an optional field to half of the segments, one after the other.
            for number in 0..ALL / 2 {
                put(&world, number, 5, r#","new":true"#);
                world.full_pass().await;
            }
            assert_eq!(world.rows(EVENTS), [""; 0], "{provider:?} {fetch}");
            assert_eq!(seen(&world), (0..ALL / 2).map(id).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn a_migration_of_all_data_is_a_change_of_the_schema() {
    for fetch in ["list", "each"] {
        let world = world(Provider::Octave, fetch).await;
        // Even where the vendor's own script moves the stamps.
        for number in 0..ALL {
            let text = document(Provider::Octave, number, 9, "").replace(r#""a":1"#, r#""b":[1],"c":null"#);
            world.simulator.octave().put_raw(&id(number), &text);
        }
        world.full_pass().await;
        let paths = world.rows("SELECT path, kind FROM schema_events ORDER BY path");
        assert_eq!(paths, ["$.data.a disappeared", "$.data.b appeared", "$.data.c appeared"], "{fetch}");
        assert_eq!(seen(&world), [""; 0], "{fetch}");
    }
}
