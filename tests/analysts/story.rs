//! The example of `docs/analysts.md`: three months of two small accounts, told by real polls of the simulated providers at
//! fixed times. The documents are written out here, so that nothing in the file depends on the machine's clock.

use std::sync::{Arc, Mutex};

use segsync::clock::{self, Clock};
use segsync::model::UnixMs;
use segsync::simulator::{Fault, Times};
use serde_json::{Value, json};

use crate::common::{Bench, unlimited};

/// A wall clock that stands until it is set.
#[derive(Clone)]
struct Wall(Arc<Mutex<i64>>);

impl clock::Source for Wall {
    fn wall(&self) -> UnixMs {
        UnixMs(*self.0.lock().unwrap())
    }
    fn boot_ms(&self) -> i64 {
        self.wall().0 - at("2026-03-01T00:00:00Z")
    }
    fn boot_id(&self) -> Option<String> {
        Some("the only boot".to_owned())
    }
}

fn at(text: &str) -> i64 {
    UnixMs::parse(text).unwrap().0
}

struct Story {
    bench: Bench,
    wall: Wall,
}

/// The file after the last poll.
pub(crate) async fn example() -> Bench {
    let wall = Wall(Arc::new(Mutex::new(0)));
    let mut bench = Bench::empty(unlimited()).await;
    bench.clock = Clock::new(wall.clone());
    bench.written.source = "limits = []\nconcurrency = 1".to_owned();
    bench.written.statsig =
        ["beta_users", "checkout_experiment", "legacy_app", "newsletter_readers", "staff"].map(str::to_owned).to_vec();
    bench.written.octave = ["sg_banks", "sg_games"].map(str::to_owned).to_vec();
    let story = Story { bench, wall };
    story.tell().await;
    story.bench
}

impl Story {
    fn statsig(&self, documents: &[&Value]) {
        for document in documents {
            self.bench.simulator.statsig().put_raw(document["id"].as_str().unwrap(), &document.to_string());
        }
    }

    fn octave(&self, documents: &[&Value]) {
        for document in documents {
            self.bench.simulator.octave().put_raw(document["oId"].as_str().unwrap(), &document.to_string());
        }
    }

    /// Everything is polled once at this time.
    async fn poll(&self, time: &str) {
        *self.wall.0.lock().unwrap() = at(time);
        self.bench.pass().await;
    }

