//! Whether a provider has changed the shape of its documents: a field comes, goes, or changes its type in several segments.
//!
//! Pure: a function of what was seen and of `now`; what is known can be built again from the file. Whoever edits one segment
//! must never look like this, however often, or reviewers would hide what they look for:
//!
//! - What counts is a member of an object that comes or goes, and a value of another type (null has none). An element of an
//!   array that comes or goes is an edit. Of a place in an array only the array counts: `$.rules[*].name`.
//! - A version that somebody made, as the provider says, is an edit, and no witness.
//! - A version that nobody made, as its stamps are those of the version before, is a witness; three segments are enough.
//! - Where the provider does not tell who, three segments are enough only if they are more than half of those that answered
//!   since the first of them: a change of the schema is in all that is asked for, an edit is not.
//!
//! Witnesses count for [`SPAN`], in which each segment is asked for at least once in any sensible configuration; a change of
//! the schema is over when nothing of it was seen for so long. The witnesses before the third were written before anybody
//! could know: they are told afterwards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use crate::document::Shape;
use crate::model::{About, Change, ChangeOp, Path, SchemaKind, Step, UnixMs};

/// For how long a witness counts.
pub const SPAN: Duration = Duration::from_secs(24 * 60 * 60);

/// How often answers that no longer count are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(60 * 60);

/// So many segments are several.
const SEVERAL: usize = 3;

/// A version with more signs is a document that was written anew, and no witness: what is remembered stays small.
const MOST_SIGNS: usize = 200;

/// A change of the shape at one place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sign {
    /// Where, with `[*]` for any element.
    pub path: String,
    /// What happened there.
    pub kind: SchemaKind,
}

/// Who made a version, as far as the provider tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// Its stamps are those of the version before.
    Nobody,
    /// Not told.
    Unknown,
    /// Somebody, by name.
    Somebody,
}

/// What one version shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    signs: BTreeSet<Sign>,
    maker: Maker,
    /// Nothing else has changed, apart from the provider's own stamps.
    is_all: bool,
}

impl Sighting {
    /// What the changes between two versions show, given what each says of itself; `None` where that is nothing.
    pub fn of(changes: &[Change], before: &About, after: &About, shape: &Shape) -> Option<Self> {
        let maker = maker(before, after);
        let (mut signs, mut is_all) = (BTreeSet::new(), true);
        for change in changes {
            let Ok(path) = Path::parse(&change.path) else { return None };
            match kind(change, &path) {
                Some(kind) => drop(signs.insert(Sign { path: general(path).to_string(), kind })),
                None => is_all &= is_stamp(&path, shape),
            }
        }
        let is_witness = maker != Maker::Somebody && !signs.is_empty() && signs.len() <= MOST_SIGNS;
        is_witness.then_some(Self { signs, maker, is_all })
    }
}

fn maker(before: &About, after: &About) -> Maker {
    let times = before.modified_at.zip(after.modified_at).map(|(before, after)| before == after);
    let revisions = before.revision.zip(after.revision).map(|(before, after)| before == after);
    let is_named = after.modified_by.is_some();
    match (times, revisions) {
        (None, None) if is_named && before.modified_by.is_some() && before.modified_by != after.modified_by => {
            Maker::Somebody
        }
        (None, None) => Maker::Unknown,
        (Some(false), _) | (_, Some(false)) => {
            if is_named {
                Maker::Somebody
            } else {
                Maker::Unknown
            }
        }
        _ => Maker::Nobody,
    }
}

fn kind(change: &Change, path: &Path) -> Option<SchemaKind> {
    let is_member = matches!(path.0.last(), Some(Step::Key(_)));
    match change.op {
        ChangeOp::Add if is_member => Some(SchemaKind::Appeared),
        ChangeOp::Remove if is_member => Some(SchemaKind::Disappeared),
        ChangeOp::Replace => {
            let (old, new) = (kind_of_value(change.old.as_deref()?)?, kind_of_value(change.new.as_deref()?)?);
            (old != new).then_some(SchemaKind::TypeChanged)
        }
        ChangeOp::Add | ChangeOp::Remove | ChangeOp::Move => None,
    }
}

/// What kind of value a JSON text is, by a letter; `None` for null.
fn kind_of_value(text: &str) -> Option<char> {
    match text.chars().next()? {
        'n' => None,
        't' | 'f' => Some('b'),
        other @ ('{' | '[' | '"') => Some(other),
        _ => Some('0'),
    }
}

