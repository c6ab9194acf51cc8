//! The plan of one node: what it should do for each resource.
//!
//! A conflict changes nothing on a host: the node keeps what it applied before (*hold*) until the conflict is
//! resolved, unless the resource has `on_conflict = "winner"`. A node that applied none of the values applies
//! the last common value of all sides, if there was exactly one.

use std::collections::{BTreeMap, BTreeSet};

use super::assignment::{LabelledNode, is_selected, normalize_path, parse_overlay};
use super::conflict::conflicts_of;
use super::field::FieldPath;
use super::literal::Literal;
use super::name::ResourceName;
use super::schema::{ConflictScope, ResourceSchema, find_schema};
use super::selector::Selector;
use super::view::{FieldView, NodeLabels, ResourceView, resources};
use crate::id::{ChangeId, NodeId};
use crate::record::Membership;
use crate::shard::Shard;
use crate::value::Value;

/// The fields of a resource with the values to apply.
pub type FieldValues = BTreeMap<String, Literal>;

/// The fields that a node last applied successfully, by resource.
pub type AppliedFields = BTreeMap<ResourceName, FieldValues>;

/// The plan for one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The planned resource.
    pub resource: ResourceName,
    /// The revision of the resource from which the plan follows.
    pub revision: String,
    /// The newest change of that revision.
    pub change: Option<ChangeId>,
    /// The action to take.
    pub action: Action,
}

/// What a node should do for a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Applies the fields. A field in conflict has the value that the node applied before, or the last common
    /// value.
    Apply {
        /// The fields to apply.
        fields: FieldValues,
        /// The fields in conflict.
        conflicted: Vec<String>,
    },
    /// Leaves the resource as it is, because it is in conflict.
    Keep {
        /// The fields in conflict.
        conflicted: Vec<String>,
    },
    /// Removes what the node applied.
    Remove,
    /// Gives the resource up, because it no longer applies to the node: a file stays, a config gives its keys
    /// back.
    Release,
    /// Forgets the resource and leaves everything as it is, because the node is no longer a member.
    Forget,
    /// Does nothing, for this reason.
    Block(String),
    /// Does nothing, because this version does not know the kind or a field.
    Unsupported(String),
}

/// The targets of a node: one for every resource that applies to it or that it applied before.
pub fn plan_targets(
    desired: &Shard,
    members: &Membership,
    node: &NodeId,
    applied: &AppliedFields,
) -> Vec<Target> {
    if !members.is_member(node) {
        return forget_all(applied);
    }
    let labels = NodeLabels::read(desired.state(), members, node);
    let node = LabelledNode { id: *node, labels: &labels };
    let mut targets: Vec<Target> = resources(desired.state())
        .iter()
        .filter(|view| view.name.is_managed())
        .filter_map(|view| {
            let conflicts = conflicts_of(desired, view).into_iter();
            let bases = conflicts.map(|conflict| (conflict.field, conflict.base)).collect();
            let action =
                TargetPlanner { view, node: &node, applied: applied.get(&view.name), bases }.action()?;
            let newest =
                view.ops().last().and_then(|op| desired.graph().entry_of_op(op)).map(|entry| entry.id);
            Some(Target { resource: view.name.clone(), revision: view.revision(), change: newest, action })
        })
        .collect();
    keep_conflicting_paths(&mut targets);
    targets
}

/// Keeps every target whose path another target has too, so that no two targets are applied to one path.
fn keep_conflicting_paths(targets: &mut [Target]) {
    let mut targets_by_path: BTreeMap<String, usize> = BTreeMap::new();
    let path_of = |target: &Target| match &target.action {
        Action::Apply { fields, .. } => text_field(fields, "path").map(normalize_path),
        _ => None,
    };
    for path in targets.iter().filter_map(path_of) {
        *targets_by_path.entry(path).or_default() += 1;
    }
    for target in targets {
        if path_of(target).is_some_and(|path| targets_by_path.get(&path).is_some_and(|count| *count > 1)) {
            target.action = Action::Keep { conflicted: vec!["path".to_owned()] };
        }
    }
}

/// The targets of a node that is not a member: it forgets everything it applied.
fn forget_all(applied: &AppliedFields) -> Vec<Target> {
    let forget = |resource: &ResourceName| Target {
        resource: resource.clone(),
        revision: String::new(),
        change: None,
        action: Action::Forget,
    };
    applied.keys().map(forget).collect()
}

/// The fields that count on one node. Each has the path under which the resource stores it, which differs for
/// an overlay.
type EffectiveFields<'a> = BTreeMap<String, (&'a str, FieldView<'a>)>;

struct TargetPlanner<'a> {
    view: &'a ResourceView<'a>,
    node: &'a LabelledNode<'a>,
    applied: Option<&'a FieldValues>,
    /// The fields in conflict on any node, each with the last common value of all sides.
    bases: BTreeMap<String, Option<Literal>>,
}

