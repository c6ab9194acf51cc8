//! The membership part of a group: its records, what they mean, and which shards can exist because of them.

use std::collections::{BTreeMap, BTreeSet};

use super::ingest_outcome::IngestOutcome;
use super::rejected::{RejectedCache, RejectedId};
use super::shard_states::ShardStates;
use crate::id::{GrantId, GroupId, RecordId, ShardId};
use crate::limit_stats::LimitStats;
use crate::limits;
use crate::record::{Membership, RecordFault, RecordInsertion, RecordSet, RecordTip, Role, SignedRecord};
use crate::shard::root::{ShardName, ShardRoot};
use crate::store::{Row, Table, key};

/// The outcome of [`super::Group::apply_records`].
#[derive(Clone, Debug, Default)]
pub struct RecordOutcome {
    /// The records that are new here, in an order in which each can be inserted at once.
    pub new_records: Vec<SignedRecord>,
    /// The reason why the first record that can never be inserted is invalid.
    pub fault: Option<RecordFault>,
    /// The rows to make durable.
    pub rows: Vec<Row>,
    /// The effect of the new records on the group's changes.
    pub ingest: IngestOutcome,
}

/// The records of one group with the membership evaluated from them.
#[derive(Clone, Debug)]
pub struct MembershipRecords {
    records: RecordSet,
    membership: Membership,
    version: u64,
    /// The records that members pass on: the effective ones, and the records that explain them.
    offered: BTreeSet<RecordId>,
    /// The roots of all shards that can exist: `desired`, and one for each grant that may write observed
    /// state.
    roots: BTreeMap<ShardId, ShardRoot>,
    shard_id_by_name: BTreeMap<ShardName, ShardId>,
}

impl MembershipRecords {
    /// The part for a set of records, not evaluated yet.
    pub(super) fn new(records: RecordSet) -> Self {
        let mut part = Self {
            records,
            membership: Membership::default(),
            version: 0,
            offered: BTreeSet::new(),
            roots: BTreeMap::new(),
            shard_id_by_name: BTreeMap::new(),
        };
        part.add_root(ShardName::Desired);
        part
    }

    /// Evaluates the records again, and returns the membership as it was before.
    pub(super) fn evaluate(&mut self, shards: &ShardStates) -> Membership {
        let before = std::mem::replace(&mut self.membership, Membership::evaluate(&self.records));
        self.version += 1;
        // A change is valid by the role of its grant, whether or not the grant is effective.
        let may_observe = |id: &GrantId| self.records.role_of(id).is_some_and(Role::can_write_observed);
        let observing =
            self.records.iter().map(SignedRecord::id).filter(may_observe).map(ShardName::Observed);
        let missing: Vec<ShardName> =
            observing.filter(|name| !self.shard_id_by_name.contains_key(name)).collect();
        missing.into_iter().for_each(|name| self.add_root(name));
        self.update_offered(shards);
        before
    }

    fn add_root(&mut self, name: ShardName) {
        let root = ShardRoot::derive(self.records.group(), name);
        self.shard_id_by_name.insert(name, root.shard_id());
        self.roots.insert(root.shard_id(), root);
    }

    /// Computes again which records members pass on: those that explain the membership and the replicated
    /// changes.
    pub(super) fn update_offered(&mut self, shards: &ShardStates) {
        let grants = shards.grants_of_replicated_changes();
        self.offered = self.records.with_dependencies(self.membership.published().chain(grants));
    }

    /// The group's id.
    pub(super) fn group(&self) -> GroupId {
        self.records.group()
    }

    /// The record set.
    pub fn records(&self) -> &RecordSet {
        &self.records
    }

    /// The evaluated membership.
    pub fn members(&self) -> &Membership {
        &self.membership
    }

    /// The number of evaluations so far. While it stays, so does [`MembershipRecords::members`].
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The ids of the records that members pass on.
    pub(super) fn offered_ids(&self) -> &BTreeSet<RecordId> {
        &self.offered
    }

