//! The local API, over real sockets on loopback: the daemon as it runs, and the simulator as the provider.

mod changes;
mod client;
mod described;
mod listener;
mod metrics;
mod proxies;
mod safety;
mod segments;
mod through;

use crate::common::Bench;

/// A bench with the API.
async fn served() -> Bench {
    let mut bench = Bench::new().await;
    bench.written.http = "listen = \"127.0.0.1:0\"".to_owned();
    bench
}
