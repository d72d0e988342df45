//! Statsig's segments as people think of them, and the JSON that they become.
//!
//! Facts: `SegmentDto` of the vendor's Console API, version 20240601. What does not fit the schema is not modelled here:
//! tests put it as raw text.

use serde_json::{Map, Number, Value, json};

use super::world::{Account, Edited, Missing, Model, Person, Stamp};

/// A segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// The id in the path.
    pub id: String,
    /// What people see; absent when `None`.
    pub name: Option<String>,
    /// `id_list`, `rule_based`, `analysis_list`, `user_store_id_list` or something newer.
    pub kind: String,
    /// Whether it is on.
    pub is_enabled: bool,
    /// Which id it is about, such as `userID`.
    pub id_type: String,
    /// A sentence on what it is for.
    pub description: String,
    /// Length of an id list; absent when `None`.
    pub count: Option<u64>,
    /// In order of evaluation.
    pub rules: Vec<Rule>,
    /// A set, sent in this order.
    pub tags: Vec<String>,
    /// A set, sent in this order.
    pub target_apps: Vec<String>,
    /// A set, sent in this order.
    pub holdout_ids: Vec<String>,
    /// The responsible team; `null` when `None`.
    pub team: Option<String>,
    /// Who made it.
    pub creator: Person,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// Who touched it last.
    pub modifier: Person,
    /// Unix milliseconds.
    pub modified_ms: i64,
    /// Revision number; absent, and not counted, when `None`.
    pub version: Option<u64>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Absent when `None`.
    pub id: Option<String>,
    /// Absent when `None`.
    pub base_id: Option<String>,
    /// What people see.
    pub name: String,
    /// The part of the matching users that passes.
    pub pass: Percent,
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// `None` is `null`, all environments; empty is none.
    pub environments: Option<Vec<String>>,
    /// Absent when `None`.
    pub return_value: Option<Map<String, Value>>,
}

/// A condition of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Such as `email` or `custom_field`.
    pub kind: String,
    /// Absent when `None`.
    pub operator: Option<String>,
    /// `null` when `None`.
    pub field: Option<String>,
    /// What is compared with.
    pub target: Target,
    /// `null` when `None`.
    pub custom_id: Option<String>,
}

/// What a condition compares with.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// `null`
    Null,
    /// A string.
    Text(String),
    /// A number.
    Number(Number),
    /// An array of strings.
    Texts(Vec<String>),
    /// An array of numbers.
    Numbers(Vec<Number>),
}

impl Target {
    /// An array of strings.
    pub fn texts(texts: &[&str]) -> Self {
        Self::Texts(owned(texts))
    }

    fn json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Text(text) => json!(text),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Texts(texts) => json!(texts),
            Self::Numbers(numbers) => numbers.iter().cloned().map(Value::Number).collect(),
        }
    }
}

/// 0 to 100 in steps of 0.01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u16);

impl Percent {
    /// Whole percent, at most 100.
    pub fn whole(percent: u8) -> Self {
        Self::hundredths(u16::from(percent) * 100)
    }

    /// Hundredths of a percent, at most 10,000.
    pub fn hundredths(hundredths: u16) -> Self {
        Self(hundredths.min(10_000))
    }

    fn json(self) -> Value {
        if self.0.is_multiple_of(100) { json!(self.0 / 100) } else { json!(f64::from(self.0) / 100.0) }
    }
}

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", self.json())
    }
}

impl Condition {
    /// A condition of this type, with an operator and a target.
    pub fn new(kind: &str, operator: &str, target: Target) -> Self {
        Self { kind: kind.to_owned(), operator: Some(operator.to_owned()), field: None, target, custom_id: None }
    }

    /// Everyone.
    pub fn public() -> Self {
        Self { kind: "public".to_owned(), operator: None, field: None, target: Target::Null, custom_id: None }
    }

    /// A `custom_field` condition.
    pub fn custom(field: &str, operator: &str, target: Target) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new("custom_field", operator, target) }
    }

    fn json(&self) -> Value {
        let mut json = Map::new();
        json.insert("type".to_owned(), json!(self.kind));
        put_some(&mut json, "operator", self.operator.as_ref().map(|o| json!(o)));
        json.insert("field".to_owned(), json!(self.field));
        json.insert("targetValue".to_owned(), self.target.json());
        json.insert("customID".to_owned(), json!(self.custom_id));
        Value::Object(json)
    }
}

impl Rule {
    /// A rule that passes everyone who meets the conditions, with an id of its own.
    pub fn new(name: &str, conditions: Vec<Condition>) -> Self {
        let id: String = blake3::hash(name.as_bytes()).to_hex().chars().take(22).collect();
        Self {
            id: Some(id.clone()),
            base_id: Some(id),
            name: name.to_owned(),
            pass: Percent::whole(100),
            conditions,
            environments: None,
            return_value: None,
        }
    }

    /// The same with another pass percentage.
    pub fn passing(self, pass: Percent) -> Self {
        Self { pass, ..self }
    }

    fn json(&self) -> Value {
        let mut json = Map::new();
        put_some(&mut json, "id", self.id.as_ref().map(|id| json!(id)));
        put_some(&mut json, "baseID", self.base_id.as_ref().map(|id| json!(id)));
        json.insert("name".to_owned(), json!(self.name));
        json.insert("passPercentage".to_owned(), self.pass.json());
        json.insert("conditions".to_owned(), self.conditions.iter().map(Condition::json).collect());
        json.insert("environments".to_owned(), json!(self.environments));
        put_some(&mut json, "returnValue", self.return_value.clone().map(Value::Object));
        Value::Object(json)
    }
}

