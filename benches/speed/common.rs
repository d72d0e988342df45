//! What the measurements share: segments, the simulated provider in a process of its own, a segsync beside it, clocks of
//! CPU time, and the table.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use comfy_table::Table;
use procfs::WithCurrentSystemInfo;
use procfs::process::Process;
use rusqlite::{Connection, OpenFlags};
use rustix::time::{ClockId, clock_gettime};
use segsync::simulator::{Provider, STATSIG_KEY, Settings, Simulator};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Requests in flight.
pub const CONCURRENCY: usize = 32;

pub fn id(number: usize) -> String {
    format!("segment_{number:06}")
}

/// A segment as Statsig tells it, of about 2 KB; each generation differs in one field.
pub fn segment(number: usize, generation: usize) -> String {
    let mut rules = String::new();
    for rule in 0..6 {
        let comma = if rule == 0 { "" } else { "," };
        let values: Vec<String> = (0..5).map(|value| format!("\"user-{number}-{rule}-{value}@example.org\"")).collect();
        write!(
            rules,
            r#"{comma}{{"id":"{number}:{rule}","baseID":"b{number}:{rule}","name":"rule {rule}","passPercentage":{},"environments":null,"conditions":[{{"type":"email","operator":"any","field":"email","targetValue":[{}]}}]}}"#,
            rule * 10,
            values.join(",")
        )
        .expect("written");
    }
    format!(
        r#"{{"id":"{}","name":"Segment {number}","description":"generation {generation}","type":"rule_based","isEnabled":true,"idType":"userID","count":null,"tags":["b","a","c"],"targetApps":[],"holdoutIDs":[],"team":"growth","teamID":null,"creatorName":"Ada","creatorEmail":"ada@example.org","creatorID":"u1","createdTime":1700000000000,"lastModifierName":"Grace","lastModifierEmail":"grace@example.org","lastModifierID":"u2","lastModifiedTime":1700000000000,"version":7,"rules":[{rules}]}}"#,
        id(number)
    )
}

/// The other process: holds `segments`, obeys lines of standard input, and ends with it.
pub async fn provide(segments: usize) {
    let simulator = Simulator::start(Settings::default().limited(&[])).await.expect("a simulator");
    let put = |generation| {
        (0..segments).for_each(|number| simulator.statsig().put_raw(&id(number), &segment(number, generation)));
    };
    put(0);
    println!("{}", simulator.base_url(Provider::Statsig));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.expect("readable") {
        put(line.parse().expect("a generation"));
        println!("done");
    }
}

/// Segments at a simulated provider, and a segsync that tracks them.
pub struct World {
    pub segments: usize,
    pub url: String,
    pub folder: TempDir,
    child: Child,
    input: ChildStdin,
    output: tokio::io::Lines<BufReader<ChildStdout>>,
    generation: usize,
}

