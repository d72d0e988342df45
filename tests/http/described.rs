//! `/openapi.json` is true: each operation that it has answers, and each answer fits what it says.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Bench, until};
use crate::http::client::{Caller, Told};
use crate::http::served;

struct Document(Value);

impl Document {
    /// What an operation says of its answer; it must fit.
    fn check(&self, method: &str, template: &str, told: &Told) {
        let operation = &self.0["paths"][template][method];
        let answer = &operation["responses"][told.status.to_string()];
        assert!(answer.is_object(), "{method} {template} does not say that it answers {}: {}", told.status, told.text);
        if let Some(headers) = answer["headers"].as_object() {
            let optional = ["Warning"];
            for name in headers.keys().filter(|name| !optional.contains(&name.as_str())) {
                assert!(told.header(name).is_some(), "{method} {template} answers without {name}");
            }
        }
        let Some(content) = answer["content"].as_object() else { return assert_eq!(told.text, "") };
        let kind = told.header("content-type").unwrap().split(';').next().unwrap();
        assert!(content.contains_key(kind), "{method} {template} {} is {kind}", told.status);
        let body = if kind.ends_with("json") { told.json() } else { Value::from(told.text.as_str()) };
        let errors = self.errors(&content[kind]["schema"], &body);
        assert!(errors.is_empty(), "{method} {template} {}: {errors:?}\n{}", told.status, told.text);
    }

