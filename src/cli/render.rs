//! How a version is shown to reviewers: as a block, or as one line.
//!
//! Nothing that changed is left out, apart from the fields that the head has told already. All provider text is made safe.

use std::io::{self, Write};

use owo_colors::{OwoColorize, Style};
use serde_json::Value;

use super::{safe, safe_json};
use crate::document;
use crate::model::{Change, ChangeOp, Op, UnixMs};
use crate::store::VersionEntry;

/// Longer values (in characters) are cut, or shown on lines of their own.
const LONG: usize = 60;
/// Longer field names are cut.
const LONG_FIELD: usize = 120;
/// How much of what two long values have in common is left on either side of their difference.
const COMMON: usize = 16;

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Long values are cut; fields that only repeat the head are left out.
    Brief,
    /// Long values are cut.
    EveryField,
    /// Everything, in full.
    Full,
}

/// One version as a block of lines.
pub(super) fn block(output: &mut impl Write, version: &VersionEntry, detail: Detail) -> io::Result<()> {
    let (verb, style) = verb(version.op);
    write!(
        output,
        "{}  {}  v{}  {}",
        version.observed_at,
        safe(&version.key.to_string()).bold(),
        version.seq,
        verb.style(style)
    )?;
    match &version.modified_by {
        Some(name) => writeln!(output, " by {}", safe(&cut(name, LONG)))?,
        None => writeln!(output)?,
    }
    let circumstances = circumstances(version);
    if !circumstances.is_empty() {
        writeln!(output, "  {}", circumstances.join(" · ").dimmed())?;
    }
    let told: Vec<&Change> = match detail {
        Detail::Brief => telling(version),
        Detail::EveryField | Detail::Full => version.changes.iter().collect(),
    };
    if told.is_empty() && !version.changes.is_empty() {
        let note = match version.changes.len() {
            1 => "nothing else changed (1 bookkeeping field; --full shows it)".to_owned(),
            fields => format!("nothing else changed ({fields} bookkeeping fields; --full shows them)"),
        };
        writeln!(output, "  {}", note.dimmed())?;
    }
    for change in told {
        show_change(output, change, detail)?;
    }
    Ok(())
}

/// One version on one line: time, op, segment, version, the first change, how many more, and who.
pub(super) fn line(output: &mut impl Write, version: &VersionEntry, detail: Detail) -> io::Result<()> {
    let style = verb(version.op).1;
    let key = version.key.to_string();
    let op = format!("{:<7}", version.op);
    write!(output, "{}  {}  {}  v{}", version.observed_at, op.style(style), safe(&key).bold(), version.seq)?;
    let told = if detail == Detail::Brief { telling(version) } else { version.changes.iter().collect() };
    if let Some(first) = told.first() {
        write!(output, "  {}", summary(first))?;
    }
    if told.len() > 1 {
        write!(output, " (+{} more)", told.len() - 1)?;
    }
    if let Some(name) = &version.modified_by {
        write!(output, "  by {}", safe(&cut(name, LONG)))?;
    }
    writeln!(output)
}

fn verb(op: Op) -> (&'static str, Style) {
    match op {
        Op::Create => ("created", Style::new().green()),
        Op::Update => ("updated", Style::new().yellow()),
        Op::Delete => ("deleted", Style::new().red()),
        Op::Restore => ("restored", Style::new().cyan()),
    }
}

/// What else is known of how it came about.
fn circumstances(version: &VersionEntry) -> Vec<String> {
    let mut told = Vec::new();
    let between = version.changed_after.map(|after| between(after, version.observed_at));
    // What happened in which order in between is hidden; how often at least is not.
    let revisions = version
        .missed_revisions
        .filter(|missed| *missed > 0)
        .map(|missed| format!("at least {} revisions", missed + 1));
    let seen: Vec<String> = between.into_iter().chain(revisions).collect();
    if !seen.is_empty() {
        told.push(seen.join(", "));
    }
    if let Some(at) = version.modified_at {
        told.push(format!("modified {}", near(at, version.observed_at)));
    }
    match (version.revision_before, version.revision) {
        (Some(before), Some(now)) if before != now => told.push(format!("revision {before} → {now}")),
        (_, Some(now)) => told.push(format!("revision {now}")),
        (_, None) => {}
    }
    if let Some(cause) = &version.cause {
        told.push(format!("cause: {}", safe(cause)));
    }
    told
}

