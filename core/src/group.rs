//! One group, as this node holds it: its records, what they mean, and the shards of its document.
//!
//! Nothing here knows of links or time; what changes is answered as [`GraphRow`]s to be made durable and as the list of what
//! is new, and the machine around it decides whom to tell.

mod frontier;
mod ingest;
mod ingest_batch;
mod journal;
mod load;
mod orphans;
mod reaccept;
mod rejected;
mod segment;
mod serve;
#[cfg(test)]
mod tests;
mod unaccepted;
mod unaccepted_reason;
mod write;

use std::collections::{BTreeMap, BTreeSet};

pub use ingest::{IngestOutcome, NewChange};
pub use reaccept::accepted_candidates;
pub use rejected::{RejectedId, RejectedItem};
pub use serve::{ChainRange, Position, Tip};
pub use unaccepted::{UnacceptedChange, UnacceptedSet};
pub use unaccepted_reason::UnacceptedReason;
pub use write::{ChangeNote, WriteError, WriteOutcome};

use crate::acceptance::Fork;
use crate::delta::Delta;
use crate::id::{ChangeId, Digest, GrantId, GroupId, NodeId, RecordId, ShardId, hash16};
use crate::limits;
use crate::record::{Membership, RecordFault, RecordInsertion, RecordSet, RecordTip, Role, SignedRecord};
use crate::shard::Shard;
use crate::shard::root::{ShardName, ShardRoot};
use crate::store::{OwnTipRow, Row, Table, key};
use journal::Journal;
use orphans::Orphans;
use rejected::RejectedCache;

/// One group in memory.
#[derive(Clone, Debug)]
pub struct Group {
    id: GroupId,
    records: RecordSet,
    members: Membership,
    /// How often the records' meaning was read.
    membership_version: u64,
    /// The roots of all shards that can be: `desired`, and one for every grant that may write observed state.
    roots: BTreeMap<ShardId, ShardRoot>,
    shard_id_by_name: BTreeMap<ShardName, ShardId>,
    /// The shards that hold a change. `desired` always stands.
    shards: BTreeMap<ShardId, Shard>,
    /// Valid changes that they are not made of.
    unaccepted: BTreeMap<ShardId, UnacceptedSet>,
    /// The forks among what is kept of them.
    forks: BTreeMap<ShardId, Vec<Fork>>,
    /// The records that members pass on: those that count, with all that is needed to understand them.
    offered_records: BTreeSet<RecordId>,
    orphans: Orphans,
    rejected: RejectedCache,
    /// What this node wrote last, by epoch and grant.
    own_tips: BTreeMap<(ShardId, GrantId), OwnTipRow>,
    /// Changes of each shard since it was last written out whole.
    unsaved_counts: BTreeMap<ShardId, usize>,
    /// In which order all of that came to count.
    journal: Journal,
    /// Rows that are to be written, after a load found that others follow from the rest.
    repair_rows: Vec<Row>,
    /// Contents read for a neighbour's next window.
    serve_cache: BTreeMap<ChangeId, Delta>,
}

/// What became of offered records.
#[derive(Clone, Debug, Default)]
pub struct RecordOutcome {
    /// Those that are new here, in an order in which each can be placed at once.
    pub new_records: Vec<SignedRecord>,
    /// The first that can never be placed, and why.
    pub fault: Option<RecordFault>,
    /// What is to be made durable.
    pub rows: Vec<Row>,
    /// What became of changes because of them.
    pub ingest: IngestOutcome,
}

impl Group {
    /// The group that a set of records describes, with an empty document.
    pub fn new(records: RecordSet) -> Self {
        let id = records.group();
        let mut group = Self {
            id,
            members: Membership::default(),
            membership_version: 0,
            records,
            roots: BTreeMap::new(),
            shard_id_by_name: BTreeMap::new(),
            shards: BTreeMap::new(),
            unaccepted: BTreeMap::new(),
            forks: BTreeMap::new(),
            offered_records: BTreeSet::new(),
            orphans: Orphans::default(),
            rejected: RejectedCache::default(),
            own_tips: BTreeMap::new(),
            unsaved_counts: BTreeMap::new(),
            journal: Journal::default(),
            repair_rows: Vec::new(),
            serve_cache: BTreeMap::new(),
        };
        let desired = ShardRoot::derive(id, ShardName::Desired);
        group.shards.insert(desired.shard_id(), Shard::new(desired.clone()));
        group.add_root(desired);
        group.evaluate_records();
        group
    }

