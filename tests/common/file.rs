//! A file with known times, and the program that reads it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use assert_cmd::cargo::CommandCargoExt;
use segsync::clock::{Clock, Now};
use segsync::diff::diff;
use segsync::document::{Document, parse};
use segsync::model::{Op, Outcome, PollKind, SegmentKey, SourceName, SourceState, UnixMs};
use segsync::provider::{self, Provider};
use segsync::store::{
    BeginPoll, DeclareSource, FinishPoll, NewVersion, SegmentEnd, SegmentId, SourceId, Store, StoredDocument,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

/// A database that is written as the daemon would, at times that the test chooses.
pub struct Fixture {
    pub folder: TempDir,
    pub store: Store,
    pub sources: HashMap<SourceName, SourceId>,
    pub segments: HashMap<SegmentKey, SegmentId>,
}

pub fn at(text: &str) -> UnixMs {
    UnixMs::parse(text).expect("a time")
}

pub fn now(wall: UnixMs) -> Now {
    Now { mono: Instant::now(), wall, boot_ms: 0 }
}

pub fn key(text: &str) -> SegmentKey {
    let (source, id) = text.split_once('/').expect("source/id");
    SegmentKey::new(SourceName::new(source), id)
}

impl Fixture {
    /// Sources as `name`, `provider`, ids; declared at `wall`.
    pub async fn new(wall: UnixMs, sources: &[(&str, &str, &[&str])]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path().join("x.db"), &Clock::system(), Duration::from_secs(10)).expect("opened");
        let declare = |(name, provider, ids): &(&str, &str, &[&str])| DeclareSource {
            name: SourceName::new(*name),
            provider: (*provider).to_owned(),
            base_url: "http://127.0.0.1:9".to_owned(),
            segments: ids.iter().map(|id| (*id).into()).collect(),
            all: false,
        };
        let declared = store.declare(sources.iter().map(declare).collect(), now(wall)).await.expect("declared");
        let sources = declared.sources.into_iter().map(|source| (source.name, source.id)).collect();
        let segments = declared.segments.into_iter().map(|known| (known.key, known.id)).collect();
        Self { folder, store, sources, segments }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("x.db")
    }

    /// One poll of a segment that ends as given.
    pub async fn poll(
        &self,
        name: &str,
        wall: UnixMs,
        outcome: Outcome,
        version: Option<NewVersion>,
        error: Option<&str>,
    ) {
        let key = key(name);
        let (source, segment) = (self.sources[&key.source], self.segments[&key]);
        let begin = BeginPoll { source, segment: Some(segment), kind: PollKind::Get, now: now(wall) };
        let poll = self.store.begin_poll(begin).await.expect("begun");
        let state = match outcome {
            Outcome::Unauthorized => Some((SourceState::Unauthorized, error.map(str::to_owned))),
            _ => None,
        };
        let end = FinishPoll {
            poll,
            now: now(wall),
            outcome,
            http_status: error.is_none().then_some(200),
            bytes: None,
            usage: None,
            error: error.map(str::to_owned),
            segments: vec![SegmentEnd { id: segment, outcome, etag: None, version }],
            source_state: state,
            held_until: None,
            pace: None,
        };
        self.store.finish_poll(end).await.expect("finished");
    }

    /// A poll that sees `document`, of a provider of the given name.
    pub async fn sees(&self, provider: &str, name: &str, wall: UnixMs, document: Value) {
        let provider = provider::by_name(provider).expect("a provider");
        let id = self.segments[&key(name)];
        let latest = self.store.latest(id).await.expect("read");
        let document = Document::new(document, provider.shape(), &[]);
        let (op, outcome) = match (latest.seq, &latest.document) {
            (0, _) => (Op::Create, Outcome::Created),
            (_, None) => (Op::Restore, Outcome::Restored),
            (_, Some(last)) if last.hash == *document.hash() => {
                return self.poll(name, wall, Outcome::Unchanged, None, None).await;
            }
            (_, Some(_)) => (Op::Update, Outcome::Updated),
        };
        let version = version(provider, &document, latest.seq, op, latest.document.as_ref(), latest.revision);
        self.poll(name, wall, outcome, Some(version), None).await;
    }

    /// A poll that finds it gone.
    pub async fn misses(&self, name: &str, wall: UnixMs) {
        let latest = self.store.latest(self.segments[&key(name)]).await.expect("read");
        let gone = NewVersion {
            base: latest.seq,
            op: Op::Delete,
            cause: None,
            modified_at: None,
            modified_by: None,
            revision: None,
            missed_revisions: None,
            document: None,
            changes: Vec::new(),
        };
        self.poll(name, wall, Outcome::Deleted, Some(gone), None).await;
    }

    /// The program with this database.
    pub fn segsync(&self, args: &[&str]) -> Command {
        let mut command = Command::cargo_bin("segsync").expect("built");
        command.current_dir(self.folder.path()).env_remove("SEGSYNC_CONFIG");
        command.args(args).arg("--db").arg(self.path());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.segsync(args).output().expect("ran"), &self.path())
    }
}

