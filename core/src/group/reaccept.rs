//! Settling: which of a shard's valid changes the document is made of, when that may have changed.
//!
//! Most changes are let in as they come: their author is live, they are the next of their chain, and all below them is
//! accepted; then they are accepted, and nothing else is decided by them. Whenever that is not so (a record ended a
//! grant, a chain forked, a frontier names what came) [`crate::accept`] is asked about the whole shard, and the document
//! is made what it says. `can_skip_reacceptance` is where the two meet.

use std::collections::BTreeSet;

use super::unaccepted::UnacceptedChange;
use super::{Group, IngestOutcome, NewChange};
use crate::acceptance::{Candidate, CandidateSet, compute_acceptance};
use crate::delta::encoded_change::EncodedChange;
use crate::id::{ChainId, ChangeId, GrantId, ShardId};
use crate::limits;
use crate::record::{Membership, RecordSet};
use crate::shard::root::ShardName;
use crate::shard::validate::{ValidatedChange, Validation};
use crate::shard::{RetractedChange, Shard};
use crate::store::{LAYOUT_VERSION, Row, Table, UnacceptedRow, key};

impl Group {
    /// True if this change, next in its chain and with all below it accepted, counts by itself.
    pub(super) fn is_anchor(&self, validated: &ValidatedChange, chain_id: &ChainId) -> bool {
        let (delta, id) = (validated.delta(), validated.id());
        let is_below = |frontier: Option<&(u64, ChangeId)>| match frontier {
            // What is below a change that is here would be here too.
            Some((seq, frontier_id)) => {
                *frontier_id == id || (delta.seq <= *seq && !self.has_change(&delta.shard_id, frontier_id))
            }
            None => false,
        };
        let revocations = self.members.revocations(&delta.grant);
        let is_live = self.members.grant(&delta.grant).is_some();
        (is_live && revocations.iter().all(|revocation| is_below(revocation.frontier.get(chain_id))))
            || self.members.admitted_frontiers().any(|(_, admitted)| is_below(admitted.get(chain_id)))
    }

    /// True if nothing but itself is decided by a change that counts and is let in: no frontier names it, its chain has
    /// no other branch, and no chain has so many that this one's support could bring one back.
    pub(super) fn can_skip_reacceptance(&self, validated: &ValidatedChange, chain_id: &ChainId) -> bool {
        let unaccepted = self.unaccepted.get(&validated.delta().shard_id);
        let is_alone = unaccepted.is_none_or(|unaccepted| {
            unaccepted.is_empty()
                || !(unaccepted.contains_chain(chain_id) || unaccepted.has_too_many_branches())
        });
        is_alone && !self.members.frontier_changes().contains(&validated.id())
    }

    /// Settles what records may have changed: shards with changes under these grants, named by these chains, or with
    /// anything aside.
    pub(super) fn reaccept_after_records(&mut self, before: &Membership, outcome: &mut IngestOutcome) {
        let diff = MembershipDiff::between(before, &self.members);
        let shard_ids: BTreeSet<ShardId> = self
            .shards
            .values()
            .filter(|shard| {
                let has_unaccepted = self
                    .unaccepted
                    .get(&shard.root().shard_id())
                    .is_some_and(|has_unaccepted| !has_unaccepted.is_empty());
                let is_affected = |grant: &GrantId, chain_id: &ChainId| {
                    diff.grants.contains(grant) || diff.chain_ids.contains(chain_id)
                };
                has_unaccepted
                    || self.is_shard_forgotten(shard.root().name())
                    || shard.graph().chains().any(|chain| is_affected(&chain.grant, &chain.id))
            })
            .map(|shard| shard.root().shard_id())
            .collect();
        for shard_id in shard_ids {
            self.reaccept(shard_id, outcome);
        }
    }

    /// True if members dropped what this shard held.
    pub(super) fn is_shard_forgotten(&self, shard: ShardName) -> bool {
        matches!(shard, ShardName::Observed(grant) if self.members.is_forgotten(&grant))
    }

