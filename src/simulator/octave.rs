//! Octave's segments as people think of them, and the JSON that they become.
//!
//! Facts: the vendor's page on `GET /api/v2/segment/get`. `data` is opaque to everyone and therefore plain JSON here too.

use serde_json::{Value, json};

use super::world::{Account, Edited, Missing, Model, Person, Stamp, rfc3339};

/// A segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Such as `sg_` and 21 alphanumerics.
    pub o_id: String,
    /// What customers see.
    pub name: String,
    /// What the team calls it.
    pub internal_name: String,
    /// A sentence on who is meant.
    pub description: String,
    /// The vendor's flag.
    pub unrecognized: bool,
    /// The vendor's flag.
    pub rejected: bool,
    /// Whether it is in use.
    pub active: bool,
    /// The playbook content.
    pub data: Value,
    /// `None` is `null`.
    pub questions: Option<Vec<Question>>,
    /// Whose it is.
    pub user: User,
    /// The workspace's id.
    pub workspace: String,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// Unix milliseconds.
    pub updated_ms: i64,
    /// Unix milliseconds of the soft deletion.
    pub deleted_ms: Option<i64>,
    /// Unix milliseconds of the archiving.
    pub archived_ms: Option<i64>,
}

/// A qualifying question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The question, which is also its key: it has no id.
    pub question: String,
    /// Why it is asked; `null` when `None`.
    pub rationale: Option<String>,
    /// `GOOD` or `BAD`.
    pub fit_type: String,
    /// How much the answer counts.
    pub weight: Weight,
    /// Unix milliseconds of the archiving.
    pub archived_ms: Option<i64>,
}

/// How much an answer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// `LOW`
    Low,
    /// `MEDIUM`
    Medium,
    /// `HIGH`
    High,
}

impl Weight {
    /// As the provider writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
        }
    }
}

/// A user of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's id.
    pub o_id: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
}

impl Question {
    /// A question of medium weight that speaks for a customer.
    pub fn new(question: &str) -> Self {
        Self {
            question: question.to_owned(),
            rationale: None,
            fit_type: "GOOD".to_owned(),
            weight: Weight::Medium,
            archived_ms: None,
        }
    }

    /// The same with another weight.
    pub fn weighing(self, weight: Weight) -> Self {
        Self { weight, ..self }
    }

    fn json(&self) -> Value {
        json!({
            "question": self.question, "rationale": self.rationale, "fitType": self.fit_type,
            "weight": self.weight.word(), "archivedAt": self.archived_ms.map(rfc3339),
        })
    }
}

impl Segment {
    /// An active segment with empty `data` and no questions.
    pub fn new(o_id: &str, name: &str) -> Self {
        Self {
            o_id: o_id.to_owned(),
            name: name.to_owned(),
            internal_name: name.to_owned(),
            description: String::new(),
            unrecognized: false,
            rejected: false,
            active: true,
            data: json!({}),
            questions: Some(Vec::new()),
            user: User {
                o_id: "us_000000000000000000001".to_owned(),
                first_name: "Mira".to_owned(),
                last_name: "Okafor".to_owned(),
            },
            workspace: "ws_000000000000000000001".to_owned(),
            created_ms: 0,
            updated_ms: 0,
            deleted_ms: None,
            archived_ms: None,
        }
    }

    /// Gives it another name.
    pub fn rename(&mut self, name: &str) -> Edited {
        name.clone_into(&mut self.name);
        Ok(())
    }

    /// Gives it another description.
    pub fn describe(&mut self, description: &str) -> Edited {
        description.clone_into(&mut self.description);
        Ok(())
    }

    /// Puts it into use or out of it.
    pub fn set_active(&mut self, active: bool) -> Edited {
        self.active = active;
        Ok(())
    }

    /// Sets one top-level key of `data`.
    pub fn set_data(&mut self, key: &str, value: Value) -> Edited {
        let data = self.data.as_object_mut().ok_or_else(|| Missing("object in `data`".to_owned()))?;
        data.insert(key.to_owned(), value);
        Ok(())
    }

    /// Adds a question at the end.
    pub fn add_question(&mut self, question: Question) -> Edited {
        self.questions.get_or_insert_default().push(question);
        Ok(())
    }

    /// Takes a question away.
    pub fn remove_question(&mut self, question: &str) -> Edited {
        let questions = self.questions.get_or_insert_default();
        let at = questions.iter().position(|q| q.question == question);
        questions.remove(at.ok_or_else(|| Missing(format!("question `{question}`")))?);
        Ok(())
    }

    /// Lets the answer to a question count for more or less.
    pub fn reweight(&mut self, question: &str, weight: Weight) -> Edited {
        let found = self.questions.iter_mut().flatten().find(|q| q.question == question);
        found.ok_or_else(|| Missing(format!("question `{question}`")))?.weight = weight;
        Ok(())
    }
}

impl Account<Segment> {
    pub(super) fn octave() -> Self {
        Self::new(Person::named("Mira Okafor"))
    }

    /// Marks a segment as deleted; it stays readable.
    pub fn soft_delete(&self, o_id: &str) -> Edited {
        self.change(o_id, None, |segment, stamp| {
            segment.deleted_ms = Some(stamp.at_ms);
            Ok(())
        })
    }

    /// Marks a segment as archived, or takes that back.
    pub fn set_archived(&self, o_id: &str, archived: bool) -> Edited {
        self.change(o_id, None, |segment, stamp| {
            segment.archived_ms = archived.then_some(stamp.at_ms);
            Ok(())
        })
    }
}

impl Model for Segment {
    fn id(&self) -> &str {
        &self.o_id
    }

    fn made(&mut self, stamp: &Stamp) {
        self.created_ms = stamp.at_ms;
        self.updated_ms = stamp.at_ms;
    }

    fn edited(&mut self, stamp: &Stamp) {
        self.updated_ms = stamp.at_ms;
    }

    fn undelete(&mut self) {
        self.deleted_ms = None;
    }

    fn is_soft_deleted(&self) -> bool {
        self.deleted_ms.is_some()
    }

    fn text(&self) -> String {
        let questions = self.questions.as_ref().map(|all| all.iter().map(Question::json).collect::<Value>());
        json!({
            "oId": self.o_id, "name": self.name, "internalName": self.internal_name,
            "description": self.description, "unrecognized": self.unrecognized, "rejected": self.rejected,
            "active": self.active, "data": self.data, "qualifyingQuestions": questions,
            "user": {
                "oId": self.user.o_id, "firstName": self.user.first_name, "lastName": self.user.last_name,
            },
            "workspace": { "oId": self.workspace },
            "createdAt": rfc3339(self.created_ms), "updatedAt": rfc3339(self.updated_ms),
            "deletedAt": self.deleted_ms.map(rfc3339), "archivedAt": self.archived_ms.map(rfc3339),
        })
        .to_string()
    }
}
