//! The flat keys of a document, read as resources with fields.

use std::collections::BTreeMap;

use super::field::FieldPath;
use super::list_item::{self, ListItem};
use super::literal::Literal;
use super::name::ResourceName;
use crate::delta::OpRef;
use crate::id::{Digest, NodeId, hash16};
use crate::record::Membership;
use crate::shard::state::{VisibleState, VisibleValue};
use crate::value::Value;

/// One item of a list field, as it is visible.
#[derive(Clone, Debug)]
pub struct ItemView<'a> {
    /// Its key in the document.
    pub key: &'a str,
    /// Its visible values.
    pub visible: &'a [VisibleValue],
    /// What the winner says; `None` if the item was taken out.
    pub item: Option<ListItem>,
}

/// One field, as it is visible.
#[derive(Clone, Debug, Default)]
pub struct FieldView<'a> {
    /// The visible values of the field as one value.
    pub scalar: &'a [VisibleValue],
    /// Its items, if it is or was a list.
    pub items: Vec<ItemView<'a>>,
    /// True if a value here stands only by what a removed member wrote.
    pub has_removed_author: bool,
}

impl<'a> FieldView<'a> {
    /// The field's value: the winner, where there are several. `None` if it is unset.
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

    /// The items in order.
    pub fn list(&self) -> Vec<Value> {
        let mut items: Vec<_> =
            self.present_items().filter_map(|view| Some((view.item.as_ref()?, view.key))).collect();
        items.sort_by_key(|(item, key)| (item.rank, *key));
        items.into_iter().map(|(item, _)| item.value.clone()).collect()
    }

    /// True if people who did not know of each other wanted different things here. Equal values are no conflict, and
    /// an item of a list is in conflict only where one side keeps it and another takes it out. What stands only by a
    /// removed member's word is in conflict with what stood before.
    pub fn is_conflicted(&self) -> bool {
        let is_scalar_and_list = self.scalar.iter().any(|visible| !visible.value.is_null())
            && self.present_items().next().is_some();
        self.has_removed_author
            || is_scalar_and_list
            || has_different_values(self.scalar)
            || self.items.iter().any(|view| is_partly_unset(view.visible))
    }

    /// All puts visible in the field.
    pub fn ops(&self) -> impl Iterator<Item = OpRef> {
        self.scalar.iter().chain(self.items.iter().flat_map(|view| view.visible)).map(|visible| visible.op)
    }
}

/// True if there is more than one value among the visible ones.
pub fn has_different_values(visible: &[VisibleValue]) -> bool {
    visible.windows(2).any(|pair| matches!(pair, [a, b] if a.value != b.value))
}

/// True if one side keeps a value here and another unset it.
pub fn is_partly_unset(visible: &[VisibleValue]) -> bool {
    visible.iter().any(|value| value.value.is_null()) && visible.iter().any(|value| !value.value.is_null())
}

/// One resource, as it is visible.
#[derive(Clone, Debug)]
pub struct ResourceView<'a> {
    /// What it is called.
    pub name: ResourceName,
    /// Its fields by canonical path; unset ones too.
    pub fields: BTreeMap<&'a str, FieldView<'a>>,
}

impl<'a> ResourceView<'a> {
    /// Reads one resource; `None` if nobody ever wrote a field of it.
    pub fn read(state: &'a VisibleState, name: &ResourceName) -> Option<Self> {
        let prefix = name.key_prefix();
        let mut view = Self { name: name.clone(), fields: BTreeMap::new() };
        for (key, visible) in state.range_with_prefix(&prefix) {
            view.add_key(state, key, visible);
        }
        (!view.fields.is_empty()).then_some(view)
    }

    fn add_key(&mut self, state: &VisibleState, key: &'a str, visible: &'a [VisibleValue]) {
        let Some((_, field)) = key.split_once(' ') else { return };
        let (path, is_item) = list_item::split_item_field(field);
        let entry = self.fields.entry(path).or_default();
        entry.has_removed_author |= state.has_dependency_only_value(visible);
        if is_item {
            let item = visible.last().and_then(|winner| ListItem::decode(&winner.value));
            entry.items.push(ItemView { key, visible, item });
        } else {
            entry.scalar = visible;
        }
    }

    /// The value of a field: the winner where there are several.
    pub fn value(&self, field: &str) -> Option<Literal> {
        self.fields.get(field).and_then(FieldView::value)
    }

    /// The text of a field.
    pub fn text(&self, field: &str) -> Option<String> {
        match self.value(field) {
            Some(Literal::Scalar(Value::Str(text))) => Some(text),
            _ => None,
        }
    }

    /// True if the winner says that it is removed.
    pub fn is_removed(&self) -> bool {
        self.text("ensure").as_deref() == Some("absent")
    }

    /// The fields that are set, with their values.
    pub fn set_values(&self) -> BTreeMap<&'a str, Literal> {
        self.fields.iter().filter_map(|(path, field)| Some((*path, field.value()?))).collect()
    }

    /// All puts visible in the resource, each with its key.
    pub fn ops(&self) -> Vec<OpRef> {
        let mut ops: Vec<_> = self.fields.values().flat_map(FieldView::ops).collect();
        ops.sort_unstable();
        ops.dedup();
        ops
    }

    /// Stands for exactly this state of the resource, whoever asks: two nodes that show the same revision know the same
    /// writes to it.
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

/// Hex digits of a revision: 64 bits tell the states of one resource apart.
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

/// What a node is called and labelled: what operators wrote in `desired` or, where they never did, what its grant says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLabels {
    /// The node's alias, if it has one.
    pub alias: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Labels (or `alias`) in conflict.
    pub conflicted: Vec<String>,
}

impl NodeLabels {
    /// What a node was called and labelled when it was let in; of a former member too.
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

    /// What stands at a key of `desired` as long as nobody wrote it: the alias or label that a grant carries, if it is one.
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

    /// Reads them.
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
        labels
    }
}
