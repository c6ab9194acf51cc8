//! Conflicts: concurrent changes that want different things. A conflict is a value, not an error. All sides
//! stay in the document until a later change resolves it.

use super::field_ref::FieldRef;
use super::list_item;
use super::literal::Literal;
use super::name::ResourceName;
use super::view::{FieldView, ResourceView, is_partly_unset, resources};
use crate::delta::OpRef;
use crate::id::{ChangeId, Digest, hash16};
use crate::shard::Shard;
use crate::shard::graph::{GraphEntry, VersionVector};
use crate::shard::state::{VisibleState, VisibleValue};
use crate::value::Value;

/// The kind of a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConflictKind {
    /// Concurrent changes gave one field different values.
    Value,
    /// One side removed the resource, and another edited it.
    EditRemove,
    /// The value was written by a removed member only. It stays in the document because changes of members
    /// build on it.
    RemovedAuthor,
    /// Two resources have the same path on one node, see [`super::path_conflict`].
    Claim,
}

/// One side of a conflict: all visible puts of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictSide {
    /// The side's name: `A`, `B`, and so on, in order of change ids.
    pub tag: String,
    /// The side's value, or `None` if it unset the field.
    pub value: Option<Literal>,
    /// The change that wrote the value; of several, the one with the smallest id. It is the root of the shard
    /// for the side of a field that was never written.
    pub change: ChangeId,
    /// True for the side that `get` prints.
    pub is_winner: bool,
}

/// Two or more values for one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The hash of the conflict's values. It changes when one of them does.
    pub id: Digest,
    /// The kind of the conflict.
    pub kind: ConflictKind,
    /// The resource in conflict.
    pub resource: ResourceName,
    /// The path of the field; `ensure` for an edit/remove conflict.
    pub field: String,
    /// The last common value of all sides, if there was exactly one.
    pub base: Option<Literal>,
    /// The sides, in order of tag.
    pub sides: Vec<ConflictSide>,
}

/// All conflicts within single resources of a `desired` shard, in order of resource and field.
pub fn conflicts(shard: &Shard) -> Vec<Conflict> {
    resources(shard.state()).iter().flat_map(|view| conflicts_of(shard, view)).collect()
}

/// The conflicts within one resource.
pub fn conflicts_of(shard: &Shard, view: &ResourceView<'_>) -> Vec<Conflict> {
    let mut found: Vec<_> = view
        .fields
        .iter()
        .filter_map(|(path, field)| find_value_conflict(shard, view, path, field))
        .collect();
    if !found.iter().any(|conflict| conflict.field == "ensure") {
        found.extend(find_edit_remove_conflict(shard, view));
    }
    found.sort_by(|a, b| a.field.cmp(&b.field));
    found
}

fn find_value_conflict(
    shard: &Shard,
    view: &ResourceView<'_>,
    path: &str,
    field: &FieldView<'_>,
) -> Option<Conflict> {
    if !field.is_conflicted() {
        return None;
    }
    let mut written_values: Vec<(&GraphEntry, Option<Literal>)> = conflicting_values(shard, field);
    if field.has_removed_author
        && field.items.iter().any(|view| shard.state().has_dependency_only_value(&view.visible))
    {
        // The sides are the list with the item and the list without it.
        written_values.extend(first_unsupported_writer(shard, field).map(|entry| (entry, field.value())));
    }
    let winning_value = field.value();
    let mut sides: Vec<ConflictSide> = Vec::new();
    for (entry, value) in written_values {
        match sides.iter_mut().find(|side| side.value == value) {
            Some(side) => side.change = side.change.min(entry.id),
            None => {
                let is_winner = value == winning_value;
                sides.push(ConflictSide { tag: String::new(), value, change: entry.id, is_winner });
            }
        }
    }
    if field.has_removed_author {
        let (value, change) = value_without_removed_authors(shard, &view.name, path);
        if sides.iter().all(|side| side.value != value) {
            sides.push(ConflictSide { tag: String::new(), value: value.clone(), change, is_winner: false });
        }
        return Some(build_conflict(view, path, ConflictKind::RemovedAuthor, value, sides, field.ops()));
    }
    let base = common_base(shard, &view.name, path, sides.iter().map(|side| side.change));
    Some(build_conflict(view, path, ConflictKind::Value, base, sides, field.ops()))
}

