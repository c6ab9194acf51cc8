//! Writes: everything that changes the desired state, as one atomic change each.

use axum::extract::State;
use larder_core::group::Note;
use larder_core::id::{ChangeId, GroupId};
use larder_core::machine::{Answer, Membership, Request, WriteRequest};
use larder_core::resource::draft;
use larder_core::resource::edit::{Edit, FieldEdit, Settle};
use larder_core::resource::field::FieldPath;
use larder_core::resource::literal::Literal;
use larder_core::resource::view::ResourceView;
use larder_core::resource::{ResourceName, conflict};
use larder_core::shard::Shard;
use larder_core::value::Value;
use serde::{Deserialize, Serialize};

use super::names;
use super::{Api, Body, Reply, Shown, User};
use crate::failure::{Exit, Failure};
use crate::view::{Plain, Plan, Written};

/// What a writing command asks for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Write {
    /// In which group.
    pub group: Option<String>,
    /// What to do, all or nothing.
    pub edits: Vec<Say>,
    /// Refuse if the desired state is not at these heads any more.
    pub base: Option<Vec<String>>,
    /// Why, in the operator's words.
    pub message: String,
    /// The command, with its values cut out.
    pub command: String,
    /// Take kinds and fields that this version does not know.
    pub lenient: bool,
}

/// One thing to do, in names as they were typed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Say {
    /// Make or change a resource.
    Set {
        /// `<kind>/<name>`.
        resource: String,
        /// What to do to its fields, in this order.
        fields: Vec<Field>,
        /// Unset every field that is not named.
        replace: bool,
        /// For this node only.
        node: Option<String>,
        /// Refuse if there is no such resource.
        existing: bool,
    },
    /// Remove a resource.
    Remove(String),
    /// Settle a conflict.
    Resolve {
        /// `<kind>/<name>`.
        resource: String,
        /// The field.
        field: String,
        /// By the side with this tag,
        take: Option<String>,
        /// or by this value.
        value: Option<Plain>,
        /// Refuse if the conflict is not this one any more.
        id: Option<String>,
    },
    /// Call a node something, or nothing.
    Alias {
        /// Which node.
        node: String,
        /// What.
        name: Option<String>,
    },
    /// Name a point of the past.
    Tag {
        /// How.
        name: String,
        /// Which point: a time, tag or change. The present if left out.
        at: Option<String>,
        /// Take it away instead.
        delete: bool,
        /// Though the name stands for another point.
        force: bool,
    },
    /// Label a node; no value takes the label off.
    Label {
        /// Which node.
        node: String,
        /// Keys and values.
        labels: Vec<(String, Option<String>)>,
    },
}

/// What to do to one field.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Field {
    /// Its path.
    pub field: String,
    /// What.
    #[serde(flatten)]
    pub change: FieldChange,
}

/// How one field changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldChange {
    /// It gets this value.
    Assign(Plain),
    /// An item is added to its list.
    Add(Plain),
    /// An item is taken from its list.
    Take(Plain),
    /// It is unset.
    Unset(()),
}

pub(super) async fn write(State(api): State<Api>, user: User, Body(write): Body<Write>) -> Reply<Written> {
    let (group, edits, base, write) = understand(&api, write).await?;
    let note = Note { words: write.message, user: user.0, command: write.command, time: 0 };
    let request = WriteRequest { group, edits, base, note, lenient: write.lenient };
    match api.handle.request(Request::Write(request)).await? {
        Answer::Written(change) => Ok(Shown(Written { change: change.map(|id| id.to_string()) })),
        _ => Err(Failure::failed("the machine answered something else; please report this")),
    }
}

pub(super) async fn plan(State(api): State<Api>, Body(write): Body<Write>) -> Reply<Plan> {
    let (group, edits, base, write) = understand(&api, write).await?;
    let look = move |machine: &mut larder_core::machine::Machine| {
        let of = machine.group(&group).ok_or_else(|| Failure::failed("the group is gone"))?;
        let desired = names::desired(of)?;
        let heads = desired.graph().heads();
        if base.is_some_and(|base| !same(&base, &heads)) {
            return Err(Failure::new(
                Exit::Refused,
                "base-moved",
                "the desired state moved on since that base",
            ));
        }
        let puts = draft::draw_up(desired, &edits, write.lenient)
            .map_err(|error| Failure::from(larder_core::machine::Declined::from(error)))?;
        Ok(Plan::new(desired, &puts))
    };
    api.handle.look(look).await?.map(Shown)
}

fn same(base: &[ChangeId], heads: &[ChangeId]) -> bool {
    let mut base = base.to_vec();
    base.sort_unstable();
    base == heads
}

/// A request whose names are understood.
type Understood = (GroupId, Vec<Edit>, Option<Vec<ChangeId>>, Write);

async fn understand(api: &Api, write: Write) -> Result<Understood, Failure> {
    let look = move |machine: &mut larder_core::machine::Machine| {
        let group = names::group(machine, write.group.as_deref())?;
        let of = machine.group(&group).ok_or_else(|| Failure::failed("the group is gone"))?;
        super::warnings::only_members(machine, of)?;
        let edits = write.edits.iter().map(|say| edit(of, say)).collect::<Result<_, _>>()?;
        let base = write.base.as_ref().map(|base| names::changes(names::desired(of)?, base)).transpose()?;
        Ok((of.group.id(), edits, base, write))
    };
    api.handle.look(look).await?
}