    /// Reads the records' meaning anew.
    fn evaluate_records(&mut self) {
        self.members = Membership::evaluate(&self.records);
        self.membership_version += 1;
        // What is written under a grant is valid whether it counts or not.
        let writes_observed = |id: &GrantId| self.records.role_of(id).is_some_and(Role::can_write_observed);
        let missing: Vec<ShardName> = self
            .records
            .iter()
            .map(SignedRecord::id)
            .filter(writes_observed)
            .map(ShardName::Observed)
            .filter(|name| !self.shard_id_by_name.contains_key(name))
            .collect();
        for name in missing {
            self.add_root(ShardRoot::derive(self.id, name));
        }
        self.update_offered_records();
    }

    /// Looks anew at which records members pass on.
    fn update_offered_records(&mut self) {
        let replicated_grants = self
            .unaccepted
            .values()
            .flat_map(|unaccepted| unaccepted.replicated())
            .map(|change| change.delta().grant);
        let accepted_grants =
            self.shards.values().flat_map(|shard| shard.graph().chains()).map(|chain| chain.grant);
        let grants: BTreeSet<GrantId> = replicated_grants.chain(accepted_grants).collect();
        self.offered_records = self.records.with_dependencies(self.members.published().chain(grants));
    }

    /// The records that members pass on, by id.
    pub fn offered_records(&self) -> impl Iterator<Item = &SignedRecord> {
        self.offered_records.iter().filter_map(|id| self.records.get(id))
    }

    fn add_root(&mut self, root: ShardRoot) {
        self.shard_id_by_name.insert(root.name(), root.shard_id());
        self.roots.insert(root.shard_id(), root);
    }

