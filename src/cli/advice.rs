//! What an operator can do about what `segsync status` found: full sentences, each with a next step. A function of what
//! was read.

use std::time::Duration;

use super::{safe, span};
use crate::config::{KeyRef, Source};
use crate::model::{SourceState, UnixMs};
use crate::store::{Holder, SourceRow};

/// Segments that are named in one sentence.
const NAMED: usize = 3;

/// What is wrong with a source, and what helps; `None` where nothing is.
pub(super) fn about_source(source: &SourceRow, config: Option<&Source>, now: UnixMs) -> Option<String> {
    if source.tracked == 0 {
        return None;
    }
    let name = safe(source.name.as_str());
    let why = source.last_error.as_deref().map(safe).unwrap_or_default();
    let lasting = Duration::from_millis(u64::try_from(now.since(source.state_since)).unwrap_or(0));
    let lasting = span(lasting);
    match source.state {
        SourceState::Ok => None,
        SourceState::Unauthorized => {
            let (place, step) = match config.map(|config| &config.api_key) {
                Some(KeyRef::Env(variable)) => (
                    format!("environment variable {variable}"),
                    "set it to a valid key and restart the service".to_owned(),
                ),
                Some(KeyRef::File(path)) => {
                    (format!("file {}", safe(&path.display().to_string())), "replace the file and reload".to_owned())
                }
                Some(KeyRef::Credential(credential)) => (
                    format!("credential {credential}"),
                    "replace the file behind it and restart the service (systemd hands credentials over at the start)"
                        .to_owned(),
                ),
                None => ("use".to_owned(), "replace it and reload".to_owned()),
            };
            Some(format!(
                "{name} has been unauthorized for {lasting}: {why}. The provider rejected the key in {place}; {step}. \
                 Until then nothing of it is polled, apart from one request every 5 minutes, and nothing is deleted."
            ))
        }
        SourceState::Held => Some(format!(
            "{name} was asked to wait {lasting} ago: {why}. It waits by itself; where that comes often, others use the \
             account, too: give segsync a lower `share` of it."
        )),
        SourceState::Failing => Some(format!(
            "{name} has been failing for {lasting}: {why}. It is tried again by itself and nothing is deleted; look at \
             this machine's network and DNS, then at the provider's status page."
        )),
    }
}

/// What to do about stale segments, the one that waits longest first.
pub(super) fn about_stale(stale: &[String], all: usize, holder: Holder, is_source_well: bool) -> Option<String> {
    let first = stale.first()?;
    let named = stale.iter().take(NAMED).map(|key| safe(key).into_owned()).collect::<Vec<_>>().join(", ");
    let more = stale.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let are = if stale.len() == 1 { "is" } else { "are" };
    let id = first.split_once('/').map_or(first.as_str(), |(_, id)| id);
    let step = match (holder, is_source_well) {
        (Holder::Nobody, _) => {
            "No daemon is running on this file: `systemctl start segsync`, and `journalctl -u segsync` \
                                tells why it stopped"
                .to_owned()
        }
        (_, false) => "They follow once their source answers again".to_owned(),
        (_, true) => format!("`journalctl -u segsync SEGSYNC_SEGMENT={}` tells what happened to the first", safe(id)),
    };
    Some(format!("{} of {all} segments {are} stale: {named}{more}. {step}.", stale.len()))
}

/// What to do about segments whose provider knows nothing of them.
pub(super) fn about_unknown(unknown: &[String]) -> Option<String> {
    unknown.first()?;
    let named = unknown.iter().take(NAMED).map(|key| safe(key).into_owned()).collect::<Vec<_>>().join(", ");
    let more = unknown.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "The provider has never known {named}{more}: check the id in the configuration, or wait until it is created \
         there."
    ))
}

/// What to do where intervals stretch.
pub(super) fn about_stretch(sources: &str) -> String {
    format!(
        "The budget of {} is too small for its intervals, so that they stretch: `segsync plan` tells which would fit.",
        safe(sources)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SourceName;
    use crate::store::SourceId;

    fn source(state: SourceState) -> SourceRow {
        SourceRow {
            id: SourceId(1),
            name: SourceName::new("main"),
            provider: "any".to_owned(),
            base_url: "https://api.example/".to_owned(),
            state,
            state_since: UnixMs(0),
            last_error: Some("401 Unauthorized".to_owned()),
            held_until: None,
            pace: 1.0,
            tracked: 3,
        }
    }

    #[test]
    fn every_trouble_comes_with_a_next_step() {
        let now = UnixMs(600_000);
        let about = |state| about_source(&source(state), None, now).unwrap_or_default();
        let stale = ["prod/a".to_owned(), "prod/b".to_owned()];
        let lines = [
            about(SourceState::Ok),
            about(SourceState::Unauthorized),
            about(SourceState::Held),
            about(SourceState::Failing),
            about_stale(&stale, 9, Holder::Nobody, true).unwrap_or_default(),
            about_stale(&stale[..1], 9, Holder::Somebody(Some(7)), true).unwrap_or_default(),
            about_stale(&stale, 9, Holder::Somebody(None), false).unwrap_or_default(),
            about_unknown(&["prod/a", "prod/b", "prod/c", "prod/d"].map(str::to_owned)).unwrap_or_default(),
            about_stretch("prod"),
        ];
        insta::assert_snapshot!(lines.join("\n"), @"

        main has been unauthorized for 10 min: 401 Unauthorized. The provider rejected the key in use; replace it and reload. Until then nothing of it is polled, apart from one request every 5 minutes, and nothing is deleted.
        main was asked to wait 10 min ago: 401 Unauthorized. It waits by itself; where that comes often, others use the account, too: give segsync a lower `share` of it.
        main has been failing for 10 min: 401 Unauthorized. It is tried again by itself and nothing is deleted; look at this machine's network and DNS, then at the provider's status page.
        2 of 9 segments are stale: prod/a, prod/b. No daemon is running on this file: `systemctl start segsync`, and `journalctl -u segsync` tells why it stopped.
        1 of 9 segments is stale: prod/a. `journalctl -u segsync SEGSYNC_SEGMENT=a` tells what happened to the first.
        2 of 9 segments are stale: prod/a, prod/b. They follow once their source answers again.
        The provider has never known prod/a, prod/b, prod/c and 1 more: check the id in the configuration, or wait until it is created there.
        The budget of prod is too small for its intervals, so that they stretch: `segsync plan` tells which would fit.
        ");
        assert!(about_source(&SourceRow { tracked: 0, ..source(SourceState::Failing) }, None, now).is_none());
    }
}