/// The date, the time to the second and the milliseconds of a time that shows as RFC 3339.
fn parts(shown: &str) -> Option<(&str, &str, &str)> {
    (shown.len() == 24).then_some(())?;
    Some((shown.get(..10)?, shown.get(11..19)?, shown.get(19..23)?))
}

/// Two moments, with no more of date and milliseconds than it takes to tell them apart.
fn between(after: UnixMs, until: UnixMs) -> String {
    let (one, other) = (after.to_string(), until.to_string());
    match (parts(&one), parts(&other)) {
        (Some((day, from, from_ms)), Some((same, to, to_ms))) if day == same && until.since(after) < 10_000 => {
            format!("between {from}{from_ms} and {to}{to_ms}")
        }
        (Some((day, from, _)), Some((same, to, _))) if day == same => format!("between {from} and {to}"),
        (Some((day, from, _)), Some((other, to, _))) => format!("between {day} {from} and {other} {to}"),
        _ => format!("between {one} and {other}"),
    }
}

/// A moment beside another one that is shown in full.
fn near(at: UnixMs, other: UnixMs) -> String {
    let (one, other) = (at.to_string(), other.to_string());
    match (parts(&one), parts(&other)) {
        (Some((day, time, _)), Some((same, ..))) if day == same => time.to_owned(),
        (Some((day, time, _)), _) => format!("{day} {time}"),
        _ => one,
    }
}

/// Whether a change from one value to another is the one that the head tells.
type Step<'a> = &'a dyn Fn(&Value, &Value) -> bool;

/// The changes without those that only repeat who, when and which revision. A field does that if it stands at the top and
/// went exactly from what the version before said to what this one says, and if no other field did the same. What tells the
/// same of who in another way, such as an address beside the name, repeats it, too.
fn telling(version: &VersionEntry) -> Vec<&Change> {
    let by = |value: &Value, name: &Option<String>| match value {
        Value::Null => name.is_none(),
        value => name.is_some() && value.as_str() == name.as_deref(),
    };
    let at = |value: &Value, time: Option<UnixMs>| match value {
        Value::Null => time.is_none(),
        Value::String(text) => time.is_some() && UnixMs::parse(text).ok() == time,
        value => time.is_some() && value.as_i64().map(UnixMs) == time,
    };
    let number = |value: &Value, number: Option<i64>| match value {
        Value::Null => number.is_none(),
        value => number.is_some() && value.as_i64() == number,
    };
    let facts: [Step<'_>; 3] = [
        &|old, new| {
            version.modified_by_before != version.modified_by
                && by(old, &version.modified_by_before)
                && by(new, &version.modified_by)
        },
        &|old, new| {
            version.modified_at_before != version.modified_at
                && at(old, version.modified_at_before)
                && at(new, version.modified_at)
        },
        &|old, new| {
            version.revision_before != version.revision
                && number(old, version.revision_before)
                && number(new, version.revision)
        },
    ];
    let values: Vec<Option<(Value, Value)>> = version.changes.iter().map(top_scalars).collect();
    let mut is_told = vec![true; version.changes.len()];
    for (fact, is_who) in facts.into_iter().zip([true, false, false]) {
        let mut same = (0..).zip(&values).filter(|(_, pair)| pair.as_ref().is_some_and(|(old, new)| fact(old, new)));
        if let (Some((only, _)), None) = (same.next(), same.next()) {
            is_told[only] = false;
            let name = stem(&version.changes[only].field).filter(|_| is_who);
            for (at, change) in version.changes.iter().enumerate() {
                let is_text = |value: &Value| value.is_null() || value.is_string();
                let is_like = values[at].as_ref().is_some_and(|(old, new)| is_text(old) && is_text(new));
                is_told[at] &= !is_like || name.is_none() || stem(&change.field) != name;
            }
        }
    }
    version.changes.iter().zip(is_told).filter(|(_, told)| *told).map(|(change, _)| change).collect()
}