/// The change with the smallest id that keeps a value of a removed author in the document.
fn first_unsupported_writer<'a>(shard: &'a Shard, field: &FieldView<'_>) -> Option<&'a GraphEntry> {
    let unsupported = field.ops().filter(|op| shard.state().is_dependency_only(op));
    unsupported
        .filter_map(|op| shard.graph().entry_of_op(shard.state().origin_of(&op)))
        .min_by_key(|entry| entry.id)
}

/// The value of the field without the values of removed authors, and the newest change behind it. Each key
/// keeps its values by members, or else takes those that the removed author replaced.
fn value_without_removed_authors(
    shard: &Shard,
    resource: &ResourceName,
    path: &str,
) -> (Option<Literal>, ChangeId) {
    let mut state = VisibleState::default();
    for (key, visible) in FieldRef::new(resource, path).keys(shard.state()) {
        state.restore_key(key.to_owned(), visible_without_removed_authors(shard, key, visible.to_vec()));
    }
    let view = ResourceView::read(&state, resource);
    let field = view.as_ref().and_then(|view| view.fields.get(path));
    let newest = field.and_then(|field| field.ops().max()).and_then(|op| shard.graph().entry_of_op(&op));
    (field.and_then(FieldView::value), newest.map_or(shard.root().id(), |entry| entry.id))
}

fn visible_without_removed_authors(
    shard: &Shard,
    key: &str,
    mut visible: Vec<VisibleValue>,
) -> Vec<VisibleValue> {
    let (graph, state) = (shard.graph(), shard.state());
    loop {
        let (unsupported, rest): (Vec<VisibleValue>, Vec<VisibleValue>) =
            visible.into_iter().partition(|visible_value| state.is_dependency_only(&visible_value.op));
        if unsupported.is_empty() || !rest.is_empty() {
            return rest;
        }
        let writers: Vec<ChangeId> = unsupported
            .iter()
            .filter_map(|visible_value| graph.entry_of_op(state.origin_of(&visible_value.op)))
            .map(|entry| entry.id)
            .collect();
        let below = graph.heads_of_version(&graph.version_below(&writers));
        visible = shard.visible_at(key, &below).unwrap_or_default();
    }
}

/// The values that are in conflict, with their changes. For a single value they are its visible values. For a
/// list, they are the list with and the list without each item in conflict. If one side wrote a list and
/// another a single value, they are both.
fn conflicting_values<'a>(shard: &'a Shard, field: &FieldView<'_>) -> Vec<(&'a GraphEntry, Option<Literal>)> {
    let writer = |visible: &VisibleValue| shard.graph().entry_of_op(shard.state().origin_of(&visible.op));
    let scalar =
        |visible: &VisibleValue| (!visible.value.is_null()).then(|| Literal::Scalar(visible.value.clone()));
    if field.items.is_empty() {
        return field.scalar.iter().filter_map(|visible| Some((writer(visible)?, scalar(visible)))).collect();
    }
    let whole = field.list();
    let list = |values: Vec<Value>| (!values.is_empty()).then_some(Literal::List(values));
    let mut sides = Vec::new();
    for visible in field.scalar.iter().filter(|visible| !visible.value.is_null()) {
        sides.extend(writer(visible).map(|entry| (entry, scalar(visible))));
        let newest =
            field.items.iter().filter_map(|view| view.visible.last()).max_by_key(|visible| visible.op);
        sides.extend(newest.and_then(writer).map(|entry| (entry, list(whole.clone()))));
    }
    for view in &field.items {
        let newest_item =
            view.visible.iter().filter_map(|visible| list_item::ListItem::decode(&visible.value)).next_back();
        let Some(newest_item) = newest_item.filter(|_| is_partly_unset(&view.visible)) else { continue };
        let (mut list_with_item, mut list_without_item) = (whole.clone(), whole.clone());
        match view.item {
            Some(_) => drop(
                whole
                    .iter()
                    .rposition(|value| *value == newest_item.value)
                    .map(|index| list_without_item.remove(index)),
            ),
            None => list_with_item.push(newest_item.value),
        }
        for visible in view.visible.iter() {
            let value =
                if visible.value.is_null() { list_without_item.clone() } else { list_with_item.clone() };
            sides.extend(writer(visible).map(|entry| (entry, list(value))));
        }
    }
    sides
}

