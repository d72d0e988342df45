//! What goes wrong at a provider, in spells of different lengths.

use std::time::{Duration, UNIX_EPOCH};

use segsync::simulator::{Fault, Moment, On, Provider, Times};

use crate::soak::stage::{SEGMENTS, Stage, ids, key};
use crate::soak::time::{HOUR, MINUTE, about, span};

/// A kind of misbehaviour, and which requests it can be asked for without the provider telling a lie about a segment.
struct Wrong {
    name: &'static str,
    on: On,
    fault: Fault,
}

impl Stage {
    /// A provider has its spells, of different lengths, in which everything goes wrong or some of it.
    pub async fn fail(&self, provider: Provider) {
        let mut random = self.random(key(provider));
        self.behave(provider, &mut random);
        loop {
            tokio::time::sleep(about(&mut random, 11 * HOUR)).await;
            if self.is_quiet() {
                return;
            }
            let longest = [10 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR][random.usize(..4)];
            let lasts = random.i64(longest / 4..longest);
            let phases = random.i64(1..4);
            for _ in 0..phases {
                self.phase(provider, lasts / phases, &mut random).await;
            }
        }
    }

    /// One thing goes wrong for a while.
    async fn phase(&self, provider: Provider, lasts: i64, random: &mut fastrand::Rng) {
        let id = ids(provider).swap_remove(random.usize(..SEGMENTS));
        let Wrong { name, on, fault } = any(random, self.machine.wall(), &id);
        let how = random.u8(0..10);
        let what = match how {
            0 => "401",
            1 => "empty list",
            _ => name,
        };
        let place = self.begin(Some(provider), what);
        self.simulator.behave(provider);
        match how {
            0 => self.simulator.set_keys(provider, &["a key of somebody else"]),
            1 => {
                let empty = Fault::answer().json(r#"{"data":[]}"#);
                self.simulator.misbehave(provider, On::List, Times::Always, empty);
            }
            2..5 => self.simulator.misbehave(provider, on, Times::Next(random.usize(1..6)), fault),
            5..7 => {
                for _ in 0..20 {
                    let right = Times::Next(random.usize(1..4));
                    self.simulator.misbehave(provider, on.clone(), Times::Next(random.usize(1..4)), fault.clone());
                    self.simulator.misbehave(provider, on.clone(), right, Fault::answer());
                }
            }
            _ => self.simulator.misbehave(provider, on, Times::Always, fault),
        }
        tokio::time::sleep(span(lasts)).await;
        self.simulator.set_keys(provider, &[key(provider)]);
        self.behave(provider, random);
        self.over(place);
    }

    /// From now on the provider answers rightly, after some time.
    fn behave(&self, provider: Provider, random: &mut fastrand::Rng) {
        self.simulator.behave(provider);
        let latency = span(random.i64(30..900));
        self.simulator.misbehave(provider, On::Any, Times::Always, Fault::answer().wait(latency));
    }
}

/// Any kind; `wall` is the time, for dates, and `id` a segment of the provider.
fn any(random: &mut fastrand::Rng, wall: i64, id: &str) -> Wrong {
    let any = |name, fault| Wrong { name, on: On::Any, fault };
    let seconds = random.i64(1..1200);
    match random.u8(0..24) {
        0 => any("500", Fault::status(500)),
        1 => any("502 with HTML", Fault::status(502).html("<h1>Bad gateway</h1>")),
        2 => any("503 with Retry-After", Fault::status(503).header("retry-after", &seconds.to_string())),
        3 => any("408", Fault::status(408)),
        4 => any("204", Fault::status(204)),
        5 | 6 => any("429 with seconds", Fault::retry_after(&seconds.to_string())),
        7 => any("429 with a date", Fault::retry_after(&date(wall + seconds * 1000))),
        8 => any("429", Fault::status(429)),
        9 => any("403", Fault::status(403)),
        10 | 11 => any("hangs", Fault::answer().wait(Duration::from_secs(3600))),
        12 | 13 => any("slow", Fault::answer().wait(span(random.i64(500..9_500)))),
        14 => any("slow and late", Fault::answer().wait(span(random.i64(8_000..12_000)))),
        15 => any("drips", Fault::answer().drip(5, span(random.i64(100..1_800)))),
        16 => any("reset before headers", Fault::reset(Moment::BeforeHeaders)),
        17 => any("reset after headers", Fault::reset(Moment::AfterHeaders)),
        18 => any("reset in the body", Fault::reset(Moment::MidBody)),
        19 => any("truncated", Fault::truncated()),
        20 => any("garbage", Fault::garbage(b"\x16\x03\x01 this is no HTTP\r\n\r\n")),
        21 => any("no JSON", Fault::answer().json("{\"data\":")),
        22 => any("redirect", Fault::redirect("http://127.0.0.1:9/elsewhere")),
        _ => {
            let fault = if random.bool() { Fault::missing_id() } else { Fault::wrong_id("somebody_else") };
            Wrong { name: "another segment", on: On::Segment(id.to_owned()), fault }
        }
    }
}

fn date(wall: i64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + span(wall))
}
