//! The desired state, now or at a point of the past.

use std::borrow::Cow;

use axum::extract::State;
use larder_core::group::Note;
use larder_core::history;
use larder_core::machine::{Machine, Membership};
use larder_core::resource::claim::claims;
use larder_core::resource::conflict::{self, conflicts_of};
use larder_core::resource::field::FieldPath;
use larder_core::resource::manifest;
use larder_core::resource::review::reviews;
use larder_core::resource::view::{ResourceView, resources};
use larder_core::resource::{ResourceName, observed};
use larder_core::shard::Shard;
use larder_core::shard::state::State as Desired;
use serde::Deserialize;

use super::history::{name_heads, point};
use super::names;
use super::{Api, Query, Reply, Shown};
use crate::failure::Failure;
use crate::view::{self, Conflicts, Export, Got, List, ListRow, Plain, Side, Time};

/// Which part of the desired state.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Part {
    /// In which group.
    group: Option<String>,
    /// When.
    at: Option<String>,
    /// `<kind>` or `<kind>/<name>`.
    resource: Option<String>,
    /// One field of it.
    field: Option<String>,
}

/// The state at that point, or as much of it as one resource needs; and which point that is, if it is not the present.
fn state<'a>(
    desired: &'a Shard,
    at: Option<&str>,
    only: Option<&ResourceName>,
) -> Result<(Cow<'a, Desired>, Option<Vec<String>>), Failure> {
    let Some(at) = at else { return Ok((Cow::Borrowed(desired.state()), None)) };
    let heads = point(desired, at)?;
    let state = match only {
        Some(resource) => history::part_at(desired, &heads, &resource.prefix()),
        None => history::state_at(desired, &heads),
    };
    Ok((Cow::Owned(state), Some(name_heads(desired, &heads))))
}

/// The resources that are there, of a kind or all.
fn visible<'a>(state: &'a Desired, kind: Option<&str>) -> Vec<ResourceView<'a>> {
    let there =
        |view: &ResourceView<'_>| view.name.is_managed() && !view.is_removed() && !view.values().is_empty();
    let mut views = resources(state);
    views.retain(|view| there(view) && kind.is_none_or(|kind| view.name.kind() == kind));
    views
}

/// The resources named by `KIND` or `KIND/NAME`. What names nothing is an error.
fn named<'a>(state: &'a Desired, text: Option<&str>) -> Result<Vec<ResourceView<'a>>, Failure> {
    let Some(text) = text else { return Ok(visible(state, None)) };
    if text.contains('/') {
        return Ok(vec![one(state, &names::resource(text)?)?]);
    }
    let views = visible(state, Some(text));
    if views.is_empty() && larder_core::resource::kind::kind(text).is_none() {
        return Err(
            Failure::not_found(format!("no resource of kind `{text}` here")).hint("see `larder list`")
        );
    }
    Ok(views)
}

fn one<'a>(state: &'a Desired, name: &ResourceName) -> Result<ResourceView<'a>, Failure> {
    let view = ResourceView::read(state, name).filter(|view| !view.is_removed() && !view.values().is_empty());
    view.ok_or_else(|| Failure::not_found(format!("no resource {name} here")).hint("see `larder list`"))
}

fn conflicted(view: &ResourceView<'_>) -> Vec<String> {
    let fields = view.fields.iter().filter(|(_, field)| field.is_conflicted());
    fields.map(|(path, _)| (*path).to_owned()).collect()
}

pub(super) async fn list(State(api): State<Api>, Query(part): Query<Part>) -> Reply<List> {
    let look = move |machine: &mut Machine| {
        let of = names::membership(machine, part.group.as_deref())?;
        let desired = names::desired(of)?;
        let (state, at) = state(desired, part.at.as_deref(), None)?;
        let row = |view: &ResourceView<'_>| ListRow {
            resource: view.name.to_string(),
            fields: view.values().len(),
            select: view.text("select"),
            conflicts: conflicts_of(desired, view).len(),
            path: view.text("path"),
        };
        Ok(Shown(List { at, resources: named(&state, part.resource.as_deref())?.iter().map(row).collect() }))
    };
    api.handle.look(look).await?
}

pub(super) async fn get(State(api): State<Api>, Query(part): Query<Part>) -> Reply<Got> {
    let look = move |machine: &mut Machine| {
        let of = names::membership(machine, part.group.as_deref())?;
        let name = names::resource(part.resource.as_deref().unwrap_or_default())?;
        let (state, at) = state(names::desired(of)?, part.at.as_deref(), Some(&name))?;
        let view = one(&state, &name)?;
        let mut got = Got {
            at,
            resource: view.name.to_string(),
            fields: view.values().into_iter().map(|(path, value)| (path.to_owned(), Plain(value))).collect(),
            conflicted: conflicted(&view),
        };
        if let Some(field) = &part.field {
            narrow(&mut got, field)?;
        }
        Ok(Shown(got))
    };
    api.handle.look(look).await?
}

