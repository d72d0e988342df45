//! Statsig's Console API, version 20240601 (its published OpenAPI document; see also `PROVIDERS.md`).

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{Beside, Call, Found, Page, Provider, Stamp, count, number, text, time, whole};
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
    stamps: &["lastModifiedTime", "lastModifierID", "lastModifierName", "lastModifierEmail", "version"],
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

    fn id_member(&self) -> &'static str {
        "id"
    }

    fn get(&self, id: &str) -> Request {
        request(&[&SEGMENTS[..], &[id]].concat(), Vec::new())
    }

    fn found(&self, mut body: Value) -> Result<Found, &'static str> {
        let segment =
            body.get_mut("data").map(Value::take).filter(Value::is_object).ok_or("it has no object `data`")?;
        let id = text(&segment, self.id_member()).ok_or("its `data` has no `id`")?.to_owned();
        Ok(Found { id, segment, usage: None })
    }

    fn list(&self, page: Page) -> Request {
        let query = vec![("limit", page.size.to_string()), ("page", (page.number + 1).to_string())];
        request(&SEGMENTS, query)
    }

    fn beside(&self, rest: &Value) -> Beside {
        let pagination = rest.get("pagination");
        // A link without a scheme where there is a next page: worth a yes or no only.
        let has_next = pagination.and_then(|pagination| pagination.get("nextPage")).map(|next| !next.is_null());
        Beside { has_next, total: pagination.and_then(|pagination| count(pagination, "totalItems")), usage: None }
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

    fn key_header(&self) -> &'static str {
        KEY_HEADER
    }

    fn call(&self, path: &[Cow<'_, str>], query: &[(Cow<'_, str>, Cow<'_, str>)]) -> Option<Call> {
        let rest = path.strip_prefix(&SEGMENTS.map(Cow::Borrowed))?;
        match rest {
            [id] if !id.is_empty() => Some(Call::Get(id.to_string())),
            // An empty id turns the request for one into the list.
            [] | [_] => Some(match (number(query, "limit", 1, USUAL), number(query, "page", 1, 1)) {
                (Some(size), Some(page)) => {
                    Call::List(Page { number: page - 1, offset: (page - 1).saturating_mul(size), size })
                }
                _ => Call::Bad("limit and page must be positive integers"),
            }),
            _ => None,
        }
    }

    fn one(&self, document: &str, _: &Stamp) -> String {
        format!(r#"{{"message":"Segment read successfully.","data":{document}}}"#)
    }

    fn page(&self, documents: &[&str], page: Page, total: usize, stamp: &Stamp) -> String {
        let number = page.number + 1;
        let link = |page: usize, limit: usize| format!("{}/console/v1/segments?page={page}&limit={limit}", stamp.base);
        let has_next = page.offset.saturating_add(page.size) < total;
        let pagination = json!({
            "itemsPerPage": page.size, "pageNumber": number, "totalItems": total,
            "nextPage": has_next.then(|| link(number + 1, page.size)),
            "previousPage": (number > 1).then(|| link(number - 1, page.size)),
        });
        let data = documents.join(",");
        format!(r#"{{"message":"Segments listed successfully.","data":[{data}],"pagination":{pagination}}}"#)
    }

    fn refusal(&self, status: u16, why: &str, _: &Stamp) -> String {
        json!({ "status": status, "message": why }).to_string()
    }
}

const KEY_HEADER: &str = "STATSIG-API-KEY";
const SEGMENTS: [&str; 3] = ["console", "v1", "segments"];
/// Segments of a page unless the client says how many.
const USUAL: usize = 100;

fn request(path: &[&str], query: Vec<(&'static str, String)>) -> Request {
    Request {
        path: path.iter().map(|segment| (*segment).to_owned()).collect(),
        query,
        key_header: KEY_HEADER,
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
    fn a_page_tells_of_the_list() {
        let beside = |rest| {
            let Beside { has_next, total, .. } = Statsig.beside(&rest);
            (has_next, total)
        };
        assert_eq!(beside(json!({"pagination": {"nextPage": null}})), (Some(false), None));
        let more = json!({"nextPage": "/console/v1/segments?page=2", "totalItems": 7});
        assert_eq!(beside(json!({"pagination": more})), (Some(true), Some(7)));
        assert_eq!(beside(json!(null)), (None, None));
    }

    #[test]
    fn what_clients_ask_for_is_read() {
        let call = |path: &str, query: &str| {
            let path: Vec<Cow<'_, str>> = path.split('/').map(Cow::Borrowed).collect();
            let query: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
            Statsig.call(&path, &query)
        };
        assert_eq!(call("console/v1/segments/a b", "x=1"), Some(Call::Get("a b".to_owned())));
        let page = |number, offset, size| Some(Call::List(Page { number, offset, size }));
        assert_eq!(call("console/v1/segments", ""), page(0, 0, 100));
        assert_eq!(call("console/v1/segments/", "limit=7&page=3"), page(2, 14, 7));
        for bad in ["limit=0", "page=0", "limit=x"] {
            assert!(matches!(call("console/v1/segments", bad), Some(Call::Bad(_))), "{bad}");
        }
        for other in ["", "console/v1/gates", "console/v1/segments/a/id_list", "console/v1"] {
            assert_eq!(call(other, ""), None, "{other}");
        }
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
