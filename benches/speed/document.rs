//! From an answer's text to the verdict "unchanged", beside reading and writing the same JSON.

use std::hint::black_box;

use rustix::time::{ClockId, clock_gettime};
use segsync::document::{self, Document};
use segsync::provider;

use super::common::{Report, segment};

/// Seconds of CPU that this thread takes for `work`.
fn timed(work: impl FnOnce()) -> f64 {
    let now = || {
        let spent = clock_gettime(ClockId::ThreadCPUTime);
        spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
    };
    let began = now();
    work();
    now() - began
}

pub fn canonical(report: &Report, rounds: usize) {
    let texts: Vec<String> = (0..1000).map(|number| segment(number, 0)).collect();
    let megabytes = texts.iter().map(String::len).sum::<usize>() as f64 * 10.0 / 1e6;
    let shape = provider::by_name("statsig").expect("known").shape();
    let read = |text: &str| Document::new(document::parse(text).expect("JSON"), shape, &[]);
    let hashes: Vec<[u8; 32]> = texts.iter().map(|text| *read(text).hash()).collect();
    let floor = || {
        for text in (0..10).flat_map(|_| &texts) {
            let value: serde_json::Value = serde_json::from_slice(black_box(text.as_bytes())).expect("JSON");
            black_box(serde_json::to_vec(&value).expect("written"));
        }
    };
    let ours = || {
        for (text, hash) in (0..10).flat_map(|_| texts.iter().zip(&hashes)) {
            assert!(read(black_box(text)).hash() == hash, "unchanged");
        }
    };
    let all: Vec<(f64, f64)> = (0..rounds).map(|_| (megabytes / timed(floor), megabytes / timed(ours))).collect();
    report.share("canonical form, hash and comparison", "MB/s", &all, 0.8);
}
