//! What an answer means (DESIGN §5). A function of its arguments.

use serde_json::Value;

use super::meaning::Meaning;
use crate::diff::diff;
use crate::document::{Document, Opened, open_list, parse, peek_member};
use crate::model::{Change, Op, Outcome, Path, SegmentState};
use crate::provider::{Beside, Found, ITEMS, Provider, id_of};
use crate::secret::ApiKey;
use crate::store::{Latest, NewVersion, StoredDocument};
use crate::transport::{Answer, BodyError, NoAnswer};

/// Of whom something was asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its vendor.
    pub provider: &'static dyn Provider,
    /// Its key, for scrubbing what it says.
    pub key: &'a ApiKey,
    /// Paths that are left out of documents.
    pub ignore: &'a [Path],
}

/// Which segment was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its id.
    pub id: &'a str,
    /// The validator that was sent.
    pub validator: Option<&'a str>,
    /// A whole list lacked it: one 404 is enough to call it deleted.
    pub is_unlisted: bool,
}

/// What an answer means for its segment.
#[derive(Debug)]
pub struct Verdict {
    /// What became of the poll.
    pub outcome: Outcome,
    /// Why it is no usable answer, in one line without the key.
    pub error: Option<String>,
    /// What the provider says that the request cost.
    pub usage: Option<f64>,
    /// The validator of the last document from now on.
    pub etag: Option<String>,
    /// The version that it makes.
    pub version: Option<NewVersion>,
    /// What the body means where it tells of a segment that is there, whatever the file knows.
    pub meaning: Option<Meaning>,
}

impl Verdict {
    /// That of a body whose meaning is known; `None` where it has to be read, as the file knows something else.
    pub(super) fn of_known(meaning: Meaning, etag: Option<&str>, latest: &Latest) -> Option<Self> {
        meaning.is_of(latest).then(|| Self {
            outcome: Outcome::Unchanged,
            error: None,
            usage: meaning.usage,
            etag: etag.map(str::to_owned),
            version: None,
            meaning: None,
        })
    }

    /// What is left of it where another answer made a version meanwhile: which of the two is newer nobody knows, so the
    /// next poll tells. An old answer would undo what is known, and the next one do it again.
    pub(super) fn yielding(self) -> Self {
        Self { outcome: Outcome::Unchanged, error: None, version: None, ..self }
    }
}

/// Why an answer holds nothing to compare.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What became of the poll.
    pub outcome: Outcome,
    /// Why, in one line without the key.
    pub error: String,
}

/// Judges the answer to a request for one segment, given what the file knows of it.
pub fn judge(answer: &Result<Answer, NoAnswer>, asked: Asked<'_>, wanted: Wanted<'_>, latest: &Latest) -> Verdict {
    let kept = |outcome, error| Verdict {
        outcome,
        error,
        usage: None,
        etag: latest.etag.clone(),
        version: None,
        meaning: None,
    };
    match answer {
        Ok(Answer { status: 304, .. }) if wanted.validator.is_some() => return kept(Outcome::Unchanged, None),
        _ => {}
    }
    match body(answer, asked.key).and_then(|body| segment(body, asked, wanted.id)) {
        Ok(found) => {
            let usage = found.usage;
            let etag = answer.as_ref().ok().and_then(|answer| answer.etag.clone());
            let document = document(found.segment, asked);
            let (outcome, version) = weigh(&document, asked.provider, latest);
            let meaning = meaning(&document, asked.provider, usage);
            Verdict { outcome, error: None, usage, etag, version, meaning }
        }
        Err(Refusal { outcome: Outcome::NotFound, error }) if is_gone(latest, wanted) => {
            Verdict { version: Some(gone(latest)), ..kept(Outcome::Deleted, Some(error)) }
        }
        Err(Refusal { outcome, error }) => kept(outcome, Some(error)),
    }
}

/// Whether 404 means that a segment that was there is deleted: the second in a row does, or the first where a whole list
/// lacked it.
fn is_gone(latest: &Latest, wanted: Wanted<'_>) -> bool {
    latest.state == SegmentState::Present && (latest.not_found || wanted.is_unlisted)
}

/// A page of a list, as far as it can be believed.
#[derive(Debug, Default)]
pub struct Listed<'t> {
    /// Its segments, in the order of the page.
    pub segments: Vec<Entry<'t>>,
    /// Items that are no segments.
    pub odd: usize,
    /// What it says of the list.
    pub beside: Beside,
}

