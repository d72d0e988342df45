//! What a provider remembers: segments by id, those that were removed, and how an edit is stamped.
//!
//! Must never happen here: an edit that changes a segment but not its stamps, or an edit of something that is not there
//! passing silently.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use thiserror::Error;

/// Something that an edit names and the simulator does not have.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("no {0}")]
pub struct Missing(pub String);

/// What an edit comes to.
pub type Edited = Result<(), Missing>;

/// Who edits; every part may be unknown, and is then `null` in the answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// The provider's id of the user.
    pub id: Option<String>,
    /// A full name.
    pub name: Option<String>,
    /// An e-mail address.
    pub email: Option<String>,
}

impl Person {
    /// A person with all three parts, made from the name.
    pub fn named(name: &str) -> Self {
        let login = name.to_lowercase().replace(' ', ".");
        Self {
            id: Some(format!("user-{login}")),
            name: Some(name.to_owned()),
            email: Some(format!("{login}@example.com")),
        }
    }
}

/// The mark that an edit leaves.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Unix milliseconds, greater than those of every earlier edit in the same account.
    pub at_ms: i64,
    /// Who did it.
    pub by: Person,
}

/// A provider's segment as the simulator thinks of it.
pub trait Model: Clone {
    /// Its id.
    fn id(&self) -> &str;
    /// Marks it as made.
    fn made(&mut self, stamp: &Stamp);
    /// Marks it as edited.
    fn edited(&mut self, stamp: &Stamp);
    /// Takes back a soft deletion.
    fn undelete(&mut self);
    /// Whether it is marked as deleted and yet readable.
    fn is_soft_deleted(&self) -> bool;
    /// Its JSON text, as the provider sends it.
    fn text(&self) -> String;
}

/// One provider's segments. Clones share them.
pub struct Account<S>(Arc<Mutex<Shelf<S>>>);

struct Shelf<S> {
    present: BTreeMap<String, Held<S>>,
    removed: BTreeMap<String, Held<S>>,
    editor: Person,
    last_ms: i64,
}

#[derive(Clone)]
enum Held<S> {
    Model(S),
    Raw(String),
}

impl<S: Model> Held<S> {
    fn text(&self) -> String {
        match self {
            Self::Model(segment) => segment.text(),
            Self::Raw(text) => text.clone(),
        }
    }
}

impl<S> Shelf<S> {
    fn stamp(&mut self, by: Option<Person>) -> Stamp {
        self.last_ms = wall_ms().max(self.last_ms.saturating_add(1));
        Stamp { at_ms: self.last_ms, by: by.unwrap_or_else(|| self.editor.clone()) }
    }
}

impl<S: Model> Shelf<S> {
    /// All that are there, in the order of their ids; soft-deleted ones only when wanted.
    fn listed(&self, soft_deleted: bool) -> impl Iterator<Item = (&String, &Held<S>)> {
        self.present.iter().filter(move |(_, held)| match held {
            Held::Model(segment) => soft_deleted || !segment.is_soft_deleted(),
            Held::Raw(_) => true,
        })
    }
}

impl<S: Model> Account<S> {
    pub(super) fn new(editor: Person) -> Self {
        let shelf = Shelf { present: BTreeMap::new(), removed: BTreeMap::new(), editor, last_ms: 0 };
        Self(Arc::new(Mutex::new(shelf)))
    }

    /// Makes a segment, or replaces the one of the same id.
    pub fn add(&self, mut segment: S) {
        let mut shelf = self.lock();
        segment.made(&shelf.stamp(None));
        let id = segment.id().to_owned();
        shelf.removed.remove(&id);
        shelf.present.insert(id, Held::Model(segment));
    }

    /// Answers for `id` with exactly this text from now on: odd documents, digits kept as they are.
    pub fn put_raw(&self, id: &str, text: &str) {
        let mut shelf = self.lock();
        shelf.removed.remove(id);
        shelf.present.insert(id.to_owned(), Held::Raw(text.to_owned()));
    }

