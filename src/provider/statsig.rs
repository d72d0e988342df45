//! Statsig's Console API, version 20240601 (its published OpenAPI document; see also `PROVIDERS.md`).

use serde_json::Value;

use super::{Found, Provider, text, time, whole};
use crate::document::{Keyed, Shape};
use crate::model::{About, ProviderEntry};
use crate::transport::Request;

/// The order of these arrays means nothing; a rule keeps its ids across edits, sometimes it has only a name; the
/// document's examples show `rules` as one object, its schema as an array.
static SHAPE: Shape = Shape {
    volatile: &[],
    sets: &[&["tags"], &["targetApps"], &["holdoutIDs"]],
    keyed: &[Keyed { at: &["rules"], keys: &["id", "baseID", "name"], label: Some("name") }],
    wrapped: &[&["rules"]],
};

/// The Console API of one project.
#[derive(Debug)]
pub(super) struct Statsig;

impl Provider for Statsig {
    fn entry(&self) -> ProviderEntry {
        ProviderEntry { name: "statsig", base_url: "https://statsigapi.net" }
    }

    fn shape(&self) -> &'static Shape {
        &SHAPE
    }

    fn get(&self, id: &str) -> Request {
        Request {
            path: ["console", "v1", "segments", id].map(str::to_owned).to_vec(),
            query: Vec::new(),
            key_header: "STATSIG-API-KEY",
            // Optional today, announced to become required.
            headers: &[("STATSIG-API-VERSION", "20240601")],
            if_none_match: None,
        }
    }

    fn found(&self, mut body: Value) -> Result<Found, &'static str> {
        let segment =
            body.get_mut("data").map(Value::take).filter(Value::is_object).ok_or("it has no object `data`")?;
        let id = text(&segment, "id").ok_or("its `data` has no `id`")?.to_owned();
        Ok(Found { id, segment, usage: None })
    }

    fn about(&self, document: &Value) -> About {
        let modifier = ["lastModifierName", "lastModifierEmail", "lastModifierID"];
        About {
            modified_at: time(document.get("lastModifiedTime")),
            modified_by: modifier.iter().find_map(|member| text(document, member)).map(str::to_owned),
            revision: document.get("version").and_then(whole),
            deleted: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::UnixMs;

    #[test]
    fn the_segment_is_the_data_of_the_envelope() {
        let found = Statsig.found(json!({"message": "ok", "data": {"id": "a", "x": 1}})).expect("a segment");
        assert_eq!((found.id.as_str(), found.segment), ("a", json!({"id": "a", "x": 1})));
        for body in
            [json!([]), json!({"data": []}), json!({"id": "a"}), json!({"data": {"id": 7}}), json!({"data": {}})]
        {
            assert!(Statsig.found(body).is_err());
        }
    }

    #[test]
    fn who_and_when_come_from_the_modifier_fields() {
        let about = Statsig.about(&json!({
            "lastModifierName": null, "lastModifierEmail": "a@b.c", "lastModifierID": "x",
            "lastModifiedTime": 1700000000000_i64, "version": 7
        }));
        assert_eq!(about.modified_by.as_deref(), Some("a@b.c"));
        assert_eq!((about.modified_at, about.revision), (Some(UnixMs(1_700_000_000_000)), Some(7)));
        assert_eq!(Statsig.about(&json!({})), About::default());
    }
}
