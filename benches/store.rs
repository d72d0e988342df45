//! The file: how large it gets, how fast its past is read, and how long others wait while old rows are let go.
//!
//!     cargo bench --bench store                       # 1,000,000 changes, 1,000,000 polls; some minutes, 1.5 GB of disk
//!     cargo bench --bench store -- 1000 34 100000     # segments, versions of each, polls
//!
//! A history of 1,000 segments is imported, three fields a version, a year long. Each figure stands beside its floor, taken in
//! the same run: for SQL the plain SELECT of the same rows by their keys, for a verb the start of the process, for a step of
//! letting go the commit of a single row. Times are medians, of steps also the 99th percentile and the longest. Ends with an
//! error where a target is missed.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a program for people, which may end with an error")]

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use comfy_table::Table;
use rusqlite::{Connection, params};
use segsync::clock::Clock;
use segsync::daemon::Steps;
use segsync::model::{Outcome, PollKind, SourceName, UnixMs};
use segsync::poll::{Import, import};
use segsync::store::{BeginPoll, Cursor, DeclareSource, FinishPoll, SegmentEnd, Store};

const YEAR_MS: i64 = 365 * 86_400_000;
/// A measurement is the median of so many.
const TIMES: usize = 15;
/// Between two steps, so that each begins with an empty queue.
const PAUSE: Duration = Duration::from_millis(2);

/// How much there is.
#[derive(Clone, Copy)]
struct Size {
    segments: i64,
    versions: i64,
    polls: i64,
}

/// The table, and whether all targets were reached.
struct Report {
    table: Table,
    is_well: bool,
}

impl Report {
    /// A time beside its floor, and the most that it may be.
    fn time(&mut self, what: &str, floor: Duration, ours: Duration, most_ms: Option<f64>) {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let is_well = most_ms.is_none_or(|most| ms(ours) <= most);
        let wanted = most_ms.map(|most| format!("≤ {most} ms")).unwrap_or_default();
        let ratio = format!("{:.1}", ours.as_secs_f64() / floor.as_secs_f64().max(1e-9));
        self.row(
            [what.to_owned(), format!("{:.2} ms", ms(floor)), format!("{:.2} ms", ms(ours)), ratio, wanted],
            is_well,
        );
    }

    fn row(&mut self, cells: [String; 5], is_well: bool) {
        self.is_well &= is_well;
        let cells = cells.into_iter().chain([if is_well { "" } else { "missed" }.to_owned()]);
        self.table.add_row(cells.collect::<Vec<_>>());
    }
}

