//! Octave's API v2 (its published page for `segment/get`; see also `PROVIDERS.md`).

use serde_json::Value;

use super::{Found, Provider, text, time};
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
        Request {
            path: ["api", "v2", "segment", "get"].map(str::to_owned).to_vec(),
            query: vec![("oId", id.to_owned())],
            key_header: "api_key",
            headers: &[],
            if_none_match: None,
        }
    }

    fn found(&self, body: Value) -> Result<Found, &'static str> {
        let id = text(&body, "oId").ok_or("it has no `oId`")?.to_owned();
        let usage = body.pointer("/_metadata/usage").and_then(Value::as_f64);
        Ok(Found { id, segment: body, usage })
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
    fn a_deletion_mark_is_seen() {
        let about = Octave.about(&json!({"updatedAt": "2026-01-31T09:30:00.000Z", "deletedAt": null}));
        assert_eq!((about.deleted, about.modified_at), (false, UnixMs::parse("2026-01-31T09:30:00Z").ok()));
        assert!(Octave.about(&json!({"deletedAt": "2026-01-31T09:30:00.000Z"})).deleted);
    }
}
