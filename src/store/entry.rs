//! A version as JSON: what a line of `segsync log --format json` and the local API tell.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::VersionEntry;
use crate::document;
use crate::model::{Change, ChangeOp};

/// A change with its values as JSON instead of as text.
#[derive(Debug, Serialize)]
pub struct ToldChange<'a> {
    op: ChangeOp,
    field: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<Value>,
}

impl<'a> ToldChange<'a> {
    /// Of a change as the file holds it.
    pub fn of(change: &'a Change) -> Self {
        // The file holds JSON texts; one that somebody damaged is shown as the text that it is.
        let value = |text: &Option<String>| {
            text.as_ref().map(|text| document::parse(text).unwrap_or_else(|_| Value::from(text.as_str())))
        };
        let (old, new) = (value(&change.old), value(&change.new));
        Self { op: change.op, field: &change.field, path: &change.path, old, new }
    }
}

impl Serialize for VersionEntry {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_struct("version", 14)?;
        object.serialize_field("observed_at", &self.observed_at)?;
        object.serialize_field("changed_after", &self.changed_after)?;
        object.serialize_field("source", &self.key.source)?;
        object.serialize_field("segment", &*self.key.id)?;
        object.serialize_field("version", &self.seq)?;
        object.serialize_field("op", &self.op)?;
        object.serialize_field("cause", &self.cause)?;
        object.serialize_field("valid_to", &self.valid_to)?;
        object.serialize_field("modified_at", &self.modified_at)?;
        object.serialize_field("modified_by", &self.modified_by)?;
        object.serialize_field("revision", &self.revision)?;
        object.serialize_field("revision_before", &self.revision_before)?;
        object.serialize_field("missed_revisions", &self.missed_revisions)?;
        object.serialize_field("changes", &self.changes.iter().map(ToldChange::of).collect::<Vec<_>>())?;
        object.end()
    }
}