pub fn version(
    provider: &dyn Provider,
    document: &Document,
    base: i64,
    op: Op,
    last: Option<&StoredDocument>,
    revision: Option<i64>,
) -> NewVersion {
    let about = provider.about(document.value());
    let missed = about.revision.zip(revision).map(|(new, old)| new - old - 1).filter(|missed| *missed > 0);
    let changes = last.map(|last| diff(&parse(&last.text).expect("JSON"), document.value(), provider.shape()));
    NewVersion {
        base,
        op,
        cause: None,
        modified_at: about.modified_at,
        modified_by: about.modified_by,
        revision: about.revision,
        missed_revisions: missed,
        document: Some(StoredDocument { text: document.text().into(), hash: *document.hash() }),
        changes: changes.unwrap_or_default(),
    }
}

/// What a run said, with the database's path as `DB`.
pub struct Ran {
    pub out: String,
    pub err: String,
    pub code: Option<i32>,
}

impl Ran {
    pub fn of(output: Output, path: &std::path::Path) -> Self {
        let path = path.canonicalize().expect("there");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8").replace(&path.display().to_string(), "DB");
        Self { out: text(output.stdout), err: text(output.stderr), code: output.status.code() }
    }

    /// What it printed; it ended well and complained about nothing.
    pub fn well(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }

    /// The exit code and what it complained about; it printed nothing.
    pub fn complaint(self) -> (i32, String) {
        assert_eq!(self.out, "");
        (self.code.expect("it was not killed"), self.err)
    }
}

pub fn beta(percentage: u32, revision: u32, who: &str, modified: &str, more: &Value) -> Value {
    let mut document = json!({
        "id": "beta_users", "name": "Beta users", "type": "rule_based", "tags": ["core"], "version": revision,
        "lastModifierName": who, "lastModifiedTime": at(modified).0,
        "rules": [
            {"id": "r1", "name": "staff", "passPercentage": 100},
            {"id": "r2", "name": "beta testers", "passPercentage": percentage},
        ],
    });
    for (name, value) in more.as_object().expect("an object") {
        document[name] = value.clone();
    }
    document
}

/// One day of two sources.
pub async fn one_day() -> Fixture {
    let file = Fixture::new(
        at("2026-01-31T08:00:00Z"),
        &[("web", "statsig", &["beta_users", "old", "never"]), ("crm", "octave", &["sg_1", "old"])],
    )
    .await;
    let first = beta(10, 6, "Ana Lopez", "2026-01-30T16:00:00Z", &json!({}));
    file.sees("statsig", "web/beta_users", at("2026-01-31T09:00:00Z"), first.clone()).await;
    file.sees("octave", "crm/sg_1", at("2026-01-31T09:01:00Z"), json!({"oId": "sg_1", "n": 12345678901234567890_u64}))
        .await;
    file.sees("statsig", "web/beta_users", at("2026-01-31T09:14:03Z"), first).await;
    let long = "fintech companies of 50 to 500 people that sell to other companies in Europe and North America";
    let more = json!({"tags": ["core", "eu"], "description": long});
    let mut second = beta(20, 9, "Bo", "2026-01-31T09:17:40Z", &more);
    second["rules"].as_array_mut().expect("rules").swap(0, 1);
    file.sees("statsig", "web/beta_users", at("2026-01-31T09:19:02.500Z"), second).await;
    file.sees("statsig", "web/old", at("2026-01-31T10:00:00Z"), json!({"id": "old", "name": "Old"})).await;
    file.misses("web/old", at("2026-02-01T10:05:00Z")).await;
    file
}
