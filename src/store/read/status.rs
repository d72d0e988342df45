//! How things stand: sources, freshness, requests, and what a pass brought.
//!
//! Counts and states only; nothing here reads a document.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, params};

use super::{Error, Reader};
use crate::model::{Outcome, SegmentKey, SegmentState, SourceName, SourceState, UnixMs};
use crate::store::{Columns, PollId, SourceId, VersionId};

/// A source, configured now or once.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceRow {
    /// Its row.
    pub id: SourceId,
    /// Its configured name.
    pub name: SourceName,
    /// The provider's word.
    pub provider: String,
    /// Where its requests go.
    pub base_url: String,
    /// How its last requests went.
    pub state: SourceState,
    /// Since when.
    pub state_since: UnixMs,
    /// Why.
    pub last_error: Option<String>,
    /// Until when the provider asked not to be asked, perhaps long ago; `None`: it never did.
    pub held_until: Option<UnixMs>,
    /// The account's pace after the last answer, as a share of its full rate: less than 1 after a refusal.
    pub pace: f64,
    /// How many of its segments are tracked; 0 where the configuration no longer names it.
    pub tracked: i64,
}

/// How a segment stands, and how old its copy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreshnessRow {
    /// Which.
    pub key: SegmentKey,
    /// Whether the configuration names it.
    pub tracked: bool,
    /// What it is.
    pub state: SegmentState,
    /// The last answer; `None`: never.
    pub last_checked_at: Option<UnixMs>,
    /// The latest version's time; `None`: none yet.
    pub last_changed_at: Option<UnixMs>,
    /// The latest version's number; 0: none yet.
    pub version: i64,
    /// Failed or malformed polls since the last answer.
    pub failures: u32,
    /// Why the last poll brought no answer.
    pub last_error: Option<String>,
}

/// What was done since a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Finished requests by source and outcome.
    pub outcomes: BTreeMap<(SourceName, Outcome), u64>,
    /// New versions.
    pub versions: u64,
}

impl Reader {
    /// Every source of the file, in the order of their first declaration.
    pub fn sources(&self) -> Result<Vec<SourceRow>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT src.id, src.name, src.provider, src.base_url, src.state, src.state_since, src.last_error,
                        src.held_until, src.pace,
                        (SELECT count(*) FROM segments AS s WHERE s.source_id = src.id AND s.tracked = 1) AS tracked
                 FROM sources AS src ORDER BY src.id",
            )?;
            let rows = statement.query_map([], source)?;
            rows.collect()
        })
    }

    /// The tracked segments, the one that waits longest first.
    pub fn freshness(&self) -> Result<Vec<FreshnessRow>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare(&format!("{FRESHNESS} {OF_THE_TRACKED}"))?;
            let rows = statement.query_map([], freshness)?;
            rows.collect()
        })
    }

    /// How one segment stands, tracked or not; `None` where the file does not know it.
    pub fn segment(&self, key: &SegmentKey) -> Result<Option<FreshnessRow>, Error> {
        self.read(|connection| {
            connection
                .prepare(&format!("{FRESHNESS} WHERE src.name = ?1 AND s.key = ?2"))?
                .query_row(params![key.source.as_str(), key.id], freshness)
                .optional()
        })
    }

    /// When the oldest request of a source was sent that the file still tells of; `None` where there is none.
    pub fn first_request(&self, source: SourceId) -> Result<Option<UnixMs>, Error> {
        self.read(|connection| {
            connection
                .query_row(
                    "SELECT started_at FROM polls WHERE source_id = ?1 AND kind <> 'import' ORDER BY id LIMIT 1",
                    [source],
                    |row| row.time("started_at"),
                )
                .optional()
        })
    }

    /// The newest version; before the first one, an id lower than any.
    pub fn last_version(&self) -> Result<VersionId, Error> {
        self.read(|connection| connection.query_row("SELECT coalesce(max(id), 0) FROM versions", [], |row| row.get(0)))
    }

    /// Whether a source is polled by its list: one of its newest requests was for a page.
    pub fn uses_list(&self, source: SourceId) -> Result<bool, Error> {
        self.read(|connection| {
            connection.query_row(
                "SELECT EXISTS (SELECT 1 FROM (SELECT kind FROM polls WHERE source_id = ?1 ORDER BY id DESC LIMIT 1000)
                                WHERE kind = 'sweep')",
                [source],
                |row| row.get(0),
            )
        })
    }

    /// Requests of a source that count in the window from `since` until now: in flight, or ended in it. By the wall
    /// clock: for people, not for a budget.
    pub fn requests_since(&self, source: SourceId, since: UnixMs) -> Result<u64, Error> {
        self.read(|connection| {
            connection.query_row(REQUESTS_SINCE, params![source, since.0], |row| row.get(0)).map(count)
        })
    }

    /// The newest poll; before the first one, an id lower than any.
    pub fn last_poll(&self) -> Result<PollId, Error> {
        self.read(|connection| connection.query_row("SELECT coalesce(max(id), 0) FROM polls", [], |row| row.get(0)))
    }

    /// What the polls after `poll` brought.
    pub fn tally_after(&self, poll: PollId) -> Result<Tally, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT src.name AS source, p.outcome, count(*) AS requests
                 FROM polls AS p JOIN sources AS src ON src.id = p.source_id
                 WHERE p.id > ?1 AND p.outcome IS NOT NULL
                 GROUP BY src.id, p.outcome",
            )?;
            let rows = statement.query_map([poll], |row| {
                let name = SourceName::new(row.get::<_, String>("source")?);
                Ok(((name, row.word("outcome")?), count(row.get("requests")?)))
            })?;
            let outcomes = rows.collect::<rusqlite::Result<_>>()?;
            let versions =
                connection.query_row("SELECT count(*) FROM versions WHERE poll_id > ?1", [poll], |row| row.get(0))?;
            Ok(Tally { outcomes, versions: count(versions) })
        })
    }

    /// Every segment that the file knows, also those no longer tracked.
    pub fn segment_keys(&self) -> Result<Vec<SegmentKey>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT src.name AS source, s.key FROM segments AS s JOIN sources AS src ON src.id = s.source_id
                 ORDER BY src.name, s.key",
            )?;
            let rows = statement.query_map([], |row| row.key())?;
            rows.collect()
        })
    }
}

