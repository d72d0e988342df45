//! The cache in front of the file: never ahead of it, never behind what it has shown.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use segsync::cache::{Cache, Cached, Ready};
use segsync::metrics::Metrics;
use segsync::model::{Op, SegmentKey, SegmentState, SourceName, UnixMs};
use segsync::store::{Known, Moment, Reader, Readers, SegmentNow, Store};

use crate::store::world::{START, World, change, document, tracking};

fn cache(store: &Store, capacity: u64) -> Cache {
    Cache::new(Readers::new(store.path()), capacity, Metrics::new(UnixMs(0)))
}

fn key(id: &str) -> SegmentKey {
    SegmentKey::new(SourceName::new("main"), id)
}

/// What happens to a segment.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A version is committed, and the cache told.
    Commit(usize),
    /// A version is committed by somebody whose word never reached the cache.
    Lost(usize),
    /// Somebody reads.
    Read(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        (0..3_usize).prop_map(Step::Commit),
        (0..3_usize).prop_map(Step::Lost),
        (0..3_usize).prop_map(Step::Read)
    ];
    prop::collection::vec(one, 1..30)
}

async fn commit(world: &World, store: &Store, segment: &Known, base: i64) {
    let (op, text) = (if base == 0 { Op::Create } else { Op::Update }, format!("{}", base + 1));
    change(world, store, segment, base, op, Some(&text)).await;
}

/// What the file has.
fn now(world: &World, segment: &Known) -> SegmentNow {
    Reader::open(world.file()).expect("opened").now(&segment.key).expect("read").expect("there")
}

/// Commits a version and tells the cache.
async fn commit_and_tell(world: &World, store: &Store, cache: &Cache, segment: &Known, base: i64) {
    commit(world, store, segment, base).await;
    cache.renew(&segment.key, base, |_| now(world, segment)).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Against a model that remembers per segment what the file has, and what the cache was last told or had to read.
    #[test]
    fn what_it_has_is_what_it_was_told_last(steps in steps(), capacity in prop_oneof![Just(1_u64), Just(1 << 20)]) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let world = World::new();
            let (store, declared) = tracking(&world, &["a", "b", "c"]).await;
            let cache = cache(&store, capacity);
            let (mut file, mut shown) = ([0_i64; 3], HashMap::new());
            for step in steps {
                match step {
                    Step::Commit(at) => {
                        commit_and_tell(&world, &store, &cache, &declared.segments[at], file[at]).await;
                        file[at] += 1;
                        shown.insert(at, file[at]);
                    }
                    Step::Lost(at) => {
                        commit(&world, &store, &declared.segments[at], file[at]).await;
                        file[at] += 1;
                    }
                    Step::Read(at) => {
                        let found = cache.get(&declared.segments[at].key).await.expect("read").expect("there");
                        let latest = &found.now.latest;
                        prop_assert!(latest.seq <= file[at] && latest.seq >= shown.get(&at).copied().unwrap_or(0));
                        let text = (latest.seq > 0).then(|| latest.seq.to_string());
                        prop_assert_eq!(&latest.document, &text.and_then(|text| document(&text)));
                        shown.insert(at, latest.seq);
                    }
                }
            }
            Ok(())
        })?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reads_and_commits_at_one_time_never_show_what_is_not_there_and_never_go_back() {
    for capacity in [1, 1 << 20] {
        let world = World::new();
        let (store, declared) = tracking(&world, &["a"]).await;
        let cache = cache(&store, capacity);
        let segment = &declared.segments[0];
        let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let order = std::sync::atomic::Ordering::SeqCst;
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (cache, is_over, key) = (cache.clone(), Arc::clone(&is_over), segment.key.clone());
                let raw = world.raw();
                tokio::spawn(async move {
                    let mut last = 0;
                    while !is_over.load(order) {
                        let found = cache.get(&key).await.expect("read").expect("there");
                        let seq = found.now.latest.seq;
                        assert!(seq >= last, "{seq} after {last}");
                        last = seq;
                        let there = "SELECT coalesce(max(seq), 0) FROM versions";
                        let newest: i64 = raw.query_row(there, [], |row| row.get(0)).expect("read");
                        assert!(seq <= newest, "{seq} is not in the file, which has {newest}");
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for base in 0..100 {
            commit_and_tell(&world, &store, &cache, segment, base).await;
            let seq = cache.get(&segment.key).await.expect("read").expect("there").now.latest.seq;
            assert_eq!(seq, base + 1, "a commit that was told is seen at once");
        }
        is_over.store(true, order);
        for reader in readers {
            reader.await.expect("it saw nothing wrong");
        }
    }
}

#[tokio::test]
async fn what_is_not_held_is_not_held_because_it_was_committed() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let (cache, segment) = (cache(&store, 1 << 20), &declared.segments[0]);
    let held = async || {
        cache.settle().await;
        cache.entries()
    };
    let seen = async || {
        let latest = cache.get(&segment.key).await.expect("read").expect("there").now.latest.clone();
        (latest.seq, latest.state)
    };
    commit_and_tell(&world, &store, &cache, segment, 0).await;
    let first = now(&world, segment);
    let read = Readers::new(store.path()).all_now(vec![segment.id, segment.id]).await.expect("read");
    assert_eq!(read, [first.clone(), first.clone()], "each that is asked for, in that order");
    assert_eq!(held().await, 0);
    assert_eq!(seen().await, (1, SegmentState::Present));
    commit_and_tell(&world, &store, &cache, segment, 1).await;
    assert_eq!((held().await, seen().await), (1, (2, SegmentState::Present)));
    cache.renew(&segment.key, 0, |_| first).await;
    assert_eq!((held().await, seen().await), (1, (2, SegmentState::Present)), "an older word undoes no newer one");
    assert!(cache.get(&key("z")).await.expect("read").is_none(), "nobody knows it");
}

#[tokio::test]
async fn what_missed_a_word_is_read_again_at_the_next_one() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let (cache, segment) = (cache(&store, 1 << 20), &declared.segments[0]);
    let seen = async || cache.get(&segment.key).await.expect("read").expect("there").now.latest.seq;
    commit(&world, &store, segment, 0).await;
    assert_eq!(seen().await, 1);
    commit(&world, &store, segment, 1).await;
    assert_eq!(seen().await, 1, "nobody told it");
    commit_and_tell(&world, &store, &cache, segment, 2).await;
    assert_eq!(seen().await, 3);
    commit(&world, &store, segment, 3).await;
    assert_eq!(seen().await, 3);
    cache.confirm(&segment.key, 4, Moment { wall: UnixMs(START), boot_ms: None }).await;
    assert_eq!(seen().await, 4);
}

#[tokio::test]
async fn an_answer_is_made_once_for_each_word() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let (cache, segment) = (cache(&store, 1 << 20), &declared.segments[0]);
    let made = std::cell::Cell::new(0);
    let ready = |seq: i64| {
        made.set(made.get() + 1);
        Ready { body: seq.to_string().into(), etag: "".into(), last_modified: "".into() }
    };
    for seq in 1..=2 {
        commit_and_tell(&world, &store, &cache, segment, seq - 1).await;
        for _ in 0..3 {
            let found = cache.get(&segment.key).await.expect("read").expect("there");
            assert_eq!(found.ready(|now, _| ready(now.latest.seq)).0.body, seq.to_string());
        }
    }
    assert_eq!(made.get(), 2);
}