    /// Makes a shard what [`accept`] says.
    pub(super) fn reaccept(&mut self, shard_id: ShardId, outcome: &mut IngestOutcome) {
        let Some(shard) = self.shards.get(&shard_id).filter(|shard| shard.document().fault().is_none())
        else {
            return;
        };
        if self.is_shard_forgotten(shard.root().name()) {
            return self.drop_shard(shard_id, outcome);
        }
        let mut changes = accepted_candidates(shard, &self.records);
        let unaccepted = self.unaccepted.entry(shard_id).or_default();
        unaccepted.iter().for_each(|change| changes.insert(change.id(), change.to_candidate()));
        let acceptance = compute_acceptance(&self.members, &changes);
        let unaccepted_ids = acceptance.replicated_only.iter().chain(&acceptance.local_only);
        let retracted_ids: BTreeSet<ChangeId> =
            unaccepted_ids.filter(|id| shard.graph().contains(id)).copied().collect();
        let mut promoted: Vec<(u32, ChangeId)> = unaccepted
            .iter()
            .filter(|change| acceptance.is_accepted(&change.id()))
            .map(|change| (change.depth, change.id()))
            .collect();
        promoted.sort_unstable();
        if !retracted_ids.is_empty() {
            self.retract_changes(shard_id, &retracted_ids, outcome);
        }
        for (_, id) in promoted {
            self.promote_unaccepted(shard_id, &id, outcome);
        }
        let unaccepted = self.unaccepted.entry(shard_id).or_default();
        // What only moved from the document was told long ago.
        for id in unaccepted
            .mark_replicated(|id| acceptance.is_replicated(id))
            .iter()
            .filter(|id| !retracted_ids.contains(id))
        {
            let was_unaccepted = !outcome.newly_unaccepted.contains(id);
            outcome
                .new_changes
                .extend(unaccepted.get(id).map(|change| new_change_from(shard_id, change, was_unaccepted)));
        }
        if let Some(shard) = self.shards.get_mut(&shard_id) {
            shard.set_dependency_only(acceptance.dependency_only);
        }
        self.forks.insert(shard_id, acceptance.forks);
        self.evict_unaccepted(shard_id, outcome);
        self.update_offered_records();
    }

    fn retract_changes(
        &mut self,
        shard_id: ShardId,
        retracted_ids: &BTreeSet<ChangeId>,
        outcome: &mut IngestOutcome,
    ) {
        let Some(shard) = self.shards.get_mut(&shard_id) else { return };
        let newest_first = shard.graph().newest_first(retracted_ids);
        let retracted = shard.retract(retracted_ids);
        if !retracted.is_empty() {
            outcome.rows.extend(self.journal.append_retractions(self.id, shard_id, newest_first));
        }
        let chains: BTreeSet<ChainId> = retracted.iter().map(|change| change.chain_id).collect();
        self.unsaved_counts.insert(shard_id, shard.graph().len());
        outcome.rows.push(Row::remove(Table::Snapshots, key::for_shard(self.id, shard_id)));
        for change in retracted {
            self.store_retracted(shard_id, change, outcome);
        }
        outcome.reproved_chains.extend(chains.into_iter().map(|chain_id| (shard_id, chain_id)));
    }

    fn store_retracted(
        &mut self,
        shard_id: ShardId,
        retracted: RetractedChange,
        outcome: &mut IngestOutcome,
    ) {
        let Some(root) = self.roots.get(&shard_id) else { return };
        let (seq, chain_id) = (retracted.delta.seq, retracted.chain_id);
        let Some((key, _)) = self.records.holder_and_role(&retracted.delta.grant) else { return };
        let Ok(encoded) = EncodedChange::new(root, retracted.delta) else { return };
        let row_key = key::change(self.id, shard_id, chain_id, seq, encoded.id());
        outcome.rows.push(Row::remove(Table::Changes, row_key));
        if seq.is_multiple_of(limits::CHECKPOINT_INTERVAL) {
            outcome
                .rows
                .push(Row::remove(Table::Checkpoints, key::chain_from_seq(self.id, shard_id, chain_id, seq)));
        }
        outcome.retracted.insert(encoded.id());
        let RetractedChange { link: chain_hash, cover: end_proof, depth, .. } = retracted;
        let change = UnacceptedChange {
            encoded,
            chain_id,
            author: key,
            chain_hash,
            end_proof,
            depth,
            is_replicated: false,
        };
        self.insert_unaccepted(shard_id, change, outcome);
    }

    /// Keeps a valid change that is not part of the document, or not yet.
    pub(super) fn insert_unaccepted(
        &mut self,
        shard_id: ShardId,
        change: UnacceptedChange,
        outcome: &mut IngestOutcome,
    ) {
        let row = UnacceptedRow {
            version: LAYOUT_VERSION,
            end_proof: change.end_proof.clone(),
            delta: change.encoded.bytes().to_vec(),
        };
        let row_key = key::change(self.id, shard_id, change.chain_id, change.delta().seq, change.id());
        outcome.rows.push(Row::put_encoded(Table::Unaccepted, row_key, &row));
        outcome.newly_unaccepted.insert(change.id());
        self.unaccepted.entry(shard_id).or_default().insert(change);
    }

    /// Lets a change in that was aside.
    fn promote_unaccepted(&mut self, shard_id: ShardId, id: &ChangeId, outcome: &mut IngestOutcome) {
        let Some(change) = self.unaccepted.get_mut(&shard_id).and_then(|unaccepted| unaccepted.remove(id))
        else {
            return;
        };
        let Some(shard) = self.ensure_shard(shard_id) else { return };
        match shard.validate(change.encoded) {
            Validation::Valid(validated) if shard.is_next_in_chain(validated.delta()) => {
                let seq = validated.delta().seq;
                let signature = change.end_proof.ids_ahead.is_empty().then_some(change.end_proof.signature);
                let row_key = key::change(self.id, shard_id, change.chain_id, seq, *id);
                self.insert_accepted(*validated, signature, outcome);
                outcome.new_changes.last_mut().into_iter().for_each(|new| new.was_unaccepted = true);
                self.set_end_proof(shard_id, change.chain_id, change.end_proof, outcome);
                outcome.rows.push(Row::remove(Table::Unaccepted, row_key));
            }
            // It was valid, and everything below it is accepted.
            _ => shard.isolate("a valid change could not be let in"),
        }
    }