/// A segment on a page.
#[derive(Debug)]
pub struct Entry<'t> {
    /// The id that it bears.
    pub id: String,
    /// The item as it is written.
    pub text: &'t str,
    /// What the item holds.
    pub content: Content,
}

/// What an item of a page holds.
#[derive(Debug)]
pub enum Content {
    /// The same as the last time.
    Known(Meaning),
    /// The segment's object.
    Read(Value),
}

/// The page in the answer to a request for one; `known` tells what the text of the segment with this id means, if it is the
/// last one once more. A list that is not found says nothing about its segments.
pub fn judge_page<'t>(
    answer: &'t Result<Answer, NoAnswer>,
    asked: Asked<'_>,
    known: impl Fn(&str, &str) -> Option<Meaning>,
) -> Result<Listed<'t>, Refusal> {
    let text = text(answer, asked.key).map_err(|refusal| match refusal.outcome {
        Outcome::NotFound => Refusal { outcome: Outcome::Failed, ..refusal },
        _ => refusal,
    })?;
    let no_json = |error| no_json(&error, asked.key);
    let Opened { items, rest } = open_list(text, ITEMS).map_err(no_json)?;
    let items = items.ok_or_else(|| malformed(&format!("answer is no list: it has no array `{ITEMS}`"), asked.key))?;
    let mut listed = Listed { beside: asked.provider.beside(&rest), ..Listed::default() };
    for text in items {
        match entry(text, asked, &known).map_err(no_json)? {
            Some(entry) => listed.segments.push(entry),
            None => listed.odd += 1,
        }
    }
    Ok(listed)
}

/// The segment that an item is; `None` where it is none.
fn entry<'t>(
    text: &'t str,
    asked: Asked<'_>,
    known: impl Fn(&str, &str) -> Option<Meaning>,
) -> Result<Option<Entry<'t>>, serde_json::Error> {
    let member = asked.provider.id_member();
    if let Some(id) = peek_member(text, member)
        && let Some(meaning) = known(id, text)
    {
        return Ok(Some(Entry { id: id.to_owned(), text, content: Content::Known(meaning) }));
    }
    let segment = parse(text)?;
    // The key must not become the name of a segment.
    let id = id_of(&segment, member).filter(|id| asked.key.scrub(id) == *id).map(str::to_owned);
    Ok(id.map(|id| Entry { id, text, content: Content::Read(segment) }))
}

/// The JSON of a 200 answer.
fn body(answer: &Result<Answer, NoAnswer>, key: &ApiKey) -> Result<Value, Refusal> {
    parse(text(answer, key)?).map_err(|error| no_json(&error, key))
}

fn no_json(error: &serde_json::Error, key: &ApiKey) -> Refusal {
    malformed(&format!("answer is not JSON: {error}"), key)
}

/// The body of a 200 answer.
fn text<'t>(answer: &'t Result<Answer, NoAnswer>, key: &ApiKey) -> Result<&'t str, Refusal> {
    let failed = |error| Refusal { outcome: Outcome::Failed, error };
    let answer = answer.as_ref().map_err(|error| failed(error.to_string()))?;
    let refused = |outcome, what| Err(Refusal { outcome, error: reason(answer, what, key) });
    match answer.status {
        200 => {}
        429 => return refused(Outcome::Throttled, "too many requests"),
        _ if answer.retry_after.is_some() => return refused(Outcome::Throttled, "asked to come back later"),
        404 if let Err(BodyError::Broken(why) | BodyError::Lost(why)) = &answer.body => {
            // Half an answer is no word of a deletion.
            return Err(failed(key.excerpt(&format!("HTTP 404, but {why}"))));
        }
        404 => return refused(Outcome::NotFound, "not found"),
        401 | 403 => return refused(Outcome::Unauthorized, "the key was refused"),
        304 => return refused(Outcome::Failed, "not modified, although no validator was sent"),
        300..=399 => return refused(Outcome::Failed, "redirect refused"),
        500..=599 => return refused(Outcome::Failed, "the provider failed"),
        _ => return refused(Outcome::Failed, "unexpected status"),
    }
    let body = answer.body.as_ref().map_err(|error| match error {
        BodyError::Lost(why) => failed(why.clone()),
        other => malformed(&other.to_string(), key),
    })?;
    std::str::from_utf8(body).map_err(|error| malformed(&format!("answer is not UTF-8: {error}"), key))
}

