//! A simulated Statsig for trying the daemon by hand or from a script: prints its base URL, then obeys lines from standard
//! input, and answers each with a line.
//!
//! ```text
//! describe ID TEXT     edit a segment
//! key KEY              accept this key and no other
//! status N             answer every request with this status
//! hold SECONDS         answer 429 with this Retry-After
//! slow SECONDS         answer that late
//! well                 answer as it should
//! count                requests so far, and how many of them broke a limit
//! ```
#![allow(clippy::print_stdout, reason = "its answers are what it is for")]

use std::io::{BufRead, Write, stdin, stdout};
use std::time::Duration;

use segsync::simulator::lively::statsig;
use segsync::simulator::{Fault, On, Provider, Settings, Simulator, Times};

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let simulator = runtime.block_on(Simulator::start(Settings::default()))?;
    for segment in statsig() {
        simulator.statsig().add(segment);
    }
    say(&simulator.base_url(Provider::Statsig))?;
    for line in stdin().lock().lines() {
        let answer = obey(&simulator, &line?).unwrap_or_else(|| "not understood".to_owned());
        say(&answer)?;
    }
    runtime.block_on(simulator.stop());
    Ok(())
}

fn say(line: &str) -> std::io::Result<()> {
    println!("{line}");
    stdout().flush()
}

/// Does what a line says.
fn obey(simulator: &Simulator, line: &str) -> Option<String> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let always = |fault| simulator.misbehave(Provider::Statsig, On::Any, Times::Always, fault);
    simulator.behave(Provider::Statsig);
    match word {
        "describe" => {
            let (id, text) = rest.split_once(' ')?;
            simulator.statsig().edit(id, |segment| segment.describe(text)).ok()?;
        }
        "key" => simulator.set_keys(Provider::Statsig, &[rest]),
        "status" => always(Fault::status(rest.parse().ok()?)),
        "hold" => always(Fault::status(429).header("retry-after", rest)),
        "slow" => always(Fault::answer().wait(Duration::from_secs(rest.parse().ok()?))),
        "well" => (),
        "count" => return Some(format!("{} {}", simulator.arrivals().len(), simulator.violations())),
        _ => return None,
    }
    Some("done".to_owned())
}
