//! Conflicts: where people who did not know of each other wanted different things. They are values, not errors; both
//! sides stay until somebody settles them.

use super::item;
use super::literal::{self, Literal};
use super::name::ResourceName;
use super::view::{FieldView, ResourceView, is_half_out, resources};
use crate::delta::OpRef;
use crate::id::{ChangeId, Digest, hash16};
use crate::shard::Shard;
use crate::shard::graph::{Clock, Entry};
use crate::shard::state::{State, Visible};
use crate::value::Value;

/// What sort of conflict it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConflictKind {
    /// Different values for one field.
    Value,
    /// One side removed the resource, another edited it.
    EditRemove,
    /// A value stands only by the word of somebody who was removed: what members built on it keeps it in the document.
    RemovedAuthor,
    /// Two resources want one path on one machine, see [`super::claim`].
    Claim,
    /// People who did not know of each other touched one resource, and nothing clashes; see [`super::review`].
    Review,
}

impl ConflictKind {
    /// What a person calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::EditRemove => "edit/remove",
            Self::RemovedAuthor => "removed-author",
            Self::Claim => "claim",
            Self::Review => "review",
        }
    }
}

/// One side of a conflict: all visible puts of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// `A`, `B`, ... in order of change ids.
    pub tag: String,
    /// The value; `None` where that side unset the field.
    pub value: Option<Literal>,
    /// The change that wrote it (of several with the same value, the one with the smallest id). Where nobody ever wrote
    /// the field before, the beginning of the shard.
    pub change: ChangeId,
    /// True of the side that `get` prints.
    pub winner: bool,
}

/// Two or more values for one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Stands for exactly these values: it changes when one of them does.
    pub id: Digest,
    /// What sort.
    pub kind: ConflictKind,
    /// The resource.
    pub resource: ResourceName,
    /// The field; `ensure` of an edit/remove conflict.
    pub field: String,
    /// What all sides started from, if that was one value.
    pub base: Option<Literal>,
    /// The sides, in order of tag.
    pub sides: Vec<Side>,
}

/// All conflicts of a `desired` shard, in order of resource and field.
pub fn conflicts(shard: &Shard) -> Vec<Conflict> {
    resources(shard.state()).iter().flat_map(|view| conflicts_of(shard, view)).collect()
}

/// The conflicts of one resource.
pub fn conflicts_of(shard: &Shard, view: &ResourceView<'_>) -> Vec<Conflict> {
    let mut out: Vec<_> =
        view.fields.iter().filter_map(|(path, field)| value_conflict(shard, view, path, field)).collect();
    if !out.iter().any(|conflict| conflict.field == "ensure") {
        out.extend(edit_remove(shard, view));
    }
    out.sort_by(|a, b| a.field.cmp(&b.field));
    out
}

fn value_conflict(
    shard: &Shard,
    view: &ResourceView<'_>,
    path: &str,
    field: &FieldView<'_>,
) -> Option<Conflict> {
    if !field.is_conflicted() {
        return None;
    }
    let mut writers: Vec<(&Entry, Option<Literal>)> = split_sides(shard, field);
    if field.is_held && field.items.iter().any(|view| shard.state().holds_any(view.visible)) {
        // A list in which an item is held: all of it, against what it was without.
        writers.extend(held_writer(shard, field).map(|entry| (entry, field.value())));
    }
    let winner = field.value();
    let mut sides: Vec<Side> = Vec::new();
    for (entry, value) in writers {
        match sides.iter_mut().find(|side| side.value == value) {
            Some(side) => side.change = side.change.min(entry.id),
            None => {
                let winner = value == winner;
                sides.push(Side { tag: String::new(), value, change: entry.id, winner });
            }
        }
    }
    if field.is_held {
        let (value, change) = vouched(shard, &view.name, path);
        if sides.iter().all(|side| side.value != value) {
            sides.push(Side { tag: String::new(), value: value.clone(), change, winner: false });
        }
        return Some(finish(view, path, ConflictKind::RemovedAuthor, value, sides, field.ops()));
    }
    let base = base_of(shard, &view.name, path, sides.iter().map(|side| side.change));
    Some(finish(view, path, ConflictKind::Value, base, sides, field.ops()))
}

/// The first of the changes by which a value is held.
fn held_writer<'a>(shard: &'a Shard, field: &FieldView<'_>) -> Option<&'a Entry> {
    let held = field.ops().filter(|op| shard.state().is_held(op));
    held.filter_map(|op| shard.graph().writer(&op)).min_by_key(|entry| entry.id)
}

/// What a field says without what only removed members said: each key as those have it who count, else as it was below.
fn vouched(shard: &Shard, resource: &ResourceName, path: &str) -> (Option<Literal>, ChangeId) {
    let mut state = State::default();
    for (key, visible) in keys_of(shard, resource, path) {
        state.restore(key.to_owned(), vouched_for(shard, key, visible.to_vec()));
    }
    let view = ResourceView::read(&state, resource);
    let field = view.as_ref().and_then(|view| view.fields.get(path));
    let newest = field.and_then(|field| field.ops().max()).and_then(|op| shard.graph().writer(&op));
    (field.and_then(FieldView::value), newest.map_or(shard.root().id(), |entry| entry.id))
}

fn vouched_for(shard: &Shard, key: &str, mut visible: Vec<Visible>) -> Vec<Visible> {
    let (graph, state) = (shard.graph(), shard.state());
    loop {
        let (held, rest): (Vec<Visible>, Vec<Visible>) =
            visible.into_iter().partition(|one| state.is_held(&one.op));
        if held.is_empty() || !rest.is_empty() {
            return rest;
        }
        let writers: Vec<ChangeId> =
            held.iter().filter_map(|one| graph.writer(&one.op)).map(|entry| entry.id).collect();
        let below = graph.heads_of(&graph.clock_below(&writers));
        visible = shard.visible_at(key, &below).unwrap_or_default();
    }
}

