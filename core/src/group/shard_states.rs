//! All shards of a group, and the questions that concern more than one of them.

use std::collections::{BTreeMap, BTreeSet};

use super::serve::{Position, Tip};
use super::shard_state::ShardState;
use super::unaccepted::UnacceptedSet;
use crate::acceptance::Fork;
use crate::id::{ChainId, ChangeId, Digest, GrantId, NodeId, ShardId};
use crate::limits;
use crate::record::{Frontiers, RecordSet, Signer};
use crate::shard::Shard;
use crate::shard::root::{ShardName, ShardRoot};

/// The shards of a group that hold a change, or were offered one. `desired` is always among them.
#[derive(Clone, Debug, Default)]
pub struct ShardStates(BTreeMap<ShardId, ShardState>);

impl ShardStates {
    /// The state of a shard.
    pub fn get(&self, shard_id: &ShardId) -> Option<&ShardState> {
        self.0.get(shard_id)
    }

    pub(super) fn get_mut(&mut self, shard_id: &ShardId) -> Option<&mut ShardState> {
        self.0.get_mut(shard_id)
    }

    /// The state of the shard that `root` begins, created if it does not exist.
    pub(super) fn ensure(&mut self, root: &ShardRoot) -> &mut ShardState {
        self.0.entry(root.shard_id()).or_insert_with(|| ShardState::new(root.clone()))
    }

    pub(super) fn insert(&mut self, state: ShardState) {
        self.0.insert(state.shard_id(), state);
    }

    pub(super) fn remove(&mut self, shard_id: &ShardId) -> Option<ShardState> {
        self.0.remove(shard_id)
    }

