//! Thirty days of the whole daemon in virtual time, against both simulated providers that fail in spells: what it kept is
//! compared with what the simulator's segments truly were, request by request, day by day and at the end.
//!
//! `SEGSYNC_SEED` plays another life, `SEGSYNC_DAYS` a longer one; both are printed. A life is not repeated to the last
//! request: hash tables are in another order each time.

mod audit;
mod faults;
mod judge;
mod people;
mod stage;
mod time;
mod truth;
mod watch;

use stage::Stage;
use time::{DAY, HOUR};

/// A number from the environment.
fn told(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[tokio::test(start_paused = true)]
async fn thirty_days_among_faults_lose_and_invent_nothing() {
    let seed = told("SEGSYNC_SEED").unwrap_or(3);
    let days = told("SEGSYNC_DAYS").map_or(30, |days| i64::try_from(days).expect("few"));
    println!("SEGSYNC_SEED={seed} SEGSYNC_DAYS={days}");
    let stage = Stage::new(seed, days * DAY - 12 * HOUR, days * DAY).await;
    let story = stage.play().await;
    println!("{story}");
    assert!(story.findings.is_empty(), "seed {seed}:\n{}", story.findings.join("\n"));
}
