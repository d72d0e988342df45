//! A disk that is really full: a small one of the test's own.
//!
//! The tests run this same test program again, in a mount namespace that ends with it.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::Connection;
use rustix::fs::{major, minor};

use crate::disk::limit::survives;
use crate::disk::world::{World, is_long, skipped};

/// Set for the program in the namespace.
const INSIDE: &str = "SEGSYNC_TEST_INSIDE";

const ROOMY: u64 = 64 * 1024;
/// A page of the disk, in KiB: with each one more, the disk is full one write later.
const PAGE: u64 = 4;
/// The first writes at each of which the disk is full, in the long form.
const WRITES: u64 = 200;

/// Runs a test of this program where it may mount what it likes.
fn apart(test: &str) {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]).stdin(Stdio::null());
        command
    };
    let folder = tempfile::tempdir().unwrap();
    let may = unshare().args(["mount", "-t", "tmpfs", "none"]).arg(folder.path()).output();
    let why = match may {
        Ok(output) if output.status.success() => {
            let exe = std::env::current_exe().unwrap();
            let ran = unshare().arg(exe).args(["--exact", test, "--nocapture"]).env(INSIDE, "yes").output().unwrap();
            std::io::stdout().write_all(&ran.stdout).unwrap();
            let text = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert!(ran.status.success() && String::from_utf8_lossy(&ran.stdout).contains("1 passed"), "{text}");
            return;
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    skipped(test, &format!("no mount can be had here ({why}); the limit of a process stands in"));
}

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// A world whose database lies on a disk of so many KiB.
async fn on_disk(kib: u64) -> World {
    let world = World::new().await;
    mount(&world, &format!("size={kib}k"));
    world
}

fn mount(world: &World, options: &str) {
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(world.disk()).status();
    assert!(status.unwrap().success(), "{options}");
}

fn make_room(world: &World) {
    mount(world, &format!("remount,size={ROOMY}k"));
}

#[test]
fn a_full_disk_is_told_and_survived() {
    apart("disk::space::inside_a_full_disk_is_told_and_survived");
}

#[test]
fn a_disk_that_is_full_in_the_middle_of_a_checkpoint_loses_nothing() {
    apart("disk::space::inside_a_disk_that_is_full_in_the_middle_of_a_checkpoint_loses_nothing");
}

/// An ext4 of the test's own in a file, to which the kernel reports an error: it turns read-only with files open for writing,
/// as no `mount` would do.
#[test]
fn a_file_system_that_turns_read_only_loses_nothing() {
    let test = "disk::space::inside_a_file_system_that_turns_read_only_loses_nothing";
    if std::fs::read_dir("/sys/fs/ext4").is_ok() && Path::new("/dev/loop-control").exists() {
        apart(test);
    } else {
        skipped(test, "this kernel has no ext4, or no loop devices");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_a_full_disk_is_told_and_survived() {
    if !is_inside() {
        return;
    }
    let pages: Vec<u64> = if is_long() { (1..=WRITES).collect() } else { vec![1, 3, 9, 20, 60, 90, 120] };
    let mut went = Vec::new();
    for pages in pages {
        let world = on_disk(pages * PAGE).await;
        world.describe("before");
        let daemon = world.start();
        let outcome = survives(&world, daemon, &format!("{pages} pages"), async || make_room(&world)).await;
        println!("{pages} pages: {outcome}");
        went.push(outcome);
    }
    assert!(went.contains(&"refused to start") && went.contains(&"went on trying"), "{went:?}");
}

/// The log has room for more than a checkpoint takes at a time (1 MiB), the database has not.
#[tokio::test(flavor = "multi_thread")]
async fn inside_a_disk_that_is_full_in_the_middle_of_a_checkpoint_loses_nothing() {
    if !is_inside() {
        return;
    }
    let world = on_disk(5 * 1024).await;
    let mut daemon = world.start();
    let size = |suffix: &str| world.disk().join(format!("x.db{suffix}")).metadata().map_or(0, |found| found.len());
    world.describe("before");
    daemon.during(world.sees("before")).await;
    // Until the disk is full, a reader keeps all that is written in the log.
    let reader = Connection::open(world.db()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM segments").unwrap();
    let mut written = Vec::new();
    loop {
        let text = format!("{} {}", written.len(), "x".repeat(200_000));
        world.describe(&text);
        tokio::select! {
            () = world.sees(&text) => written.push(text),
            _ = daemon.says("trying again") => break,
        }
        assert!(written.len() < 100, "it never fills up");
    }
    drop(reader);
    assert!(size("-wal") > 1 << 20, "a checkpoint was due: {}", size("-wal"));
    let stuck = checkpoint(&world.db());
    assert!(stuck.as_ref().is_err_and(|error| error.contains("full")), "{stuck:?}");
    let said = daemon.readiness(|said| said.contains("cannot be written")).await;
    assert!(said.contains("503") && said.contains("the disk is full"), "{said}");

    make_room(&world);
    for more in 0.. {
        let text = format!("after {more}");
        world.describe(&text);
        daemon.during(world.sees(&text)).await;
        if size("") > 2 << 20 {
            break;
        }
        assert!(more < 100, "the log is never moved: {}", size(""));
    }
    daemon.is_ready().await;
    assert_eq!(daemon.stop().await, Some(0));
    world.verify().await;
    for text in &written {
        assert!(world.versions(text) > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_a_file_system_that_turns_read_only_loses_nothing() {
    if !is_inside() {
        return;
    }
    let world = World::new().await;
    let image = world.folder.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    run(Command::new("mkfs.ext4").args(["-q", "-e", "remount-ro"]).arg(&image));
    run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(world.disk()));
    let mut daemon = world.start();
    world.describe("before");
    daemon.during(world.sees("before")).await;

    let device = world.disk().metadata().unwrap().dev();
    let device = std::fs::read_link(format!("/sys/dev/block/{}:{}", major(device), minor(device))).unwrap();
    let name = device.file_name().unwrap().to_str().unwrap();
    std::fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "1").unwrap();
    world.describe("after");
    daemon.says("trying again").await;
    let said = daemon.readiness(|said| said.contains("503")).await;
    assert!(said.contains("disk I/O error") || said.contains("read-only"), "{said}");
    assert_eq!(daemon.stop().await, Some(1), "what is in the log could not be moved: {:?}", daemon.log);
    assert_eq!(daemon.errors().len(), 2, "one line when it began, one at the end: {:?}", daemon.errors());

    run(Command::new("umount").arg(world.disk()));
    // It says 1 where it mended something.
    drop(Command::new("e2fsck").arg("-fy").arg(&image).output().unwrap());
    run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(world.disk()));
    world.verify().await;
    assert!(world.versions("before") > 0);
    let mut daemon = world.start();
    daemon.during(world.sees("after")).await;
    assert_eq!(daemon.stop().await, Some(0));
    world.verify().await;
    run(Command::new("umount").arg(world.disk()));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn checkpoint(path: &Path) -> Result<(), String> {
    let db = Connection::open(path).unwrap();
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(|error| error.to_string())
}