#[tokio::test]
async fn a_poll_that_confirms_moves_only_the_age() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let (cache, segment) = (cache(&store, 1 << 20), &declared.segments[0]);
    let found = async || cache.get(&segment.key).await.expect("read").expect("there");
    let told = |cached: &Cached| {
        let made = |now: &SegmentNow, checked: Option<Moment>| {
            let body = format!("{} {:?}", now.latest.seq, checked.map(|at| at.wall.0));
            Ready { body: body.into(), etag: "".into(), last_modified: "".into() }
        };
        let (ready, checked) = cached.ready(made);
        assert_eq!(checked, cached.checked());
        (ready.body, checked)
    };
    commit(&world, &store, segment, 0).await;
    let before = found().await;
    assert_eq!(told(&before), (format!("1 {:?}", before.checked().map(|at| at.wall.0)).into(), before.now.checked));
    let later = Moment { wall: UnixMs(START + 77_000), boot_ms: Some(77_000) };
    cache.confirm(&segment.key, 1, later).await;
    assert!(Arc::ptr_eq(&before, &found().await), "the version is the same");
    assert_eq!(told(&*found().await), (format!("1 Some({})", START + 77_000).into(), Some(later)));

    commit_and_tell(&world, &store, &cache, segment, 1).await;
    let newer = found().await.checked();
    cache.confirm(&segment.key, 1, later).await;
    assert_eq!((found().await.now.latest.seq, found().await.checked()), (2, newer), "an older word");
}

#[tokio::test]
async fn it_stays_within_its_size() {
    let world = World::new();
    let ids: Vec<String> = (0..50).map(|id| format!("s{id}")).collect();
    let (store, declared) = tracking(&world, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let cache = cache(&store, 20_000);
    for segment in &declared.segments {
        change(&world, &store, segment, 0, Op::Create, Some(&"x".repeat(2_000))).await;
    }
    for segment in &declared.segments {
        assert_eq!(cache.get(&segment.key).await.expect("read").expect("there").now.latest.seq, 1);
    }
    cache.settle().await;
    let (bytes, segments) = (cache.bytes(), cache.entries());
    assert!(bytes <= 20_000 && (1..=4).contains(&segments), "{bytes} bytes, {segments} segments");
}