/// The same place in any element of the arrays on the way.
fn general(path: Path) -> Path {
    let any = |step| if matches!(step, Step::Index(_)) { Step::Each } else { step };
    Path(path.0.into_iter().map(any).collect())
}

fn is_stamp(path: &Path, shape: &Shape) -> bool {
    matches!(path.0.as_slice(), [Step::Key(key)] if shape.stamps.contains(&key.as_str()))
}

/// The answer about one segment.
#[derive(Clone, Debug)]
pub struct Answer<K> {
    /// Which segment.
    pub segment: K,
    /// The version that it made; any number where it made none.
    pub version: i64,
    /// What that version shows.
    pub sighting: Option<Sighting>,
}

/// A change of the schema that answers bear witness of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What and where.
    pub sign: Sign,
    /// In how many segments it was seen so far.
    pub segments: usize,
    /// Whether nobody knew of it before.
    pub is_new: bool,
}

/// What answers show together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding<K> {
    /// For each answer, in order, whether its version is nothing but a change of the schema.
    pub is_schema: Vec<bool>,
    /// The changes of the schema that were seen in them.
    pub events: Vec<Event>,
    /// Segment and number of earlier versions that turn out to be nothing but that.
    pub late: Vec<(K, i64)>,
}

/// What is known of one source.
#[derive(Debug)]
pub struct Drift<K> {
    shown: Shown<K>,
    answered: HashMap<K, UnixMs>,
    /// When `answered` was last gone through.
    tidied: UnixMs,
}

/// What versions have shown together.
#[derive(Clone, Debug)]
pub struct Shown<K> {
    signs: BTreeMap<Sign, Witnesses<K>>,
    /// Versions that show nothing else, not all of which is known to be a change of the schema.
    waiting: Vec<Waiting<K>>,
}

#[derive(Clone, Debug)]
struct Waiting<K> {
    at: UnixMs,
    segment: K,
    version: i64,
    signs: BTreeSet<Sign>,
}

/// The segments that showed one sign: when last, and whether nobody made that version.
#[derive(Clone, Debug)]
struct Witnesses<K> {
    segments: HashMap<K, (UnixMs, bool)>,
    last: UnixMs,
    is_event: bool,
}

impl<K> Default for Drift<K> {
    fn default() -> Self {
        let shown = Shown { signs: BTreeMap::new(), waiting: Vec::new() };
        Self { shown, answered: HashMap::new(), tidied: UnixMs(0) }
    }
}

impl<K: Clone + Eq + Hash + Ord> Drift<K> {
    /// What was seen at `at` by an earlier process; `is_told` where the file calls that version a change of the schema.
    pub fn remember(&mut self, at: UnixMs, answer: Answer<K>, is_told: bool) {
        let Answer { segment, version, sighting: Some(sighting) } = answer else { return };
        self.shown.witness(at, &segment, &sighting);
        if sighting.is_all && !is_told {
            self.shown.waiting.push(Waiting { at, segment, version, signs: sighting.signs });
        }
    }

    /// When a segment was last asked for by an earlier process.
    pub fn remember_answer(&mut self, at: UnixMs, segment: K) {
        self.answered.insert(segment, at);
    }

    /// A change of the schema that was going on at `last`. Comes after what was seen of it.
    pub fn remember_event(&mut self, sign: Sign, last: UnixMs) {
        let witnesses = self.shown.signs.entry(sign).or_insert_with(Witnesses::new);
        witnesses.is_event = true;
        witnesses.last = witnesses.last.max(last);
    }

    /// Takes in that the segments of one poll were asked for, and forgets what no longer counts.
    pub fn answer(&mut self, answers: &[Answer<K>], now: UnixMs) {
        self.shown.forget(now);
        // Not at every poll, for it has every segment; what is too old is earlier than any witness, and counts for nothing.
        if self.tidied <= now.minus(TIDY_EVERY) || now < self.tidied {
            self.answered.retain(|_, at| counts(*at, now));
            self.tidied = now;
        }
        for answer in answers {
            self.answered.insert(answer.segment.clone(), now);
        }
    }

    /// The same with what their versions show, which is known only once it is handed to [`Drift::keep`].
    pub fn weigh(&mut self, answers: &[Answer<K>], now: UnixMs) -> (Finding<K>, Shown<K>) {
        self.answer(answers, now);
        let mut shown = self.shown.clone();
        (shown.take(answers, &self.answered, now), shown)
    }

