//! Files that cannot grow.
//!
//! The limit is that of the process (`RLIMIT_FSIZE`, with its signal ignored), so that neither a mount nor root is needed; to
//! SQLite it is an error of a write, as a full disk is.

use rustix::process::{Resource, Rlimit, prlimit};

use crate::disk::world::{Daemon, SEGMENTS, World, is_long};

/// The unit of `ulimit -f`, in bytes.
const BLOCK: u64 = 512;

/// Starts the daemon; none of its files may grow beyond so many bytes.
fn start(world: &World, bytes: u64) -> Daemon {
    let script = "trap '' XFSZ; ulimit -S -f \"$1\"; exec \"$0\" run -c segsync.toml";
    let mut command = world.command("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_segsync"), &(bytes / BLOCK).to_string()]);
    world.spawn(command)
}

/// Starts under a limit that ends what can be written somewhere between nothing and the daemon's daily work.
async fn grows_to(bytes: u64) -> &'static str {
    let world = World::new().await;
    world.describe("before");
    let daemon = start(&world, bytes);
    let unlimited = Rlimit { current: None, maximum: None };
    let (pid, at) = (daemon.pid(), format!("{bytes} bytes"));
    survives(&world, daemon, &at, async || prlimit(Some(pid), Resource::Fsize, unlimited).map(drop).unwrap()).await
}

/// The daemon runs out of space at some point, or does not; then there is room again.
pub(crate) async fn survives(world: &World, mut daemon: Daemon, at: &str, lift: impl AsyncFnOnce()) -> &'static str {
    // Until it says something, or has had every reason to.
    loop {
        let answered = world.simulator.arrivals_until(|all| all.len() >= 12 * SEGMENTS);
        let goes_on = tokio::select! {
            there = daemon.line() => there,
            _ = answered => false,
        };
        if !goes_on || !daemon.errors().is_empty() {
            break;
        }
    }
    let told = !daemon.errors().is_empty();
    world.describe("after");
    // One that has ended needs no more room.
    lift().await;
    // Either it ends by itself, or it goes on.
    let ended = loop {
        tokio::select! {
            there = daemon.line() => if !there { break true },
            () = world.sees("after") => break false,
        }
    };
    if ended {
        assert_eq!(daemon.ends().await, Some(1), "{at}: {:?}", daemon.log);
        let complaint = daemon.errors();
        assert_eq!(complaint.len(), 1, "{at}: {:?}", daemon.log);
        assert!(complaint[0].contains("x.db"), "{at}: {:?}", daemon.log);
        daemon = world.start();
        world.sees("after").await;
    }
    daemon.is_ready().await;
    assert_eq!(daemon.stop().await, Some(0), "{at}");
    world.verify().await;
    match (ended, told) {
        (true, _) => "refused to start",
        (false, true) => "went on trying",
        (false, false) => "never noticed",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_grow_is_told_and_survived() {
    let step = if is_long() { 1 } else { 24 };
    let mut went = Vec::new();
    for pages in (0..=240).step_by(step) {
        // Just short of a whole page, as a disk would be.
        let outcome = grows_to(pages * 4096 + 3584).await;
        println!("{pages} pages: {outcome}");
        went.push(outcome);
    }
    assert!(went.contains(&"refused to start") && went.contains(&"went on trying"), "{went:?}");
}