/// The conflict of a visible removal and concurrent edits, if there is one.
fn find_edit_remove_conflict(shard: &Shard, view: &ResourceView<'_>) -> Option<Conflict> {
    if !view.is_removed() {
        return None;
    }
    let graph = shard.graph();
    let ensure = view.fields.get("ensure")?;
    let removals: Vec<&GraphEntry> = ensure.ops().filter_map(|op| graph.entry_of_op(&op)).collect();
    let known_to_removals: VersionVector = graph.version_of(removals.iter().map(|entry| &entry.id));
    let mut edits: Vec<&GraphEntry> = Vec::new();
    for (path, field) in &view.fields {
        let visible_values =
            field.scalar.iter().chain(field.items.iter().flat_map(|item| item.visible.iter()));
        for visible in visible_values.filter(|visible| *path != "ensure" && !visible.value.is_null()) {
            let Some(entry) = graph.entry_of_op(&visible.op) else { continue };
            let is_concurrent = !graph.version_contains(&known_to_removals, entry)
                && removals.iter().all(|removal| !graph.is_ancestor(removal, entry));
            if is_concurrent && !edits.iter().any(|edit| edit.id == entry.id) {
                edits.push(entry);
            }
        }
    }
    let edit = edits.iter().map(|entry| entry.id).min()?;
    let removal = removals.iter().map(|entry| entry.id).min()?;
    let side = |value: &str, change, is_winner| ConflictSide {
        tag: String::new(),
        value: Some(Literal::Scalar(Value::from(value))),
        change,
        is_winner,
    };
    let sides = vec![side("absent", removal, true), side("present", edit, false)];
    let ops: Vec<OpRef> = view.ops();
    Some(build_conflict(view, "ensure", ConflictKind::EditRemove, None, sides, ops.into_iter()))
}

fn build_conflict(
    view: &ResourceView<'_>,
    path: &str,
    kind: ConflictKind,
    base: Option<Literal>,
    mut sides: Vec<ConflictSide>,
    ops: impl Iterator<Item = OpRef>,
) -> Conflict {
    sides.sort_by_key(|side| side.change);
    for (nth, side) in sides.iter_mut().enumerate() {
        side.tag = side_tag(nth);
    }
    let mut ops: Vec<OpRef> = ops.collect();
    ops.sort_unstable();
    let mut bytes = view.name.field_key(path).into_bytes();
    for op in ops {
        bytes.extend(op.counter.to_be_bytes());
        bytes.extend(op.chain_id.0);
    }
    let id = Digest(hash16("larder 1 conflict", &[&bytes]));
    Conflict { id, kind, resource: view.name.clone(), field: path.to_owned(), base, sides }
}

/// The name of the nth side of a conflict: `A` to `Z`, then `A1`, `B1` and so on.
pub fn side_tag(nth: usize) -> String {
    let letter = u8::try_from(nth % 26).map_or('?', |nth| char::from(b'A' + nth));
    match nth / 26 {
        0 => letter.to_string(),
        round => format!("{letter}{round}"),
    }
}

/// The value of the field at the last point that all sides know, if it was exactly one.
fn common_base(
    shard: &Shard,
    resource: &ResourceName,
    path: &str,
    changes: impl Iterator<Item = ChangeId>,
) -> Option<Literal> {
    let graph = shard.graph();
    let common_clock = changes.map(|id| graph.version_of([&id])).reduce(|a, b| a.intersect(&b))?;
    let heads = graph.heads_of_version(&common_clock);
    let mut state = VisibleState::default();
    for (key, _) in FieldRef::new(resource, path).keys(shard.state()) {
        state.restore_key(key.to_owned(), shard.visible_at(key, &heads).ok()?);
    }
    let view = ResourceView::read(&state, resource)?;
    let field = view.fields.get(path)?;
    if field.is_conflicted() { None } else { field.value() }
}
