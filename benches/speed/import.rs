//! `segsync import` as a process, beside a minimal Python script.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::common::{Report, children_cpu, id};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/speed/import.py");

/// A file of `lines` observations of `segments`, in turns; one in `every` is a change.
pub fn observations(path: &Path, lines: usize, segments: usize, every: usize) {
    let mut file = BufWriter::new(std::fs::File::create(path).expect("a file"));
    let mut random = fastrand::Rng::with_seed(1);
    let mut generations = vec![0; segments];
    for line in 0..lines {
        let number = line % segments;
        if random.usize(..every) == 0 {
            generations[number] += 1;
        }
        let (id, generation) = (id(number), generations[number]);
        writeln!(
            file,
            r#"{{"id":"{id}","observed_at":{},"document":{{"id":"{id}","name":"Segment {number}","description":"generation {generation}","isEnabled":true,"idType":"userID","tags":["a","b"],"lastModifiedTime":1700000000000,"version":{generation}}}}}"#,
            1_700_000_000_000_usize + line,
        )
        .expect("written");
    }
    file.flush().expect("written");
}

/// The CPU time that a command takes, in seconds.
fn spent(command: &mut Command) -> f64 {
    let before = children_cpu();
    let status = command.stdout(Stdio::null()).status().expect("it starts");
    assert!(status.success());
    children_cpu() - before
}

/// `segsync import` of a file into a new database in `folder`.
pub fn import(folder: &Path, name: &str, file: &Path) -> f64 {
    let config = folder.join("import.toml");
    let text = format!(
        "[store]\npath = \"{name}.db\"\n[[source]]\nname = \"s\"\nprovider = \"statsig\"\nbase_url = \"http://127.0.0.1:1\"\n\
         api_key = {{ env = \"KEY\" }}\nsegments = \"all\"\n"
    );
    std::fs::write(&config, text).expect("written");
    spent(Command::new(env!("CARGO_BIN_EXE_segsync")).args(["import", "--source", "s", "-c"]).arg(&config).arg(file))
}

pub fn measure(report: &Report, rounds: usize) {
    let (lines, segments) = (250_000, 500);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("lines");
    observations(&file, lines, segments, 100);
    let all: Vec<(f64, f64)> = (0..rounds)
        .map(|round| {
            let python = folder.path().join(format!("python{round}.db"));
            let floor = spent(Command::new("python3").arg(SCRIPT).arg(&file).arg(python));
            (lines as f64 / floor, lines as f64 / import(folder.path(), &format!("ours{round}"), &file))
        })
        .collect();
    report.share("import of 250,000 observations, by CPU time", "lines/s", &all, 1.6);
}
