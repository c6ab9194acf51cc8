//! What a change touched, without the values.

use std::collections::{BTreeMap, BTreeSet};

use super::past_state::PastState;
use crate::delta::Delta;
use crate::id::ChangeId;
use crate::resource::literal::Literal;
use crate::resource::{FieldRef, ResourceName};
use crate::shard::Shard;
use crate::value::Value;

/// What was done to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldOp {
    /// It was given a value, or an item more or less.
    Set,
    /// It has no value any more.
    Unset,
    /// It is `ensure`, and says now that the resource is to be absent.
    Remove,
}

impl FieldOp {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Unset => "unset",
            Self::Remove => "remove",
        }
    }

    /// What it is to give `field` this value.
    pub(super) fn from_value(field: &str, value: Option<&Literal>) -> Self {
        match value {
            None => Self::Unset,
            Some(Literal::Scalar(Value::Str(text))) if field == "ensure" && text == "absent" => Self::Remove,
            Some(_) => Self::Set,
        }
    }
}

/// Fields of one resource to which a change did the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChanges {
    /// The resource.
    pub resource: ResourceName,
    /// The paths of the fields, in order. Items of a list stand for their list.
    pub fields: Vec<String>,
    /// What was done to them.
    pub op: FieldOp,
}

/// What the change `id` touched, in order of resource and op.
pub(super) fn summarize_change(shard: &Shard, id: &ChangeId, delta: &Delta) -> Vec<FieldChanges> {
    let mut written_fields: BTreeMap<FieldRef, WrittenField<'_>> = BTreeMap::new();
    for put in &delta.puts {
        let Some(field_ref) = FieldRef::from_key(&put.key) else { continue };
        let is_item = put.key != field_ref.key_prefix();
        let written_field = written_fields.entry(field_ref).or_default();
        written_field.removes_item |= is_item && put.value.is_null();
        if !put.value.is_null() {
            written_field.value = Some(&put.value);
        }
    }
    let mut fields_by_op: BTreeMap<(ResourceName, FieldOp), BTreeSet<String>> = BTreeMap::new();
    for (field_ref, written_field) in written_fields {
        let value = written_field.value.map(|value| Literal::Scalar(value.clone()));
        // An item that went may have been the last of its list or not, and only the list can tell.
        let value = match value {
            None if written_field.removes_item => PastState::at(shard, &[*id]).read_field(&field_ref).0,
            value => value,
        };
        let field = field_ref.display_path().to_owned();
        let op = FieldOp::from_value(&field, value.as_ref());
        fields_by_op.entry((field_ref.resource, op)).or_default().insert(field);
    }
    let to_field_changes = |((resource, op), fields): ((ResourceName, FieldOp), BTreeSet<String>)| {
        FieldChanges { resource, fields: fields.into_iter().collect(), op }
    };
    fields_by_op.into_iter().map(to_field_changes).collect()
}

/// What a change wrote to the keys of one field.
#[derive(Default)]
struct WrittenField<'a> {
    /// A value that is not null, if there is one.
    value: Option<&'a Value>,
    /// True if it took an item out of a list.
    removes_item: bool,
}
