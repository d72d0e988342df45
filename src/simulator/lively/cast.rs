//! Who is on stage at the start, and who comes later.

use serde_json::{Value, json};

use super::super::Provider;
use super::super::octave::{self, Question, Weight};
use super::super::statsig::{self, Condition, Percent, Rule, Target};

/// Twelve segments of Statsig, of all four types.
pub fn statsig() -> Vec<statsig::Segment> {
    let lists = [
        ("newsletter_readers", "id_list", 48_211, "Subscribed in the last year, imported nightly"),
        ("churn_risk", "analysis_list", 1_204, "No session in three weeks, computed by the warehouse"),
        ("support_priority", "user_store_id_list", 87, "Answered within the hour"),
    ];
    let lists = lists.into_iter().map(|(id, kind, count, about)| {
        let list = statsig::Segment { count: Some(count), ..statsig::Segment::new(id, kind) };
        dressed(list, about, &["imported"])
    });
    let ruled = customers().into_iter().chain(product()).map(|(id, about, rules)| {
        dressed(statsig::Segment::rule_based(id, rules.into()), about, &["product", "reviewed"])
    });
    ruled.chain(lists).collect()
}

/// Eight segments of Octave.
pub fn octave() -> Vec<octave::Segment> {
    let cast = [
        ("Mid-market SaaS", "Software firms of 200 to 2,000 people", "Software"),
        ("Regional Banks", "Banks with branches in one region", "Banking"),
        ("Hospital Groups", "Three or more hospitals under one roof", "Healthcare"),
        ("Online Retailers", "Half of the revenue from their own shop", "Retail"),
        ("Logistics Carriers", "Own a fleet and plan routes", "Transport"),
        ("Public Universities", "Buy by tender, once a year", "Education"),
        ("Energy Utilities", "Regulated, long contracts", "Utilities"),
        ("Game Studios", "Ship twice a year or less", "Games"),
    ];
    cast.into_iter().map(|(name, about, industry)| playbook(name, about, industry)).collect()
}

/// The `n`-th Statsig segment (from 0) that the script makes.
pub fn statsig_newcomer(n: usize) -> statsig::Segment {
    let names = ["spring_campaign", "invited_friends", "night_mode_pilot", "annual_billing"];
    let id = newcomer(&names, n, '_');
    let rules =
        vec![rule("first wave", Condition::public()).passing(Percent::whole(5)), rule("insiders", at("@example.com"))];
    dressed(statsig::Segment::rule_based(&id, rules), "Made for a launch", &["launch"])
}

/// The `n`-th Octave segment (from 0) that the script makes.
pub fn octave_newcomer(n: usize) -> octave::Segment {
    let names = ["Law Firms", "Food Producers", "Insurers", "City Councils"];
    playbook(&newcomer(&names, n, ' '), "Found in last quarter's deals", "Other")
}

/// The ids that a configuration names: the cast, and so many newcomers, which do not exist yet.
pub fn ids(provider: Provider, newcomers: usize) -> Vec<String> {
    match provider {
        Provider::Statsig => {
            statsig().into_iter().chain((0..newcomers).map(statsig_newcomer)).map(|segment| segment.id).collect()
        }
        Provider::Octave => {
            octave().into_iter().chain((0..newcomers).map(octave_newcomer)).map(|segment| segment.o_id).collect()
        }
    }
}

type Ruled = (&'static str, &'static str, [Rule; 2]);

fn customers() -> [Ruled; 4] {
    let staff = [rule("by domain", at("@example.com")), rule("contractors", at("@example.net"))];
    let vip = [
        rule("enterprise plan", least("seats", 250)),
        rule("named by sales", Condition::custom("sales_tag", "any", Target::texts(&["vip"]))),
    ];
    let eu =
        [rule("by country", within("country", &["DE", "FR", "IT", "ES", "PL"])), rule("by choice", least("eu", 1))];
    let trial = [rule("short trial", least("trial_day", 9)), rule("long trial", least("trial_day", 25))];
    [
        ("staff", "Everyone who works here", staff),
        ("vip_customers", "Named accounts with a contract", vip),
        ("eu_residents", "For whom other rules on data hold", eu),
        ("trial_ending", "Fewer than five days left", trial),
    ]
}

fn product() -> [Ruled; 5] {
    let beta = [
        rule("beta testers", within("country", &["SE", "NO", "DK"])),
        rule("early birds", least("signup_rank", 500)).passing(Percent::whole(50)),
    ];
    let mobile = [rule("ios", within("os_name", &["iOS"])), rule("android", within("os_name", &["Android"]))];
    let power = [
        rule("daily", least("days_active", 20)),
        rule("weekly teams", least("team_size", 8)).passing(Percent::hundredths(1250)),
    ];
    let checkout =
        [rule("ramp", Condition::public()).passing(Percent::whole(10)), rule("partners", at("@partner.example"))];
    let legacy = [
        rule("old versions", Condition::new("app_version", "version_lt", Target::Text("5.0.0".to_owned()))),
        rule("pinned", within("unit_id", &["u-17", "u-40"])),
    ];
    [
        ("beta_users", "Sees features before everyone else", beta),
        ("mobile_only", "Never seen on a desktop", mobile),
        ("power_users", "Daily use of the editor", power),
        ("checkout_experiment", "Part of the new checkout", checkout),
        ("legacy_app", "Still on version 4", legacy),
    ]
}

fn rule(name: &str, condition: Condition) -> Rule {
    Rule::new(name, vec![condition])
}

fn at(domain: &str) -> Condition {
    Condition::new("email", "str_contains_any", Target::texts(&[domain]))
}

fn within(kind: &str, all: &[&str]) -> Condition {
    Condition::new(kind, "any", Target::texts(all))
}

fn least(field: &str, number: u32) -> Condition {
    Condition::custom(field, "gte", Target::Number(number.into()))
}

fn newcomer(names: &[&str], n: usize, space: char) -> String {
    let name = names.get(n % names.len()).copied().unwrap_or("newcomer");
    match n / names.len() {
        0 => name.to_owned(),
        round => format!("{name}{space}{}", round + 1),
    }
}

fn dressed(segment: statsig::Segment, about: &str, tags: &[&str]) -> statsig::Segment {
    statsig::Segment {
        description: about.to_owned(),
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        team: Some("Growth".to_owned()),
        ..segment
    }
}

fn playbook(name: &str, about: &str, industry: &str) -> octave::Segment {
    let questions = vec![
        Question::new(&format!("Is {industry} their main business?")).weighing(Weight::High),
        Question::new("Do they have a budget for this year?"),
        Question::new("Did they decline in the last six months?").weighing(Weight::Low),
    ];
    octave::Segment {
        internal_name: format!("{name} (core)"),
        description: about.to_owned(),
        questions: Some(questions),
        data: json!({
            "firmographics": { "industry": [industry], "employees": ["201-500", "501-2000"], "geography": ["Europe"] },
            "businessDrivers": ["Lower cost of sale"],
            "strategicPriorities": Value::Array(Vec::new()),
            "customFields": [{ "title": "Playbook", "value": [format!("{name} v1")] }],
        }),
        ..octave::Segment::new(&o_id(name), name)
    }
}

/// `sg_` and 21 alphanumerics, made from the name.
fn o_id(name: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let hash = blake3::hash(name.as_bytes());
    let digit = |byte: &u8| char::from(DIGITS.get(usize::from(*byte) % DIGITS.len()).copied().unwrap_or(b'0'));
    format!("sg_{}", hash.as_bytes().iter().take(21).map(digit).collect::<String>())
}
