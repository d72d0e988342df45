//! Jobs: grouped, all or nothing, refused when they do not follow the file.

use segsync::model::{Op, Outcome, PollKind, SourceState, UnixMs};
use segsync::store::{BeginPoll, Error, FinishPoll, PollId, Reader, SegmentEnd, SourceId, Store};

use crate::store::world::{
    MAIN, START, World, begin, change, document, end, poll, replaced, source, tracking, version,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_jobs_at_once_and_the_one_that_fails_fails_alone() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let now = world.now();
    let jobs: Vec<_> = (0..50)
        .map(|at| {
            let (store, source) = (store.clone(), if at == 20 { SourceId(99) } else { declared.sources[0].id });
            let job = BeginPoll { source, segment: None, kind: PollKind::Sweep, now };
            tokio::spawn(async move { store.begin_poll(job).await })
        })
        .collect();
    let mut ids = Vec::new();
    for (at, job) in jobs.into_iter().enumerate() {
        match job.await.expect("joined") {
            Ok(id) => ids.push(id),
            Err(error) => assert!(at == 20 && matches!(error, Error::Other { .. }), "{at}: {error}"),
        }
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 49);
    assert_eq!(world.number("SELECT count(*) FROM polls"), 49);
}

#[tokio::test]
async fn what_is_told_is_already_in_the_file() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let a = &declared.segments[0];
    let id = begin(&world, &store, a).await;
    assert_eq!(world.number("SELECT count(*) FROM polls WHERE outcome IS NULL"), 1);
    assert_eq!(Reader::open(world.file()).expect("opened").last_poll().expect("read"), id);
    change(&world, &store, a, 0, Op::Create, Some("{}")).await;
    assert_eq!(world.number("SELECT count(*) FROM versions"), 1);
}

#[tokio::test]
async fn a_job_runs_although_its_caller_left() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let job = BeginPoll { source: declared.sources[0].id, segment: None, kind: PollKind::Probe, now: world.now() };
    {
        let mut left = Box::pin(store.begin_poll(job));
        // Asked once, then dropped.
        std::future::poll_fn(|context| {
            drop(left.as_mut().poll(context));
            std::task::Poll::Ready(())
        })
        .await;
    }
    store.close().await.expect("closed");
    assert_eq!(world.number("SELECT count(*) FROM polls"), 1);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    store.close().await.expect("closed");
    store.close().await.expect("closing twice is fine");
    let error = store.latest(declared.segments[0].id).await.expect_err("closed").to_string();
    assert!(error.ends_with("it has been closed"), "{error}");
    // The lock is free again although a clone of the handle lives.
    world.open();
}

#[tokio::test]
async fn what_does_not_follow_the_file_is_refused_whole() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a", "b"]).await;
    let [a, b] = [&declared.segments[0], &declared.segments[1]];
    change(&world, &store, a, 0, Op::Create, Some("1")).await;
    let file = |world: &World| {
        world.number("SELECT (SELECT count(*) FROM versions) * 100 + (SELECT count(*) FROM changes) * 10 + (SELECT sum(version) FROM segments)")
    };
    let before = file(&world);
    let wrong = [
        (Outcome::Updated, Some(version(0, Op::Update, Some("2"))), "compared with version 0, but the latest is 1"),
        (Outcome::Updated, Some(version(2, Op::Update, Some("2"))), "compared with version 2, but the latest is 1"),
        (Outcome::Created, Some(version(1, Op::Create, Some("2"))), "a create cannot follow while it is present"),
        (Outcome::Restored, Some(version(1, Op::Restore, Some("2"))), "a restore cannot follow while it is present"),
        (Outcome::Unchanged, Some(version(1, Op::Update, Some("2"))), "unchanged is not what a update ends with"),
        (Outcome::Updated, None, "its new version is missing"),
    ];
    for (outcome, new, reason) in wrong {
        let id = begin(&world, &store, a).await;
        let mut page = end(id, world.now(), b, Outcome::Created, Some(version(0, Op::Create, Some("b"))));
        page.segments.push(SegmentEnd { id: a.id, outcome, etag: None, version: new });
        page.source_state = Some((SourceState::Failing, None));
        let error = store.finish_poll(page).await.expect_err(reason);
        assert!(matches!(error, Error::Conflict { .. }), "{error}");
        assert!(error.to_string().ends_with(&format!("main/a: {reason}")), "{error}");
        assert_eq!(file(&world), before, "{reason}");
        assert_eq!(world.number("SELECT count(*) FROM sources WHERE state = 'ok'"), 1);
        assert_eq!(world.number("SELECT outcome IS NULL FROM polls ORDER BY id DESC LIMIT 1"), 1);
        store
            .finish_poll(end(id, world.now(), a, Outcome::Failed, None))
            .await
            .expect("it can still end in another way");
    }
}

