//! Which versions are nothing but a change of the provider's schema: told before they are committed, as the chain covers it.
//!
//! Polls of one source that show something take turns from here to their commit, so that an event is written once.

use tokio::sync::MutexGuard;

use super::{Poller, Source};
use crate::drift::{Answer, Drift, Event, Shown, Sighting};
use crate::model::{About, Op, UnixMs};
use crate::provider::Provider;
use crate::store::{Error, Latest, NewVersion, SchemaPast, SchemaSeen, SegmentEnd, SegmentId};

/// What answers show, to be remembered once it is committed.
pub(super) struct Weighed<'a> {
    known: MutexGuard<'a, Option<Drift<SegmentId>>>,
    next: Shown<SegmentId>,
    pub(super) seen: SchemaSeen,
}

impl Weighed<'_> {
    /// It has been committed; returns the changes of the schema that nobody knew of before.
    pub(super) fn keep(mut self) -> Vec<Event> {
        if let Some(drift) = self.known.as_mut() {
            drift.keep(self.next);
        }
        self.seen.events.retain(|event| event.is_new);
        self.seen.events
    }
}

impl Poller {
    /// Weighs what a poll tells about `segments`, and marks the versions that are nothing but a change of the schema; `before`
    /// is what was known of each. `None` where nothing in it can be one.
    pub(super) async fn weigh<'a>(
        &self,
        source: &'a Source,
        segments: &mut [SegmentEnd],
        before: &[&Latest],
        now: UnixMs,
    ) -> Result<Option<Weighed<'a>>, Error> {
        let answer = |(end, latest): (&SegmentEnd, &&Latest)| Answer {
            segment: end.id,
            version: latest.seq + 1,
            sighting: end.version.as_ref().and_then(|version| sighting(version, latest, source.provider)),
        };
        let told = segments.iter().zip(before).filter(|(end, _)| end.outcome.is_answer());
        let answers: Vec<Answer<SegmentId>> = told.map(answer).collect();
        let mut known = source.drift.lock().await;
        if known.is_none() {
            let past = self.readers.schema_past(source.id, now).await?;
            *known = Some(remembered(past, source.provider));
        }
        let Some(drift) = known.as_mut() else { return Ok(None) };
        if answers.iter().all(|answer| answer.sighting.is_none()) {
            drift.answer(&answers, now);
            return Ok(None);
        }
        let (finding, next) = drift.weigh(&answers, now);
        let marked: Vec<SegmentId> = answers
            .iter()
            .zip(&finding.is_schema)
            .filter(|(_, is_schema)| **is_schema)
            .map(|(answer, _)| answer.segment)
            .collect();
        for end in segments.iter_mut().filter(|end| marked.contains(&end.id)) {
            if let Some(version) = &mut end.version {
                version.cause = Some("schema".to_owned());
            }
        }
        Ok(Some(Weighed { known, next, seen: SchemaSeen { events: finding.events, late: finding.late } }))
    }
}

/// What a new version shows beside the one before it. What is first seen, deleted or back is another matter.
fn sighting(version: &NewVersion, latest: &Latest, provider: &dyn Provider) -> Option<Sighting> {
    if version.op != Op::Update {
        return None;
    }
    let before = about(latest.modified_at, latest.modified_by.clone(), latest.revision);
    let after = about(version.modified_at, version.modified_by.clone(), version.revision);
    Sighting::of(&version.changes, &before, &after, provider.shape())
}

/// What the provider said of a version that is there.
fn about(modified_at: Option<UnixMs>, modified_by: Option<String>, revision: Option<i64>) -> About {
    About { modified_at, modified_by, revision, deleted: false }
}

/// What the file tells, as if this process had seen it.
fn remembered(past: SchemaPast, provider: &dyn Provider) -> Drift<SegmentId> {
    let mut drift = Drift::default();
    for (segment, entry, is_told) in past.versions {
        let before = about(entry.modified_at_before, entry.modified_by_before, entry.revision_before);
        let after = about(entry.modified_at, entry.modified_by, entry.revision);
        let sighting = Sighting::of(&entry.changes, &before, &after, provider.shape());
        drift.remember(entry.observed_at, Answer { segment, version: entry.seq, sighting }, is_told);
    }
    for (segment, at) in past.answered {
        drift.remember_answer(at, segment);
    }
    for (sign, last) in past.events {
        drift.remember_event(sign, last);
    }
    drift
}