    /// What was weighed is in the file.
    pub fn keep(&mut self, shown: Shown<K>) {
        self.shown = shown;
    }
}

/// Whether a witness of that time still counts.
fn counts(at: UnixMs, now: UnixMs) -> bool {
    at >= now.minus(SPAN)
}

impl<K: Clone + Eq + Hash + Ord> Shown<K> {
    fn take(&mut self, answers: &[Answer<K>], answered: &HashMap<K, UnixMs>, now: UnixMs) -> Finding<K> {
        let mut seen = BTreeSet::new();
        for answer in answers {
            if let Some(sighting) = &answer.sighting {
                self.witness(now, &answer.segment, sighting);
                seen.extend(&sighting.signs);
            }
        }
        let events: Vec<Event> = seen.into_iter().filter_map(|sign| self.event(sign, answered)).collect();
        let mut is_schema = Vec::with_capacity(answers.len());
        for answer in answers {
            let sighting = answer.sighting.as_ref().filter(|sighting| sighting.is_all);
            let is_known = sighting.is_some_and(|sighting| self.is_known(&sighting.signs));
            is_schema.push(is_known);
            if let Some(sighting) = sighting.filter(|_| !is_known) {
                let (segment, signs) = (answer.segment.clone(), sighting.signs.clone());
                self.waiting.push(Waiting { at: now, segment, version: answer.version, signs });
            }
        }
        let (late, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| self.is_known(&waiting.signs));
        self.waiting = waiting;
        let late = Vec::into_iter(late).map(|waiting: Waiting<K>| (waiting.segment, waiting.version)).collect();
        Finding { is_schema, events, late }
    }

    fn witness(&mut self, at: UnixMs, segment: &K, sighting: &Sighting) {
        for sign in &sighting.signs {
            let witnesses = self.signs.entry(sign.clone()).or_insert_with(Witnesses::new);
            witnesses.segments.insert(segment.clone(), (at, sighting.maker == Maker::Nobody));
            witnesses.last = witnesses.last.max(at);
        }
    }

    fn is_known(&self, signs: &BTreeSet<Sign>) -> bool {
        signs.iter().all(|sign| self.signs.get(sign).is_some_and(|witnesses| witnesses.is_event))
    }

    /// The event that a sign belongs to, if there are enough witnesses.
    fn event(&mut self, sign: &Sign, answered: &HashMap<K, UnixMs>) -> Option<Event> {
        let witnesses = self.signs.get_mut(sign)?;
        let is_new = !witnesses.is_event;
        witnesses.is_event |= witnesses.are_enough(answered);
        let event = Event { sign: sign.clone(), segments: witnesses.segments.len(), is_new };
        witnesses.is_event.then_some(event)
    }

    /// Forgets what no longer counts. An event keeps its witnesses while it goes on, to count them.
    fn forget(&mut self, now: UnixMs) {
        self.signs.retain(|_, witnesses| {
            if !witnesses.is_event {
                witnesses.segments.retain(|_, (at, _)| counts(*at, now));
            }
            counts(witnesses.last, now)
        });
        self.waiting.retain(|waiting| counts(waiting.at, now));
    }
}

impl<K: Eq + Hash> Witnesses<K> {
    fn new() -> Self {
        Self { segments: HashMap::new(), last: UnixMs(i64::MIN), is_event: false }
    }