    /// The group's id.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        self.records.name()
    }

    /// Its membership records.
    pub fn records(&self) -> &RecordSet {
        &self.records
    }

    /// Who is a member, with which role.
    pub fn members(&self) -> &Membership {
        &self.members
    }

    /// How often the records' meaning was read: while this stays, so does everything in [`Group::members`].
    pub fn membership_version(&self) -> u64 {
        self.membership_version
    }

    /// True while a document is made anew without what it has given up.
    pub fn is_rebuilding(&self) -> bool {
        self.shards.values().any(|shard| shard.document().is_rebuilding())
    }

    /// The desired state.
    pub fn desired(&self) -> Option<&Shard> {
        self.shard_by_name(ShardName::Desired)
    }

    /// A shard by name; `None` if nobody has written to it.
    pub fn shard_by_name(&self, name: ShardName) -> Option<&Shard> {
        self.shard_id_by_name.get(&name).and_then(|shard_id| self.shards.get(shard_id))
    }

    /// A shard by epoch.
    pub fn shard_by_id(&self, shard_id: &ShardId) -> Option<&Shard> {
        self.shards.get(shard_id)
    }

    /// All shards that hold a change, `desired` in any case, by epoch.
    pub fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.values()
    }

    /// The observed shards that hold a change.
    pub fn observed_shards(&self) -> impl Iterator<Item = (GrantId, &Shard)> {
        self.shards.values().filter_map(|shard| match shard.root().name() {
            ShardName::Observed(grant) => Some((grant, shard)),
            ShardName::Desired => None,
        })
    }

    /// The shard in which a node observes: that of its oldest live grant.
    pub fn observed_shard_of(&self, node_id: &NodeId) -> Option<&Shard> {
        let grant = self.members.oldest_grant_allowing(node_id, crate::record::Role::can_write_observed)?;
        self.shard_by_name(ShardName::Observed(grant))
    }

    /// True if a change was refused for good.
    pub fn is_rejected(&self, id: &ChangeId) -> bool {
        self.rejected.contains(RejectedId::Change(*id))
    }

    /// What was refused and is not asked for again.
    pub fn rejected_items(&self) -> impl Iterator<Item = &RejectedItem> {
        self.rejected.iter()
    }

    /// How many changes wait for one they build on.
    pub fn orphan_count(&self) -> usize {
        self.orphans.len()
    }

    /// How many changes the document holds.
    pub fn change_count(&self) -> u64 {
        self.shards.values().map(|shard| shard.graph().len() as u64).sum()
    }

    /// Brings every Automerge document up to date. To be called before anybody reads.
    pub fn flush_documents(&mut self) {
        for shard in self.shards.values_mut() {
            shard.flush();
        }
    }

    /// Finds out which changes touched what, where that is not known. To be called before somebody asks for the history
    /// of one resource, after [`Group::flush_documents`].
    pub fn build_resource_indexes(&mut self) {
        self.shards.values_mut().for_each(Shard::build_resource_index);
    }

    /// The newest of them in every chain.
    pub fn record_tips(&self) -> Vec<RecordTip> {
        self.records.chain_tips(&self.offered_records)
    }

    /// Those that a peer with these tips lacks, in an order in which each can be placed at once.
    pub fn missing_records(&self, peer_tips: &[RecordTip]) -> Vec<SignedRecord> {
        self.records.missing_for_peer(&self.offered_records, peer_tips)
    }

    /// Takes in records.
    pub fn apply_records(&mut self, records: impl IntoIterator<Item = SignedRecord>) -> RecordOutcome {
        let mut outcome = RecordOutcome::default();
        for record in records {
            let id = record.id();
            match self.records.insert(record) {
                RecordInsertion::Inserted(placed_ids) => {
                    for id in placed_ids {
                        let Some(record) = self.records.get(&id) else { continue };
                        outcome.rows.push(Row::put(
                            Table::Records,
                            key::record(self.id, id),
                            record.encode(),
                        ));
                        outcome.new_records.push(record.clone());
                    }
                }
                RecordInsertion::Rejected(fault) => {
                    self.rejected.record(RejectedId::Record(id), fault.to_string());
                    outcome.fault = outcome.fault.or(Some(fault));
                }
                RecordInsertion::Waiting if self.records.len() >= limits::MAX_RECORDS_PER_GROUP => {
                    outcome.ingest.limit_hits.record("membership records", limits::MAX_RECORDS_PER_GROUP);
                }
                RecordInsertion::WaitingFull => {
                    outcome
                        .ingest
                        .limit_hits
                        .record("membership records that wait for others", limits::MAX_WAITING_RECORDS);
                }
                RecordInsertion::AlreadyKnown | RecordInsertion::Waiting => {}
            }
        }
        if !outcome.new_records.is_empty() {
            let before = std::mem::take(&mut self.members);
            self.evaluate_records();
            // A grant is told before what is written under it.
            self.journal_records(&mut outcome.rows);
            self.reaccept_after_records(&before, &mut outcome.ingest);
            self.finish_ingest(&mut outcome.ingest);
            self.update_offered_records();
            self.journal_records(&mut outcome.rows);
            self.evict_ineffective_records(&mut outcome);
            outcome.new_records.retain(|record| self.offered_records.contains(&record.id()));
        }
        outcome
    }

    /// Lets go of records that came just now and do not count, if there are too many of those.
    fn evict_ineffective_records(&mut self, outcome: &mut RecordOutcome) {
        let mut ineffective_count = self.records.len() - self.offered_records.len();
        for record in outcome.new_records.iter().rev() {
            if ineffective_count <= limits::MAX_INEFFECTIVE_RECORDS {
                return;
            }
            if !self.offered_records.contains(&record.id()) {
                let limit_name = "membership records without effect";
                outcome.ingest.limit_hits.record(limit_name, limits::MAX_INEFFECTIVE_RECORDS);
                self.records.remove(&record.id());
                outcome.rows.retain(|row| row.key != key::record(self.id, record.id()));
                ineffective_count -= 1;
            }
        }
    }

    /// Stands for everything the group holds: records and changes of every shard. Equal digests, equal groups. Shards in
    /// `without` are left out.
    pub fn digest(&self, excluded: &[ShardId]) -> Digest {
        let mut parts: Vec<&[u8]> = vec![&self.id.0];
        parts.extend(self.offered_records.iter().map(AsRef::as_ref));
        let shards: Vec<_> =
            self.shard_digests().filter(|(shard_id, _)| !excluded.contains(shard_id)).collect();
        for (shard_id, digest) in &shards {
            parts.extend([shard_id.as_ref(), digest.as_ref()]);
        }
        Digest(hash16("larder 1 group digest", &parts))
    }

    /// What stands for all that is kept of each shard that holds a change, by epoch.
    pub fn shard_digests(&self) -> impl Iterator<Item = (ShardId, Digest)> {
        self.shards.iter().filter_map(|(shard_id, shard)| {
            let heads = self.replicated_heads(shard_id, shard);
            let parts: Vec<&[u8]> = heads.iter().map(AsRef::as_ref).collect();
            let empty = heads.iter().eq([&shard.root().id()]);
            (!empty).then(|| (*shard_id, Digest(hash16("larder 1 shard digest", &parts))))
        })
    }

    /// The kept changes that nothing kept was built on.
    fn replicated_heads(&self, shard_id: &ShardId, shard: &Shard) -> BTreeSet<ChangeId> {
        let mut heads: BTreeSet<ChangeId> = shard.graph().heads().into_iter().collect();
        for change in self.unaccepted.get(shard_id).map(UnacceptedSet::replicated).unwrap_or_default() {
            for dep in &change.delta().deps {
                heads.remove(dep);
            }
            heads.insert(change.id());
        }
        heads
    }

    /// What is valid and not part of a shard's document.
    pub fn unaccepted_in(&self, shard_id: &ShardId) -> Option<&UnacceptedSet> {
        self.unaccepted.get(shard_id).filter(|unaccepted| !unaccepted.is_empty())
    }

    /// All of that, by shard.
    pub fn unaccepted_sets(&self) -> impl Iterator<Item = (&ShardId, &UnacceptedSet)> {
        self.unaccepted.iter()
    }

    /// The forks among what is kept, by shard, as they were settled.
    pub fn forks(&self) -> impl Iterator<Item = (ShardId, &Fork)> {
        self.forks.iter().flat_map(|(shard_id, forks)| forks.iter().map(|fork| (*shard_id, fork)))
    }

    /// True if a chain of that key forked: whoever wrote under it was copied or set back, or means harm.
    pub fn has_forked(&self, key: &NodeId) -> bool {
        let author_of_accepted = |shard_id: &ShardId, id: &ChangeId| {
            let shard = self.shards.get(shard_id)?;
            let chain = shard.graph().chain_of(shard.graph().get(id)?)?;
            Some(self.records.holder_and_role(&chain.grant)?.0)
        };
        let author_of_unaccepted =
            |shard_id: &ShardId, id: &ChangeId| Some(self.unaccepted.get(shard_id)?.get(id)?.author);
        self.forks().any(|(shard_id, fork)| {
            author_of_accepted(&shard_id, &fork.winner)
                .or_else(|| author_of_unaccepted(&shard_id, &fork.winner))
                == Some(*key)
        })
    }

    /// True if a change is here, wherever: accepted, kept aside or in quarantine.
    pub fn has_change(&self, shard_id: &ShardId, id: &ChangeId) -> bool {
        self.shards.get(shard_id).is_some_and(|shard| shard.graph().contains(id))
            || self.unaccepted.get(shard_id).is_some_and(|unaccepted| unaccepted.contains(id))
    }

    /// The roots of all shards that can be, by epoch.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &ShardRoot> {
        self.roots.values()
    }

    /// Shards that are isolated by a defect, and so left out of every digest.
    pub fn faulty_shards(&self) -> Vec<ShardId> {
        let faulty = self.shards.values().filter(|shard| shard.document().fault().is_some());
        faulty.map(|shard| shard.root().shard_id()).collect()
    }
}
