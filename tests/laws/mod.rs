//! The laws of documents, changes and all that is read from outside: on arbitrary values here, on arbitrary bytes by the
//! fuzzer, and on what the fuzzer has found worth keeping. Only what the library shows to everyone is used here.

mod given;
mod law;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use segsync::diff::{diff, fold, unfold};
use segsync::document::{Shape, parse};
use segsync::model::{Change, ChangeOp};
use serde_json::{Value, json};

use given::{dice, document, related, shape, text, two, value};
use law::canonical::{RULES, canonical};
use law::changes::paths_are_right;
use law::dice::{Dice, KEYS};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changes_fold_both_ways((old, new) in two(), shape in shape()) {
        law::changes::fold_both_ways(old, new, &shape);
    }

    #[test]
    fn changes_fold_even_if_the_shape_is_not_the_documents_own((old, new) in two(), shape in shape()) {
        law::changes::fold_even_if_the_shape_is_not_the_documents_own(old, new, &shape);
    }

    #[test]
    fn sqlite_finds_what_changed((old, new) in two(), shape in shape()) {
        law::changes::are_found_by_sqlite(old, new, &shape);
    }

    #[test]
    fn tampered_changes_are_an_error_or_another_document(
        (old, new) in related(),
        which in 0..1000usize,
        change in 0..6usize,
        other in text(),
    ) {
        law::changes::tampered_are_an_error_or_another_document(old, new, which, change, &other);
    }

    #[test]
    fn canonical_form_is_idempotent(value in document(), shape in shape()) {
        law::canonical::is_its_own(value, &shape);
    }

    #[test]
    fn canonical_form_keeps_what_is_said(value in document()) {
        law::canonical::keeps_its_value(&value);
    }

    #[test]
    fn canonical_form_knows_no_order_and_no_spelling(value in document(), rolls in dice()) {
        law::canonical::knows_no_order_and_no_spelling(value, Dice::new(rolls));
    }

    #[test]
    fn one_element_more_is_one_change(value in document(), rolls in dice(), fresh in value()) {
        // A change inside of a set's member is another member.
        let tags = value.get("tags").and_then(Value::as_array);
        prop_assume!(tags.is_none_or(|tags| tags.iter().all(|tag| !tag.is_array() && !tag.is_object())));
        let old = canonical(value, &RULES);
        let mut value = Value::clone(old.value());
        insert(&mut value, &mut Dice::new(rolls), fresh);
        let new = canonical(value, &RULES);
        prop_assume!(old != new);
        let ops = |changes: Vec<Change>| changes.iter().map(|change| change.op).collect::<Vec<_>>();
        prop_assert_eq!(ops(diff(old.value(), new.value(), &RULES)), [ChangeOp::Add]);
        prop_assert_eq!(ops(diff(new.value(), old.value(), &RULES)), [ChangeOp::Remove]);
    }
}

/// Puts `fresh` somewhere into an array or object; scalars stay as they are.
fn insert(value: &mut Value, dice: &mut Dice, fresh: Value) {
    let at = dice.below(1000);
    match value {
        Value::Array(items) => {
            let at = at % (items.len() + 1);
            match items.get_mut(at).filter(|item| item.is_array() || item.is_object()) {
                Some(item) if dice.below(2) > 0 => insert(item, dice, fresh),
                _ => items.insert(at, fresh),
            }
        }
        Value::Object(members) => {
            let at = at % members.len().max(1);
            match members.values_mut().nth(at).filter(|member| member.is_array() || member.is_object()) {
                Some(member) if dice.below(3) > 0 => insert(member, dice, fresh),
                _ => drop(members.insert("another".to_owned(), fresh)),
            }
        }
        _ => {}
    }
}

/// All orders of `0..n`.
fn permutations(n: usize) -> Vec<Vec<usize>> {
    (0..n).fold(vec![Vec::new()], |shorter, next| {
        let longer = shorter.into_iter().flat_map(|order| {
            (0..=order.len())
                .map(move |at| order[..at].iter().copied().chain([next]).chain(order[at..].iter().copied()).collect())
        });
        longer.collect()
    })
}

/// The length of the longest rising subsequence, by trying them all.
fn longest_rise(order: &[usize]) -> usize {
    let sets = 0..1usize << order.len();
    let chosen =
        sets.map(|set| (0..order.len()).filter(|at| set >> at & 1 == 1).map(|at| order[at]).collect::<Vec<_>>());
    chosen.filter(|rise| rise.is_sorted()).map(|rise| rise.len()).max().unwrap_or(0)
}

#[test]
fn a_reordering_is_never_more_moves_than_it_must_be() {
    let rules = |order: &[usize]| json!({"rules": order.iter().map(|id| json!({"id": id})).collect::<Vec<_>>()});
    for n in 0..=6 {
        let old = rules(&(0..n).collect::<Vec<_>>());
        for order in permutations(n) {
            let new = rules(&order);
            let changes = diff(&old, &new, &RULES);
            assert!(changes.iter().all(|change| change.op == ChangeOp::Move), "{order:?}");
            assert_eq!(changes.len(), n - longest_rise(&order), "{order:?}");
            assert_eq!(fold(&old, &changes).as_ref(), Ok(&new), "{order:?}");
            assert_eq!(unfold(&new, &changes).as_ref(), Ok(&old), "{order:?}");
        }
    }
}

#[test]
fn sqlite_finds_every_odd_key_and_reads_every_number() {
    let sqlite = rusqlite::Connection::open_in_memory().expect("a database");
    for key in KEYS {
        let new = canonical(json!([{ *key: { *key: [0, "x"] } }]), &Shape::PLAIN);
        let old = canonical(json!([{ *key: { *key: [0] } }]), &Shape::PLAIN);
        let changes = diff(old.value(), new.value(), &Shape::PLAIN);
        assert_eq!(changes.len(), 1);
        paths_are_right(&sqlite, &old, &new, &changes);
        let back = diff(new.value(), old.value(), &Shape::PLAIN);
        paths_are_right(&sqlite, &new, &old, &back);
    }
    for (number, sql) in [("1e400", "Inf"), ("-1.50E1", "-15"), ("1e-400", "0.0"), ("1e99999999999999999999", "Inf")] {
        let document = canonical(parse(number).expect("a number"), &Shape::PLAIN);
        let read: String = sqlite
            .query_row("SELECT CAST(json_extract(?1, '$') AS TEXT) WHERE json_valid(?1)", [document.text()], |row| {
                row.get(0)
            })
            .expect("JSON to SQLite");
        assert_eq!(read, sql, "{number}");
    }
}

/// What the fuzzer keeps, and whatever broke a law once. `fuzz/run` looks for more.
#[test]
fn the_laws_hold_for_what_the_fuzzer_keeps() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, holds) in law::ALL {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus.join(target)).expect(target) {
            let path = entry.expect("an entry").path();
            println!("{}", path.display());
            holds(&fs::read(&path).expect("an input"));
            inputs += 1;
        }
        assert!(inputs >= 5, "{target} has {inputs} inputs");
        let text =
            fs::read_to_string(corpus.with_file_name("fuzz_targets").join(format!("{target}.rs"))).expect(target);
        assert!(text.contains("fuzz_target!"), "{target}");
    }
}
