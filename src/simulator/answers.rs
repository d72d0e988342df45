//! What the providers answer when nothing goes wrong: the envelopes around the segments, and the refusals.
//!
//! Bodies are made as text around the segments' own text, so that digits, order and oddities of raw documents survive.
//! Must never happen here: two of Octave's answers with the same `_metadata`.

use serde_json::{Value, json};

use super::routes::{Asked, Page};
use super::world::{Account, rfc3339, wall_ms};
use super::{OctaveList, Settings, octave, statsig};

/// An answer before it becomes HTTP.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    /// What the ETag stands for: the content without what differs in every answer.
    pub(super) basis: Option<String>,
}

impl Answer {
    fn new(status: u16, body: String) -> Self {
        Self { status, body, basis: None }
    }

    fn content(body: String, basis: String) -> Self {
        Self { status: 200, body, basis: Some(basis) }
    }
}

/// What there is to answer from.
#[derive(Debug)]
pub(super) struct Books<'a> {
    pub(super) settings: &'a Settings,
    pub(super) statsig: &'a Account<statsig::Segment>,
    pub(super) octave: &'a Account<octave::Segment>,
    /// The simulator's host and port.
    pub(super) host: &'a str,
    /// The request's number, from 0.
    pub(super) number: usize,
}

impl Books<'_> {
    /// The true answer.
    pub(super) fn answer(&self, asked: &Asked) -> Answer {
        match asked {
            Asked::StatsigSegment(id) => match self.statsig.text(id) {
                Some(text) => Answer::content(statsig_data("Segment read successfully.", &text), text),
                None => statsig_error(404, "Not Found. There is no such segment."),
            },
            Asked::StatsigList(Some(page)) => self.statsig_page(*page),
            Asked::StatsigList(None) => statsig_error(400, "limit and page must be positive integers"),
            Asked::OctaveSegment(Some(id)) => match self.octave.text(id) {
                Some(text) => Answer::content(self.with_metadata(&text), text),
                None => self.octave_error(404, "Segment not found"),
            },
            Asked::OctaveSegment(None) => self.octave_error(400, "oId is required"),
            Asked::OctaveList(Some(page)) => self.octave_page(*page),
            Asked::OctaveList(None) => self.octave_error(400, "limit must be positive and offset a number"),
            Asked::OctaveKey => Answer::new(200, self.with_metadata(r#"{"status":"ok","valid":true}"#)),
            Asked::Stray => Answer::new(404, json!({ "status": 404, "message": "no such path" }).to_string()),
        }
    }

    /// 401. Statsig's repeats the key that was sent.
    pub(super) fn refuse_key(&self, asked: &Asked, key: Option<&str>) -> Answer {
        if is_octave(asked) {
            return self.octave_error(401, "Invalid API key");
        }
        let sent = key.unwrap_or("undefined");
        statsig_error(401, &format!("Only an active CONSOLE key is accepted here, and this is none. Key: {sent}"))
    }

    /// 429.
    pub(super) fn refuse_more(&self, asked: &Asked) -> Answer {
        let message = "Too many requests";
        if is_octave(asked) { self.octave_error(429, message) } else { statsig_error(429, message) }
    }

    fn statsig_page(&self, page: Page) -> Answer {
        let (limit, number) = (self.limit(page, 100), page.start.unwrap_or(1));
        let from = number.saturating_sub(1).saturating_mul(limit);
        let (texts, total) = self.statsig.page(true, from, limit);
        let texts = texts.join(",");
        let link = |page: usize, there: bool| {
            there.then(|| format!("{}/console/v1/segments?page={page}&limit={limit}", self.host))
        };
        let pagination = json!({
            "itemsPerPage": limit, "pageNumber": number, "totalItems": total,
            "nextPage": link(number.saturating_add(1), from.saturating_add(limit) < total),
            "previousPage": link(number.saturating_sub(1), number > 1),
        });
        let body =
            format!(r#"{{"message":"Segments listed successfully.","data":[{texts}],"pagination":{pagination}}}"#);
        Answer::content(body.clone(), body)
    }

    fn octave_page(&self, page: Page) -> Answer {
        let (limit, from) = (self.limit(page, 10), page.start.unwrap_or(0));
        let (texts, total) = self.octave.page(self.settings.list_soft_deleted, from, limit);
        let texts = texts.join(",");
        let has_next = from.saturating_add(limit) < total;
        let list = match self.settings.octave_list {
            OctaveList::Proper => format!(r#"{{"hasNext":{has_next},"total":{total},"data":[{texts}]}}"#),
            OctaveList::AlwaysHasNext => format!(r#"{{"hasNext":true,"total":{total},"data":[{texts}]}}"#),
            OctaveList::NoHasNext => format!(r#"{{"data":[{texts}]}}"#),
            OctaveList::BareArray => format!("[{texts}]"),
        };
        Answer::content(self.with_metadata(&list), list)
    }

    fn limit(&self, page: Page, default: usize) -> usize {
        page.limit.unwrap_or(default).min(self.settings.max_page).max(1)
    }

    fn octave_error(&self, status: u16, message: &str) -> Answer {
        Answer::new(status, self.with_metadata(&json!({ "message": message }).to_string()))
    }

    /// Puts `_metadata` beside an object's fields. What is no object stays as it is.
    fn with_metadata(&self, text: &str) -> String {
        let Some(fields) = text.trim_start().strip_prefix('{') else { return text.to_owned() };
        let comma = if fields.trim_start().starts_with('}') { "" } else { "," };
        let metadata = json!({
            "requestId": format!("req_{:010}", self.number), "timestamp": rfc3339(wall_ms()),
            "usage": self.number, "message": "ok",
        });
        format!(r#"{{"_metadata":{metadata}{comma}{fields}"#)
    }
}

/// The same body with another id in its segment, or without; of a list, in its first one.
pub(super) fn with_id(body: &str, id: Option<&str>) -> String {
    let Ok(mut json) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    let holder = if json.get("data").is_some_and(|data| data.get("id").is_some()) {
        json.pointer_mut("/data")
    } else if json.get("oId").is_some() {
        Some(&mut json)
    } else {
        json.pointer_mut("/data/0")
    };
    if let Some(object) = holder.and_then(Value::as_object_mut) {
        let name = if object.contains_key("oId") { "oId" } else { "id" };
        match id {
            Some(id) => drop(object.insert(name.to_owned(), json!(id))),
            None => drop(object.remove(name)),
        }
    }
    json.to_string()
}

fn statsig_data(message: &str, data: &str) -> String {
    format!(r#"{{"message":"{message}","data":{data}}}"#)
}

fn statsig_error(status: u16, message: &str) -> Answer {
    Answer::new(status, json!({ "status": status, "message": message }).to_string())
}

fn is_octave(asked: &Asked) -> bool {
    matches!(asked, Asked::OctaveSegment(_) | Asked::OctaveList(_) | Asked::OctaveKey)
}
