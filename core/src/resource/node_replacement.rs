//! One machine in another's place: what an operator would have to write for it, found by looking.

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

/// What makes one node stand where another stood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeReplacement {
    /// What the other was called and labelled.
    pub labels: NodeLabels,
    /// Resources that named the other by its id: in what is for it alone, or in whom they are for.
    pub resources: BTreeSet<ResourceName>,
    /// All there is to write, as one change. Empty if nothing differs.
    pub edits: Vec<Edit>,
}

/// What gives `new` the alias and the labels of `old`, and what was meant for `old` alone.
///
/// The alias goes from one to the other; labels that `new` has besides stay. Fields below `overlay."node=OLD"`, and every
/// other expression that names `old` by its id, name `new` afterwards; who is named by alias follows the alias. Of a
/// field in conflict the edits are refused later, as those of an operator are. Removed resources stay as they are.
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
        edits.push(Edit::SetAlias(*old, None));
        edits.push(Edit::SetAlias(*new, labels.alias.clone()));
    }
    let missing_labels =
        labels.labels.iter().filter(|(key, value)| new_labels.labels.get(*key) != Some(value));
    let missing_labels: Vec<_> =
        missing_labels.map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    if !missing_labels.is_empty() {
        edits.push(Edit::SetLabels(*new, missing_labels));
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

    /// `overlay."SELECT".FIELD`, if it names the old node.
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