/// A field's name without its last word, as in `lastModifier` and `Name`; `None` where it has only one.
fn stem(field: &str) -> Option<&str> {
    let small = field.rfind(|char: char| char.is_lowercase())?;
    // The last word is capitals alone, as in `ID`, or begins with the last capital.
    let last = if small + 1 < field.len() { small + 1 } else { field.rfind(|char: char| char.is_uppercase())? };
    field.get(..last).filter(|stem| !stem.is_empty())
}

/// The values before and after of a field at the top of the document, null where absent; `None` for any other change.
fn top_scalars(change: &Change) -> Option<(Value, Value)> {
    // No name, time or revision is longer.
    const LONGEST: usize = 1000;
    let is_top = change.op != ChangeOp::Move && !change.field.contains(['.', '[', '"']);
    let value = |text: &Option<String>| match text {
        None => Some(Value::Null),
        Some(text) if text.len() > LONGEST || text.starts_with(['{', '[']) => None,
        Some(text) => document::parse(text).ok(),
    };
    Some((value(&change.old)?, value(&change.new)?)).filter(|_| is_top)
}

/// One change on a line, or on several where it is long and shown in full.
pub(super) fn show_change(output: &mut impl Write, change: &Change, detail: Detail) -> io::Result<()> {
    let (sign, style) = sign(change.op);
    let is_long = |value: &Option<String>| value.as_ref().is_some_and(|text| text.chars().nth(LONG).is_some());
    if detail == Detail::Full && (is_long(&change.old) || is_long(&change.new)) {
        writeln!(output, "{}", format_args!("{sign} {}:", safe(&change.field)).style(style))?;
        for (sign, style, value) in [("-", Style::new().red(), &change.old), ("+", Style::new().green(), &change.new)] {
            for line in value.iter().flat_map(|text| pretty(text).lines().map(str::to_owned).collect::<Vec<_>>()) {
                writeln!(output, "    {}", format_args!("{sign} {}", safe_json(&line)).style(style))?;
            }
        }
        return Ok(());
    }
    let field = if detail == Detail::Full { change.field.clone() } else { cut(&change.field, LONG_FIELD) };
    let field = safe(&field);
    let (old, new) = short_values(change);
    match change.op {
        ChangeOp::Replace => {
            writeln!(output, "{sign} {field}: {} → {}", old.style(Style::new().red()), new.style(Style::new().green()))
        }
        ChangeOp::Add => writeln!(output, "{}", format_args!("{sign} {field}: {new}").style(style)),
        ChangeOp::Remove => writeln!(output, "{}", format_args!("{sign} {field}: {old}").style(style)),
        ChangeOp::Move => {
            writeln!(output, "{}", format_args!("{sign} {field}: moved from {old} to {new}").style(style))
        }
    }
}

/// A change on one line.
fn summary(change: &Change) -> String {
    let (old, new) = short_values(change);
    let field = cut(&change.field, LONG_FIELD);
    let field = safe(&field);
    match change.op {
        ChangeOp::Replace => format!("{field}: {old} → {new}"),
        ChangeOp::Add => format!("+{field}: {new}"),
        ChangeOp::Remove => format!("-{field}: {old}"),
        ChangeOp::Move => format!("~{field}: moved from {old} to {new}"),
    }
}

fn sign(op: ChangeOp) -> (&'static str, Style) {
    match op {
        ChangeOp::Add => ("+", Style::new().green()),
        ChangeOp::Remove => ("-", Style::new().red()),
        ChangeOp::Move => ("~", Style::new().yellow()),
        ChangeOp::Replace => (" ", Style::new()),
    }
}

/// JSON on several lines, where it is an object or an array.
pub(super) fn pretty(text: &str) -> String {
    match document::parse(text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => format!("{value:#}"),
        _ => text.to_owned(),
    }
}

/// Both values of a change, safe and short; "absent" where there is none.
fn short_values(change: &Change) -> (String, String) {
    let (old, new) = (change.old.as_deref().unwrap_or("absent"), change.new.as_deref().unwrap_or("absent"));
    let (old, new) = cut_both(old, new);
    (safe_json(&old).into_owned(), safe_json(&new).into_owned())
}

