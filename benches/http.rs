//! A cached read of the local API beside a bare axum handler that answers with the same bytes, while segsync polls and
//! commits as much as the simulated providers allow.
//!
//!     cargo bench --bench http                 # needs wrk (Debian: apt install wrk); about two minutes
//!     cargo bench --bench http -- 7 10s 64     # rounds, time of each measurement, connections
//!
//! Four processes on one machine: the simulated providers, `segsync run`, the bare handler, and wrk. The two servers are
//! measured in turns, first the one, then the other, so that what else the machine does meets both; the table has each
//! round and the medians. Ends with an error where a target is missed, an answer was no 200, or the provider's limits
//! were not used up.

#![allow(clippy::expect_used, clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
#![allow(clippy::panic, reason = "a program for people, which may end with an error")]

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use comfy_table::Table;
use segsync::simulator::lively::Script;
use segsync::simulator::statsig::{Condition, Rule, Segment, Target};
use segsync::simulator::{Limit, OCTAVE_KEY, Provider, STATSIG_KEY, Settings, Simulator};
use segsync::transport::choose_algorithms;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval, sleep};

/// At least this share of the bare handler's requests per second …
const RATE: f64 = 0.7;
/// … and at most so many times its 99th percentile.
const P99: f64 = 2.0;
/// At least this share of what the providers allow must have been polled meanwhile.
const USED: f64 = 0.9;
/// What the simulated providers allow, each.
const REQUESTS: usize = 100;
const PER: Duration = Duration::from_secs(10);
/// Time between two edits: about as many versions as polls can see.
const EDIT_EVERY: Duration = Duration::from_millis(100);
/// The segment that is read. Nobody edits it, but polls go on to confirm it.
const MEASURED: &str = "measured";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    choose_algorithms();
    match args.first().map(String::as_str) {
        Some("providers") => runtime.block_on(providers()),
        Some("bare") => runtime.block_on(bare()),
        _ => return runtime.block_on(measure(&args)),
    }
    ExitCode::SUCCESS
}

/// Simulated providers with people who edit; prints where they are, and ends with standard input.
async fn providers() {
    let limit = Limit { requests: REQUESTS, per: PER };
    let simulator = Simulator::start(Settings::default().limited(&[limit])).await.expect("a simulator");
    let conditions =
        |number: usize| vec![Condition::custom("plan", "any", Target::texts(&["pro", "team", &number.to_string()]))];
    let rules = (0..10).map(|number| Rule::new(&format!("rule {number}"), conditions(number))).collect();
    simulator.statsig().add(Segment::rule_based(MEASURED, rules));
    let mut script = Script::new(1, simulator.statsig(), simulator.octave());
    println!("{}", simulator.base_url(Provider::Statsig));
    println!("{}", simulator.base_url(Provider::Octave));
    let edits = async {
        let mut next = interval(EDIT_EVERY);
        while script.step().is_ok() {
            next.tick().await;
        }
    };
    tokio::select! {
        () = async { edits.await; std::future::pending().await } => (),
        () = parent_is_gone() => (),
    }
    println!("{}", simulator.violations());
}

