//! What the simulated segments truly were, at any time: written down at each edit, independent of segsync's own reading.

use std::collections::HashMap;

use segsync::simulator::Provider;
use serde_json::{Number, Value};

/// How a segment was from some moment on.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Since when, by the wall clock.
    pub from: i64,
    /// Whether it is there, and not marked as deleted.
    pub is_there: bool,
    /// Its document; `None` where the provider has none.
    pub text: Option<String>,
}

/// The states of every segment, in order.
#[derive(Debug, Default)]
pub struct Truth(HashMap<(Provider, String), Vec<State>>);

impl Truth {
    /// From now on it is so; nothing happens where it was so before.
    pub fn note(&mut self, provider: Provider, id: &str, now: i64, text: Option<&str>) {
        let document: Option<Value> = text.map(|text| serde_json::from_str(text).expect("JSON"));
        let is_marked = document.as_ref().is_some_and(|document| !document["deletedAt"].is_null());
        let text = document.map(plain);
        let state = State { from: now, is_there: text.is_some() && !is_marked, text };
        let states = self.0.entry((provider, id.to_owned())).or_default();
        if states.last().is_none_or(|last| (last.is_there, &last.text) != (state.is_there, &state.text)) {
            states.push(state);
        }
    }

    /// All states of a segment.
    pub fn states(&self, provider: Provider, id: &str) -> &[State] {
        self.0.get(&(provider, id.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// Every segment.
    pub fn all(&self) -> impl Iterator<Item = (Provider, &str, &[State])> {
        self.0.iter().map(|((provider, id), states)| (*provider, id.as_str(), states.as_slice()))
    }

    /// The index of the state at a moment.
    pub fn at(&self, provider: Provider, id: &str, at: i64) -> Option<usize> {
        self.states(provider, id).partition_point(|state| state.from <= at).checked_sub(1)
    }
}

/// A document as one text: keys sorted, numbers by value, what is a set at the provider sorted.
pub fn plain(mut document: Value) -> String {
    if let Value::Object(members) = &mut document {
        for set in ["tags", "targetApps", "holdoutIDs"] {
            if let Some(Value::Array(items)) = members.get_mut(set) {
                items.sort_by_key(ToString::to_string);
            }
        }
    }
    by_value(&mut document);
    document.to_string()
}

fn by_value(value: &mut Value) {
    match value {
        Value::Number(number) => {
            *number = number.as_f64().and_then(Number::from_f64).expect("no larger than a double");
        }
        Value::Array(items) => items.iter_mut().for_each(by_value),
        Value::Object(members) => members.values_mut().for_each(by_value),
        Value::Null | Value::Bool(_) | Value::String(_) => (),
    }
}
