//! What an answer means (DESIGN §5). A function of its arguments.

use serde_json::Value;

use crate::diff::diff;
use crate::document::{self, Document};
use crate::model::{Change, Op, Outcome, Path, SegmentState};
use crate::provider::Provider;
use crate::secret::ApiKey;
use crate::store::{Latest, NewVersion, StoredDocument};
use crate::transport::{Answer, BodyError, NoAnswer};

/// What was asked, and of whom.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) provider: &'static dyn Provider,
    pub(super) key: &'a ApiKey,
    /// Paths that are left out of documents.
    pub(super) ignore: &'a [Path],
    /// The segment's id.
    pub(super) id: &'a str,
    /// The validator that was sent.
    pub(super) validator: Option<&'a str>,
}

/// What an answer means for its segment.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) error: Option<String>,
    pub(super) usage: Option<f64>,
    /// The validator of the last document from now on.
    pub(super) etag: Option<String>,
    pub(super) version: Option<NewVersion>,
}

/// Judges the answer to `asked`, given what the file knows.
pub(super) fn judge(answer: &Result<Answer, NoAnswer>, asked: &Asked<'_>, latest: &Latest) -> Verdict {
    let kept = |outcome, error| Verdict { outcome, error, usage: None, etag: latest.etag.clone(), version: None };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return kept(Outcome::Failed, Some(error.to_string())),
    };
    let refused = |outcome, what| kept(outcome, Some(reason(answer, what, asked.key)));
    match answer.status {
        200 => match read(&answer.body, asked) {
            Ok(read) => {
                let (outcome, version) = compare(&read.document, asked, latest);
                Verdict { outcome, error: None, usage: read.usage, etag: answer.etag.clone(), version }
            }
            Err(Unread { outcome, why }) => kept(outcome, Some(asked.key.excerpt(&why))),
        },
        304 if asked.validator.is_some() => kept(Outcome::Unchanged, None),
        404 => {
            let verdict = refused(Outcome::NotFound, "not found");
            // The second in a row deletes a segment that was there.
            let is_second = latest.state == SegmentState::Present && latest.not_found;
            if is_second {
                Verdict { outcome: Outcome::Deleted, version: Some(gone(latest)), ..verdict }
            } else {
                verdict
            }
        }
        401 | 403 => refused(Outcome::Unauthorized, "the key was refused"),
        429 => refused(Outcome::Throttled, "too many requests"),
        _ if answer.retry_after.is_some() => refused(Outcome::Throttled, "asked to come back later"),
        304 => refused(Outcome::Failed, "not modified, although no validator was sent"),
        300..=399 => refused(Outcome::Failed, "redirect refused"),
        500..=599 => refused(Outcome::Failed, "the provider failed"),
        _ => refused(Outcome::Failed, "unexpected status"),
    }
}

struct Read {
    document: Document,
    usage: Option<f64>,
}

struct Unread {
    outcome: Outcome,
    why: String,
}

/// The segment in a 200 answer's body.
fn read(body: &Result<Vec<u8>, BodyError>, asked: &Asked<'_>) -> Result<Read, Unread> {
    let malformed = |why: String| Unread { outcome: Outcome::Malformed, why };
    let body = body.as_ref().map_err(|error| match error {
        BodyError::Lost(why) => Unread { outcome: Outcome::Failed, why: why.clone() },
        other => malformed(other.to_string()),
    })?;
    let text = std::str::from_utf8(body).map_err(|error| malformed(format!("answer is not UTF-8: {error}")))?;
    let value = document::parse(text).map_err(|error| malformed(format!("answer is not JSON: {error}")))?;
    let found = asked.provider.found(value).map_err(|what| malformed(format!("answer is no segment: {what}")))?;
    if found.id != asked.id {
        return Err(malformed(format!("answer is another segment: its id is {:?}", found.id)));
    }
    let mut segment = found.segment;
    asked.key.scrub_value(&mut segment);
    Ok(Read { document: Document::new(segment, asked.provider.shape(), asked.ignore), usage: found.usage })
}

/// What a document means for a segment whose last version is `latest`.
fn compare(document: &Document, asked: &Asked<'_>, latest: &Latest) -> (Outcome, Option<NewVersion>) {
    let about = asked.provider.about(document.value());
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
        changes: changes(document, asked, latest),
    };
    (outcome, Some(version))
}

/// What differs from the last version's document; nothing where that has none.
fn changes(document: &Document, asked: &Asked<'_>, latest: &Latest) -> Vec<Change> {
    let Some(last) = &latest.document else { return Vec::new() };
    // Read as it was written by `Document`; a text that is no JSON any more differs as a whole.
    let last = document::parse(&last.text).unwrap_or(Value::Null);
    diff(&last, document.value(), asked.provider.shape())
}

/// A version without a document.
fn gone(latest: &Latest) -> NewVersion {
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
    let message = match document::parse(&text) {
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
