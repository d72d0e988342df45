//! What a sweep costs: requests, rows and commits.

use super::world::{BOTH, World, id, is_page, pages};

/// Commits in a write-ahead log: frames that say how large the database is (SQLite's file format, §4.1).
fn commits(world: &World) -> usize {
    let wal = std::fs::read(world.db_path().with_file_name("segsync.db-wal")).unwrap();
    let number = |at: usize| u32::from_be_bytes(wal[at..at + 4].try_into().unwrap());
    let (frame, salt) = (24 + usize::try_from(number(8)).unwrap(), &wal[16..24]);
    let frames = (32..wal.len().saturating_sub(frame - 1)).step_by(frame);
    frames.filter(|&at| wal[at + 8..at + 16] == *salt && number(at + 4) > 0).count()
}

#[tokio::test]
async fn a_page_of_unchanged_segments_is_two_commits() {
    for provider in BOTH {
        let mut world = World::new(provider, 0..250).await;
        world.full_pass().await;
        world.asked();
        world.every = "1ms";
        let (before, after, polls) = world
            .run(async |_| {
                let before = commits(&world);
                world.answered(6, is_page).await;
                // A page is committed before the next one is asked for.
                (before, commits(&world), world.simulator.arrivals().len())
            })
            .await;
        assert!(polls >= 9);
        let pages_begun = polls - 3;
        assert!(after - before <= 2 * pages_begun, "{after} - {before} commits for {pages_begun} pages");
        assert!(after - before >= 2 * (pages_begun - 1), "{after} - {before} commits for {pages_begun} pages");
    }
}

#[tokio::test]
async fn ten_thousand_unchanged_segments_are_a_hundred_requests() {
    let mut world = World::new(BOTH[0], 0..10_000).await;
    world.full_pass().await;
    assert_eq!(world.asked(), pages(1..=100));
    let last = world.last_poll();
    assert_eq!(world.pass().await, pages(1..=100));
    assert_eq!(world.polls_after(last), ["sweep unchanged -"; 100]);
    assert_eq!(world.count("SELECT count(*) FROM versions"), 10_000);
    assert_eq!(world.story(&id(9_999)), "create present");
}
