//! Whether the cost of a segment stays the same where there are more of them, as a table and as `docs/growth.svg`.
//!
//! Costs are CPU time: what else the machine does leaves it nearly whole. What a daemon takes with a single segment is taken
//! off from starts and memory.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::common::{Report, Took, World, own_cpu};
use super::import::{import, observations};
use super::life::{memory, restart};
use super::poll::{at_work, changed, unchanged};

const PLOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/growth.svg");

/// How far a cost may be from that of the fewest segments, either way.
const BAND: f64 = 0.2;

/// What is measured, with its unit.
const LINES: [(&str, &str); 7] = [
    ("poll, unchanged", "µs"),
    ("poll, one field changed", "µs"),
    ("sweep, unchanged", "µs"),
    ("start", "µs"),
    ("memory", "bytes"),
    ("import, a line", "µs"),
    ("all as of a time", "µs"),
];

/// Lines of an import for each segment.
const OBSERVATIONS: usize = 3;

/// The cost of one segment, by line, where there are so many.
async fn costs(segments: usize) -> [f64; 7] {
    let each = |cpu: f64| cpu / segments as f64 * 1e6;
    let mut world = World::new(segments).await;
    at_work(&world, "list").await.end().await;
    let swept = unchanged(&world, "list").await.cpu;
    let unchanged = unchanged(&world, "each").await.cpu;
    let changed = changed(&mut world).await.cpu;
    let [least, start] = [restart_alone().await, restart(&world, 5).await];
    let grown = memory(&world, 3 * segments.div_ceil(100)).await as f64 - alone().await;
    let past = as_of(&world.folder.path().join("speed.db"), segments);
    world.end().await;
    let imported = imported(segments) / OBSERVATIONS as f64;
    [
        each(unchanged),
        each(changed),
        each(swept),
        each(start.cpu - least.cpu),
        grown / segments as f64,
        each(imported),
        each(past),
    ]
}

/// A start with a single segment.
async fn restart_alone() -> Took {
    let world = World::new(1).await;
    at_work(&world, "list").await.end().await;
    let took = restart(&world, 5).await;
    world.end().await;
    took
}

/// Resident bytes with a single segment.
async fn alone() -> f64 {
    let world = World::new(1).await;
    let resident = memory(&world, 3).await as f64;
    world.end().await;
    resident
}

/// CPU time of reading all segments as of now, the best of three.
fn as_of(file: &Path, segments: usize) -> f64 {
    let file = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("opened");
    let sql = "SELECT count(*), sum(length(document)) FROM segment_history
               WHERE valid_from <= ?1 AND (valid_to IS NULL OR valid_to > ?1)";
    let once = || {
        let began = own_cpu();
        let found: i64 = file.query_row(sql, ["2999"], |row| row.get(0)).expect("read");
        assert_eq!(usize::try_from(found), Ok(segments));
        own_cpu() - began
    };
    (0..3).map(|_| once()).fold(f64::INFINITY, f64::min)
}

/// CPU time of an import of all segments, without what an empty one takes; small ones are repeated, as that of children is
/// told in hundredths of a second.
fn imported(segments: usize) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let [full, empty] = [folder.path().join("full"), folder.path().join("empty")];
    observations(&full, segments * OBSERVATIONS, segments, 10);
    observations(&empty, 0, 1, 1);
    let times = (100_000 / segments).clamp(1, 20);
    let mut spent = 0.0;
    for time in 0..times {
        spent += import(folder.path(), &format!("full{time}"), &full);
        spent -= import(folder.path(), &format!("empty{time}"), &empty);
    }
    spent / times as f64
}

