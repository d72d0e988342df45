//! Questions to the local API whose answers take for ever: nobody else waits for them.

use std::io::ErrorKind;
use std::path::Path;

use rusqlite::Connection;
use segsync::simulator::{Provider, Simulator};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::common::{BOTH, ID, put, unlimited, until};
use crate::wild::desk::{Desk, stop};
use crate::wild::wire::get;

/// More than the API reads for at one time.
const CALLERS: usize = 16;
/// By then each of the callers has been heard.
const ROUNDS: u32 = 20;

/// What only the API reads never comes to its end: the changes of no version, one after the other.
const ENDLESS: &str = "
    DROP VIEW changes;
    CREATE VIEW changes (version_id, ordinal, op, path, field, old, new) AS
    WITH RECURSIVE step (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM step)
    SELECT -n, 0, '', '', '', NULL, NULL FROM step;";

/// Somebody who asks for the feed and waits.
async fn call(socket: &Path) -> UnixStream {
    let mut caller = UnixStream::connect(socket).await.unwrap();
    caller.write_all(b"GET /v1/changes HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    caller
}

#[tokio::test]
async fn endless_answers_keep_neither_polls_nor_look_ups_nor_a_stop_waiting() {
    let simulator = Simulator::start(unlimited()).await.unwrap();
    BOTH.into_iter().for_each(|provider| put(&simulator, provider, ID, ""));
    let mut desk = Desk::new(simulator, &format!("limits = []\nsegments = [{ID:?}]"));
    let socket = desk.path("api.sock");
    desk.head = format!("[poll]\nevery = \"10ms\"\n[http]\nlisten = \"unix:{}\"\n", socket.display());
    desk.configure();
    assert_eq!(desk.run(&["sync"]).await.code, 0);
    Connection::open(desk.path("x.db")).unwrap().execute_batch(ENDLESS).unwrap();
    let daemon = desk.start("log");
    get(&socket, "/healthz", "").await;
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        callers.push(call(&socket).await);
    }

    // Each is seen by a list, for which the file is read, and then by a look-up.
    let one = format!("/v1/segments/statsig/{ID}");
    for version in 2..2 + ROUNDS {
        put(&desk.simulator, Provider::Statsig, ID, &format!("\"x\":{version}"));
        let is_told = async || get(&socket, &one, "").await.body.contains(&format!("\"version\":{version},"));
        until(&format!("version {version}"), is_told).await;
    }
    for caller in &callers {
        assert_eq!(caller.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "it was answered");
    }
    stop(daemon).await;
}
