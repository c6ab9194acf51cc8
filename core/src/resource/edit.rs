//! What an operator can ask for, and why it may not be done.

use super::field::FieldPath;
use super::field_ref::FieldRef;
use super::literal::Literal;
use super::name::ResourceName;
use super::schema::SchemaError;
use crate::id::{ChangeId, Digest, NodeId};
use crate::limits;
use crate::value::Value;

/// What to do to one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldEdit {
    /// Give it this value.
    Assign(Literal),
    /// Append an item to a list.
    Add(Value),
    /// Take an item out of a list.
    Remove(Value),
    /// Unset it, with all below it.
    Unset,
}

/// How a conflict is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// By the side with this tag.
    UseSide(String),
    /// By another value.
    UseValue(Literal),
}

/// One thing that an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Make or change a resource.
    Set {
        /// Which one.
        resource: ResourceName,
        /// What to do to its fields, in this order.
        fields: Vec<(FieldPath, FieldEdit)>,
        /// Unset every field that is not named.
        replace: bool,
    },
    /// Remove a resource.
    Remove(ResourceName),
    /// Settle a conflict.
    Resolve {
        /// In which resource.
        resource: ResourceName,
        /// In which field.
        field: String,
        /// How.
        resolution: Resolution,
        /// Refuse if the conflict is not this one any more.
        id: Option<Digest>,
    },
    /// Call a node something, or nothing.
    SetAlias(NodeId, Option<String>),
    /// Set labels of a node, or take them off.
    SetLabels(NodeId, Vec<(String, Option<String>)>),
    /// Name a point of the past by its heads, or take the name away.
    SetTag(String, Option<Vec<ChangeId>>),
}

/// Why an edit cannot be made. Nothing is written then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The caller's fault: a field or value that does not fit.
    #[error(transparent)]
    Schema(Box<SchemaError>),
    /// The caller's fault: bookkeeping is not written like this.
    #[error("`{0}` is kept by the group itself; use `larder alias`, `larder label` and `larder tag`")]
    ReservedResource(ResourceName),
    /// The caller's fault: there is no such resource.
    #[error("no resource {0} here")]
    UnknownResource(ResourceName),
    /// The edit adds or removes a list item, but the field holds a single value.
    #[error("`{path}` of {resource} is a single value, not a list; `{path}:=[...]` makes it a list",
        path = .0.path, resource = .0.resource)]
    NotAList(FieldRef),
    /// The field is in conflict, which must be resolved first.
    #[error("`{}` of {} is in conflict", .0.path, .0.resource)]
    Conflicted(FieldRef),
    /// The edit resolves a conflict that does not exist.
    #[error("no conflict in `{}` of {}", .0.path, .0.resource)]
    NoConflict(FieldRef),
    /// The edit chooses a side that the conflict does not have.
    #[error("the conflict in `{}` of {} has no side {side}; it has {}", .field.path, .field.resource, .sides.join(", "))]
    UnknownSide {
        /// The field in conflict.
        field: FieldRef,
        /// The side that the edit names.
        side: String,
        /// The sides that the conflict has.
        sides: Vec<String>,
    },
    /// The conflict is not the one that the edit was made for: another change altered its values.
    #[error("the conflict in `{}` of {} has changed; look at it again", .0.path, .0.resource)]
    ConflictChanged(FieldRef),
    /// The caller's fault: an alias or label that is too long or holds control characters.
    #[error(
        "`{0}` cannot be an alias or label: not empty, no control characters, an alias at most {alias} bytes, a label's key and value {label} each",
        alias = limits::MAX_NAME_BYTES, label = limits::MAX_LABEL_BYTES
    )]
    InvalidLabelText(String),
    /// The caller's fault: a name that no tag can have.
    #[error(
        "`{0}` cannot be a tag: letters, digits and any of . _ @ + - , beginning with a letter, digit or _, and nothing that may be taken for a change or a time"
    )]
    InvalidTag(String),
    /// The caller's fault: too much at once.
    #[error("more than {max} fields at once", max = limits::MAX_EDITS_PER_REQUEST)]
    TooManyFields,
}

impl From<SchemaError> for EditError {
    fn from(error: SchemaError) -> Self {
        Self::Schema(Box::new(error))
    }
}
