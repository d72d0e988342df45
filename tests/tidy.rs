//! House law as a plain test: the floors of `src/lib.rs`, and who may use what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// One source file without its comments and tests.
struct File {
    /// Path below `src`, such as `store/write.rs`.
    path: String,
    text: String,
    code: String,
}

impl File {
    /// The room: the first part of the path.
    fn room(&self) -> &str {
        self.path.split(['/', '.']).next().expect("a path")
    }

    /// The file's own name within its room; `mod` for the room itself.
    fn name(&self) -> &str {
        let rest = self.path.split_once('/').map_or("mod", |(_, rest)| rest);
        rest.split(['/', '.']).next().expect("a path")
    }

    /// Rooms that the code names as `crate::room`.
    fn imports(&self) -> BTreeSet<&str> {
        words_after(&self.code, "crate::").collect()
    }
}

/// The identifiers that follow `prefix`, also within braces: `crate::{a, b::c}`.
fn words_after<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    code.split(prefix).skip(1).flat_map(|rest| {
        let group = rest.strip_prefix('{').and_then(|group| group.split('}').next());
        let parts: Vec<&str> = group.map_or_else(|| vec![rest], |group| group.split(',').collect());
        parts.into_iter().map(|part| {
            let part = part.trim();
            &part[..part.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(part.len())]
        })
    })
}

fn sources() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let file = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a readable file");
        let product = text.split("#[cfg(test)]\nmod tests {").next().expect("some text");
        let lines = product.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = lines.collect::<Vec<_>>().join("\n");
        let path = path.strip_prefix(&root).expect("below src").to_str().expect("UTF-8").to_owned();
        File { path, text, code }
    };
    paths.into_iter().map(file).collect()
}

fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

fn product() -> impl Iterator<Item = File> {
    sources().into_iter().filter(|file| !file.path.ends_with("tests.rs") && file.path != "lib.rs")
}

/// The floor of each room, and the rooms whose files must not import each other (`room/*`).
fn floors() -> (BTreeMap<String, Option<u32>>, BTreeSet<String>) {
    let lib = sources().into_iter().find(|file| file.path == "lib.rs").expect("lib.rs").text;
    let (mut floors, mut strict) = (BTreeMap::new(), BTreeSet::new());
    for row in lib.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let floor = cells[0].parse().ok();
        if floor.is_none() && cells[0] != "-" {
            continue;
        }
        for name in cells[1].split(',').map(|name| name.trim().trim_matches('`')) {
            let room = name.trim_end_matches("/*");
            floors.insert(room.to_owned(), floor);
            if name != room {
                strict.insert(room.to_owned());
            }
        }
    }
    (floors, strict)
}

