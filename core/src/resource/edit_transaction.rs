//! Planning of edits: from the edits that an operator requests to the keys that one change must put. Edits
//! apply to the present state, and only keys that differ are put.

use std::collections::{BTreeMap, BTreeSet};

use super::conflict::{Conflict, ConflictKind, conflicts_of};
use super::edit::{Edit, EditError, FieldEdit, Resolution};
use super::field::FieldPath;
use super::field_ref::FieldRef;
use super::history_tag;
use super::list_item::{self, ListItem, RANK_SPACING};
use super::literal::Literal;
use super::name::ResourceName;
use super::schema;
use super::spelling::{self, canonical_path};
use super::view::{FieldView, ResourceView};
use super::write_size::WriteSize;
use crate::delta::{OpRef, Put};
use crate::id::{ChainId, ChangeId, NodeId};
use crate::limits;
use crate::shard::Shard;
use crate::shard::state::{VisibleState, VisibleValue};
use crate::typed_name::{HistoryPoint, NodeName};
use crate::value::Value;

/// A list of edits in progress.
#[derive(Debug)]
pub struct EditTransaction<'a> {
    shard: &'a Shard,
    allow_unknown: bool,
    /// A copy of the touched resources, with the edits so far applied.
    scratch: VisibleState,
    copied_resources: BTreeSet<String>,
    touched_keys: BTreeSet<String>,
    forced_keys: BTreeSet<String>,
    next_counter: u64,
}

/// The puts of all `edits`, or an error if one of them is rejected. They include only keys whose value
/// changes, and the keys of a resolved conflict. With `allow_unknown`, kinds and fields that this version
/// does not know are accepted.
pub fn plan_edits(
    shard: &Shard,
    edits: &[Edit],
    allow_unknown: bool,
) -> Result<BTreeMap<String, Value>, EditError> {
    let mut transaction = EditTransaction {
        shard,
        allow_unknown,
        scratch: VisibleState::default(),
        copied_resources: BTreeSet::new(),
        touched_keys: BTreeSet::new(),
        forced_keys: BTreeSet::new(),
        next_counter: 0,
    };
    for edit in edits {
        transaction.apply_edit(edit)?;
    }
    transaction.check_size()?;
    Ok(transaction.into_puts())
}

/// The state after `puts`. It is a preview and never stored.
pub fn preview_state(state: &VisibleState, puts: &BTreeMap<String, Value>) -> VisibleState {
    let mut after = state.clone();
    let preview_chain = ChainId([0xff; 16]);
    for (counter, (key, value)) in (limits::MAX_OP_COUNTER..).zip(puts) {
        let preds = state.get(key).iter().map(|visible| visible.op).collect();
        let put = Put { key: key.clone(), value: value.clone(), preds };
        after.apply_put(OpRef { counter, chain_id: preview_chain }, &put);
    }
    after
}

