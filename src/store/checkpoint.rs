//! What stands in the chain for versions that are no longer kept, and what still says until when the one before them held.
//! Pure.
//!
//! A run of rows that were removed leaves the links on both of its sides; within the segment, the end of the last version
//! before them is sealed, as no next version says it any more. All seals are hashes without a key, as the chain is: they find
//! what was done by hand, not a forger who computes them anew.

use rusqlite::Row;

use super::Hash;

/// Keep these hashes apart from any other use of BLAKE3; their numbers change with the encoding.
const CHECKPOINT: &[u8] = b"segsync checkpoint 1\n";
const END: &[u8] = b"segsync version end 1\n";

/// A run of rows of `versions` that were removed: a row of `checkpoints`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// The first row of the run.
    pub(super) first_id: i64,
    /// The last one.
    pub(super) last_id: i64,
    /// The chain of the row before the run.
    pub(super) before: Hash,
    /// The chain of its last row.
    pub(super) after: Hash,
    /// When the last of them was removed.
    pub(super) removed_at: i64,
    /// [`Checkpoint::sealed`], as long as nobody has been at it.
    pub(super) seal: Hash,
}

impl Checkpoint {
    /// The columns that [`Checkpoint::from_row`] reads.
    pub(super) const COLUMNS: &'static str = "first_id, last_id, before, after, removed_at, seal";

    /// One row.
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            first_id: row.get("first_id")?,
            last_id: row.get("last_id")?,
            before: row.get("before")?,
            after: row.get("after")?,
            removed_at: row.get("removed_at")?,
            seal: row.get("seal")?,
        })
    }

    /// BLAKE3 of the other columns; all parts have a fixed length.
    pub(super) fn sealed(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(CHECKPOINT).update(&self.before).update(&self.after);
        for number in [self.first_id, self.last_id, self.removed_at] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.finalize().into()
    }

    /// Whether it is as it was written.
    pub(super) fn is_whole(&self) -> bool {
        self.seal == self.sealed()
    }
}

/// What seals the end of a version whose next one is no longer kept: BLAKE3 of its chain and `valid_to`.
pub(super) fn end_seal(chain: &Hash, valid_to: i64) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(END).update(chain).update(&valid_to.to_le_bytes());
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_counts_and_the_encoding_is_fixed() {
        let row = Checkpoint { first_id: 2, last_id: 3, before: [4; 32], after: [5; 32], removed_at: 6, seal: [0; 32] };
        let others = [
            Checkpoint { first_id: 1, ..row.clone() },
            Checkpoint { last_id: 4, ..row.clone() },
            Checkpoint { before: [5; 32], ..row.clone() },
            Checkpoint { after: [4; 32], ..row.clone() },
            Checkpoint { before: [5; 32], after: [4; 32], ..row.clone() },
            Checkpoint { removed_at: 7, ..row.clone() },
        ];
        assert!(others.iter().all(|other| other.sealed() != row.sealed()));
        let [seal, end] = [row.sealed(), end_seal(&[4; 32], 6)].map(blake3::Hash::from_bytes);
        // Files in the field hold seals of these encodings: should a value change, its constant needs a new number.
        insta::assert_snapshot!(format!("{seal}\n{end}"), @"
        d906e16aa95212800698c2568bb37ae5f367cfa8c9a6011c9df9d33cce2808aa
        2fa1da25b0640bc1a8f5383698da4a873f44d8d4841db1718764f2d2e9814648
        ");
    }
}
