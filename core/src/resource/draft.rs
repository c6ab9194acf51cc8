//! From what an operator asks for to the keys that must be put: edits read the present state, and only what differs
//! is written.

use std::collections::{BTreeMap, BTreeSet};

use super::conflict::{Conflict, ConflictKind, conflicts_of};
use super::edit::{Edit, EditError, FieldEdit, Settle};
use super::field::FieldPath;
use super::item::{self, Item, SPACING};
use super::kind;
use super::literal::Literal;
use super::name::ResourceName;
use super::tag;
use super::view::ResourceView;
use crate::delta::{OpRef, Put};
use crate::id::{Actor, ChangeId, Digest};
use crate::limits;
use crate::shard::Shard;
use crate::shard::state::State;
use crate::value::Value;

/// What a list of edits would put.
#[derive(Debug)]
pub struct Draft<'a> {
    shard: &'a Shard,
    lenient: bool,
    /// The resources touched so far, as the edits so far leave them.
    scratch: State,
    copied: BTreeSet<String>,
    touched: BTreeSet<String>,
    forced: BTreeSet<String>,
    ticks: u64,
}

/// Draws up `edits`, all or nothing. The answer holds only keys whose value would change, and those of a settled
/// conflict. With `lenient`, kinds and fields that this version does not know are taken as they are.
pub fn draw_up(shard: &Shard, edits: &[Edit], lenient: bool) -> Result<BTreeMap<String, Value>, EditError> {
    let mut draft = Draft {
        shard,
        lenient,
        scratch: State::default(),
        copied: BTreeSet::new(),
        touched: BTreeSet::new(),
        forced: BTreeSet::new(),
        ticks: 0,
    };
    for edit in edits {
        draft.edit(edit)?;
        if draft.touched.len() > limits::EDITS {
            return Err(EditError::TooMany);
        }
    }
    Ok(draft.finish())
}

/// The state that these puts would leave, as a change by nobody: to be looked at, not kept.
pub fn preview(state: &State, puts: &BTreeMap<String, Value>) -> State {
    let mut after = state.clone();
    let nobody = Actor([0xff; 16]);
    for (nth, (key, value)) in (limits::MAX_OP..).zip(puts) {
        let preds = state.get(key).iter().map(|visible| visible.op).collect();
        let put = Put { key: key.clone(), value: value.clone(), preds };
        after.put(OpRef { counter: nth, actor: nobody }, &put);
    }
    after
}