#[tokio::test]
async fn a_poll_ends_once() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let a = &declared.segments[0];
    let id = begin(&world, &store, a).await;
    store.finish_poll(end(id, world.now(), a, Outcome::NotFound, None)).await.expect("ended");
    for id in [id, PollId(77)] {
        let error =
            store.finish_poll(end(id, world.now(), a, Outcome::NotFound, None)).await.expect_err("not in flight");
        assert!(matches!(error, Error::Conflict { .. }), "{error}");
    }
    assert_eq!(world.number("SELECT not_found FROM segments"), 1);
}

#[tokio::test]
async fn a_page_of_a_list_ends_for_all_its_segments() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a", "b", "c"]).await;
    let [a, b, c] = [&declared.segments[0], &declared.segments[1], &declared.segments[2]];
    change(&world, &store, c, 0, Op::Create, Some("c")).await;
    let sweep = BeginPoll { source: MAIN, segment: None, kind: PollKind::Sweep, now: world.now() };
    let poll = store.begin_poll(sweep).await.expect("begun");
    let ends = [(a, Outcome::Created), (b, Outcome::Created), (c, Outcome::Unchanged)];
    let segments = ends.map(|(segment, outcome)| SegmentEnd {
        id: segment.id,
        outcome,
        etag: Some("e".to_owned()),
        version: outcome.made_version().then(|| version(0, Op::Create, Some("x"))),
    });
    let made = store
        .finish_poll(FinishPoll {
            poll,
            now: world.pass(5),
            outcome: Outcome::Updated,
            http_status: Some(200),
            bytes: Some(u64::MAX),
            usage: Some(f64::NAN),
            error: None,
            segments: segments.into(),
            source_state: Some((SourceState::Held, Some("wait".to_owned()))),
            held_until: None,
            pace: None,
        })
        .await
        .expect("ended");
    let keys: Vec<String> = made.iter().map(|entry| format!("{} v{} {}", entry.key, entry.seq, entry.op)).collect();
    assert_eq!(keys, ["main/a v1 create", "main/b v1 create"]);
    assert_eq!(world.number("SELECT count(*) FROM segments WHERE etag = 'e' AND state = 'present'"), 3);
    assert_eq!(world.number("SELECT count(*) FROM polls WHERE usage IS NULL AND bytes = 9223372036854775807"), 1);
    assert_eq!(world.number("SELECT count(*) FROM sources WHERE state = 'held' AND last_error = 'wait'"), 1);
}

#[tokio::test]
async fn what_is_told_of_a_version_is_what_readers_find() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let a = &declared.segments[0];
    change(&world, &store, a, 0, Op::Create, Some("1")).await;
    let mut new = version(1, Op::Update, Some("2"));
    new.cause = Some("schema".to_owned());
    new.modified_by = Some("Ann".to_owned());
    new.modified_at = Some(UnixMs(5));
    (new.revision, new.missed_revisions) = (Some(7), Some(2));
    new.changes = vec![replaced("x"), replaced("y")];
    let told = poll(&world, &store, a, Outcome::Updated, Some(new)).await.expect("written");
    let reader = Reader::open(world.file()).expect("opened");
    let found = reader.log(&segsync::store::LogFilter { limit: Some(1), ..Default::default() }).expect("read");
    assert_eq!(found, told);
    assert_eq!(found[0].changes, [replaced("x"), replaced("y")]);
}

