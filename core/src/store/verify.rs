//! Verifying a group's stored history: that every record and change matches its id, and that its author
//! signed it.
//!
//! A start does not verify all of that: it does not encode the changes of a snapshot again, and one signature
//! proves a whole chain. Here every delta is encoded again and every kept signature is verified. Only rows
//! from which all others follow are read.

mod chain;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::key::ChangeKey;
use super::{RowReader, Table, UnacceptedRow, decode_layout, key};
use crate::delta::Delta;
use crate::delta::encoded_change::EncodedChange;
use crate::group::Group;
use crate::id::{ChainId, ChangeId, GroupId, RecordId, ShardId, Sig};
use crate::limits;
use crate::record::{RecordInsertion, RecordSet, SignedRecord};
use crate::shard::chain::{ChainHash, EndProof, first_chain_hash, is_chain_proved, next_chain_hash};
use crate::shard::root::ShardRoot;
use chain::ChainWalk;

/// The result of [`verify_group`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The number of verified changes in all shards.
    pub changes: u64,
    /// The number of verified records.
    pub records: u64,
    /// The failures, at most [`limits::MAX_REPORTED_VERIFY_FAILURES`] of them.
    pub failures: Vec<VerifyFailure>,
    /// The number of failures beyond that limit.
    pub omitted_failures: u64,
}

/// A record or change that is not as its author signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyFailure {
    /// The id of the change, record or chain, in hex.
    pub id: String,
    /// The fault that was found, as operators see it.
    pub reason: String,
}

/// A chain with its shard.
type ShardChain = (ShardId, ChainId);

/// Verifies everything that `store` holds of a group. `on_progress` is called with the number of changes
/// verified so far.
pub fn verify_group<R: RowReader>(
    store: &R,
    group: GroupId,
    on_progress: &mut dyn FnMut(u64),
) -> Result<VerifyReport, R::Error> {
    let mut report = VerifyReport::default();
    let Some(records) = read_records(store, group, &mut report)? else {
        report.add_failure(&group, "its Genesis record is missing, or its founder did not sign it");
        return Ok(report);
    };
    let group = Group::new(records);
    let mut pass = VerifyPass::new(&group, report);
    pass.read_proofs(store)?;
    pass.read_unaccepted(store)?;
    pass.walk_changes(store, on_progress)?;
    pass.prove_unaccepted();
    Ok(pass.finish())
}

impl VerifyReport {
    fn add_failure(&mut self, id: &impl ToString, reason: &str) {
        if self.failures.len() < limits::MAX_REPORTED_VERIFY_FAILURES {
            self.failures.push(VerifyFailure { id: id.to_string(), reason: reason.to_owned() });
        } else {
            self.omitted_failures += 1;
        }
    }
}

/// The records that prove themselves; `None` without a Genesis record.
fn read_records<R: RowReader>(
    store: &R,
    group: GroupId,
    report: &mut VerifyReport,
) -> Result<Option<RecordSet>, R::Error> {
    let mut decoded: BTreeMap<RecordId, SignedRecord> = BTreeMap::new();
    for (row, value) in store.read_rows(Table::Records, &key::for_group(group))? {
        report.records += 1;
        let Some(id) = key::parse_record(&row) else {
            report.add_failure(&group, "the key of a record is malformed");
            continue;
        };
        match SignedRecord::decode(&value) {
            Ok(record) if record.id() == id => drop(decoded.insert(id, record)),
            Ok(_) => report.add_failure(&id, "the record does not match the hash in its key"),
            Err(error) => report.add_failure(&id, &error.to_string()),
        }
    }
    let genesis = decoded.values().find(|record| record.genesis_group_id() == Some(group));
    let Some(mut records) = genesis.cloned().and_then(RecordSet::from_genesis) else { return Ok(None) };
    for (id, record) in &decoded {
        if let RecordInsertion::Rejected(fault) = records.insert(record.clone()) {
            report.add_failure(id, &fault.to_string());
        }
    }
    let already_reported: BTreeSet<String> = report.failures.iter().map(|failed| failed.id.clone()).collect();
    for id in
        decoded.keys().filter(|id| records.get(id).is_none() && !already_reported.contains(&id.to_string()))
    {
        report.add_failure(id, "no grant here allows its author to issue the record");
    }
    Ok(Some(records))
}