fn main() -> ExitCode {
    let args: Vec<i64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let arg = |at: usize, usual| args.get(at).copied().unwrap_or(usual);
    let size = Size { segments: arg(0, 1000), versions: arg(1, 335), polls: arg(2, 1_000_000) };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("segsync.db");
    let mut table = Table::new();
    table.set_header(["what", "floor", "ours", "ratio", "wanted", ""]);
    let mut report = Report { table, is_well: true };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let now = Clock::system().now().wall.0;

    grow(&path, &size, now, &mut report);
    read(&path, &size, now, &mut report);
    verbs(&path, now, &mut report);
    runtime.block_on(let_polls_go(&path, &size, &mut report));
    runtime.block_on(let_versions_go(&path, now, &mut report));
    println!("{}", report.table);
    if report.is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn open(path: &Path) -> Store {
    Store::open(path, &Clock::system(), Duration::from_secs(10)).expect("opened")
}

fn count(path: &Path, sql: &str) -> i64 {
    Connection::open(path).expect("opened").query_row(sql, [], |row| row.get(0)).expect(sql)
}

/// Bytes of the file that hold something.
fn used(path: &Path) -> i64 {
    count(
        path,
        "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
    )
}

/// A document of about 500 bytes: what is edited in version `v` is its description or a pass percentage, one of 1,000
/// target values, and when it was modified.
fn document(segment: i64, version: i64, at: i64) -> String {
    let rules: Vec<String> = (0..3)
        .map(|rule| {
            let edits = (version + 2 - rule) / 3;
            format!(
                r#"{{"conditions":[{{"operator":"any","targetValue":"t{}","type":"custom_field"}}],"id":"r{}","name":"rule {}","passPercentage":{}}}"#,
                edits % 1000,
                segment % 50 * 10 + rule,
                segment % 50 * 10 + rule,
                if version % 2 == 0 { 10 } else { edits % 100 }
            )
        })
        .collect();
    format!(
        r#"{{"description":"What this segment is for, in a sentence or two.","id":"seg_{segment}","lastModifiedTime":{at},"lastModifierName":"Ann","name":"Segment {segment}","rules":[{}],"tags":["team"]}}"#,
        rules.join(",")
    )
}

/// Lines of observations, made as they are read.
struct Lines {
    size: Size,
    begin: i64,
    next: i64,
    ready: Vec<u8>,
    at: usize,
}

impl Read for Lines {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.ready.len() {
            let all = self.size.segments * self.size.versions;
            (self.at, self.ready) = (0, Vec::new());
            if self.next < all {
                let (version, segment) = (self.next / self.size.segments, self.next % self.size.segments);
                let at = self.begin + self.next * (YEAR_MS / all);
                let document = document(segment, version, at - 5000);
                self.ready = format!("{{\"provider\":\"statsig\",\"id\":\"seg_{segment}\",\"observed_at\":{at},\"document\":{document}}}\n").into();
                self.next += 1;
            }
        }
        let taken = (self.ready.len() - self.at).min(into.len());
        into[..taken].copy_from_slice(&self.ready[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

/// Imports the history, and tells what it costs.
fn grow(path: &Path, size: &Size, now: i64, report: &mut Report) {
    let store = open(path);
    let empty = used(path);
    let size = *size;
    let lines = Lines { size, begin: now - YEAR_MS, next: 0, ready: Vec::new(), at: 0 };
    let how = Import { source: Some(SourceName::new("prod")), configured: Vec::new(), partial: false };
    let began = Instant::now();
    let done =
        import(&store, Clock::system().now(), &mut BufReader::new(lines), how, &mut |_, _| ()).expect("imported");
    let took = began.elapsed();
    drop(store);
    let changes = count(path, "SELECT count(*) FROM changes");
    let documents = count(path, "SELECT sum(length(CAST(document AS BLOB))) FROM versions");
    println!(
        "{} versions, {changes} changes imported in {:.1} s ({:.0} versions/s); the file has {:.1} MB, {:.1} MB of them documents",
        done.versions,
        took.as_secs_f64(),
        per_second(done.versions, took),
        megabytes(used(path)),
        megabytes(documents)
    );
    let values = count(
        path,
        "SELECT sum(length(CAST(path AS BLOB)) + length(CAST(field AS BLOB)) + coalesce(length(CAST(old AS BLOB)), 0)
            + coalesce(length(CAST(new AS BLOB)), 0)) FROM changes",
    );
    let each = (used(path) - empty - documents) / changes.max(1);
    let cells = [
        "bytes a changed field, beyond documents; floor: its path, field, old and new".to_owned(),
        (values / changes.max(1)).to_string(),
        each.to_string(),
        format!("{:.1}", to_f64(each) / to_f64(values / changes.max(1))),
        "≤ 250".to_owned(),
    ];
    report.row(cells, each <= 250);
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than a double can count")]
fn to_f64(number: i64) -> f64 {
    number as f64
}

fn megabytes(bytes: i64) -> f64 {
    to_f64(bytes) / 1e6
}

fn per_second(number: u64, time: Duration) -> f64 {
    to_f64(i64::try_from(number).unwrap_or(i64::MAX)) / time.as_secs_f64()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn timed(mut work: impl FnMut()) -> Duration {
    let one = |work: &mut dyn FnMut()| {
        let began = Instant::now();
        work();
        began.elapsed()
    };
    one(&mut work);
    median((0..TIMES).map(|_| one(&mut work)).collect())
}

/// Reads every column of every row; returns how many rows there were.
fn drain(connection: &Connection, sql: &str) -> usize {
    let mut statement = connection.prepare(sql).expect(sql);
    let columns = statement.column_count();
    let mut rows = statement.query([]).expect(sql);
    let mut found = 0;
    while let Some(row) = rows.next().expect(sql) {
        for at in 0..columns {
            std::hint::black_box(row.get_ref(at).expect("a column"));
        }
        found += 1;
    }
    found
}

/// SQL on the views.
fn read(path: &Path, size: &Size, now: i64, report: &mut Report) {
    let db = Connection::open(path).expect("opened");
    let field: String = db
        .query_row(
            "SELECT field FROM changes WHERE field LIKE '%passPercentage' GROUP BY 1 ORDER BY count(*) DESC LIMIT 1",
            [],
            |row| row.get(0),
        )
        .expect("a field");
    for (what, term) in [
        ("by time", String::new()),
        ("of one segment", "WHERE source = 'prod' AND segment = 'seg_7'".to_owned()),
        ("of a field that changes often", "WHERE field = 'lastModifiedTime'".to_owned()),
        ("of a field that changes rarely", format!("WHERE field = '{field}'")),
    ] {
        let sql = format!("SELECT * FROM change_log {term} ORDER BY observed_at DESC LIMIT 50");
        // The same rows by their keys.
        let mut statement = db
            .prepare(&format!(
                "SELECT source, segment, version, field FROM change_log {term} ORDER BY observed_at DESC LIMIT 50"
            ))
            .expect("prepared");
        let keys: Vec<(i64, i64)> = statement
            .query_map([], |row| {
                let (source, segment): (String, String) = (row.get(0)?, row.get(1)?);
                let (version, field): (i64, Option<String>) = (row.get(2)?, row.get(3)?);
                db.query_row(
                    "SELECT v.id, (SELECT c.ordinal FROM changes AS c WHERE c.version_id = v.id AND c.field = ?4)
                     FROM versions AS v JOIN segments AS s ON s.id = v.segment_id
                     JOIN sources AS r ON r.id = s.source_id
                     WHERE r.name = ?1 AND s.key = ?2 AND v.seq = ?3",
                    params![source, segment, version, field],
                    |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.unwrap_or(0))),
                )
            })
            .expect("rows")
            .map(|key| key.expect("a key"))
            .collect();
        assert_eq!(keys.len(), 50);
        let floor = timed(|| {
            let mut one =
                db.prepare_cached("SELECT * FROM changes WHERE version_id = ?1 AND ordinal = ?2").expect("prepared");
            for (version, ordinal) in &keys {
                one.query_row(params![version, ordinal], |_| Ok(())).unwrap_or(());
            }
        });
        let ours = timed(|| assert_eq!(drain(&db, &sql), 50));
        report.time(&format!("change_log, newest 50 {what}"), floor, ours, Some(5.0));
    }
    for (what, share) in [("early", 10), ("in the middle", 50), ("late", 97)] {
        let at = UnixMs(now - YEAR_MS + YEAR_MS / 100 * share);
        let term = format!("valid_from <= '{at}' AND (valid_to IS NULL OR valid_to > '{at}')");
        let sql = format!("SELECT source, segment, document FROM segment_history WHERE {term}");
        let mut statement = db
            .prepare("SELECT id FROM versions WHERE observed_at <= ?1 AND (valid_to IS NULL OR valid_to > ?1)")
            .expect("prepared");
        let ids: Vec<i64> =
            statement.query_map([at.0], |row| row.get(0)).expect("rows").map(|id| id.expect("an id")).collect();
        let floor = timed(|| {
            let mut one =
                db.prepare_cached("SELECT segment_id, document FROM versions WHERE id = ?1").expect("prepared");
            for id in &ids {
                one.query_row([id], |row| row.get::<_, String>(1)).expect("a document");
            }
        });
        let ours = timed(|| assert_eq!(i64::try_from(drain(&db, &sql)).ok(), Some(size.segments)));
        report.time(&format!("segment_history, all segments as of a time {what}"), floor, ours, Some(50.0));
    }
}

/// Whole processes.
fn verbs(path: &Path, now: i64, report: &mut Report) {
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segsync"));
        let ended = command.args(args).arg("--db").arg(path).stdout(Stdio::null()).stderr(Stdio::null()).status();
        ended.expect("it starts");
    };
    let floor = timed(|| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segsync"));
        command.arg("--version").stdout(Stdio::null()).status().expect("it starts");
    });
    let at = |share: i64| UnixMs(now - YEAR_MS + YEAR_MS / 100 * share).to_string();
    let (early, late) = (at(10), at(97));
    for (args, most) in [
        (&["log", "-n", "50"][..], Some(30.0)),
        (&["log", "prod/seg_7", "-n", "50"], Some(30.0)),
        (&["log", "-n", "50", "--field", "lastModifiedTime"], Some(30.0)),
        (&["log", "-n", "50", "--field", "rules*passPercentage"], Some(30.0)),
        (&["log", "-n", "50", "--field", "rules[rule 70].passPercentage"], Some(30.0)),
        (&["log", "-n", "50", "--op", "move"], None),
        (&["log", "-n", "50", "--op", "delete"], None),
        (&["show", "prod/seg_7", "--at", &early], Some(20.0)),
        (&["show", "prod/seg_7", "--at", &late], Some(20.0)),
    ] {
        let ours = timed(|| run(args));
        report.time(&format!("segsync {}", args.join(" ")), floor, ours, most);
    }
}

/// How long each of many steps took.
fn steps(report: &mut Report, what: &str, floor: Vec<Duration>, mut took: Vec<Duration>, rows: usize) {
    if took.is_empty() {
        return;
    }
    took.sort_unstable();
    let longest = took[took.len() - 1];
    let late = took[(took.len() * 99 / 100).min(took.len() - 1)];
    let mut floor = floor;
    floor.sort_unstable();
    let (usual, floor_late) = (floor[floor.len() / 2], floor[(floor.len() * 99 / 100).min(floor.len() - 1)]);
    let over = took.iter().filter(|took| **took > Duration::from_millis(20)).count();
    println!("{what}: {rows} rows in {} steps, {over} of them longer than 20 ms", took.len());
    report.time(&format!("{what}, a step with its commit: median"), usual, took[took.len() / 2], Some(20.0));
    report.time(&format!("{what}: 99th percentile"), floor_late, late, Some(20.0));
    report.time(&format!("{what}: longest"), floor[floor.len() - 1], longest, None);
}

/// Commits of a single row.
async fn beats(store: &Store, clock: &Clock) -> Vec<Duration> {
    let mut took = Vec::new();
    for _ in 0..300 {
        let began = Instant::now();
        store.beat(clock.now()).await.expect("committed");
        took.push(began.elapsed());
        std::thread::sleep(PAUSE);
    }
    took
}

/// Requests that brought nothing new: what is left of them, and how long it takes to let them go.
async fn let_polls_go(path: &Path, size: &Size, report: &mut Report) {
    let clock = Clock::system();
    let store = open(path);
    let declare = DeclareSource {
        name: SourceName::new("prod"),
        provider: "statsig".to_owned(),
        base_url: "https://x.example".to_owned(),
        segments: (0..size.segments).map(|segment| Arc::from(format!("seg_{segment}"))).collect(),
        all: false,
    };
    let declared = store.declare(vec![declare], clock.now()).await.expect("declared");
    let (source, segment) = (declared.sources[0].id, declared.segments[0].id);
    let before = used(path);
    for _ in 0..1000 {
        let poll = BeginPoll { source, segment: Some(segment), kind: PollKind::Get, now: clock.now() };
        let poll = store.begin_poll(poll).await.expect("begun");
        let end = FinishPoll {
            poll,
            now: clock.now(),
            outcome: Outcome::Unchanged,
            http_status: Some(200),
            bytes: Some(500),
            usage: None,
            error: None,
            segments: vec![SegmentEnd { id: segment, outcome: Outcome::Unchanged, etag: None, version: None }],
            source_state: None,
            held_until: None,
            pace: None,
        };
        store.finish_poll(end).await.expect("finished");
    }
    let after = used(path);
    // The others as a busy daemon leaves them in a week.
    let raw = Connection::open(path).expect("opened");
    raw.execute(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
         INSERT INTO polls (source_id, segment_id, kind, started_at, finished_at, outcome, http_status, bytes, boot_ms)
         SELECT ?2, 1 + n % ?3, 'get', ?4 + n, ?4 + n + 50, 'unchanged', 200, 500, n FROM n",
        params![size.polls, source, size.segments, clock.now().wall.0],
    )
    .expect("inserted");
    let full = used(path);
    drop(raw);
    let floor = beats(&store, &clock).await;
    let (mut took, mut size_of_step, mut rows) = (Vec::new(), Steps::default(), 0);
    loop {
        let mut now = clock.now();
        // A week later on all clocks.
        (now.wall, now.boot_ms) = (UnixMs(now.wall.0 + 2 * YEAR_MS), now.boot_ms + 2 * YEAR_MS);
        let began = Instant::now();
        let removed = store.prune(now, Duration::from_secs(7 * 86_400), size_of_step.size()).await.expect("pruned");
        let time = began.elapsed();
        if removed == 0 {
            break;
        }
        rows += removed;
        size_of_step.took(time, removed);
        took.push(time);
        std::thread::sleep(PAUSE);
    }
    steps(report, "polls let go", floor, took, rows);
    store.close().await.expect("closed");
    println!(
        "a poll that brought nothing: {} bytes, {} as a week of them; all polls let go: {} bytes more than before the first",
        (after - before) / 1000,
        (full - after) / size.polls,
        used(path) - before
    );
    let left = (used(path) - before).max(0) / (size.polls + 1000);
    report.row(["bytes an unchanged poll, once let go", "0", &left.to_string(), "", "0"].map(str::to_owned), left == 0);
}

/// Half a year of versions is let go.
async fn let_versions_go(path: &Path, now: i64, report: &mut Report) {
    let clock = Clock::system();
    let store = open(path);
    let floor = beats(&store, &clock).await;
    let (mut took, mut size_of_step, mut rows, mut from) = (Vec::new(), Steps::default(), 0, Cursor::START);
    loop {
        let began = Instant::now();
        let done =
            store.compact(clock.now(), UnixMs(now - YEAR_MS / 2), from, size_of_step.size()).await.expect("compacted");
        let time = began.elapsed();
        rows += done.removed;
        size_of_step.took(time, done.removed + done.odd);
        took.push(time);
        let Some(next) = done.next else { break };
        from = next;
        std::thread::sleep(PAUSE);
    }
    steps(report, "versions let go", floor, took, rows);
    store.close().await.expect("closed");
    let path = PathBuf::from(path);
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_segsync"));
    let ended = command.args(["-q", "verify", "--db"]).arg(&path).status().expect("it starts");
    println!("verify of what is left: {:.1} s", began.elapsed().as_secs_f64());
    assert!(ended.success(), "the file is whole");
}
