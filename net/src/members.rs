//! The members of all groups, and which node leads a pair.

use std::collections::BTreeSet;

use larder_core::id::NodeId;

use crate::{key, limits};

/// The members of all groups, without this node.
pub(crate) struct MemberSet {
    local_node: NodeId,
    members: BTreeSet<NodeId>,
}

/// The difference between two sets of members.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MemberChanges {
    pub(crate) removed: Vec<NodeId>,
    pub(crate) added: Vec<NodeId>,
}

impl MemberSet {
    /// Creates an empty set for this node.
    pub(crate) fn new(local_node: NodeId) -> Self {
        Self { local_node, members: BTreeSet::new() }
    }

    /// The id of this node.
    pub(crate) fn local_node(&self) -> NodeId {
        self.local_node
    }

    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.members.contains(&node)
    }

    /// All members in the order of their ids.
    pub(crate) fn all(&self) -> &BTreeSet<NodeId> {
        &self.members
    }

    /// True if this node is the leader of its pair with `node`.
    pub(crate) fn leads(&self, node: NodeId) -> bool {
        key::is_leader(self.local_node, node)
    }

    /// Replaces the members. Ignores this node, and those above [`limits::MAX_MEMBERS`].
    pub(crate) fn replace(&mut self, mut members: BTreeSet<NodeId>) -> MemberChanges {
        members.remove(&self.local_node);
        if let Some(first_ignored) = members.iter().nth(limits::MAX_MEMBERS).copied() {
            let limit = limits::MAX_MEMBERS;
            tracing::warn!(count = members.len(), limit, "too many members: some are ignored");
            members.split_off(&first_ignored);
        }
        let previous = std::mem::replace(&mut self.members, members);
        MemberChanges {
            removed: previous.difference(&self.members).copied().collect(),
            added: self.members.difference(&previous).copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_the_members_returns_the_difference_and_leaves_out_this_node() {
        let [own, a, b, c] = [2, 1, 3, 4].map(|seed| NodeId([seed; 32]));
        let mut members = MemberSet::new(own);
        members.replace([own, a, b].into());
        assert!(members.contains(a) && !members.contains(own));
        let changes = members.replace([own, b, c].into());
        assert_eq!(changes, MemberChanges { removed: vec![a], added: vec![c] });
        assert!(members.leads(b) && !members.leads(a));
    }

    #[test]
    fn the_number_of_members_is_bounded() {
        let node_from_seed = |seed: u32| {
            let mut bytes = [9; 32];
            bytes[..4].copy_from_slice(&seed.to_be_bytes());
            NodeId(bytes)
        };
        let mut members = MemberSet::new(NodeId([0; 32]));
        let too_many = u32::try_from(limits::MAX_MEMBERS).unwrap() + 7;
        members.replace((0..too_many).map(node_from_seed).collect());
        assert_eq!(members.all().len(), limits::MAX_MEMBERS);
    }
}
