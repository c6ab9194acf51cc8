//! What a machine says of a resource: one scalar in its own observed shard, written on transitions only.
//!
//! ```text
//! key    <kind>/<name>
//! value  "<state> <change, 16 hex or -> <revision, 16 hex or -> <since, seconds> <code> <message>"
//! ```

use crate::limits;
use crate::value::Value;

/// How a resource stands on one machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceState {
    /// As wanted (removed, if that is wanted).
    Applied,
    /// In conflict: the machine keeps what it runs.
    Held,
    /// It was tried and did not work.
    Failed,
    /// Changed by somebody else since it was applied.
    Drifted,
    /// Not tried: the machine's own policy, or a field that is missing.
    Blocked,
    /// An operator asked to leave it alone for a while.
    Paused,
    /// Once applied, no longer meant for this machine, left as it was.
    Released,
    /// This version does not understand it.
    Unsupported,
    /// What a newer version says.
    Other(String),
}

impl ResourceState {
    /// The word for it.
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

    /// Reads the word.
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

/// What one machine says of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedState {
    /// How it stands.
    pub state: ResourceState,
    /// The newest change of the resource that the machine had seen, as a prefix of its id; empty for none.
    pub change: String,
    /// The revision of the resource that it had seen; empty for none.
    pub revision: String,
    /// Since when, in seconds since 1970 by the machine's own clock.
    pub since: i64,
    /// An exit code or errno, 0 for none.
    pub code: i64,
    /// Why, in a few words.
    pub message: String,
}

/// Hex digits of a change id that are written.
pub const CHANGE_PREFIX_HEX_DIGITS: usize = 16;

impl ObservedState {
    /// The stored form. Control characters and what is too long go from the message.
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

    /// Reads the stored form; `None` if it is something else (a newer version's, perhaps).
    pub fn decode(value: &Value) -> Option<Self> {
        let mut words = value.as_str()?.splitn(6, ' ');
        let empty_if_dash = |word: &str| if word == "-" { String::new() } else { word.to_owned() };
        Some(Self {
            state: ResourceState::parse(words.next()?),
            change: empty_if_dash(words.next()?),
            revision: empty_if_dash(words.next()?),
            since: words.next()?.parse().ok()?,
            code: words.next()?.parse().ok()?,
            message: words.next().unwrap_or_default().to_owned(),
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
