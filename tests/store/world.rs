//! A folder with one database, a clock that the test sets, and short words for polls.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use segsync::clock::{self, Clock, Now};
use segsync::model::{Change, ChangeOp, Op, Outcome, PollKind, SourceName, UnixMs};
use segsync::store::{
    BeginPoll, DeclareSource, Declared, Error, FinishPoll, Known, NewVersion, PollId, SegmentEnd, SourceId, Store,
    StoredDocument, VersionEntry,
};

pub(crate) const START: i64 = 1_769_851_800_000; // 2026-01-31T09:30:00Z
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
/// The source that [`tracking`] declares: the first row of its table.
pub(crate) const MAIN: SourceId = SourceId(1);

#[derive(Clone, Debug)]
pub(crate) struct Hands {
    pub(crate) wall: i64,
    pub(crate) boot_ms: i64,
    pub(crate) boot: Option<&'static str>,
}

#[derive(Clone)]
struct Face(Arc<Mutex<Hands>>);

impl clock::Source for Face {
    fn wall(&self) -> UnixMs {
        UnixMs(self.0.lock().unwrap().wall)
    }
    fn boot_ms(&self) -> i64 {
        self.0.lock().unwrap().boot_ms
    }
    fn boot_id(&self) -> Option<String> {
        self.0.lock().unwrap().boot.map(str::to_owned)
    }
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    face: Face,
}

impl World {
    pub(crate) fn new() -> Self {
        let hands = Hands { wall: START, boot_ms: 1_000_000, boot: Some("first boot") };
        Self { folder: tempfile::tempdir().expect("a folder"), face: Face(Arc::new(Mutex::new(hands))) }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("segsync.db")
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock::new(self.face.clone())
    }

    pub(crate) fn now(&self) -> Now {
        self.clock().now()
    }

    /// Time goes on, on all clocks.
    pub(crate) fn pass(&self, ms: i64) -> Now {
        self.set(|hands| {
            hands.wall += ms;
            hands.boot_ms += ms;
        });
        self.now()
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Hands)) {
        change(&mut self.face.0.lock().unwrap());
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(self.file(), &self.clock(), TIMEOUT).expect("opened")
    }

    /// A raw look into the file.
    pub(crate) fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.file()).expect("opened")
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.raw().query_row(sql, [], |row| row.get(0)).expect(sql)
    }
}

pub(crate) fn source(name: &str, segments: &[&str]) -> DeclareSource {
    DeclareSource {
        name: SourceName::new(name),
        provider: "provider".to_owned(),
        base_url: format!("https://{name}.example"),
        segments: segments.iter().map(|id| Arc::from(*id)).collect(),
        all: false,
    }
}

/// An open store that tracks these segments of one source.
pub(crate) async fn tracking(world: &World, segments: &[&str]) -> (Store, Declared) {
    let store = world.open();
    let declared = store.declare(vec![source("main", segments)], world.now()).await.expect("declared");
    assert_eq!(declared.sources[0].id, MAIN);
    (store, declared)
}

pub(crate) async fn begin(world: &World, store: &Store, segment: &Known) -> PollId {
    let (segment, now) = (Some(segment.id), world.now());
    store.begin_poll(BeginPoll { source: MAIN, segment, kind: PollKind::Get, now }).await.expect("begun")
}

pub(crate) fn document(text: &str) -> Option<StoredDocument> {
    Some(StoredDocument { text: text.into(), hash: *blake3::hash(text.as_bytes()).as_bytes() })
}

pub(crate) fn version(base: i64, op: Op, text: Option<&str>) -> NewVersion {
    NewVersion {
        base,
        op,
        cause: None,
        modified_at: None,
        modified_by: None,
        revision: None,
        missed_revisions: None,
        document: text.and_then(document),
        changes: Vec::new(),
    }
}

pub(crate) fn replaced(field: &str) -> Change {
    let (old, new) = (Some("1".to_owned()), Some("2".to_owned()));
    Change { op: ChangeOp::Replace, path: format!("$.{field}"), field: field.to_owned(), old, new }
}

/// The end of a GET.
pub(crate) fn end(
    poll: PollId,
    now: Now,
    segment: &Known,
    outcome: Outcome,
    version: Option<NewVersion>,
) -> FinishPoll {
    let answered = outcome.is_answer();
    FinishPoll {
        poll,
        now,
        outcome,
        http_status: answered.then_some(200),
        bytes: answered.then_some(10),
        usage: None,
        error: (!answered).then(|| "it went wrong".to_owned()),
        segments: vec![SegmentEnd { id: segment.id, outcome, etag: None, version }],
        source_state: None,
        held_until: None,
        pace: None,
    }
}

/// A whole poll of 50 milliseconds.
pub(crate) async fn poll(
    world: &World,
    store: &Store,
    segment: &Known,
    outcome: Outcome,
    version: Option<NewVersion>,
) -> Result<Vec<VersionEntry>, Error> {
    let poll = begin(world, store, segment).await;
    let now = world.pass(50);
    store.finish_poll(end(poll, now, segment, outcome, version)).await
}

/// A poll that makes a version.
pub(crate) async fn change(
    world: &World,
    store: &Store,
    segment: &Known,
    base: i64,
    op: Op,
    text: Option<&str>,
) -> VersionEntry {
    let outcome = match op {
        Op::Create => Outcome::Created,
        Op::Update => Outcome::Updated,
        Op::Delete => Outcome::Deleted,
        Op::Restore => Outcome::Restored,
    };
    let mut made = poll(world, store, segment, outcome, Some(version(base, op, text))).await.expect("written");
    assert_eq!(made.len(), 1);
    made.remove(0)
}

/// Every file of a folder with its bytes.
pub(crate) fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), std::fs::read(path).expect("read")))
        .collect();
    files.sort();
    files
}