#[tokio::test]
async fn failures_count_and_an_answer_ends_them() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let a = &declared.segments[0];
    let known = async |world: &World| {
        let declared = store.declare(vec![source("main", &["a"])], world.now()).await.expect("declared");
        let error: Option<String> =
            world.raw().query_row("SELECT last_error FROM segments", [], |row| row.get(0)).expect("a row");
        let latest = store.latest(a.id).await.expect("read");
        (declared.segments[0].failures, error.is_some(), latest.not_found)
    };
    for (outcome, after) in [
        (Outcome::Failed, (1, true, false)),
        (Outcome::Malformed, (2, true, false)),
        (Outcome::Throttled, (2, true, false)),
        (Outcome::Unauthorized, (2, true, false)),
        (Outcome::NotFound, (0, false, true)),
        (Outcome::Failed, (1, true, false)),
    ] {
        poll(&world, &store, a, outcome, None).await.expect("ended");
        assert_eq!(known(&world).await, after, "{outcome}");
    }
    change(&world, &store, a, 0, Op::Create, Some("{}")).await;
    assert_eq!(known(&world).await, (0, false, false));
}

#[tokio::test]
async fn a_source_keeps_the_time_since_it_is_so() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let a = &declared.segments[0];
    let mut since = Vec::new();
    for state in [SourceState::Unauthorized, SourceState::Unauthorized, SourceState::Ok] {
        let id = begin(&world, &store, a).await;
        let mut end = end(id, world.pass(1_000), a, Outcome::Unauthorized, None);
        end.source_state = Some((state, Some("401".to_owned())));
        store.finish_poll(end).await.expect("ended");
        since.push(world.number("SELECT state_since FROM sources") - START);
    }
    assert_eq!(since, [1_000, 1_000, 3_000]);
}

#[tokio::test]
async fn a_hold_is_told_until_another_replaces_it() {
    let world = World::new();
    let (mut store, declared) = tracking(&world, &["a"]).await;
    let a = &declared.segments[0];
    let both = || vec![source("main", &["a"]), source("other", &[])];
    let held = async |store: &Store, world: &World| {
        let declared = store.declare(both(), world.now()).await.expect("declared");
        [0, 1].map(|at| declared.sources[at].held_until)
    };
    assert_eq!(held(&store, &world).await, [None, None], "nobody asked to wait");
    let until = |after: i64| UnixMs(START + after);
    let state = |state| Some((state, None));
    for (outcome, asked, state, told) in [
        (Outcome::Throttled, Some(until(60_000)), state(SourceState::Held), until(60_000)),
        (Outcome::Failed, None, None, until(60_000)),
        // A good answer, and one that asks to wait all the same.
        (Outcome::NotFound, None, state(SourceState::Ok), until(60_000)),
        (Outcome::NotFound, Some(until(90_000)), state(SourceState::Ok), until(90_000)),
    ] {
        let id = begin(&world, &store, a).await;
        let mut end = end(id, world.pass(1_000), a, outcome, None);
        (end.held_until, end.source_state) = (asked, state);
        store.finish_poll(end).await.expect("ended");
        assert_eq!(held(&store, &world).await, [Some(told), None], "{outcome} {asked:?}");
        drop(store);
        store = world.open();
        assert_eq!(held(&store, &world).await, [Some(told), None], "another process knows: {outcome} {asked:?}");
    }
    assert_eq!(world.number("SELECT held_until FROM sources WHERE name = 'main'"), START + 90_000);
}