impl TargetPlanner<'_> {
    /// The action, or `None` if the resource does not concern this node.
    fn action(&self) -> Option<Action> {
        if !is_selected(self.view, self.node) {
            return self
                .applied
                .map(|_| if self.view.is_removed() { Action::Remove } else { Action::Release });
        }
        let Some(schema) = find_schema(self.view.name.kind()) else {
            return Some(Action::Unsupported(format!(
                "kind {} is not known to this version",
                self.view.name.kind()
            )));
        };
        let effective = self.effective_fields();
        let mut conflicted = self.conflicted_fields(schema, &effective);
        if self.uses_winner() {
            conflicted = ConflictedFields::default();
        }
        if !conflicted.resource_wide.is_empty() {
            return Some(self.plan_conflicted(schema, &effective, conflicted.resource_wide));
        }
        if self.view.is_removed() {
            return Some(Action::Remove);
        }
        Some(self.plan_apply(schema, &effective, conflicted.single))
    }

    fn plan_apply(
        &self,
        schema: &ResourceSchema,
        effective: &EffectiveFields<'_>,
        conflicted: BTreeSet<String>,
    ) -> Action {
        if let Some(unknown) =
            effective.iter().find_map(|(path, (_, field))| self.unknown_field(schema, path, field))
        {
            return Action::Unsupported(format!("field {unknown} is not known to this version"));
        }
        let mut fields = FieldValues::new();
        for (path, (source, field)) in effective {
            let value = match (conflicted.contains(path), self.applied) {
                (false, _) => field.value(),
                (true, Some(applied)) if applied.contains_key(path) => applied.get(path).cloned(),
                (true, _) => self.base_of_conflict(source),
            };
            fields.extend(value.map(|value| (path.clone(), value)));
        }
        let missing: Vec<_> =
            schema.required.iter().filter(|name| !fields.contains_key(**name)).copied().collect();
        if !missing.is_empty() {
            return Action::Block(format!("incomplete: {}", missing.join(", ")));
        }
        Action::Apply { fields, conflicted: conflicted.into_iter().collect() }
    }

    /// The resource stays as it is. If the node applied nothing of it, it applies the last common value of
    /// all sides.
    fn plan_conflicted(
        &self,
        schema: &ResourceSchema,
        effective: &EffectiveFields<'_>,
        conflicted: BTreeSet<String>,
    ) -> Action {
        let keep = Action::Keep { conflicted: conflicted.iter().cloned().collect() };
        let has_common_base = !conflicted.contains("ensure")
            && conflicted.iter().all(|path| {
                let source = effective.get(path).map_or(path.as_str(), |(source, _)| source);
                self.base_of_conflict(source).is_some()
            });
        if self.applied.is_some() || !has_common_base || self.view.is_removed() {
            return keep;
        }
        match self.plan_apply(schema, effective, conflicted) {
            action @ Action::Apply { .. } => action,
            _ => keep,
        }
    }

    fn unknown_field(&self, schema: &ResourceSchema, path: &str, field: &FieldView<'_>) -> Option<String> {
        let is_known = path.parse::<FieldPath>().is_ok_and(|path| schema.field_type(&path).is_some());
        (!is_known && field.value().is_some()).then(|| path.to_owned())
    }

    /// The fields of the resource, overridden by the overlays that select this node.
    fn effective_fields(&self) -> EffectiveFields<'_> {
        let mut effective = EffectiveFields::new();
        for (path, field) in &self.view.fields {
            if !path.starts_with("overlay.") {
                effective.insert((*path).to_owned(), (path, field.clone()));
            }
        }
        for (path, field) in &self.view.fields {
            let Some((select, inner)) = parse_overlay(path) else { continue };
            if select.matches(self.node) && (field.value().is_some() || field.is_conflicted()) {
                effective.insert(inner, (path, field.clone()));
            }
        }
        effective
    }

    fn uses_winner(&self) -> bool {
        let on_conflict = self.view.fields.get("on_conflict");
        on_conflict.is_some_and(|field| {
            !field.is_conflicted() && self.view.text("on_conflict").as_deref() == Some("winner")
        })
    }

    fn conflicted_fields(
        &self,
        schema: &ResourceSchema,
        effective: &EffectiveFields<'_>,
    ) -> ConflictedFields {
        let mut conflicted = ConflictedFields::default();
        for path in effective.iter().filter(|(_, (_, field))| field.is_conflicted()).map(|(path, _)| path) {
            let is_resource_wide = schema.conflict_scope == ConflictScope::Resource
                || ["ensure", "path", "select"].contains(&path.as_str());
            // A conflict in on_conflict itself means hold, which is the default.
            match path.as_str() {
                "on_conflict" => false,
                _ if is_resource_wide => conflicted.resource_wide.insert(path.clone()),
                _ => conflicted.single.insert(path.clone()),
            };
        }
        if self.view.is_removed() && !self.bases.is_empty() {
            conflicted.resource_wide.insert("ensure".to_owned());
        }
        for label in self.labels_used_in_selectors() {
            if self.node.labels.conflicted.contains(&label) {
                conflicted.resource_wide.insert(format!("label {label}"));
            }
        }
        conflicted
    }

    fn labels_used_in_selectors(&self) -> BTreeSet<String> {
        let select = self.view.text("select").and_then(|text| text.parse::<Selector>().ok());
        let overlays =
            self.view.fields.keys().filter_map(|path| parse_overlay(path)).map(|(select, _)| select);
        let all: Vec<Selector> = select.into_iter().chain(overlays).collect();
        let keys = all.iter().flat_map(Selector::label_keys);
        keys.map(|key| if key == "node" { "alias" } else { key }.to_owned()).collect()
    }

    fn base_of_conflict(&self, path: &str) -> Option<Literal> {
        self.bases.get(path).cloned().flatten()
    }
}

/// The fields in conflict.
#[derive(Default)]
struct ConflictedFields {
    /// The fields that stop the whole resource.
    resource_wide: BTreeSet<String>,
    /// The fields that stop only themselves.
    single: BTreeSet<String>,
}

/// The text of a field, if it has a text.
pub fn text_field<'a>(fields: &'a FieldValues, name: &str) -> Option<&'a str> {
    match fields.get(name) {
        Some(Literal::Scalar(Value::Str(text))) => Some(text),
        _ => None,
    }
}