#[test]
fn imports_go_down() {
    let (floors, _) = floors();
    let mut wrong = Vec::new();
    for file in product() {
        let Some(own) = floors.get(file.room()) else {
            wrong.push(format!("{} is on no floor", file.path));
            continue;
        };
        for import in file.imports().into_iter().filter(|import| *import != file.room()) {
            let allowed = match (own, floors.get(import)) {
                (Some(own), Some(Some(other))) => other < own,
                // The wing imports nothing, and only a verb may show it.
                (Some(_), Some(None)) => file.room() == "cli",
                (None, _) | (_, None) => false,
            };
            if !allowed {
                wrong.push(format!("{} imports {import}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(floors.len() >= 18, "the table was not read: {floors:?}");
}

#[test]
fn files_of_a_room_do_not_form_knots() {
    let (_, strict) = floors();
    let mut rooms: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for file in product().filter(|file| file.path.contains('/')) {
        rooms.entry(file.room().to_owned()).or_default().entry(file.name().to_owned()).or_default();
    }
    for file in product().filter(|file| file.path.contains('/') && file.name() != "mod") {
        let inside = format!("crate::{}::", file.room());
        let siblings = rooms.get_mut(file.room()).expect("a room");
        let known: BTreeSet<String> = siblings.keys().cloned().collect();
        let named = words_after(&file.code, "super::").chain(words_after(&file.code, &inside));
        let used = named.filter(|word| known.contains(*word) && *word != file.name() && *word != "mod");
        siblings.get_mut(file.name()).expect("a file").extend(used.map(str::to_owned));
    }
    for (room, mut files) in rooms {
        let edges: Vec<_> = files.iter().filter(|(_, uses)| !uses.is_empty()).collect();
        assert!(!strict.contains(&room) || edges.is_empty(), "files of {room} import each other: {edges:?}");
        while let Some(free) = files.iter().find(|(_, uses)| uses.is_empty()).map(|(name, _)| name.clone()) {
            files.remove(&free);
            for uses in files.values_mut() {
                uses.remove(&free);
            }
        }
        assert!(files.is_empty(), "files of {room} import each other in a circle: {files:?}");
    }
}

#[test]
fn everything_has_its_room() {
    let rules: &[(&str, &[&str])] = &[
        ("reqwest::", &["transport"]),
        ("rusqlite", &["store"]),
        ("SELECT ", &["store"]),
        ("Instant::now", &["clock", "simulator"]),
        ("SystemTime::now", &["clock", "simulator"]),
        ("clock_gettime", &["clock"]),
        ("Timestamp::now", &["clock"]),
        (".elapsed()", &["simulator"]),
        ("tokio::spawn", &["daemon", "simulator"]),
        // The connections of the API end with its listener, which `daemon` spawns.
        // The one process that is started is a pager, which its verb waits for.
        (".spawn(", &["daemon", "http", "simulator", "cli"]),
        ("spawn_blocking", &["store"]),
        ("axum", &["http", "simulator"]),
        ("hyper", &["http"]),
        ("governor", &["budget"]),
        ("moka", &["cache"]),
        ("prometheus_client", &["metrics"]),
        ("procfs", &["metrics"]),
        ("anyhow", &["cli", "daemon", "main"]),
        ("std::process", &["cli", "main", "store"]),
        ("println!", &[]),
        ("cfg(test)", &["budget", "schedule", "diff", "document", "config", "store", "poll", "secret", "simulator"]),
        ("cfg!(test)", &[]),
    ];
    let mut wrong = Vec::new();
    for file in product() {
        for (word, rooms) in rules {
            if file.code.contains(word) && !rooms.contains(&file.room()) {
                wrong.push(format!("{} uses {word}", file.path));
            }
        }
        let other_tests =
            file.code.matches("#[cfg(test)]").count() != file.code.matches("#[cfg(test)]\nmod tests;").count();
        if other_tests {
            wrong.push(format!("{} has code for tests only", file.path));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_providers_know_vendors() {
    let may = |file: &File| ["provider", "simulator"].contains(&file.room()) || file.path == "cli/demo.rs";
    let names = |file: &File| {
        let code = file.code.to_lowercase();
        ["statsig", "octave"].iter().any(|vendor| code.contains(vendor))
    };
    let wrong: Vec<String> = product().filter(|file| !may(file) && names(file)).map(|file| file.path).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    let wrong: Vec<String> =
        sources().into_iter().filter(|file| !file.text.starts_with("//! ")).map(|f| f.path).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn main_only_dispatches() {
    let main = sources().into_iter().find(|file| file.path == "main.rs").expect("main.rs");
    assert!(main.text.lines().count() <= 40, "{} lines", main.text.lines().count());
}

/// Whether a test below `folder` has `part` in its name.
fn holds_test(folder: &Path, part: &str) -> bool {
    let mut paths = Vec::new();
    walk(folder, &mut paths);
    let names_it = |line: &str| line.contains("fn ") && line.contains(part);
    paths.iter().any(|path| fs::read_to_string(path).expect("a readable file").lines().any(names_it))
}

/// What `docs/reliability.md` names: files and folders of the repository, and tests in the file named before them.
#[test]
fn every_promise_names_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/reliability.md")).expect("the page");
    let (mut wrong, mut promises) = (Vec::new(), 0);
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise ")) {
        promises += 1;
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [_, holders, _] = cells[..] else {
            wrong.push(format!("not three cells: {row}"));
            continue;
        };
        let mut text = None;
        for quoted in holders.split('`').skip(1).step_by(2) {
            let words: Vec<&str> = quoted.split(' ').collect();
            for (at, word) in words.iter().enumerate() {
                let is_file = ["tests/", "fuzz/", "src/", ".ci/"].iter().any(|folder| word.starts_with(folder));
                let file = root.join(word);
                if is_file && !file.exists() {
                    wrong.push(format!("there is no {word}"));
                } else if is_file && file.is_file() {
                    text = fs::read_to_string(file).ok();
                }
                if at > 0 && words[at - 1] == "--test" && *word != "suite" {
                    wrong.push(format!("there is no crate of tests {word}"));
                }
                // The name of a room, or a part of a test's own.
                if at > 1 && words[at - 2..at] == ["--test", "suite"] {
                    let room = word.split_once("::").map_or("", |(room, _)| room);
                    let (file, folder) = (format!("tests/{room}.rs"), format!("tests/{room}/mod.rs"));
                    let is_there = [file, folder].iter().any(|path| root.join(path).exists());
                    if !is_there && (word.contains("::") || !holds_test(&root.join("tests"), word)) {
                        wrong.push(format!("there are no tests {word}"));
                    }
                }
            }
            let is_test = quoted.contains('_')
                && quoted.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit());
            if is_test && !text.as_ref().is_some_and(|text| text.contains(&format!("fn {quoted}("))) {
                wrong.push(format!("there is no test {quoted} in the file before it"));
            }
        }
        if !holders.contains('`') {
            wrong.push(format!("nothing holds it: {row}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(promises >= 20, "the page was not read");
}
