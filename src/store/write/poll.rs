//! A poll's row before its request is sent, and the rows that still count against the budget.
//!
//! The row is committed before the send: a process that is killed in between has one request too many in its ledger,
//! never one too few.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::keep::read_latest;
use super::{Fault, Store, Writing};
use crate::clock::Now;
use crate::model::{PollKind, Spent};
use crate::store::{Columns, Error, Latest, Moment, PollId, SegmentId, SourceId, age_ms};

/// A request about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct BeginPoll {
    /// Whose request.
    pub source: SourceId,
    /// The segment asked for; `None` for a page of a list.
    pub segment: Option<SegmentId>,
    /// Why it is sent.
    pub kind: PollKind,
    /// Before the send.
    pub now: Now,
}

impl Store {
    /// Writes the row of a request that is about to be sent.
    pub async fn begin_poll(&self, poll: BeginPoll) -> Result<PollId, Error> {
        self.run(move |writing| begin(writing, poll)).await
    }

    /// The same for a request of one segment; tells what the file knows of that as well.
    pub async fn begin_get(
        &self,
        source: SourceId,
        segment: SegmentId,
        kind: PollKind,
        now: Now,
    ) -> Result<(PollId, Latest), Error> {
        let poll = BeginPoll { source, segment: Some(segment), kind, now };
        self.run(move |writing| Ok((begin(writing, poll)?, read_latest(writing, segment)?))).await
    }

    /// The requests of these sources (one account) that the ledger has to know, newest first: all among them that can
    /// be of the `at_least` ones that ended last, where no request is in flight for longer than those cover.
    /// One in flight counts as ending at its `timeout`, or now where that is later.
    pub async fn spent(
        &self,
        sources: Vec<SourceId>,
        at_least: usize,
        timeout: Duration,
        now: Now,
    ) -> Result<Vec<Spent>, Error> {
        self.run(move |connection| spent(connection, &sources, at_least, timeout, now)).await
    }
}

fn begin(writing: &Writing<'_>, poll: BeginPoll) -> Result<PollId, Fault> {
    let mut insert = writing.prepare_cached(
        "INSERT INTO polls (source_id, segment_id, kind, started_at, boot_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let id =
        insert.insert(params![poll.source, poll.segment, poll.kind.as_str(), poll.now.wall.0, poll.now.boot_ms])?;
    writing.tick(poll.now)?;
    Ok(PollId(id))
}

fn spent(
    connection: &Connection,
    sources: &[SourceId],
    at_least: usize,
    timeout: Duration,
    now: Now,
) -> Result<Vec<Spent>, Fault> {
    // Ids are in the order of starts. A request may end after many that started later: as many again as the limit, when
    // none is in flight for longer than the limit's window.
    let rows = i64::try_from(at_least.saturating_mul(2)).unwrap_or(i64::MAX);
    let mut statement = connection.prepare(
        "SELECT id, started_at, finished_at, http_status, boot_ms, id >= (SELECT first_poll FROM clock) AS this_boot
         FROM polls
         WHERE source_id = ?1 AND kind <> 'import'
         ORDER BY id DESC LIMIT ?2",
    )?;
    let mut all: Vec<(PollId, Spent)> = Vec::new();
    for source in sources {
        let found = statement.query_map(params![source, rows], |row| {
            let id = row.get("id")?;
            let unanswered = row.get::<_, Option<i64>>("http_status")?.is_none();
            let boot_ms = if row.get("this_boot")? { row.get("boot_ms")? } else { None };
            let ended = row.maybe_time("finished_at")?;
            let moment = Moment { wall: ended.map_or_else(|| row.time("started_at"), Ok)?, boot_ms };
            let ago = match ended {
                Some(_) => ended_ago(moment, timeout, now),
                None => ended_ago(moment, timeout, now).saturating_sub(millis(timeout)).min(0),
            };
            Ok((id, Spent { ended_ago_ms: ago, unanswered }))
        })?;
        all.extend(found.collect::<Result<Vec<_>, _>>()?);
    }
    all.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
    all.truncate(usize::try_from(rows).unwrap_or(usize::MAX));
    Ok(all.into_iter().map(|(_, spent)| spent).collect())
}

/// The age in milliseconds that is surely reached: both readings are cut to whole milliseconds, so their difference can
/// be up to one millisecond too long. What was closed after a kill may end in the future, by up to a time-out.
fn ended_ago(at: Moment, timeout: Duration, now: Now) -> i64 {
    age_ms(at, now).saturating_sub(1).max(-millis(timeout))
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::model::UnixMs;

    #[test]
    fn an_age_is_never_too_long() {
        let ago = |boot_ms| {
            let now = Now { mono: Instant::now(), wall: UnixMs(0), boot_ms: 12_000 };
            ended_ago(Moment { wall: UnixMs(0), boot_ms: Some(boot_ms) }, Duration::from_secs(10), now)
        };
        // Ended at 10.999 ms, read at 12.000 ms: 1.001 ms ago, and the readings differ by 2.
        assert_eq!(ago(11_998), 1);
        assert_eq!(ago(12_000), -1);
        assert_eq!(ago(15_000), -3_001);
        assert_eq!(ago(99_000), -10_000, "no request ends later than its time-out");
    }
}
