//! What happened.

use larder_core::resource::ResourceName;
use larder_core::resource::edit_transaction;
use larder_core::resource::view::ResourceView;
use larder_core::shard::Shard;
use larder_core::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use super::{HasSchema, JsonTime, JsonValue, NodeRef};

/// `larder.log/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeLog {
    /// The heads that this is the history of.
    pub heads: Vec<String>,
    /// Newest first; every change before what it was built on.
    pub changes: Vec<ChangeEntry>,
    /// True if there are older ones that were not asked for.
    pub more: bool,
    /// The heads that `--at` stands for, none if nothing was written by then; left out of the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl HasSchema for ChangeLog {
    const SCHEMA: &'static str = "larder.log/1";
}

/// One change, or one membership record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeEntry {
    /// Its whole id.
    pub id: String,
    /// `desired`, `observed` or `membership`.
    pub source: String,
    /// The node that wrote it.
    pub node: Option<NodeRef>,
    /// The user there.
    pub user: String,
    /// When, by that node's clock.
    pub time: JsonTime,
    /// Why, in the operator's words.
    pub message: String,
    /// The command, with its values cut out.
    pub command: String,
    /// What it was built on, apart from what that was built on itself.
    pub deps: Vec<String>,
    /// The same of the changes that are listed: what lines of a graph lead to.
    #[serde(default)]
    pub parents: Vec<String>,
    /// True if its author's signature holds.
    pub verified: bool,
    /// What its author's clock did: `behind` what it was built on, `ahead` of this node's own; left out where
    /// it disagreed with neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<String>,
    /// What it touches.
    pub touches: Vec<TouchedResource>,
    /// What it did, if that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<FieldDiff>,
}

/// One touched resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TouchedResource {
    /// `<kind>/<name>`.
    pub resource: String,
    /// The fields.
    pub fields: Vec<String>,
    /// `set`, `unset` or `remove`.
    pub op: String,
}

/// `larder.show/1`: one change and what it did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeDetail {
    /// The change.
    pub change: ChangeEntry,
    /// The heads that `--at` stands for, none if nothing was written by then; left out of the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl HasSchema for ChangeDetail {
    const SCHEMA: &'static str = "larder.show/1";
}

/// `larder.diff/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiffReport {
    /// The heads on one side,
    pub from: Vec<String>,
    /// and on the other.
    pub to: Vec<String>,
    /// What differs, in order of resource and field.
    pub edits: Vec<FieldDiff>,
    /// The heads that `--at` stands for, none if nothing was written by then; left out of the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl HasSchema for DiffReport {
    const SCHEMA: &'static str = "larder.diff/1";
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldDiff {
    /// `<kind>/<name>`.
    pub resource: String,
    /// The field's path.
    pub field: String,
    /// `set`, `unset` or `remove`.
    pub op: String,
    /// What it was; `None` for unset.
    pub old: Option<JsonValue>,
    /// What it is.
    pub new: Option<JsonValue>,
    /// The change that wrote that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

/// `larder.plan/1`: what a write would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WritePlan {
    /// The heads that it was drawn up against: what `apply --base` takes.
    pub base: Vec<String>,
    /// What would differ, in order of resource and field.
    pub edits: Vec<FieldDiff>,
}

impl HasSchema for WritePlan {
    const SCHEMA: &'static str = "larder.plan/1";
}

impl WritePlan {
    /// What these puts would change.
    pub fn new(desired: &Shard, puts: &BTreeMap<String, Value>) -> Self {
        let after = edit_transaction::preview_state(desired.state(), puts);
        let touched: BTreeSet<ResourceName> =
            puts.keys().filter_map(|key| ResourceName::split_key(key)).map(|(name, _)| name).collect();
        let mut edits = Vec::new();
        for name in touched {
            let (old, new) = (ResourceView::read(desired.state(), &name), ResourceView::read(&after, &name));
            let paths: BTreeSet<&str> =
                old.iter().chain(&new).flat_map(|view| view.fields.keys().copied()).collect();
            for path in paths {
                let value = |view: &Option<ResourceView<'_>>| view.as_ref().and_then(|view| view.value(path));
                let resolves_conflict =
                    old.as_ref().is_some_and(|view| view.fields.get(path).is_some_and(|f| f.is_conflicted()))
                        && new
                            .as_ref()
                            .is_some_and(|view| view.fields.get(path).is_some_and(|f| !f.is_conflicted()));
                let (old, new) = (value(&old), value(&new));
                if old == new && !resolves_conflict {
                    continue;
                }
                let is_removal = path == "ensure" && new.as_ref().is_some_and(|new| *new == absent_literal());
                let op = if is_removal {
                    "remove"
                } else if new.is_some() {
                    "set"
                } else {
                    "unset"
                };
                edits.push(FieldDiff {
                    resource: name.to_string(),
                    field: path.to_owned(),
                    op: op.to_owned(),
                    old: old.map(JsonValue),
                    new: new.map(JsonValue),
                    change: None,
                });
            }
        }
        Self { base: desired.graph().heads().iter().map(ToString::to_string).collect(), edits }
    }
}

fn absent_literal() -> larder_core::resource::literal::Literal {
    larder_core::resource::literal::Literal::Scalar(Value::from("absent"))
}
