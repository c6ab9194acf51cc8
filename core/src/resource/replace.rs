//! One machine in another's place: what an operator would have to write for it, found by looking.

use std::collections::BTreeSet;

use super::edit::{Edit, FieldEdit};
use super::field::FieldPath;
use super::literal::Literal;
use super::name::ResourceName;
use super::select::rename_node;
use super::view::{NodeLabels, ResourceView, resources};
use crate::id::{NodeId, SHORT};
use crate::record::Members;
use crate::shard::state::State;
use crate::value::Value;

/// What makes one node stand where another stood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replacement {
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
pub fn replacement(state: &State, members: &Members, old: &NodeId, new: &NodeId) -> Replacement {
    let labels = NodeLabels::read(state, members, old);
    let has = NodeLabels::read(state, members, new);
    let mut edits = Vec::new();
    if labels.alias.is_some() {
        edits.push(Edit::Alias(*old, None));
        edits.push(Edit::Alias(*new, labels.alias.clone()));
    }
    let lacks = labels.labels.iter().filter(|(key, value)| has.labels.get(*key) != Some(value));
    let lacks: Vec<_> = lacks.map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    if !lacks.is_empty() {
        edits.push(Edit::Label(*new, lacks));
    }
    let renaming = Renaming { old: old.to_string(), new: new.to_string() };
    let mut named = BTreeSet::new();
    for view in resources(state).iter().filter(|view| view.name.is_managed() && !view.is_removed()) {
        let fields = renaming.edits(view);
        if !fields.is_empty() {
            named.insert(view.name.clone());
            edits.push(Edit::Set { resource: view.name.clone(), fields, replace: false });
        }
    }
    Replacement { labels, resources: named, edits }
}

struct Renaming {
    old: String,
    new: String,
}

impl Renaming {
    fn edits(&self, view: &ResourceView<'_>) -> Vec<(FieldPath, FieldEdit)> {
        let mut edits = Vec::new();
        for (field, value) in view.values() {
            let Ok(path) = field.parse::<FieldPath>() else { continue };
            if let Some(renamed) = self.overlay(&path) {
                edits.push((path, FieldEdit::Unset));
                edits.push((renamed, FieldEdit::Assign(value)));
            } else if field == "select"
                && let Literal::Scalar(Value::Str(text)) = &value
                && let Some(renamed) = self.expression(text)
            {
                edits.push((path, FieldEdit::Assign(Literal::Scalar(Value::Str(renamed)))));
            }
        }
        edits
    }

    /// `overlay."SELECT".FIELD`, if it names the old node.
    fn overlay(&self, path: &FieldPath) -> Option<FieldPath> {
        match path.segments() {
            [overlay, select, rest @ ..] if overlay == "overlay" && !rest.is_empty() => {
                let begins = [overlay.clone(), self.expression(select)?];
                FieldPath::new(begins.into_iter().chain(rest.iter().cloned()).collect())
            }
            _ => None,
        }
    }

    fn expression(&self, text: &str) -> Option<String> {
        let is_old = |word: &str| word.len() >= SHORT && self.old.starts_with(&word.to_ascii_lowercase());
        rename_node(text, is_old, &self.new)
    }
}