/// Leaves one field, or those below it.
fn narrow(got: &mut Got, field: &str) -> Result<(), Failure> {
    let missing = || Failure::not_found(format!("{} has no field `{field}`", got.resource));
    let path = field.parse::<FieldPath>().map_err(|error| Failure::not_found(error.to_string()))?.to_string();
    let below = format!("{path}.");
    let fits = |name: &String| *name == path || name.starts_with(&below);
    if !got.fields.keys().chain(&got.conflicted).any(fits) {
        return Err(missing().hint(format!("see `larder get {}`", got.resource)));
    }
    got.fields.retain(|name, _| fits(name));
    got.conflicted.retain(fits);
    Ok(())
}

pub(super) async fn export(State(api): State<Api>, Query(part): Query<Part>) -> Reply<Export> {
    let look = move |machine: &mut Machine| {
        let of = names::membership(machine, part.group.as_deref())?;
        let (state, at) = state(names::desired(of)?, part.at.as_deref(), None)?;
        let views = named(&state, part.resource.as_deref())?;
        let marked = views
            .iter()
            .flat_map(|view| conflicted(view).into_iter().map(|field| format!("{} {field}", view.name)));
        Ok(Shown(Export { at, conflicted: marked.collect(), manifest: manifest::write(&views) }))
    };
    api.handle.look(look).await?
}

/// What `conflicts` asks for.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ConflictsOf {
    group: Option<String>,
    at: Option<String>,
    /// With what was touched on both sides and does not clash.
    #[serde(default)]
    review: bool,
}

pub(super) async fn conflicts(State(api): State<Api>, Query(asked): Query<ConflictsOf>) -> Reply<Conflicts> {
    let look = move |machine: &mut Machine| {
        let of = names::membership(machine, asked.group.as_deref())?;
        let desired = names::desired(of)?;
        let (state, at) = state(desired, asked.at.as_deref(), None)?;
        let mut all: Vec<_> =
            resources(&state).into_iter().flat_map(|view| conflicts_of(desired, &view)).collect();
        if asked.at.is_none() {
            all.extend(claims(desired, of.group.members()));
            all.extend(if asked.review { reviews(desired) } else { Vec::new() });
            all.sort_by(|a, b| (&a.resource, &a.field).cmp(&(&b.resource, &b.field)));
        }
        Ok(Shown(Conflicts { at, conflicts: all.iter().map(|one| describe(of, desired, one)).collect() }))
    };
    api.handle.look(look).await?
}

fn describe(of: &Membership, desired: &Shard, one: &conflict::Conflict) -> view::Conflict {
    view::Conflict {
        id: one.id.to_string(),
        kind: one.kind.name().to_owned(),
        resource: one.resource.to_string(),
        field: one.field.clone(),
        base: one.base.clone().map(Plain),
        held_on: held_on(of, &one.resource),
        values: one.sides.iter().map(|side| describe_side(of, desired, side)).collect(),
    }
}

fn describe_side(of: &Membership, desired: &Shard, side: &conflict::Side) -> Side {
    let graph = desired.graph();
    let entry = graph.get(&side.change);
    let grant = entry.and_then(|entry| graph.chain_of(entry)).map(|chain| chain.grant);
    let node = grant.and_then(|grant| of.group.members().grant(&grant)).map(|grant| grant.key);
    let note =
        desired.delta(&side.change).map(|delta| Note::read(&delta.message, delta.time)).unwrap_or_default();
    Side {
        tag: side.tag.clone(),
        value: side.value.clone().map(Plain),
        change: side.change.to_string(),
        node: node.map(|node| names::who(of, &node)),
        user: note.user,
        time: Time(note.time),
        winner: side.winner,
    }
}

/// The nodes that say that they keep what they run.
fn held_on(of: &Membership, resource: &ResourceName) -> Vec<view::Who> {
    let members = of.group.members();
    let key = resource.to_string();
    let holds = |shard: &Shard| {
        let told = shard.state().winner(&key).and_then(observed::Observed::decode);
        told.is_some_and(|told| told.condition == observed::Condition::Held)
    };
    let nodes =
        of.group.observed().filter(|(_, shard)| holds(shard)).filter_map(|(grant, _)| members.grant(&grant));
    nodes.map(|grant| names::who(of, &grant.key)).collect()
}