    /// Lets go of what a quarantine has too much of.
    fn evict_unaccepted(&mut self, shard_id: ShardId, outcome: &mut IngestOutcome) {
        let others: usize = self
            .unaccepted
            .iter()
            .filter(|(other, _)| **other != shard_id)
            .map(|(_, unaccepted)| unaccepted.local_only_bytes())
            .sum();
        let Some(unaccepted) = self.unaccepted.get_mut(&shard_id) else { return };
        for id in unaccepted.changes_to_evict(limits::MAX_UNACCEPTED_BYTES.saturating_sub(others)) {
            let Some(change) = unaccepted.remove(&id) else { continue };
            let row_key = key::change(self.id, shard_id, change.chain_id, change.delta().seq, id);
            outcome.rows.push(Row::remove(Table::Unaccepted, row_key));
            outcome.limit_hits.record("bytes of changes in quarantine", limits::MAX_UNACCEPTED_BYTES);
        }
    }

    /// Forgets a shard with all that was in it.
    fn drop_shard(&mut self, shard_id: ShardId, outcome: &mut IngestOutcome) {
        let Some(shard) = self.shards.remove(&shard_id) else { return };
        let graph = shard.graph();
        let all = graph.iter().map(|entry| entry.id).collect();
        outcome.rows.extend(self.journal.append_retractions(self.id, shard_id, graph.newest_first(&all)));
        for entry in graph.iter() {
            let Some(chain) = graph.chain_of(entry) else { continue };
            let row_key = key::change(self.id, shard_id, chain.id, entry.seq, entry.id);
            outcome.rows.push(Row::remove(Table::Changes, row_key));
            outcome.retracted.insert(entry.id);
        }
        for chain in graph.chains() {
            outcome.rows.push(Row::remove(Table::EndProofs, key::for_chain(self.id, shard_id, chain.id)));
            let checkpoint_seqs =
                (1..=chain.len() / limits::CHECKPOINT_INTERVAL).map(|nth| nth * limits::CHECKPOINT_INTERVAL);
            let checkpoint_rows = checkpoint_seqs.map(|seq| {
                Row::remove(Table::Checkpoints, key::chain_from_seq(self.id, shard_id, chain.id, seq))
            });
            outcome.rows.extend(checkpoint_rows);
        }
        outcome.rows.push(Row::remove(Table::Snapshots, key::for_shard(self.id, shard_id)));
        for change in self.unaccepted.remove(&shard_id).unwrap_or_default().iter() {
            let row_key = key::change(self.id, shard_id, change.chain_id, change.delta().seq, change.id());
            outcome.rows.push(Row::remove(Table::Unaccepted, row_key));
        }
        self.forks.remove(&shard_id);
        self.unsaved_counts.remove(&shard_id);
    }
}

/// A change that is kept from now on, to be passed on like any other.
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

/// What a fold says otherwise than the one before.
struct MembershipDiff {
    /// Grants that count, or ended, otherwise.
    grants: BTreeSet<GrantId>,
    /// Chains that an Admit names.
    chain_ids: BTreeSet<ChainId>,
}

impl MembershipDiff {
    fn between(before: &Membership, after: &Membership) -> Self {
        let all = before.grants().chain(after.grants()).map(|grant| grant.grant);
        let has_changed = |grant: &GrantId| {
            before.grant(grant).is_some() != after.grant(grant).is_some()
                || before.revocations(grant) != after.revocations(grant)
        };
        let admitted_chains = |members: &Membership| -> BTreeSet<(crate::id::RecordId, ChainId)> {
            members
                .admitted_frontiers()
                .flat_map(|(record, changes)| changes.keys().map(|chain_id| (*record, *chain_id)))
                .collect()
        };
        let (admitted_before, admitted_after) = (admitted_chains(before), admitted_chains(after));
        let chain_ids = admitted_before.symmetric_difference(&admitted_after).map(|(_, chain_id)| *chain_id);
        Self { grants: all.filter(has_changed).collect(), chain_ids: chain_ids.collect() }
    }
}

/// The accepted changes of a shard, as acceptance looks at them.
pub fn accepted_candidates(shard: &Shard, records: &RecordSet) -> CandidateSet {
    let graph = shard.graph();
    let mut candidates = CandidateSet::new();
    for entry in graph.iter() {
        let Some(chain) = graph.chain_of(entry) else { continue };
        let Some((author, _)) = records.holder_and_role(&chain.grant) else { continue };
        let deps = graph.deps(entry).map(|dep| dep.id).collect();
        let candidate = Candidate { chain_id: chain.id, seq: entry.seq, grant: chain.grant, author, deps };
        candidates.insert(entry.id, candidate);
    }
    candidates
}
