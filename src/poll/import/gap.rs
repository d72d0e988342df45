//! Versions that the file does not have, because they were no longer kept where it was exported: where they belong, and
//! the first version after them.
//!
//! A gap is taken over only where what came before it is the latest version here, and nothing is made up for it.

use super::line::{Line, Told};
use super::track::Track;
use super::trouble::Trouble;
use crate::document::Document;
use crate::model::Op;
use crate::provider::Provider;
use crate::store::{AfterGap, Gone, Latest, NewVersion, StoredDocument};

/// What is no longer kept between the latest version here and that of a line, where the line follows such a gap and not
/// everything before it.
pub(super) fn follows_gap(track: &Track, line: &Line<'_>) -> Result<Option<Gone>, Trouble> {
    let Some(told) = line.version.as_ref().filter(|told| told.after_gap.is_some()) else { return Ok(None) };
    let Some(standing) = track.standing.filter(|standing| standing.seq > 0) else { return Ok(None) };
    let gone = track.last.filter(|last| last.seq == standing.seq).and_then(|last| {
        let versions = told.seq.checked_sub(last.told)?.checked_sub(1).filter(|versions| *versions > 0)?;
        standing.seq.checked_add(versions)?.checked_add(1)?;
        Some(Gone { versions, from: last.valid_to? })
    });
    let since = standing.observed_at;
    match gone.filter(|gone| since.is_none_or(|since| since <= gone.from) && gone.from <= line.observed_at) {
        Some(gone) => Ok(Some(gone)),
        None => Trouble::whole(format!(
            "version {} of {:?} follows versions that are no longer kept, and what came before those is not version {}, \
             the latest here",
            told.seq, line.id, standing.seq
        )),
    }
}

/// A version after a gap: nothing is known of what was before it but what the line says.
pub(super) fn after_gap(
    document: Option<&Document>,
    provider: &dyn Provider,
    line: &Line<'_>,
    latest: &Latest,
) -> Result<NewVersion, Trouble> {
    let Some(Told { op, after_gap: Some(AfterGap { missed_revisions, changes }), .. }) = &line.version else {
        return Trouble::whole("it does not say what it changed".to_owned());
    };
    let about = document.map(|document| provider.about(document.value()));
    let is_there = about.as_ref().is_some_and(|about| !about.deleted);
    let op = match op {
        Some(op @ (Op::Update | Op::Restore)) if is_there => *op,
        Some(Op::Delete) if !is_there => Op::Delete,
        _ => return Trouble::whole("its op is not what such a version does".to_owned()),
    };
    if op == Op::Update && changes.is_empty() {
        return Trouble::whole("it is an update without changes".to_owned());
    }
    Ok(NewVersion {
        base: latest.seq,
        op,
        cause: None,
        modified_at: None,
        modified_by: None,
        revision: about.and_then(|about| about.revision),
        missed_revisions: *missed_revisions,
        document: document.map(|document| StoredDocument { text: document.text().into(), hash: *document.hash() }),
        changes: changes.clone(),
    })
}
