//! What a request asks for. A function of its words.
//!
//! Must never happen here: an id decoded twice, or a path that only resembles a known one answered as if it were it.

use percent_encoding::percent_decode_str;

use super::Provider;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// One segment of Statsig.
    StatsigSegment(String),
    /// A page of Statsig's; `None` where the parameters make no sense.
    StatsigList(Option<Page>),
    /// One segment of Octave; `None` where the id is blank or missing.
    OctaveSegment(Option<String>),
    /// A page of Octave's; `None` where the parameters make no sense.
    OctaveList(Option<Page>),
    /// Whether Octave's key works.
    OctaveKey,
    /// Nothing that a provider serves.
    Stray,
}

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most so many; `None` is the provider's default.
    pub limit: Option<usize>,
    /// Statsig: the page's number from 1. Octave: how many to leave out.
    pub start: Option<usize>,
}

const SEGMENTS: &str = "/console/v1/segments";

/// Reads the raw path and query.
pub(super) fn read(method: &str, path: &str, query: &str) -> Asked {
    if method != "GET" {
        return Asked::Stray;
    }
    match path {
        // An empty id is the list, as with the real one.
        "/console/v1/segments" | "/console/v1/segments/" => Asked::StatsigList(page(query, "page")),
        "/api/v2/segment/get" => Asked::OctaveSegment(parameter(query, "oId").filter(|id| !id.trim().is_empty())),
        "/api/v2/segment/list" => Asked::OctaveList(page(query, "offset")),
        "/api/v2/api-key/validate" => Asked::OctaveKey,
        _ => match path.strip_prefix(SEGMENTS).and_then(|rest| rest.strip_prefix('/')) {
            Some(id) if !id.contains('/') => statsig_segment(id),
            _ => Asked::Stray,
        },
    }
}

/// Whose paths these are.
pub(super) fn provider(path: &str) -> Option<Provider> {
    match path.split('/').nth(1) {
        Some("console") => Some(Provider::Statsig),
        Some("api") => Some(Provider::Octave),
        _ => None,
    }
}

fn statsig_segment(raw: &str) -> Asked {
    match percent_decode_str(raw).decode_utf8() {
        // Servers and proxies on the way resolve dot segments, encoded or not: such a request went elsewhere.
        Ok(id) if id == "." || id == ".." => Asked::Stray,
        Ok(id) => Asked::StatsigSegment(id.into_owned()),
        Err(_) => Asked::Stray,
    }
}

fn page(query: &str, start: &str) -> Option<Page> {
    let number = |name| parameter(query, name).map(|text| text.parse::<usize>()).transpose().ok();
    let page = Page { limit: number("limit")?, start: number(start)? };
    (page.limit != Some(0) && !(start == "page" && page.start == Some(0))).then_some(page)
}

/// The first value of a query parameter, decoded once.
fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| match pair.split_once('=') {
        Some((key, value)) => (decode(key)? == name).then_some(value),
        None => (decode(pair)? == name).then_some(""),
    })?;
    decode(value)
}

fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(path: &str) -> Asked {
        read("GET", path, "")
    }

    #[test]
    fn an_id_is_decoded_exactly_once() {
        for (raw, id) in [("a%2Fb", "a/b"), ("%252e", "%2e"), ("a+b", "a+b"), ("%C3%A9", "é"), ("a%3Fb", "a?b")] {
            assert_eq!(segment(&format!("/console/v1/segments/{raw}")), Asked::StatsigSegment(id.to_owned()));
        }
        let octave = |query: &str| read("GET", "/api/v2/segment/get", query);
        for (raw, id) in [("a+b", "a b"), ("a%2Bb", "a+b"), ("%2525", "%25"), ("sg_1&oId=sg_2", "sg_1")] {
            assert_eq!(octave(&format!("x=1&oId={raw}")), Asked::OctaveSegment(Some(id.to_owned())));
        }
        for blank in ["", "oId", "oId=", "oId=%20", "oid=sg_1"] {
            assert_eq!(octave(blank), Asked::OctaveSegment(None), "{blank}");
        }
    }

    #[test]
    fn other_paths_are_strays() {
        for path in [
            "/",
            "/console/v1/segments/a/b",
            "/console/v1/segments/a/id_list",
            "/console/v1/segments/..",
            "/console/v1/segments/%2E%2e",
            "/console/v1/segments/%ff",
            "/console/v1/segmentsx",
            "/console/v1/gates",
            "/api/v2/segment/get/",
        ] {
            assert_eq!(segment(path), Asked::Stray, "{path}");
        }
        assert_eq!(read("POST", "/console/v1/segments/a", ""), Asked::Stray);
    }

    #[test]
    fn pages_make_sense_or_not() {
        let list = |query| read("GET", "/console/v1/segments/", query);
        let page = |limit, start| Asked::StatsigList(Some(Page { limit, start }));
        assert_eq!(list(""), page(None, None));
        assert_eq!(list("limit=100&page=2"), page(Some(100), Some(2)));
        for bad in ["limit=0", "page=0", "limit=ten", "page=-1"] {
            assert_eq!(list(bad), Asked::StatsigList(None), "{bad}");
        }
        let octave = read("GET", "/api/v2/segment/list", "offset=0&limit=5");
        assert_eq!(octave, Asked::OctaveList(Some(Page { limit: Some(5), start: Some(0) })));
    }
}