/// The state of one verification, carried from row to row.
struct VerifyPass<'a> {
    group: &'a Group,
    roots: BTreeMap<ShardId, &'a ShardRoot>,
    report: VerifyReport,
    checkpoints: BTreeMap<(ShardChain, u64), Sig>,
    end_proofs: BTreeMap<ShardChain, (u64, EndProof)>,
    /// The changes that were read, by shard.
    present: BTreeSet<(ShardId, ChangeId)>,
    /// The dependencies that were not read yet, each with a change that depends on it.
    missing_deps: BTreeMap<(ShardId, ChangeId), ChangeId>,
    /// The unaccepted changes, each with its end proof.
    unaccepted: Vec<(ShardChain, EncodedChange, EndProof)>,
    /// The change before each unaccepted one in its chain, and the chain hash after it.
    branch_points: BTreeMap<(ShardChain, u64), Option<(ChangeId, ChainHash)>>,
}

impl<'a> VerifyPass<'a> {
    fn new(group: &'a Group, report: VerifyReport) -> Self {
        Self {
            group,
            roots: group.membership_records().roots().map(|root| (root.shard_id(), root)).collect(),
            report,
            checkpoints: BTreeMap::new(),
            end_proofs: BTreeMap::new(),
            present: BTreeSet::new(),
            missing_deps: BTreeMap::new(),
            unaccepted: Vec::new(),
            branch_points: BTreeMap::new(),
        }
    }

    fn read_proofs<R: RowReader>(&mut self, store: &R) -> Result<(), R::Error> {
        let prefix = key::for_group(self.group.id());
        for (row, value) in store.read_rows(Table::Checkpoints, &prefix)? {
            match key::parse_checkpoint(&row).zip(Sig::from_slice(&value)) {
                Some(((shard_id, chain_id, seq), checkpoint)) => {
                    self.checkpoints.insert(((shard_id, chain_id), seq), checkpoint);
                }
                None => self.report.add_failure(&self.group.id(), "a stored signature cannot be read"),
            }
        }
        for (row, value) in store.read_rows(Table::EndProofs, &prefix)? {
            match key::parse_chain(&row).zip(decode_layout::<(u64, EndProof)>(&value)) {
                Some((chain, end_proof)) => drop(self.end_proofs.insert(chain, end_proof)),
                None => self
                    .report
                    .add_failure(&self.group.id(), "the newest signature of a chain cannot be read"),
            }
        }
        Ok(())
    }

    fn read_unaccepted<R: RowReader>(&mut self, store: &R) -> Result<(), R::Error> {
        for (row, value) in store.read_rows(Table::Unaccepted, &key::for_group(self.group.id()))? {
            self.report.changes += 1;
            let Some(unaccepted) = decode_layout::<UnacceptedRow>(&value) else {
                self.report.add_failure(&self.group.id(), "an unaccepted change cannot be read");
                continue;
            };
            let Some(change_key) = key::parse_change(&row) else { continue };
            if let Some(encoded) = self.decode_change(&change_key, &unaccepted.delta) {
                let chain = (change_key.shard_id, change_key.chain_id);
                self.branch_points.insert((chain, change_key.seq - 1), None);
                self.unaccepted.push((chain, encoded, unaccepted.end_proof));
            }
        }
        Ok(())
    }

    fn walk_changes<R: RowReader>(
        &mut self,
        store: &R,
        on_progress: &mut dyn FnMut(u64),
    ) -> Result<(), R::Error> {
        let prefix = key::for_group(self.group.id());
        let mut walk: Option<ChainWalk> = None;
        let mut on_row = |row: &[u8], value: &[u8]| {
            self.report.changes += 1;
            on_progress(self.report.changes);
            let Some(change_key) = key::parse_change(row) else {
                self.report.add_failure(&self.group.id(), "the key of a change is malformed");
                return;
            };
            let chain = (change_key.shard_id, change_key.chain_id);
            if walk.as_ref().is_none_or(|walk| walk.chain != chain) {
                walk.take().into_iter().for_each(|walk| self.end_chain(walk));
                walk = Some(self.begin_chain(chain));
            }
            let encoded = self.decode_change(&change_key, value);
            self.present.insert((change_key.shard_id, change_key.id));
            if let Some(walk) = &mut walk {
                self.on_change(walk, change_key.seq, change_key.id, encoded);
            }
        };
        store.scan(Table::Changes, &prefix, None, &mut on_row)?;
        walk.into_iter().for_each(|walk| self.end_chain(walk));
        Ok(())
    }