fn edit(of: &Membership, say: &Say) -> Result<Edit, Failure> {
    match say {
        Say::Set { resource, fields, replace, node, existing } => {
            let resource = if *existing {
                names::resource(resource)?
            } else {
                resource.parse().map_err(|error: larder_core::resource::name::NameError| {
                    Failure::usage(error.to_string())
                })?
            };
            if *existing && !exists(of, &resource) {
                return Err(
                    Failure::not_found(format!("no resource {resource} here")).hint("see `larder list`")
                );
            }
            let overlay = node.as_deref().map(|node| names::node(of, node)).transpose()?;
            let overlay = overlay.map(|node| format!("overlay.\"node={node}\"."));
            let fields =
                fields.iter().map(|field| field_edit(field, overlay.as_deref())).collect::<Result<_, _>>()?;
            Ok(Edit::Set { resource, fields, replace: *replace })
        }
        Say::Remove(resource) => {
            let resource = names::resource(resource)?;
            if !exists(of, &resource) && !is_contested(of, &resource) {
                return Err(no_resource(&resource));
            }
            Ok(Edit::Remove(resource))
        }
        Say::Resolve { resource, field, take, value, id } => {
            let resource = names::resource(resource)?;
            let field = field.parse::<FieldPath>().map_err(|error| Failure::not_found(error.to_string()))?;
            let settle = match (take, value) {
                (Some(tag), None) => Settle::Take(tag.to_ascii_uppercase()),
                (None, Some(value)) => Settle::Value(value.0.clone()),
                _ => return Err(Failure::usage("a conflict is settled by --take TAG or by --value VALUE")),
            };
            let id = id.as_deref().map(|id| conflict_id(of, id)).transpose()?;
            Ok(Edit::Resolve { resource, field: field.to_string(), settle, id })
        }
        Say::Tag { name, delete: true, .. } => {
            super::back::known_tag(of, name)?;
            Ok(Edit::Tag(name.clone(), None))
        }
        Say::Tag { name, at, force, .. } => {
            Ok(Edit::Tag(name.clone(), Some(super::back::tagged(of, name, at.as_deref(), *force)?)))
        }
        Say::Alias { node, name } => Ok(Edit::Alias(names::node(of, node)?, name.clone())),
        Say::Label { node, labels } => Ok(Edit::Label(names::node(of, node)?, labels.clone())),
    }
}

fn no_resource(resource: &ResourceName) -> Failure {
    Failure::not_found(format!("no resource {resource} here")).hint("see `larder list`")
}

fn is_contested(of: &Membership, resource: &ResourceName) -> bool {
    let contested = |shard: &Shard| {
        let view = ResourceView::read(shard.state(), resource);
        view.is_some_and(|view| !conflict::conflicts_of(shard, &view).is_empty())
    };
    of.group.desired().is_some_and(contested)
}

fn exists(of: &Membership, resource: &ResourceName) -> bool {
    let view = of.group.desired().and_then(|shard| ResourceView::read(shard.state(), resource));
    view.is_some_and(|view| !view.is_removed() && !view.values().is_empty())
}

fn field_edit(field: &Field, overlay: Option<&str>) -> Result<(FieldPath, FieldEdit), Failure> {
    let text = format!("{}{}", overlay.unwrap_or_default(), field.field);
    let path: FieldPath = text
        .parse()
        .map_err(|error: larder_core::resource::field::FieldError| Failure::usage(error.to_string()))?;
    let item = |plain: &Plain| -> Result<Value, Failure> {
        match &plain.0 {
            Literal::Scalar(value) => Ok(value.clone()),
            Literal::List(_) => Err(Failure::usage(format!("an item of `{path}` is one value, not a list"))),
        }
    };
    let edit = match &field.change {
        FieldChange::Assign(plain) => FieldEdit::Assign(plain.0.clone()),
        FieldChange::Add(plain) => FieldEdit::Add(item(plain)?),
        FieldChange::Take(plain) => FieldEdit::Take(item(plain)?),
        FieldChange::Unset(()) => FieldEdit::Unset,
    };
    Ok((path, edit))
}

fn conflict_id(of: &Membership, text: &str) -> Result<larder_core::id::Digest, Failure> {
    let prefix = text.to_ascii_lowercase();
    let all = conflict::conflicts(names::desired(of)?);
    let found: Vec<_> = all.iter().filter(|one| one.id.to_string().starts_with(&prefix)).collect();
    match found.as_slice() {
        [one] => Ok(one.id),
        // One that is gone was settled, or changed.
        [] => Err(Failure::new(
            Exit::Refused,
            "conflict-moved",
            format!("conflict {text} is not there any more"),
        )
        .hint("see `larder conflicts`")),
        several => {
            let ids: Vec<String> = several.iter().map(|one| one.id.to_string()).collect();
            Err(Failure::ambiguous("conflict", text, &ids))
        }
    }
}