    async fn tell(&self) {
        let mut beta = statsig("beta_users", "Growth", "2026-02-20T10:00:00Z", "Ann", 1);
        beta["rules"] = json!([
            rule("r1", "beta testers", 100, &[condition("country", "any", &json!(["SE", "NO", "DK"]))]),
            rule("r2", "early birds", 10, &[number("signup_rank", 500)]),
        ]);
        let mut checkout = statsig("checkout_experiment", "Growth", "2026-02-21T10:00:00Z", "Ben", 1);
        checkout["rules"] = json!([
            rule("r3", "ramp", 10, &[condition("public", "any", &Value::Null)]),
            rule("r4", "partners", 100, &[condition("email", "str_contains_any", &json!(["@partner.example"]))]),
        ]);
        let mut staff = statsig("staff", "Platform", "2026-02-22T10:00:00Z", "Cem", 1);
        staff["rules"] =
            json!([rule("r5", "by domain", 100, &[condition("email", "str_contains_any", &json!(["@example.com"]))])]);
        let mut legacy = statsig("legacy_app", "Platform", "2026-02-23T10:00:00Z", "Cem", 1);
        legacy["rules"] =
            json!([rule("r6", "old versions", 100, &[condition("app_version", "version_lt", &json!("5.0.0"))])]);
        let mut list = statsig("newsletter_readers", "Marketing", "2026-02-24T10:00:00Z", "Dee", 1);
        list["type"] = json!("id_list");
        list["count"] = json!(48_211);
        self.statsig(&[&beta, &checkout, &staff, &legacy, &list]);
        let mut banks = octave("sg_banks", "Regional Banks", "2026-02-25T10:00:00.000Z");
        let games = octave("sg_games", "Game Studios", "2026-02-25T10:00:00.000Z");
        self.octave(&[&banks, &games]);
        self.poll("2026-03-02T09:00:00Z").await;

        edit(&mut beta, "2026-03-09T09:02:11Z", "Ann", 2)["rules"][1]["passPercentage"] = json!(25);
        self.statsig(&[&beta]);
        self.poll("2026-03-09T09:05:00Z").await;

        edit(&mut beta, "2026-03-16T08:58:40Z", "Ann", 3)["rules"][1]["passPercentage"] = json!(50);
        edit(&mut checkout, "2026-03-16T08:59:30Z", "Ben", 2)["tags"] = json!(["reviewed", "product", "summer"]);
        self.statsig(&[&beta, &checkout]);
        self.poll("2026-03-16T09:00:00Z").await;

        let contractors = rule(
            "r7",
            "contractors",
            100,
            &[condition("email", "str_contains_any", &json!(["@example.net", "@agency.example"]))],
        );
        edit(&mut staff, "2026-04-01T15:20:00Z", "Cem", 2)["rules"].as_array_mut().unwrap().insert(0, contractors);
        self.statsig(&[&staff]);
        banks["updatedAt"] = json!("2026-04-01T14:00:00.000Z");
        banks["qualifyingQuestions"][1]["weight"] = json!("HIGH");
        self.octave(&[&banks]);
        self.poll("2026-04-01T16:00:00Z").await;

        // Three revisions between two polls.
        edit(&mut beta, "2026-04-20T10:44:00Z", "Cem", 6)["description"] = json!("Sees features first");
        edit(&mut staff, "2026-04-20T10:50:00Z", "Ann", 3)["rules"].as_array_mut().unwrap().remove(0);
        edit(&mut list, "2026-04-20T03:00:00Z", "Dee", 2)["count"] = json!(51_940);
        self.statsig(&[&beta, &staff, &list]);
        self.poll("2026-04-20T11:00:00Z").await;

        // The incident at 14:30.
        edit(&mut beta, "2026-05-05T13:41:00Z", "Ann", 7)["rules"][1]["passPercentage"] = json!(100);
        self.statsig(&[&beta]);
        self.poll("2026-05-05T13:45:00Z").await;
        edit(&mut checkout, "2026-05-05T14:07:30Z", "Ben", 3)["rules"][0]["passPercentage"] = json!(100);
        checkout["rules"].as_array_mut().unwrap().swap(0, 1);
        self.statsig(&[&checkout]);
        self.poll("2026-05-05T14:10:00Z").await;
        self.bench.misbehave(Times::Next(7), &Fault::status(503));
        self.poll("2026-05-05T14:20:00Z").await;
        self.bench.behave();
        edit(&mut checkout, "2026-05-05T14:38:00Z", "Ann", 4)["rules"][1]["passPercentage"] = json!(10);
        self.statsig(&[&checkout]);
        self.poll("2026-05-05T14:40:00Z").await;

        // A 404 counts from the second on.
        self.bench.simulator.octave().remove("sg_games").unwrap();
        self.poll("2026-05-20T12:00:00Z").await;
        self.poll("2026-05-20T12:05:00Z").await;
        self.bench.simulator.octave().restore("sg_games").unwrap();
        self.poll("2026-06-01T08:00:00Z").await;
        self.poll("2026-06-10T09:00:00Z").await;
    }
}

fn edit<'d>(document: &'d mut Value, when: &str, who: &str, version: i64) -> &'d mut Value {
    document["lastModifiedTime"] = json!(at(when));
    document["lastModifierName"] = json!(who);
    document["version"] = json!(version);
    document
}

fn statsig(id: &str, team: &str, when: &str, who: &str, version: i64) -> Value {
    json!({
        "id": id, "name": id, "idType": "userID", "type": "rule_based", "isEnabled": true,
        "description": "", "team": team, "tags": ["product", "reviewed"],
        "createdTime": at(when), "creatorName": who, "lastModifiedTime": at(when), "lastModifierName": who,
        "version": version
    })
}

fn rule(id: &str, name: &str, percent: u8, conditions: &[Value]) -> Value {
    json!({ "id": id, "baseID": id, "name": name, "passPercentage": percent, "environments": null, "conditions": conditions })
}

fn condition(kind: &str, operator: &str, target: &Value) -> Value {
    json!({ "type": kind, "operator": operator, "targetValue": target })
}

fn number(field: &str, least: u32) -> Value {
    json!({ "type": "custom_field", "operator": "gte", "field": field, "targetValue": least })
}

fn octave(id: &str, name: &str, when: &str) -> Value {
    json!({
        "oId": id, "name": name, "internalName": name, "description": "", "active": true, "unrecognized": false,
        "rejected": false, "createdAt": when, "updatedAt": when, "deletedAt": null, "archivedAt": null,
        "data": { "firmographics": { "geography": ["Europe"] } },
        "qualifyingQuestions": [
            { "question": "Is that their main business?", "rationale": null, "fitType": "GOOD", "weight": "HIGH", "archivedAt": null },
            { "question": "Do they have a budget for this year?", "rationale": null, "fitType": "GOOD", "weight": "MEDIUM", "archivedAt": null }
        ],
        "user": { "oId": "us_1", "firstName": "Eva", "lastName": "Ek" },
        "workspace": { "oId": "ws_1" }
    })
}