    fn are_enough(&self, answered: &HashMap<K, UnixMs>) -> bool {
        let unmade = self.segments.values().filter(|(_, by_nobody)| *by_nobody).count();
        let all = self.segments.len();
        let first = self.segments.values().map(|(at, _)| *at).min();
        let since = |first| answered.values().filter(|at| **at >= first).count();
        unmade >= SEVERAL || (all >= SEVERAL && first.is_some_and(|first| all * 2 > since(first)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl<K: Clone + Eq + Hash + Ord> Drift<K> {
        /// The answers of one poll, which is committed.
        fn take(&mut self, answers: &[Answer<K>], now: UnixMs) -> Finding<K> {
            let (finding, shown) = self.weigh(answers, now);
            self.keep(shown);
            finding
        }
    }

    const SHAPE: Shape = Shape { stamps: &["at", "by"], ..Shape::PLAIN };
    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    fn change(op: ChangeOp, path: &str, old: Option<&str>, new: Option<&str>) -> Change {
        let text = |value: Option<&str>| value.map(str::to_owned);
        Change { op, path: path.to_owned(), field: path.to_owned(), old: text(old), new: text(new) }
    }

    fn comes(path: &str) -> Change {
        change(ChangeOp::Add, path, None, Some("1"))
    }

    fn stamped(at: i64, by: Option<&str>) -> About {
        About { modified_at: Some(UnixMs(at)), modified_by: by.map(str::to_owned), ..About::default() }
    }

    /// A version whose stamps stayed.
    fn by_nobody(changes: &[Change]) -> Option<Sighting> {
        Sighting::of(changes, &stamped(1, Some("Ana")), &stamped(1, Some("Ana")), &SHAPE)
    }

    /// A version of a provider that does not tell who.
    fn by_unknown(changes: &[Change]) -> Option<Sighting> {
        Sighting::of(changes, &stamped(1, None), &stamped(2, None), &SHAPE)
    }

    fn answer(segment: u32, sighting: Option<Sighting>) -> Answer<u32> {
        Answer { segment, version: 7, sighting }
    }

    fn later(minutes: u64) -> UnixMs {
        NOW.plus(Duration::from_secs(60 * minutes))
    }

    #[test]
    fn only_the_shape_of_objects_counts() {
        let sign = |change: Change| {
            by_nobody(&[change]).map(|sighting| {
                sighting.signs.iter().map(|sign| format!("{} {}", sign.kind, sign.path)).collect::<String>()
            })
        };
        let replace = |path, old, new| change(ChangeOp::Replace, path, Some(old), Some(new));
        assert_eq!(sign(comes("$.rules[3].new")).as_deref(), Some("appeared $.rules[*].new"));
        assert_eq!(sign(change(ChangeOp::Remove, "$.x", Some("{}"), None)).as_deref(), Some("disappeared $.x"));
        assert_eq!(sign(replace("$.x[1]", "1", "\"1\"")).as_deref(), Some("type_changed $.x[*]"));
        assert_eq!(sign(replace("$.x", "1", "2")), None);
        assert_eq!(sign(replace("$.x", "true", "false")), None);
        assert_eq!(sign(replace("$.x", "null", "\"1\"")), None, "a value where none was is an edit");
        assert_eq!(sign(comes("$.rules[3]")), None, "a new rule is an edit");
        assert_eq!(sign(change(ChangeOp::Move, "$.rules[0]", Some("1"), Some("0"))), None);
    }

    #[test]
    fn what_somebody_made_is_an_edit() {
        let edit = |before: &About, after: &About| Sighting::of(&[comes("$.x")], before, after, &SHAPE).is_none();
        assert!(edit(&stamped(1, Some("Ana")), &stamped(2, Some("Ana"))));
        assert!(edit(&stamped(1, None), &stamped(2, Some("Ana"))));
        assert!(!edit(&stamped(1, Some("Ana")), &stamped(2, None)));
        assert!(!edit(&stamped(1, None), &stamped(1, Some("Ana"))), "the provider begins to tell who");
        assert!(!edit(&About::default(), &About::default()));
    }

    #[test]
    fn the_third_segment_makes_an_event_and_tells_of_the_first_two() {
        let mut drift = Drift::default();
        let changes = [comes("$.x"), comes("$.y")];
        for segment in 1..=2 {
            let finding = drift.take(&[answer(segment, by_nobody(&changes))], later(u64::from(segment)));
            assert_eq!(finding, Finding { is_schema: vec![false], events: Vec::new(), late: Vec::new() });
        }
        // The same segment twice is one.
        assert!(drift.take(&[answer(2, by_nobody(&changes))], later(3)).events.is_empty());
        let finding = drift.take(&[answer(3, by_nobody(&changes))], later(30));
        assert_eq!(finding.is_schema, [true]);
        assert_eq!(finding.late, [(1, 7), (2, 7), (2, 7)]);
        let told: Vec<_> =
            finding.events.iter().map(|event| (&*event.sign.path, event.segments, event.is_new)).collect();
        assert_eq!(told, [("$.x", 3, true), ("$.y", 3, true)]);
        let next = drift.take(&[answer(4, by_nobody(&changes[..1]))], later(31));
        assert_eq!((next.is_schema, next.events[0].segments, next.events[0].is_new), (vec![true], 4, false));
        // Another change of the same version is an edit, and must be seen.
        let mixed = [comes("$.x"), change(ChangeOp::Replace, "$.name", Some("1"), Some("2"))];
        assert_eq!(drift.take(&[answer(5, by_nobody(&mixed))], later(32)).is_schema, [false]);
        // A day without it, and it is over.
        assert_eq!(drift.take(&[answer(6, by_nobody(&changes))], later(32 + 24 * 60 + 1)).is_schema, [false]);
    }

    #[test]
    fn a_page_is_judged_as_a_whole() {
        let page: Vec<_> = (0..5).map(|segment| answer(segment, by_nobody(&[comes("$.x")]))).collect();
        let finding = Drift::default().take(&page, NOW);
        assert_eq!((finding.is_schema, finding.late), (vec![true; 5], Vec::new()));
        assert_eq!(finding.events[0].segments, 5);
    }

    #[test]
    fn edits_of_unknown_makers_are_not_in_all_that_is_asked_for() {
        let changes = [comes("$.x"), change(ChangeOp::Replace, "$.at", Some("1"), Some("2"))];
        let page = |edited: u32| -> Vec<Answer<u32>> {
            (0..10).map(|segment| answer(segment, by_unknown(&changes).filter(|_| segment < edited))).collect()
        };
        let mut drift = Drift::default();
        assert!(drift.take(&page(5), NOW).events.is_empty());
        let finding = Drift::default().take(&page(6), NOW);
        assert_eq!(finding.is_schema.iter().filter(|is| **is).count(), 6, "the stamp is part of it");
        // One by one: three edits among many answers.
        let mut drift = Drift::default();
        for segment in 0..40 {
            let is_edited = segment % 15 == 0;
            let sighting = by_unknown(&[comes("$.x")]).filter(|_| is_edited);
            assert_eq!(drift.take(&[answer(segment, sighting)], later(u64::from(segment))).is_schema, [false]);
        }
    }

    proptest! {
        /// Built again from what it was told at any moment, it goes on as if nothing had happened.
        #[test]
        fn it_is_rebuilt_from_the_file(
            polls in prop::collection::vec((0_u32..6, 0_usize..5, any::<bool>(), 0_u64..700), 1..40),
            restart in 0_usize..40,
        ) {
            let (mut drift, mut minutes) = (Drift::default(), 0);
            let (mut past, mut events, mut late): (Vec<_>, BTreeMap<Sign, UnixMs>, Vec<(u32, i64)>) = Default::default();
            let mut again = None;
            for (at, (segment, what, is_known, pause)) in polls.into_iter().enumerate() {
                minutes += pause;
                let now = later(minutes);
                if at == restart {
                    let mut built = Drift::default();
                    for (then, answer, is_schema) in past.iter().cloned() {
                        let answer: Answer<u32> = answer;
                        let is_told = is_schema || late.contains(&(answer.segment, answer.version));
                        built.remember_answer(then, answer.segment);
                        built.remember(then, answer, is_told);
                    }
                    let since = now.minus(SPAN);
                    for (sign, last) in events.iter().filter(|(_, last)| **last >= since) {
                        built.remember_event(sign.clone(), *last);
                    }
                    again = Some(built);
                }
                let changes = [&[][..], &[comes("$.x")], &[comes("$.y")], &[comes("$.x"), comes("$.y")], &[comes("$.z")]];
                let sighting = if is_known { by_nobody(changes[what]) } else { by_unknown(changes[what]) };
                let answer = Answer { segment, version: i64::try_from(at).expect("small"), sighting };
                let finding = drift.take(std::slice::from_ref(&answer), now);
                if let Some(again) = &mut again {
                    let rebuilt = again.take(std::slice::from_ref(&answer), now);
                    prop_assert_eq!(&rebuilt.is_schema, &finding.is_schema);
                    prop_assert_eq!(rebuilt.late, finding.late.clone());
                    let news = |events: &[Event]| {
                        events.iter().map(|event| (event.sign.clone(), event.is_new)).collect::<Vec<_>>()
                    };
                    prop_assert_eq!(news(&rebuilt.events), news(&finding.events));
                }
                past.push((now, answer, finding.is_schema[0]));
                events.extend(finding.events.into_iter().map(|event| (event.sign, now)));
                late.extend(finding.late);
            }
        }
    }
}
