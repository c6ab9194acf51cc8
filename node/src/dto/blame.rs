//! The authors of a resource's fields and lines.

use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime, JsonValue, NodeRef};

/// The response of `blame`: `larder.blame/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlameReport {
    /// The resource, as `<kind>/<name>`.
    pub resource: String,
    /// The fields that are set, in order of path.
    pub fields: Vec<BlameField>,
    /// The heads at the point that `--at` names; absent for the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl HasSchema for BlameReport {
    const SCHEMA: &'static str = "larder.blame/1";
}

/// One field with its author.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlameField {
    /// The field's path.
    pub field: String,
    /// The field's value; of a conflict, the winner.
    pub value: JsonValue,
    /// The change that wrote the value.
    #[serde(flatten)]
    pub origin: ChangeOrigin,
    /// The lines of a text that has more than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<BlameLine>,
}

/// One line of a text with its author.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlameLine {
    /// The line without its line ending.
    pub text: String,
    /// The change that wrote the line.
    #[serde(flatten)]
    pub origin: ChangeOrigin,
    /// True if the search ended at this change, so that the line may be older.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_older: bool,
}

/// A change and its author.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeOrigin {
    /// The id of the change.
    pub change: String,
    /// The node that wrote the change.
    pub node: Option<NodeRef>,
    /// The user on that node.
    pub user: String,
    /// The time of the change, by the clock of its author.
    pub time: JsonTime,
}