impl EditTransaction<'_> {
    /// Checks the size of all touched keys, even of those that keep their value. So a manifest that is too
    /// large for a new resource is too large for an existing one.
    fn check_size(&self) -> Result<(), EditError> {
        let mut size = WriteSize::default();
        for key in &self.touched_keys {
            let value = self.scratch.get(key).last().map_or(&Value::Null, |visible| &visible.value);
            size.add_put(key.len(), value, self.shard.state().get(key).len());
        }
        size.check()
    }

    fn into_puts(self) -> BTreeMap<String, Value> {
        let mut puts = BTreeMap::new();
        for key in self.touched_keys {
            let Some(new_value) = self.scratch.get(&key).last() else { continue };
            let old_values = self.shard.state().get(&key);
            let is_same = match old_values {
                [] => new_value.value.is_null(),
                old => old.iter().all(|old| old.value == new_value.value),
            };
            if !is_same || self.forced_keys.contains(&key) {
                puts.insert(key, new_value.value.clone());
            }
        }
        puts
    }

    fn apply_edit(&mut self, edit: &Edit) -> Result<(), EditError> {
        match edit {
            Edit::Set { resource, fields, replace } => self.set_fields(resource, fields, *replace),
            Edit::SetOnNode { node, resource, fields } => {
                let fields = overlay_fields(resolved_id(node)?, fields)?;
                self.set_fields(resource, &fields, false)
            }
            Edit::Remove(resource) => self.remove_resource(resource),
            Edit::Resolve { resource, field, resolution: settle, id } => {
                self.resolve_conflict(resource, field, settle, id.as_deref())
            }
            Edit::SetAlias(node, alias) => {
                let resource = ResourceName::for_node(resolved_id(node)?);
                self.copy_to_scratch(&resource);
                match alias {
                    Some(alias) => {
                        check_label_text(alias, limits::MAX_NAME_BYTES)?;
                        self.assign_field(&resource, "alias", Some(text_literal(alias)));
                    }
                    None => self.clear_key(&resource.field_key("alias")),
                }
                Ok(())
            }
            Edit::SetLabels(node, labels) => {
                self.set_labels(&ResourceName::for_node(resolved_id(node)?), labels)
            }
            Edit::SetTag { name, point: HistoryPoint::Heads(heads), force } => {
                self.check_tag_free(name, heads, *force)?;
                self.put_tag(name, history_tag::encode_heads(heads))
            }
            Edit::SetTag { name, .. } => Err(EditError::UnresolvedName(name.clone())),
            Edit::RemoveTag(name) => match history_tag::find_tag(self.shard, name) {
                Some(_) => self.put_tag(name, Value::Null),
                None => Err(EditError::UnknownTag(name.clone())),
            },
        }
    }

    fn check_tag_free(&self, name: &str, heads: &[ChangeId], force: bool) -> Result<(), EditError> {
        let wanted: BTreeSet<&ChangeId> = heads.iter().collect();
        let other = history_tag::find_tag(self.shard, name).map(|tag| tag.heads);
        match other.filter(|other| !force && !other.iter().eq(wanted)) {
            Some(other) => {
                let short: Vec<String> = other.iter().map(ChangeId::short).collect();
                Err(EditError::TagExists(name.to_owned(), short.join(" ")))
            }
            None => Ok(()),
        }
    }

    fn put_tag(&mut self, name: &str, value: Value) -> Result<(), EditError> {
        let is_hex = history_tag::looks_like_change_id(name);
        let looks_like_date = name.starts_with(|c: char| c.is_ascii_digit()) && name.contains('-');
        let looks_like_time = looks_like_date || ["now", "today", "yesterday"].contains(&name);
        let resource = ResourceName::for_tag(name).ok().filter(|_| !is_hex && !looks_like_time);
        let resource = resource.ok_or_else(|| EditError::InvalidTag(name.to_owned()))?;
        self.copy_to_scratch(&resource);
        self.put(&resource.field_key(history_tag::HEADS_FIELD), value);
        Ok(())
    }

    fn set_labels(
        &mut self,
        resource: &ResourceName,
        labels: &[(String, Option<String>)],
    ) -> Result<(), EditError> {
        self.copy_to_scratch(resource);
        for (key, value) in labels {
            check_label_text(key, limits::MAX_LABEL_BYTES)?;
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                check_label_text(value, limits::MAX_LABEL_BYTES)?;
            }
            let path = FieldPath::new(vec!["labels".to_owned(), key.clone()]);
            let path = path.ok_or_else(|| EditError::InvalidLabelText(key.clone()))?;
            let path = canonical_path(resource.kind(), path).to_string();
            self.assign_field(resource, &path, value.as_deref().map(text_literal));
            if value.is_none() {
                self.clear_key(&resource.field_key(&path));
            }
        }
        Ok(())
    }

    /// Clears an alias or label. One that only the grant carries has no key yet, so the put is forced.
    fn clear_key(&mut self, key: &str) {
        self.put(key, Value::Null);
        if self.shard.state().get(key).is_empty() {
            self.forced_keys.insert(key.to_owned());
        }
    }

    fn set_fields(
        &mut self,
        resource: &ResourceName,
        fields: &[(FieldPath, FieldEdit)],
        replace: bool,
    ) -> Result<(), EditError> {
        self.check_managed(resource)?;
        let fields = &canonical_fields(resource, fields);
        let sets_a_value =
            fields.iter().any(|(_, edit)| matches!(edit, FieldEdit::Assign(_) | FieldEdit::Add(_)));
        let exists = self.copy_to_scratch(resource);
        let removed = self.scratch_view(resource).is_some_and(|view| view.is_removed());
        if (!exists || self.was_removed_before(resource)) && !sets_a_value && !fields.is_empty() {
            return Err(EditError::UnknownResource(resource.clone()));
        }
        let named_fields: BTreeSet<String> = fields.iter().map(|(path, _)| path.to_string()).collect();
        self.check_not_conflicted(resource, &self.written_fields(resource, fields, replace))?;
        let restores = removed && sets_a_value && !named_fields.contains("ensure");
        if restores || replace {
            self.unset_other_fields(resource, &named_fields);
        }
        if restores {
            self.assign_field(resource, "ensure", Some(text_literal("present")));
        }
        for (path, edit) in fields {
            self.edit_field(resource, path, edit)?;
        }
        if !exists && fields.is_empty() {
            self.assign_field(resource, "ensure", Some(text_literal("present")));
        }
        Ok(())
    }

    /// The existing fields that the edits write: the named ones, those below an unset one, and all of them
    /// with `replace`.
    fn written_fields(
        &self,
        resource: &ResourceName,
        fields: &[(FieldPath, FieldEdit)],
        replace: bool,
    ) -> BTreeSet<String> {
        if replace {
            return self.field_names(resource).into_iter().collect();
        }
        let written = fields.iter().flat_map(|(path, edit)| match edit {
            FieldEdit::Unset => self.fields_within(resource, &path.to_string()),
            _ => BTreeSet::from([path.to_string()]),
        });
        written.collect()
    }

    fn remove_resource(&mut self, resource: &ResourceName) -> Result<(), EditError> {
        self.check_managed(resource)?;
        if !self.copy_to_scratch(resource) || self.was_removed_before(resource) {
            return Err(EditError::UnknownResource(resource.clone()));
        }
        self.check_not_conflicted(resource, &BTreeSet::from(["ensure".to_owned()]))?;
        self.assign_field(resource, "ensure", Some(text_literal("absent")));
        Ok(())
    }

    fn resolve_conflict(
        &mut self,
        resource: &ResourceName,
        field: &str,
        resolution: &Resolution,
        id: Option<&str>,
    ) -> Result<(), EditError> {
        let canonical = spelling::parse_path(resource, field).map(|path| path.to_string());
        let field: &str = &canonical.unwrap_or_else(|_| field.to_owned());
        let no_conflict = || match id {
            None => EditError::NoConflict(FieldRef::new(resource, field)),
            Some(_) => EditError::ConflictChanged(FieldRef::new(resource, field)),
        };
        let view = ResourceView::read(self.shard.state(), resource).ok_or_else(no_conflict)?;
        let found = conflicts_of(self.shard, &view).into_iter().find(|conflict| conflict.field == field);
        let conflict = found.ok_or_else(no_conflict)?;
        let conflict_id = conflict.id.to_string();
        if id.is_some_and(|id| id.is_empty() || !conflict_id.starts_with(&id.to_ascii_lowercase())) {
            return Err(EditError::ConflictChanged(FieldRef::new(resource, field)));
        }
        self.copy_to_scratch(resource);
        let value = resolved_value(&conflict, resolution)?;
        if let Some(value) = &value {
            let path = field.parse().map_err(|_| no_conflict())?;
            // The value of a side is in the document already. Only a new value must fit the schema.
            let allow_unknown = self.allow_unknown || matches!(resolution, Resolution::UseSide(_));
            schema::check_value(resource, &path, value, allow_unknown)?;
        }
        self.assign_field(resource, field, value);
        // Writing "absent" over "absent" again removes the concurrent edit, so the put is forced.
        self.forced_keys.insert(resource.field_key(field));
        Ok(())
    }

    fn edit_field(
        &mut self,
        resource: &ResourceName,
        path: &FieldPath,
        edit: &FieldEdit,
    ) -> Result<(), EditError> {
        let name = path.to_string();
        match edit {
            FieldEdit::Assign(value) => {
                schema::check_value(resource, path, value, self.allow_unknown)?;
                self.assign_field(resource, &name, Some(value.clone()));
            }
            FieldEdit::Add(value) | FieldEdit::Remove(value) => {
                schema::check_value(resource, path, &Literal::List(vec![value.clone()]), self.allow_unknown)?;
                let field_ref = FieldRef::new(resource, &name);
                if let Some(Literal::Scalar(_)) = FieldView::read(&self.scratch, &field_ref).value() {
                    return Err(EditError::NotAList(field_ref));
                }
                self.edit_item(&field_ref, value, matches!(edit, FieldEdit::Add(_)));
            }
            FieldEdit::Unset => {
                for field in self.fields_within(resource, &name) {
                    self.assign_field(resource, &field, None);
                }
            }
        }
        Ok(())
    }

    /// Appends an item to a list, or removes the last equal one.
    fn edit_item(&mut self, field_ref: &FieldRef, value: &Value, is_add: bool) {
        self.respell_field(field_ref);
        let view = FieldView::read(&self.scratch, field_ref);
        let present = view.items.iter().filter_map(|view| Some((view.key.to_owned(), view.item.as_ref()?)));
        if is_add {
            let last_rank = present.map(|(_, item)| item.rank).max();
            let FieldRef { resource, path } = field_ref;
            let key_of = |nth| resource.field_key(&list_item::item_field(path, value, nth));
            let free_nth = (0..).find(|nth| self.scratch.winner(&key_of(*nth)).is_none()).unwrap_or(0);
            let item =
                ListItem { rank: last_rank.unwrap_or(0).saturating_add(RANK_SPACING), value: value.clone() };
            self.put(&key_of(free_nth), item.encode());
        } else {
            let equal = present.filter(|(_, item)| item.value == *value);
            if let Some((key, _)) = equal.max_by_key(|(key, item)| (item.rank, key.clone())) {
                self.put(&key, Value::Null);
            }
        }
    }

    /// Moves the values of all keys of the field to their canonical spelling.
    fn respell_field(&mut self, field_ref: &FieldRef) {
        let others = self.scratch.other_spellings(&field_ref.key_prefix());
        let of_field =
            others.filter(|(canonical, ..)| FieldRef::from_key(canonical).as_ref() == Some(field_ref));
        let moved: Vec<(String, String)> =
            of_field.map(|(canonical, key, _)| (canonical.to_owned(), key.to_owned())).collect();
        for (canonical, key) in moved {
            let Some(value) = self.scratch.winner(&key).cloned() else { continue };
            if self.scratch.winner(&canonical).is_none() {
                self.put(&canonical, value);
            }
            self.put(&key, Value::Null);
        }
    }

    /// Sets or unsets a field, whether it was a list or a single value, in its canonical spelling.
    fn assign_field(&mut self, resource: &ResourceName, path: &str, value: Option<Literal>) {
        let field_ref = FieldRef::new(resource, path);
        let is_set = |visible: &[VisibleValue]| visible.iter().any(|one| !one.value.is_null());
        let set_keys: Vec<String> = field_ref
            .keys(&self.scratch)
            .filter(|(_, visible)| is_set(visible))
            .map(|(key, _)| key.to_owned())
            .collect();
        let puts: BTreeMap<String, Value> = match value {
            Some(Literal::Scalar(value)) => BTreeMap::from([(resource.field_key(path), value)]),
            Some(Literal::List(values)) => {
                let items = FieldView::read(&self.scratch, &field_ref).items.into_iter();
                let old_ranks: BTreeMap<String, i64> =
                    items.filter_map(|view| Some((view.key.to_owned(), view.item?.rank))).collect();
                list_item::ranked_items(resource, path, &values, &old_ranks)
            }
            None => BTreeMap::new(),
        };
        for key in set_keys.iter().filter(|key| !puts.contains_key(*key)) {
            self.put(key, Value::Null);
        }
        // The value of another side may come in the canonical spelling. It is in conflict with the removal.
        let scalar_key = resource.field_key(path);
        if puts.is_empty()
            && set_keys.iter().any(|key| spelling::canonical_key(key).as_ref() == Some(&scalar_key))
        {
            self.put(&scalar_key, Value::Null);
            self.forced_keys.insert(scalar_key);
        }
        for (key, value) in puts {
            self.put(&key, value);
        }
    }

    /// The field at `path`, if it was ever written, and those below it.
    fn fields_within(&self, resource: &ResourceName, path: &str) -> BTreeSet<String> {
        let prefix = resource.field_key(path);
        let keys = self.scratch.range_with_prefix(&prefix).map(|(key, _)| key);
        let others = self.scratch.other_spellings(&prefix).map(|(canonical, ..)| canonical);
        let fields = keys.chain(others).filter_map(FieldRef::from_key);
        fields.filter(|field_ref| field_ref.is_within(path)).map(|field_ref| field_ref.path).collect()
    }

    fn unset_other_fields(&mut self, resource: &ResourceName, named_fields: &BTreeSet<String>) {
        for field in self.field_names(resource) {
            if !named_fields.contains(&field) {
                self.assign_field(resource, &field, None);
            }
        }
    }

    fn field_names(&self, resource: &ResourceName) -> Vec<String> {
        let view = self.scratch_view(resource);
        view.iter().flat_map(|view| view.fields.keys()).map(|field| (*field).to_owned()).collect()
    }

    fn put(&mut self, key: &str, value: Value) {
        self.next_counter += 1;
        let preds = self.scratch.get(key).iter().map(|visible| visible.op).collect();
        let op = OpRef { counter: limits::MAX_OP_COUNTER + self.next_counter, chain_id: ChainId::ZERO };
        self.scratch.apply_put(op, &Put { key: key.to_owned(), value, preds });
        self.touched_keys.insert(key.to_owned());
    }

    /// Copies a resource to the scratch state once. True if any field of it is set.
    fn copy_to_scratch(&mut self, resource: &ResourceName) -> bool {
        if self.copied_resources.insert(resource.to_string()) {
            for (key, visible) in self.shard.state().range_with_prefix(&resource.key_prefix()) {
                self.scratch.restore_key(key.to_owned(), visible.to_vec());
            }
        }
        self.scratch_view(resource).is_some_and(|view| !view.set_values().is_empty())
    }

    fn scratch_view(&self, resource: &ResourceName) -> Option<ResourceView<'_>> {
        ResourceView::read(&self.scratch, resource)
    }

    /// True if the resource was removed before these edits, without a conflict, and they did not restore it.
    fn was_removed_before(&self, resource: &ResourceName) -> bool {
        let Some(view) = ResourceView::read(self.shard.state(), resource) else { return false };
        let is_removed_now = self.scratch_view(resource).is_some_and(|view| view.is_removed());
        view.is_removed() && is_removed_now && conflicts_of(self.shard, &view).is_empty()
    }

    fn check_managed(&self, resource: &ResourceName) -> Result<(), EditError> {
        if resource.is_managed() { Ok(()) } else { Err(EditError::ReservedResource(resource.clone())) }
    }

    /// Rejects an edit of a field in conflict, because its author may not have seen all sides.
    fn check_not_conflicted(
        &self,
        resource: &ResourceName,
        named_fields: &BTreeSet<String>,
    ) -> Result<(), EditError> {
        let Some(view) = ResourceView::read(self.shard.state(), resource) else { return Ok(()) };
        for conflict in conflicts_of(self.shard, &view) {
            let is_affected =
                conflict.kind == ConflictKind::EditRemove || named_fields.contains(&conflict.field);
            if is_affected {
                return Err(EditError::Conflicted(FieldRef::new(resource, &conflict.field)));
            }
        }
        Ok(())
    }
}