#[tokio::test]
async fn a_refused_end_holds_nothing() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let a = &declared.segments[0];
    let id = begin(&world, &store, a).await;
    let mut wrong = end(id, world.now(), a, Outcome::Updated, None);
    wrong.held_until = Some(UnixMs(START + 60_000));
    store.finish_poll(wrong).await.expect_err("its new version is missing");
    assert_eq!(world.number("SELECT count(*) FROM sources WHERE held_until IS NULL"), 1);
}

#[tokio::test]
async fn a_declared_source_tells_the_state_that_an_earlier_process_left() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a"]).await;
    let a = &declared.segments[0];
    assert_eq!(declared.sources[0].state, SourceState::Ok);
    let id = begin(&world, &store, a).await;
    let mut refused = end(id, world.now(), a, Outcome::Unauthorized, None);
    refused.source_state = Some((SourceState::Unauthorized, Some("401".to_owned())));
    store.finish_poll(refused).await.expect("ended");
    store.close().await.expect("closed");
    let (_store, declared) = tracking(&world, &["a"]).await;
    assert_eq!(declared.sources[0].state, SourceState::Unauthorized);
}

#[tokio::test]
async fn only_what_is_declared_is_tracked() {
    let world = World::new();
    let (store, declared) = tracking(&world, &["a", "b"]).await;
    let b = &declared.segments[1];
    let id = begin(&world, &store, b).await;
    let mut first = end(id, world.now(), b, Outcome::Created, Some(version(0, Op::Create, Some("b"))));
    first.segments[0].etag = Some("tag".to_owned());
    store.finish_poll(first).await.expect("ended");
    let declare = async |sources| store.declare(sources, world.now()).await.expect("declared");
    let keys = |declared: &segsync::store::Declared| -> Vec<String> {
        declared.segments.iter().map(|known| known.key.to_string()).collect()
    };

    let one = declare(vec![source("main", &["b", "b"]), source("other", &["b"])]).await;
    assert_eq!(keys(&one), ["main/b", "other/b"]);
    assert_eq!(one.segments[0].id, b.id);
    let latest = store.latest(b.id).await.expect("read");
    assert_eq!((latest.seq, latest.etag.as_deref(), latest.document), (1, Some("tag"), document("b")));
    assert_eq!(one.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(), ["main", "other"]);

    let never = "CREATE TRIGGER never BEFORE UPDATE ON segments BEGIN SELECT RAISE(ABORT, 'written'); END";
    world.raw().execute_batch(never).expect("made");
    let again = declare(vec![source("main", &["b"]), source("other", &["b"])]).await;
    assert_eq!(keys(&again), keys(&one), "the same again writes nothing of them");
    world.raw().execute_batch("DROP TRIGGER never").expect("dropped");

    let mut moved = source("main", &[]);
    (moved.all, moved.base_url) = (true, "https://elsewhere.example".to_owned());
    let all = declare(vec![moved]).await;
    assert_eq!(keys(&all), ["main/a", "main/b"], "all that the file knows of this source, and none of the other");
    let latest = store.latest(all.segments[1].id).await.expect("read");
    assert_eq!((latest.seq, latest.etag), (1, None), "another place's validator is worth nothing");
    assert_eq!(keys(&declare(vec![]).await), [""; 0]);
    assert_eq!(world.number("SELECT count(*) FROM segments"), 3, "nothing is forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beat_is_a_commit_like_any_other() {
    let world = World::new();
    let (store, _) = tracking(&world, &["a"]).await;
    let now = world.now();
    let later = segsync::clock::Now { wall: UnixMs(now.wall.0 + 7), ..now };
    store.beat(later).await.expect("written");
    assert_eq!(world.number("SELECT wall_ms FROM clock"), later.wall.0);
    store.close().await.expect("closed");
    assert!(store.beat(later).await.is_err());
}
