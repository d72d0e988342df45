//! Statsig's Console API, version 20240601 (its published OpenAPI document; see also `PROVIDERS.md`).

use serde_json::Value;

use super::{Found, Listed, Page, Provider, count, text, time, whole};
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
        request(&["console", "v1", "segments", id], Vec::new())
    }

    fn found(&self, mut body: Value) -> Result<Found, &'static str> {
        let segment =
            body.get_mut("data").map(Value::take).filter(Value::is_object).ok_or("it has no object `data`")?;
        let id = text(&segment, "id").ok_or("its `data` has no `id`")?.to_owned();
        Ok(Found { id, segment, usage: None })
    }

    fn list(&self, page: Page) -> Request {
        let query = vec![("limit", page.size.to_string()), ("page", (page.number + 1).to_string())];
        request(&["console", "v1", "segments"], query)
    }

    fn listed(&self, mut body: Value) -> Result<Listed, &'static str> {
        let items = if body.is_array() { Some(body.take()) } else { body.get_mut("data").map(Value::take) };
        let listed = Listed::of(items, "id").ok_or("it has no array `data`")?;
        let pagination = body.get("pagination");
        // A link without a scheme where there is a next page: worth a yes or no only.
        let has_next = pagination.and_then(|pagination| pagination.get("nextPage")).map(|next| !next.is_null());
        Ok(Listed { has_next, total: pagination.and_then(|pagination| count(pagination, "totalItems")), ..listed })
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

fn request(path: &[&str], query: Vec<(&'static str, String)>) -> Request {
    Request {
        path: path.iter().map(|segment| (*segment).to_owned()).collect(),
        query,
        key_header: "STATSIG-API-KEY",
        // Optional today, announced to become required.
        headers: &[("STATSIG-API-VERSION", "20240601")],
        if_none_match: None,
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
    fn a_page_is_read_in_every_form() {
        let page = |body| Statsig.listed(body).map(|page| (page.segments.len(), page.odd, page.has_next, page.total));
        let data = json!([{"id": "a"}, {"id": "b"}, {"name": "no id"}]);
        assert_eq!(page(json!({"data": data, "pagination": {"nextPage": null}})), Ok((2, 1, Some(false), None)));
        let more = json!({"nextPage": "/console/v1/segments?page=2", "totalItems": 7});
        assert_eq!(page(json!({"data": data, "pagination": more})), Ok((2, 1, Some(true), Some(7))));
        assert_eq!(page(data.clone()), Ok((2, 1, None, None)));
        assert!(page(json!({"data": {"id": "a"}})).is_err());
    }

    #[test]
    fn pages_count_from_one() {
        let request = Statsig.list(Page { number: 2, offset: 200, size: 100 });
        assert_eq!(request.query, [("limit", "100".to_owned()), ("page", "3".to_owned())]);
        assert_eq!(request.path.join("/"), "console/v1/segments");
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
