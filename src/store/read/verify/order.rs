//! Each segment as a whole: its row says what its versions say, and each version holds until the next.

use rusqlite::Row;

use super::{Audit, Check, Finding, end_seal, key};
use crate::model::{Op, SegmentKey, SegmentState};
use crate::store::{Columns, Hash};

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
    chain: Hash,
    seal: Option<Hash>,
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
        let mut of = connection.prepare(
            "SELECT id, seq, op, observed_at, valid_to, chain, end_seal FROM versions
             WHERE segment_id = ?1 ORDER BY seq",
        )?;
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
            if let Some(what) = odd_end(version, next) {
                self.of(segment, Some(version), what);
            }
        }
    }

    fn of(&mut self, segment: &Segment, version: Option<&Version>, what: String) {
        let (seq, row) = (version.map(|version| version.seq), version.map(|version| version.row));
        self.find(Finding { check: Check::Order, segment: segment.key.clone(), seq, row, what });
    }
}

/// What is wrong with the end of a version: it holds until the next was observed. Where versions in between are gone, its
/// own seal says until when it held; nobody knows what was then.
fn odd_end(version: &Version, next: Option<&Version>) -> Option<String> {
    let follows = next.is_none_or(|next| next.seq == version.seq + 1);
    let what = match (version.valid_to, version.seal, next) {
        (None, None, None) => return None,
        (_, _, None) => "it is the latest, but does not hold any more".to_owned(),
        (_, Some(_), _) if follows => "its end is sealed, although the next version is there".to_owned(),
        (valid_to, _, Some(next)) if follows && valid_to == Some(next.observed_at) => return None,
        (_, _, Some(next)) if follows => format!("it does not hold until v{} was observed", next.seq),
        (_, None, Some(next)) => format!("the versions between it and v{} are missing", next.seq),
        (Some(to), Some(seal), Some(next)) if seal == end_seal(&version.chain, to) && to <= next.observed_at => {
            return None;
        }
        (_, Some(_), Some(_)) => "it does not hold until when its seal says".to_owned(),
    };
    Some(what)
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
            chain: row.get("chain")?,
            seal: row.get("end_seal")?,
        })
    }
}
