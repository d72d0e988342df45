//! Files of earlier versions of the schema: they keep their history, also where the upgrade is killed.

use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use segsync::store::migrate::{STEPS, latest_version, upgrade_to};

use crate::kill::file::{duration, export, import, kill_within, number, observations, verify, versions};
use crate::kill::kills;

/// Makes a file as a segsync of that step left it, with the history of a file of today.
fn as_of(step: usize, of: &Path, path: &Path) {
    let mut old = Connection::open(path).unwrap();
    upgrade_to(&mut old, step).unwrap();
    old.execute_batch("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = OFF").unwrap();
    old.execute("ATTACH ?1 AS today", [of.to_str().unwrap()]).unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut rows = old.prepare(sql).unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    old.execute_batch("BEGIN").unwrap();
    for table in names("SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'") {
        let columns = names(&format!(
            "SELECT o.name FROM pragma_table_xinfo('{table}', 'main') AS o
             JOIN pragma_table_xinfo('{table}', 'today') AS t ON t.name = o.name WHERE o.hidden = 0 AND t.hidden = 0"
        ))
        .join(", ");
        assert!(!columns.is_empty(), "{table}");
        old.execute_batch(&format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM today.{table}"))
            .unwrap_or_else(|error| panic!("{table}: {error}"));
    }
    old.execute_batch("COMMIT; DETACH today").unwrap();
}

/// What opens the file for writing, upgrades it, and ends.
fn upgrade(path: &Path) -> Command {
    import(path, "")
}

#[test]
fn files_of_every_earlier_step_keep_their_history() {
    let folder = tempfile::tempdir().unwrap();
    let today = folder.path().join("today.db");
    duration(import(&today, &observations("s", 100)));
    verify(&today, "today");
    let history = export(&today);
    for step in 1..=STEPS.len() {
        let (at, path) = (format!("step {step}"), folder.path().join(format!("{step}.db")));
        as_of(step, &today, &path);
        assert_eq!(number(&path, "PRAGMA user_version"), i64::try_from(step).unwrap());
        duration(upgrade(&path));
        assert_eq!(number(&path, "PRAGMA user_version"), latest_version(), "{at}");
        verify(&path, &at);
        assert_eq!(export(&path), history, "{at}");
        assert_eq!(number(&path, "SELECT count(*) FROM pragma_foreign_key_check"), 0, "{at}");
    }
}

#[test]
fn an_upgrade_that_is_killed_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let (today, old, path) = ["today.db", "old.db", "x.db"].map(|name| folder.path().join(name)).into();
    duration(import(&today, &observations("s", 1500)));
    let (history, committed) = (export(&today), versions(&today));
    as_of(1, &today, &old);
    let copy = || {
        for suffix in ["", "-wal", "-shm", "-lock"] {
            let [from, to] = [&old, &path].map(|path: &PathBuf| format!("{}{suffix}", path.display()));
            drop(std::fs::remove_file(&to));
            if Path::new(&from).exists() {
                std::fs::copy(from, to).unwrap();
            }
        }
    };
    copy();
    let longest = duration(upgrade(&path));
    let (mut at_step, mut total) = (vec![0; STEPS.len() + 1], 0);
    while total < kills(10, 6) {
        copy();
        // A few in a row over one file, then to the end.
        for _ in 0..3 {
            total += 1;
            let at = format!("upgrade, kill {total}");
            kill_within(upgrade(&path).spawn().unwrap(), longest);
            let step = number(&path, "PRAGMA user_version");
            at_step[usize::try_from(step).unwrap()] += 1;
            assert_eq!(versions(&path), committed, "{at}");
            let whole: String =
                Connection::open(&path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(whole, "ok", "{at}");
        }
        duration(upgrade(&path));
        assert_eq!(number(&path, "PRAGMA user_version"), latest_version());
        verify(&path, "after the kills");
        assert_eq!(export(&path), history);
    }
    println!("upgrades: killed at step {at_step:?}, {longest:?} without a kill");
}

/// Every file of a folder with its bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn no_verb_touches_a_newer_or_a_foreign_file() {
    let outside = tempfile::tempdir().unwrap();
    let config = outside.path().join("segsync.toml");
    std::fs::write(outside.path().join("key"), "nobodys-key").unwrap();
    let lines = outside.path().join("lines.jsonl");
    std::fs::write(&lines, observations("s", 1)).unwrap();
    let newer = |mode: &'static str| {
        move |path: &Path| {
            let mut db = Connection::open(path).unwrap();
            upgrade_to(&mut db, STEPS.len()).unwrap();
            db.execute_batch(&format!("PRAGMA user_version = {}; PRAGMA journal_mode = {mode}", latest_version() + 1))
                .unwrap();
        }
    };
    let foreign = |sql: &'static str| move |path: &Path| Connection::open(path).unwrap().execute_batch(sql).unwrap();
    type Make<'a> = &'a dyn Fn(&Path);
    let files: [(&str, Make<'_>); 6] = [
        ("newer", &newer("DELETE")),
        ("newer, with a log", &newer("WAL")),
        ("foreign", &foreign("CREATE TABLE t (x)")),
        ("foreign, with a log", &foreign("PRAGMA journal_mode = WAL; CREATE TABLE t (x); PRAGMA application_id = 7")),
        ("text", &|path| std::fs::write(path, "a letter ".repeat(200)).unwrap()),
        ("a few bytes", &|path| std::fs::write(path, "x").unwrap()),
    ];
    for (what, make) in files {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        make(&path);
        std::fs::write(
            &config,
            format!(
                "[store]\npath = {path:?}\n[[source]]\nname = \"prod\"\nprovider = \"statsig\"\nfetch = \"each\"\n\
                 base_url = \"http://127.0.0.1:9\"\napi_key = {{ file = {:?} }}\nsegments = [\"s0\"]\n",
                outside.path().join("key")
            ),
        )
        .unwrap();
        let before = contents(folder.path());
        let (copy, lines) = (outside.path().join("copy.db"), lines.to_str().unwrap());
        for args in [
            &["run"][..],
            &["sync"],
            &["import", lines],
            &["export"],
            &["verify"],
            &["log"],
            &["show", "prod/s0"],
            &["status"],
            &["backup", copy.to_str().unwrap()],
        ] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_segsync"));
            let output = command.args(args).arg("-c").arg(&config).current_dir(outside.path()).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(1), "{what}, {args:?}: {text}");
            assert!(text.contains("it is left as it is"), "{what}, {args:?}: {text}");
            assert_eq!(contents(folder.path()), before, "{what}, {args:?}");
        }
        assert!(!copy.exists(), "{what}");
    }
}
