//! `<kind>/<name>`: what a resource is called.

use std::fmt;
use std::str::FromStr;

use crate::id::NodeId;

/// Longest kind, in bytes.
const KIND_BYTES: usize = 32;
/// Longest name, in bytes.
const NAME_BYTES: usize = 128;
/// The kind under which nodes keep aliases and labels. Written by `alias` and `label` only.
pub const NODE_KIND: &str = "node";
/// The kind under which tags are kept. Written by `tag` only.
pub const TAG_KIND: &str = "tag";

/// What a resource is called: a kind and a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceName {
    kind: String,
    name: String,
}

/// A text that is no resource name. The fault is the caller's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceNameError {
    /// There is no `/`.
    #[error("`{0}` is not a resource: expected KIND/NAME, as config/db")]
    MissingSlash(String),
    /// The kind has a character it may not have.
    #[error(
        "`{0}` is not a kind: small letters, digits and dashes, beginning with a letter, at most {KIND_BYTES}"
    )]
    InvalidKind(String),
    /// The name has a character it may not have.
    #[error(
        "`{0}` is not a name: letters, digits and any of . _ @ + - , beginning with a letter, digit or _, at most {NAME_BYTES}"
    )]
    InvalidName(String),
}

impl ResourceName {
    /// Checks both halves.
    pub fn new(kind: &str, name: &str) -> Result<Self, ResourceNameError> {
        let is_kind_valid = kind.len() <= KIND_BYTES
            && kind.starts_with(|c: char| c.is_ascii_lowercase())
            && kind.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !is_kind_valid {
            return Err(ResourceNameError::InvalidKind(kind.to_owned()));
        }
        let is_name_valid = name.len() <= NAME_BYTES
            && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._@+-".contains(c));
        if !is_name_valid {
            return Err(ResourceNameError::InvalidName(name.to_owned()));
        }
        Ok(Self { kind: kind.to_owned(), name: name.to_owned() })
    }

    /// The resource that holds the alias and labels of a node.
    pub fn for_node(node: &NodeId) -> Self {
        Self { kind: NODE_KIND.to_owned(), name: node.to_string() }
    }

    /// The resource that holds what a tag stands for.
    pub fn for_tag(name: &str) -> Result<Self, ResourceNameError> {
        Self::new(TAG_KIND, name)
    }

    /// What sort of thing it is.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Which one of its sort.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True of what operators manage: everything but the group's own bookkeeping.
    pub fn is_managed(&self) -> bool {
        self.kind != NODE_KIND && self.kind != TAG_KIND
    }

    /// What the keys of all its fields begin with.
    pub fn key_prefix(&self) -> String {
        format!("{self} ")
    }

    /// The key of one of its fields.
    pub fn field_key(&self, field: &str) -> String {
        format!("{self} {field}")
    }

    /// Takes a key apart: the resource, and the field with its list mark if any.
    pub fn split_key(key: &str) -> Option<(Self, &str)> {
        let (name, field) = key.split_once(' ')?;
        Some((name.parse().ok()?, field))
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl FromStr for ResourceName {
    type Err = ResourceNameError;

    fn from_str(text: &str) -> Result<Self, ResourceNameError> {
        let (kind, name) =
            text.split_once('/').ok_or_else(|| ResourceNameError::MissingSlash(text.to_owned()))?;
        Self::new(kind, name)
    }
}
