//! What happens, one line at a time.

use serde::{Deserialize, Serialize};

use super::{HasSchema, JsonTime, NodeRef, TouchedResource};

/// `larder.event/1`. What does not apply to an event is left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WatchEvent {
    /// `change`, `apply`, `hold`, `drift`, `member`, `conflict`, `net`, `sync`; `stream` for what the stream
    /// says of itself.
    pub kind: String,
    /// What of that sort: `accepted`, `retracted`, `applied`, `failed`, `granted`, `up`, ...
    pub op: String,
    /// Where to go on after this event: what `watch --since` takes.
    pub id: String,
    /// True if it is told again to whoever goes on from before it; what is not is told once, to those who
    /// watch.
    pub durable: bool,
    /// When: by the author's clock, or by that of the node that tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<JsonTime>,
    /// Which node did it, or with which it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeRef>,
    /// The user there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The change or record that it is: what `show` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// `<kind>/<name>`, of what is about one resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The field, of what is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What a change touches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub touches: Vec<TouchedResource>,
    /// Why, in the operator's words, or what the machine said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The command of a change, with its values cut out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// The newest change of the resource that the machine had seen, by its first digits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub seen: String,
    /// How many events that are told once were lost, since the reader was too slow for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}

impl HasSchema for WatchEvent {
    const SCHEMA: &'static str = "larder.event/1";
}
