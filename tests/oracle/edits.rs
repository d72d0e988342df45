//! Documents of both providers and random edits of them, of every kind that a history can hold.

use fastrand::Rng;
use serde_json::{Value, json};

/// The document that a segment starts with.
pub(crate) fn first(provider: &str, rng: &mut Rng) -> Value {
    let all: Value = serde_json::from_str(include_str!("../data/documents.json")).expect("JSON");
    let documents = all[provider].as_array().expect("documents");
    documents[rng.usize(..documents.len())].clone()
}

/// One or a few edits.
pub(crate) fn edited(document: &Value, rng: &mut Rng) -> Value {
    let mut document = document.clone();
    for _ in 0..1 + rng.usize(..4) {
        let keyed = ["/rules", "/qualifyingQuestions", "/data/customFields"][rng.usize(..3)];
        match rng.usize(..10) {
            0..=3 => anywhere(&mut document, rng),
            4..=7 => {
                if let Some(Value::Array(items)) = document.pointer_mut(keyed) {
                    reorder(items, rng);
                }
            }
            _ => {
                let set = ["/tags", "/targetApps", "/holdoutIDs", "/data/businessDrivers"][rng.usize(..4)];
                if let Some(Value::Array(members)) = document.pointer_mut(set) {
                    if rng.bool() || members.is_empty() {
                        members.push(scalar(rng));
                    } else {
                        members.remove(rng.usize(..members.len()));
                    }
                }
            }
        }
    }
    document
}

fn reorder(items: &mut Vec<Value>, rng: &mut Rng) {
    let at = rng.usize(..=items.len());
    match rng.usize(..5) {
        0 | 1 => {
            let name = format!("n{}", rng.usize(..30));
            let item = json!({
                "id": format!("id{}", rng.u32(..)), "baseID": name, "name": name, "passPercentage": rng.u8(..100),
                "conditions": [], "question": format!("{name}?"), "title": name, "value": ["v"]
            });
            items.insert(at, item);
        }
        2 if at < items.len() => drop(items.remove(at)),
        3 => rng.shuffle(items),
        _ if at < items.len() => {
            // Twice the same: the array may lose its key, until one of them goes.
            if rng.usize(..4) == 0 {
                items.push(items[at].clone());
            } else {
                items.swap(at, 0);
            }
        }
        _ => {}
    }
}

fn anywhere(value: &mut Value, rng: &mut Rng) {
    match value {
        Value::Object(members) if rng.usize(..6) > 0 && !members.is_empty() => {
            let at = rng.usize(..members.len());
            if let Some(member) = members.values_mut().nth(at) {
                anywhere(member, rng);
            }
        }
        Value::Array(items) if rng.usize(..3) > 0 && !items.is_empty() => {
            let at = rng.usize(..items.len());
            anywhere(&mut items[at], rng);
        }
        Value::Object(members) => {
            let keys = ["id", "name", "new one", "a.b", "q\"d", "x/y~z", "é", "", "[0]", "back\\slash"];
            let key = keys[rng.usize(2..keys.len())];
            if members.remove(key).is_none() {
                members.insert(key.to_owned(), anything(rng));
            }
        }
        Value::Array(items) => {
            let at = rng.usize(..=items.len());
            match rng.usize(..4) {
                0 if at < items.len() => drop(items.remove(at)),
                1 => rng.shuffle(items),
                _ => items.insert(at, anything(rng)),
            }
        }
        other => *other = anything(rng),
    }
}

fn anything(rng: &mut Rng) -> Value {
    match rng.usize(..8) {
        0 => json!([scalar(rng), scalar(rng), [scalar(rng)], { "in": scalar(rng) }]),
        1 => json!({ "id": scalar(rng), "deep": { "er": [scalar(rng)] } }),
        2 => json!([]),
        3 => json!({}),
        _ => scalar(rng),
    }
}

fn scalar(rng: &mut Rng) -> Value {
    match rng.usize(..7) {
        0 => Value::Null,
        1 => json!(rng.bool()),
        2 => json!(rng.i8(..)),
        3 => json!(f64::from(rng.u16(..)) / 100.0),
        4 => json!("quoted \"text\"\n"),
        _ => json!(["a", "b", "c", "d", "e"][rng.usize(..5)]),
    }
}
