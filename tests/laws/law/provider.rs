//! What a provider's answer means, whatever it is: never a panic, never a deletion that nobody told, never the key.

use std::borrow::Cow;
use std::sync::OnceLock;

use segsync::budget::Standing;
use segsync::diff::{fold, unfold};
use segsync::document::{Document, parse, peek_member};
use segsync::model::{Outcome, SegmentState};
use segsync::poll::{Asked, Content, Meaning, Verdict, Wanted, judge, judge_page};
use segsync::provider::{self, Provider};
use segsync::secret::ApiKey;
use segsync::store::{Latest, StoredDocument};
use segsync::transport::{Answer, BodyError};
use serde_json::Value;

use super::canonical::is_its_own;

/// Which segment is asked for.
const ID: &str = "seg";
/// The key that may come back.
const KEY: &str = "console-0123456789";
const STATUSES: [u16; 10] = [200, 200, 404, 401, 429, 500, 304, 204, 206, 302];

fn key() -> &'static ApiKey {
    static KEPT: OnceLock<ApiKey> = OnceLock::new();
    KEPT.get_or_init(|| ApiKey::new(KEY).expect("a key"))
}

/// What the file may know of the segment before.
fn known() -> impl Iterator<Item = Latest> {
    let text = r#"{"deletedAt":null,"id":"seg","name":"x","oId":"seg","rules":[{"id":"1","name":"a"}],"tags":["a"]}"#;
    let document = Document::stored(text).expect("JSON");
    let latest = move |state, seq, has_document: bool, not_found| Latest {
        seq,
        state,
        document: has_document.then(|| StoredDocument { text: document.text().into(), hash: *document.hash() }),
        modified_at: None,
        modified_by: None,
        revision: Some(3),
        etag: Some("\"v\"".to_owned()),
        not_found,
    };
    [
        latest(SegmentState::Pending, 0, false, true),
        latest(SegmentState::Present, 1, true, false),
        latest(SegmentState::Present, 1, true, true),
        latest(SegmentState::Deleted, 2, true, false),
        latest(SegmentState::Deleted, 2, false, true),
    ]
    .into_iter()
}

/// The first byte chooses the status and how the body ended; the rest is the body.
pub fn any(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    let status = STATUSES[usize::from(first) % STATUSES.len()];
    let body = match first / 64 {
        3 => Err(BodyError::Broken("it ended".to_owned())),
        _ => Ok(body.to_vec()),
    };
    let standing = Standing { hold: None, pace: 1.0 };
    let answer = Ok(Answer { status, etag: Some("\"w\"".to_owned()), retry_after: None, standing, body });
    for vendor in provider::ALL {
        let asked = Asked { provider: *vendor, key: key(), ignore: &[] };
        for latest in known() {
            for is_unlisted in [false, true] {
                let wanted = Wanted { id: ID, validator: None, is_unlisted };
                let verdict = judge(&answer, asked, wanted, &latest);
                is_right(&verdict, answer.as_ref().expect("one"), asked, wanted, &latest);
                if let Some(Meaning { document: hash, usage }) = verdict.meaning {
                    let document = Some(StoredDocument { text: "{}".into(), hash });
                    let latest = Latest { state: SegmentState::Present, document, ..latest.clone() };
                    let again = judge(&answer, asked, wanted, &latest);
                    assert_eq!(
                        (again.outcome, again.usage),
                        (Outcome::Unchanged, usage),
                        "the bytes mean something else"
                    );
                }
            }
        }
        a_page_is_told_whole(judge_page(&answer, asked, |_, _| None), answer.as_ref().expect("one"));
        calls_are_understood(*vendor, data);
    }
}

/// The JSON of a whole body.
fn read(answer: &Answer) -> Option<Value> {
    parse(std::str::from_utf8(answer.body.as_ref().ok()?).ok()?).ok()
}

/// The segment in a 200 answer, if it is the one that was asked for.
fn segment(answer: &Answer, vendor: &dyn Provider) -> Option<Value> {
    let body = read(answer).filter(|_| answer.status == 200)?;
    let segment = if vendor.id_member() == "id" { body.get("data")?.clone() } else { body };
    (segment.is_object() && segment.get(vendor.id_member())?.as_str()? == ID).then_some(segment)
}