/// The keys that a field is made of, with their visible values.
fn keys_of<'a>(
    shard: &'a Shard,
    resource: &ResourceName,
    path: &str,
) -> impl Iterator<Item = (&'a str, &'a [Visible])> + use<'a> {
    let prefix = resource.key(path);
    let all = shard.state().range_with_prefix(&prefix);
    all.filter(move |(key, _)| item::split(key).0 == prefix)
}

/// Whose values stand against each other. Of a plain field, its visible values. Of a list, the list with and the list
/// without each contested item; and where one side wrote a list and another a single value, the one and the other.
fn split_sides<'a>(shard: &'a Shard, field: &FieldView<'_>) -> Vec<(&'a Entry, Option<Literal>)> {
    let writer = |visible: &Visible| shard.graph().writer(&visible.op);
    let scalar =
        |visible: &Visible| (!visible.value.is_null()).then(|| Literal::Scalar(visible.value.clone()));
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
        let said = view.visible.iter().filter_map(|visible| item::Item::decode(&visible.value)).next_back();
        let Some(said) = said.filter(|_| is_half_out(view.visible)) else { continue };
        let (mut with, mut without) = (whole.clone(), whole.clone());
        match view.item {
            Some(_) => {
                drop(whole.iter().rposition(|value| *value == said.value).map(|at| without.remove(at)))
            }
            None => with.push(said.value),
        }
        for visible in view.visible {
            let value = if visible.value.is_null() { without.clone() } else { with.clone() };
            sides.extend(writer(visible).map(|entry| (entry, list(value))));
        }
    }
    sides
}

/// A visible `absent` and a visible field whose changes are concurrent.
fn edit_remove(shard: &Shard, view: &ResourceView<'_>) -> Option<Conflict> {
    if !view.is_removed() {
        return None;
    }
    let graph = shard.graph();
    let ensure = view.fields.get("ensure")?;
    let removals: Vec<&Entry> = ensure.ops().filter_map(|op| graph.writer(&op)).collect();
    let known: Clock = graph.clock(removals.iter().map(|entry| &entry.id));
    let mut edits: Vec<&Entry> = Vec::new();
    for (path, field) in &view.fields {
        let set = field.scalar.iter().chain(field.items.iter().flat_map(|item| item.visible));
        for visible in set.filter(|visible| *path != "ensure" && !visible.value.is_null()) {
            let Some(entry) = graph.writer(&visible.op) else { continue };
            let concurrent = !graph.covers(&known, entry)
                && removals.iter().all(|removal| !graph.is_ancestor(removal, entry));
            if concurrent && !edits.iter().any(|edit| edit.id == entry.id) {
                edits.push(entry);
            }
        }
    }
    let edit = edits.iter().map(|entry| entry.id).min()?;
    let removal = removals.iter().map(|entry| entry.id).min()?;
    let side = |value: &str, change, winner| Side {
        tag: String::new(),
        value: Some(Literal::Scalar(Value::from(value))),
        change,
        winner,
    };
    let sides = vec![side("absent", removal, true), side("present", edit, false)];
    let ops: Vec<OpRef> = view.ops();
    Some(finish(view, "ensure", ConflictKind::EditRemove, None, sides, ops.into_iter()))
}

fn finish(
    view: &ResourceView<'_>,
    path: &str,
    kind: ConflictKind,
    base: Option<Literal>,
    mut sides: Vec<Side>,
    ops: impl Iterator<Item = OpRef>,
) -> Conflict {
    sides.sort_by_key(|side| side.change);
    for (nth, side) in sides.iter_mut().enumerate() {
        side.tag = tag(nth);
    }
    let mut ops: Vec<OpRef> = ops.collect();
    ops.sort_unstable();
    let mut bytes = view.name.key(path).into_bytes();
    for op in ops {
        bytes.extend(op.counter.to_be_bytes());
        bytes.extend(op.actor.0);
    }
    let id = Digest(hash16("larder 1 conflict", &[&bytes]));
    Conflict { id, kind, resource: view.name.clone(), field: path.to_owned(), base, sides }
}

/// `A` to `Z`, then `A1`, `B1`, ...
pub(super) fn tag(nth: usize) -> String {
    let letter = u8::try_from(nth % 26).map_or('?', |nth| char::from(b'A' + nth));
    match nth / 26 {
        0 => letter.to_string(),
        round => format!("{letter}{round}"),
    }
}

/// The value that stood when the sides last agreed, if it was one.
fn base_of(
    shard: &Shard,
    resource: &ResourceName,
    path: &str,
    changes: impl Iterator<Item = ChangeId>,
) -> Option<Literal> {
    let graph = shard.graph();
    let common = changes.map(|id| graph.clock([&id])).reduce(|a, b| a.meet(&b))?;
    let heads = graph.heads_of(&common);
    let mut state = State::default();
    for (key, _) in keys_of(shard, resource, path) {
        state.restore(key.to_owned(), shard.visible_at(key, &heads).ok()?);
    }
    let view = ResourceView::read(&state, resource)?;
    let field = view.fields.get(path)?;
    if field.is_conflicted() { None } else { field.value() }
}

/// A value as one line, for lists of sides.
pub fn describe(value: Option<&Literal>) -> String {
    match value {
        None => "(unset)".to_owned(),
        Some(Literal::Scalar(value)) => literal::write(value),
        Some(Literal::List(values)) => literal::write_list(values),
    }
}
