//! The history: log entries, differences, and the plan of a write.

use larder_core::resource::ResourceName;
use larder_core::resource::edit_transaction;
use larder_core::resource::view::ResourceView;
use larder_core::shard::Shard;
use larder_core::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use super::{HasSchema, JsonTime, JsonValue, NodeRef};

/// The response of `log`: `larder.log/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeLog {
    /// The heads whose history is listed.
    pub heads: Vec<String>,
    /// The entries, newest first, each before the changes that it builds on.
    pub changes: Vec<ChangeEntry>,
    /// True if there are older entries.
    pub more: bool,
    /// The heads at the point that `--at` names; absent for the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl HasSchema for ChangeLog {
    const SCHEMA: &'static str = "larder.log/1";
}

/// One change, or one membership record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeEntry {
    /// The id of the change or record.
    pub id: String,
    /// The part of the group that it belongs to.
    pub source: ChangeSource,
    /// The node that wrote it.
    pub node: Option<NodeRef>,
    /// The user on that node.
    pub user: String,
    /// The time of writing, by the clock of the author.
    pub time: JsonTime,
    /// The operator's reason; of a record, what it does.
    pub message: String,
    /// The command line, without its values.
    pub command: String,
    /// The changes that it directly builds on.
    pub deps: Vec<String>,
    /// The nearest listed entries that it builds on, to which a graph draws its lines.
    #[serde(default)]
    pub parents: Vec<String>,
    /// True if the author's signature is valid.
    pub verified: bool,
    /// The fault of the author's clock, if `time` shows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockFault>,
    /// The resources that it touches.
    pub touches: Vec<TouchedResource>,
    /// The fields that it changed, if the request asked for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<FieldDiff>,
}

word_enum! {
    /// The part of the group that a log entry belongs to.
    pub enum ChangeSource {
        /// A change of the desired state.
        Desired = "desired",
        /// A change of a node's observed state.
        Observed = "observed",
        /// A membership record.
        Membership = "membership",
    }
}

word_enum! {
    /// A fault of the clock of a change's author.
    pub enum ClockFault {
        /// The change is dated before a change that it builds on.
        Behind = "behind",
        /// The change is dated in the future.
        Ahead = "ahead",
    }
}

/// A resource that a change touches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TouchedResource {
    /// The resource, as `<kind>/<name>`.
    pub resource: String,
    /// The paths of the fields.
    pub fields: Vec<String>,
    /// The effect on the fields.
    pub op: FieldOp,
}

word_enum! {
    /// The effect of a change on a field.
    pub enum FieldOp {
        /// The change set the field.
        Set = "set",
        /// The change unset the field.
        Unset = "unset",
        /// The change removed the resource.
        Remove = "remove",
    }
}

impl From<larder_core::history::FieldOp> for FieldOp {
    fn from(op: larder_core::history::FieldOp) -> Self {
        match op {
            larder_core::history::FieldOp::Set => Self::Set,
            larder_core::history::FieldOp::Unset => Self::Unset,
            larder_core::history::FieldOp::Remove => Self::Remove,
        }
    }
}

/// The response of `show`: `larder.show/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeDetail {
    /// The change or record.
    pub change: ChangeEntry,
    /// The heads at the point that `--at` names; absent for the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl HasSchema for ChangeDetail {
    const SCHEMA: &'static str = "larder.show/1";
}

/// The response of `diff`: `larder.diff/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiffReport {
    /// The heads of the older side.
    pub from: Vec<String>,
    /// The heads of the newer side.
    pub to: Vec<String>,
    /// The fields that differ, in order of resource and field.
    pub edits: Vec<FieldDiff>,
    /// The heads at the point that `--at` names; absent for the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl HasSchema for DiffReport {
    const SCHEMA: &'static str = "larder.diff/1";
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldDiff {
    /// The resource, as `<kind>/<name>`.
    pub resource: String,
    /// The field's path.
    pub field: String,
    /// The effect on the field.
    pub op: FieldOp,
    /// The former value; `None` for unset.
    pub old: Option<JsonValue>,
    /// The new value; `None` for unset.
    pub new: Option<JsonValue>,
    /// The change that wrote the new value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

/// The effect that a write would have: `larder.plan/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WritePlan {
    /// The heads to which the plan applies, for `apply --base`.
    pub base: Vec<String>,
    /// The fields that would change, in order of resource and field.
    pub edits: Vec<FieldDiff>,
}

impl HasSchema for WritePlan {
    const SCHEMA: &'static str = "larder.plan/1";
}

impl WritePlan {
    /// Computes the effect of `puts` on the desired state.
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
                let op = match new {
                    Some(_) if is_removal => FieldOp::Remove,
                    Some(_) => FieldOp::Set,
                    None => FieldOp::Unset,
                };
                edits.push(FieldDiff {
                    resource: name.to_string(),
                    field: path.to_owned(),
                    op,
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
