//! What outlives a process: the rows of `polls`. In memory, by the store's own rule, so that thousands of lives take
//! seconds; and beside it, where asked for, in the real store, which must tell the same.

use std::time::Duration;

use segsync::clock::{Clock, Now};
use segsync::model::{Outcome, PollKind, SourceName, Spent};
use segsync::store::{BeginPoll, DeclareSource, FinishPoll, PollId, SourceId, Store};
use tempfile::TempDir;

/// The rows, written by every process of a case in turn.
pub(crate) struct Book {
    rows: Vec<Row>,
    boot: Option<String>,
    /// The clocks at the last write.
    last_boot_ms: i64,
    /// The first row of this boot.
    first: usize,
    file: Option<File>,
}

struct Row {
    wall: i64,
    boot_ms: i64,
    has_ended: bool,
    answered: bool,
}

/// The real thing: two sources of one account, which take turns.
struct File {
    folder: TempDir,
    store: Option<Store>,
}

const SOURCES: [&str; 2] = ["one", "two"];

impl Book {
    pub(crate) fn new(real: bool) -> Self {
        let file = || File { folder: tempfile::tempdir().expect("a folder"), store: None };
        Self { rows: Vec::new(), boot: None, last_boot_ms: 0, first: 0, file: real.then(file) }
    }

    /// A process starts.
    pub(crate) async fn open(&mut self, clock: &Clock, timeout: Duration) {
        let (now, boot) = (clock.now(), clock.boot_id());
        if self.boot.is_none() || self.boot != boot || self.last_boot_ms > now.boot_ms {
            (self.boot, self.first, self.last_boot_ms) = (boot, self.rows.len(), now.boot_ms);
        }
        for (id, row) in self.rows.iter_mut().enumerate().filter(|(_, row)| !row.has_ended) {
            row.has_ended = true;
            row.wall = now.wall.0.max(row.wall + ms(timeout));
            row.boot_ms = if id >= self.first { now.boot_ms.max(row.boot_ms + ms(timeout)) } else { row.boot_ms };
        }
        if let Some(file) = &mut self.file {
            let store = Store::open(file.folder.path().join("db"), clock, timeout).expect("opened");
            let declare = |name: &str| DeclareSource {
                name: SourceName::new(name),
                provider: "provider".to_owned(),
                base_url: "https://provider.example".to_owned(),
                segments: Vec::new(),
                all: false,
            };
            store.declare(SOURCES.map(declare).to_vec(), now).await.expect("declared");
            file.store = Some(store);
        }
    }

    /// The process is gone; what it had in flight stays open.
    pub(crate) async fn close(&mut self) {
        if let Some(store) = self.file.as_mut().and_then(|file| file.store.take()) {
            store.close().await.expect("closed");
        }
    }

    /// A request is about to be sent.
    pub(crate) async fn begin(&mut self, now: Now) -> usize {
        self.rows.push(Row { wall: now.wall.0, boot_ms: now.boot_ms, has_ended: false, answered: false });
        self.last_boot_ms = now.boot_ms;
        if let Some(store) = self.store() {
            let source = SourceId(if self.rows.len().is_multiple_of(2) { 2 } else { 1 });
            let begun = store.begin_poll(BeginPoll { source, segment: None, kind: PollKind::Sweep, now }).await;
            assert_eq!(begun.expect("begun").0, i64::try_from(self.rows.len()).expect("few"));
        }
        self.rows.len() - 1
    }

    /// It has ended.
    pub(crate) async fn finish(&mut self, row: usize, answered: bool, now: Now) {
        self.last_boot_ms = now.boot_ms;
        self.rows[row] = Row { wall: now.wall.0, boot_ms: now.boot_ms, has_ended: true, answered };
        if let Some(store) = self.store() {
            let finish = FinishPoll {
                poll: PollId(i64::try_from(row + 1).expect("few")),
                now,
                outcome: if answered { Outcome::Unchanged } else { Outcome::Failed },
                http_status: answered.then_some(200),
                bytes: None,
                usage: None,
                error: None,
                segments: Vec::new(),
                source_state: None,
                held_until: None,
                pace: None,
            };
            store.finish_poll(finish).await.expect("finished");
        }
    }

    /// What a new budget has to know.
    pub(crate) async fn spent(&self, at_least: usize, timeout: Duration, now: Now) -> Vec<Spent> {
        let ago = |(id, row): (usize, &Row)| {
            let age = if id >= self.first { now.boot_ms - row.boot_ms } else { now.wall.0 - row.wall };
            let sure = (age - 1).max(-ms(timeout));
            let ended_ago_ms = if row.has_ended { sure } else { (sure - ms(timeout)).min(0) };
            Spent { ended_ago_ms, unanswered: !row.answered }
        };
        let told: Vec<Spent> = self.rows.iter().enumerate().rev().take(at_least * 2).map(ago).collect();
        if let Some(store) = self.store() {
            let sources = vec![SourceId(1), SourceId(2)];
            assert_eq!(store.spent(sources, at_least, timeout, now).await.expect("told"), told, "as the store tells");
        }
        told
    }

    fn store(&self) -> Option<&Store> {
        self.file.as_ref()?.store.as_ref()
    }
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).expect("short")
}