fn resolved_id(node: &NodeName) -> Result<&NodeId, EditError> {
    match node {
        NodeName::Id(id) => Ok(id),
        NodeName::Typed(text) => Err(EditError::UnresolvedName(text.clone())),
    }
}

/// The same changes in the overlay of one node.
fn overlay_fields(
    node: &NodeId,
    fields: &[(FieldPath, FieldEdit)],
) -> Result<Vec<(FieldPath, FieldEdit)>, EditError> {
    let in_overlay = |(path, edit): &(FieldPath, FieldEdit)| {
        Ok((format!("overlay.\"node={node}\".{path}").parse::<FieldPath>()?, edit.clone()))
    };
    fields.iter().map(in_overlay).collect()
}

/// The same changes with the canonical path of each field.
fn canonical_fields(
    resource: &ResourceName,
    fields: &[(FieldPath, FieldEdit)],
) -> Vec<(FieldPath, FieldEdit)> {
    let canonical = |path: &FieldPath| canonical_path(resource.kind(), path.clone());
    fields.iter().map(|(path, edit)| (canonical(path), edit.clone())).collect()
}

fn resolved_value(conflict: &Conflict, resolution: &Resolution) -> Result<Option<Literal>, EditError> {
    match resolution {
        Resolution::UseValue(value) => Ok(Some(value.clone())),
        Resolution::UseSide(tag) => {
            let side = conflict.sides.iter().find(|side| side.tag.eq_ignore_ascii_case(tag));
            side.map(|side| side.value.clone()).ok_or_else(|| EditError::UnknownSide {
                field: FieldRef::new(&conflict.resource, &conflict.field),
                side: tag.clone(),
                sides: conflict.sides.iter().map(|side| side.tag.clone()).collect(),
            })
        }
    }
}

fn text_literal(text: &str) -> Literal {
    Literal::Scalar(Value::from(text))
}

fn check_label_text(text: &str, limit: usize) -> Result<(), EditError> {
    let is_valid = !text.is_empty() && text.len() <= limit && !text.chars().any(char::is_control);
    if is_valid { Ok(()) } else { Err(EditError::InvalidLabelText(text.to_owned())) }
}
