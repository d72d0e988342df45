//! Files with a history that the whole straight way has written, and what `verify` finds in them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::cargo::CommandCargoExt;
use rusqlite::Connection;
use segsync::model::Check;
use segsync::simulator::Provider;
use segsync::store::{Finding, Reader, Verified};

use crate::common::{BOTH, Bench, ID, key, put};

/// What each pass finds at each provider; `None` is gone for good.
const LIFE: [Option<&str>; 6] = [
    Some(r#""name":"One","tags":["a","b"],"rules":[{"id":"r1","n":1},{"id":"r2","n":2}],"version":3"#),
    Some(r#""name":"Two","tags":["b","c"],"rules":[{"id":"r2","n":2},{"id":"r1","n":1}],"version":7"#),
    Some(r#""name":"Two","tags":[],"rules":[{"id":"r2","n":3}],"version":8,"lastModifierName":"Ann""#),
    None,
    None,
    Some(r#""name":"Three","rules":{"id":"r2","n":3},"version":9"#),
];

/// A bench whose file holds a create, two updates, a delete and a restore of both providers.
pub(crate) async fn lived() -> Bench {
    let bench = Bench::new().await;
    for step in LIFE {
        // One after the other, so that their rows come in this order.
        for provider in BOTH {
            match (step, provider) {
                (Some(members), _) => put(&bench.simulator, provider, ID, members),
                (None, Provider::Statsig) => drop(bench.simulator.statsig().remove(ID)),
                (None, Provider::Octave) => drop(bench.simulator.octave().remove(ID)),
            }
            bench.pass_of(Some(&[key(provider, ID)])).await.expect("passed");
        }
    }
    bench
}

/// Every finding, and what was checked.
pub(crate) fn verify(path: &Path) -> (Vec<Finding>, Verified) {
    let mut findings = Vec::new();
    let reader = Reader::open(path).expect("opened");
    let verified = reader.verify(&mut |_| (), &mut |finding| findings.push(finding)).expect("read");
    assert_eq!(verified.findings, findings.len() as u64);
    (findings, verified)
}

/// Nothing is found.
pub(crate) fn is_whole(path: &Path) -> Verified {
    let (findings, verified) = verify(path);
    assert_eq!(findings, []);
    verified
}

/// What is found, as `check segment version`.
pub(crate) fn found(path: &Path) -> Vec<String> {
    let place = |finding: &Finding| {
        let segment = finding.segment.as_ref().map(ToString::to_string).unwrap_or_default();
        let seq = finding.seq.map(|seq| format!(" v{seq}")).unwrap_or_default();
        format!("{} {segment}{seq}", finding.check).trim_end().to_owned()
    };
    verify(path).0.iter().map(place).collect()
}

/// What was found is about one of these.
pub(crate) fn checks(path: &Path) -> Vec<Check> {
    verify(path).0.into_iter().map(|finding| finding.check).collect()
}

/// A connection that is allowed everything.
pub(crate) fn vandal(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("opened");
    connection.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON").expect("set");
    connection
}

/// What a run of the program said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
}

impl Ran {
    /// What it printed; it ended well and complained about nothing.
    pub(crate) fn well(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }

    /// What it complained about, without having printed anything; it failed.
    pub(crate) fn failed(self) -> String {
        assert_eq!((self.code, self.out.as_str()), (Some(1), ""), "{}", self.err);
        self.err
    }
}

/// The program, made to work on this database.
pub(crate) fn program(db: &Path, args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("segsync").expect("built");
    command.env_remove("SEGSYNC_CONFIG").current_dir(db.parent().expect("a folder"));
    command.args(args).arg("--db").arg(db);
    command
}

/// Runs the program on this database, with this input.
pub(crate) fn segsync(db: &Path, args: &[&str], input: &str) -> Ran {
    let mut command = program(db, args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    // It may end before it has read all.
    let feed = std::thread::spawn(move || stdin.write_all(input.as_bytes()).is_ok());
    let output = child.wait_with_output().expect("ran");
    drop(feed.join());
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { out: text(output.stdout), err: text(output.stderr), code: output.status.code() }
}

/// The rows of a query, as texts.
pub(crate) fn rows(db: &Path, sql: &str) -> Vec<String> {
    let raw = Connection::open(db).expect("opened");
    let mut statement = raw.prepare(sql).expect(sql);
    let columns = statement.column_count();
    let row = |row: &rusqlite::Row<'_>| -> rusqlite::Result<String> {
        let cells = (0..columns).map(|at| {
            Ok(match row.get::<_, rusqlite::types::Value>(at)? {
                rusqlite::types::Value::Text(text) => text,
                other => format!("{other:?}"),
            })
        });
        Ok(cells.collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
    };
    statement.query_map([], row).expect(sql).map(|row| row.expect("a row")).collect()
}
