//! One group as this node holds it: the records, the membership that they mean, and the shards of the
//! document.
//!
//! A group is made of parts that own their state:
//!
//! | part                  | holds                                                              |
//! |-----------------------|--------------------------------------------------------------------|
//! | [`MembershipRecords`] | the records, and the membership evaluated from them                |
//! | [`ShardStates`]       | one [`ShardState`] a shard: accepted and unaccepted changes, forks |
//! | `Orphans`             | changes that wait for a dependency                                 |
//! | [`RejectedCache`]     | changes and records that are invalid for ever                      |
//! | `Journal`             | the order in which records and changes came to count here          |
//!
//! A group knows nothing of links or time. What enters it (`ingest_*`, `write`, `apply_records`) goes through
//! an `IngestPass`; the result is the [`Row`]s to make durable and the list of new changes and records. The
//! node decides which peers get these.

mod branch_history;
mod fast_path;
mod ingest;
mod ingest_batch;
mod ingest_fault;
mod ingest_outcome;
mod journal;
mod load;
mod membership_records;
mod orphans;
mod reaccept;
mod rejected;
mod removal_proof;
mod segment;
mod serve;
mod shard_state;
mod shard_states;
#[cfg(test)]
mod tests;
mod unaccepted;
mod unaccepted_reason;
mod write;

use std::collections::BTreeMap;

pub use crate::delta::change_note::ChangeNote;
pub use ingest_fault::{IngestFault, RejectedChangeFault};
pub use ingest_outcome::{IngestOutcome, NewChange};
pub use membership_records::{MembershipRecords, RecordOutcome};
pub use rejected::{RejectedCache, RejectedId, RejectedItem};
pub use serve::{ChainRange, Position, Tip};
pub use shard_state::{ShardState, accepted_candidates};
pub use shard_states::ShardStates;
pub use unaccepted::{UnacceptedChange, UnacceptedSet};
pub use unaccepted_reason::UnacceptedReason;
pub use write::{WriteError, WriteOutcome};

use crate::id::{Digest, GrantId, GroupId, NodeId, ShardId, hash16};
use crate::record::{Frontiers, Membership, RecordSet, Role, SignedRecord};
use crate::shard::Shard;
use crate::shard::root::ShardName;
use crate::store::{OwnTipRow, Row};
use ingest::IngestPass;
use journal::Journal;
use orphans::Orphans;
use serve::ServeCache;

/// One group in memory.
#[derive(Clone, Debug)]
pub struct Group {
    id: GroupId,
    membership: MembershipRecords,
    shards: ShardStates,
    orphans: Orphans,
    rejected: RejectedCache,
    journal: Journal,
    /// The last change that this node wrote, by shard and grant.
    own_tips: BTreeMap<(ShardId, GrantId), OwnTipRow>,
    /// The rows that a load found missing or wrong.
    repair_rows: Vec<Row>,
    serve_cache: ServeCache,
}

impl Group {
    /// The group that these records describe, with an empty document.
    pub fn new(records: RecordSet) -> Self {
        let mut membership = MembershipRecords::new(records);
        let mut shards = ShardStates::default();
        for root in membership.roots() {
            shards.ensure(root);
        }
        membership.evaluate(&shards);
        Self {
            id: membership.group(),
            membership,
            shards,
            orphans: Orphans::default(),
            rejected: RejectedCache::default(),
            journal: Journal::default(),
            own_tips: BTreeMap::new(),
            repair_rows: Vec::new(),
            serve_cache: BTreeMap::new(),
        }
    }