impl Draft<'_> {
    fn finish(self) -> BTreeMap<String, Value> {
        let mut puts = BTreeMap::new();
        for key in self.touched {
            let Some(new) = self.scratch.get(&key).last() else { continue };
            let old = self.shard.state().get(&key);
            let same = match old {
                [] => new.value.is_null(),
                old => old.iter().all(|old| old.value == new.value),
            };
            if !same || self.forced.contains(&key) {
                puts.insert(key, new.value.clone());
            }
        }
        puts
    }

    fn edit(&mut self, edit: &Edit) -> Result<(), EditError> {
        match edit {
            Edit::Set { resource, fields, replace } => self.set(resource, fields, *replace),
            Edit::Remove(resource) => self.remove(resource),
            Edit::Resolve { resource, field, settle, id } => self.resolve(resource, field, settle, *id),
            Edit::Alias(node, alias) => {
                let resource = ResourceName::node(node);
                self.copy(&resource);
                match alias {
                    Some(alias) => {
                        check_name(alias, limits::NAME_BYTES)?;
                        self.assign(&resource, "alias", Some(text(alias)));
                    }
                    None => self.take_off(&resource.key("alias")),
                }
                Ok(())
            }
            Edit::Label(node, labels) => self.label(&ResourceName::node(node), labels),
            Edit::Tag(name, heads) => self.tag(name, heads.as_deref()),
        }
    }

    fn tag(&mut self, name: &str, heads: Option<&[ChangeId]>) -> Result<(), EditError> {
        let is_hex = name.chars().all(|c| c.is_ascii_hexdigit());
        let resource = ResourceName::tag(name).ok().filter(|_| !is_hex);
        let resource = resource.ok_or_else(|| EditError::BadTag(name.to_owned()))?;
        self.copy(&resource);
        self.put(&resource.key(tag::HEADS), heads.map_or(Value::Null, tag::write));
        Ok(())
    }

    fn label(
        &mut self,
        resource: &ResourceName,
        labels: &[(String, Option<String>)],
    ) -> Result<(), EditError> {
        self.copy(resource);
        for (key, value) in labels {
            check_name(key, limits::LABEL_BYTES)?;
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                check_name(value, limits::LABEL_BYTES)?;
            }
            let path = FieldPath::new(vec!["labels".to_owned(), key.clone()]);
            let path = path.ok_or_else(|| EditError::BadName(key.clone()))?.to_string();
            match value {
                Some(value) => self.put(&resource.key(&path), Value::Str(value.clone())),
                None => self.take_off(&resource.key(&path)),
            }
        }
        Ok(())
    }

    /// Takes an alias or label off. One that the grant carries was never put here; it is taken off by saying so.
    fn take_off(&mut self, key: &str) {
        self.put(key, Value::Null);
        if self.shard.state().get(key).is_empty() {
            self.forced.insert(key.to_owned());
        }
    }

    fn set(
        &mut self,
        resource: &ResourceName,
        fields: &[(FieldPath, FieldEdit)],
        replace: bool,
    ) -> Result<(), EditError> {
        self.check_managed(resource)?;
        let makes = fields.iter().any(|(_, edit)| matches!(edit, FieldEdit::Assign(_) | FieldEdit::Add(_)));
        let exists = self.copy(resource);
        if !exists && !makes && !fields.is_empty() {
            return Err(EditError::NoResource(resource.clone()));
        }
        let named: BTreeSet<String> = fields.iter().map(|(path, _)| path.to_string()).collect();
        self.check_settled(resource, &self.written(resource, fields, replace))?;
        let removed = self.view(resource).is_some_and(|view| view.is_removed());
        let revives = removed && makes && !named.contains("ensure");
        if revives || replace {
            self.unset_all_but(resource, &named);
        }
        if revives {
            self.assign(resource, "ensure", Some(text("present")));
        }
        for (path, edit) in fields {
            self.field(resource, path, edit)?;
        }
        if !exists && fields.is_empty() {
            self.assign(resource, "ensure", Some(text("present")));
        }
        Ok(())
    }

    /// The fields that these edits write: those that are named, those below one that is unset, and with `replace` all.
    fn written(
        &self,
        resource: &ResourceName,
        fields: &[(FieldPath, FieldEdit)],
        replace: bool,
    ) -> BTreeSet<String> {
        let hits = |name: &str| {
            fields.iter().any(|(path, edit)| {
                let path = path.to_string();
                let below = name.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.'));
                name == path || (matches!(edit, FieldEdit::Unset) && below)
            })
        };
        self.field_names(resource).into_iter().filter(|name| replace || hits(name)).collect()
    }

    fn remove(&mut self, resource: &ResourceName) -> Result<(), EditError> {
        self.check_managed(resource)?;
        if !self.copy(resource) {
            return Err(EditError::NoResource(resource.clone()));
        }
        self.check_settled(resource, &BTreeSet::from(["ensure".to_owned()]))?;
        self.assign(resource, "ensure", Some(text("absent")));
        Ok(())
    }

    fn resolve(
        &mut self,
        resource: &ResourceName,
        field: &str,
        settle: &Settle,
        id: Option<Digest>,
    ) -> Result<(), EditError> {
        let none = || EditError::NoConflict(resource.clone(), field.to_owned());
        let view = ResourceView::read(self.shard.state(), resource).ok_or_else(none)?;
        let found = conflicts_of(self.shard, &view).into_iter().find(|conflict| conflict.field == field);
        let conflict = found.ok_or_else(none)?;
        if id.is_some_and(|id| id != conflict.id) {
            return Err(EditError::ConflictMoved(resource.clone(), field.to_owned()));
        }
        self.copy(resource);
        let value = settled_value(&conflict, settle)?;
        if let Some(value) = &value {
            let path = field.parse().map_err(|_| none())?;
            // A side of a conflict stands in the document already; only a new value has to fit the schema.
            let lenient = self.lenient || matches!(settle, Settle::Take(_));
            kind::check(resource, &path, value, lenient)?;
        }
        self.assign(resource, field, value);
        // "absent" again over "absent" says: I have seen the edit, and it goes.
        self.forced.insert(resource.key(field));
        Ok(())
    }

    fn field(
        &mut self,
        resource: &ResourceName,
        path: &FieldPath,
        edit: &FieldEdit,
    ) -> Result<(), EditError> {
        let name = path.to_string();
        match edit {
            FieldEdit::Assign(value) => {
                kind::check(resource, path, value, self.lenient)?;
                self.assign(resource, &name, Some(value.clone()));
            }
            FieldEdit::Add(value) | FieldEdit::Take(value) => {
                kind::check(resource, path, &Literal::List(vec![value.clone()]), self.lenient)?;
                if matches!(self.view(resource).and_then(|view| view.value(&name)), Some(Literal::Scalar(_)))
                {
                    return Err(EditError::NotAList(resource.clone(), name));
                }
                self.item(resource, &name, value, matches!(edit, FieldEdit::Add(_)));
            }
            FieldEdit::Unset => {
                let below = format!("{name}.");
                for field in self.field_names(resource) {
                    if field == name || field.starts_with(&below) {
                        self.assign(resource, &field, None);
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds one item at the end of a list, or takes the last equal one out.
    fn item(&mut self, resource: &ResourceName, path: &str, value: &Value, adds: bool) {
        let view = self.view(resource);
        let items = view.iter().filter_map(|view| view.fields.get(path)).flat_map(|field| &field.items);
        let there = items.filter_map(|view| Some((view.key.to_owned(), view.item.as_ref()?)));
        if adds {
            let last = there.map(|(_, item)| item.rank).max();
            let key_of = |nth| resource.key(&item::mark(path, value, nth));
            let free = (0..).find(|nth| self.scratch.winner(&key_of(*nth)).is_none()).unwrap_or(0);
            let item = Item { rank: last.unwrap_or(0).saturating_add(SPACING), value: value.clone() };
            self.put(&key_of(free), item.encode());
        } else {
            let equal = there.filter(|(_, item)| item.value == *value);
            if let Some((key, _)) = equal.max_by_key(|(key, item)| (item.rank, key.clone())) {
                self.put(&key, Value::Null);
            }
        }
    }

    /// Gives a field a value or none, whatever form it had.
    fn assign(&mut self, resource: &ResourceName, path: &str, value: Option<Literal>) {
        let scalar = resource.key(path);
        let view = self.view(resource);
        let items = view.iter().filter_map(|view| view.fields.get(path)).flat_map(|field| &field.items);
        let old: BTreeMap<String, Option<i64>> =
            items.map(|item| (item.key.to_owned(), item.item.as_ref().map(|item| item.rank))).collect();
        let puts = match value {
            Some(Literal::Scalar(value)) => vec![(scalar.clone(), value)],
            Some(Literal::List(values)) => ranked(resource, path, &values, &old),
            None => Vec::new(),
        };
        for key in old.into_keys().chain([scalar]) {
            let is_set = self.scratch.get(&key).iter().any(|visible| !visible.value.is_null());
            if is_set && !puts.iter().any(|(kept, _)| *kept == key) {
                self.put(&key, Value::Null);
            }
        }
        for (key, value) in puts {
            self.put(&key, value);
        }
    }

    fn unset_all_but(&mut self, resource: &ResourceName, named: &BTreeSet<String>) {
        for field in self.field_names(resource) {
            if !named.contains(&field) {
                self.assign(resource, &field, None);
            }
        }
    }

    fn field_names(&self, resource: &ResourceName) -> Vec<String> {
        let view = self.view(resource);
        view.iter().flat_map(|view| view.fields.keys()).map(|field| (*field).to_owned()).collect()
    }

    fn put(&mut self, key: &str, value: Value) {
        self.ticks += 1;
        let preds = self.scratch.get(key).iter().map(|visible| visible.op).collect();
        let op = OpRef { counter: limits::MAX_OP + self.ticks, actor: Actor::ZERO };
        self.scratch.put(op, &Put { key: key.to_owned(), value, preds });
        self.touched.insert(key.to_owned());
    }

    /// Copies a resource to the scratch state; true if any field of it is set.
    fn copy(&mut self, resource: &ResourceName) -> bool {
        if self.copied.insert(resource.to_string()) {
            for (key, visible) in self.shard.state().range_with_prefix(&resource.prefix()) {
                self.scratch.restore(key.to_owned(), visible.to_vec());
            }
        }
        self.view(resource).is_some_and(|view| !view.values().is_empty())
    }

    fn view(&self, resource: &ResourceName) -> Option<ResourceView<'_>> {
        ResourceView::read(&self.scratch, resource)
    }

    fn check_managed(&self, resource: &ResourceName) -> Result<(), EditError> {
        if resource.is_managed() { Ok(()) } else { Err(EditError::Reserved(resource.clone())) }
    }

    /// Refuses to write over an unsettled conflict: whoever writes should know what both sides wanted.
    fn check_settled(&self, resource: &ResourceName, named: &BTreeSet<String>) -> Result<(), EditError> {
        let Some(view) = ResourceView::read(self.shard.state(), resource) else { return Ok(()) };
        for conflict in conflicts_of(self.shard, &view) {
            let hit = conflict.kind == ConflictKind::EditRemove || named.contains(&conflict.field);
            if hit {
                return Err(EditError::Conflicted(resource.clone(), conflict.field));
            }
        }
        Ok(())
    }
}

/// The keys and values of a list. Items that were in it keep their rank while that keeps the order.
fn ranked(
    resource: &ResourceName,
    path: &str,
    values: &[Value],
    ranks: &BTreeMap<String, Option<i64>>,
) -> Vec<(String, Value)> {
    let mut seen: Vec<(&Value, u64)> = Vec::new();
    let mut last = 0i64;
    let mut out = Vec::with_capacity(values.len());
    for value in values {
        let nth = match seen.iter_mut().find(|(other, _)| *other == value) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                seen.push((value, 0));
                0
            }
        };
        let key = resource.key(&item::mark(path, value, nth));
        let rank = ranks
            .get(&key)
            .copied()
            .flatten()
            .filter(|rank| *rank > last)
            .unwrap_or(last.saturating_add(SPACING));
        last = rank;
        out.push((key, Item { rank, value: value.clone() }.encode()));
    }
    out
}

fn settled_value(conflict: &Conflict, settle: &Settle) -> Result<Option<Literal>, EditError> {
    match settle {
        Settle::Value(value) => Ok(Some(value.clone())),
        Settle::Take(tag) => {
            let side = conflict.sides.iter().find(|side| side.tag.eq_ignore_ascii_case(tag));
            let tags: Vec<_> = conflict.sides.iter().map(|side| side.tag.as_str()).collect();
            side.map(|side| side.value.clone()).ok_or_else(|| {
                EditError::NoSide(
                    conflict.resource.clone(),
                    conflict.field.clone(),
                    tag.clone(),
                    tags.join(", "),
                )
            })
        }
    }
}

fn text(text: &str) -> Literal {
    Literal::Scalar(Value::from(text))
}

fn check_name(text: &str, most: usize) -> Result<(), EditError> {
    let sound = !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control);
    if sound { Ok(()) } else { Err(EditError::BadName(text.to_owned())) }
}
