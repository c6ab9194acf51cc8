//! The name of one field of one resource.

use std::fmt;

use super::list_item;
use super::name::ResourceName;
use super::spelling;
use crate::shard::state::{VisibleState, VisibleValue};

/// The display name of the one value that a node stores for a resource in its observed shard.
const OBSERVED_FIELD: &str = "state";

/// One field of one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldRef {
    /// The resource of the field.
    pub resource: ResourceName,
    /// The field's canonical path. It is empty for an observed value, which has no field.
    pub path: String,
}

impl FieldRef {
    /// The field at `path` of `resource`.
    pub fn new(resource: &ResourceName, path: &str) -> Self {
        Self { resource: resource.clone(), path: path.to_owned() }
    }

    /// The field that a key of the document belongs to in any spelling, or `None` if this version cannot
    /// parse the key.
    pub fn from_key(key: &str) -> Option<Self> {
        let canonical = spelling::canonical_key(key);
        let key = canonical.as_deref().unwrap_or(key);
        match ResourceName::split_key(key) {
            Some((resource, field)) => {
                Some(Self { resource, path: list_item::split_item_field(field).0.to_owned() })
            }
            None => Some(Self { resource: key.parse().ok()?, path: String::new() }),
        }
    }

    /// The path, or `state` for an observed value.
    pub fn display_path(&self) -> &str {
        if self.path.is_empty() { OBSERVED_FIELD } else { &self.path }
    }

    /// True if this is the field at `path`, or a field below it.
    pub fn is_within(&self, path: &str) -> bool {
        self.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// The common prefix of all keys of the field. Keys of other fields may have it too.
    pub(crate) fn key_prefix(&self) -> String {
        if self.path.is_empty() { self.resource.to_string() } else { self.resource.field_key(&self.path) }
    }

    /// The keys of the field in `state` in all spellings, with their visible values.
    pub(crate) fn keys<'a>(
        &self,
        state: &'a VisibleState,
    ) -> impl Iterator<Item = (&'a str, &'a [VisibleValue])> + use<'a> {
        let prefix = self.key_prefix();
        let others = state.other_spellings(&prefix);
        let is_of_field = move |key: &str| list_item::split_item_field(key).0 == prefix;
        let canonical = state.range_with_prefix(&self.key_prefix()).map(|(key, visible)| (key, key, visible));
        canonical
            .chain(others)
            .filter(move |(canonical, ..)| is_of_field(canonical))
            .map(|(_, key, visible)| (key, visible))
    }
}

impl fmt::Display for FieldRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.resource, self.display_path())
    }
}
