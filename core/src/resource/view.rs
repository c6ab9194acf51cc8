//! The flat keys of a document, read as resources with fields.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::field::FieldPath;
use super::field_ref::FieldRef;
use super::list_item::{self, ListItem};
use super::literal::Literal;
use super::name::ResourceName;
use crate::delta::OpRef;
use crate::id::{Digest, NodeId, SHORT_ID_CHARS, hash16};
use crate::record::Membership;
use crate::shard::state::{VisibleState, VisibleValue};
use crate::value::Value;

/// One item of a list field, as the document shows it.
#[derive(Clone, Debug)]
pub struct ItemView<'a> {
    /// The item's key in the document, in its canonical spelling.
    pub key: &'a str,
    /// The visible values of the key.
    pub visible: Cow<'a, [VisibleValue]>,
    /// The item that the winner encodes, or `None` if it was removed.
    pub item: Option<ListItem>,
}

/// One field, as the document shows it.
#[derive(Clone, Debug, Default)]
pub struct FieldView<'a> {
    /// The visible values of the field's own key, which hold a single value.
    pub scalar: Cow<'a, [VisibleValue]>,
    /// The items of the list, if the field is or was a list.
    pub items: Vec<ItemView<'a>>,
    /// True if a value is visible only because changes build on a removed member's change.
    pub has_removed_author: bool,
}

impl<'a> FieldView<'a> {
    /// Reads one field.
    pub fn read(state: &'a VisibleState, field_ref: &FieldRef) -> Self {
        let mut field = Self::default();
        for (key, visible) in field_ref.keys(state) {
            if let Some((canonical, visible)) = state.merge_spellings(key, visible) {
                field.add_key(state, canonical, visible);
            }
        }
        field
    }

    /// Adds a key in its canonical spelling.
    fn add_key(&mut self, state: &VisibleState, key: &'a str, visible: Cow<'a, [VisibleValue]>) {
        self.has_removed_author |= state.has_dependency_only_value(&visible);
        if list_item::split_item_field(key).1 {
            let item = visible.last().and_then(|winner| ListItem::decode(&winner.value));
            self.items.push(ItemView { key, visible, item });
        } else {
            self.scalar = visible;
        }
    }

    /// The value of the field, or `None` if it is unset. Of several visible values, it is the winner.
    pub fn value(&self) -> Option<Literal> {
        let scalar = self.scalar.last().filter(|visible| !visible.value.is_null());
        let newest_item =
            self.present_items().filter_map(|view| view.visible.last()).map(|visible| visible.op).max();
        match (scalar, newest_item) {
            (Some(scalar), None) => Some(Literal::Scalar(scalar.value.clone())),
            (Some(scalar), Some(item)) if scalar.op > item => Some(Literal::Scalar(scalar.value.clone())),
            (_, Some(_)) => Some(Literal::List(self.list())),
            (None, None) => None,
        }
    }

    fn present_items(&self) -> impl Iterator<Item = &ItemView<'a>> {
        self.items.iter().filter(|view| view.item.is_some())
    }

    /// The list's values in order.
    pub fn list(&self) -> Vec<Value> {
        let mut items: Vec<_> =
            self.present_items().filter_map(|view| Some((view.item.as_ref()?, view.key))).collect();
        items.sort_by_key(|(item, key)| (item.rank, *key));
        items.into_iter().map(|(item, _)| item.value.clone()).collect()
    }

    /// True if concurrent changes gave the field different values. Equal values are no conflict, and a list
    /// item is in conflict only if one side has it and another removed it. A removed member's value is in
    /// conflict with the value before it.
    pub fn is_conflicted(&self) -> bool {
        let is_scalar_and_list = self.scalar.iter().any(|visible| !visible.value.is_null())
            && self.present_items().next().is_some();
        self.has_removed_author
            || is_scalar_and_list
            || has_different_values(&self.scalar)
            || self.items.iter().any(|view| is_partly_unset(&view.visible))
    }

    /// All puts that are visible in the field.
    pub fn ops(&self) -> impl Iterator<Item = OpRef> {
        self.scalar
            .iter()
            .chain(self.items.iter().flat_map(|view| view.visible.iter()))
            .map(|visible| visible.op)
    }
}

/// True if the visible values are not all equal.
pub fn has_different_values(visible: &[VisibleValue]) -> bool {
    visible.windows(2).any(|pair| matches!(pair, [a, b] if a.value != b.value))
}

/// True if some visible values are null and others are not.
pub fn is_partly_unset(visible: &[VisibleValue]) -> bool {
    visible.iter().any(|value| value.value.is_null()) && visible.iter().any(|value| !value.value.is_null())
}

/// One resource, as the document shows it.
#[derive(Clone, Debug)]
pub struct ResourceView<'a> {
    /// The name of the resource.
    pub name: ResourceName,
    /// The fields by canonical path, including unset ones.
    pub fields: BTreeMap<&'a str, FieldView<'a>>,
}

impl<'a> ResourceView<'a> {
    /// Reads one resource, or returns `None` if no field of it was ever written.
    pub fn read(state: &'a VisibleState, name: &ResourceName) -> Option<Self> {
        let prefix = name.key_prefix();
        let mut view = Self { name: name.clone(), fields: BTreeMap::new() };
        for (key, visible) in state.range_with_prefix(&prefix) {
            view.add_key(state, key, visible);
        }
        (!view.fields.is_empty()).then_some(view)
    }

    fn add_key(&mut self, state: &'a VisibleState, key: &'a str, visible: &'a [VisibleValue]) {
        let Some((key, visible)) = state.merge_spellings(key, visible) else { return };
        let Some((_, field)) = key.split_once(' ') else { return };
        let (path, _) = list_item::split_item_field(field);
        self.fields.entry(path).or_default().add_key(state, key, visible);
    }