/// Answers every request with what came in on standard input.
async fn bare() {
    let mut input = BufReader::new(tokio::io::stdin());
    let mut length = String::new();
    input.read_line(&mut length).await.expect("a length");
    let mut body = vec![0; length.trim().parse().expect("a number")];
    input.read_exact(&mut body).await.expect("a body");
    let body = Bytes::from(body);
    let handler = get(async move || ([(CONTENT_TYPE, "application/json")], body.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    println!("http://{}/", listener.local_addr().expect("an address"));
    let router = axum::Router::new().route("/", handler);
    tokio::select! {
        ended = async { axum::serve(listener, router).await } => ended.expect("it serves"),
        () = async { while input.read_u8().await.is_ok() {} } => (),
    }
}

async fn parent_is_gone() {
    let mut input = tokio::io::stdin();
    while input.read_u8().await.is_ok() {}
}

/// What wrk told of one run.
#[derive(Clone, Copy)]
struct Run {
    rate: f64,
    p99: Duration,
}

async fn measure(args: &[String]) -> ExitCode {
    let arg = |at: usize, usual: &str| args.get(at).map_or(usual.to_owned(), Clone::clone);
    let rounds: usize = arg(0, "5").parse().expect("rounds: a number");
    let (span, connections) = (arg(1, "5s"), arg(2, "32"));
    if Command::new("wrk").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().await.is_err() {
        eprintln!("wrk is not installed (Debian: apt install wrk): nothing was measured");
        return ExitCode::FAILURE;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let own = std::env::current_exe().expect("this program");
    let mut providers = start(Command::new(&own).arg("providers"));
    let mut told = BufReader::new(providers.stdout.take().expect("piped")).lines();
    let [statsig, octave] = [next(&mut told).await, next(&mut told).await];
    let api = configure(folder.path(), &statsig, &octave);
    let log = std::fs::File::create(folder.path().join("log")).expect("a file");
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_segsync"));
    let daemon = daemon.args(["run", "-c"]).arg(folder.path().join("segsync.toml")).stderr(log);
    let _daemon = start(daemon);
    let (url, body) = wait_for_the_segment(&api).await;

    let mut bare = start(Command::new(&own).arg("bare"));
    let input = bare.stdin.as_mut().expect("piped");
    input.write_all(format!("{}\n", body.len()).as_bytes()).await.expect("written");
    input.write_all(&body).await.expect("written");
    let bare_url = next(&mut BufReader::new(bare.stdout.take().expect("piped")).lines()).await;

    let (polls_before, versions_before) = counts(&api).await;
    let (began, mut runs) = (Instant::now(), Vec::new());
    // Once each, unmeasured.
    wrk(&url, "1s", &connections).await;
    wrk(&bare_url, "1s", &connections).await;
    for round in 0..rounds {
        // Who goes first changes, for the machine may tire.
        let (ours, theirs) = if round % 2 == 0 {
            let ours = wrk(&url, &span, &connections).await;
            (ours, wrk(&bare_url, &span, &connections).await)
        } else {
            let theirs = wrk(&bare_url, &span, &connections).await;
            (wrk(&url, &span, &connections).await, theirs)
        };
        runs.push((ours, theirs));
    }
    let took = began.elapsed();
    let (polls, versions) = counts(&api).await;
    drop(providers.stdin.take());
    let violations: u64 = next(&mut told).await.parse().expect("a number");

    println!("{url}\n{} bytes, {connections} connections, {rounds} rounds of {span} each\n", body.len());
    let well = table(&runs);
    let possible = 2.0 * REQUESTS as f64 / PER.as_secs_f64() * took.as_secs_f64();
    let used = (polls - polls_before) as f64 / possible;
    println!(
        "meanwhile, in {:.0} s: {} polls ({:.0} % of what the providers allow), {} versions committed, {violations} \
         requests over a limit",
        took.as_secs_f64(),
        polls - polls_before,
        used * 100.0,
        versions - versions_before,
    );
    if well && used >= USED && violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints every round and the medians; whether these meet the targets.
fn table(runs: &[(Run, Run)]) -> bool {
    let mut table = Table::new();
    table.set_header(["round", "segsync", "bare axum", "ratio", "p99", "bare p99", "ratio"]);
    let mut row = |name: String, (ours, theirs): (Run, Run)| {
        let (rate, p99) = (ours.rate / theirs.rate, ours.p99.as_secs_f64() / theirs.p99.as_secs_f64());
        let each = |rate: f64| format!("{rate:.0}/s");
        let [ours_p99, theirs_p99] = [ours.p99, theirs.p99].map(|p99| format!("{:.2} ms", p99.as_secs_f64() * 1e3));
        let (rate_text, p99_text) = (format!("{rate:.2}"), format!("{p99:.2}"));
        table.add_row([name, each(ours.rate), each(theirs.rate), rate_text, ours_p99, theirs_p99, p99_text]);
        (rate, p99)
    };
    for (round, run) in runs.iter().enumerate() {
        row((round + 1).to_string(), *run);
    }
    let median = |of: fn(&(Run, Run)) -> Run| {
        let mut rates: Vec<f64> = runs.iter().map(|run| of(run).rate).collect();
        let mut p99s: Vec<Duration> = runs.iter().map(|run| of(run).p99).collect();
        rates.sort_by(f64::total_cmp);
        p99s.sort();
        Run { rate: rates[runs.len() / 2], p99: p99s[runs.len() / 2] }
    };
    let (rate, p99) = row("median".to_owned(), (median(|run| run.0), median(|run| run.1)));
    println!("{table}");
    let word = |is_met| if is_met { "met" } else { "MISSED" };
    println!("requests/s at least {RATE} of the bare handler's: {rate:.2}, {}", word(rate >= RATE));
    println!("p99 at most {P99} times the bare handler's: {p99:.2}, {}", word(p99 <= P99));
    rate >= RATE && p99 <= P99
}

fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts")
}

async fn next<R: tokio::io::AsyncBufRead + Unpin>(lines: &mut tokio::io::Lines<R>) -> String {
    lines.next_line().await.expect("readable").expect("another line")
}

/// Writes a configuration that uses up what the providers allow; where the API will be.
fn configure(folder: &Path, statsig: &str, octave: &str) -> String {
    // Free now, and nobody else takes a port of this kind at random.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let source = |name: &str, url: &str, key: &str| {
        let file = folder.join(name);
        std::fs::write(&file, key).expect("written");
        format!(
            "[[source]]\nname = {name:?}\nprovider = {name:?}\nbase_url = {url:?}\napi_key = {{ file = {file:?} }}\n\
             limits = [{{ requests = {REQUESTS}, per = \"{}s\" }}]\nfetch = \"each\"\nsegments = \"all\"\n",
            PER.as_secs(),
        )
    };
    let text = format!(
        "[store]\npath = \"bench.db\"\n[poll]\nevery = \"100ms\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n{}{}",
        source("statsig", statsig, STATSIG_KEY),
        source("octave", octave, OCTAVE_KEY),
    );
    std::fs::write(folder.join("segsync.toml"), text).expect("written");
    format!("http://127.0.0.1:{port}")
}

/// The URL of the measured segment and what it answers, once it does.
async fn wait_for_the_segment(api: &str) -> (String, Vec<u8>) {
    let url = format!("{api}/v1/segments/statsig/{MEASURED}");
    loop {
        if let Ok(answer) = reqwest::get(&url).await
            && answer.status() == 200
        {
            return (url, answer.bytes().await.expect("a body").to_vec());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Polls and versions so far, as the API counts them.
async fn counts(api: &str) -> (u64, u64) {
    let page = reqwest::get(format!("{api}/metrics")).await.expect("an answer").text().await.expect("text");
    let sum = |name: &str| {
        let values = page.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit_once(' '));
        values.map(|(_, value)| value.parse::<u64>().expect("a number")).sum()
    };
    (sum("segsync_polls_total{"), sum("segsync_versions_total{"))
}

/// Runs wrk; an answer that is no 200, or a broken connection, is an error.
async fn wrk(url: &str, span: &str, connections: &str) -> Run {
    let args = ["-t1", "-c", connections, "-d", span, "--latency", url];
    let output = Command::new("wrk").args(args).output().await.expect("wrk runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let after = |label: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
        line.unwrap_or_else(|| panic!("no {label} in: {text}")).trim().to_owned()
    };
    let p99 = after("99%");
    let at = p99.find(char::is_alphabetic).expect("a unit");
    let unit = match &p99[at..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        _ => 1.0,
    };
    let p99 = Duration::from_secs_f64(p99[..at].parse::<f64>().expect("a number") * unit);
    Run { rate: after("Requests/sec:").parse().expect("a number"), p99 }
}
