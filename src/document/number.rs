//! Numbers equal by value: every JSON number has one canonical text, computed on its decimal digits.
//!
//! Never goes through a float (digits beyond a double are kept) and never writes out the zeros of a large exponent.

/// A plain number is filled up with at most this many zeros; beyond, it is written with an exponent.
const MAX_ZEROS: i64 = 20;

/// Exponents of up to this many digits are added up in an `i64`; longer ones digit by digit.
const SMALL_EXPONENT: usize = 18;

/// Whether a JSON number is written without a point and an exponent, in so few digits that this is its canonical text:
/// most are.
pub(super) fn is_short_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    text != "-0" && (1..=20).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The canonical text of a JSON number; `None` where the text is not one.
///
/// Digits without leading and trailing zeros; plain (`1`, `-0.05`, `100000`) where that takes at most [`MAX_ZEROS`] zeros of
/// filling, else `d.ddde+x` or `d.ddde-x`; zero is `0`. The sign in the exponent is how RFC 8785 and `serde_json` write it, so
/// reading the text back as a `Number` gives the same text.
pub(super) fn canonical(text: &str) -> Option<String> {
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (down, exponent) = match exponent.strip_prefix('-') {
        Some(size) => (true, size),
        None => (false, exponent.strip_prefix('+').unwrap_or(exponent)),
    };
    let written = [whole, fraction].concat();
    if whole.is_empty() || exponent.is_empty() || !written.bytes().chain(exponent.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let significant = written.trim_start_matches('0');
    let digits = significant.trim_end_matches('0');
    if digits.is_empty() {
        return Some("0".to_owned());
    }
    // The value is 0.digits × 10^point, before the exponent.
    let point = i64::try_from(whole.len()).ok()? - i64::try_from(written.len() - significant.len()).ok()?;
    let exponent = exponent.trim_start_matches('0');
    let unsigned = if exponent.len() > SMALL_EXPONENT {
        let by = if down { 1 - point } else { point - 1 };
        format!("{}e{}{}", scientific(digits), if down { '-' } else { '+' }, shifted(exponent, by))
    } else {
        let size = if exponent.is_empty() { 0 } else { exponent.parse::<i64>().ok()? };
        let point = if down { point - size } else { point + size };
        plain(digits, point).unwrap_or_else(|| format!("{}e{:+}", scientific(digits), point - 1))
    };
    Some(format!("{sign}{unsigned}"))
}

/// `0.digits × 10^point` without an exponent, where that takes few zeros.
fn plain(digits: &str, point: i64) -> Option<String> {
    let zeros = |count: i64| usize::try_from(count).ok().filter(|_| count <= MAX_ZEROS).map(|count| "0".repeat(count));
    if point <= 0 {
        return Some(format!("0.{}{digits}", zeros(-point)?));
    }
    match usize::try_from(point).ok().and_then(|at| digits.split_at_checked(at)) {
        Some((whole, "")) => Some(whole.to_owned()),
        Some((whole, fraction)) => Some(format!("{whole}.{fraction}")),
        None => Some(format!("{digits}{}", zeros(point - i64::try_from(digits.len()).ok()?)?)),
    }
}

/// `digits` with the point after the first of them.
fn scientific(digits: &str) -> String {
    match digits.split_at_checked(1) {
        Some((first, rest)) if !rest.is_empty() => format!("{first}.{rest}"),
        _ => digits.to_owned(),
    }
}

/// The decimal integer `size` plus `by`, exactly; `size` is larger than any `by` that a text in memory can cause.
fn shifted(size: &str, by: i64) -> String {
    let mut carry = by;
    let mut reversed: Vec<u8> = Vec::with_capacity(size.len() + 1);
    for digit in size.bytes().rev() {
        let sum = i64::from(digit - b'0') + carry;
        reversed.push(b'0' + u8::try_from(sum.rem_euclid(10)).unwrap_or(0));
        carry = sum.div_euclid(10);
    }
    let high = if carry > 0 { carry.to_string() } else { String::new() };
    let low: String = reversed.iter().rev().map(|&byte| char::from(byte)).collect();
    format!("{high}{low}").trim_start_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn all_are(texts: &[&str], canonical_text: &str) {
        for text in texts {
            assert_eq!(canonical(text).as_deref(), Some(canonical_text), "{text}");
        }
        let read: serde_json::Number = canonical_text.parse().expect("a JSON number");
        assert_eq!(read.to_string(), canonical_text, "serde_json writes it as it reads it");
    }

    #[test]
    fn one_value_has_one_text() {
        all_are(&["1", "1.0", "1e0", "10e-1", "1E+0", "0.1e1", "1.000e-0", "0.001e3"], "1");
        all_are(&["0", "-0", "-0.0", "0e5", "0.000E-99999999999999999999999"], "0");
        all_are(&["-12.50", "-1.25e1", "-1250e-2"], "-12.5");
        all_are(&["0.05", "5e-2", "0.5e-1"], "0.05");
        all_are(&["1e5", "100000.0", "1000E2"], "100000");
    }

    #[test]
    fn a_short_integer_is_canonical() {
        for text in ["0", "7", "-7", "10", "-100", "1700000000000", "10000000000000000000", "-99999999999999999999"] {
            assert!(is_short_integer(text), "{text}");
            assert_eq!(canonical(text).as_deref(), Some(text));
        }
        for text in ["-0", "1.0", "1e2", "100000000000000000000", "-1.5", "1E0", "", "-"] {
            assert!(!is_short_integer(text), "{text}");
        }
    }

    #[test]
    fn every_digit_is_kept() {
        all_are(&["12345678901234567890"], "12345678901234567890");
        all_are(&["12345678901234567891.0"], "12345678901234567891");
        let long = "9".repeat(400);
        all_are(&[&long], &long);
        all_are(&[&format!("0.{long}e400"), &format!("{long}.0")], &long);
        all_are(&["0.1000000000000000055511151231257827"], "0.1000000000000000055511151231257827");
    }

    #[test]
    fn twenty_zeros_are_plain_and_more_are_an_exponent() {
        all_are(&["1e20"], "100000000000000000000");
        all_are(&["1e21", "1000000000000000000000"], "1e+21");
        all_are(&["1e-21"], "0.000000000000000000001");
        all_are(&["1e-22", "0.0000000000000000000001"], "1e-22");
        all_are(&["-12.5e400", "-1.25E+0401"], "-1.25e+401");
        all_are(&["1e400", "1e+400", "10e399"], "1e+400");
        all_are(&["1e-400"], "1e-400");
        all_are(&["1e999999999", "0.01e1000000001"], "1e+999999999");
    }

    #[test]
    fn exponents_beyond_an_i64_stay_exact() {
        all_are(&["1e99999999999999999999999", "0.001e100000000000000000000002"], "1e+99999999999999999999999");
        all_are(&["10e99999999999999999999999"], "1e+100000000000000000000000");
        all_are(&["1e-99999999999999999999999", "1000e-100000000000000000000002"], "1e-99999999999999999999999");
        all_are(&["0.1e-99999999999999999999999"], "1e-100000000000000000000000");
        // The same value from both sides of the line between the two ways of adding.
        all_are(&["0.1e1000000000000000000", "1e999999999999999999"], "1e+999999999999999999");
        all_are(&["10e999999999999999999", "1e1000000000000000000"], "1e+1000000000000000000");
        all_are(&["1e-999999999999999999", "10e-1000000000000000000"], "1e-999999999999999999");
        all_are(&["1e000000000000000000000000000003"], "1000");
    }

    #[test]
    fn other_text_has_none() {
        for text in ["", "-", "x", "1x", "1e", "1e+", "NaN", "e5", ".5", "1e5.0", "--1"] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