    /// The value of a field. Of several visible values, it is the winner.
    pub fn value(&self, field: &str) -> Option<Literal> {
        self.fields.get(field).and_then(FieldView::value)
    }

    /// The text of a field, if its value is a text.
    pub fn text(&self, field: &str) -> Option<String> {
        match self.value(field) {
            Some(Literal::Scalar(Value::Str(text))) => Some(text),
            _ => None,
        }
    }

    /// True if `ensure` is `absent`.
    pub fn is_removed(&self) -> bool {
        self.text("ensure").as_deref() == Some("absent")
    }

    /// The fields that are set, with their values.
    pub fn set_values(&self) -> BTreeMap<&'a str, Literal> {
        self.fields.iter().filter_map(|(path, field)| Some((*path, field.value()?))).collect()
    }

    /// All puts that are visible in the resource, sorted.
    pub fn ops(&self) -> Vec<OpRef> {
        let mut ops: Vec<_> = self.fields.values().flat_map(FieldView::ops).collect();
        ops.sort_unstable();
        ops.dedup();
        ops
    }

    /// The hash of the resource's visible puts. Two nodes with the same revision have the same writes to the
    /// resource.
    pub fn revision(&self) -> String {
        let mut bytes = Vec::new();
        for op in self.ops() {
            bytes.extend(op.counter.to_be_bytes());
            bytes.extend(op.chain_id.0);
        }
        let digest = Digest(hash16("larder 1 revision", &[&bytes])).to_string();
        digest.chars().take(REVISION_HEX_DIGITS).collect()
    }
}

/// The number of hex digits of a revision. Its 64 bits distinguish the states of one resource.
pub const REVISION_HEX_DIGITS: usize = 16;

/// All resources of which any field was ever written, in order of name.
pub fn resources(state: &VisibleState) -> Vec<ResourceView<'_>> {
    let mut views: Vec<ResourceView<'_>> = Vec::new();
    for (key, visible) in state.iter() {
        let Some((name, _)) = ResourceName::split_key(key) else { continue };
        if views.last().is_none_or(|view| view.name != name) {
            views.push(ResourceView { name, fields: BTreeMap::new() });
        }
        if let Some(view) = views.last_mut() {
            view.add_key(state, key, visible);
        }
    }
    views
}

/// The alias and labels of a node. The values of `desired` go before those of the node's grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLabels {
    /// The alias, if the node has one.
    pub alias: Option<String>,
    /// The labels by key.
    pub labels: BTreeMap<String, String>,
    /// The keys of labels in conflict, or `alias`.
    pub conflicted: Vec<String>,
    /// The alias that is ignored, because another node's id begins with it.
    pub ignored_alias: Option<String>,
}

impl NodeLabels {
    /// The alias and labels of the node's live grants, or of the ended grants of a former member.
    fn from_grants(members: &Membership, node: &NodeId) -> Self {
        let mut labels = Self::default();
        for grant in members
            .live_grants_of(node)
            .chain(members.ended_grants_of(node).filter(|_| !members.is_member(node)))
        {
            if !grant.alias.is_empty() && labels.alias.is_none() {
                labels.alias = Some(grant.alias.clone());
            }
            for (key, value) in &grant.labels {
                labels.labels.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        labels
    }

    /// The alias or label of a grant that applies while nothing was written at this key of `desired`.
    pub fn granted_value(members: &Membership, key: &str) -> Option<Value> {
        let (resource, field) = ResourceName::split_key(key)?;
        let mut all = members.nodes().chain(members.former_members());
        let granted = Self::from_grants(members, &all.find(|node| ResourceName::for_node(node) == resource)?);
        let path: FieldPath = field.parse().ok()?;
        let text = match (path.first(), path.rest()) {
            ("alias", None) => granted.alias,
            ("labels", Some(_)) => granted.labels.get(&path.dotted_rest()).cloned(),
            _ => None,
        };
        text.map(Value::Str)
    }

    /// Reads the alias and labels of a node.
    pub fn read(state: &VisibleState, members: &Membership, node: &NodeId) -> Self {
        let mut labels = Self::from_grants(members, node);
        let view = ResourceView::read(state, &ResourceName::for_node(node));
        for (path, field) in view.iter().flat_map(|view| &view.fields) {
            let text = match field.value() {
                Some(Literal::Scalar(Value::Str(text))) => Some(text),
                _ => None,
            };
            let Ok(parsed) = path.parse::<FieldPath>() else { continue };
            match (parsed.first(), parsed.rest()) {
                ("alias", None) => labels.alias = text,
                ("labels", Some(_)) => {
                    let key = parsed.dotted_rest();
                    match text {
                        Some(text) => labels.labels.insert(key, text),
                        None => labels.labels.remove(&key),
                    };
                }
                _ => continue,
            }
            if field.is_conflicted() {
                labels.conflicted.push(if parsed.first() == "alias" {
                    "alias".to_owned()
                } else {
                    parsed.dotted_rest()
                });
            }
        }
        labels.ignore_alias_that_begins_an_id(members, node);
        labels
    }

    /// An alias can be written elsewhere before this node checks it. One that begins another node's id would
    /// redirect selectors and commands to the wrong node.
    fn ignore_alias_that_begins_an_id(&mut self, members: &Membership, node: &NodeId) {
        let begins_id = |alias: &String| {
            alias.len() >= SHORT_ID_CHARS && members.node_with_id_prefix(alias, node).is_some()
        };
        self.ignored_alias = self.alias.take_if(|alias| begins_id(alias));
    }
}
