//! Octave's API v2 (its published page for `segment/get`; see also `PROVIDERS.md`).

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{Beside, Call, Found, Page, Provider, Stamp, count, number, parameter, text, time};
use crate::document::{Keyed, Shape};
use crate::model::{About, ProviderEntry};
use crate::transport::Request;

/// `_metadata` differs in every answer. Questions and custom fields have no ids.
static SHAPE: Shape = Shape {
    volatile: &["_metadata"],
    sets: &[],
    keyed: &[
        Keyed { at: &["qualifyingQuestions"], keys: &["question"], label: None },
        Keyed { at: &["data", "customFields"], keys: &["title"], label: None },
    ],
    wrapped: &[],
    stamps: &["updatedAt"],
};

/// The API of one workspace.
#[derive(Debug)]
pub(super) struct Octave;

impl Provider for Octave {
    fn entry(&self) -> ProviderEntry {
        ProviderEntry { name: "octave", base_url: "https://app.octavehq.com" }
    }

    fn shape(&self) -> &'static Shape {
        &SHAPE
    }

    fn id_member(&self) -> &'static str {
        "oId"
    }

    fn get(&self, id: &str) -> Request {
        request("get", vec![("oId", id.to_owned())])
    }

    fn found(&self, body: Value) -> Result<Found, &'static str> {
        let id = text(&body, self.id_member()).ok_or("it has no `oId`")?.to_owned();
        Ok(Found { id, usage: usage(&body), segment: body })
    }

    fn list(&self, page: Page) -> Request {
        request("list", vec![("limit", page.size.to_string()), ("offset", page.offset.to_string())])
    }

    fn beside(&self, rest: &Value) -> Beside {
        let has_next = rest.get("hasNext").and_then(Value::as_bool);
        Beside { has_next, total: count(rest, "total"), usage: usage(rest) }
    }

    fn about(&self, document: &Value) -> About {
        About {
            modified_at: time(document.get("updatedAt")),
            modified_by: None,
            revision: None,
            deleted: document.get("deletedAt").is_some_and(|at| !at.is_null()),
        }
    }

    fn key_header(&self) -> &'static str {
        KEY_HEADER
    }

    fn call(&self, path: &[Cow<'_, str>], query: &[(Cow<'_, str>, Cow<'_, str>)]) -> Option<Call> {
        let rest = path.strip_prefix(&SEGMENT.map(Cow::Borrowed))?;
        match rest {
            [verb] if verb == "get" => {
                let id = parameter(query, "oId").filter(|id| !id.trim().is_empty());
                Some(id.map_or(Call::Bad("oId is required"), |id| Call::Get(id.to_owned())))
            }
            [verb] if verb == "list" => Some(match (number(query, "limit", 1, USUAL), number(query, "offset", 0, 0)) {
                (Some(size), Some(offset)) => Call::List(Page { number: offset / size, offset, size }),
                _ => Call::Bad("limit must be positive and offset a number"),
            }),
            _ => None,
        }
    }

    fn one(&self, document: &str, stamp: &Stamp) -> String {
        beside_metadata(document, "ok", stamp)
    }

    fn page(&self, documents: &[&str], page: Page, total: usize, stamp: &Stamp) -> String {
        let (data, has_next) = (documents.join(","), page.offset.saturating_add(page.size) < total);
        beside_metadata(&format!(r#"{{"hasNext":{has_next},"total":{total},"data":[{data}]}}"#), "ok", stamp)
    }

    fn refusal(&self, _: u16, why: &str, stamp: &Stamp) -> String {
        beside_metadata(&json!({ "message": why }).to_string(), why, stamp)
    }
}

const KEY_HEADER: &str = "api_key";
const SEGMENT: [&str; 3] = ["api", "v2", "segment"];
/// Segments of a page unless the client says how many.
const USUAL: usize = 10;

/// The object with `_metadata` beside its members. Reading a copy costs nothing.
fn beside_metadata(object: &str, message: &str, stamp: &Stamp) -> String {
    let members = object.strip_prefix('{').unwrap_or_default();
    let comma = if members == "}" { "" } else { "," };
    let (request, at) = (format!("req_{:016x}", stamp.number), stamp.at.to_string());
    let metadata = json!({ "requestId": request, "timestamp": at, "usage": 0, "message": message });
    format!(r#"{{"_metadata":{metadata}{comma}{members}"#)
}

fn request(verb: &str, query: Vec<(&'static str, String)>) -> Request {
    Request {
        path: [&SEGMENT[..], &[verb]].concat().into_iter().map(str::to_owned).collect(),
        query,
        key_header: KEY_HEADER,
        headers: &[],
        if_none_match: None,
    }
}

/// What the request cost, perhaps in credits.
fn usage(body: &Value) -> Option<f64> {
    body.pointer("/_metadata/usage").and_then(Value::as_f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::UnixMs;

    #[test]
    fn the_segment_is_the_body() {
        let body = json!({"_metadata": {"usage": 2}, "oId": "sg_1", "name": "x"});
        let found = Octave.found(body.clone()).expect("a segment");
        assert_eq!(found, Found { id: "sg_1".to_owned(), segment: body, usage: Some(2.0) });
        for body in [json!([]), json!("sg_1"), json!({"oId": null}), json!({"data": {"oId": "sg_1"}})] {
            assert!(Octave.found(body).is_err());
        }
    }

    #[test]
    fn a_page_tells_of_the_list() {
        let rest = json!({"_metadata": {"usage": 2}, "hasNext": true, "total": 9});
        assert_eq!(Octave.beside(&rest), Beside { has_next: Some(true), total: Some(9), usage: Some(2.0) });
        assert_eq!(Octave.beside(&json!({})), Beside::default());
        assert_eq!(Octave.beside(&json!(null)), Beside::default());
    }

    #[test]
    fn a_page_is_asked_for_by_what_comes_before_it() {
        let request = Octave.list(Page { number: 2, offset: 200, size: 100 });
        assert_eq!(request.query, [("limit", "100".to_owned()), ("offset", "200".to_owned())]);
    }

    #[test]
    fn what_clients_ask_for_is_read() {
        let call = |path: &str, query: &str| {
            let path: Vec<Cow<'_, str>> = path.split('/').map(Cow::Borrowed).collect();
            let query: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
            Octave.call(&path, &query)
        };
        assert_eq!(call("api/v2/segment/get", "oId=sg_1"), Some(Call::Get("sg_1".to_owned())));
        assert_eq!(call("api/v2/segment/get", "oId=+"), Some(Call::Bad("oId is required")));
        let page = |number, offset, size| Some(Call::List(Page { number, offset, size }));
        assert_eq!(call("api/v2/segment/list", ""), page(0, 0, 10));
        assert_eq!(call("api/v2/segment/list", "limit=5&offset=12"), page(2, 12, 5));
        assert!(matches!(call("api/v2/segment/list", "limit=0"), Some(Call::Bad(_))));
        for other in ["api/v2/segment", "api/v2/segment/get/x", "api/v2/persona/get"] {
            assert_eq!(call(other, "oId=x"), None, "{other}");
        }
    }

    #[test]
    fn an_answer_has_its_metadata() {
        let stamp = Stamp { base: String::new(), at: UnixMs(0), number: 7 };
        for document in ["{}", r#"{"oId":"sg_1"}"#] {
            let answer: Value = serde_json::from_str(&Octave.one(document, &stamp)).expect("JSON");
            assert_eq!(answer["_metadata"]["requestId"], "req_0000000000000007");
            assert_eq!(answer["_metadata"]["timestamp"], "1970-01-01T00:00:00.000Z");
            assert_eq!(answer.as_object().map(serde_json::Map::len), Some(if document == "{}" { 1 } else { 2 }));
        }
    }

    #[test]
    fn a_deletion_mark_is_seen() {
        let about = Octave.about(&json!({"updatedAt": "2026-01-31T09:30:00.000Z", "deletedAt": null}));
        assert_eq!((about.deleted, about.modified_at), (false, UnixMs::parse("2026-01-31T09:30:00Z").ok()));
        assert!(Octave.about(&json!({"deletedAt": "2026-01-31T09:30:00.000Z"})).deleted);
    }
}
