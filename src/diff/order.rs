//! Which elements of two arrays keep their order: longest common subsequences.
//!
//! Deterministic, and never quadratic in memory or without a bound in time, whatever the arrays hold.

use std::collections::HashMap;
use std::hash::Hash;

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// Up to this many pairs of equal elements in one pair of arrays the alignment is the exact longest.
const MAX_PAIRS: usize = 1 << 20;

/// How many pairs of equal elements may still be looked at in one comparison of documents.
#[derive(Debug)]
pub(super) struct Effort(usize);

impl Default for Effort {
    fn default() -> Self {
        Self(8 * MAX_PAIRS)
    }
}

/// A longest common subsequence of `old` and `new`, as pairs of indexes that rise on both sides.
///
/// Exact as long as there are at most [`MAX_PAIRS`] pairs of equal elements between the ends that the arrays share (two arrays
/// of a million elements without duplicates have at most a million). Beyond that `similar`'s Myers, which is bounded
/// and may miss the very longest one.
pub(super) fn common<T: Hash + Eq>(old: &[T], new: &[T], effort: &mut Effort) -> Vec<(usize, usize)> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old_rest[..old_rest.len() - tail], &new_rest[..new_rest.len() - tail]);

    let middle = middle(old_rest, new_rest, effort).into_iter().map(|(i, j)| (head + i, head + j));
    let ends = (0..tail).map(|back| (old.len() - tail + back, new.len() - tail + back));
    (0..head).map(|at| (at, at)).chain(middle).chain(ends).collect()
}

fn middle<T: Hash + Eq>(old: &[T], new: &[T], effort: &mut Effort) -> Vec<(usize, usize)> {
    let mut places: HashMap<&T, (usize, Vec<usize>)> = HashMap::new();
    for (at, item) in new.iter().enumerate() {
        let word = places.len();
        places.entry(item).or_insert_with(|| (word, Vec::new())).1.push(at);
    }
    let count: usize = old.iter().filter_map(|item| places.get(item)).map(|(_, at)| at.len()).sum();
    if count <= MAX_PAIRS.min(effort.0) {
        effort.0 -= count;
        let equal = old.iter().enumerate().filter_map(|(i, item)| Some((i, &places.get(item)?.1)));
        let pairs: Vec<(usize, usize)> = equal.flat_map(|(i, at)| at.iter().rev().map(move |&j| (i, j))).collect();
        return longest_chain(&pairs);
    }
    let words = |items: &[T]| -> Vec<usize> {
        items.iter().map(|item| places.get(item).map_or(usize::MAX, |(word, _)| *word)).collect()
    };
    let steps = capture_diff_slices(Algorithm::Myers, &words(old), &words(new));
    let equal = steps.iter().filter_map(|step| match *step {
        DiffOp::Equal { old_index, new_index, len } => Some((0..len).map(move |at| (old_index + at, new_index + at))),
        _ => None,
    });
    equal.flatten().collect()
}

/// One pair, as the end of the best chain that ends with it.
struct Link {
    /// The chain's length, then how many of its pairs stand at the same index on both sides.
    score: (usize, usize),
    before: Option<usize>,
}

/// The longest chain of pairs that rises strictly on both sides; of equally long ones one with the most pairs whose two
/// indexes are the same, and of these the one found first.
///
/// `pairs` rise on the left; those that share a left index fall on the right. Time n log n, memory linear in the pairs.
pub(super) fn longest_chain(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let width = pairs.iter().map(|(_, right)| right + 1).max().unwrap_or(0);
    // A Fenwick tree over the right indexes: which link ends the best chain below each.
    let mut tree: Vec<Option<usize>> = vec![None; width + 1];
    let mut links: Vec<Link> = Vec::with_capacity(pairs.len());
    let better = |links: &[Link], a: usize, b: Option<usize>| b.is_none_or(|b| links[a].score > links[b].score);
    for (here, &(left, right)) in pairs.iter().enumerate() {
        let before = best_below(&tree, right, &|a, b| better(&links, a, b));
        let (length, same) = before.map_or((0, 0), |link| links[link].score);
        links.push(Link { score: (length + 1, same + usize::from(left == right)), before });
        let mut slot = right + 1;
        while slot <= width {
            if better(&links, here, tree[slot]) {
                tree[slot] = Some(here);
            }
            slot += slot & slot.wrapping_neg();
        }
    }
    let mut last = best_below(&tree, width, &|a, b| better(&links, a, b));
    let mut chain = Vec::new();
    while let Some(link) = last {
        chain.push(pairs[link]);
        last = links[link].before;
    }
    chain.reverse();
    chain
}

/// The best link among those whose right index is below `right`.
fn best_below(tree: &[Option<usize>], right: usize, better: &dyn Fn(usize, Option<usize>) -> bool) -> Option<usize> {
    let (mut best, mut slot) = (None, right);
    while slot > 0 {
        best = tree[slot].filter(|&link| better(link, best)).or(best);
        slot &= slot - 1;
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The textbook table, quadratic.
    fn table_length(old: &[u8], new: &[u8]) -> usize {
        let mut row = vec![0; new.len() + 1];
        for a in old {
            let mut corner = 0;
            for (at, b) in new.iter().enumerate() {
                let above = row[at + 1];
                row[at + 1] = if a == b { corner + 1 } else { above.max(row[at]) };
                corner = above;
            }
        }
        row[new.len()]
    }

    fn is_common(old: &[u8], new: &[u8], pairs: &[(usize, usize)]) -> bool {
        pairs.iter().all(|&(i, j)| old[i] == new[j]) && pairs.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_alignment_is_a_longest_one(
            old in prop::collection::vec(0..6u8, 0..24),
            new in prop::collection::vec(0..6u8, 0..24),
        ) {
            let pairs = common(&old, &new, &mut Effort::default());
            prop_assert!(is_common(&old, &new, &pairs));
            prop_assert_eq!(pairs.len(), table_length(&old, &new));
        }

        #[test]
        fn without_effort_left_it_is_still_an_alignment(
            old in prop::collection::vec(0..6u8, 0..24),
            new in prop::collection::vec(0..6u8, 0..24),
        ) {
            let pairs = common(&old, &new, &mut Effort(0));
            prop_assert!(is_common(&old, &new, &pairs));
        }
    }

    #[test]
    fn elements_that_stay_at_their_index_are_preferred() {
        assert_eq!(longest_chain(&[(0, 2), (1, 1), (2, 0)]), [(1, 1)]);
        assert_eq!(longest_chain(&[(0, 1), (1, 0)]), [(0, 1)]);
        assert_eq!(longest_chain(&[]), []);
    }

    #[test]
    fn large_arrays_of_few_different_elements_are_aligned_too() {
        // Three elements of 40,000 are new: far more pairs than are looked at one by one.
        let old: Vec<u8> = (0..40_000u32).map(|at| u8::from(at.wrapping_mul(2_654_435_761) > u32::MAX / 2)).collect();
        let mut new = old.clone();
        for at in [39_000, 20_000, 1_000] {
            new.insert(at, 2);
        }
        let pairs = common(&old, &new, &mut Effort::default());
        assert!(is_common(&old, &new, &pairs));
        assert_eq!(pairs.len(), old.len());
    }
}
