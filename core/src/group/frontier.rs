//! What a Revoke lets count of an ended grant, and what tells somebody that it is no member any more.

use std::collections::{BTreeMap, BTreeSet};

use super::Group;
use crate::id::{ChainId, ChangeId, GrantId, NodeId, RecordId};
use crate::limits;
use crate::record::{Frontiers, RecordBody, SignedRecord, Signer};
use crate::shard::Shard;
use crate::shard::graph::VersionVector;

impl Group {
    /// Everything that this node has accepted of a grant, and every record under it: what a Revoke lets count unless it is
    /// told otherwise.
    pub fn frontiers_of_grant(&self, grant: &GrantId) -> Frontiers {
        self.frontiers_of_grant_within(grant, |_| None)
    }

    /// The same, but of the shard that holds `change` no more than what it was built on and itself. `None` if no shard
    /// does.
    pub fn frontiers_of_grant_up_to(&self, grant: &GrantId, change: &ChangeId) -> Option<Frontiers> {
        let shard = self.shards.values().find(|shard| shard.graph().contains(change))?;
        let upto = shard.graph().version_of([change]);
        let within =
            |other: &Shard| (other.root().shard_id() == shard.root().shard_id()).then(|| upto.clone());
        Some(self.frontiers_of_grant_within(grant, within))
    }

    /// The grant under which an accepted change was written.
    pub fn grant_of_change(&self, change: &ChangeId) -> Option<GrantId> {
        let graph = self.shards.values().map(Shard::graph).find(|graph| graph.contains(change))?;
        Some(graph.chain_of(graph.get(change)?)?.grant)
    }

    fn frontiers_of_grant_within(
        &self,
        grant: &GrantId,
        within: impl Fn(&Shard) -> Option<VersionVector>,
    ) -> Frontiers {
        let mut changes: BTreeMap<ChainId, (u64, ChangeId)> = BTreeMap::new();
        for shard in self.shards.values() {
            let (graph, within) = (shard.graph(), within(shard));
            for chain in graph.chains().filter(|chain| chain.grant == *grant) {
                let len =
                    within.as_ref().map_or(chain.len(), |version| graph.seq_in_version(version, &chain.id));
                let chain_tip =
                    graph.entry_in_chain(chain, len).map(|entry| (chain.id, (entry.seq, entry.id)));
                changes.extend(chain_tip);
            }
        }
        let mut changes: Vec<_> =
            changes.into_iter().map(|(chain_id, (seq, id))| (chain_id, seq, id)).collect();
        if changes.len() > limits::MAX_FRONTIER_CHAINS {
            // So many lives of one grant are a fault in themselves; the longest had most to say.
            changes.sort_by_key(|(_, seq, _)| std::cmp::Reverse(*seq));
            changes.truncate(limits::MAX_FRONTIER_CHAINS);
            changes.sort_unstable();
        }
        Frontiers {
            last_record: self.records.newest_in_chain((*grant, Signer::Holder)),
            last_changes: changes,
        }
    }

    /// What shows somebody whose grants are known here that none of them counts: the records that ended them, or those of
    /// the line up to Genesis, with all that is needed to understand them. Empty for everybody else.
    pub fn removal_proof(&self, former_member: &NodeId) -> Vec<SignedRecord> {
        let is_theirs =
            |id: &RecordId| self.records.holder_and_role(id).is_some_and(|(key, _)| key == *former_member);
        let grants = self.records.iter().map(SignedRecord::id).filter(is_theirs);
        let grant_path = grants.filter_map(|grant| self.records.path(&grant)).flatten().collect();
        self.removal_proof_for_path(former_member, &grant_path)
    }

    /// The same for somebody who shows these records as its line of grants: it may have been let in by one who could do so
    /// no more, and know as little of that as of itself.
    pub fn removal_proof_for_path(
        &self,
        former_member: &NodeId,
        grant_path: &BTreeSet<RecordId>,
    ) -> Vec<SignedRecord> {
        let path_grants = || grant_path.iter().filter(|id| self.members.grant(id).is_some());
        // Whoever shows the line of another is a stranger.
        let is_own_path = grant_path
            .iter()
            .filter_map(|id| self.records.holder_and_role(id))
            .any(|(key, _)| key == *former_member);
        if self.members.is_member(former_member) || !is_own_path {
            return Vec::new();
        }
        let revocations = path_grants().flat_map(|grant| self.members.revocations(grant));
        let mut record_ids: BTreeSet<RecordId> = revocations.map(|revocation| revocation.record).collect();
        if path_grants().next().is_some() {
            record_ids.extend(self.members.dissolved_by());
        }
        self.records
            .missing_for_peer(&self.records.with_dependencies(self.with_deciding_records(record_ids)), &[])
    }

    /// These records with those that decide whether they count, and up to where: what ended the grants that they were
    /// issued under, and what their frontiers name. One who has fewer may read them otherwise.
    fn with_deciding_records(&self, mut record_ids: BTreeSet<RecordId>) -> BTreeSet<RecordId> {
        let mut queue: Vec<RecordId> = record_ids.iter().copied().collect();
        while let Some(id) = queue.pop() {
            let Some(record) = self.records.get(&id).map(SignedRecord::record) else { continue };
            let grant_path = self.records.path(&record.grant).unwrap_or_default();
            let revocations = grant_path.iter().flat_map(|grant| self.members.revocations(grant));
            let frontier_record = match &record.body {
                RecordBody::Revoke(revoke) => {
                    revoke.frontiers.last_record.map(|(_, frontier_id)| frontier_id)
                }
                _ => None,
            };
            for other_id in revocations.map(|revocation| revocation.record).chain(frontier_record) {
                if record_ids.insert(other_id) {
                    queue.push(other_id);
                }
            }
        }
        record_ids
    }
}
