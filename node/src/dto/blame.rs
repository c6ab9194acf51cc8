//! Who wrote what stands.

use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime, JsonValue, NodeRef};

/// `larder.blame/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlameReport {
    /// `<kind>/<name>`.
    pub resource: String,
    /// The fields that are set, in order.
    pub fields: Vec<BlameField>,
    /// The heads that `--at` stands for, none if nothing was written by then; left out of the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl HasSchema for BlameReport {
    const SCHEMA: &'static str = "larder.blame/1";
}

/// One field.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlameField {
    /// Its path.
    pub field: String,
    /// Its value; of several, the winner.
    pub value: JsonValue,
    /// Who wrote it.
    #[serde(flatten)]
    pub origin: ChangeOrigin,
    /// Of a text with more than one line, each by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<BlameLine>,
}

/// One line of a text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlameLine {
    /// The line, without what ends it.
    pub text: String,
    /// Who wrote it.
    #[serde(flatten)]
    pub origin: ChangeOrigin,
    /// True if it may be older than that: nobody looked further back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_older: bool,
}

/// A change that wrote something, and whose it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeOrigin {
    /// Its whole id.
    pub change: String,
    /// The node that wrote it.
    pub node: Option<NodeRef>,
    /// The user there.
    pub user: String,
    /// When, by that node's clock.
    pub time: JsonTime,
}
