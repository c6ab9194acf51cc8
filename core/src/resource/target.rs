//! What one machine should do about each resource: the group's wish, seen from here.
//!
//! A conflict never moves a machine: it keeps what it runs (*hold*) until somebody settles it, unless the resource says
//! `on_conflict = "winner"`. A machine that runs none of the values applies what all sides started from, if that is one
//! value, and else nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::claim;
use super::conflict::conflicts_of;
use super::field::FieldPath;
use super::kind::{Holds, Kind, kind};
use super::literal::Literal;
use super::name::ResourceName;
use super::select::{Labels, Select};
use super::view::{FieldView, NodeLabels, ResourceView, resources};
use crate::id::{ChangeId, NodeId, SHORT};
use crate::record::Members;
use crate::shard::Shard;
use crate::value::Value;

/// The fields of a resource as they are to be applied.
pub type Fields = BTreeMap<String, Literal>;

/// What this machine runs: the fields last applied with success, by resource.
pub type Applied = BTreeMap<ResourceName, Fields>;

/// What to do about one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which one.
    pub resource: ResourceName,
    /// The state of the document that this follows from.
    pub revision: String,
    /// The newest change in that state.
    pub change: Option<ChangeId>,
    /// What to do.
    pub intent: Intent,
}

/// What to do about a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Make it so. Fields in `held` are in conflict; their values here are what the machine runs, or the base.
    Apply {
        /// The fields.
        fields: Fields,
        /// Those in conflict.
        held: Vec<String>,
    },
    /// In conflict: leave it as it is.
    Keep {
        /// The fields in conflict.
        held: Vec<String>,
    },
    /// Remove what this machine applied, if it did.
    Remove,
    /// No longer meant for this machine: leave it and forget it.
    Release,
    /// Do nothing, for this reason.
    Block(String),
    /// Do nothing: this version does not understand it.
    Unsupported(String),
}

/// A node, as label expressions see it.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// Who it is.
    pub id: NodeId,
    /// Its alias and labels.
    pub labels: &'a NodeLabels,
}

impl Labels for Node<'_> {
    fn label(&self, key: &str) -> Option<String> {
        self.labels.labels.get(key).cloned()
    }

    fn is_called(&self, text: &str) -> bool {
        let by_id = text.len() >= SHORT && self.id.to_string().starts_with(&text.to_ascii_lowercase());
        by_id || self.labels.alias.as_deref() == Some(text)
    }
}

/// True if a resource is meant for a node. A selection that this version cannot read means nobody.
pub fn is_selected(view: &ResourceView<'_>, node: &Node<'_>) -> bool {
    match view.text("select") {
        None => true,
        Some(text) => text.parse::<Select>().is_ok_and(|select| select.matches(node)),
    }
}

/// What `node` should do about every resource that it runs or that is meant for it.
pub fn targets(desired: &Shard, members: &Members, node: &NodeId, applied: &Applied) -> Vec<Target> {
    if !members.contains(node) {
        return released(applied);
    }
    let labels = NodeLabels::read(desired.state(), members, node);
    let node = Node { id: *node, labels: &labels };
    let mut targets: Vec<Target> = resources(desired.state())
        .iter()
        .filter(|view| view.name.is_managed())
        .filter_map(|view| {
            let intent = Aim { desired, view, node: &node, runs: applied.get(&view.name) }.intent()?;
            let newest = view.ops().last().and_then(|op| desired.graph().writer(op)).map(|entry| entry.id);
            Some(Target { resource: view.name.clone(), revision: view.revision(), change: newest, intent })
        })
        .collect();
    claim::hold_claimed(&mut targets);
    targets
}

/// The paths that a resource wants on any node, each in the one form that [`claim::spot`] gives it.
pub(super) fn paths(view: &ResourceView<'_>) -> BTreeSet<String> {
    let says_so = |field: &str| field == "path" || overlay(field).is_some_and(|(_, inner)| inner == "path");
    let fields = view.fields.keys().filter(|field| says_so(field));
    fields.filter_map(|field| view.text(field)).map(|path| claim::spot(&path)).collect()
}

/// The path that a resource wants on a node, and the field that says so.
pub(super) fn path_on(view: &ResourceView<'_>, node: &Node<'_>) -> Option<(String, String)> {
    let text = |field: &str| view.text(field).map(|path| (field.to_owned(), path));
    let overlays = view.fields.keys().filter(|field| {
        overlay(field).is_some_and(|(select, inner)| inner == "path" && select.matches(node))
    });
    overlays.filter_map(|field| text(field)).next_back().or_else(|| text("path"))
}

/// Whoever is no member manages nothing of the group's any more, and leaves it as it stands.
fn released(applied: &Applied) -> Vec<Target> {
    let release = |resource: &ResourceName| Target {
        resource: resource.clone(),
        revision: String::new(),
        change: None,
        intent: Intent::Release,
    };
    applied.keys().map(release).collect()
}

/// The fields that count on one machine, each with the path where the resource has it (which is another one for what
/// an overlay sets).
type Effective<'a> = BTreeMap<String, (&'a str, FieldView<'a>)>;

struct Aim<'a> {
    desired: &'a Shard,
    view: &'a ResourceView<'a>,
    node: &'a Node<'a>,
    runs: Option<&'a Fields>,
}