/// Cuts two values to at most [`LONG`] characters each, so that what differs between them can still be seen.
fn cut_both(old: &str, new: &str) -> (String, String) {
    let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    if old.len() <= LONG && new.len() <= LONG {
        return (old.into_iter().collect(), new.into_iter().collect());
    }
    let start = old.iter().zip(&new).take_while(|(one, other)| one == other).count();
    let rest = old.len().min(new.len()) - start;
    let end = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(one, other)| one == other).count();
    let shown = |text: &[char]| {
        let (before, rest) = text.split_at(start);
        let (middle, after) = rest.split_at(rest.len() - end);
        let middle: String = middle.iter().collect();
        let (before, after) = (cut_to(before, COMMON), cut_to(after, COMMON));
        let left = LONG - before.chars().count() - after.chars().count();
        format!("{before}{}{after}", cut(&middle, left))
    };
    (shown(&old), shown(&new))
}

/// Cuts in the middle what is longer than `most` characters.
fn cut(text: &str, most: usize) -> String {
    cut_to(&text.chars().collect::<Vec<_>>(), most)
}

fn cut_to(text: &[char], most: usize) -> String {
    if text.len() <= most {
        return text.iter().collect();
    }
    let tail = most / 2;
    let head = most - tail - 1;
    text[..head].iter().chain(&['…']).chain(&text[text.len() - tail..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SegmentKey, SourceName};
    use crate::store::{PollId, VersionId};

    fn change(op: ChangeOp, field: &str, old: Option<&str>, new: Option<&str>) -> Change {
        let text = |value: Option<&str>| value.map(str::to_owned);
        Change { op, path: format!("$.{field}"), field: field.to_owned(), old: text(old), new: text(new) }
    }

    fn replace(field: &str, old: &str, new: &str) -> Change {
        change(ChangeOp::Replace, field, Some(old), Some(new))
    }

    fn version(changes: Vec<Change>) -> VersionEntry {
        let at = |text: &str| UnixMs::parse(text).expect("a time");
        VersionEntry {
            id: VersionId(9),
            key: SegmentKey::new(SourceName::new("a"), "beta"),
            seq: 4,
            op: Op::Update,
            cause: None,
            observed_at: at("2026-01-31T09:19:02Z"),
            valid_to: None,
            changed_after: Some(at("2026-01-31T09:14:03Z")),
            modified_at: Some(at("2026-01-31T09:17:40Z")),
            modified_by: Some("Ana".to_owned()),
            revision: Some(9),
            revision_before: Some(6),
            modified_at_before: Some(at("2026-01-30T08:00:00Z")),
            modified_by_before: Some("Bo".to_owned()),
            missed_revisions: Some(2),
            hash: None,
            poll: PollId(1),
            changes,
        }
    }

    fn shown(version: &VersionEntry, detail: Detail) -> String {
        let mut out = Vec::new();
        block(&mut out, version, detail).expect("written");
        anstream::adapter::strip_str(&String::from_utf8(out).expect("text")).to_string()
    }

    #[test]
    fn a_block_tells_what_changed() {
        let changes = vec![
            replace("lastModifierName", r#""Bo""#, r#""Ana""#),
            replace("lastModifiedTime", "1769760000000", "1769851060000"),
            replace("rules[beta testers].passPercentage", "10", "20"),
            change(ChangeOp::Add, "tags[eu]", None, Some(r#""eu""#)),
            change(ChangeOp::Remove, "note", Some("null"), None),
            change(ChangeOp::Move, "rules[staff]", Some("1"), Some("0")),
            replace("version", "6", "9"),
        ];
        insta::assert_snapshot!(shown(&version(changes), Detail::Brief), @r#"
        2026-01-31T09:19:02.000Z  a/beta  v4  updated by Ana
          between 09:14:03 and 09:19:02, at least 3 revisions · modified 09:17:40 · revision 6 → 9
          rules[beta testers].passPercentage: 10 → 20
        + tags[eu]: "eu"
        - note: null
        ~ rules[staff]: moved from 1 to 0
        "#);
    }

    #[test]
    fn only_fields_that_repeat_the_head_are_left_out() {
        let told = |changes: Vec<Change>, change: &dyn Fn(&mut VersionEntry)| {
            let mut version = version(changes);
            change(&mut version);
            telling(&version).iter().map(|change| change.field.clone()).collect::<Vec<_>>().join(" ")
        };
        let same = |_: &mut VersionEntry| ();
        let version_field = || replace("version", "6", "9");
        assert_eq!(told(vec![version_field()], &same), "");
        assert_eq!(
            told(vec![version_field(), replace("count", "6", "9")], &same),
            "version count",
            "cannot tell which"
        );
        assert_eq!(told(vec![replace("count", "7", "9")], &same), "count", "came from elsewhere");
        assert_eq!(told(vec![replace("rules[a].x", "6", "9"), version_field()], &same), "rules[a].x", "not at the top");
        assert_eq!(told(vec![replace("version", "\"6\"", "\"9\"")], &same), "version", "text is no revision");
        let who = |field: &str| replace(field, r#""bo@x.io""#, r#""ana@x.io""#);
        let changes = || {
            vec![replace("lastModifierName", r#""Bo""#, r#""Ana""#), who("lastModifierEmail"), who("lastModifierID")]
        };
        assert_eq!(told(changes(), &same), "", "the address says who, as the name does");
        assert_eq!(
            told(changes(), &|v| v.modified_by_before = None),
            "lastModifierName lastModifierEmail lastModifierID"
        );
        assert_eq!(
            told([changes(), vec![who("ownerEmail"), replace("lastModifierCount", "1", "2")]].concat(), &same),
            "ownerEmail lastModifierCount"
        );
        let rename = || replace("name", r#""Bo""#, r#""Ana""#);
        assert_eq!(told(vec![rename()], &|v| v.modified_by_before = v.modified_by.clone()), "name");
        assert_eq!(told(vec![replace("updatedAt", "null", "\"2026-01-31T10:17:40+01:00\"")], &same), "updatedAt");
        assert_eq!(
            told(vec![replace("updatedAt", "\"2026-01-30T08:00:00Z\"", "\"2026-01-31T10:17:40+01:00\"")], &same),
            ""
        );
        let added = change(ChangeOp::Add, "version", None, Some("9"));
        assert_eq!(told(vec![added], &|v| v.revision_before = None), "");
        insta::assert_snapshot!(shown(&version(vec![version_field()]), Detail::Brief), @"
        2026-01-31T09:19:02.000Z  a/beta  v4  updated by Ana
          between 09:14:03 and 09:19:02, at least 3 revisions · modified 09:17:40 · revision 6 → 9
          nothing else changed (1 bookkeeping field; --full shows it)
        ");
    }

    #[test]
    fn long_values_still_show_their_difference() {
        let long = |what: &str| format!("\"{}{what}{}\"", "x".repeat(100), "y".repeat(100));
        let version = version(vec![replace("text", &long("one"), &long("two")), replace("n", "1", &long("three"))]);
        let text = shown(&version, Detail::Brief);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
          text: "xxxxxx…xxxxxxxxoneyyyyyyy…yyyyyyy" → "xxxxxx…xxxxxxxxtwoyyyyyyy…yyyyyyy"
          n: 1 → "xxxxxxxxxxxxxxxxxxxxxxxxxxxx…yyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
        "#);
        assert!(shown(&version, Detail::Full).contains(&format!("\n    + {}\n", long("two"))));
    }

    #[test]
    fn provider_text_cannot_command_the_terminal() {
        let mut version = version(vec![replace("a\u{1b}[31mb", "\"\u{9b}x\"", "\"\u{202e}y\"")]);
        version.modified_by = Some("A\u{1b}]0;owned\u{7}\nB".to_owned());
        version.key.id = "se\u{1b}[2Jg".into();
        for detail in [Detail::Brief, Detail::Full] {
            let mut out = Vec::new();
            block(&mut out, &version, detail).expect("written");
            let text = anstream::adapter::strip_str(&String::from_utf8(out).expect("text")).to_string();
            assert!(text.contains(r"se\u{1b}[2Jg") && text.contains(r"A\u{1b}]0;owned\u{7}\u{a}B"), "{text}");
            assert!(text.contains(r#"a\u{1b}[31mb: "\u009bx" → "\u202ey""#), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn values_that_differ_are_shown_differently(old in "[ab]{0,70}", new in "[ab]{0,70}.{0,70}") {
            let (short_old, short_new) = cut_both(&old, &new);
            proptest::prop_assert_eq!(short_old == short_new, old == new);
            proptest::prop_assert!(short_old.chars().count() <= LONG && short_new.chars().count() <= LONG);
        }
    }
}
