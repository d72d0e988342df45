//! The canonical form: the same text for the same content, whatever the order and the spelling, and nothing lost.

use segsync::document::{Document, Keyed, Shape, parse};
use segsync::provider;
use serde_json::Value;

use super::dice::Dice;

/// A shape with a set and keyed items.
pub const RULES: Shape = Shape {
    volatile: &[],
    sets: &[&["tags"]],
    keyed: &[Keyed { at: &["rules"], keys: &["id", "name"], label: Some("name") }],
    wrapped: &[],
    stamps: &[],
};

/// The shapes that every input meets.
pub fn shapes() -> impl Iterator<Item = Shape> {
    let vendors = provider::ALL.iter().map(|provider| *provider.shape());
    [Shape::PLAIN, RULES].into_iter().chain(vendors)
}

/// The canonical document.
pub fn canonical(value: Value, shape: &Shape) -> Document {
    Document::new(value, shape, &[])
}

/// Any text that is JSON has a canonical form, which keeps what it says and is its own.
pub fn any(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(value) = parse(text) else { return };
    assert!(serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(), "no JSON was taken for some");
    for shape in shapes() {
        is_its_own(value.clone(), &shape);
    }
    keeps_its_value(&value);
    knows_no_order_and_no_spelling(value, Dice::bytes(data));
}

/// The canonical form of a canonical form is itself, also once it is read from its text.
pub fn is_its_own(value: Value, shape: &Shape) {
    let once = canonical(value, shape);
    let twice = canonical(Value::clone(once.value()), shape);
    assert_eq!(once.text(), twice.text());
    let stored = Document::stored(once.text()).expect("JSON");
    assert_eq!((stored.value(), stored.hash()), (once.value(), once.hash()));
    assert_eq!(&*parse(once.text()).expect("JSON").to_string(), once.text());
}

/// Where nothing is special, the document says what the value says.
pub fn keeps_its_value(value: &Value) {
    let document = canonical(value.clone(), &Shape::PLAIN);
    assert!(is_same(value, document.value()), "{value} became {}", document.text());
}

/// Whether two values are the same, numbers by value.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_str(), other.as_str());
            match (decimal(one), decimal(other)) {
                (Some(one), Some(other)) => one == other,
                // Beyond all exponents that can be counted with.
                _ => one.parse::<f64>().ok() == other.parse::<f64>().ok(),
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| is_same(one, other)))
        }
        _ => one == other,
    }
}

/// A number as sign, digits without zeros at their ends, and the power of ten of the last digit.
fn decimal(text: &str) -> Option<(bool, String, i128)> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (is_negative, whole) = whole.strip_prefix('-').map_or((false, whole), |whole| (true, whole));
    let digits = format!("{whole}{fraction}");
    let kept = digits.trim_end_matches('0');
    let significant = kept.trim_start_matches('0');
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    let dropped = i128::try_from(digits.len() - kept.len()).ok()? - i128::try_from(fraction.len()).ok()?;
    Some((is_negative, significant.to_owned(), exponent.parse::<i128>().ok()?.checked_add(dropped)?))
}

/// What another writer may send for the same content is the same document.
pub fn knows_no_order_and_no_spelling(mut value: Value, mut dice: Dice) {
    let document = canonical(value.clone(), &RULES);
    if let Some(Value::Array(tags)) = value.get_mut("tags") {
        tags.reverse();
    }
    let text = respelled(&value, &mut dice);
    let again = canonical(parse(&text).expect("JSON"), &RULES);
    assert_eq!(again.text(), document.text());
}

/// The same document as another writer may send it: members in another order, numbers in other words, blanks.
fn respelled(value: &Value, dice: &mut Dice) -> String {
    match value {
        Value::Number(number) => respelled_number(number.as_str(), dice),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| respelled(item, dice)).collect();
            format!("[ {} ]", items.join(" ,\n"))
        }
        Value::Object(members) => {
            let mut members: Vec<String> = members
                .iter()
                .map(|(key, member)| format!("{} : {}", Value::from(key.as_str()), respelled(member, dice)))
                .collect();
            let by = dice.below(members.len());
            members.rotate_left(by);
            format!("{{{}}}", members.join(","))
        }
        other => other.to_string(),
    }
}

fn respelled_number(text: &str, dice: &mut Dice) -> String {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let more = dice.below(4);
    let fewer = i128::try_from(more + fraction.len()).expect("small");
    let Some(exponent) = exponent.parse::<i128>().ok().and_then(|exponent| exponent.checked_sub(fewer)) else {
        return text.replace('e', "E");
    };
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let digits = format!("{digits}{fraction}{}", "0".repeat(more));
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() { format!("-0.0e{exponent}") } else { format!("{sign}{digits}E{exponent:+}") }
}