fn is_right(verdict: &Verdict, answer: &Answer, asked: Asked<'_>, wanted: Wanted<'_>, latest: &Latest) {
    let segment = segment(answer, asked.provider);
    let is_marked = || {
        let at = segment.as_ref().and_then(|segment| segment.get("deletedAt"));
        asked.provider.id_member() == "oId" && at.is_some_and(|at| !at.is_null())
    };
    let is_told_gone = answer.status == 404 && answer.body.is_ok() && (latest.not_found || wanted.is_unlisted);
    match verdict.outcome {
        Outcome::Deleted => {
            assert!(latest.state != SegmentState::Deleted, "what is gone was deleted again");
            assert!(is_told_gone || is_marked(), "deleted without a word: {answer:?}");
        }
        Outcome::Created | Outcome::Updated | Outcome::Restored => {
            assert!(segment.is_some() && !is_marked(), "{:?} out of {answer:?}", verdict.outcome);
            let before = match verdict.outcome {
                Outcome::Created => SegmentState::Pending,
                Outcome::Updated => SegmentState::Present,
                _ => SegmentState::Deleted,
            };
            assert_eq!(latest.state, before);
        }
        Outcome::Unchanged => assert!(segment.is_some() && verdict.version.is_none()),
        _ => {
            assert!(verdict.version.is_none() && verdict.error.is_some());
            assert_eq!(verdict.etag, latest.etag, "a refusal has no validator");
        }
    }
    if verdict.outcome == Outcome::Malformed {
        assert_eq!((answer.status, segment.is_some()), (200, false), "{:?}", verdict.error);
    }
    if let Some(error) = &verdict.error {
        assert!(error.chars().count() <= 300, "{error}");
    }
    assert!(!format!("{verdict:?}").contains(KEY), "the key came back: {verdict:?}");
    let Some(version) = &verdict.version else { return };
    assert_eq!(version.base, latest.seq);
    let Some(stored) = &version.document else { return };
    let document = Document::stored(&stored.text).expect("JSON");
    assert_eq!(document.hash(), &stored.hash);
    is_its_own(Value::clone(document.value()), asked.provider.shape());
    match &latest.document {
        None => assert!(version.changes.is_empty()),
        Some(last) => {
            let last = parse(&last.text).expect("JSON");
            let folded = fold(&last, &version.changes).map(|value| value.to_string());
            assert_eq!(folded.as_deref(), Ok(&*stored.text));
            assert_eq!(unfold(document.value(), &version.changes).as_ref(), Ok(&last));
        }
    }
}

/// Every item of a list is a segment or counted as odd.
fn a_page_is_told_whole(page: Result<segsync::poll::Listed<'_>, segsync::poll::Refusal>, answer: &Answer) {
    match page {
        Ok(page) => {
            let body = read(answer).filter(|_| answer.status == 200).expect("only JSON is a list");
            let items = body.as_array().or_else(|| body.get("data")?.as_array()).expect("only an array is one");
            assert_eq!(page.segments.len() + page.odd, items.len());
            for found in page.segments {
                assert!(!found.id.trim().is_empty() && !found.id.contains(KEY));
                assert!(items.iter().any(|item| item["id"] == *found.id || item["oId"] == *found.id));
                let Content::Read(segment) = &found.content else { panic!("nothing is known yet") };
                assert_eq!(parse(found.text).as_ref().ok(), Some(segment));
                let seen = ["id", "oId"].map(|member| peek_member(found.text, member));
                let held = ["id", "oId"].map(|member| segment.get(member).and_then(Value::as_str));
                assert!(seen.iter().zip(held).all(|(seen, held)| seen.is_none() || *seen == held), "{}", found.text);
            }
        }
        Err(refusal) => {
            let told = [Outcome::Malformed, Outcome::Failed, Outcome::Unauthorized, Outcome::Throttled];
            assert!(told.contains(&refusal.outcome), "{refusal:?}");
            assert!(!refusal.error.contains(KEY), "{refusal:?}");
        }
    }
}

/// What a client of the vendor's own API may ask for.
fn calls_are_understood(vendor: &dyn Provider, data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    let path: Vec<Cow<'_, str>> = path.split('/').map(Cow::Borrowed).collect();
    let query: Vec<(Cow<'_, str>, Cow<'_, str>)> =
        query.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
    match vendor.call(&path, &query) {
        Some(provider::Call::List(page)) => assert!(page.size > 0),
        Some(provider::Call::Get(id)) => assert!(!id.is_empty()),
        Some(provider::Call::Bad(_)) | None => {}
    }
}
