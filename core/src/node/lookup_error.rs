//! The error of a name that is looked up in [`super::name_lookup`].

use std::fmt::{self, Display};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A group of this node.
    Group,
    /// A member of a group.
    Node,
    /// A change or record of the history.
    Change,
    /// A tag or a change.
    HistoryPoint,
    /// A change that is not accepted.
    UnacceptedChange,
    /// An invite that was made on this node.
    Invite,
    /// A node that waits to be admitted.
    JoinRequest,
}

impl Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Group => "group",
            Self::Node => "node",
            Self::Change => "change",
            Self::HistoryPoint => "change or tag",
            Self::UnacceptedChange => "unaccepted change",
            Self::Invite => "invite",
            Self::JoinRequest => "join request",
        })
    }
}

/// The error of a name that does not stand for exactly one thing. The fault is the caller's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Nothing here has that name, and no id begins with it.
    #[error("no {0} `{1}` here")]
    NotFound(NameKind, String),
    /// More than one thing has that name, or an id that begins with it.
    #[error("`{text}` fits more than one {kind}")]
    Ambiguous {
        /// The kind of thing that was looked for.
        kind: NameKind,
        /// The name as it was typed.
        text: String,
        /// The full ids that it fits, in order.
        candidates: Vec<String>,
    },
    /// No group was named, and this node is in none.
    #[error("this node is in no group")]
    NoGroup,
    /// No group was named, and this node is in several: their names.
    #[error("this node is in several groups; say which with --group")]
    GroupNotNamed(Vec<String>),
    /// The change is not one of the desired state.
    #[error("{0} is no change of the desired state, and only those can be reverted")]
    NotDesired(String),
}
