//! The state of a resource that a node reports: one value in the node's observed shard, written when the
//! state changes.
//!
//! ```text
//! key    <kind>/<name>
//! value  "<state> <change, 16 hex or -> <revision, 16 hex or -> <since, seconds> <code> <message>"
//! ```

use crate::limits;
use crate::value::Value;

/// The state of a resource on one node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceState {
    /// The host has the desired state, or the resource is removed as desired.
    Applied,
    /// The resource is in conflict, and the node keeps what it applied before.
    Held,
    /// The node tried to apply the resource and failed.
    Failed,
    /// The resource was changed on the host after the node applied it.
    Drifted,
    /// The node did not try: its own policy forbids it, or a field is missing.
    Blocked,
    /// An operator paused the resource on this node.
    Paused,
    /// The resource no longer applies to this node and was left as it was.
    Released,
    /// The node's version does not know the kind or a field.
    Unsupported,
    /// A state of a newer version.
    Other(String),
}

impl ResourceState {
    /// The name of the state, as stored and shown.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Applied => "applied",
            Self::Held => "held",
            Self::Failed => "failed",
            Self::Drifted => "drifted",
            Self::Blocked => "blocked",
            Self::Paused => "paused",
            Self::Released => "released",
            Self::Unsupported => "unsupported",
            Self::Other(word) => word,
        }
    }

    /// Parses the name of a state.
    pub fn parse(word: &str) -> Self {
        match word {
            "applied" => Self::Applied,
            "held" => Self::Held,
            "failed" => Self::Failed,
            "drifted" => Self::Drifted,
            "blocked" => Self::Blocked,
            "paused" => Self::Paused,
            "released" => Self::Released,
            "unsupported" => Self::Unsupported,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// The state of one resource as one node reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedState {
    /// The state of the resource.
    pub state: ResourceState,
    /// A prefix of the id of the resource's newest change that the node had applied or tried; empty for none.
    pub change: String,
    /// The resource's revision that the node had applied or tried; empty for none.
    pub revision: String,
    /// The time since which the state holds, in seconds since 1970 by the node's clock.
    pub since: i64,
    /// An exit code or errno, or 0.
    pub code: i64,
    /// The reason, in a few words.
    pub message: String,
}

/// The number of hex digits of a change id that are stored.
pub const CHANGE_PREFIX_HEX_DIGITS: usize = 16;

impl ObservedState {
    /// Encodes the state. Control characters in the message become spaces, and a long message is cut.
    pub fn encode(&self) -> Value {
        let dash_if_empty = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let message: String = self.message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut message = message.trim().to_owned();
        while message.len() > limits::MAX_OBSERVED_MESSAGE_BYTES {
            message.pop();
        }
        let (change, revision) = (dash_if_empty(&self.change), dash_if_empty(&self.revision));
        let line =
            format!("{} {change} {revision} {} {} {message}", self.state.as_str(), self.since, self.code);
        Value::Str(line.trim_end().to_owned())
    }

    /// Decodes a state, or returns `None` if this version cannot read the value.
    pub fn decode(value: &Value) -> Option<Self> {
        let mut parts = value.as_str()?.splitn(6, ' ');
        let empty_if_dash = |word: &str| if word == "-" { String::new() } else { word.to_owned() };
        Some(Self {
            state: ResourceState::parse(parts.next()?),
            change: empty_if_dash(parts.next()?),
            revision: empty_if_dash(parts.next()?),
            since: parts.next()?.parse().ok()?,
            code: parts.next()?.parse().ok()?,
            message: parts.next().unwrap_or_default().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observed_state_decodes_to_what_was_encoded() {
        let observed = ObservedState {
            state: ResourceState::Failed,
            change: "0123456789abcdef".into(),
            revision: String::new(),
            since: 1_700_000_000,
            code: 13,
            message: "permission denied: etc/x".into(),
        };
        assert_eq!(ObservedState::decode(&observed.encode()), Some(observed.clone()));
        let plain = ObservedState { message: String::new(), ..observed.clone() };
        assert_eq!(ObservedState::decode(&plain.encode()), Some(plain));
        let long = ObservedState { message: "é".repeat(200) + "\n\u{1b}[31m", ..observed };
        let decoded = ObservedState::decode(&long.encode()).unwrap();
        assert!(decoded.message.len() <= limits::MAX_OBSERVED_MESSAGE_BYTES);
        assert!(!decoded.message.contains('\u{1b}'));
        assert_eq!(ObservedState::decode(&Value::from("x")), None);
    }
}
