//! Reads the file as it grows, before anything in it is let go, and keeps what the judgement needs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use rusqlite::{Connection, OpenFlags, Row};
use segsync::simulator::{Arrival, Asked, Provider};
use segsync::store::Reader;

use crate::soak::judge::{self, Calm, Page, Poll, Seen};
use crate::soak::stage::{BOTH, KEEP_POLLS, KEEP_VERSIONS, Stage, TIMEOUT, WAYS, ids, name};
use crate::soak::time::{BEGIN, HOUR, show};
use crate::soak::truth::plain;

/// What the files may come to.
const LARGEST: u64 = 3 << 20;
const LARGEST_LOG: u64 = 6 << 20;

/// A segment of a source, as the file has it.
pub type Name = (Provider, &'static str, String);

pub struct Audit<'a> {
    stage: &'a Stage,
    pub findings: Vec<String>,
    seen: BTreeMap<Name, Vec<Seen>>,
    polls: Vec<Poll>,
    last_version: i64,
    last_poll: i64,
    arrivals: usize,
    versions: usize,
    overtaken: usize,
    answers: usize,
    largest: (u64, u64),
    figures: String,
}

impl<'a> Audit<'a> {
    pub fn new(stage: &'a Stage) -> Self {
        Self {
            stage,
            findings: Vec::new(),
            seen: BTreeMap::new(),
            polls: Vec::new(),
            last_version: 0,
            last_poll: 0,
            arrivals: 0,
            versions: 0,
            overtaken: 0,
            answers: 0,
            largest: (0, 0),
            figures: String::new(),
        }
    }

    /// Looks at the file now.
    pub fn look(&mut self) {
        let path = self.stage.db_path();
        let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        // One moment for all that is read.
        db.execute_batch("BEGIN").unwrap();
        self.sizes();
        self.open_polls(&db);
        self.new_versions(&db);
        self.new_polls(&db);
        self.keeps(&db, 12 * HOUR);
        let found = self.stage.simulator.violations();
        self.must(found == 0, || format!("{found} requests over a limit"));
    }

    /// The last look, when all is over, and the judgement of the whole time.
    pub fn close(&mut self) {
        self.look();
        let db = Connection::open_with_flags(self.stage.db_path(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        self.verify();
        self.keeps(&db, HOUR);
        self.is_the_world(&db);
        self.requests(&db);
        let (truth, troubles) = (self.stage.truth.borrow(), self.stage.troubles.borrow());
        for provider in BOTH {
            let calm = Calm::of(&troubles, provider, BEGIN, self.stage.machine.wall());
            let what = judge::unknown(&truth, &self.seen, provider, &calm);
            self.findings.extend(what);
            self.findings.extend(judge::unpolled(&self.polls, provider, &calm));
            writeln!(self.figures, "{}: {:.0} % of the time calm", name(provider), calm.share() * 100.0).unwrap();
        }
        self.findings.append(&mut self.stage.waits.borrow_mut());
        let (database, log) = self.largest;
        writeln!(
            self.figures,
            "{} requests, {} versions, {} answers compared, {} overtaken, database at most {} KiB, log {} KiB",
            self.stage.simulator.arrivals().len(),
            self.versions,
            self.answers,
            self.overtaken,
            database >> 10,
            log >> 10
        )
        .unwrap();
        let outcomes = "SELECT outcome, count(*) FROM polls GROUP BY 1 ORDER BY 2 DESC";
        let mut rows = db.prepare(outcomes).unwrap();
        let rows = rows.query_map([], |row| Ok(format!("{} {}", row.get::<_, String>(0)?, row.get::<_, i64>(1)?)));
        let rows: Vec<String> = rows.unwrap().map(Result::unwrap).collect();
        writeln!(self.figures, "of the polls still logged: {}", rows.join(", ")).unwrap();
    }

    pub fn figures(&self) -> String {
        self.figures.clone()
    }

    fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.findings.push(format!("{}: {}", show(self.stage.machine.wall()), what()));
        }
    }

    fn sizes(&mut self) {
        let path = self.stage.db_path();
        let size = |path: std::path::PathBuf| fs::metadata(path).map_or(0, |file| file.len());
        let log = size(path.with_extension("db-wal"));
        let database = size(path);
        self.largest = (self.largest.0.max(database), self.largest.1.max(log));
        self.must(database <= LARGEST, || format!("the database has {database} bytes"));
        self.must(log <= LARGEST_LOG, || format!("its log has {log} bytes"));
    }

