//! How things stand: resources on nodes, heads, and who has what.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use larder_core::id::NodeId;
use larder_core::machine::{Declined, Machine, Membership, NodeState, Request};
use larder_core::resource::ResourceName;
use larder_core::resource::claim::unsettled;
use larder_core::resource::observed::Observed;
use larder_core::resource::target::{Node, is_selected};
use larder_core::resource::view::{NodeLabels, ResourceView, resources};
use serde::{Deserialize, Serialize};

use super::names::{self, Which};
use super::{Api, Body, Query, Reply, Shown};
use crate::failure::Failure;
use crate::limits;
use crate::view::{GroupName, Heads, Peer, Standing, Status, StatusRow, Summary, Sync, Time};

/// What `status` asks for.
#[derive(Clone, Debug, Deserialize)]
pub struct Of {
    /// In which group.
    group: Option<String>,
    /// Only this one.
    resource: Option<String>,
}

/// What `sync` asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Steer {
    /// In which group.
    pub group: Option<String>,
    /// What to do.
    pub act: Act,
}

/// Whether and when to sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Compare with all neighbours now.
    Now,
    /// Stop.
    Pause,
    /// Go on.
    Resume,
}

pub(super) async fn status(State(api): State<Api>, Query(of): Query<Of>) -> Reply<Status> {
    let look = move |machine: &mut Machine| {
        let only = of.resource.as_deref().map(names::resource).transpose()?;
        let failure = machine.storage_failure().map(str::to_owned);
        let mut status = read(names::membership(machine, of.group.as_deref())?, only.as_ref())?;
        let group = names::group(machine, of.group.as_deref())?;
        let known = machine.group(&group).map(|of| super::warnings::warnings(machine, of));
        status.warnings.extend(known.unwrap_or_default());
        status.warnings.extend(failure.map(|why| Declined::Storage(why).to_string()));
        Ok(status)
    };
    api.handle.look(look).await?.map(Shown)
}

/// A node that applies resources.
struct Worker {
    id: NodeId,
    labels: NodeLabels,
    observed: BTreeMap<String, Observed>,
}

fn workers(of: &Membership) -> Result<Vec<Worker>, Failure> {
    let state = names::desired(of)?.state();
    let members = of.group.members();
    let applies = |id: &NodeId| members.of(id).any(|grant| grant.role.writes_observed());
    let observed = |id: &NodeId| {
        let keys = of.group.observed_by(id).into_iter().flat_map(|shard| shard.state().iter());
        keys.filter_map(|(key, visible)| Some((key.to_owned(), Observed::decode(&visible.last()?.value)?)))
            .collect()
    };
    let all = members.keys().filter(applies);
    Ok(all
        .map(|id| Worker { id, labels: NodeLabels::read(state, members, &id), observed: observed(&id) })
        .collect())
}

/// How the resources stand, or one of them.
pub(super) fn read(of: &mut Membership, only: Option<&ResourceName>) -> Result<Status, Failure> {
    let workers = workers(of)?;
    let desired = names::desired(of)?;
    let views: Vec<ResourceView<'_>> = match only {
        None => resources(desired.state()),
        Some(name) => ResourceView::read(desired.state(), name).into_iter().collect(),
    };
    let mut summary = Summary::default();
    let mut rows = Vec::new();
    for view in views.iter().filter(|view| view.name.is_managed()) {
        let nodes: Vec<Standing> = workers.iter().filter_map(|worker| standing(view, worker)).collect();
        // What was removed is of interest until everybody has done so.
        let settled = nodes.iter().all(|node| node.state == "applied" || node.state == "released");
        if view.is_removed() && settled {
            continue;
        }
        for counter in &nodes {
            summary.of(&counter.state).into_iter().for_each(|count| *count += 1);
        }
        rows.push(StatusRow { resource: view.name.to_string(), removed: view.is_removed(), nodes });
    }
    if let (Some(name), []) = (only, rows.as_slice())
        && !views.iter().any(|view| !view.is_removed())
    {
        return Err(Failure::not_found(format!("no resource {name} here")).hint("see `larder list`"));
    }
    let conflicts = unsettled(desired, of.group.members()).len();
    let group = GroupName { id: of.group.id().to_string(), name: of.group.name().to_owned() };
    Ok(Status { group, summary, conflicts, warnings: Vec::new(), resources: rows })
}

