//! Documents and their changes through the whole pipe: what the providers send is stored faithfully, and what changed is
//! told exactly, neither more nor less.

use crate::common::{BOTH, Bench, ID, key, name, put, raw, unlimited};
use segsync::diff::{fold, unfold};
use segsync::document::parse;
use segsync::model::{Change, ChangeOp};
use segsync::simulator::lively::{Script, ids};
use segsync::simulator::{Provider, Settings};
use serde_json::Value;

/// Puts each of the texts, as members of [`ID`], one pass a text; the changes that each made after the first.
async fn steps(bench: &Bench, provider: Provider, texts: &[&str]) -> Vec<Vec<String>> {
    let mut seen = Vec::new();
    for (step, members) in texts.iter().enumerate() {
        put(&bench.simulator, provider, ID, members);
        bench.pass().await;
        let row = bench.row(provider);
        match (step, row.outcome.as_deref()) {
            (0, outcome) => assert!(outcome.is_some_and(|outcome| ["created", "updated"].contains(&outcome))),
            (_, Some("unchanged")) => seen.push(Vec::new()),
            (_, outcome) => {
                assert_eq!(outcome, Some("updated"), "{row:?}");
                seen.push(bench.changes(provider));
            }
        }
    }
    seen
}

#[tokio::test]
async fn null_absent_and_value_are_three_things() {
    let bench = Bench::new().await;
    let (null, absent, one, other) =
        ("\"x\":1,\"note\":null", "\"x\":1", "\"x\":1,\"note\":\"v\"", "\"x\":1,\"note\":\"w\"");
    // Every pair of neighbours once.
    let texts = [null, null, absent, absent, one, other, null, one, absent, null];
    for provider in BOTH {
        let seen = steps(&bench, provider, &texts).await;
        let expected: [&[&str]; 9] = [
            &[],
            &["remove note null -"],
            &[],
            &["add note - \"v\""],
            &["replace note \"v\" \"w\""],
            &["replace note \"w\" null"],
            &["replace note null \"v\""],
            &["remove note \"v\" -"],
            &["add note - null"],
        ];
        assert_eq!(seen, expected, "{provider:?}");
    }
    assert_folds(&bench);
}

