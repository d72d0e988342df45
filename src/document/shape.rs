//! What a provider says about its documents. Knows no vendor: the providers fill in the words.

/// A place in a document: the object keys from its root, such as `&["data", "customFields"]`.
pub type KeyPath = &'static [&'static str];

/// What is special in the documents of one provider; `Shape::PLAIN` where nothing is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shape {
    /// Members of the root that change by themselves and are never part of the document.
    pub volatile: &'static [&'static str],
    /// Arrays whose order means nothing: sorted in the document, and compared by membership.
    pub sets: &'static [KeyPath],
    /// Arrays whose items have an identity of their own. A place that is also in `sets` is a set.
    pub keyed: &'static [Keyed],
    /// Places where an object stands for the array that holds only it. Wrapped one after the other, in this order.
    pub wrapped: &'static [KeyPath],
    /// Members of the root in which the provider notes who changed the document, when, and how often.
    pub stamps: &'static [&'static str],
}

/// An array whose items are matched by a key, not by position.
#[derive(Debug, Clone, Copy)]
pub struct Keyed {
    /// Where the array is.
    pub at: KeyPath,
    /// Members that can be the key. The first counts that every item of both arrays has, as a string or a number, unique in
    /// each of the two; where there is none the arrays are compared as unkeyed.
    pub keys: &'static [&'static str],
    /// The member that names an item to people, where it has a string there that means no other item.
    pub label: Option<&'static str>,
}

impl Shape {
    /// Nothing is special: every array is ordered and unkeyed.
    pub const PLAIN: Self = Self { volatile: &[], sets: &[], keyed: &[], wrapped: &[], stamps: &[] };

    /// Whether the array at `keys` is set-like.
    pub fn is_set(&self, keys: &[&str]) -> bool {
        self.sets.contains(&keys)
    }

    /// How the items of the array at `keys` are matched; `None` for unkeyed arrays and sets.
    pub fn keyed_at(&self, keys: &[&str]) -> Option<&'static Keyed> {
        self.keyed.iter().find(|keyed| keyed.at == keys && !self.is_set(keys))
    }
}