    /// All states, by shard id.
    pub fn iter(&self) -> impl Iterator<Item = &ShardState> {
        self.0.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut ShardState> {
        self.0.values_mut()
    }

    /// The observed shards, each with the grant that writes it.
    pub fn observed_shards(&self) -> impl Iterator<Item = (GrantId, &Shard)> {
        self.iter().filter_map(|state| match state.shard().root().name() {
            ShardName::Observed(grant) => Some((grant, state.shard())),
            ShardName::Desired => None,
        })
    }

    /// The unaccepted changes of each shard.
    pub fn unaccepted_sets(&self) -> impl Iterator<Item = (&ShardId, &UnacceptedSet)> {
        self.0.iter().map(|(shard_id, state)| (shard_id, state.unaccepted()))
    }

    /// The forks among the replicated changes, each with its shard.
    pub fn forks(&self) -> impl Iterator<Item = (ShardId, &Fork)> {
        self.0.iter().flat_map(|(shard_id, state)| state.forks().iter().map(|fork| (*shard_id, fork)))
    }

    /// True if a chain of this key forked: its node was copied or restored, or writes two branches on
    /// purpose.
    pub fn has_forked(&self, key: &NodeId, records: &RecordSet) -> bool {
        let is_by_key =
            |state: &ShardState, fork: &Fork| state.author_of(&fork.winner, records) == Some(*key);
        self.iter().any(|state| state.forks().iter().any(|fork| is_by_key(state, fork)))
    }

    /// True if a change is here, accepted or not.
    pub fn has_change(&self, shard_id: &ShardId, id: &ChangeId) -> bool {
        self.get(shard_id).is_some_and(|state| state.contains(id))
    }

    /// The number of accepted changes in all shards.
    pub fn change_count(&self) -> u64 {
        self.iter().map(|state| state.shard().graph().len() as u64).sum()
    }

    /// True while a document is rebuilt without the changes that it lost.
    pub fn is_rebuilding(&self) -> bool {
        self.iter().any(|state| state.shard().document().is_rebuilding())
    }

    /// The shards that a defect isolated. They are left out of every digest.
    pub fn faulty_shards(&self) -> Vec<ShardId> {
        let faulty = self.iter().filter(|state| state.shard().document().fault().is_some());
        faulty.map(ShardState::shard_id).collect()
    }

    /// The digest of the replicated changes of each shard that has any, by shard id.
    pub fn shard_digests(&self) -> impl Iterator<Item = (ShardId, Digest)> {
        self.0.iter().filter_map(|(shard_id, state)| Some((*shard_id, state.digest()?)))
    }

    /// The grants under which the replicated changes were written.
    pub(super) fn grants_of_replicated_changes(&self) -> BTreeSet<GrantId> {
        let unaccepted = |state: &ShardState| -> BTreeSet<GrantId> {
            state.unaccepted().replicated().iter().map(|change| change.delta().grant).collect()
        };
        let accepted = self.iter().flat_map(|state| state.shard().graph().chains()).map(|chain| chain.grant);
        accepted.chain(self.iter().flat_map(unaccepted)).collect()
    }

    /// The bytes of the changes in quarantine, in all shards but one.
    pub(super) fn local_only_bytes_except(&self, excluded: &ShardId) -> usize {
        let others = self.0.iter().filter(|(shard_id, _)| *shard_id != excluded);
        others.map(|(_, state)| state.unaccepted().local_only_bytes()).sum()
    }

    /// The grant under which an accepted change was written.
    pub fn grant_of_change(&self, change: &ChangeId) -> Option<GrantId> {
        let graph = self.iter().map(|state| state.shard().graph()).find(|graph| graph.contains(change))?;
        Some(graph.chain_of(graph.get(change)?)?.grant)
    }

    /// The newest accepted change of each chain of a grant, and the newest record under it: what a Revoke
    /// lets count. With `upto`, the shard that holds that change counts only so far as `upto` and its
    /// ancestors reach; `None` if no shard holds it.
    pub fn frontiers_of_grant(
        &self,
        records: &RecordSet,
        grant: &GrantId,
        upto: Option<&ChangeId>,
    ) -> Option<Frontiers> {
        let limited = match upto {
            Some(change) => {
                let state = self.iter().find(|state| state.shard().graph().contains(change))?;
                Some((state.shard_id(), state.shard().graph().version_of([change])))
            }
            None => None,
        };
        let mut last_changes = Vec::new();
        for (shard_id, state) in &self.0 {
            let graph = state.shard().graph();
            let version =
                limited.as_ref().filter(|(limited_id, _)| limited_id == shard_id).map(|(_, upto)| upto);
            for chain in graph.chains().filter(|chain| chain.grant == *grant) {
                let len = version.map_or(chain.len(), |version| graph.seq_in_version(version, &chain.id));
                let tip = graph.entry_in_chain(chain, len);
                last_changes.extend(tip.map(|entry| (chain.id, entry.seq, entry.id)));
            }
        }
        last_changes.sort_unstable();
        if last_changes.len() > limits::MAX_FRONTIER_CHAINS {
            // A grant with so many incarnations is faulty in itself. The longest chains hold most of its
            // work.
            last_changes.sort_by_key(|(_, seq, _)| std::cmp::Reverse(*seq));
            last_changes.truncate(limits::MAX_FRONTIER_CHAINS);
            last_changes.sort_unstable();
        }
        Some(Frontiers { last_record: records.newest_in_chain((*grant, Signer::Holder)), last_changes })
    }

    /// The position of this node in every chain of one shard: the tips of all replicated branches.
    pub fn chain_positions(&self, shard_id: &ShardId) -> Vec<Position> {
        self.get(shard_id).map(ShardState::chain_positions).unwrap_or_default()
    }

    /// The number of accepted changes in one chain.
    pub fn accepted_len(&self, shard_id: &ShardId, chain_id: &ChainId) -> u64 {
        self.get(shard_id).map_or(0, |state| state.accepted_len(chain_id))
    }

    /// A first guess from where to request a tip that is not here.
    pub fn resume_point(&self, shard_id: &ShardId, chain_id: &ChainId, tip: Tip) -> u64 {
        match self.get(shard_id) {
            Some(state) => state.resume_point(chain_id, tip),
            None => 0,
        }
    }

    /// The author's change before this one; `None` for the first of a chain, and if it is not here.
    pub fn previous_in_chain(&self, shard_id: &ShardId, id: &ChangeId) -> Option<ChangeId> {
        self.get(shard_id)?.previous_in_chain(id)
    }
}
