//! What must hold of a file after any kill, and files with a history to begin with.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// Every version that is committed: its number and its link of the chain. Empty while there is no file.
pub(crate) fn versions(path: &Path) -> BTreeMap<i64, Vec<u8>> {
    let Ok(db) = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY) else {
        return BTreeMap::new();
    };
    let Ok(mut rows) = db.prepare("SELECT id, chain FROM versions") else { return BTreeMap::new() };
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

pub(crate) fn number(path: &Path, sql: &str) -> i64 {
    Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

pub(crate) fn program(path: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segsync"));
    command.args(args).arg("--db").arg(path).current_dir(path.parent().unwrap());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Waits for a moment of its own, then kills it; whether it had ended well before.
pub(crate) fn kill_within(mut child: Child, longest: Duration) -> bool {
    std::thread::sleep(longest.mul_f64(fastrand::f64()));
    child.kill().unwrap();
    child.wait().unwrap().success()
}

/// The program's own judgement.
pub(crate) fn verify(path: &Path, at: &str) {
    let output = program(path, &["verify"]).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{at}: {text}");
}

/// The whole history, as the program tells it.
pub(crate) fn export(path: &Path) -> String {
    let output = program(path, &["export"]).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What must hold after every kill; `before` was committed before it.
pub(crate) fn check(path: &Path, before: &BTreeMap<i64, Vec<u8>>, at: &str) {
    let after = versions(path);
    if after.is_empty() {
        return assert!(before.is_empty(), "{at}: the file is gone");
    }
    let lost = before.iter().find(|(id, chain)| after.get(id) != Some(chain));
    assert_eq!(lost, None, "{at}: a committed version is lost");
    let db = Connection::open(path).unwrap();
    let whole: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok", "{at}");
    for (what, sql) in [
        ("a dangling reference", "SELECT count(*) FROM pragma_foreign_key_check"),
        (
            "a version twice, or out of order",
            "SELECT count(*) FROM (SELECT hash, op, seq, row_number() OVER w AS place, lag(hash) OVER w AS last
             FROM versions WINDOW w AS (PARTITION BY segment_id ORDER BY id))
             WHERE seq <> place OR (op = 'update' AND hash IS last)",
        ),
        (
            "a segment that stands elsewhere than its history",
            "SELECT count(*) FROM segments AS s
             WHERE version <> (SELECT count(*) FROM versions AS v WHERE v.segment_id = s.id)",
        ),
        (
            "an update without its changes",
            "SELECT count(*) FROM versions WHERE op = 'update' AND id NOT IN (SELECT version_id FROM changes)",
        ),
        (
            "a version whose poll has not ended",
            "SELECT count(*) FROM versions AS v JOIN polls AS p ON p.id = v.poll_id WHERE p.outcome IS NULL",
        ),
    ] {
        assert_eq!(number(path, sql), 0, "{at}: {what}");
    }
}

/// Observations of segments whose ids begin with `prefix`, one after the other: edits, and now and then a deletion.
pub(crate) fn observations(prefix: &str, lines: usize) -> String {
    let mut text = String::new();
    for number in 0..lines {
        let id = format!("{prefix}{}", number % 7);
        let document = match number % 23 {
            22 => "null".to_owned(),
            _ => format!(r#"{{"id":"{id}","n":{number},"tags":["t{}"],"text":"{}"}}"#, number % 3, "x".repeat(300)),
        };
        let at = 1_000 + number;
        writeln!(
            text,
            r#"{{"source":"prod","provider":"statsig","id":"{id}","observed_at":{at},"document":{document}}}"#
        )
        .unwrap();
    }
    text
}

/// Imports the lines of a file that is made for it.
pub(crate) fn import(path: &Path, lines: &str) -> Command {
    let file = path.with_extension("jsonl");
    std::fs::write(&file, lines).unwrap();
    let mut command = program(path, &["import"]);
    command.arg(file);
    command
}

/// How long that takes when nobody is in its way.
pub(crate) fn duration(mut command: Command) -> Duration {
    let began = std::time::Instant::now();
    assert!(command.status().unwrap().success(), "{command:?}");
    began.elapsed()
}