    fn errors(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut schema = schema.clone();
        schema["components"] = self.0["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }
}

#[tokio::test]
async fn every_operation_answers_as_it_says() {
    let bench: Bench = served().await;
    bench.pass().await;
    bench.describe("two");
    bench.pass().await;
    let walk = bench.run(async |running| {
        let caller = Caller::new(&running.api);
        let told = caller.get("/openapi.json").await;
        let document = Document(told.json());
        assert_eq!(document.0["openapi"], "3.1.0");
        let one = "/v1/segments/statsig/seg_1";
        until("four versions", async || bench.count("SELECT count(*) FROM versions") == 4).await;
        caller.sees(one, 2).await;
        let etag = caller.get(one).await.header("etag").unwrap().to_owned();
        let key = ("statsig-api-key", segsync::simulator::STATSIG_KEY);
        let segment = "/v1/segments/{source}/{id}";
        let (versions, refresh) = ("/v1/segments/{source}/{id}/versions", "/v1/segments/{source}/{id}/refresh");
        let proxy = "/proxy/{source}/{path}";
        let none: Vec<(&str, &str)> = Vec::new();
        // method, template, path, headers, status
        let walks = [
            ("get", "/healthz", "/healthz", none.clone(), 200),
            ("get", "/readyz", "/readyz", none.clone(), 200),
            ("get", "/readyz", "/readyz?x", none.clone(), 400),
            ("get", "/metrics", "/metrics", none.clone(), 200),
            ("get", "/v1/status", "/v1/status", none.clone(), 200),
            ("get", "/v1/status", "/v1/status?x=1", none.clone(), 400),
            ("get", "/openapi.json", "/openapi.json", none.clone(), 200),
            ("get", "/v1/segments", "/v1/segments", none.clone(), 200),
            ("get", "/v1/segments", "/v1/segments?source=octave", none.clone(), 200),
            ("get", "/v1/segments", "/v1/segments?source=x", none.clone(), 404),
            ("get", "/v1/segments", "/v1/segments?sauce=x", none.clone(), 400),
            ("get", segment, one, none.clone(), 200),
            ("get", segment, one, vec![("if-none-match", etag.as_str())], 304),
            ("get", segment, "/v1/segments/octave/seg_1?max_age=0s", none.clone(), 200),
            ("get", segment, "/v1/segments/octave/x", none.clone(), 404),
            ("get", segment, "/v1/segments/octave/seg_1?at=x", none.clone(), 400),
            ("get", versions, "/v1/segments/octave/seg_1/versions?limit=1", none.clone(), 200),
            ("get", versions, "/v1/segments/octave/seg_1/versions?limit=0", none.clone(), 400),
            ("get", versions, "/v1/segments/octave/x/versions", none.clone(), 404),
            ("post", refresh, "/v1/segments/octave/seg_1/refresh", none.clone(), 200),
            ("post", refresh, "/v1/segments/octave/seg_1/refresh?x", none.clone(), 400),
            ("post", refresh, "/v1/segments/octave/x/refresh", none.clone(), 404),
            ("get", "/v1/changes", "/v1/changes", none.clone(), 200),
            ("get", "/v1/changes", "/v1/changes?after=2&limit=1&source=octave", none.clone(), 200),
            ("get", "/v1/changes", "/v1/changes?after=99", none.clone(), 400),
            ("get", "/v1/changes", "/v1/changes?source=x", none.clone(), 404),
            ("get", "/v1/changes/stream", "/v1/changes/stream?after=99", none.clone(), 400),
            ("get", "/v1/changes/stream", "/v1/changes/stream?source=x", none.clone(), 404),
            ("get", proxy, "/proxy/statsig/console/v1/segments/seg_1", vec![key], 200),
            ("get", proxy, "/proxy/statsig/console/v1/segments?limit=0", vec![key], 400),
            ("get", proxy, "/proxy/statsig/console/v1/segments/seg_1", none.clone(), 401),
            ("get", proxy, "/proxy/statsig/console/v1/segments/x", vec![key], 404),
            ("get", proxy, "/proxy/x/y", none.clone(), 404),
            ("get", proxy, "/proxy/statsig/%ff", none.clone(), 400),
        ];
        let mut walked = std::collections::BTreeSet::new();
        for (method, template, path, headers, status) in &walks {
            let asked = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let told = Told::of(caller.ask(asked, path, headers).await.unwrap()).await;
            assert_eq!(told.status, *status, "{path}: {told:?}");
            document.check(method, template, &told);
            walked.insert((*template, *method));
        }
        // A stream has no end; its first event fits all the same.
        let mut stream = caller.ask(Method::GET, "/v1/changes/stream?after=0", &[]).await.unwrap();
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        let mut text = String::new();
        while !text.contains("\n\n") {
            text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
        }
        let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        let item = json!({ "$ref": "#/components/schemas/FeedItem" });
        assert_eq!(document.errors(&item, &serde_json::from_str(data).unwrap()), [""; 0]);

        let described: std::collections::BTreeSet<(&str, &str)> = document.0["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| item.as_object().unwrap().keys().map(|method| (path.as_str(), method.as_str())))
            .collect();
        assert_eq!(walked, described, "every operation was tried");

        bench.refuse_keys(true);
        let failed = caller.send(Method::POST, "/v1/segments/octave/seg_1/refresh").await;
        assert_eq!(failed.status, 503);
        document.check("post", refresh, &failed);
        let stale = caller.get("/readyz").await;
        assert_eq!(stale.status, 503);
        document.check("get", "/readyz", &stale);
        document.check("get", "/v1/status", &caller.get("/v1/status").await);
        let warned = caller.get("/v1/segments/octave/seg_1?max_age=0s").await;
        assert!(warned.header("warning").is_some());
        document.check("get", segment, &warned);
    });
    Box::pin(walk).await;
}

#[tokio::test]
async fn with_a_token_every_route_but_two_asks_for_it() {
    let mut bench = served().await;
    let token = bench.folder.path().join("token");
    std::fs::write(&token, "a-token-of-some-length").unwrap();
    bench.written.http.push_str(&format!("\ntoken = {{ file = {token:?} }}"));
    bench
        .run(async |running| {
            let (open, known) = (Caller::new(&running.api), Caller::with_token(&running.api, "a-token-of-some-length"));
            let document = Document(known.get("/openapi.json").await.json());
            for (template, item) in document.0["paths"].as_object().unwrap() {
                for method in item.as_object().unwrap().keys() {
                    let path = template.replace("{source}", "statsig").replace("{id}", "seg_1").replace("{path}", "x");
                    let asked = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                    let told = open.send(asked, &path).await;
                    if template == "/healthz" {
                        assert_eq!(told.status, 200);
                        continue;
                    }
                    assert_eq!(told.status, 401, "{method} {template}");
                    document.check(method, template, &told);
                }
            }
        })
        .await;
}

#[tokio::test]
async fn readiness_tells_why_not_in_words() {
    let bench = served().await;
    bench
        .run(async |running| {
            let caller = Caller::new(&running.api);
            until("two versions", async || bench.count("SELECT count(*) FROM versions") == 2).await;
            assert_eq!(caller.get("/readyz").await.json(), json!({ "ready": true }));
            bench.refuse_keys(true);
            caller.send(Method::POST, "/v1/segments/octave/seg_1/refresh").await;
            let not = caller.get("/readyz").await;
            let (status, detail) = not.problem();
            assert_eq!(status, 503);
            assert!(detail.starts_with("octave is unauthorized since ") && detail.contains("HTTP 401"), "{detail}");
            assert_eq!(not.json()["reasons"], json!([detail]));
            let standing = caller.get("/v1/status").await.json();
            assert_eq!((&standing["ready"], &standing["reasons"]), (&json!(false), &json!([detail])));
            assert_eq!(standing["phase"], "running");
            bench.refuse_keys(false);
        })
        .await;
}
