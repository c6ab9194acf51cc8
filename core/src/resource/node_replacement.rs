//! Replacement of a node: the edits that give a new node the alias, labels and fields of an old one.

use std::collections::BTreeSet;

use super::edit::{Edit, FieldEdit};
use super::field::FieldPath;
use super::literal::Literal;
use super::name::ResourceName;
use super::selector::replace_node_name;
use super::view::{NodeLabels, ResourceView, resources};
use crate::id::{NodeId, SHORT_ID_CHARS};
use crate::record::Membership;
use crate::shard::state::VisibleState;
use crate::value::Value;

/// The edits that replace a node, and what they affect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeReplacement {
    /// The alias and labels of the old node.
    pub labels: NodeLabels,
    /// The resources that named the old node by its id, in an overlay or a selector.
    pub resources: BTreeSet<ResourceName>,
    /// The edits, to be written as one change. Empty if nothing differs.
    pub edits: Vec<Edit>,
}

/// The edits that give `new` the alias and labels of `old`, and everything that named `old` by its id.
///
/// The alias moves from one node to the other; other labels of `new` stay. Overlays and selectors that name
/// `old` by its id name `new` afterwards; those that use the alias follow the alias. If a field is in
/// conflict, the edits are rejected later like those of an operator. Removed resources stay unchanged.
pub fn plan_node_replacement(
    state: &VisibleState,
    members: &Membership,
    old: &NodeId,
    new: &NodeId,
) -> NodeReplacement {
    let labels = NodeLabels::read(state, members, old);
    let new_labels = NodeLabels::read(state, members, new);
    let mut edits = Vec::new();
    if labels.alias.is_some() {
        edits.push(Edit::SetAlias((*old).into(), None));
        edits.push(Edit::SetAlias((*new).into(), labels.alias.clone()));
    }
    let missing_labels =
        labels.labels.iter().filter(|(key, value)| new_labels.labels.get(*key) != Some(value));
    let missing_labels: Vec<_> =
        missing_labels.map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    if !missing_labels.is_empty() {
        edits.push(Edit::SetLabels((*new).into(), missing_labels));
    }
    let renaming = NodeRenaming { old: old.to_string(), new: new.to_string() };
    let mut renamed_resources = BTreeSet::new();
    for view in resources(state).iter().filter(|view| view.name.is_managed() && !view.is_removed()) {
        let fields = renaming.field_edits(view);
        if !fields.is_empty() {
            renamed_resources.insert(view.name.clone());
            edits.push(Edit::Set { resource: view.name.clone(), fields, replace: false });
        }
    }
    NodeReplacement { labels, resources: renamed_resources, edits }
}

struct NodeRenaming {
    old: String,
    new: String,
}

impl NodeRenaming {
    fn field_edits(&self, view: &ResourceView<'_>) -> Vec<(FieldPath, FieldEdit)> {
        let mut edits = Vec::new();
        for (field, value) in view.set_values() {
            let Ok(path) = field.parse::<FieldPath>() else { continue };
            if let Some(renamed) = self.rename_in_overlay(&path) {
                edits.push((path, FieldEdit::Unset));
                edits.push((renamed, FieldEdit::Assign(value)));
            } else if field == "select"
                && let Literal::Scalar(Value::Str(text)) = &value
                && let Some(renamed) = self.rename_in_selector(text)
            {
                edits.push((path, FieldEdit::Assign(Literal::Scalar(Value::Str(renamed)))));
            }
        }
        edits
    }

    /// The path `overlay."SELECTOR".FIELD` with the new node, if its selector names the old one.
    fn rename_in_overlay(&self, path: &FieldPath) -> Option<FieldPath> {
        match path.segments() {
            [overlay, select, rest @ ..] if overlay == "overlay" && !rest.is_empty() => {
                let prefix = [overlay.clone(), self.rename_in_selector(select)?];
                FieldPath::new(prefix.into_iter().chain(rest.iter().cloned()).collect())
            }
            _ => None,
        }
    }

    fn rename_in_selector(&self, text: &str) -> Option<String> {
        let names_old_node =
            |word: &str| word.len() >= SHORT_ID_CHARS && self.old.starts_with(&word.to_ascii_lowercase());
        replace_node_name(text, names_old_node, &self.new)
    }
}
