//! The value of a field, read from its keys.

use crate::delta::OpRef;
use crate::resource::list_item::{self, ListItem};
use crate::resource::literal::Literal;
use crate::resource::view::{FieldView, ItemView};
use crate::shard::state::VisibleValue;

/// The view of the field to which all of `keys` belong.
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

/// The value of the field to which all of `keys` belong, and the put that last decided it.
///
/// For a single value that is the put that wrote it; for a list, the newest put that added or removed an
/// item; for an unset field, the newest put of all.
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
