//! Computing acceptance again for a shard, and applying the difference.
//!
//! Most changes take the fast path: see [`super::fast_path`]. Where it does not apply (a record ended a
//! grant, a chain forked, a frontier names a change that arrived), [`compute_acceptance`] is called for the
//! whole shard, and the shard is brought to what it returns.

use std::collections::BTreeSet;

use super::ingest::IngestPass;
use super::ingest_outcome::NewChange;
use super::unaccepted::UnacceptedChange;
use crate::acceptance::compute_acceptance;
use crate::delta::encoded_change::EncodedChange;
use crate::id::{ChainId, ChangeId, GrantId, RecordId, ShardId};
use crate::limits;
use crate::record::Membership;
use crate::shard::RetractedChange;
use crate::shard::validate::Validation;
use crate::store::{LAYOUT_VERSION, Row, Table, UnacceptedRow, key};

impl IngestPass<'_> {
    /// Computes acceptance where new records may have changed it: in shards with changes of grants whose
    /// effect changed, with chains that an Admit names, or with unaccepted changes. `before` is the
    /// membership before the records.
    pub(super) fn reaccept_after_records(&mut self, before: &Membership) {
        let diff = MembershipDiff::between(before, self.membership.members());
        let affected: Vec<ShardId> = self
            .shards
            .iter()
            .filter(|state| {
                let shard = state.shard();
                !state.unaccepted().is_empty()
                    || self.membership.is_shard_forgotten(shard.root().name())
                    || shard.graph().chains().any(|chain| diff.affects(&chain.grant, &chain.id))
            })
            .map(|state| state.shard_id())
            .collect();
        for shard_id in affected {
            self.reaccept(shard_id);
        }
    }

    /// Brings a shard to what [`compute_acceptance`] returns for it.
    pub(super) fn reaccept(&mut self, shard_id: ShardId) {
        let Some(state) = self.shards.get(&shard_id) else { return };
        if state.shard().document().fault().is_some() {
            return;
        }
        if self.membership.is_shard_forgotten(state.shard().root().name()) {
            return self.drop_shard(shard_id);
        }
        let changes = state.candidates(self.membership.records());
        let acceptance = compute_acceptance(self.membership.members(), &changes);
        let unaccepted_ids = acceptance.replicated_only.iter().chain(&acceptance.local_only);
        let retracted_ids: BTreeSet<ChangeId> =
            unaccepted_ids.filter(|id| state.shard().graph().contains(id)).copied().collect();
        let mut promoted: Vec<(u32, ChangeId)> = state
            .unaccepted()
            .iter()
            .filter(|change| acceptance.is_accepted(&change.id()))
            .map(|change| (change.depth, change.id()))
            .collect();
        promoted.sort_unstable();
        if !retracted_ids.is_empty() {
            self.retract_changes(shard_id, &retracted_ids);
        }
        for (_, id) in promoted {
            self.promote_unaccepted(shard_id, &id);
        }
        if let Some(state) = self.shards.get_mut(&shard_id) {
            let newly_replicated = state.unaccepted.mark_replicated(|id| acceptance.is_replicated(id));
            // Peers know the changes that were accepted until now.
            for id in newly_replicated.iter().filter(|id| !retracted_ids.contains(id)) {
                let was_unaccepted = !self.newly_unaccepted.contains(id);
                let change = state.unaccepted.get(id);
                let new_change = change.map(|change| new_change_from(shard_id, change, was_unaccepted));
                self.outcome.new_changes.extend(new_change);
            }
            state.shard.set_dependency_only(acceptance.dependency_only);
            state.forks = acceptance.forks;
        }
        self.evict_unaccepted(shard_id);
        self.membership.update_offered(self.shards);
    }

    /// Moves accepted changes to the unaccepted ones.
    fn retract_changes(&mut self, shard_id: ShardId, retracted_ids: &BTreeSet<ChangeId>) {
        let Some(state) = self.shards.get_mut(&shard_id) else { return };
        let newest_first = state.shard.graph().newest_first(retracted_ids);
        let retracted = state.shard.retract(retracted_ids);
        state.unsaved_count = state.shard.graph().len();
        if !retracted.is_empty() {
            let journal_rows = self.journal.append_retractions(self.id, shard_id, newest_first);
            self.outcome.rows.extend(journal_rows);
        }
        self.outcome.rows.push(Row::remove(Table::Snapshots, key::for_shard(self.id, shard_id)));
        for change in retracted {
            self.reproved_chains.insert((shard_id, change.chain_id));
            self.store_retracted(shard_id, change);
        }
    }

    fn store_retracted(&mut self, shard_id: ShardId, retracted: RetractedChange) {
        let RetractedChange { delta, chain_id, chain_hash, end_proof, depth } = retracted;
        let Some(root) = self.membership.root(&shard_id) else { return };
        let Some((author, _)) = self.membership.records().holder_and_role(&delta.grant) else { return };
        let seq = delta.seq;
        let Ok(encoded) = EncodedChange::new(root, delta) else { return };
        let row_key = key::change(self.id, shard_id, chain_id, seq, encoded.id());
        self.outcome.rows.push(Row::remove(Table::Changes, row_key));
        if seq.is_multiple_of(limits::CHECKPOINT_INTERVAL) {
            let row_key = key::chain_from_seq(self.id, shard_id, chain_id, seq);
            self.outcome.rows.push(Row::remove(Table::Checkpoints, row_key));
        }
        self.outcome.retracted.insert(encoded.id());
        let is_replicated = false;
        let change =
            UnacceptedChange { encoded, chain_id, author, chain_hash, end_proof, depth, is_replicated };
        self.insert_unaccepted(shard_id, change);
    }

    /// Keeps and stores a valid change that is not accepted, or not yet.
    pub(super) fn insert_unaccepted(&mut self, shard_id: ShardId, change: UnacceptedChange) {
        let row = UnacceptedRow {
            version: LAYOUT_VERSION,
            end_proof: change.end_proof.clone(),
            delta: change.encoded.bytes().to_vec(),
        };
        let row_key = self.unaccepted_key(shard_id, &change);
        self.outcome.rows.push(Row::put_encoded(Table::Unaccepted, row_key, &row));
        self.newly_unaccepted.insert(change.id());
        if let Some(state) = self.shards.get_mut(&shard_id) {
            state.unaccepted.insert(change);
        }
    }

    fn unaccepted_key(&self, shard_id: ShardId, change: &UnacceptedChange) -> Vec<u8> {
        key::change(self.id, shard_id, change.chain_id, change.delta().seq, change.id())
    }

    /// Accepts a change that was unaccepted.
    fn promote_unaccepted(&mut self, shard_id: ShardId, id: &ChangeId) {
        let Some(state) = self.shards.get_mut(&shard_id) else { return };
        let Some(change) = state.unaccepted.remove(id) else { return };
        let row_key = key::change(self.id, shard_id, change.chain_id, change.delta().seq, *id);
        match state.shard.validate(change.encoded) {
            Validation::Valid(validated) if state.shard.is_next_in_chain(validated.delta()) => {
                let signature = change.end_proof.ids_ahead.is_empty().then_some(change.end_proof.signature);
                self.insert_accepted(*validated, signature);
                self.outcome.new_changes.last_mut().into_iter().for_each(|new| new.was_unaccepted = true);
                self.set_end_proof(shard_id, change.chain_id, change.end_proof);
                self.outcome.rows.push(Row::remove(Table::Unaccepted, row_key));
            }
            // The change was valid before, and all its dependencies are accepted.
            _ => state.shard.isolate("a valid change could not be accepted"),
        }
    }

    /// Drops changes in quarantine beyond [`limits::MAX_UNACCEPTED_BYTES`] of the group.
    fn evict_unaccepted(&mut self, shard_id: ShardId) {
        let other_bytes = self.shards.local_only_bytes_except(&shard_id);
        let Some(state) = self.shards.get_mut(&shard_id) else { return };
        let limit = limits::MAX_UNACCEPTED_BYTES.saturating_sub(other_bytes);
        for id in state.unaccepted.changes_to_evict(limit) {
            let Some(change) = state.unaccepted.remove(&id) else { continue };
            let row_key = key::change(self.id, shard_id, change.chain_id, change.delta().seq, id);
            self.outcome.rows.push(Row::remove(Table::Unaccepted, row_key));
            self.outcome.limit_hits.record("bytes of changes in quarantine", limits::MAX_UNACCEPTED_BYTES);
        }
    }

    /// Drops a shard with all its changes.
    fn drop_shard(&mut self, shard_id: ShardId) {
        let Some(state) = self.shards.remove(&shard_id) else { return };
        let (graph, rows) = (state.shard.graph(), &mut self.outcome.rows);
        let all = graph.iter().map(|entry| entry.id).collect();
        rows.extend(self.journal.append_retractions(self.id, shard_id, graph.newest_first(&all)));
        for entry in graph.iter() {
            let Some(chain) = graph.chain_of(entry) else { continue };
            let row_key = key::change(self.id, shard_id, chain.id, entry.seq, entry.id);
            rows.push(Row::remove(Table::Changes, row_key));
            self.outcome.retracted.insert(entry.id);
        }
        for chain in graph.chains() {
            rows.push(Row::remove(Table::EndProofs, key::for_chain(self.id, shard_id, chain.id)));
            for nth in 1..=chain.len() / limits::CHECKPOINT_INTERVAL {
                let seq = nth * limits::CHECKPOINT_INTERVAL;
                let row_key = key::chain_from_seq(self.id, shard_id, chain.id, seq);
                rows.push(Row::remove(Table::Checkpoints, row_key));
            }
        }
        rows.push(Row::remove(Table::Snapshots, key::for_shard(self.id, shard_id)));
        for change in state.unaccepted.iter() {
            let row_key = self.unaccepted_key(shard_id, change);
            self.outcome.rows.push(Row::remove(Table::Unaccepted, row_key));
        }
    }
}