impl World {
    pub async fn new(segments: usize) -> Self {
        let own = std::env::current_exe().expect("this program");
        let mut command = Command::new(own);
        command.args(["provide", &segments.to_string()]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts");
        let input = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped")).lines();
        let url = output.next_line().await.expect("readable").expect("a URL");
        Self { segments, url, folder: tempfile::tempdir().expect("a folder"), child, input, output, generation: 0 }
    }

    /// Changes one field of every segment.
    pub async fn edit(&mut self) {
        self.generation += 1;
        let line = format!("{}\n", self.generation);
        self.input.write_all(line.as_bytes()).await.expect("written");
        self.output.next_line().await.expect("readable").expect("done");
    }

    /// Where a configuration is that tracks every segment, without limits.
    pub fn configure(&self, fetch: &str, every: &str) -> PathBuf {
        let key = self.folder.path().join("key");
        std::fs::write(&key, STATSIG_KEY).expect("written");
        // All by name where each is asked for by itself: nothing else is asked for then.
        let ids: Vec<String> = (0..self.segments).map(id).collect();
        let segments = if fetch == "each" { format!("{ids:?}") } else { "\"all\"".to_owned() };
        let text = format!(
            "[store]\npath = \"speed.db\"\n[poll]\nevery = \"{every}\"\nconcurrency = {CONCURRENCY}\n[[source]]\nname = \"s\"\n\
             provider = \"statsig\"\nbase_url = {:?}\napi_key = {{ file = {key:?} }}\nlimits = []\nfetch = \"{fetch}\"\n\
             segments = {segments}\n",
            self.url
        );
        let path = self.folder.path().join("segsync.toml");
        std::fs::write(&path, text).expect("written");
        path
    }

    /// The highest id of the rows that fit, or 0.
    pub fn highest(&self, table: &str, fitting: &str) -> usize {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let file = Connection::open_with_flags(self.folder.path().join("speed.db"), flags).expect("opened");
        file.busy_timeout(Duration::from_secs(10)).expect("set");
        let sql = format!("SELECT coalesce(max(id), 0) FROM {table} WHERE {fitting}");
        let highest: i64 = file.query_row(&sql, [], |row| row.get(0)).expect("read");
        usize::try_from(highest).expect("positive")
    }

    /// Ends the other process.
    pub async fn end(mut self) {
        drop(self.input);
        self.child.wait().await.expect("it ends");
    }
}

/// What one round took: seconds by the clock, and of CPU in the process that works.
#[derive(Clone, Copy)]
pub struct Took {
    pub wall: f64,
    pub cpu: f64,
}

/// CPU time of this process so far.
pub fn own_cpu() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

/// CPU time of the processes that this one has waited for.
pub fn children_cpu() -> f64 {
    let stat = Process::myself().and_then(|own| own.stat()).expect("it tells");
    (stat.cutime + stat.cstime) as f64 / procfs::ticks_per_second() as f64
}

/// CPU time and resident bytes of another process.
pub fn of_process(pid: u32) -> (f64, u64) {
    let stat = Process::new(pid.cast_signed()).and_then(|process| process.stat()).expect("it tells");
    ((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64, stat.rss_bytes().get())
}

pub fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

pub fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}

/// What was measured, to be printed at the end.
#[derive(Default)]
pub struct Report {
    rows: RefCell<Vec<[String; 6]>>,
}

impl Report {
    fn row(&self, row: [String; 6]) {
        eprintln!("{}", row.join(" | "));
        self.rows.borrow_mut().push(row);
    }

    /// Something that is to reach a share of a floor; `rounds` are those of floor and ours, in `unit`.
    pub fn share(&self, what: &str, unit: &str, rounds: &[(f64, f64)], least: f64) {
        self.compare(what, unit, rounds, |ratio| format!("at least {least}: {}", word(ratio >= least)));
    }

    /// What can be reached at all: nothing is wanted of it.
    pub fn ratio(&self, what: &str, unit: &str, rounds: &[(f64, f64)]) {
        self.compare(what, unit, rounds, |_| String::new());
    }

    fn compare(&self, what: &str, unit: &str, rounds: &[(f64, f64)], wanted: impl Fn(f64) -> String) {
        let ratio = median(rounds.iter().map(|(floor, ours)| ours / floor).collect());
        let each: Vec<String> = rounds.iter().map(|(floor, ours)| format!("{:.2}", ours / floor)).collect();
        eprintln!("{what}: ratios {}", each.join(" "));
        let [floor, ours] = [
            median(rounds.iter().map(|round| round.0).collect()),
            median(rounds.iter().map(|round| round.1).collect()),
        ];
        let each = |value: f64| format!("{value:.0} {unit}");
        self.row([what.to_owned(), each(floor), each(ours), format!("{ratio:.2}"), wanted(ratio), String::new()]);
    }

    /// Something that has a most.
    pub fn most(&self, what: &str, unit: &str, value: f64, most: f64, note: &str) {
        let wanted = format!("at most {most} {unit}: {}", word(value <= most));
        let value = format!("{value:.1} {unit}");
        self.row([what.to_owned(), String::new(), value, String::new(), wanted, note.to_owned()]);
    }

    /// Something that is to stay the same within `band`; `farthest` is the ratio that is farthest from 1.
    pub fn flat(&self, what: &str, values: &str, farthest: f64, band: f64) {
        let wanted = format!("within {:.0} %: {}", band * 100.0, word((farthest - 1.0).abs() <= band));
        self.row([what.to_owned(), String::new(), values.to_owned(), format!("{farthest:.2}"), wanted, String::new()]);
    }

    /// Something to know that nothing was wanted of.
    pub fn note(&self, what: &str, floor: String, ours: String) {
        self.row([what.to_owned(), floor, ours, String::new(), String::new(), String::new()]);
    }
}

fn word(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = Table::new();
        table.set_header(["what", "floor", "ours", "ratio", "wanted", ""]);
        for row in &*self.rows.borrow() {
            table.add_row(row.clone());
        }
        write!(f, "{table}")
    }
}