#[tokio::test]
async fn numbers_are_compared_by_value_and_keep_their_digits() {
    let bench = Bench::new().await;
    let numbers =
        ["1", "1.0", "1e0", "10e-1", "12345678901234567890", "12345678901234567891", "0", "-0", "0.10", "0.1", "1e400"];
    for provider in BOTH {
        let texts: Vec<String> = numbers.iter().map(|number| format!("\"data\":{{\"n\":{number}}}")).collect();
        let seen = steps(&bench, provider, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let expected: [&[&str]; 10] = [
            &[],
            &[],
            &[],
            &["replace data.n 1 12345678901234567890"],
            &["replace data.n 12345678901234567890 12345678901234567891"],
            &["replace data.n 12345678901234567891 0"],
            &[],
            &["replace data.n 0 0.1"],
            &[],
            &["replace data.n 0.1 1e+400"],
        ];
        assert_eq!(seen, expected, "{provider:?}");
    }
}

#[tokio::test]
async fn rules_are_matched_by_what_they_are() {
    let bench = Bench::new().await;
    let rule = |id: &str, pass: u32| format!("{{\"id\":\"{id}\",\"name\":\"rule {id}\",\"passPercentage\":{pass}}}");
    let (a, b, c) = (rule("a", 10), rule("b", 20), rule("c", 30));
    let texts = [
        format!("\"tags\":[\"x\",\"y\"],\"rules\":[{a},{b}]"),
        format!("\"tags\":[\"y\",\"x\"],\"rules\":[{a},{b}]"),
        format!("\"tags\":[\"y\",\"x\"],\"rules\":[{c},{a},{b}]"),
        format!("\"tags\":[\"y\",\"x\"],\"rules\":[{c},{b},{a}]"),
        format!("\"tags\":[\"y\",\"z\"],\"rules\":[{c},{b},{}]", rule("a", 11)),
        format!("\"tags\":[\"y\",\"z\"],\"rules\":[{b}]"),
        format!("\"tags\":[\"y\",\"z\"],\"rules\":{b}"),
    ];
    let seen = steps(&bench, Provider::Statsig, &texts.each_ref().map(String::as_str)).await;
    let added = format!("add rules[rule c] - {c}");
    let removed = format!("remove rules[rule c] {c} -");
    let gone = format!("remove rules[rule a] {} -", rule("a", 11));
    let expected: [&[&str]; 6] = [
        &[],
        &[&added],
        &["move rules[rule b] 2 1"],
        &["replace rules[rule a].passPercentage 10 11", "remove tags[x] \"x\" -", "add tags[z] - \"z\""],
        &[&removed, &gone],
        &[],
    ];
    assert_eq!(seen, expected);
    assert_folds(&bench);
}

#[tokio::test]
async fn questions_are_matched_by_what_they_ask() {
    let bench = Bench::new().await;
    let ask = |text: &str, weight: &str| format!("{{\"question\":\"{text}\",\"weight\":\"{weight}\"}}");
    let (a, b, c) = (ask("a?", "LOW"), ask("b?", "LOW"), ask("c?", "HIGH"));
    let texts = [
        format!("\"qualifyingQuestions\":[{a},{b}]"),
        format!("\"qualifyingQuestions\":[{c},{a},{b}]"),
        format!("\"qualifyingQuestions\":[{c},{b},{a}]"),
        format!("\"qualifyingQuestions\":[{c},{b},{}]", ask("a?", "HIGH")),
        "\"qualifyingQuestions\":null".to_owned(),
    ];
    let seen = steps(&bench, Provider::Octave, &texts.each_ref().map(String::as_str)).await;
    let added = format!("add qualifyingQuestions[c?] - {c}");
    let all = format!("replace qualifyingQuestions [{c},{b},{}] null", ask("a?", "HIGH"));
    let expected: [&[&str]; 4] = [
        &[&added],
        &["move qualifyingQuestions[b?] 2 1"],
        &["replace qualifyingQuestions[a?].weight \"LOW\" \"HIGH\""],
        &[&all],
    ];
    assert_eq!(seen, expected);
    assert_folds(&bench);
}

#[tokio::test]
async fn odd_documents_are_stored_as_they_came() {
    let bench = Bench::new().await;
    let rule = r#"{"conditions":[{"targetValue":[1,2.5],"type":"a type of tomorrow"}],"environments":null,"passPercentage":12.34}"#;
    // Keys sorted, sets sorted, numbers short: the canonical text is the text itself.
    let texts = [
        String::new(),
        format!(r#""rules":[{rule}]"#),
        format!(r#""rules":[{rule},{{}},{}]"#, rule.replace("null", "[]")),
        r#""rules":[]"#.to_owned(),
        r#""rules":"none""#.to_owned(),
        r#""count":3,"type":"id_list""#.to_owned(),
        r#""count":null,"type":"analysis_list""#.to_owned(),
        r#""type":"user_store_id_list""#.to_owned(),
        r#""type":"a type of tomorrow","unknown":{"":[[],{},"",null,false,0]}"#.to_owned(),
        r#""lastModifiedTime":"not a time","lastModifierName":7,"version":"seven""#.to_owned(),
        r#""updatedAt":12,"version":1e99"#.to_owned(),
        r#""tags":null"#.to_owned(),
        r#""tags":{"a":1},"targetApps":"x""#.to_owned(),
        "\"qualifyingQuestions\":[{\"question\":null},{\"question\":null},7]".to_owned(),
        "\"text\":\"\\u0000 \\u001b[31m \u{202e} ' \\\" \\\\ \u{1f600} é e\u{301}\"".to_owned(),
    ];
    for provider in BOTH {
        for members in &texts {
            put(&bench.simulator, provider, ID, members);
            bench.pass().await;
            let row = bench.row(provider);
            assert!(row.error.is_none() && row.status == Some(200), "{members}: {row:?}");
            let document = bench.document(provider);
            assert_eq!(parse(&document).unwrap(), parse(&raw(provider, ID, members)).unwrap(), "{members}");
            assert_eq!(document, parse(&document).unwrap().to_string(), "sorted and compact");
        }
        // What is unsorted, or written otherwise, is the same document.
        put(&bench.simulator, provider, ID, " \"b\" : [ 1.0 ],\n\"a\" : \"\\u00e9\\/\" ");
        bench.pass().await;
        assert!(bench.document(provider).contains("{\"a\":\"é/\",\"b\":[1],"), "{}", bench.document(provider));
    }
    put(&bench.simulator, Provider::Statsig, ID, &format!(r#""holdoutIDs":["b","a","b"],"rules":{rule}"#));
    bench.pass().await;
    let document = bench.document(Provider::Statsig);
    assert_eq!(document, format!(r#"{{"holdoutIDs":["a","b","b"],"id":"{ID}","rules":[{rule}]}}"#));
    assert_folds(&bench);
}

#[tokio::test]
async fn paths_to_be_ignored_make_no_version() {
    let mut bench = Bench::new().await;
    bench.written.source = "limits = []\nignore = [\"$.noise\", \"$.data[*].at\"]".to_owned();
    let texts =
        ["\"data\":[{\"at\":1,\"x\":1}],\"noise\":1", "\"data\":[{\"at\":2,\"x\":1}]", "\"data\":[{\"at\":2,\"x\":2}]"];
    for provider in BOTH {
        assert_eq!(steps(&bench, provider, &texts).await, [vec![], vec!["replace data[0].x 1 2".to_owned()]]);
        assert!(!bench.document(provider).contains("\"at\""));
    }
}

#[tokio::test]
async fn polls_of_what_stays_the_same_leave_one_version() {
    let mut bench = Bench::with(Settings { gzip: true, ..unlimited() }).await;
    bench.written.poll = "every = \"2ms\"".to_owned();
    bench
        .run(async |_| {
            let enough = |provider| {
                bench
                    .simulator
                    .arrivals_until(move |all| all.iter().filter(|a| a.provider == Some(provider)).count() > 200)
            };
            tokio::join!(enough(Provider::Statsig), enough(Provider::Octave));
        })
        .await;
    assert!(
        bench.count(
            "SELECT min(n) FROM (SELECT count(*) AS n FROM polls WHERE outcome = 'unchanged' GROUP BY source_id)"
        ) >= 200
    );
    assert!(bench.count("SELECT count(DISTINCT usage) FROM polls") > 200, "each answer differed");
    assert_eq!(bench.rows("SELECT version, op FROM segment_history"), ["1 create", "1 create"]);
    assert_eq!(bench.count("SELECT count(*) FROM changes"), 0);
    bench.assert_one_row_per_request();
}

#[tokio::test]
async fn an_id_reaches_its_own_segment_or_nothing() {
    let mut bench = Bench::empty(unlimited()).await;
    let ids = [
        "a/b",
        "/",
        "//x",
        "..",
        ".",
        "../segments",
        "%2e%2e",
        "%2f",
        "%",
        "a?b=c",
        "a&oId=sg_2",
        "a=b",
        "a#b",
        "a+b c",
        "a;b",
        "a\\b",
        "über ☃ \u{1f600}",
        "…",
        "...",
        "x\"y'z",
        "{id}",
        "id_list",
        "beta/id_list",
    ];
    for id in ids {
        BOTH.into_iter().for_each(|provider| put(&bench.simulator, provider, id, "\"x\":1"));
    }
    bench.name(&ids);
    bench.pass().await;
    for provider in BOTH {
        for id in ids {
            let row = bench.row_of(provider, id);
            // Dot segments are resolved on the way, however they are written: such a request would ask for the list.
            if provider == Provider::Statsig && [".", ".."].contains(&id) {
                assert_eq!(row.error.as_deref(), Some("the id cannot be part of a URL"));
                assert_eq!((row.outcome.as_deref(), row.status, row.version), (Some("failed"), None, 0));
            } else {
                assert_eq!((row.outcome.as_deref(), row.version), (Some("created"), 1), "{id}: {row:?}");
            }
        }
    }
    let arrivals = bench.simulator.arrivals();
    let mut asked: Vec<_> = arrivals
        .iter()
        .map(|a| (a.provider.map(name).unwrap(), a.segment().unwrap_or("no segment").to_owned()))
        .collect();
    asked.sort_unstable();
    let mut expected: Vec<_> = BOTH.into_iter().flat_map(|p| ids.map(|id| (name(p), id.to_owned()))).collect();
    expected.retain(|(source, id)| *source == "octave" || ![".", ".."].contains(&id.as_str()));
    expected.sort_unstable();
    assert_eq!(asked, expected);
    assert!(bench.simulator.strays().is_empty());
}

#[tokio::test]
async fn a_lively_history_folds_and_is_told_whole() {
    let mut bench = Bench::empty(unlimited()).await;
    let mut script = Script::new(7, bench.simulator.statsig(), bench.simulator.octave());
    bench.written.statsig = ids(Provider::Statsig, 6);
    bench.written.octave = ids(Provider::Octave, 6);
    bench.pass().await;
    let versions = || bench.count("SELECT count(*) FROM versions");
    assert_eq!(versions(), 20);
    for number in 1..=60 {
        let step = script.step().unwrap();
        let wanted = [key(step.provider, &step.segment)];
        let pass = bench.pass_of(Some(&wanted)).await.unwrap();
        if pass.endings[0].outcome == segsync::model::Outcome::NotFound {
            bench.pass_of(Some(&wanted)).await.unwrap();
        }
        assert_eq!(versions(), 20 + number, "one version for {step}");
    }
    for _ in 0..10 {
        (0..4).for_each(|_| drop(script.step().unwrap()));
        bench.pass().await;
    }
    bench.pass().await;
    for provider in BOTH {
        for id in bench.written_ids(provider) {
            let now = match provider {
                Provider::Statsig => bench.simulator.statsig().text(&id),
                Provider::Octave => bench.simulator.octave().text(&id),
            };
            let source = name(provider);
            let sql = format!(
                "SELECT document FROM segment_now WHERE source = '{source}' AND segment = '{id}' AND state = 'present'"
            );
            let stored: Vec<Value> = bench.rows(&sql).iter().map(|text| parse(text).unwrap()).collect();
            let expected: Vec<Value> =
                now.iter().map(|text| parse(text).unwrap()).filter(|json| json["deletedAt"].is_null()).collect();
            assert!(stored.len() == expected.len(), "{source}/{id}");
            for (stored, expected) in stored.iter().zip(&expected) {
                assert!(stored["rules"] == expected["rules"] && stored["data"] == expected["data"], "{source}/{id}");
            }
        }
    }
    let ops = bench.rows("SELECT DISTINCT op FROM change_log ORDER BY 1");
    assert_eq!(ops, ["add", "create", "delete", "move", "replace", "restore"]);
    assert_folds(&bench);
}

/// Each version's changes make its document of the one before, and back; the change log tells just them.
fn assert_folds(bench: &Bench) {
    let db = bench.db();
    let mut statement = db
        .prepare("SELECT id, segment_id, op, document, observed_at, valid_to FROM versions ORDER BY segment_id, seq")
        .unwrap();
    let rows = statement.query_map([], |row| {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get::<_, String>(2)?,
            row.get::<_, Option<String>>(3)?,
            row.get(4)?,
            row.get(5)?,
        ))
    });
    let mut before: Option<(i64, Option<Value>, Option<i64>)> = None;
    let mut folded = 0;
    for (id, segment, op, document, observed_at, valid_to) in rows.unwrap().map(Result::unwrap) {
        let (id, document): (i64, _) = (id, document.map(|text| parse(&text).unwrap()));
        let changes = changes_of(&db, id);
        match before.take().filter(|(other, ..)| *other == segment) {
            Some((_, old, until)) => {
                assert_eq!(until, Some(observed_at), "versions meet");
                if let (Some(old), Some(new)) = (&old, &document) {
                    assert!(!changes.is_empty());
                    assert_eq!(fold(old, &changes).as_ref(), Ok(new));
                    assert_eq!(unfold(new, &changes).as_ref(), Ok(old));
                    folded += 1;
                } else {
                    assert!(changes.is_empty() && op != "update");
                }
            }
            None => assert!(changes.is_empty()),
        }
        before = Some((segment, document, valid_to));
    }
    assert!(folded > 0, "nothing was tested");
    let stored = "SELECT src.name, s.key, v.seq, c.op, c.field, c.path, c.old, c.new FROM changes AS c
        JOIN versions AS v ON v.id = c.version_id AND v.op = 'update' JOIN segments AS s ON s.id = v.segment_id
        JOIN sources AS src ON src.id = s.source_id ORDER BY v.id, c.ordinal";
    let mut told = bench
        .rows("SELECT source, segment, version, op, field, path, old, new FROM change_log WHERE version_op = 'update'");
    let mut stored = bench.rows(stored);
    told.sort_unstable();
    stored.sort_unstable();
    assert_eq!(told, stored);
    let single = "SELECT count(*) FROM change_log WHERE version_op <> 'update'";
    assert_eq!(bench.count(single), bench.count("SELECT count(*) FROM versions WHERE op <> 'update'"));
}

fn changes_of(db: &rusqlite::Connection, version: i64) -> Vec<Change> {
    let sql = "SELECT op, path, field, old, new FROM changes WHERE version_id = ?1 ORDER BY ordinal";
    let mut statement = db.prepare_cached(sql).unwrap();
    let rows = statement.query_map([version], |row| {
        let op: ChangeOp = row.get::<_, String>(0)?.parse().unwrap();
        Ok(Change { op, path: row.get(1)?, field: row.get(2)?, old: row.get(3)?, new: row.get(4)? })
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}
