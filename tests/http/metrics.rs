//! `/metrics`: what Prometheus reads, and that it is the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use segsync::simulator::{Fault, OCTAVE_KEY, On, Provider, STATSIG_KEY, Times};

use crate::common::{Bench, ID};
use crate::http::client::Caller;

const TOKEN: &str = "a-token-of-some-length";

/// A page in the text format, by the names of its metrics.
#[derive(Debug, Default)]
struct Page {
    kinds: BTreeMap<String, String>,
    helps: BTreeSet<String>,
    samples: BTreeMap<String, f64>,
}

impl Page {
    fn read(text: &str) -> Self {
        let mut page = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(
                    help.ends_with('.') && help.starts_with(|first: char| first.is_uppercase() || first == '1'),
                    "{line}"
                );
                assert!(page.helps.insert(name.to_owned()), "{line} comes twice");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(page.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{line} comes twice");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                assert!(page.samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{line} comes twice");
            }
        }
        page
    }

    /// The conventions, which `promtool check metrics` looks at as well.
    fn check(&self) {
        let named: BTreeSet<&String> = self.kinds.keys().collect();
        assert_eq!(named, self.helps.iter().collect(), "each has its help and its type");
        for (name, kind) in &self.kinds {
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            assert!(name.starts_with("segsync_") || name.starts_with("process_"), "{name}");
        }
        let mut used = BTreeSet::new();
        for (series, value) in &self.samples {
            let name = series.split('{').next().unwrap();
            let part = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let name =
                part.filter(|name| self.kinds.get(*name).is_some_and(|kind| kind == "histogram")).unwrap_or(name);
            assert!(self.kinds.contains_key(name), "{series} has no type");
            assert!(*value >= 0.0, "{series} {value}");
            used.insert(name.to_owned());
        }
        assert_eq!(used, self.helps, "none is without a value");
        for (series, count) in self.samples.iter().filter(|(series, _)| series.contains("_bucket{")) {
            if series.contains("le=\"+Inf\"") {
                let all = series.replace("_bucket", "_count").replace(",le=\"+Inf\"", "").replace("{le=\"+Inf\"}", "");
                assert_eq!(self.samples.get(&all), Some(count), "{all}");
            }
        }
    }

    fn value(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("no {series} in {self:#?}"))
    }

    /// The series of a metric that are not zero, with their values.
    fn of(&self, name: &str) -> Vec<String> {
        let is_of = |series: &&String| series.split('{').next() == Some(name);
        let all = self.samples.iter().filter(|(series, value)| is_of(series) && **value > 0.0);
        all.map(|(series, value)| format!("{} {value}", &series[name.len()..])).collect()
    }
}

async fn scrape(caller: &Caller) -> (String, Page) {
    let told = caller.get("/metrics").await;
    assert_eq!((told.status, told.header("content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    let page = Page::read(&told.text);
    (told.text, page)
}

#[tokio::test]
async fn the_page_keeps_the_conventions_and_tells_what_the_file_tells() {
    let mut bench = Bench::new().await;
    let token = bench.folder.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    bench.written.http = format!("listen = \"127.0.0.1:0\"\ntoken = {{ file = {token:?} }}");
    bench.written.source = "limits = [{ requests = 100, per = \"10s\" }, { requests = 900, per = \"15m\" }]".to_owned();
    bench.simulator.misbehave(Provider::Octave, On::Any, Times::Next(1), Fault::status(500));
    let (text, page, rows) = bench
        .run(async |running| {
            for _ in 0..2 {
                running.events.recv().await.unwrap();
            }
            let caller = Caller::with_token(&running.api, TOKEN);
            assert_eq!(Caller::new(&running.api).get("/metrics").await.status, 401);
            let segment = format!("/v1/segments/statsig/{ID}");
            assert_eq!(caller.get(&segment).await.status, 200);
            assert_eq!(caller.get("/v1/segments/statsig/nobody-knows-it").await.status, 404);
            assert_eq!(caller.get("/nowhere/at/all").await.status, 404);
            // The last counts move a moment after the commit that was heard of.
            loop {
                let (text, page) = scrape(&caller).await;
                if page.of("segsync_polls_total").len() == 3 && page.of("segsync_segments").len() == 2 {
                    let polls = "SELECT src.name, p.outcome, count(*) FROM polls AS p
                        JOIN sources AS src ON src.id = p.source_id GROUP BY 1, 2 ORDER BY 1, 2";
                    return (text, page, bench.rows(polls));
                }
            }
        })
        .await;
    page.check();
    assert_eq!(rows, ["octave created 1", "octave failed 1", "statsig created 1"]);
    let told = page.of("segsync_polls_total");
    for row in rows {
        let [source, outcome, count] = row.split(' ').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let series = format!("{{source=\"{source}\",outcome=\"{outcome}\"}} {count}");
        assert!(told.contains(&series), "{series} is not in {told:?}");
    }
    assert_eq!(page.of("segsync_versions_total").len(), 2);
    assert_eq!(page.value("segsync_provider_request_duration_seconds_count{source=\"octave\"}"), 2.0);
    let one = "segsync_http_requests_total{route=\"/v1/segments/{source}/{id}\",status";
    assert_eq!(page.value(&format!("{one}=\"200\"}}")), 1.0);
    assert_eq!(page.value(&format!("{one}=\"404\"}}")), 1.0);
    assert_eq!(page.value("segsync_http_requests_total{route=\"/metrics\",status=\"401\"}"), 1.0);
    for label in ["source=\"statsig\"", "source=\"octave\""] {
        assert_eq!(page.value(&format!("segsync_segments{{{label},state=\"present\"}}")), 1.0);
        assert_eq!(page.value(&format!("segsync_stale_segments{{{label}}}")), 0.0);
        page.value(&format!("segsync_oldest_segment_age_seconds{{{label}}}"));
    }
    assert_eq!(page.value("segsync_budget_used{account=\"octave\",window=\"15m\"}"), 2.0);
    assert_eq!(page.value("segsync_budget_limit{account=\"octave\",window=\"10s\"}"), 100.0);
    for name in ["segsync_database_bytes", "segsync_wal_bytes", "segsync_commit_duration_seconds_count"] {
        assert!(page.value(name) > 0.0, "{name}");
    }
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
        assert!(page.value(name) > 0.0, "{name}");
    }
    for secret in [STATSIG_KEY, OCTAVE_KEY, TOKEN, ID, "nobody-knows-it", "nowhere"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    // For `tests/promtool/run`.
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.txt"), text).unwrap();
}