/// `None` if the resource is not meant for that node, and it never had to do with it.
fn standing(view: &ResourceView<'_>, worker: &Worker) -> Option<Standing> {
    let told = worker.observed.get(&view.name.to_string());
    let selected = is_selected(view, &Node { id: worker.id, labels: &worker.labels });
    if !selected && told.is_none_or(|told| told.condition.word() != "released") {
        return None;
    }
    let base = Standing {
        id: worker.id.to_string(),
        alias: worker.labels.alias.clone(),
        state: "pending".to_owned(),
        change: told.map(|told| told.change.clone()).filter(|change| !change.is_empty()),
        since: told.map(|told| Time(told.since)),
        reason: String::new(),
    };
    match told {
        Some(told) if told.revision == view.revision() || !selected => {
            Some(Standing { state: told.condition.word().to_owned(), reason: told.message.clone(), ..base })
        }
        Some(told) => Some(Standing { reason: format!("was {}", told.condition.word()), ..base }),
        None => Some(base),
    }
}

pub(super) async fn heads(State(api): State<Api>, Query(which): Query<Which>) -> Reply<Heads> {
    let look = move |machine: &mut Machine| {
        let of = names::membership(machine, which.group.as_deref())?;
        let digest = of.digest().to_string();
        let text = |shard: &larder_core::shard::Shard| {
            shard.graph().heads().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let members = of.group.members();
        let mut observed: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (grant, shard) in of.group.observed() {
            let node = members.grant(&grant).map_or_else(|| grant.to_string(), |grant| grant.key.to_string());
            observed.entry(node).or_default().extend(text(shard));
        }
        let desired = names::desired(of)?;
        let heads = match &which.at {
            None => text(desired),
            Some(at) => super::history::point(desired, at)?.iter().map(ToString::to_string).collect(),
        };
        Ok(Shown(Heads { group: of.group.id().to_string(), heads, observed, digest }))
    };
    api.handle.look(look).await?
}

pub(super) async fn sync(State(api): State<Api>, Query(which): Query<Which>) -> Reply<Sync> {
    api.handle.look(move |machine| peers(machine, which.group.as_deref())).await?.map(Shown)
}

fn peers(machine: &mut Machine, named: Option<&str>) -> Result<Sync, Failure> {
    let group = names::group(machine, named)?;
    let of = machine.group(&group).ok_or_else(|| Failure::failed("the group is gone"))?;
    let sessions: BTreeMap<NodeId, _> = of.neighbours().collect();
    let others = machine.members(of).into_iter().filter(|view| !view.is_self);
    let peers = others.map(|view| {
        let session = sessions.get(&view.id);
        let state = match (session, view.state) {
            (Some(session), _) if session.in_sync => "in-sync",
            (Some(_), _) => "syncing",
            (None, NodeState::Up) => "indirect",
            (None, _) => "away",
        };
        Peer {
            id: view.id.to_string(),
            alias: view.alias,
            state: state.to_owned(),
            ahead: view.behind,
            behind: session.map(|session| session.missing_here(&of.group)),
            contact: view.heard.map(Time),
        }
    });
    Ok(Sync { paused: of.paused, peers: peers.collect() })
}

pub(super) async fn steer(State(api): State<Api>, Body(steer): Body<Steer>) -> Reply<Sync> {
    let named = steer.group.clone();
    let group = api.handle.look(move |machine| names::group(machine, named.as_deref())).await??;
    let request = match steer.act {
        Act::Now => Request::Sync { group },
        Act::Pause => Request::Pause { group, paused: true },
        Act::Resume => Request::Pause { group, paused: false },
    };
    api.handle.request(request).await?;
    let group = group.to_string();
    let begun = tokio::time::Instant::now();
    loop {
        let named = group.clone();
        let seen = api.handle.look(move |machine| peers(machine, Some(&named))).await??;
        let busy = steer.act == Act::Now && seen.peers.iter().any(|peer| peer.state == "syncing");
        if !busy || begun.elapsed() > limits::SYNC {
            return Ok(Shown(seen));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
