//! Each segment as a whole: its row says what its versions say, and each version holds until the next.

use rusqlite::Row;

use super::{Audit, Check, Finding, key};
use crate::model::{Op, SegmentKey, SegmentState};
use crate::store::Columns;

/// A segment's row.
struct Segment {
    id: i64,
    key: Option<SegmentKey>,
    state: SegmentState,
    version: i64,
    first_seen_at: Option<i64>,
    last_changed_at: Option<i64>,
}

/// What its versions say of time and state.
struct Version {
    row: i64,
    seq: i64,
    op: Op,
    observed_at: i64,
    valid_to: Option<i64>,
}

impl Audit<'_> {
    /// Checks every segment.
    pub(super) fn segments(&mut self) -> rusqlite::Result<()> {
        let connection = self.connection;
        let mut statement = connection.prepare(
            "SELECT s.id, src.name AS source, s.key, s.state, s.version, s.first_seen_at, s.last_changed_at
             FROM segments AS s LEFT JOIN sources AS src ON src.id = s.source_id
             ORDER BY s.id",
        )?;
        let mut of = connection
            .prepare("SELECT id, seq, op, observed_at, valid_to FROM versions WHERE segment_id = ?1 ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let segment = Segment::read(row)?;
            let versions = of.query_map([segment.id], Version::read)?.collect::<rusqlite::Result<Vec<_>>>()?;
            self.found.segments += u64::from(segment.version > 0);
            self.segment(&segment, &versions);
        }
        Ok(())
    }

    fn segment(&mut self, segment: &Segment, versions: &[Version]) {
        let (first, last) = (versions.first(), versions.last());
        let seq = last.map_or(0, |last| last.seq);
        if segment.version != seq {
            let what = format!("its latest version should be v{}, but it is v{seq}", segment.version);
            self.of(segment, None, what);
        }
        let state = last.map_or(SegmentState::Pending, |last| match last.op {
            Op::Delete => SegmentState::Deleted,
            Op::Create | Op::Update | Op::Restore => SegmentState::Present,
        });
        if segment.state != state {
            self.of(segment, None, format!("it is called {}, but its versions make it {state}", segment.state));
        }
        if segment.first_seen_at != first.map(|first| first.observed_at) {
            self.of(segment, None, "it is not called first seen when its first version was".to_owned());
        }
        if segment.last_changed_at != last.map(|last| last.observed_at) {
            self.of(segment, None, "it is not called last changed when its latest version was observed".to_owned());
        }
        if let Some(first) = first.filter(|first| first.seq != 1) {
            self.of(segment, Some(first), "it is the first that is left, but not number 1".to_owned());
        }
        for (version, next) in versions.iter().zip(versions.iter().skip(1).map(Some).chain([None])) {
            if !holds_until(version, next) {
                let what = match next {
                    Some(next) => format!("it does not hold until v{} was observed", next.seq),
                    None => "it is the latest, but does not hold any more".to_owned(),
                };
                self.of(segment, Some(version), what);
            }
        }
    }

    fn of(&mut self, segment: &Segment, version: Option<&Version>, what: String) {
        let (seq, row) = (version.map(|version| version.seq), version.map(|version| version.row));
        self.find(Finding { check: Check::Order, segment: segment.key.clone(), seq, row, what });
    }
}

/// Whether a version holds until the next was observed. Where versions in between are gone, nobody knows from when to
/// when these held: it ends before the next.
fn holds_until(version: &Version, next: Option<&Version>) -> bool {
    match (version.valid_to, next) {
        (None, None) => true,
        (Some(valid_to), Some(next)) if next.seq == version.seq + 1 => valid_to == next.observed_at,
        (Some(valid_to), Some(next)) => valid_to <= next.observed_at,
        _ => false,
    }
}

impl Segment {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            key: key(row.get("source")?, row.get("key")?),
            state: row.word("state")?,
            version: row.get("version")?,
            first_seen_at: row.get("first_seen_at")?,
            last_changed_at: row.get("last_changed_at")?,
        })
    }
}

impl Version {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            row: row.get("id")?,
            seq: row.get("seq")?,
            op: row.word("op")?,
            observed_at: row.get("observed_at")?,
            valid_to: row.get("valid_to")?,
        })
    }
}
