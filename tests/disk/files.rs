//! Files that are deleted, moved or replaced below the daemon. It must never go on writing where nobody reads.

use std::path::Path;

use crate::disk::world::{World, described, skipped};

/// What somebody does to the files, and what must be true of the history afterwards.
struct Mischief {
    name: &'static str,
    /// What the daemon says of it.
    says: &'static str,
    does: fn(&Path),
    /// Versions from before that are in the database that the next start takes up.
    keeps: Keeps,
}

#[derive(PartialEq)]
enum Keeps {
    All,
    Nothing,
    /// All, but under the name `y.db`.
    Elsewhere,
}

fn remove(disk: &Path, suffixes: &[&str]) {
    suffixes.iter().for_each(|suffix| std::fs::remove_file(disk.join(format!("x.db{suffix}"))).unwrap());
}

/// Another file of that name, as an editor or `mv` would put it there.
fn replace(disk: &Path, suffix: &str, from: &Path) {
    let new = disk.join("new");
    std::fs::copy(from, &new).unwrap();
    std::fs::rename(new, disk.join(format!("x.db{suffix}"))).unwrap();
}

const MISCHIEF: [Mischief; 9] = [
    Mischief {
        name: "the database is deleted",
        says: "it was deleted or moved while it was in use",
        does: |disk| remove(disk, &[""]),
        keeps: Keeps::Nothing,
    },
    Mischief {
        name: "all files are deleted",
        says: "it was deleted or moved while it was in use",
        does: |disk| remove(disk, &["", "-wal", "-shm", "-lock"]),
        keeps: Keeps::Nothing,
    },
    Mischief {
        name: "the database is moved away",
        says: "it was deleted or moved while it was in use",
        does: |disk| std::fs::rename(disk.join("x.db"), disk.join("y.db")).unwrap(),
        keeps: Keeps::Elsewhere,
    },
    Mischief {
        name: "the database is replaced by an older copy",
        says: "it was replaced while it was in use",
        does: |disk| replace(disk, "", &disk.join("copy")),
        keeps: Keeps::Nothing,
    },
    Mischief {
        name: "the log is deleted",
        says: "its -wal file was deleted or moved while it was in use",
        does: |disk| remove(disk, &["-wal"]),
        keeps: Keeps::All,
    },
    Mischief {
        name: "the log is replaced by an older one",
        says: "its -wal file was replaced while it was in use",
        does: |disk| replace(disk, "-wal", &disk.join("copy-wal")),
        keeps: Keeps::All,
    },
    Mischief {
        name: "the log's index is deleted",
        says: "its -shm file was deleted or moved while it was in use",
        does: |disk| remove(disk, &["-shm"]),
        keeps: Keeps::All,
    },
    Mischief {
        name: "log and index are deleted",
        says: "its -wal file was deleted or moved while it was in use",
        does: |disk| remove(disk, &["-wal", "-shm"]),
        keeps: Keeps::All,
    },
    Mischief {
        name: "the lock is deleted",
        says: "its -lock file was deleted or moved while it was in use",
        does: |disk| remove(disk, &["-lock"]),
        keeps: Keeps::All,
    },
];

async fn is_noticed(mischief: &Mischief) {
    let at = mischief.name;
    let world = World::new().await;
    world.describe("early");
    let mut daemon = world.start();
    daemon.during(world.sees("early")).await;
    // As a copy without care would be: the database and its log, at another time than what follows.
    for suffix in ["", "-wal"] {
        std::fs::copy(world.disk().join(format!("x.db{suffix}")), world.disk().join(format!("copy{suffix}"))).unwrap();
    }
    world.describe("before");
    daemon.during(world.sees("before")).await;
    (mischief.does)(&world.disk());
    world.describe("after");
    assert_eq!(daemon.ends().await, Some(1), "{at}: {:?}", daemon.log);
    let errors = daemon.errors();
    assert_eq!(errors.len(), 1, "{at}: {errors:?}");
    assert!(errors[0].contains(mischief.says) && errors[0].contains("x.db"), "{at}: {errors:?}");

    let mut daemon = world.start();
    daemon.during(world.sees("after")).await;
    daemon.is_ready().await;
    assert_eq!(daemon.stop().await, Some(0), "{at}");
    world.verify().await;
    let segments = i64::try_from(crate::disk::world::SEGMENTS).unwrap();
    let expected = if mischief.keeps == Keeps::All { segments } else { 0 };
    assert_eq!(world.versions("before"), expected, "{at}");
    if mischief.keeps == Keeps::Elsewhere {
        let moved = world.disk().join("y.db");
        world.verify_file(&moved).await;
        assert_eq!(described(&moved, "before"), Some(segments), "{at}: what was committed moved along");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_go_away_below_it_are_noticed() {
    for pair in MISCHIEF.chunks(3) {
        let all = pair.iter().map(is_noticed);
        futures(all).await;
    }
}

/// Waits for all of them, at the same time.
async fn futures(all: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// Rights that are taken away do not touch what is open: nothing is lost, and the next start says what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_rights_is_told_by_the_next_start() {
    use std::os::unix::fs::{PermissionsExt, chown};

    const NOBODY: u32 = 65534;
    let world = World::new().await;
    world.describe("before");
    let as_nobody = |program: &[&str]| {
        let mut command = world.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).args(program);
        command
    };
    let program = env!("CARGO_BIN_EXE_segsync");
    let nobody = |world: &World| world.spawn(as_nobody(&[program, "run", "-c", "segsync.toml"]));
    let folder = world.folder.path();
    let owned = ["", "key", "segsync.toml", "disk"].map(|name| chown(folder.join(name), Some(NOBODY), Some(NOBODY)));
    let can_run = as_nobody(&["test", "-x", program]).status().await;
    if owned.iter().any(Result::is_err) || !can_run.is_ok_and(|status| status.success()) {
        return skipped("a daemon of another user", "it needs root, setpriv and a program that everybody may run");
    }
    let mut daemon = nobody(&world);
    daemon.during(world.sees("before")).await;
    let mode = |bits| {
        for suffix in ["", "-wal", "-shm"] {
            let name = world.disk().join(format!("x.db{suffix}"));
            std::fs::set_permissions(name, std::fs::Permissions::from_mode(bits)).unwrap();
        }
    };
    mode(0o000);
    world.describe("meanwhile");
    // This process may read everything.
    daemon.during(world.sees("meanwhile")).await;
    assert_eq!(daemon.stop().await, Some(0), "{:?}", daemon.log);
    let mut refused = nobody(&world);
    assert_eq!(refused.ends().await, Some(1));
    let errors = refused.errors();
    assert!(errors.len() == 1 && errors[0].contains("x.db"), "{errors:?}");
    mode(0o640);
    world.describe("after");
    let mut daemon = nobody(&world);
    daemon.during(world.sees("after")).await;
    assert_eq!(daemon.stop().await, Some(0));
    world.verify().await;
    assert!(world.versions("before") > 0 && world.versions("meanwhile") > 0);
}
