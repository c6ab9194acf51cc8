//! What is known of nodes: the members of a group, and nodes discovered on the LAN.

use std::collections::{BTreeMap, BTreeSet};

use super::input::MonoTime;
use super::membership_status::{MembershipEnd, MembershipStatus};
use super::{GroupState, Node};
use crate::id::NodeId;
use crate::record::Role;
use crate::resource::observed::{ObservedState, ResourceState};
use crate::resource::view::NodeLabels;
use crate::value::Value;

/// A node that was discovered on the LAN.
#[derive(Clone, Debug)]
pub struct DiscoveredNode {
    /// The multiaddresses at which the node listens.
    pub addresses: Vec<String>,
    /// The monotonic time at which the node was last seen.
    pub last_seen_at: MonoTime,
    /// The wall clock when the node was last seen, in seconds since 1970.
    pub last_seen_unix_secs: i64,
}

/// The state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeState {
    /// This node, or a member that is reachable.
    Up,
    /// A member that is not reachable.
    Away,
    /// A former member that left.
    Left,
    /// A former member that was removed.
    Removed,
    /// A node that asks to join.
    Pending,
    /// A node on the LAN that is not a member.
    Seen,
}

/// What the `nodes` command shows of one node.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// The node id.
    pub id: NodeId,
    /// The alias of the node.
    pub alias: Option<String>,
    /// True if another member has the same alias.
    pub is_alias_ambiguous: bool,
    /// True for this node itself.
    pub is_self: bool,
    /// The role; `None` for a node that is not a member.
    pub role: Option<Role>,
    /// The state of the node.
    pub state: NodeState,
    /// The time of the last sign of life, in seconds since 1970; `None` if there was none since this daemon
    /// started.
    pub last_heard: Option<i64>,
    /// The multiaddresses at which the node listens.
    pub addresses: Vec<String>,
    /// The labels of the node.
    pub labels: BTreeMap<String, String>,
    /// The software that the node runs.
    pub software: String,
    /// The name of the node's host.
    pub host: String,
    /// The number of changes that the node lacks, as far as is known.
    pub missing_changes: Option<u64>,
    /// The number of resources that failed on the node.
    pub failed_resources: u64,
    /// True if the node's history forked: its data directory was copied or restored.
    pub is_forked: bool,
    /// The author, time and reason of the end of the node's membership.
    pub membership_end: Option<MembershipEnd>,
}

impl Node {
    /// The members of a group, this node first, then by alias and id; after them the former members that are
    /// not forgotten.
    pub fn member_infos(&self, state: &GroupState) -> Vec<NodeInfo> {
        let members = state.group.members();
        let is_remembered = |key: &NodeId| {
            *key == self.own_id
                || members.ended_grants_of(key).any(|grant| !members.is_forgotten(&grant.grant))
        };
        let former = members.former_members().into_iter().filter(is_remembered);
        let mut infos: Vec<NodeInfo> =
            members.nodes().chain(former).map(|key| member_info(self, state, key)).collect();
        let mut alias_counts: BTreeMap<String, usize> = BTreeMap::new();
        for alias in
            infos.iter().filter(|info| info.membership_end.is_none()).filter_map(|view| view.alias.clone())
        {
            *alias_counts.entry(alias).or_default() += 1;
        }
        for info in &mut infos {
            let alias = info.alias.as_ref().filter(|_| info.membership_end.is_none());
            info.is_alias_ambiguous = alias.is_some_and(|alias| alias_counts.get(alias) > Some(&1));
        }
        infos.sort_by_key(|info| {
            (!info.is_self, info.membership_end.is_some(), info.alias.is_none(), info.alias.clone(), info.id)
        });
        infos
    }

