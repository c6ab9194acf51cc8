//! The value of a field with the put that decided it.

use crate::delta::OpRef;
use crate::resource::FieldRef;
use crate::resource::literal::Literal;
use crate::resource::view::FieldView;
use crate::shard::state::VisibleState;

/// The value of a field, and the put that last decided it.
///
/// For a single value that is the put that wrote it; for a list, the newest put that added or removed an
/// item; for an unset field, the newest put of all.
pub(super) fn read_field(state: &VisibleState, field_ref: &FieldRef) -> (Option<Literal>, Option<OpRef>) {
    let view = FieldView::read(state, field_ref);
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
