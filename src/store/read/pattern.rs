//! What people write for a field or a name: literal text in which `*` stands for any text.

/// A text with `*` for any text; nothing else is special.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern as it was written.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The literal text that it starts with.
    pub(super) fn lead(&self) -> &str {
        self.0.split('*').next().unwrap_or_default()
    }

    /// The same for SQLite's `GLOB`, where `?` and `[` are special, too.
    pub(super) fn glob(&self) -> String {
        let escaped = |char| match char {
            '?' => "[?]".to_owned(),
            '[' => "[[]".to_owned(),
            other => String::from(other),
        };
        self.0.chars().map(escaped).collect()
    }

    /// Whether all of `text` fits.
    pub fn fits(&self, text: &str) -> bool {
        let Some((lead, rest)) = self.0.split_once('*') else { return self.0 == text };
        let Some(mut left) = text.strip_prefix(lead) else { return false };
        let mut parts: Vec<&str> = rest.split('*').collect();
        let last = parts.pop().unwrap_or_default();
        // The first place is as good as any: what comes later only needs what is left.
        for part in parts {
            let Some(at) = left.find(part) else { return false };
            left = &left[at + part.len()..];
        }
        left.ends_with(last)
    }

    /// Whether `text` fits, whatever the case of its letters.
    pub fn fits_any_case(&self, text: &str) -> bool {
        Self(self.0.to_lowercase()).fits(&text.to_lowercase())
    }

    /// Whether `field` fits, or is inside of a field that does.
    pub fn holds(&self, field: &str) -> bool {
        self.fits(field) || field.match_indices(['.', '[']).any(|(at, _)| self.fits(&field[..at]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn a_star_is_any_text() {
        let fits = |pattern: &str, text: &str| Pattern::new(pattern).fits(text);
        assert!(fits("rules*passPercentage", "rules[beta].passPercentage"));
        assert!(fits("*", "") && fits("a*", "a") && fits("*a*a", "xaya") && fits("a**b", "ab"));
        assert!(!fits("a*a", "a") && !fits("ab*", "a") && !fits("a", "ab") && !fits("*a", "ab"));
        assert!(Pattern::new("ana*").fits_any_case("ANA Lopez") && !Pattern::new("ana").fits_any_case("Diana"));
    }

    #[test]
    fn a_field_holds_what_is_inside_of_it() {
        let holds = |pattern: &str, field: &str| Pattern::new(pattern).holds(field);
        assert!(holds("rules", "rules[a].x") && holds("rules[a]", "rules[a].x") && holds("rules*x", "rules[a].x[0]"));
        assert!(!holds("rule", "rules[a]") && !holds("rules[a", "rules[ab]"));
    }

    proptest! {
        #[test]
        fn sqlite_says_the_same(pattern in "[ab.*?\\[\\]]{0,6}", field in "[ab.?\\[\\]]{0,8}") {
            let pattern = Pattern::new(pattern);
            let connection = Connection::open_in_memory().expect("opened");
            let says: bool = connection
                .query_row("SELECT ?1 GLOB ?2 OR ?1 GLOB ?2 || '[.[]*'", [&field, &pattern.glob()], |row| row.get(0))
                .expect("asked");
            prop_assert_eq!(says, pattern.holds(&field));
        }
    }
}