    /// No request is open for longer than it may take, a stop of the daemon included.
    fn open_polls(&mut self, db: &Connection) {
        let before = self.stage.machine.wall() - 2 * TIMEOUT;
        let sql = "SELECT count(*) FROM polls WHERE finished_at IS NULL AND started_at < ?1";
        let open: i64 = db.query_row(sql, [before], |row| row.get(0)).unwrap();
        self.must(open == 0, || format!("{open} polls are open for more than two time-outs"));
    }

    /// What is old enough is let go, and no more.
    fn keeps(&mut self, db: &Connection, late: i64) {
        let now = self.stage.machine.wall();
        let number = |sql: &str, at: i64| db.query_row(sql, [at], |row| row.get::<_, i64>(0)).unwrap();
        let old = number("SELECT count(*) FROM polls WHERE started_at < ?1", now - KEEP_POLLS - late);
        let kept = number("SELECT count(*) FROM polls WHERE started_at > ?1", now - KEEP_POLLS);
        let of_them = "SELECT coalesce(max(n), 0) FROM (
            SELECT count(*) AS n FROM versions WHERE valid_to < ?1 GROUP BY segment_id)";
        let versions = number(of_them, now - KEEP_VERSIONS - late);
        let asked = self.polls.iter().filter(|poll| poll.started > now - KEEP_POLLS).count();
        let open = number("SELECT count(*) FROM polls WHERE id > ?1", self.last_poll);
        self.must(old == 0, || format!("{old} polls are older than keep_polls"));
        // The first and the one before a delete stay.
        self.must(versions <= 2, || format!("{versions} versions of a segment ended before keep_versions"));
        let expected = i64::try_from(asked).unwrap() + open;
        self.must(kept == expected, || format!("{kept} of {expected} young polls are kept"));
    }

    fn new_versions(&mut self, db: &Connection) {
        let sql = "SELECT v.id, src.name, s.key, v.seq, v.op, v.document, v.observed_at, v.changed_after,
                v.poll_id, p.started_at, p.finished_at
            FROM versions AS v JOIN segments AS s ON s.id = v.segment_id JOIN sources AS src ON src.id = s.source_id
            JOIN polls AS p ON p.id = v.poll_id WHERE v.id > ?1 ORDER BY v.id";
        let mut statement = db.prepare(sql).unwrap();
        let rows: Vec<(Name, i64, Seen)> =
            statement.query_map([self.last_version], version).unwrap().map(Result::unwrap).collect();
        let (truth, troubles) = (self.stage.truth.borrow(), self.stage.troubles.borrow());
        for (name, id, mut version) in rows {
            self.last_version = id;
            self.versions += 1;
            let earlier = self.seen.entry(name.clone()).or_default();
            match judge::place(&truth, &troubles, &name, earlier.last(), &version) {
                Ok(state) => version.state = Some(state),
                Err(what) => self.findings.push(what),
            }
            earlier.push(version);
        }
    }

    /// Takes in what was asked since the last look, as far as all of it has ended, and compares each answer with what
    /// the file knew after it.
    fn new_polls(&mut self, db: &Connection) {
        let sql = "SELECT p.id, src.name, s.key, p.started_at, p.finished_at, p.outcome
            FROM polls AS p JOIN sources AS src ON src.id = p.source_id LEFT JOIN segments AS s ON s.id = p.segment_id
            WHERE p.id > ?1 AND p.id < coalesce((SELECT min(id) FROM polls WHERE finished_at IS NULL), 1 << 62)
            ORDER BY p.id";
        let mut statement = db.prepare(sql).unwrap();
        let polls: Vec<Poll> = statement.query_map([self.last_poll], poll).unwrap().map(Result::unwrap).collect();
        let pages = self.new_pages();
        let (truth, troubles) = (self.stage.truth.borrow(), self.stage.troubles.borrow());
        for poll in polls {
            self.last_poll = poll.id;
            for id in judge::told(&poll, &pages, &truth, &troubles) {
                self.answers += 1;
                let name = (poll.provider, poll.way, id);
                let seen = self.seen.get(&name).map_or(&[][..], Vec::as_slice);
                match judge::answer(&truth, &name, seen, &poll) {
                    judge::Kept::Yes => (),
                    judge::Kept::Overtaken => self.overtaken += 1,
                    judge::Kept::No(what) => self.findings.push(what),
                }
            }
            self.polls.push(poll);
        }
    }

    /// Pages of lists that were asked for of late; those of yesterday's last requests may still be looked for.
    fn new_pages(&mut self) -> Vec<Page> {
        let arrivals = self.stage.simulator.arrivals();
        let from = self.arrivals.saturating_sub(1000);
        self.arrivals = arrivals.len();
        arrivals[from..].iter().filter_map(|arrival| self.page(arrival)).collect()
    }

    fn page(&self, arrival: &Arrival) -> Option<Page> {
        let at = BEGIN + self.stage.machine.ms_at(arrival.at);
        let (provider, skip) = match arrival.asked {
            Asked::StatsigList(Some(page)) => {
                (Provider::Statsig, (page.start.unwrap_or(1) - 1) * crate::soak::stage::PAGE)
            }
            Asked::OctaveList(Some(page)) => (Provider::Octave, page.start.unwrap_or(0)),
            _ => return None,
        };
        arrival.status.is_some_and(|status| status == 200).then_some(Page { provider, at, skip })
    }

    fn verify(&mut self) {
        let mut found = Vec::new();
        let reader = Reader::open(self.stage.db_path()).unwrap();
        reader.verify(&mut |_| (), &mut |finding| found.push(format!("verify: {finding:?}"))).unwrap();
        self.findings.append(&mut found);
    }

    /// In the end the file says what the providers say.
    fn is_the_world(&mut self, db: &Connection) {
        let simulator = &self.stage.simulator;
        for (provider, way) in BOTH.into_iter().flat_map(|provider| WAYS.map(|way| (provider, way))) {
            for id in ids(provider) {
                let text = match provider {
                    Provider::Statsig => simulator.statsig().text(&id),
                    Provider::Octave => simulator.octave().text(&id),
                };
                let document = text.map(|text| serde_json::from_str::<serde_json::Value>(&text).unwrap());
                let there = document.filter(|document| document["deletedAt"].is_null()).map(plain);
                let sql = "SELECT document FROM segment_now WHERE source = ?1 AND segment = ?2 AND state = 'present'";
                let source = format!("{}-{way}", name(provider));
                let mut rows = db.prepare(sql).unwrap();
                let mut rows = rows.query_map([&source, &id], |row| row.get::<_, String>(0)).unwrap();
                let known = rows.next().map(|text| plain(serde_json::from_str(&text.unwrap()).unwrap()));
                self.must(known == there, || format!("{source}/{id} is {there:?}, and known as {known:?}"));
            }
        }
    }

    /// Every request has a row, and every row is of a request, unless it was given up on its way out.
    fn requests(&mut self, db: &Connection) {
        let rows: i64 =
            db.query_row("SELECT seq FROM sqlite_sequence WHERE name = 'polls'", [], |row| row.get(0)).unwrap();
        let (rows, arrived) = (usize::try_from(rows).unwrap(), self.stage.simulator.arrivals().len());
        let seen = self.polls.len();
        self.must(rows == seen, || format!("{rows} polls were made, {seen} seen"));
        self.must(arrived == rows, || format!("{arrived} requests arrived, {rows} polls were made"));
        let strays = self.stage.simulator.strays();
        self.must(strays.is_empty(), || format!("{strays:?}"));
        for (provider, limit) in
            BOTH.into_iter().flat_map(|provider| self.stage.limits.iter().map(move |l| (provider, *l)))
        {
            let worst = self.stage.simulator.worst_window(provider, limit.per);
            self.must(worst <= limit.requests, || format!("{worst} requests in {:?} at {provider:?}", limit.per));
            writeln!(self.figures, "{}: at most {worst} requests in {:?}", name(provider), limit.per).unwrap();
        }
    }
}