impl Segment {
    /// An enabled segment of this type without rules.
    pub fn new(id: &str, kind: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: Some(id.to_owned()),
            kind: kind.to_owned(),
            is_enabled: true,
            id_type: "userID".to_owned(),
            description: String::new(),
            count: (kind != "rule_based").then_some(0),
            rules: Vec::new(),
            tags: Vec::new(),
            target_apps: Vec::new(),
            holdout_ids: Vec::new(),
            team: None,
            creator: Person::default(),
            created_ms: 0,
            modifier: Person::default(),
            modified_ms: 0,
            version: Some(1),
        }
    }

    /// A rule-based segment.
    pub fn rule_based(id: &str, rules: Vec<Rule>) -> Self {
        Self { rules, ..Self::new(id, "rule_based") }
    }

    /// An id list of this length.
    pub fn id_list(id: &str, count: u64) -> Self {
        Self { count: Some(count), ..Self::new(id, "id_list") }
    }

    /// Gives it another name.
    pub fn rename(&mut self, name: &str) -> Edited {
        self.name = Some(name.to_owned());
        Ok(())
    }

    /// Gives it another description.
    pub fn describe(&mut self, description: &str) -> Edited {
        description.clone_into(&mut self.description);
        Ok(())
    }

    /// Turns it on or off.
    pub fn set_enabled(&mut self, is_enabled: bool) -> Edited {
        self.is_enabled = is_enabled;
        Ok(())
    }

    /// Sets the length of the id list.
    pub fn set_count(&mut self, count: u64) -> Edited {
        self.count = Some(count);
        Ok(())
    }

    /// Puts a rule before the `at`-th, or at the end where there are fewer.
    pub fn insert_rule(&mut self, at: usize, rule: Rule) -> Edited {
        self.rules.insert(at.min(self.rules.len()), rule);
        Ok(())
    }

    /// Takes a rule away.
    pub fn remove_rule(&mut self, name: &str) -> Edited {
        let at = self.position(name)?;
        self.rules.remove(at);
        Ok(())
    }

    /// Lets two rules change places.
    pub fn swap_rules(&mut self, one: &str, other: &str) -> Edited {
        let (one, other) = (self.position(one)?, self.position(other)?);
        self.rules.swap(one, other);
        Ok(())
    }

    /// Changes a rule in whatever way.
    pub fn edit_rule(&mut self, name: &str, edit: impl FnOnce(&mut Rule)) -> Edited {
        let at = self.position(name)?;
        self.rules.get_mut(at).map(edit).ok_or_else(|| Missing(format!("rule `{name}`")))
    }

    /// Sets a rule's pass percentage.
    pub fn set_pass_percentage(&mut self, rule: &str, pass: Percent) -> Edited {
        self.edit_rule(rule, |rule| rule.pass = pass)
    }

    /// Sets what the `nth` condition (from 0) of a rule compares with.
    pub fn set_target(&mut self, rule: &str, nth: usize, target: Target) -> Edited {
        let at = self.position(rule)?;
        let condition = self.rules.get_mut(at).and_then(|rule| rule.conditions.get_mut(nth));
        condition.ok_or_else(|| Missing(format!("condition {nth} of rule `{rule}`")))?.target = target;
        Ok(())
    }

    /// Adds a tag at the end.
    pub fn add_tag(&mut self, tag: &str) -> Edited {
        self.tags.push(tag.to_owned());
        Ok(())
    }

    /// Takes a tag away.
    pub fn remove_tag(&mut self, tag: &str) -> Edited {
        let at = self.tags.iter().position(|t| t == tag).ok_or_else(|| Missing(format!("tag `{tag}`")))?;
        self.tags.remove(at);
        Ok(())
    }

    /// Sends the tags the other way round: the same set.
    pub fn reverse_tags(&mut self) -> Edited {
        self.tags.reverse();
        Ok(())
    }

    fn position(&self, rule: &str) -> Result<usize, Missing> {
        self.rules.iter().position(|r| r.name == rule).ok_or_else(|| Missing(format!("rule `{rule}`")))
    }
}

impl Model for Segment {
    fn id(&self) -> &str {
        &self.id
    }

    fn made(&mut self, stamp: &Stamp) {
        self.creator = stamp.by.clone();
        self.created_ms = stamp.at_ms;
        self.modifier = stamp.by.clone();
        self.modified_ms = stamp.at_ms;
    }

    fn edited(&mut self, stamp: &Stamp) {
        self.modifier = stamp.by.clone();
        self.modified_ms = stamp.at_ms;
        self.version = self.version.map(|version| version.saturating_add(1));
    }

    fn undelete(&mut self) {}

    fn is_soft_deleted(&self) -> bool {
        false
    }

    fn text(&self) -> String {
        let mut json = json!({
            "id": self.id, "type": self.kind, "isEnabled": self.is_enabled, "idType": self.id_type,
            "description": self.description, "tags": self.tags, "targetApps": self.target_apps,
            "holdoutIDs": self.holdout_ids, "team": self.team,
            "rules": self.rules.iter().map(Rule::json).collect::<Value>(),
            "creatorID": self.creator.id, "creatorName": self.creator.name, "creatorEmail": self.creator.email,
            "createdTime": self.created_ms,
            "lastModifierID": self.modifier.id, "lastModifierName": self.modifier.name,
            "lastModifierEmail": self.modifier.email, "lastModifiedTime": self.modified_ms,
        });
        if let Value::Object(json) = &mut json {
            put_some(json, "name", self.name.as_ref().map(|name| json!(name)));
            put_some(json, "count", self.count.map(|count| json!(count)));
            put_some(json, "version", self.version.map(|version| json!(version)));
        }
        json.to_string()
    }
}

impl Account<Segment> {
    pub(super) fn statsig() -> Self {
        Self::new(Person::named("Console Api"))
    }
}

fn put_some(json: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        json.insert(key.to_owned(), value);
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}
