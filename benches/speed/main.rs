//! How fast and how small segsync is, beside floors that are taken in the same run: first the one, then the other, in
//! rounds, so that what else the machine does meets both.
//!
//! ```text
//! cargo bench --bench speed                  # all but idle and growth
//! cargo bench --bench speed -- poll          # also: sweep, document, import, start, memory
//! cargo bench --bench speed -- poll 5 1000   # rounds, segments
//! cargo bench --bench speed -- idle 600      # seconds of an hour that is idle but for 300 segments
//! cargo bench --bench speed -- growth        # 1,000, 10,000 and 100,000 segments, or as many as are named; draws docs/growth.svg
//! ```
//!
//! The provider is a process of its own; `import` needs python3. Ratios of CPU time are what a noisy machine leaves whole.

#![allow(clippy::expect_used, clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
#![allow(clippy::cast_precision_loss, reason = "counts and bytes of a measurement")]

mod common;
mod document;
mod growth;
mod import;
mod least;
mod life;
mod poll;

use std::time::Duration;

use common::Report;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number = |at: usize, usual: usize| args.get(at).map_or(usual, |arg| arg.parse().expect("a number"));
    let what = args.first().map_or("", String::as_str);
    let is_wanted = |name: &str| what.is_empty() || what == name;
    let report = Report::default();
    if what == "provide" {
        return common::provide(number(1, 0)).await;
    }
    if what == "idle" {
        life::idle(&report, Duration::from_secs(number(1, 600) as u64)).await;
    }
    if what == "growth" {
        let named: Vec<usize> = (1..args.len()).map(|at| number(at, 0)).collect();
        let sizes = if named.is_empty() { vec![1_000, 10_000, 100_000] } else { named };
        growth::measure(&report, &sizes).await;
    }
    if is_wanted("document") {
        document::canonical(&report, number(1, 11));
    }
    if is_wanted("import") {
        import::measure(&report, number(1, 5));
    }
    if is_wanted("poll") {
        poll::gets(&report, number(2, 10_000), number(1, 5)).await;
    }
    if is_wanted("sweep") {
        poll::sweep(&report, number(2, 100_000), number(1, 3)).await;
    }
    if is_wanted("start") {
        life::measure_start(&report, number(1, 9)).await;
    }
    if is_wanted("memory") {
        life::measure_memory(&report).await;
    }
    println!("{report}");
}
