//! Who wrote what stands.

use serde::{Deserialize, Serialize};

use super::{Plain, Time, View, Who};

/// `larder.blame/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Blame {
    /// `<kind>/<name>`.
    pub resource: String,
    /// The fields that are set, in order.
    pub fields: Vec<BlameRow>,
    /// The heads that `--at` stands for, none if nothing was written by then; left out of the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
}

impl View for Blame {
    const SCHEMA: &'static str = "larder.blame/1";
}

/// One field.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlameRow {
    /// Its path.
    pub field: String,
    /// Its value; of several, the winner.
    pub value: Plain,
    /// Who wrote it.
    #[serde(flatten)]
    pub origin: Origin,
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
    pub origin: Origin,
    /// True if it may be older than that: nobody looked further back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub older: bool,
}

/// A change that wrote something, and whose it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its whole id.
    pub change: String,
    /// The node that wrote it.
    pub node: Option<Who>,
    /// The user there.
    pub user: String,
    /// When, by that node's clock.
    pub time: Time,
}