impl Aim<'_> {
    /// `None` if the resource is not this machine's business.
    fn intent(&self) -> Option<Intent> {
        if !is_selected(self.view, self.node) {
            return self.runs.map(|_| if self.view.is_removed() { Intent::Remove } else { Intent::Release });
        }
        let Some(kind) = kind(self.view.name.kind()) else {
            return Some(Intent::Unsupported(format!(
                "kind {} is not known to this version",
                self.view.name.kind()
            )));
        };
        let effective = self.effective();
        let mut contested = self.contested(kind, &effective);
        if self.winner_decides() {
            contested = Contested::default();
        }
        if !contested.whole.is_empty() {
            return Some(self.hold(kind, &effective, contested.whole));
        }
        if self.view.is_removed() {
            return Some(Intent::Remove);
        }
        Some(self.apply(kind, &effective, contested.fields))
    }

    fn apply(&self, kind: &Kind, effective: &Effective<'_>, held: BTreeSet<String>) -> Intent {
        if let Some(unknown) = effective.iter().find_map(|(path, (_, field))| self.unknown(kind, path, field))
        {
            return Intent::Unsupported(format!("field {unknown} is not known to this version"));
        }
        let mut fields = Fields::new();
        for (path, (source, field)) in effective {
            let value = match (held.contains(path), self.runs) {
                (false, _) => field.value(),
                (true, Some(runs)) if runs.contains_key(path) => runs.get(path).cloned(),
                (true, _) => self.base(source),
            };
            fields.extend(value.map(|value| (path.clone(), value)));
        }
        let missing: Vec<_> =
            kind.required.iter().filter(|name| !fields.contains_key(**name)).copied().collect();
        if !missing.is_empty() {
            return Intent::Block(format!("incomplete: {}", missing.join(", ")));
        }
        Intent::Apply { fields, held: held.into_iter().collect() }
    }

    /// The whole resource stays as it is; where the machine runs nothing of it, as it was before the sides parted.
    fn hold(&self, kind: &Kind, effective: &Effective<'_>, held: BTreeSet<String>) -> Intent {
        let keep = Intent::Keep { held: held.iter().cloned().collect() };
        let settled = !held.contains("ensure")
            && held.iter().all(|path| {
                let source = effective.get(path).map_or(path.as_str(), |(source, _)| source);
                self.base(source).is_some()
            });
        if self.runs.is_some() || !settled || self.view.is_removed() {
            return keep;
        }
        match self.apply(kind, effective, held) {
            apply @ Intent::Apply { .. } => apply,
            _ => keep,
        }
    }

    fn unknown(&self, kind: &Kind, path: &str, field: &FieldView<'_>) -> Option<String> {
        let known = path.parse::<FieldPath>().is_ok_and(|path| kind.shape(&path).is_some());
        (!known && field.value().is_some()).then(|| path.to_owned())
    }

    /// The fields that count here: those of the resource, overlaid by those for selected nodes like this one.
    fn effective(&self) -> Effective<'_> {
        let mut effective = Effective::new();
        for (path, field) in &self.view.fields {
            if !path.starts_with("overlay.") {
                effective.insert((*path).to_owned(), (path, field.clone()));
            }
        }
        for (path, field) in &self.view.fields {
            let Some((select, inner)) = overlay(path) else { continue };
            if select.matches(self.node) && (field.value().is_some() || field.is_conflicted()) {
                effective.insert(inner, (path, field.clone()));
            }
        }
        effective
    }

    fn winner_decides(&self) -> bool {
        let on_conflict = self.view.fields.get("on_conflict");
        on_conflict.is_some_and(|field| {
            !field.is_conflicted() && self.view.text("on_conflict").as_deref() == Some("winner")
        })
    }

    fn contested(&self, kind: &Kind, effective: &Effective<'_>) -> Contested {
        let mut contested = Contested::default();
        for path in effective.iter().filter(|(_, (_, field))| field.is_conflicted()).map(|(path, _)| path) {
            let whole =
                kind.holds == Holds::Resource || ["ensure", "path", "select"].contains(&path.as_str());
            // A conflict in on_conflict itself means hold, which is what happens anyway.
            match path.as_str() {
                "on_conflict" => false,
                _ if whole => contested.whole.insert(path.clone()),
                _ => contested.fields.insert(path.clone()),
            };
        }
        if self.view.is_removed() && !conflicts_of(self.desired, self.view).is_empty() {
            contested.whole.insert("ensure".to_owned());
        }
        for label in self.labels_used() {
            if self.node.labels.conflicted.contains(&label) {
                contested.whole.insert(format!("label {label}"));
            }
        }
        contested
    }

    fn labels_used(&self) -> BTreeSet<String> {
        let select = self.view.text("select").and_then(|text| text.parse::<Select>().ok());
        let overlays = self.view.fields.keys().filter_map(|path| overlay(path)).map(|(select, _)| select);
        let all: Vec<Select> = select.into_iter().chain(overlays).collect();
        let keys = all.iter().flat_map(Select::keys);
        keys.map(|key| if key == "node" { "alias" } else { key }.to_owned()).collect()
    }

    fn base(&self, path: &str) -> Option<Literal> {
        conflicts_of(self.desired, self.view).into_iter().find(|conflict| conflict.field == path)?.base
    }
}

/// Fields in conflict.
#[derive(Default)]
struct Contested {
    /// Those that stop the whole resource.
    whole: BTreeSet<String>,
    /// Those that stop just themselves.
    fields: BTreeSet<String>,
}

/// Takes `overlay."SELECT".FIELD` apart.
fn overlay(path: &str) -> Option<(Select, String)> {
    let path: FieldPath = path.strip_prefix("overlay.").and(path.parse().ok())?;
    let inner = path.rest()?;
    Some((inner.first().parse().ok()?, inner.rest()?.to_string()))
}

/// The text of a field.
pub fn text<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    match fields.get(name) {
        Some(Literal::Scalar(Value::Str(text))) => Some(text),
        _ => None,
    }
}
