//! Copies: whole, checked, alone, and never in the way of a file that is there.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use segsync::store::{Backup, BackupError, Reader};

use crate::common::Bench;
use crate::keep::world::{is_whole, lived, vandal};

fn back_up(from: &Path, to: &Path, force: bool) -> Result<Backup, BackupError> {
    Reader::open(from).expect("opened").backup(to, force, &mut |_, _| (), &mut |_| (), &mut |_| ())
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    names
}

async fn lived_with_room() -> (Bench, tempfile::TempDir, PathBuf) {
    let (bench, room) = (lived().await, tempfile::tempdir().expect("a folder"));
    let target = room.path().join("copy.db");
    (bench, room, target)
}

#[tokio::test]
async fn a_copy_is_alone_and_whole_and_bears_the_umask() {
    let (bench, room, target) = lived_with_room().await;
    let backup = back_up(&bench.db_path(), &target, false).expect("copied");
    assert_eq!(names(room.path()), ["copy.db"]);
    assert_eq!(backup.bytes, target.metadata().expect("there").len());
    assert_eq!(backup.verified, is_whole(&target));
    let header = std::fs::read(&target).expect("read");
    assert_eq!(header[18..20], [1, 1], "it needs no log");
    let new = std::fs::File::create(room.path().join("new")).expect("made");
    let mode = |file: std::fs::Metadata| file.permissions().mode();
    assert_eq!(mode(target.metadata().expect("there")), mode(new.metadata().expect("there")));
}

#[tokio::test]
async fn what_is_committed_while_it_copies_is_in_the_next_one() {
    let (bench, room, target) = lived_with_room().await;
    let writer = vandal(&bench.db_path());
    writer
        .execute_batch(
            "CREATE TABLE ballast (x BLOB);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
             INSERT INTO ballast SELECT zeroblob(4000) FROM n",
        )
        .expect("made");
    let reader = Reader::open(bench.db_path()).expect("opened");
    let mut steps = 0;
    let mut on_pages = |_, _| {
        steps += 1;
        writer.execute("INSERT INTO ballast VALUES (zeroblob(4000))", []).expect("it is not locked");
    };
    reader.backup(&target, false, &mut on_pages, &mut |_| (), &mut |_| ()).expect("copied");
    assert!(steps > 5, "{steps}");
    let rows = |path: &Path| -> i64 {
        let sql = "SELECT count(*) FROM ballast";
        vandal(path).query_row(sql, [], |row| row.get(0)).expect("counted")
    };
    assert_eq!(rows(&target), 3000);
    let second = room.path().join("second.db");
    back_up(&bench.db_path(), &second, false).expect("copied");
    assert_eq!(rows(&second), 3000 + steps);
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused() {
    let (bench, room, target) = lived_with_room().await;
    let db = bench.db_path();
    let refusal = |to: &Path, force| back_up(&db, to, force).expect_err("refused").to_string();
    std::fs::write(&target, "precious").expect("written");
    assert_eq!(refusal(&target, false), format!("{} is there already", target.display()));
    assert_eq!(std::fs::read(&target).expect("there"), b"precious");
    back_up(&db, &target, true).expect("replaced");
    is_whole(&target);

    assert_eq!(refusal(&db, true), format!("{} is the database itself", db.display()));
    let link = room.path().join("link.db");
    std::os::unix::fs::symlink(&db, &link).expect("linked");
    assert_eq!(refusal(&link, true), format!("{} is the database itself", link.display()));
    assert!(refusal(room.path(), true).contains("no regular file"));

    // SQLite would read this log together with the copy.
    std::fs::write(room.path().join("copy.db-wal"), "a log").expect("written");
    assert!(refusal(&target, true).contains("copy.db-wal is beside it"));
    assert_eq!(names(room.path()), ["copy.db", "copy.db-wal", "link.db"]);
}

#[tokio::test]
async fn of_a_damaged_database_there_is_no_copy() {
    let (bench, room, target) = lived_with_room().await;
    vandal(&bench.db_path()).execute("UPDATE versions SET modified_by = 'Eve' WHERE id = 1", []).expect("set");
    let mut findings = Vec::new();
    let reader = Reader::open(bench.db_path()).expect("opened");
    let done = reader.backup(&target, false, &mut |_, _| (), &mut |_| (), &mut |finding| findings.push(finding));
    assert!(matches!(done, Err(BackupError::Damaged { findings: 1 })), "{done:?}");
    assert_eq!(findings.len(), 1);
    assert!(names(room.path()).is_empty());
}

#[tokio::test]
async fn what_a_killed_backup_left_is_replaced_and_one_under_way_is_not() {
    let (bench, room, target) = lived_with_room().await;
    let partial = room.path().join("copy.db.partial");
    std::fs::write(&partial, "half of it").expect("written");
    std::fs::write(room.path().join("copy.db.partial-journal"), "half of it").expect("written");
    let other = std::fs::File::open(&partial).expect("opened");
    other.lock().expect("locked");
    let under_way = back_up(&bench.db_path(), &target, false);
    assert!(matches!(under_way, Err(BackupError::UnderWay(_))), "{under_way:?}");
    drop(other);
    back_up(&bench.db_path(), &target, false).expect("copied");
    assert_eq!(names(room.path()), ["copy.db"]);
    is_whole(&target);
}
