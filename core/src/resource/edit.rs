//! The edits that an operator can request, and the reasons to reject one.

use serde::{Deserialize, Serialize};

use super::field::{FieldPath, FieldPathError};
use super::field_ref::FieldRef;
use super::literal::{Literal, plain};
use super::name::ResourceName;
use super::schema::SchemaError;
use crate::id::NodeId;
use crate::limits;
use crate::typed_name::{HistoryPoint, NodeName};
use crate::value::Value;

/// A change of one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FieldEdit {
    /// Gives the field this value.
    Assign(#[serde(with = "plain")] Literal),
    /// Appends an item to a list.
    Add(#[serde(with = "plain::scalar")] Value),
    /// Removes an item from a list.
    Remove(#[serde(with = "plain::scalar")] Value),
    /// Unsets the field and all fields below it.
    Unset,
}

/// The value that a conflict is resolved to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resolution {
    /// The value of the side with this tag.
    UseSide(String),
    /// Another value.
    UseValue(#[serde(with = "plain")] Literal),
}

/// One edit of the desired state. It is also the JSON form in which the local API takes edits.
///
/// Names of nodes and points of the history may be as an operator typed them; [`crate::node::name_lookup`]
/// resolves them before an edit is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit {
    /// Creates or changes a resource.
    Set {
        /// The resource.
        resource: ResourceName,
        /// The changes of its fields, in this order.
        fields: Vec<(FieldPath, FieldEdit)>,
        /// True to unset every field that is not named.
        replace: bool,
    },
    /// Changes the fields of a resource for one node only.
    SetOnNode {
        /// The node.
        node: NodeName,
        /// The resource.
        resource: ResourceName,
        /// The changes of its fields, in this order.
        fields: Vec<(FieldPath, FieldEdit)>,
    },
    /// Removes a resource.
    Remove(ResourceName),
    /// Resolves a conflict.
    Resolve {
        /// The resource in conflict.
        resource: ResourceName,
        /// The field in conflict.
        field: String,
        /// The value that it gets.
        resolution: Resolution,
        /// A prefix of the conflict's id: the edit is refused if the field is in another conflict by now.
        id: Option<String>,
    },
    /// Sets a node's alias, or clears it.
    SetAlias(NodeName, Option<String>),
    /// Sets labels of a node; a label without a value is taken off.
    SetLabels(NodeName, Vec<(String, Option<String>)>),
    /// Sets a tag to a point of the history.
    SetTag {
        /// The tag.
        name: String,
        /// The point that it names.
        point: HistoryPoint,
        /// True to move a tag that names another point.
        force: bool,
    },
    /// Removes a tag.
    RemoveTag(String),
}

/// The reason why an edit is rejected. Nothing is written then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// A kind, field or value does not fit the schema.
    #[error(transparent)]
    Schema(Box<SchemaError>),
    /// No field can have that path.
    #[error(transparent)]
    Path(#[from] FieldPathError),
    /// The tag names another point already.
    #[error("tag {0} stands for {1} already")]
    TagExists(String, String),
    /// The tag does not exist.
    #[error("no tag `{0}` here")]
    UnknownTag(String),
    /// A defect: the name of a node or point was not resolved before the edit was planned.
    #[error("`{0}` was not resolved; please report this")]
    UnresolvedName(String),
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
    /// The alias is the beginning of another node's id.
    #[error("the alias `{alias}` begins the id of another node, {owner}; choose another alias")]
    AliasBeginsId {
        /// The alias that the edit sets.
        alias: String,
        /// The node whose id begins with it.
        owner: NodeId,
    },
    /// The name cannot be the name of a tag.
    #[error(
        "`{0}` is not a valid tag: use letters, digits and . _ @ + -, begin with a letter, digit or _, and \
         use nothing that looks like a change id or a time"
    )]
    InvalidTag(String),
    /// The request edits too many fields.
    #[error(
        "the request sets {0} fields and list items, and one change sets at most {max}; write it in several \
         steps",
        max = limits::MAX_EDITS_PER_REQUEST
    )]
    TooManyFields(usize),
    /// The keys and values of the request do not fit in one change.
    #[error(
        "the request sets {0} bytes of keys and values, and one change holds at most {max}; write it in \
         several steps",
        max = limits::MAX_WRITE_BYTES
    )]
    TooLarge(usize),
}

impl From<SchemaError> for EditError {
    fn from(error: SchemaError) -> Self {
        Self::Schema(Box::new(error))
    }
}
