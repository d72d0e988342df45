//! What a provider says is left reaches the budget: from the header on the wire to the account's use.

use segsync::clock::Clock;
use segsync::config;
use segsync::daemon::{self, Prepared};
use segsync::provider;
use segsync::simulator::{Fault, On, Provider, STATSIG_KEY, Settings, Simulator, Times, statsig};
use tokio_util::sync::CancellationToken;

/// How many requests count after a pass of one request, of 100 an hour.
async fn used_after(headers: &[(&str, &str)], status: Option<u16>) -> usize {
    let simulator = Simulator::start(Settings::default().limited(&[])).await.unwrap();
    simulator.statsig().add(statsig::Segment::new("a", "rule_based"));
    let fault = headers
        .iter()
        .fold(status.map_or_else(Fault::answer, Fault::status), |fault, (name, value)| fault.header(name, value));
    simulator.misbehave(Provider::Statsig, On::Any, Times::Next(1), fault);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), STATSIG_KEY).unwrap();
    let text = format!(
        "[store]\npath = {:?}\n[[source]]\nname = \"s\"\nprovider = \"statsig\"\nbase_url = {:?}\n\
         api_key = {{ file = {:?} }}\nsegments = [\"a\"]\n\
         limits = [{{ requests = 100, per = \"1h\" }}]\n",
        folder.path().join("db"),
        simulator.base_url(Provider::Statsig),
        folder.path().join("key"),
    );
    let config = config::parse(&text, "remaining.toml", &provider::catalogue()).unwrap();
    let (clock, never) = (Clock::system(), CancellationToken::new());
    let prepared = Prepared::new(config, &clock).unwrap();
    let pass = daemon::pass(prepared, None, &clock, &never, |_, _| ()).await.unwrap();
    assert_eq!((pass.endings.len(), simulator.arrivals().len()), (1, 1));
    simulator.stop().await;
    pass.usage[0].1.used[0].1
}

#[tokio::test]
async fn what_others_took_counts_and_no_header_gives_anything_back() {
    assert_eq!(used_after(&[("ratelimit", r#""default";r=40;t=1800"#)], None).await, 60);
    assert_eq!(used_after(&[("x-ratelimit-remaining", "40"), ("x-ratelimit-reset", "1800")], Some(500)).await, 60);
    assert_eq!(used_after(&[("ratelimit-remaining", "5000"), ("ratelimit-reset", "1800")], None).await, 1);
    assert_eq!(used_after(&[("ratelimit-remaining", "40"), ("ratelimit-reset", "-5")], None).await, 1);
}