    /// Decodes the change of a row if it matches the row's key, and notes its dependencies that were not read
    /// yet.
    fn decode_change(&mut self, change_key: &ChangeKey, bytes: &[u8]) -> Option<EncodedChange> {
        let ChangeKey { shard_id, chain_id, seq, id, .. } = *change_key;
        let Some(root) = self.roots.get(&shard_id) else {
            self.report.add_failure(&id, "it belongs to a shard that no member may write to");
            return None;
        };
        let encoded = match Delta::decode(bytes).and_then(|delta| EncodedChange::new(root, delta)) {
            Ok(encoded) => encoded,
            Err(error) => {
                self.report.add_failure(&id, &format!("it cannot be read: {error}"));
                return None;
            }
        };
        let delta = encoded.delta();
        if encoded.id() != id {
            self.report.add_failure(&id, "its content does not match its hash");
            return None;
        }
        if (delta.chain_id(self.group.id()), delta.seq) != (chain_id, seq) {
            self.report.add_failure(&id, "it is stored under the chain or number of another change");
            return None;
        }
        self.present.insert((shard_id, id));
        for dep in delta.deps.iter().filter(|dep| **dep != root.id()) {
            if !self.present.contains(&(shard_id, *dep)) {
                self.missing_deps.insert((shard_id, *dep), id);
            }
        }
        Some(encoded)
    }

    /// Verifies the end proofs of the unaccepted changes, each after the change before it in its chain.
    fn prove_unaccepted(&mut self) {
        let mut chain_hashes: BTreeMap<ChangeId, ChainHash> = BTreeMap::new();
        let mut unaccepted = std::mem::take(&mut self.unaccepted);
        unaccepted.sort_by_key(|(chain, encoded, _)| (*chain, encoded.delta().seq));
        for (chain, encoded, end_proof) in unaccepted {
            let (id, delta) = (encoded.id(), encoded.delta());
            let base = self.branch_points.get(&(chain, delta.seq - 1)).copied().flatten();
            let previous_hash = if delta.seq == 1 {
                Some(first_chain_hash(self.group.id(), chain.0, chain.1))
            } else {
                let branch_hash = delta.deps.iter().find_map(|dep| chain_hashes.get(dep).copied());
                let main_hash =
                    base.filter(|(base, _)| delta.deps.contains(base)).map(|(_, chain_hash)| chain_hash);
                main_hash.or(branch_hash)
            };
            let Some(previous_hash) = previous_hash else {
                self.report.add_failure(&id, "its author's previous change is missing");
                continue;
            };
            let chain_hash = next_chain_hash(&previous_hash, id);
            chain_hashes.insert(id, chain_hash);
            let author = self.group.records().holder_and_role(&delta.grant).map(|(key, _)| key);
            let shard = (self.group.id(), chain.0);
            if !author
                .is_some_and(|author| is_chain_proved(&author, shard, delta.seq, &chain_hash, &end_proof))
            {
                self.report.add_failure(&id, "its author did not sign it");
            }
        }
    }

    fn finish(mut self) -> VerifyReport {
        for (chain, (seq, _)) in std::mem::take(&mut self.end_proofs) {
            self.report.add_failure(
                &chain.1,
                &format!("a chain has {seq} changes by its end proof, and none is here"),
            );
        }
        for ((shard, dep), id) in std::mem::take(&mut self.missing_deps) {
            if !self.present.contains(&(shard, dep)) {
                self.report.add_failure(&id, &format!("it depends on {}, which is missing", dep.short()));
            }
        }
        self.report
    }
}
