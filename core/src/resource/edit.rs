//! The edits that an operator can request, and the reasons to reject one.

use super::field::FieldPath;
use super::field_ref::FieldRef;
use super::literal::Literal;
use super::name::ResourceName;
use super::schema::SchemaError;
use crate::id::{ChangeId, Digest, NodeId};
use crate::limits;
use crate::value::Value;

/// An edit of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldEdit {
    /// Sets the field to a value.
    Assign(Literal),
    /// Appends an item to a list.
    Add(Value),
    /// Removes an item from a list.
    Remove(Value),
    /// Unsets the field and all fields below it.
    Unset,
}

/// The choice that resolves a conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Takes the side with this name.
    UseSide(String),
    /// Takes another value.
    UseValue(Literal),
}

/// One edit of the desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Creates or changes a resource.
    Set {
        /// The resource.
        resource: ResourceName,
        /// The edits of its fields, in this order.
        fields: Vec<(FieldPath, FieldEdit)>,
        /// If true, all other fields are unset.
        replace: bool,
    },
    /// Removes a resource.
    Remove(ResourceName),
    /// Resolves a conflict.
    Resolve {
        /// The resource in conflict.
        resource: ResourceName,
        /// The field in conflict.
        field: String,
        /// The chosen side or value.
        resolution: Resolution,
        /// If given, the edit is rejected unless the conflict still has this id.
        id: Option<Digest>,
    },
    /// Sets or clears the alias of a node.
    SetAlias(NodeId, Option<String>),
    /// Sets or clears labels of a node.
    SetLabels(NodeId, Vec<(String, Option<String>)>),
    /// Sets a tag to these heads, or deletes it.
    SetTag(String, Option<Vec<ChangeId>>),
}

/// The reason why an edit is rejected. Nothing is written then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// A kind, field or value does not fit the schema.
    #[error(transparent)]
    Schema(Box<SchemaError>),
    /// The resource is reserved for aliases, labels or tags.
    #[error("`{0}` is reserved; use `larder alias`, `larder label` or `larder tag`")]
    ReservedResource(ResourceName),
    /// The resource does not exist.
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
    #[error("the conflict in `{}` of {} has no side {side}; it has {}",
        .field.path, .field.resource, .sides.join(", "))]
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
    /// An alias or label is empty, too long or has control characters.
    #[error(
        "`{0}` is not a valid alias or label: it must not be empty or have control characters; an alias has \
         at most {alias} bytes, a label's key and value at most {label} each",
        alias = limits::MAX_NAME_BYTES, label = limits::MAX_LABEL_BYTES
    )]
    InvalidLabelText(String),
    /// The name cannot be the name of a tag.
    #[error(
        "`{0}` is not a valid tag: use letters, digits and . _ @ + -, begin with a letter, digit or _, and \
         use nothing that looks like a change id or a time"
    )]
    InvalidTag(String),
    /// The request edits too many fields.
    #[error("the request changes more than {max} fields", max = limits::MAX_EDITS_PER_REQUEST)]
    TooManyFields,
}

impl From<SchemaError> for EditError {
    fn from(error: SchemaError) -> Self {
        Self::Schema(Box::new(error))
    }
}
