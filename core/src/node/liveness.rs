//! Which members are alive, and what each said in its last presence.

use std::collections::{BTreeMap, BTreeSet};

use super::input::{ClockReading, MonoTime};
use crate::id::NodeId;
use crate::limits;
use crate::wire::presence::Presence;

/// The most boots of one node that are remembered as over.
const MAX_RETIRED_BOOTS: usize = 8;

/// What is known of one member's liveness.
#[derive(Clone, Debug, Default)]
pub(super) struct Liveness {
    /// The member's last presence; `None` if it is linked but has not sent one yet.
    pub(super) presence: Option<Presence>,
    /// When the member was last alive, on this node's monotonic clock.
    pub(super) last_alive_at: MonoTime,
    /// When the member was last alive, in seconds since 1970.
    pub(super) last_alive_unix_secs: i64,
    /// True while the member counts as up.
    pub(super) is_up: bool,
    /// Boot ids that another boot followed: a presence of one of them is old.
    retired_boots: Vec<u64>,
    /// When the last presence arrived.
    presence_received_at: MonoTime,
}

/// The liveness of a group's members since this daemon started.
#[derive(Clone, Debug, Default)]
pub(super) struct LivenessTable(BTreeMap<NodeId, Liveness>);

impl LivenessTable {
    pub(super) fn get(&self, node: &NodeId) -> Option<&Liveness> {
        self.0.get(node)
    }

    /// Forgets all nodes but these.
    pub(super) fn retain(&mut self, nodes: &BTreeSet<NodeId>) {
        self.0.retain(|node, _| nodes.contains(node));
    }

    /// Records a sign of life. True if the node counted as away until now.
    pub(super) fn mark_alive(&mut self, node: NodeId, now: ClockReading) -> bool {
        let known = self.0.entry(node).or_default();
        (known.last_alive_at, known.last_alive_unix_secs) = (now.mono, now.unix_secs);
        !std::mem::replace(&mut known.is_up, true)
    }

    /// True if the presence is newer than the last one of its node, and not of a boot that is over.
    pub(super) fn is_newer(&self, presence: &Presence, now: MonoTime) -> bool {
        let Some(known) = self.0.get(&presence.node) else { return true };
        let Some(last) = &known.presence else { return true };
        if last.boot_id != presence.boot_id {
            return !known.retired_boots.contains(&presence.boot_id);
        }
        let is_spaced = now.ms_since(known.presence_received_at) >= limits::PRESENCE_MIN_INTERVAL_MS;
        presence.sequence > last.sequence && is_spaced
    }

    /// Takes over a newer presence. If its node was restarted, the boot before is over.
    pub(super) fn record_presence(&mut self, presence: Presence, now: MonoTime) {
        let known = self.0.entry(presence.node).or_default();
        let previous_boot = known.presence.as_ref().map(|last| last.boot_id);
        known.retired_boots.extend(previous_boot.filter(|boot| *boot != presence.boot_id));
        if known.retired_boots.len() > MAX_RETIRED_BOOTS {
            known.retired_boots.remove(0);
        }
        known.presence = Some(presence);
        known.presence_received_at = now;
    }

    /// True if `node` says in its last presence that it has a link with `peer`.
    pub(super) fn claims_link(&self, node: Option<NodeId>, peer: &NodeId) -> bool {
        let presence = node.and_then(|node| self.0.get(&node)).and_then(|known| known.presence.as_ref());
        presence.is_some_and(|presence| presence.linked_peers.binary_search(&peer.fingerprint8()).is_ok())
    }

    /// When the first node outside `linked` has been silent for too long.
    pub(super) fn away_due(&self, linked: &BTreeSet<NodeId>) -> Option<MonoTime> {
        let unlinked = self.0.iter().filter(|(node, known)| known.is_up && !linked.contains(*node));
        unlinked.map(|(_, known)| known.last_alive_at.plus_ms(limits::AWAY_AFTER_MS)).min()
    }

    /// Marks nodes outside `linked` as away that were silent for too long, and returns them.
    pub(super) fn expire(&mut self, linked: &BTreeSet<NodeId>, now: MonoTime) -> Vec<NodeId> {
        let is_silent = |known: &Liveness| now.ms_since(known.last_alive_at) >= limits::AWAY_AFTER_MS;
        let unlinked = self.0.iter_mut().filter(|(node, _)| !linked.contains(*node));
        let silent = unlinked.filter(|(_, known)| known.is_up && is_silent(known));
        silent.map(|(node, known)| (known.is_up = false, *node).1).collect()
    }
}