    /// The records that members pass on, by id.
    pub fn offered_records(&self) -> impl Iterator<Item = &SignedRecord> {
        self.offered.iter().filter_map(|id| self.records.get(id))
    }

    /// The newest record that members pass on of each record chain.
    pub fn record_tips(&self) -> Vec<RecordTip> {
        self.records.chain_tips(&self.offered)
    }

    /// The records that a peer with these tips lacks, in an order in which each can be inserted at once.
    pub fn missing_records(&self, peer_tips: &[RecordTip]) -> Vec<SignedRecord> {
        self.records.missing_for_peer(&self.offered, peer_tips)
    }

    /// The roots of all shards that can exist, by shard id.
    pub fn roots(&self) -> impl Iterator<Item = &ShardRoot> {
        self.roots.values()
    }

    /// The root of a shard.
    pub(super) fn root(&self, shard_id: &ShardId) -> Option<&ShardRoot> {
        self.roots.get(shard_id)
    }

    /// The id of a shard, if the records allow the shard to exist.
    pub(super) fn shard_id(&self, name: ShardName) -> Option<ShardId> {
        self.shard_id_by_name.get(&name).copied()
    }

    /// True if members dropped all changes of this shard.
    pub(super) fn is_shard_forgotten(&self, name: ShardName) -> bool {
        matches!(name, ShardName::Observed(grant) if self.membership.is_forgotten(&grant))
    }

    /// The row of each record.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.records.iter().map(|record| self.row(record)).collect()
    }

    fn row(&self, record: &SignedRecord) -> Row {
        Row::put(Table::Records, key::record(self.group(), record.id()), record.encode())
    }

    /// Inserts records, without evaluating the set.
    pub(super) fn insert_all(
        &mut self,
        records: impl IntoIterator<Item = SignedRecord>,
        rejected: &mut RejectedCache,
    ) -> RecordOutcome {
        let mut outcome = RecordOutcome::default();
        for record in records {
            let id = record.id();
            match self.records.insert(record) {
                RecordInsertion::Inserted(inserted_ids) => {
                    for record in inserted_ids.iter().filter_map(|id| self.records.get(id)) {
                        outcome.rows.push(self.row(record));
                        outcome.new_records.push(record.clone());
                    }
                }
                RecordInsertion::Rejected(fault) => {
                    rejected.record(RejectedId::Record(id), fault.to_string());
                    outcome.fault = outcome.fault.or(Some(fault));
                }
                RecordInsertion::Waiting if self.records.len() >= limits::MAX_RECORDS_PER_GROUP => {
                    let limit = limits::MAX_RECORDS_PER_GROUP;
                    outcome.ingest.limit_hits.record("membership records", limit);
                }
                RecordInsertion::WaitingFull => {
                    let limit = limits::MAX_WAITING_RECORDS;
                    outcome.ingest.limit_hits.record("membership records that wait for others", limit);
                }
                RecordInsertion::AlreadyKnown | RecordInsertion::Waiting => {}
            }
        }
        outcome
    }

    /// Drops the newest of the inserted records that members do not pass on, if the set holds too many such
    /// records.
    pub(super) fn evict_ineffective(&mut self, inserted: &[SignedRecord], rows: &mut Vec<Row>) -> LimitStats {
        let mut limit_hits = LimitStats::default();
        let mut ineffective_count = self.records.len() - self.offered.len();
        for record in inserted.iter().rev() {
            if ineffective_count <= limits::MAX_INEFFECTIVE_RECORDS {
                break;
            }
            if !self.offered.contains(&record.id()) {
                limit_hits.record("membership records without effect", limits::MAX_INEFFECTIVE_RECORDS);
                self.records.remove(&record.id());
                rows.retain(|row| row.key != key::record(self.group(), record.id()));
                ineffective_count -= 1;
            }
        }
        limit_hits
    }
}
