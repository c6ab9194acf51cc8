//! What a change touched, without the values.

use std::collections::{BTreeMap, BTreeSet};

use super::past::Past;
use super::spot::Spot;
use crate::delta::Delta;
use crate::id::ChangeId;
use crate::resource::ResourceName;
use crate::resource::literal::Literal;
use crate::shard::Shard;
use crate::value::Value;

/// What was done to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// It was given a value, or an item more or less.
    Set,
    /// It has no value any more.
    Unset,
    /// It is `ensure`, and says now that the resource is to be absent.
    Remove,
}

impl Op {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Unset => "unset",
            Self::Remove => "remove",
        }
    }

    /// What it is to give `field` this value.
    pub(super) fn of(field: &str, value: Option<&Literal>) -> Self {
        match value {
            None => Self::Unset,
            Some(Literal::Scalar(Value::Str(text))) if field == "ensure" && text == "absent" => Self::Remove,
            Some(_) => Self::Set,
        }
    }
}

/// Fields of one resource to which a change did the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The resource.
    pub resource: ResourceName,
    /// The paths of the fields, in order. Items of a list stand for their list.
    pub fields: Vec<String>,
    /// What was done to them.
    pub op: Op,
}

/// What the change `id` touched, in order of resource and op.
pub(super) fn touches(shard: &Shard, id: &ChangeId, delta: &Delta) -> Vec<Touch> {
    let mut written: BTreeMap<Spot, Written<'_>> = BTreeMap::new();
    for put in &delta.puts {
        let Some(spot) = Spot::of_key(&put.key) else { continue };
        let is_item = put.key != spot.prefix();
        let written = written.entry(spot).or_default();
        written.takes_out |= is_item && put.value.is_null();
        if !put.value.is_null() {
            written.value = Some(&put.value);
        }
    }
    let mut touched: BTreeMap<(ResourceName, Op), BTreeSet<String>> = BTreeMap::new();
    for (spot, written) in written {
        let value = written.value.map(|value| Literal::Scalar(value.clone()));
        // An item that went may have been the last of its list or not, and only the list can tell.
        let value = match value {
            None if written.takes_out => Past::at(shard, &[*id]).read(&spot).0,
            value => value,
        };
        let (field, op) = (spot.field(), Op::of(&spot.field(), value.as_ref()));
        touched.entry((spot.resource, op)).or_default().insert(field);
    }
    let touch = |((resource, op), fields): ((ResourceName, Op), BTreeSet<String>)| Touch {
        resource,
        fields: fields.into_iter().collect(),
        op,
    };
    touched.into_iter().map(touch).collect()
}

/// What a change wrote to the keys of one field.
#[derive(Default)]
struct Written<'a> {
    /// A value that is not null, if there is one.
    value: Option<&'a Value>,
    /// True if it took an item out of a list.
    takes_out: bool,
}