/// An unaccepted change that members pass on from now on.
fn new_change_from(shard_id: ShardId, change: &UnacceptedChange, was_unaccepted: bool) -> NewChange {
    let delta = change.delta();
    NewChange {
        shard_id,
        chain_id: change.chain_id,
        seq: delta.seq,
        id: change.id(),
        delta: change.encoded.bytes().to_vec(),
        put_keys: Vec::new(),
        signature: change.end_proof.ids_ahead.is_empty().then_some(change.end_proof.signature),
        was_unaccepted,
    }
}

/// The difference between two memberships, as far as it decides about changes.
struct MembershipDiff {
    /// The grants that became or ceased to be effective, or have other revocations.
    grants: BTreeSet<GrantId>,
    /// The chains that an Admit names in only one of the two.
    chain_ids: BTreeSet<ChainId>,
}

impl MembershipDiff {
    fn between(before: &Membership, after: &Membership) -> Self {
        let all = before.grants().chain(after.grants()).map(|grant| grant.grant);
        let has_changed = |grant: &GrantId| {
            before.grant(grant).is_some() != after.grant(grant).is_some()
                || before.revocations(grant) != after.revocations(grant)
        };
        let admitted_chains = |members: &Membership| -> BTreeSet<(RecordId, ChainId)> {
            members
                .admitted_frontiers()
                .flat_map(|(record, changes)| changes.keys().map(|chain_id| (*record, *chain_id)))
                .collect()
        };
        let (admitted_before, admitted_after) = (admitted_chains(before), admitted_chains(after));
        let chain_ids = admitted_before.symmetric_difference(&admitted_after).map(|(_, chain_id)| *chain_id);
        Self { grants: all.filter(has_changed).collect(), chain_ids: chain_ids.collect() }
    }

    fn affects(&self, grant: &GrantId, chain_id: &ChainId) -> bool {
        self.grants.contains(grant) || self.chain_ids.contains(chain_id)
    }
}
