//! The chain over all version rows and their changes: editing, removing or inserting one by hand breaks a link. Pure.
//!
//! Encoding of a link's input, unambiguous because every part tells its length: [`DOMAIN`], the previous row's chain
//! (32 bytes), each field in the order of [`VersionFields`], the number of changes, then of each its op, path, field, old
//! and new. A field is one tag byte and a body: `0` NULL, no body; `1` integer, 8 bytes little-endian two's complement;
//! `2` text and `3` blob, the length in bytes as 8 bytes little-endian, then the bytes. `valid_to` is left out: the next
//! version sets it later.

use super::Hash;
use crate::model::Change;

/// Keeps these hashes apart from any other use of BLAKE3; its number changes with the encoding.
const DOMAIN: &[u8] = b"segsync versions chain 2\n";

/// What precedes the first version row of a file.
pub const GENESIS: Hash = [0; 32];

/// What the chain of a row of `versions` covers, as it is in the file.
#[derive(Clone, Copy, Debug)]
pub struct VersionFields<'a> {
    /// `versions.id`
    pub id: i64,
    /// `segments.source_id`
    pub source_id: i64,
    /// `versions.segment_id`
    pub segment_id: i64,
    /// `segments.key`
    pub key: &'a str,
    /// `versions.seq`
    pub seq: i64,
    /// `versions.op`
    pub op: &'a str,
    /// `versions.cause`
    pub cause: Option<&'a str>,
    /// `versions.observed_at`
    pub observed_at: i64,
    /// `versions.changed_after`
    pub changed_after: Option<i64>,
    /// `versions.modified_at`
    pub modified_at: Option<i64>,
    /// `versions.modified_by`
    pub modified_by: Option<&'a str>,
    /// `versions.revision`
    pub revision: Option<i64>,
    /// `versions.missed_revisions`
    pub missed_revisions: Option<i64>,
    /// `versions.hash`
    pub hash: Option<&'a [u8]>,
    /// `versions.document`
    pub document: Option<&'a str>,
    /// `versions.poll_id`
    pub poll_id: i64,
    /// Its rows of `changes`, in order.
    pub changes: &'a [Change],
}

enum Field<'a> {
    Integer(Option<i64>),
    Text(Option<&'a str>),
    Blob(Option<&'a [u8]>),
}

/// The chain of a row whose predecessor in the file (by id) has the chain `previous`; [`GENESIS`] before the first row.
pub fn chain_link(previous: &Hash, row: &VersionFields<'_>) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(DOMAIN).update(previous);
    for field in [
        Field::Integer(Some(row.id)),
        Field::Integer(Some(row.source_id)),
        Field::Integer(Some(row.segment_id)),
        Field::Text(Some(row.key)),
        Field::Integer(Some(row.seq)),
        Field::Text(Some(row.op)),
        Field::Text(row.cause),
        Field::Integer(Some(row.observed_at)),
        Field::Integer(row.changed_after),
        Field::Integer(row.modified_at),
        Field::Text(row.modified_by),
        Field::Integer(row.revision),
        Field::Integer(row.missed_revisions),
        Field::Blob(row.hash),
        Field::Text(row.document),
        Field::Integer(Some(row.poll_id)),
        Field::Integer(i64::try_from(row.changes.len()).ok()),
    ] {
        add(&mut hasher, &field);
    }
    for change in row.changes {
        let Change { op, path, field, old, new } = change;
        for text in [Some(op.as_str()), Some(path), Some(field), old.as_deref(), new.as_deref()] {
            add(&mut hasher, &Field::Text(text));
        }
    }
    hasher.finalize().into()
}

fn add(hasher: &mut blake3::Hasher, field: &Field<'_>) {
    let (tag, bytes) = match field {
        Field::Integer(Some(number)) => {
            hasher.update(&[1]).update(&number.to_le_bytes());
            return;
        }
        Field::Text(Some(text)) => (2, text.as_bytes()),
        Field::Blob(Some(bytes)) => (3, *bytes),
        Field::Integer(None) | Field::Text(None) | Field::Blob(None) => {
            hasher.update(&[0]);
            return;
        }
    };
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    hasher.update(&[tag]).update(&length.to_le_bytes()).update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChangeOp;

    const ROW: VersionFields<'_> = VersionFields {
        id: 1,
        source_id: 10,
        segment_id: 2,
        key: "k",
        seq: 3,
        op: "update",
        cause: None,
        observed_at: 4,
        changed_after: Some(5),
        modified_at: None,
        modified_by: Some("ab"),
        revision: Some(6),
        missed_revisions: None,
        hash: Some(&[7; 32]),
        document: Some("{}"),
        poll_id: 8,
        changes: &[],
    };

    #[test]
    fn every_field_and_the_predecessor_count() {
        let text = |text: &str| Some(text.to_owned());
        let change = Change {
            op: ChangeOp::Replace,
            path: "$.a".to_owned(),
            field: "a".to_owned(),
            old: text("1"),
            new: text("2"),
        };
        let changes = [
            vec![change.clone()],
            vec![change.clone(), change.clone()],
            vec![Change { op: ChangeOp::Move, ..change.clone() }],
            vec![Change { path: "$.b".to_owned(), ..change.clone() }],
            vec![Change { field: "b".to_owned(), ..change.clone() }],
            vec![Change { old: None, ..change.clone() }],
            vec![Change { new: text("3"), ..change.clone() }],
            vec![Change { old: text("2"), new: text("1"), ..change }],
        ];
        let others = [
            VersionFields { id: 9, ..ROW },
            VersionFields { source_id: 9, ..ROW },
            VersionFields { segment_id: 9, ..ROW },
            VersionFields { key: "l", ..ROW },
            VersionFields { seq: 9, ..ROW },
            VersionFields { op: "delete", ..ROW },
            VersionFields { cause: Some("schema"), ..ROW },
            VersionFields { observed_at: 9, ..ROW },
            VersionFields { changed_after: None, ..ROW },
            VersionFields { modified_at: Some(9), ..ROW },
            VersionFields { modified_by: Some(""), ..ROW },
            VersionFields { modified_by: None, ..ROW },
            VersionFields { revision: Some(-6), ..ROW },
            VersionFields { missed_revisions: Some(0), ..ROW },
            VersionFields { hash: None, ..ROW },
            VersionFields { document: Some("{ }"), ..ROW },
            VersionFields { poll_id: 9, ..ROW },
            // the same bytes moved from one field into another, and a number into the next column
            VersionFields { revision: None, missed_revisions: Some(6), ..ROW },
        ];
        let mut links: Vec<Hash> = others.iter().map(|row| chain_link(&GENESIS, row)).collect();
        links.extend([chain_link(&GENESIS, &ROW), chain_link(&[1; 32], &ROW)]);
        links.extend(changes.iter().map(|changes| chain_link(&GENESIS, &VersionFields { changes, ..ROW })));
        let all = links.len();
        links.sort_unstable();
        links.dedup();
        assert_eq!(links.len(), all, "no two of them agree");
    }

    #[test]
    fn the_encoding_is_fixed() {
        // Files in the field hold links of this encoding: should this value change, DOMAIN needs a new number.
        let link = blake3::Hash::from_bytes(chain_link(&GENESIS, &ROW));
        insta::assert_snapshot!(link, @"c105c8f02f21ee21f9f11e15e024eefc1eebd1c27fd5c80797ec498a2c8e07b8");
    }
}