fn source(name: &str) -> (Provider, &'static str) {
    let (of, way) = name.split_once('-').unwrap();
    let provider = BOTH.into_iter().find(|provider| crate::soak::stage::name(*provider) == of).unwrap();
    (provider, WAYS.into_iter().find(|known| *known == way).unwrap())
}

fn version(row: &Row<'_>) -> rusqlite::Result<(Name, i64, Seen)> {
    let (provider, way) = source(&row.get::<_, String>(1)?);
    let document: Option<String> = row.get(5)?;
    let seen = Seen {
        seq: row.get(3)?,
        is_delete: row.get::<_, String>(4)? == "delete",
        text: document.map(|text| plain(serde_json::from_str(&text).unwrap())),
        at: row.get(6)?,
        changed_after: row.get(7)?,
        poll: row.get(8)?,
        started: row.get(9)?,
        finished: row.get(10)?,
        state: None,
    };
    Ok(((provider, way, row.get(2)?), row.get(0)?, seen))
}

fn poll(row: &Row<'_>) -> rusqlite::Result<Poll> {
    let (provider, way) = source(&row.get::<_, String>(1)?);
    Ok(Poll {
        id: row.get(0)?,
        provider,
        way,
        segment: row.get(2)?,
        started: row.get(3)?,
        finished: row.get(4)?,
        outcome: row.get(5)?,
    })
}