    /// The group's id.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        self.records().name()
    }

    /// The record set.
    pub fn records(&self) -> &RecordSet {
        self.membership.records()
    }

    /// The evaluated membership.
    pub fn members(&self) -> &Membership {
        self.membership.members()
    }

    /// The records with the membership evaluated from them.
    pub fn membership_records(&self) -> &MembershipRecords {
        &self.membership
    }

    /// The shards that hold a change, with their unaccepted changes. `desired` is always among them.
    pub fn shard_states(&self) -> &ShardStates {
        &self.shards
    }

    /// The accepted changes of the desired state.
    pub fn desired(&self) -> Option<&Shard> {
        self.shard_by_id(&self.membership.shard_id(ShardName::Desired)?)
    }

    /// The accepted changes of a shard.
    pub fn shard_by_id(&self, shard_id: &ShardId) -> Option<&Shard> {
        self.shards.get(shard_id).map(ShardState::shard)
    }

    /// The accepted changes of each shard, by shard id.
    pub fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter().map(ShardState::shard)
    }

    /// The unaccepted changes of a shard, if there are any.
    pub fn unaccepted_in(&self, shard_id: &ShardId) -> Option<&UnacceptedSet> {
        self.shards.get(shard_id).map(ShardState::unaccepted).filter(|unaccepted| !unaccepted.is_empty())
    }

    /// The observed state of a node: the shard of its oldest live grant that may write one.
    pub fn observed_shard_of(&self, node_id: &NodeId) -> Option<&Shard> {
        let grant = self.members().oldest_grant_allowing(node_id, Role::can_write_observed)?;
        self.shard_by_id(&self.membership.shard_id(ShardName::Observed(grant))?)
    }

    /// The rejected changes and records. The node does not request them again.
    pub fn rejected(&self) -> &RejectedCache {
        &self.rejected
    }

    /// The number of changes that wait for a dependency.
    pub fn orphan_count(&self) -> usize {
        self.orphans.len()
    }

    /// Brings every Automerge document up to date. Call it before anything reads a document.
    pub fn flush_documents(&mut self) {
        self.shards.iter_mut().for_each(|state| state.shard.flush());
    }

    /// Builds the resource index of each shard that has none. Call it before the history of one resource is
    /// read, after [`Group::flush_documents`].
    pub fn build_resource_indexes(&mut self) {
        self.shards.iter_mut().for_each(|state| state.shard.build_resource_index());
    }

    /// The digest of everything that members pass on: records, and changes of every shard that is not in
    /// `excluded`. Equal digests mean equal groups.
    pub fn digest(&self, excluded: &[ShardId]) -> Digest {
        let mut parts: Vec<&[u8]> = vec![&self.id.0];
        parts.extend(self.membership.offered_ids().iter().map(AsRef::as_ref));
        let digests = self.shards.shard_digests().filter(|(shard_id, _)| !excluded.contains(shard_id));
        let digests: Vec<(ShardId, Digest)> = digests.collect();
        for (shard_id, digest) in &digests {
            parts.extend([shard_id.as_ref(), digest.as_ref()]);
        }
        Digest(hash16("larder 1 group digest", &parts))
    }

    /// The newest accepted change of each chain of a grant, and the newest record under it: what a Revoke
    /// lets count unless the admin chooses otherwise.
    pub fn frontiers_of_grant(&self, grant: &GrantId) -> Frontiers {
        self.shards.frontiers_of_grant(self.records(), grant, None).unwrap_or_default()
    }

    /// Takes in records, and computes acceptance again where they changed it.
    pub fn apply_records(&mut self, records: impl IntoIterator<Item = SignedRecord>) -> RecordOutcome {
        let mut outcome = self.membership.insert_all(records, &mut self.rejected);
        if outcome.new_records.is_empty() {
            return outcome;
        }
        let before = self.membership.evaluate(&self.shards);
        // A grant is journaled before the changes written under it.
        self.journal.append_records(&self.membership, &mut outcome.rows);
        let mut pass = IngestPass::new(self);
        pass.reaccept_after_records(&before);
        outcome.ingest.merge(pass.finish());
        self.membership.update_offered(&self.shards);
        self.journal.append_records(&self.membership, &mut outcome.rows);
        let limit_hits = self.membership.evict_ineffective(&outcome.new_records, &mut outcome.rows);
        outcome.ingest.limit_hits.merge(&limit_hits);
        let offered = self.membership.offered_ids();
        outcome.new_records.retain(|record| offered.contains(&record.id()));
        outcome
    }
}