    /// Edits a segment as the account's usual editor and stamps it. An edit that fails leaves it as it was.
    pub fn edit(&self, id: &str, edit: impl FnOnce(&mut S) -> Edited) -> Edited {
        self.change(id, None, |segment, _| edit(segment))
    }

    /// Edits a segment as somebody.
    pub fn edit_by(&self, person: &Person, id: &str, edit: impl FnOnce(&mut S) -> Edited) -> Edited {
        self.change(id, Some(person.clone()), |segment, _| edit(segment))
    }

    /// Makes a segment answer 404 until it is restored.
    pub fn remove(&self, id: &str) -> Edited {
        let mut shelf = self.lock();
        let held = shelf.present.remove(id).ok_or_else(|| missing(id))?;
        shelf.removed.insert(id.to_owned(), held);
        Ok(())
    }

    /// Brings back a removed or soft-deleted segment.
    pub fn restore(&self, id: &str) -> Edited {
        let mut shelf = self.lock();
        let mut held = match shelf.removed.get(id) {
            Some(held) => held.clone(),
            None => match shelf.present.get(id) {
                Some(Held::Model(segment)) if segment.is_soft_deleted() => Held::Model(segment.clone()),
                _ => return Err(Missing(format!("deleted segment `{id}`"))),
            },
        };
        if let Held::Model(segment) = &mut held {
            segment.undelete();
            segment.edited(&shelf.stamp(None));
        }
        shelf.removed.remove(id);
        shelf.present.insert(id.to_owned(), held);
        Ok(())
    }

    /// A copy of a segment, unless it is absent or held as raw text.
    pub fn get(&self, id: &str) -> Option<S> {
        match self.lock().present.get(id) {
            Some(Held::Model(segment)) => Some(segment.clone()),
            _ => None,
        }
    }

    /// The JSON text of a segment that is there, soft-deleted or not.
    pub fn text(&self, id: &str) -> Option<String> {
        self.lock().present.get(id).map(Held::text)
    }

    /// The ids of all that are there, in order; soft-deleted ones only when wanted.
    pub fn ids(&self, soft_deleted: bool) -> Vec<String> {
        self.lock().listed(soft_deleted).map(|(id, _)| id.clone()).collect()
    }

    /// The JSON texts on a page of them, and how many there are in all.
    pub(super) fn page(&self, soft_deleted: bool, from: usize, limit: usize) -> (Vec<String>, usize) {
        let shelf = self.lock();
        let texts = shelf.listed(soft_deleted).skip(from).take(limit).map(|(_, held)| held.text()).collect();
        (texts, shelf.listed(soft_deleted).count())
    }

    pub(super) fn change(&self, id: &str, by: Option<Person>, edit: impl FnOnce(&mut S, &Stamp) -> Edited) -> Edited {
        let mut shelf = self.lock();
        let mut segment = match shelf.present.get(id) {
            Some(Held::Model(segment)) => segment.clone(),
            Some(Held::Raw(_)) => return Err(Missing(format!("model behind the raw text of `{id}`"))),
            None => return Err(missing(id)),
        };
        let stamp = shelf.stamp(by);
        edit(&mut segment, &stamp)?;
        segment.edited(&stamp);
        shelf.present.insert(id.to_owned(), Held::Model(segment));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Shelf<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Clone for Account<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> fmt::Debug for Account<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let present = self.0.lock().unwrap_or_else(PoisonError::into_inner).present.len();
        write!(f, "Account({present} segments)")
    }
}

fn missing(id: &str) -> Missing {
    Missing(format!("segment `{id}`"))
}

/// The simulator's own wall clock, Unix milliseconds: it must not depend on the clock of what it judges.
pub(super) fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_millis()).ok()).unwrap_or(0)
}

/// RFC 3339 with milliseconds, UTC.
pub(super) fn rfc3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}
