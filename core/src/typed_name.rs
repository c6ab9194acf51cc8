//! Names in requests: as an operator typed them, or ids that are known already. [`crate::node::name_lookup`]
//! turns the former into the latter under the same `now` in which a request is carried out.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{ChangeId, GroupId, NodeId};

macro_rules! typed_name {
    ($(#[$meta:meta])* $name:ident, $id:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(untagged)]
        pub enum $name {
            /// The text that an operator typed.
            Typed(String),
            /// The id. It does not travel in JSON.
            #[serde(skip)]
            Id($id),
        }

        impl From<$id> for $name {
            fn from(id: $id) -> Self {
                Self::Id(id)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::Typed(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::Typed(text.to_owned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::Typed(text) => f.write_str(text),
                    Self::Id(id) => f.write_str(&id.short()),
                }
            }
        }
    };
}

typed_name! {
    /// A node: its alias, or a unique prefix of its id.
    NodeName, NodeId
}
typed_name! {
    /// A change: a unique prefix of its id.
    ChangeName, ChangeId
}

/// The group that a request is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum GroupName {
    /// The only group of which this node is a member.
    #[default]
    Only,
    /// The group's name, or a unique prefix of its id, as an operator typed it.
    Typed(String),
    /// The id.
    Id(GroupId),
}

impl From<GroupId> for GroupName {
    fn from(id: GroupId) -> Self {
        Self::Id(id)
    }
}

/// A point of a group's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HistoryPoint {
    /// The present.
    Present,
    /// A time in seconds since 1970, by the clocks of the authors.
    Time(i64),
    /// A tag, a change, or several changes with commas between, as an operator typed it.
    Named(String),
    /// The heads at that point.
    #[serde(skip)]
    Heads(Vec<ChangeId>),
}
