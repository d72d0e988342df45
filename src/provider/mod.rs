//! The vendors: which request asks for what, and what in an answer is the segment.
//!
//! One file a vendor, listed in [`ALL`]; nothing else in the tree names one, apart from SQL views and the simulator.
//! Nothing here sends, stores or compares.

mod octave;
mod statsig;

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use crate::document::Shape;
use crate::model::{About, ProviderEntry, UnixMs};
use crate::transport::Request;

/// Every provider that a configuration can name.
pub const ALL: &[&dyn Provider] = &[&statsig::Statsig, &octave::Octave];

/// One vendor's API.
pub trait Provider: Send + Sync + fmt::Debug {
    /// Its name in configurations and its usual base URL.
    fn entry(&self) -> ProviderEntry;

    /// What is special in its documents.
    fn shape(&self) -> &'static Shape;

    /// The member of a segment that is its id.
    fn id_member(&self) -> &'static str;

    /// The request for one segment.
    fn get(&self, id: &str) -> Request;

    /// The segment in a 200 answer's body; the error says in a few words what is wrong with it.
    fn found(&self, body: Value) -> Result<Found, &'static str>;

    /// The request for one page of the list of all segments.
    fn list(&self, page: Page) -> Request;

    /// What stands beside the segments in a 200 answer to [`Provider::list`].
    fn beside(&self, rest: &Value) -> Beside;

    /// What a document says about itself.
    fn about(&self, document: &Value) -> About;

    /// The header in which its clients send their key.
    fn key_header(&self) -> &'static str;

    /// What a client asks for that reads this path (its segments, decoded) of the vendor's API; `None` for what has
    /// nothing to do with segments.
    fn call(&self, path: &[Cow<'_, str>], query: &[(Cow<'_, str>, Cow<'_, str>)]) -> Option<Call>;

    /// The vendor's answer to [`Call::Get`] with this document.
    fn one(&self, document: &str, stamp: &Stamp) -> String;

    /// The vendor's answer to [`Call::List`] with these documents, of `total`.
    fn page(&self, documents: &[&str], page: Page, total: usize, stamp: &Stamp) -> String;

    /// The vendor's answer to what it refuses.
    fn refusal(&self, status: u16, why: &str, stamp: &Stamp) -> String;
}

/// What a client of the vendor's own API asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// The segment with this id.
    Get(String),
    /// A page of the list.
    List(Page),
    /// What makes no sense to the vendor, and why.
    Bad(&'static str),
}

/// What an answer in the vendor's shape may bear besides its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Where the vendor's API is served, without a scheme.
    pub base: String,
    /// When the answer is made.
    pub at: UnixMs,
    /// A number that no other answer is likely to bear.
    pub number: u64,
}

/// A segment in an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The id that the segment itself bears.
    pub id: String,
    /// The segment's object.
    pub segment: Value,
    /// What the provider says that the request cost, in its own unit.
    pub usage: Option<f64>,
}

/// Which page of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many pages come before it.
    pub number: usize,
    /// How many segments come before it.
    pub offset: usize,
    /// How many segments it may hold.
    pub size: usize,
}

/// The member of a page in which its segments are, unless they are all of it.
pub const ITEMS: &str = "data";

/// What a page of a list says of the list, as far as it can be believed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Beside {
    /// Whether another page follows.
    pub has_next: Option<bool>,
    /// How many segments there are in all.
    pub total: Option<usize>,
    /// What the request cost, in the provider's own unit.
    pub usage: Option<f64>,
}

/// The id that a segment bears as `member`, if it is one.
pub fn id_of<'a>(segment: &'a Value, member: &str) -> Option<&'a str> {
    text(segment, member).filter(|id| !id.trim().is_empty())
}

/// What `config` needs to know of every provider.
pub fn catalogue() -> Vec<ProviderEntry> {
    ALL.iter().map(|provider| provider.entry()).collect()
}

/// The provider of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Provider> {
    ALL.iter().copied().find(|provider| provider.entry().name == name)
}

/// A query parameter's value.
fn parameter<'a>(query: &'a [(Cow<'_, str>, Cow<'_, str>)], name: &str) -> Option<&'a str> {
    query.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
}

/// A query parameter that is a number of at least `least`, or the usual one where it is not there.
fn number(query: &[(Cow<'_, str>, Cow<'_, str>)], name: &str, least: usize, usual: usize) -> Option<usize> {
    match parameter(query, name) {
        None => Some(usual),
        Some(text) => text.parse().ok().filter(|number| *number >= least),
    }
}

/// A member that is a non-empty string.
fn text<'a>(object: &'a Value, member: &str) -> Option<&'a str> {
    object.get(member)?.as_str().filter(|text| !text.is_empty())
}

/// A member that is a whole number of things.
fn count(object: &Value, member: &str) -> Option<usize> {
    usize::try_from(object.get(member)?.as_u64()?).ok()
}

/// Milliseconds of an epoch number or an RFC 3339 string.
fn time(value: Option<&Value>) -> Option<UnixMs> {
    match value? {
        Value::String(text) => UnixMs::parse(text).ok(),
        number => whole(number).map(UnixMs),
    }
}

/// A number's whole part.
fn whole(number: &Value) -> Option<i64> {
    let number = number.as_number()?;
    // A double that large is no time and no revision; the cast saturates.
    #[expect(clippy::cast_possible_truncation)]
    number.as_i64().or_else(|| number.as_f64().filter(|value| value.is_finite()).map(|value| value as i64))
}
