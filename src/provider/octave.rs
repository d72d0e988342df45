//! Octave's API v2 (its published page for `segment/get`; see also `PROVIDERS.md`).

use serde_json::Value;

use super::{Found, Listed, Page, Provider, count, text, time};
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

    fn get(&self, id: &str) -> Request {
        request("get", vec![("oId", id.to_owned())])
    }

    fn found(&self, body: Value) -> Result<Found, &'static str> {
        let id = text(&body, "oId").ok_or("it has no `oId`")?.to_owned();
        Ok(Found { id, usage: usage(&body), segment: body })
    }

    fn list(&self, page: Page) -> Request {
        request("list", vec![("limit", page.size.to_string()), ("offset", page.offset.to_string())])
    }

    fn listed(&self, mut body: Value) -> Result<Listed, &'static str> {
        let items = if body.is_array() { Some(body.take()) } else { body.get_mut("data").map(Value::take) };
        let listed = Listed::of(items, "oId").ok_or("it has no array `data`")?;
        let has_next = body.get("hasNext").and_then(Value::as_bool);
        Ok(Listed { has_next, total: count(&body, "total"), usage: usage(&body), ..listed })
    }

    fn about(&self, document: &Value) -> About {
        About {
            modified_at: time(document.get("updatedAt")),
            modified_by: None,
            revision: None,
            deleted: document.get("deletedAt").is_some_and(|at| !at.is_null()),
        }
    }
}

fn request(verb: &str, query: Vec<(&'static str, String)>) -> Request {
    Request {
        path: ["api", "v2", "segment", verb].map(str::to_owned).to_vec(),
        query,
        key_header: "api_key",
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
    fn a_page_is_read_in_every_form() {
        let page = |body| Octave.listed(body).map(|page| (page.segments.len(), page.odd, page.has_next, page.total));
        let data = json!([{"oId": "sg_1"}, {"oId": "sg_2"}, 7]);
        assert_eq!(page(json!({"data": data, "hasNext": true, "total": 9})), Ok((2, 1, Some(true), Some(9))));
        assert_eq!(page(json!({"data": data})), Ok((2, 1, None, None)));
        assert_eq!(page(data.clone()), Ok((2, 1, None, None)));
        assert!(page(json!({"oId": "sg_1"})).is_err());
        let request = Octave.list(Page { number: 2, offset: 200, size: 100 });
        assert_eq!(request.query, [("limit", "100".to_owned()), ("offset", "200".to_owned())]);
    }

    #[test]
    fn a_deletion_mark_is_seen() {
        let about = Octave.about(&json!({"updatedAt": "2026-01-31T09:30:00.000Z", "deletedAt": null}));
        assert_eq!((about.deleted, about.modified_at), (false, UnixMs::parse("2026-01-31T09:30:00Z").ok()));
        assert!(Octave.about(&json!({"deletedAt": "2026-01-31T09:30:00.000Z"})).deleted);
    }
}
