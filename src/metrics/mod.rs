//! What the daemon counts and measures, for Prometheus.
//!
//! One [`Metrics`] belongs to one daemon and is handed to whoever counts; nothing is global, so two daemons in one
//! process do not mix. Counts move after the commit that they tell of. What can be read off the running daemon is not
//! kept here at all: a [`Gauges`] is filled at each scrape. Labels are names of sources, the program's own words and
//! templates of routes: never a segment's id, a URL or anything else that has no bound.

mod gauges;
mod process;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::model::{Op, Outcome, SourceName, UnixMs};

pub use gauges::Gauges;

/// The media type of [`Metrics::page`].
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// Bounds in seconds, for requests to providers: a fast cache of theirs to the longest time-outs.
const REQUEST: [f64; 10] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// … for commits: memory to a disk in trouble.
const COMMIT: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// … for answers of the local API: the cache to a request that waits for the provider.
const SERVE: [f64; 10] = [0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0];

/// The counters of one daemon. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Shared>);

struct Shared {
    registry: Registry,
    started: UnixMs,
    polls: Family<Poll, Counter>,
    requests: Family<BySource, Histogram, fn() -> Histogram>,
    versions: Family<Version, Counter>,
    changes: Family<BySource, Counter>,
    compacted: Counter,
    commits: Histogram,
    cache_hits: Counter,
    cache_misses: Counter,
    connections: Gauge,
    served: Family<Served, Counter>,
    serving: Family<ByRoute, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySource {
    source: SourceName,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Poll {
    source: SourceName,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Version {
    source: SourceName,
    op: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRoute {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Served {
    route: String,
    status: u16,
}

impl EncodeLabelValue for SourceName {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl Metrics {
    /// Counters at zero, of a process that started at `started`.
    pub fn new(started: UnixMs) -> Self {
        let shared = Shared {
            registry: Registry::default(),
            started,
            polls: Family::default(),
            requests: Family::new_with_constructor(|| Histogram::new(REQUEST)),
            versions: Family::default(),
            changes: Family::default(),
            compacted: Counter::default(),
            commits: Histogram::new(COMMIT),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            connections: Gauge::default(),
            served: Family::default(),
            serving: Family::new_with_constructor(|| Histogram::new(SERVE)),
        };
        Self(Arc::new(shared.registered()))
    }

    /// Shows the counters of a source, at zero where they were not there yet: a rate over one that appears with its first
    /// count would miss that.
    pub fn expect(&self, source: &SourceName) {
        for outcome in Outcome::ALL {
            self.0.polls.get_or_create_owned(&Poll { source: source.clone(), outcome: outcome.as_str() });
        }
        for op in Op::ALL {
            self.0.versions.get_or_create_owned(&Version { source: source.clone(), op: op.as_str() });
        }
        self.0.changes.get_or_create_owned(&BySource { source: source.clone() });
        self.0.requests.get_or_create_owned(&BySource { source: source.clone() });
    }

    /// A request to a provider has ended, well or not, after `took`.
    pub fn requested(&self, source: &SourceName, took: Duration) {
        self.0.requests.get_or_create(&BySource { source: source.clone() }).observe(took.as_secs_f64());
    }

    /// The end of a poll is in the file.
    pub fn polled(&self, source: &SourceName, outcome: Outcome) {
        self.0.polls.get_or_create(&Poll { source: source.clone(), outcome: outcome.as_str() }).inc();
    }

    /// A version with so many changes is in the file.
    pub fn versioned(&self, source: &SourceName, op: Op, changes: usize) {
        self.0.versions.get_or_create(&Version { source: source.clone(), op: op.as_str() }).inc();
        self.0.changes.get_or_create(&BySource { source: source.clone() }).inc_by(changes as u64);
    }

    /// So many versions are no longer kept.
    pub fn compacted(&self, versions: usize) {
        self.0.compacted.inc_by(versions as u64);
    }

    /// A transaction has been committed, or has failed, after `took`.
    pub fn committed(&self, took: Duration) {
        self.0.commits.observe(took.as_secs_f64());
    }

    /// The cache had what was asked for, or had to read it.
    pub fn looked_up(&self, had: bool) {
        if had { &self.0.cache_hits } else { &self.0.cache_misses }.inc();
    }

    /// A request of the local API was answered. `route` is a template, not a URL.
    pub fn served(&self, route: &str, status: u16, took: Duration) {
        let route = route.to_owned();
        self.0.served.get_or_create(&Served { route: route.clone(), status }).inc();
        self.0.serving.get_or_create(&ByRoute { route }).observe(took.as_secs_f64());
    }

    /// A connection of the local API is open until what this returns is dropped.
    pub fn connected(&self) -> Connected {
        self.0.connections.inc();
        Connected(self.0.connections.clone())
    }

    /// Everything as a page in the Prometheus text format, with `gauges` and what the system tells of this process.
    pub fn page(&self, mut gauges: Gauges) -> String {
        gauges.one("segsync_build_info", "Which segsync this is", [("version", env!("CARGO_PKG_VERSION"))], 1.0);
        let mut now = Registry::default();
        now.register_collector(Box::new(gauges));
        process::register(&mut now, self.0.started);
        let mut page = String::new();
        for registry in [&now, &self.0.registry] {
            // Writing into a string does not fail.
            prometheus_text::encode(&mut page, registry).unwrap_or(());
        }
        page
    }
}

/// An open connection of the local API.
#[derive(Debug)]
#[must_use]
pub struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Shared {
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        // The names of counters end in `_total` and the help in a full stop, both added by the encoder.
        registry.register(
            "segsync_polls",
            "Requests to providers whose end is in the file, by what became of them",
            self.polls.clone(),
        );
        registry.register(
            "segsync_provider_request_duration_seconds",
            "From sending a request to the last byte of the answer, or to giving up",
            self.requests.clone(),
        );
        registry.register("segsync_versions", "Versions committed", self.versions.clone());
        registry.register("segsync_changes", "Changed fields committed", self.changes.clone());
        registry.register(
            "segsync_compacted_versions",
            "Versions that were let go because they ended longer ago than keep_versions",
            self.compacted.clone(),
        );
        registry.register(
            "segsync_commit_duration_seconds",
            "How long one transaction took, the disk included",
            self.commits.clone(),
        );
        registry.register("segsync_cache_hits", "Lookups that the cache answered", self.cache_hits.clone());
        registry.register("segsync_cache_misses", "Lookups that read the database", self.cache_misses.clone());
        registry.register("segsync_http_connections", "Open connections of the local API", self.connections.clone());
        registry.register("segsync_http_requests", "Requests to the local API", self.served.clone());
        registry.register(
            "segsync_http_request_duration_seconds",
            "From the head of a request to the local API to the head of its answer",
            self.serving.clone(),
        );
        self
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_of_one_daemon() {
        let [one, other] = [1, 2].map(|ms| Metrics::new(UnixMs(ms)));
        let source = SourceName::new("prod");
        one.expect(&source);
        one.polled(&source, Outcome::Created);
        one.versioned(&source, Op::Create, 3);
        let page = one.page(Gauges::default());
        for line in [
            "segsync_polls_total{source=\"prod\",outcome=\"created\"} 1",
            "segsync_polls_total{source=\"prod\",outcome=\"failed\"} 0",
            "segsync_versions_total{source=\"prod\",op=\"create\"} 1",
            "segsync_changes_total{source=\"prod\"} 3",
            "process_start_time_seconds 0.001",
            concat!("segsync_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1.0"),
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing:\n{page}");
        }
        assert!(!other.page(Gauges::default()).contains("prod"));
    }

    #[test]
    fn gauges_keep_their_order_and_escape_what_labels_hold() {
        let mut gauges = Gauges::default();
        gauges.each("b_ratio", "Help", ["name"], [(["z"], 0.5), (["a\"\\\n"], 2.0)]);
        gauges.each("nothing", "Help", ["name"], []);
        gauges.one("a_bytes", "Help", [], 7.0);
        let page = Metrics::new(UnixMs(0)).page(gauges);
        let expected = "# HELP b_ratio Help.\n# TYPE b_ratio gauge\nb_ratio{name=\"z\"} 0.5\n\
                        b_ratio{name=\"a\\\"\\\\\\n\"} 2.0\n# HELP a_bytes Help.\n# TYPE a_bytes gauge\na_bytes 7.0\n";
        assert!(page.starts_with(expected), "{page}");
        assert!(!page.contains("nothing"));
    }
}
