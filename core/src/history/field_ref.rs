//! A *spot*: one field of one resource, with all keys of the document that it is made of.

use crate::delta::OpRef;
use crate::resource::list_item::{self, ListItem};
use crate::resource::view::{FieldView, ItemView};
use crate::resource::{ResourceName, literal::Literal};
use crate::shard::state::{VisibleState, VisibleValue};

/// What the one value that a machine keeps of a resource in its observed shard is called, having no name of its own.
const OBSERVED_FIELD: &str = "state";

/// One field of one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FieldRef {
    pub(super) resource: ResourceName,
    /// The field's path; empty of an observed value.
    path: String,
}

impl FieldRef {
    /// The field that a key belongs to; `None` of a key that only a newer version understands.
    pub(super) fn from_key(key: &str) -> Option<Self> {
        match ResourceName::split_key(key) {
            Some((resource, field)) => {
                Some(Self { resource, path: list_item::split_item_field(field).0.to_owned() })
            }
            None => Some(Self { resource: key.parse().ok()?, path: String::new() }),
        }
    }

    /// The field's name, as people see it.
    pub(super) fn display_path(&self) -> String {
        if self.path.is_empty() { OBSERVED_FIELD.to_owned() } else { self.path.clone() }
    }

    /// True if this is that field, or one below it.
    pub(super) fn is_within(&self, path: &str) -> bool {
        self.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// What all keys of the field begin with; keys of other fields may too.
    pub(super) fn key_prefix(&self) -> String {
        if self.path.is_empty() { self.resource.to_string() } else { self.resource.field_key(&self.path) }
    }

    /// The keys of this field among those of a state.
    pub(super) fn keys<'a>(
        &self,
        state: &'a VisibleState,
    ) -> impl Iterator<Item = (&'a str, &'a [VisibleValue])> {
        let prefix = self.key_prefix();
        state.range_with_prefix(&prefix).filter(move |(key, _)| list_item::split_item_field(key).0 == prefix)
    }
}

/// The field that these are all keys of.
fn field_view<'a>(keys: impl Iterator<Item = (&'a str, &'a [VisibleValue])>) -> FieldView<'a> {
    let mut view = FieldView::default();
    for (key, visible) in keys {
        if list_item::split_item_field(key).1 {
            let item = visible.last().and_then(|winner| ListItem::decode(&winner.value));
            view.items.push(ItemView { key, visible, item });
        } else {
            view.scalar = visible;
        }
    }
    view
}

/// The value of the field that these are all keys of, and the put that last decided it: of one value, that which wrote
/// it; of a list, the newest that put an item in or took one out; of an unset field, the newest of all.
pub(super) fn read_field<'a>(
    keys: impl Iterator<Item = (&'a str, &'a [VisibleValue])>,
) -> (Option<Literal>, Option<OpRef>) {
    let view = field_view(keys);
    let value = view.value();
    let scalar = view.scalar.last().map(|visible| visible.op);
    let items = view.items.iter().filter_map(|item| item.visible.last()).map(|visible| visible.op).max();
    let op = match value {
        Some(Literal::Scalar(_)) => scalar,
        Some(Literal::List(_)) => items,
        None => scalar.max(items),
    };
    (value, op)
}
