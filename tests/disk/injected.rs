//! System calls that fail as they do on a disk that is full, read-only or broken.
//!
//! `strace` lets them fail from the outside while the daemon runs, on the files of the database alone; the daemon is the
//! program that everybody runs. A mount that turns read-only below open files is `EROFS` to their writes, too.

use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::disk::world::{Daemon, GUARD, World, is_long, skipped};

/// A tracer that makes calls fail until it is told to leave.
///
/// It is listened to until its end: each new thread of the daemon is told, a tracer that nobody hears dies of it, and one
/// that dies takes along a signal that the daemon was about to get.
struct Fault {
    tracer: Child,
    listening: JoinHandle<()>,
}

impl Fault {
    /// `calls` of the daemon on the files with these suffixes end with `error`, all or those that `when` counts.
    async fn inject(world: &World, daemon: &Daemon, calls: &str, suffixes: &[&str], error: &str) -> Option<Self> {
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &daemon.pid().as_raw_nonzero().to_string(), "-o", "/dev/null"]);
        command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:error={error}")]);
        for suffix in suffixes {
            command.arg("-P").arg(world.disk().join(format!("x.db{suffix}")));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut tracer = command.spawn().ok()?;
        let mut told = BufReader::new(tracer.stderr.take()?).lines();
        if !is_attached(&mut told).await {
            return None;
        }
        let listening = tokio::spawn(async move { while told.next_line().await.unwrap().is_some() {} });
        Some(Self { tracer, listening })
    }

    /// From here on the calls work again.
    async fn lift(self) {
        let pid = Pid::from_raw(i32::try_from(self.tracer.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        self.end().await;
    }

    /// It was there until the daemon had ended.
    async fn outlived(self) {
        let end = self.end().await;
        assert!(end.success(), "the calls failed only for a while: {end}");
    }

    async fn end(mut self) -> ExitStatus {
        timeout(GUARD, self.listening).await.unwrap().unwrap();
        timeout(GUARD, self.tracer.wait()).await.unwrap().unwrap()
    }
}

/// It says so once it has the process, and ends where it may not.
async fn is_attached(told: &mut tokio::io::Lines<BufReader<ChildStderr>>) -> bool {
    while let Some(line) = timeout(GUARD, told.next_line()).await.unwrap().unwrap() {
        if line.contains("attached") {
            return true;
        }
    }
    false
}

/// Calls, on which files, and how they end.
const TROUBLES: [(&str, &[&str], &str); 8] = [
    ("pwrite64", &["-wal"], "ENOSPC"),
    ("pwrite64", &["-wal"], "EIO"),
    ("pwrite64", &["-wal"], "EROFS"),
    ("pwrite64", &["-wal"], "EDQUOT"),
    ("fsync,fdatasync", &["-wal"], "EIO"),
    ("pwrite64,fsync,fdatasync,ftruncate", &["", "-wal"], "EIO"),
    ("pwrite64,fsync,fdatasync,ftruncate", &["", "-wal"], "EROFS"),
    ("pread64", &["", "-wal"], "EIO"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_is_told_and_survived() {
    let world = World::new().await;
    world.describe("before");
    let mut daemon = world.start();
    daemon.during(world.sees("before")).await;
    for (calls, suffixes, error) in TROUBLES {
        let at = format!("{calls} {suffixes:?} {error}");
        let Some(fault) = Fault::inject(&world, &daemon, calls, suffixes, error).await else {
            return skipped("calls that fail", "it needs strace, and the right to trace");
        };
        world.describe(&at);
        if calls != "pread64" {
            // What is in the page cache of the process is not read again: such a fault may pass unseen.
            let said = daemon.readiness(|said| said.contains("the database cannot be written")).await;
            assert!(said.contains("503") && said.contains("x.db"), "{at}: {said}");
            assert_eq!(world.versions(&at), 0, "{at}");
        }
        fault.lift().await;
        daemon.during(world.sees(&at)).await;
        daemon.is_ready().await;
    }
    let (failed, again) = ("trying again", "the database can be written again after");
    let count = |text| daemon.log.iter().filter(|line| line.contains(text)).count();
    assert!(count(failed) >= 7 && count(failed) == count(again), "each is told once: {:?}", daemon.log);
    assert_eq!(daemon.stop().await, Some(0));
    world.verify().await;
}

/// The log is moved into the database page by page. Whichever of them does not find room, the log still has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_fails_half_way_loses_nothing() {
    let world = World::new().await;
    let mut stopped_midway = 0;
    for page in [1, 2, 5, 10, 20].into_iter().chain(if is_long() { 21..=200 } else { 21..=21 }) {
        let text = format!("page {page} {}", "x".repeat(40_000));
        world.describe(&text);
        let mut daemon = world.start();
        daemon.during(world.sees(&text)).await;
        let error = format!("ENOSPC:when={page}+");
        let Some(fault) = Fault::inject(&world, &daemon, "pwrite64", &[""], &error).await else {
            return skipped("a checkpoint that fails", "it needs strace, and the right to trace");
        };
        // The stop moves the whole log.
        let code = daemon.stop().await;
        fault.outlived().await;
        if code == Some(1) {
            stopped_midway += 1;
            let errors = daemon.errors();
            assert!(errors.len() == 1 && errors[0].contains("the disk is full"), "{page}: {errors:?}");
        } else {
            assert_eq!(code, Some(0), "{page}");
        }
        world.verify().await;
        assert!(world.versions(&text) > 0);
    }
    assert!(stopped_midway >= 3, "{stopped_midway}");
}
