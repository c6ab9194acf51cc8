//! What nodes run, against what is wanted.

use axum::extract::State;
use larder_core::history;
use larder_core::id::ChangeId;
use larder_core::machine::{Machine, Membership};
use larder_core::resource::ResourceName;
use larder_core::resource::view::ResourceView;
use larder_core::shard::Shard;
use serde::Deserialize;

use super::history::edit_row;
use super::standing;
use super::{Api, Query, Reply, Shown, names};
use crate::failure::Failure;
use crate::view::{Lag, NodeDiff, NodeDiffRow, Standing, StatusRow};

/// What `diff --nodes` asks for.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct NodesOf {
    group: Option<String>,
    /// Only this one.
    resource: Option<String>,
}

pub(super) async fn nodes(State(api): State<Api>, Query(of): Query<NodesOf>) -> Reply<NodeDiff> {
    api.handle.look(move |machine| read(machine, &of)).await?.map(Shown)
}

fn read(machine: &mut Machine, asked: &NodesOf) -> Result<NodeDiff, Failure> {
    let of = names::membership(machine, asked.group.as_deref())?;
    let only = asked.resource.as_deref().map(names::resource).transpose()?;
    let status = standing::read(of, only.as_ref())?;
    let mut resources = Vec::new();
    for row in status.resources {
        let nodes = lags(of, &row)?;
        if !nodes.is_empty() {
            let wanted = newest(names::desired(of)?, &names::resource(&row.resource)?);
            resources.push(NodeDiffRow { wanted, resource: row.resource, nodes });
        }
    }
    Ok(NodeDiff { resources })
}

fn lags(of: &Membership, row: &StatusRow) -> Result<Vec<Lag>, Failure> {
    let (desired, name) = (names::desired(of)?, names::resource(&row.resource)?);
    // What was released is not meant for that node any more.
    let behind = row.nodes.iter().filter(|node| !matches!(node.state.as_str(), "applied" | "released"));
    Ok(behind.map(|node| lag(of, desired, &name, node)).collect())
}

fn lag(of: &Membership, desired: &Shard, name: &ResourceName, node: &Standing) -> Lag {
    let id = of.group.members().keys().find(|id| id.to_string() == node.id);
    let shard = id.and_then(|id| of.group.observed_by(&id));
    let told = shard.and_then(|shard| history::last_applied(shard, name));
    let seen = told.as_ref().and_then(|told| history::seen_at(desired, name, told));
    let from = match (&told, &seen) {
        (_, Some(seen)) => Some(seen.heads.clone()),
        (None, None) => Some(vec![desired.root().id()]),
        // It applied what is not here: nothing can be said of the difference.
        (Some(_), None) => None,
    };
    let diff = |from: Vec<ChangeId>| history::diff(desired, &from, &desired.graph().heads(), Some(name));
    Lag {
        id: node.id.clone(),
        alias: node.alias.clone(),
        state: node.state.clone(),
        reason: node.reason.clone(),
        applied: told.as_ref().map(|told| told.change.clone()),
        exact: told.is_none() || seen.is_some_and(|seen| seen.exact),
        edits: from.map(diff).unwrap_or_default().into_iter().map(edit_row).collect(),
    }
}

/// The newest change of a resource.
fn newest(desired: &Shard, name: &ResourceName) -> Option<String> {
    let op = ResourceView::read(desired.state(), name)?.ops().pop()?;
    desired.graph().writer(&op).map(|entry| entry.id.to_string())
}