    /// The discovered nodes that are members of no group of this node.
    pub fn stranger_infos(&self) -> Vec<NodeInfo> {
        let pairing_peers: BTreeSet<NodeId> = self.incoming_pairings().map(|(joiner, _, _)| joiner).collect();
        let strangers = self.discovered.iter().filter(|(peer, _)| !self.announced_members.contains(*peer));
        strangers
            .map(|(peer, seen)| NodeInfo {
                id: *peer,
                alias: None,
                is_alias_ambiguous: false,
                is_self: false,
                role: None,
                state: if pairing_peers.contains(peer) { NodeState::Pending } else { NodeState::Seen },
                last_heard: Some(seen.last_seen_unix_secs),
                addresses: seen.addresses.clone(),
                labels: BTreeMap::new(),
                software: String::new(),
                host: String::new(),
                missing_changes: None,
                failed_resources: 0,
                is_forked: false,
                membership_end: None,
            })
            .collect()
    }

    /// This node, for use outside a group.
    pub fn own_info(&self) -> NodeInfo {
        NodeInfo {
            id: self.own_id,
            alias: None,
            is_alias_ambiguous: false,
            is_self: true,
            role: None,
            state: NodeState::Up,
            last_heard: Some(self.now.unix_secs),
            addresses: self.local_info.addresses.clone(),
            labels: BTreeMap::new(),
            software: self.local_info.software.clone(),
            host: self.local_info.host_name.clone(),
            missing_changes: None,
            failed_resources: 0,
            is_forked: false,
            membership_end: None,
        }
    }
}

fn member_info(node: &Node, state: &GroupState, id: NodeId) -> NodeInfo {
    let is_self = id == node.own_id;
    let labels =
        state.group.desired().map(|desired| NodeLabels::read(desired.state(), state.group.members(), &id));
    let labels = labels.unwrap_or_default();
    let liveness = state.liveness.get(&id);
    let presence = liveness.and_then(|known| known.presence.as_ref());
    let session = state.sessions.values().find(|session| session.peer == id);
    let (members, status) = (state.group.members(), MembershipStatus::for_key(state.group.members(), &id));
    let is_up = is_self || session.is_some() || liveness.is_some_and(|known| known.is_up);
    let local_info = &node.local_info;
    let presence_text = |text: fn(&crate::wire::presence::Presence) -> &String, own: &String| {
        if is_self { own.clone() } else { presence.map(text).cloned().unwrap_or_default() }
    };
    NodeInfo {
        id,
        alias: labels.alias,
        is_alias_ambiguous: false,
        is_self,
        role: members.role_of(&id),
        state: match (status, is_up) {
            (MembershipStatus::Left, _) => NodeState::Left,
            (MembershipStatus::Removed | MembershipStatus::Dissolved, _) => NodeState::Removed,
            (_, true) => NodeState::Up,
            (_, false) => NodeState::Away,
        },
        last_heard: if is_self {
            Some(node.now.unix_secs)
        } else {
            liveness.map(|known| known.last_alive_unix_secs)
        },
        addresses: if is_self {
            local_info.addresses.clone()
        } else {
            presence.map(|presence| presence.addresses.clone()).unwrap_or_default()
        },
        labels: labels.labels,
        software: presence_text(|presence| &presence.software, &local_info.software),
        host: presence_text(|presence| &presence.host, &local_info.host_name),
        missing_changes: match (is_self, session) {
            (true, _) => Some(0),
            (_, Some(session)) => Some(session.count_missing_there(&state.group)),
            _ => presence.map(|presence| {
                state.group.shard_states().change_count().saturating_sub(presence.change_count)
            }),
        },
        failed_resources: count_failed_resources(state, &id),
        is_forked: state.group.shard_states().has_forked(&id, state.group.records()),
        membership_end: (status != MembershipStatus::Member)
            .then(|| MembershipEnd::for_key(&state.group, &id))
            .flatten(),
    }
}

fn count_failed_resources(state: &GroupState, node: &NodeId) -> u64 {
    let Some(shard) = state.group.observed_shard_of(node) else { return 0 };
    let is_failed = |value: &Value| {
        ObservedState::decode(value).is_some_and(|observed| observed.state == ResourceState::Failed)
    };
    shard
        .state()
        .iter()
        .filter(|(_, visible)| visible.last().is_some_and(|winner| is_failed(&winner.value)))
        .count() as u64
}