const FRESHNESS: &str = "
    SELECT src.name AS source, s.key, s.tracked, s.state, s.last_checked_at, s.last_changed_at, s.version, s.failures,
           s.last_error
    FROM segments AS s JOIN sources AS src ON src.id = s.source_id";

/// The one that waits longest first.
const OF_THE_TRACKED: &str = "WHERE s.tracked = 1 ORDER BY s.last_checked_at, s.id";

/// An hour before the window is looked at as well, for what started before it and ended in it. The `+` keeps SQLite from
/// going through all rows of the source.
const REQUESTS_SINCE: &str = "
    SELECT count(*) FROM polls
    WHERE started_at > ?2 - 3600000 AND +source_id = ?1 AND kind <> 'import' AND (outcome IS NULL OR finished_at > ?2)";

fn source(row: &Row<'_>) -> rusqlite::Result<SourceRow> {
    Ok(SourceRow {
        id: row.get("id")?,
        name: SourceName::new(row.get::<_, String>("name")?),
        provider: row.get("provider")?,
        base_url: row.get("base_url")?,
        state: row.word("state")?,
        state_since: row.time("state_since")?,
        last_error: row.get("last_error")?,
        held_until: row.maybe_time("held_until")?,
        pace: row.get("pace")?,
        tracked: row.get("tracked")?,
    })
}

fn freshness(row: &Row<'_>) -> rusqlite::Result<FreshnessRow> {
    Ok(FreshnessRow {
        key: row.key()?,
        tracked: row.get("tracked")?,
        state: row.word("state")?,
        last_checked_at: row.maybe_time("last_checked_at")?,
        last_changed_at: row.maybe_time("last_changed_at")?,
        version: row.get("version")?,
        failures: row.get("failures")?,
        last_error: row.get("last_error")?,
    })
}

/// SQLite counts in signed numbers and never below zero.
fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::store::upgrade;

    #[test]
    fn freshness_and_requests_are_found_by_indexes() {
        let mut connection = Connection::open_in_memory().expect("opened");
        upgrade(&mut connection).expect("upgraded");
        let freshness = format!("{FRESHNESS} {OF_THE_TRACKED}");
        for (sql, index) in [(&*freshness, "segments_by_freshness"), (REQUESTS_SINCE, "polls_by_time (started_at>?)")] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect(sql);
            let count = statement.parameter_count();
            let rows = statement
                .query_map(rusqlite::params_from_iter(std::iter::repeat_n(1, count)), |row| {
                    row.get::<_, String>("detail")
                })
                .expect(sql);
            let plan: Vec<String> = rows.map(|row| row.expect("a row")).collect();
            let plan = plan.join("\n");
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
        }
    }
}
