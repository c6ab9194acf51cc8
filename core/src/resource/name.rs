//! Resource names: `<kind>/<name>`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// The longest kind, in bytes.
const KIND_BYTES: usize = 32;
/// The longest name within a kind, in bytes.
const NAME_BYTES: usize = 128;
/// The kind of the resources that store aliases and labels. Only `alias` and `label` write them.
pub const NODE_KIND: &str = "node";
/// The kind of the resources that store tags. Only `tag` writes them.
pub const TAG_KIND: &str = "tag";

/// The name of a resource: a kind, and a name within the kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceName {
    kind: String,
    name: String,
}

/// The error of parsing a resource name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceNameError {
    /// The text has no `/`.
    #[error("`{0}` is not a resource: expected KIND/NAME, such as config/db")]
    MissingSlash(String),
    /// The kind has an invalid character or is too long.
    #[error(
        "`{0}` is not a kind: use small letters, digits and dashes, begin with a letter, at most \
         {KIND_BYTES} bytes"
    )]
    InvalidKind(String),
    /// The name has an invalid character or is too long.
    #[error(
        "`{0}` is not a name: use letters, digits and . _ @ + -, begin with a letter, digit or _, at most \
         {NAME_BYTES} bytes"
    )]
    InvalidName(String),
}

impl ResourceName {
    /// The resource name with this kind and name, if both are valid.
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

    /// The resource that stores the alias and labels of a node.
    pub fn for_node(node: &NodeId) -> Self {
        Self { kind: NODE_KIND.to_owned(), name: node.to_string() }
    }

    /// The resource that stores a tag.
    pub fn for_tag(name: &str) -> Result<Self, ResourceNameError> {
        Self::new(TAG_KIND, name)
    }

    /// The kind.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The name within the kind.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True unless the resource is reserved for aliases, labels or tags.
    pub fn is_managed(&self) -> bool {
        self.kind != NODE_KIND && self.kind != TAG_KIND
    }

    /// The common prefix of the keys of all its fields.
    pub fn key_prefix(&self) -> String {
        format!("{self} ")
    }

    /// The key of one of its fields.
    pub fn field_key(&self, field: &str) -> String {
        format!("{self} {field}")
    }

    /// Splits a key into the resource and the field, which includes the mark of a list item.
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

impl From<ResourceName> for String {
    fn from(value: ResourceName) -> Self {
        value.to_string()
    }
}

impl TryFrom<String> for ResourceName {
    type Error = ResourceNameError;

    fn try_from(text: String) -> Result<Self, ResourceNameError> {
        text.parse()
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