fn malformed(why: &str, key: &ApiKey) -> Refusal {
    Refusal { outcome: Outcome::Malformed, error: key.excerpt(why) }
}

/// The segment in a 200 answer's body, which must be the one that was asked for.
fn segment(body: Value, asked: Asked<'_>, id: &str) -> Result<Found, Refusal> {
    let no_segment = |what| malformed(&format!("answer is no segment: {what}"), asked.key);
    let found = asked.provider.found(body).map_err(no_segment)?;
    if found.id == id {
        Ok(found)
    } else {
        // Before it is quoted: quotes are one more way to spell a key.
        Err(malformed(&format!("answer is another segment: its id is {:?}", asked.key.scrub(&found.id)), asked.key))
    }
}

/// The document of a segment in an answer.
pub(super) fn document(mut segment: Value, asked: Asked<'_>) -> Document {
    asked.key.scrub_value(&mut segment);
    Document::new(segment, asked.provider.shape(), asked.ignore)
}

/// What bytes mean that hold this document; nothing to remember where they tell of a deletion.
pub(super) fn meaning(document: &Document, provider: &dyn Provider, usage: Option<f64>) -> Option<Meaning> {
    let is_there = !provider.about(document.value()).deleted;
    is_there.then(|| Meaning { document: *document.hash(), usage })
}

/// What a document means, given what the file knows of its segment.
pub(super) fn weigh(document: &Document, provider: &dyn Provider, latest: &Latest) -> (Outcome, Option<NewVersion>) {
    let about = provider.about(document.value());
    let is_same = latest.document.as_ref().is_some_and(|last| last.hash == *document.hash());
    let (outcome, op) = match (latest.state, about.deleted) {
        (SegmentState::Present, false) if is_same => return (Outcome::Unchanged, None),
        // After a delete only a restore follows.
        (SegmentState::Deleted, true) => return (Outcome::Unchanged, None),
        (SegmentState::Pending, false) => (Outcome::Created, Op::Create),
        (SegmentState::Present, false) => (Outcome::Updated, Op::Update),
        (SegmentState::Deleted, false) => (Outcome::Restored, Op::Restore),
        (SegmentState::Pending | SegmentState::Present, true) => (Outcome::Deleted, Op::Delete),
    };
    let jump = about.revision.zip(latest.revision).map(|(new, old)| new.saturating_sub(old).saturating_sub(1));
    let version = NewVersion {
        base: latest.seq,
        op,
        cause: None,
        modified_at: about.modified_at,
        modified_by: about.modified_by,
        revision: about.revision,
        missed_revisions: jump.filter(|missed| *missed > 0),
        document: Some(StoredDocument { text: document.text().into(), hash: *document.hash() }),
        changes: changes(document, provider, latest),
    };
    (outcome, Some(version))
}

/// What differs from the last version's document; nothing where that has none.
fn changes(document: &Document, provider: &dyn Provider, latest: &Latest) -> Vec<Change> {
    let Some(last) = &latest.document else { return Vec::new() };
    // Read as it was written by `Document`; a text that is no JSON any more differs as a whole.
    let last = parse(&last.text).unwrap_or(Value::Null);
    diff(&last, document.value(), provider.shape())
}

/// A version without a document.
pub(super) fn gone(latest: &Latest) -> NewVersion {
    NewVersion {
        base: latest.seq,
        op: Op::Delete,
        cause: None,
        modified_at: None,
        modified_by: None,
        revision: None,
        missed_revisions: None,
        document: None,
        changes: Vec::new(),
    }
}

/// A refusal in one line, with what the provider says of it.
fn reason(answer: &Answer, what: &str, key: &ApiKey) -> String {
    let line = format!("HTTP {}, {what}", answer.status);
    match answer.body.as_ref().ok().and_then(|body| message(body)) {
        Some(message) => key.excerpt(&format!("{line}: {message}")),
        None => line,
    }
}

/// The message in an error's body: a JSON member where there is one, else the text itself.
fn message(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let message = match parse(&text) {
        Ok(Value::Object(members)) => {
            let member = |name| members.get(name).and_then(Value::as_str);
            let nested = || members.values().find_map(|member| member.get("message")?.as_str());
            member("message").or_else(|| member("error")).or_else(nested).unwrap_or(&text).to_owned()
        }
        Ok(Value::String(text)) => text,
        _ => text.into_owned(),
    };
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    (!line.is_empty()).then_some(line)
}
