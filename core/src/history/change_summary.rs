//! The fields that a change wrote, without their values.

use std::collections::{BTreeMap, BTreeSet};

use super::past_state::PastState;
use crate::delta::Delta;
use crate::id::ChangeId;
use crate::resource::literal::Literal;
use crate::resource::{FieldRef, ResourceName};
use crate::shard::Shard;
use crate::value::Value;

/// The effect of a change on a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldOp {
    /// The change set the field, or added or removed an item of its list.
    Set,
    /// The change unset the field.
    Unset,
    /// The change set `ensure` to `absent`, which removes the resource.
    Remove,
}

impl FieldOp {
    /// The operation that gives `field` this value.
    pub(super) fn from_value(field: &str, value: Option<&Literal>) -> Self {
        match value {
            None => Self::Unset,
            Some(Literal::Scalar(Value::Str(text))) if field == "ensure" && text == "absent" => Self::Remove,
            Some(_) => Self::Set,
        }
    }
}

/// The fields of one resource on which a change had the same effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChanges {
    /// The changed resource.
    pub resource: ResourceName,
    /// The paths of the fields, in order. An item of a list counts as its list.
    pub fields: Vec<String>,
    /// The effect of the change on the fields.
    pub op: FieldOp,
}

/// The fields that the change `id` wrote, in order of resource and operation.
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
        // The list may have other items than the removed one, so it must be read.
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

/// The puts of a change to the keys of one field.
#[derive(Default)]
struct WrittenField<'a> {
    /// A put value that is not null, if there is one.
    value: Option<&'a Value>,
    /// True if the change removed an item of a list.
    removes_item: bool,
}