/// Measures `sizes`, tells and draws.
pub async fn measure(report: &Report, sizes: &[usize]) {
    let mut all = BTreeMap::new();
    for &segments in sizes {
        eprintln!("{segments} segments");
        all.insert(segments, costs(segments).await);
    }
    for (line, (what, unit)) in LINES.iter().enumerate() {
        let costs: Vec<f64> = all.values().map(|costs| costs[line]).collect();
        let farthest = costs
            .iter()
            .map(|cost| cost / costs[0])
            .fold(1.0, |far: f64, ratio| if (ratio - 1.0).abs() > (far - 1.0).abs() { ratio } else { far });
        let shown: Vec<String> = costs.iter().map(|cost| format!("{cost:.1}")).collect();
        report.flat(
            &format!("growth: {what}, for each segment"),
            &format!("{} {unit}", shown.join(", ")),
            farthest,
            BAND,
        );
    }
    std::fs::write(PLOT, plot(&all)).expect("written");
    eprintln!("drawn: {PLOT}");
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
/// Where the axes are: left, right, top, bottom.
const FRAME: [f64; 4] = [70.0, 440.0, 50.0, 360.0];
/// The highest share that is drawn at least, and how far apart the rules are.
const MOST: f64 = 2.0;
const RULE: f64 = 0.5;
/// Legible on white and on black.
const COLOURS: [&str; 7] = ["#2f81f7", "#db6d28", "#2da44e", "#bf5af2", "#e5484d", "#8b949e", "#c69026"];

/// The costs with the fewest segments.
fn first(all: &BTreeMap<usize, [f64; 7]>) -> [f64; 7] {
    all.values().next().copied().expect("a size")
}

/// Each cost as a share of that with the fewest segments, as a picture.
fn plot(all: &BTreeMap<usize, [f64; 7]>) -> String {
    let [left, right, top, bottom] = FRAME;
    let sizes: Vec<usize> = all.keys().copied().collect();
    let wide = (sizes.len().max(2) - 1) as f64;
    let x = |at: usize| left + (right - left) * at as f64 / wide;
    let shares = all.values().flat_map(|costs| costs.iter().zip(first(all)).map(|(cost, first)| cost / first));
    let rules = (shares.fold(MOST, f64::max) / RULE).ceil();
    let y = |share: f64| bottom - (bottom - top) * share / (rules * RULE);
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">
<style>
.paper {{ fill: #ffffff }} .ink {{ fill: #1f2328 }} .rule {{ stroke: #8b949e; stroke-width: 0.5 }} .band {{ fill: #8b949e; opacity: 0.2 }}
@media (prefers-color-scheme: dark) {{ .paper {{ fill: #0d1117 }} .ink {{ fill: #e6edf3 }} }}
</style>
<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>
<text class="ink" x="{left}" y="26" font-size="15">Cost of a segment, by how many there are</text>
<rect class="band" x="{left}" y="{:.1}" width="{:.1}" height="{:.1}"/>
"#,
        y(1.0 + BAND),
        right - left,
        y(1.0 - BAND) - y(1.0 + BAND)
    );
    let mut put = |text: String| writeln!(svg, "{text}").expect("written");
    for share in (0..).map(|rule| f64::from(rule) * RULE).take_while(|share| *share <= rules * RULE) {
        let at = y(share);
        put(format!(r#"<line class="rule" x1="{left}" y1="{at:.1}" x2="{right}" y2="{at:.1}"/>"#));
        put(format!(
            r#"<text class="ink" x="{:.1}" y="{:.1}" text-anchor="end">{:.0} %</text>"#,
            left - 6.0,
            at + 4.0,
            share * 100.0
        ));
    }
    for (at, size) in sizes.iter().enumerate() {
        put(format!(
            r#"<text class="ink" x="{:.1}" y="{:.1}" text-anchor="middle">{size}</text>"#,
            x(at),
            bottom + 18.0
        ));
    }
    let middle = f64::midpoint(left, right);
    put(format!(r#"<text class="ink" x="{middle}" y="{:.1}" text-anchor="middle">segments</text>"#, bottom + 38.0));
    put(format!(
        r#"<text class="ink" transform="translate(18 {:.1}) rotate(-90)" text-anchor="middle">share of the cost at {}</text>"#,
        f64::midpoint(top, bottom),
        sizes[0]
    ));
    for (line, ((what, unit), colour)) in LINES.iter().zip(COLOURS).enumerate() {
        let costs: Vec<f64> = all.values().map(|costs| costs[line]).collect();
        let place = |(at, cost): (usize, &f64)| format!("{:.1},{:.1}", x(at), y(cost / costs[0]));
        let points: Vec<String> = costs.iter().enumerate().map(place).collect();
        put(format!(r#"<polyline fill="none" stroke="{colour}" stroke-width="2" points="{}"/>"#, points.join(" ")));
        let (legend, row) = (right + 24.0, top + 6.0 + line as f64 * 42.0);
        let shown: Vec<String> = costs.iter().map(|cost| format!("{cost:.0}")).collect();
        put(format!(
            r#"<line x1="{legend}" y1="{row:.1}" x2="{}" y2="{row:.1}" stroke="{colour}" stroke-width="3"/>"#,
            legend + 20.0
        ));
        put(format!(r#"<text class="ink" x="{}" y="{:.1}">{what}</text>"#, legend + 28.0, row + 4.0));
        put(format!(
            r#"<text class="ink" x="{}" y="{:.1}" font-size="11">{} {unit}</text>"#,
            legend + 28.0,
            row + 19.0,
            shown.join(" · ")
        ));
    }
    svg + "</svg>\n"
}
