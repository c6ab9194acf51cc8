//! A *spot*: one field of one resource, with all keys of the document that it is made of.

use crate::delta::OpRef;
use crate::resource::item::{self, Item};
use crate::resource::view::{FieldView, ItemView};
use crate::resource::{ResourceName, literal::Literal};
use crate::shard::state::{State, Visible};

/// What the one value that a machine keeps of a resource in its observed shard is called, having no name of its own.
const OBSERVED: &str = "state";

/// One field of one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) resource: ResourceName,
    /// The field's path; empty of an observed value.
    path: String,
}

impl Spot {
    /// The field that a key belongs to; `None` of a key that only a newer version understands.
    pub(super) fn of_key(key: &str) -> Option<Self> {
        match ResourceName::of_key(key) {
            Some((resource, field)) => Some(Self { resource, path: item::split(field).0.to_owned() }),
            None => Some(Self { resource: key.parse().ok()?, path: String::new() }),
        }
    }

    /// The field's name, as people see it.
    pub(super) fn field(&self) -> String {
        if self.path.is_empty() { OBSERVED.to_owned() } else { self.path.clone() }
    }

    /// True if this is that field, or one below it.
    pub(super) fn is_within(&self, path: &str) -> bool {
        self.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// What all keys of the field begin with; keys of other fields may too.
    pub(super) fn prefix(&self) -> String {
        if self.path.is_empty() { self.resource.to_string() } else { self.resource.key(&self.path) }
    }

    /// The keys of this field among those of a state.
    pub(super) fn keys<'a>(&self, state: &'a State) -> impl Iterator<Item = (&'a str, &'a [Visible])> {
        let prefix = self.prefix();
        state.range_with_prefix(&prefix).filter(move |(key, _)| item::split(key).0 == prefix)
    }
}

/// The field that these are all keys of.
fn view<'a>(keys: impl Iterator<Item = (&'a str, &'a [Visible])>) -> FieldView<'a> {
    let mut view = FieldView::default();
    for (key, visible) in keys {
        if item::split(key).1 {
            let item = visible.last().and_then(|winner| Item::decode(&winner.value));
            view.items.push(ItemView { key, visible, item });
        } else {
            view.scalar = visible;
        }
    }
    view
}

/// The value of the field that these are all keys of, and the put that last decided it: of one value, that which wrote
/// it; of a list, the newest that put an item in or took one out; of an unset field, the newest of all.
pub(super) fn read<'a>(
    keys: impl Iterator<Item = (&'a str, &'a [Visible])>,
) -> (Option<Literal>, Option<OpRef>) {
    let view = view(keys);
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
