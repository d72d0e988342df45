//! The configuration: what is accepted reads back as it was, and what is refused is told in lines that an operator can find.

use segsync::config::{self, Config, Problems};
use segsync::provider;

fn parse(text: &str) -> Result<Config, Problems> {
    config::parse(text, "x.toml", &provider::catalogue())
}

/// Any text is a configuration or has problems, one a line.
pub fn any(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(text) {
        Ok(config) => {
            let shown = config.show();
            match parse(&shown) {
                Ok(again) => assert_eq!(again, config, "{shown}"),
                Err(problems) => panic!("{problems}\n{shown}"),
            }
            is_sound(&config);
        }
        Err(problems) => {
            let lines = text.split('\n').count();
            let told = problems.to_string();
            assert_eq!(told.lines().count(), problems.iter().count(), "a problem is one line: {told:?}");
            assert!(told.chars().all(|c| c == '\n' || !c.is_control()), "{told:?}");
            assert!(problems.iter().next().is_some());
            assert!(problems.iter().is_sorted_by_key(|problem| (problem.line, problem.column)));
            for problem in problems.iter() {
                assert!((1..=lines).contains(&problem.line) && problem.column >= 1, "{problem}");
                assert!(!problem.what.is_empty());
            }
        }
    }
}

/// A checked configuration needs no further checks.
fn is_sound(config: &Config) {
    assert!(!config.sources.is_empty());
    for source in &config.sources {
        assert!(source.burst >= 1 && source.share > 0.0 && source.share <= 1.0 && source.stale_after >= 1.0);
        assert!((1..=1000).contains(&source.concurrency) && !source.timeout.is_zero() && !source.every.is_zero());
        assert!(source.limits.iter().all(|limit| limit.per <= config.store.keep_polls && limit.requests >= 1));
        let is_loopback = source.base_url.host_str().is_some_and(|host| {
            host == "localhost"
                || host
                    .trim_matches(['[', ']'])
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|ip| ip.to_canonical().is_loopback())
        });
        assert!(source.base_url.scheme() == "https" || is_loopback, "{}", source.base_url);
        let mut ids: Vec<&str> = source.segments.named().iter().map(|segment| &*segment.id).collect();
        assert!(ids.iter().all(|id| !id.trim().is_empty()));
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "an id twice");
    }
}
