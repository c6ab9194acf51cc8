//! A group read back from its rows, and the snapshots that make that quick.

use std::collections::BTreeMap;

use super::{Group, IngestOutcome, UnacceptedChange};
use crate::delta::Delta;
use crate::delta::encoded_change::EncodedChange;
use crate::id::{ChainId, ChangeId, GroupId, RecordId, ShardId, Sig};
use crate::limits;
use crate::record::{RecordSet, SignedRecord};
use crate::shard::Shard;
use crate::shard::chain::{self, EndProof};
use crate::shard::document::Document;
use crate::shard::resource_index::{ResourceIndex, ResourceIndexRow};
use crate::shard::root::ShardRoot;
use crate::shard::validate::Validation;
use crate::store::{
    LoadError, Row, RowReader, SnapshotBody, SnapshotRow, Table, UnacceptedRow, decode_layout,
    decode_versioned, key,
};

fn damaged_error(description: &str) -> LoadError {
    LoadError::Damaged(description.to_owned())
}

fn read_rows<R: RowReader>(
    source: &R,
    table: Table,
    prefix: &[u8],
) -> Result<Vec<crate::store::StoredRow>, LoadError> {
    source.read_rows(table, prefix).map_err(|error| LoadError::Read(error.to_string()))
}

impl Group {
    /// Reads a group back.
    pub fn load<R: RowReader>(store: &R, id: GroupId, genesis: RecordId) -> Result<Self, LoadError> {
        let mut group = Self::new(load_records(store, id, genesis)?);
        for (row_key, value) in read_rows(store, Table::OwnTips, &key::for_group(id))? {
            let shard_and_grant =
                key::parse_own_tip(&row_key).ok_or_else(|| damaged_error("a key of `own`"))?;
            let own_tip = decode_versioned(Table::OwnTips, &value)?;
            group.own_tips.insert(shard_and_grant, own_tip);
        }
        let roots: Vec<ShardRoot> = group.roots.values().cloned().collect();
        for root in &roots {
            group.load_shard(store, root.clone())?;
        }
        group.load_journal(store)?;
        for root in &roots {
            group.load_unaccepted(store, root)?;
        }
        group.update_offered_records();
        let mut rows = Vec::new();
        group.journal_records(&mut rows);
        group.repair_rows.extend(rows);
        Ok(group)
    }

    /// Reads what is valid and not part of the document, and settles anew what counts: where nothing was removed and
    /// nothing forked, there is nothing to settle.
    fn load_unaccepted<R: RowReader>(&mut self, store: &R, root: &ShardRoot) -> Result<(), LoadError> {
        let mut pending = Vec::new();
        for (_, value) in read_rows(store, Table::Unaccepted, &key::for_shard(self.id, root.shard_id()))? {
            let row: UnacceptedRow = decode_versioned(Table::Unaccepted, &value)?;
            let encoded = Delta::decode(&row.delta).and_then(|delta| EncodedChange::new(root, delta));
            pending.push((encoded.map_err(|error| LoadError::Damaged(error.to_string()))?, row.end_proof));
        }
        let is_ended = |chain: &chain::Chain| !self.members.is_live(&chain.grant);
        let has_ended_chain =
            self.shards.get(&root.shard_id()).is_some_and(|shard| shard.graph().chains().any(is_ended));
        if pending.is_empty() && !has_ended_chain {
            return Ok(());
        }
        pending.sort_by_key(|(encoded, _)| (encoded.delta().start_op, encoded.delta().max_op()));
        while !pending.is_empty() {
            let before = pending.len();
            let mut waiting = Vec::new();
            for (encoded, end_proof) in pending {
                let is_here = |dep: &ChangeId| *dep == root.id() || self.has_change(&root.shard_id(), dep);
                match encoded.delta().deps.iter().all(is_here) {
                    true => self.restore_unaccepted(root, encoded, end_proof)?,
                    false => waiting.push((encoded, end_proof)),
                }
            }
            if waiting.len() == before {
                return Err(damaged_error("changes that are aside lack what they build on"));
            }
            pending = waiting;
        }
        let mut outcome = IngestOutcome::default();
        self.reaccept(root.shard_id(), &mut outcome);
        self.reaccept_shards(&mut outcome);
        self.repair_rows.extend(outcome.rows);
        Ok(())
    }

    /// Lays aside a change that passed the gate before it was stored.
    fn restore_unaccepted(
        &mut self,
        root: &ShardRoot,
        encoded: EncodedChange,
        end_proof: EndProof,
    ) -> Result<(), LoadError> {
        let delta = encoded.delta();
        let (shard_id, chain_id) = (root.shard_id(), delta.chain_id(self.id));
        let (key, _) = self
            .records
            .holder_and_role(&delta.grant)
            .ok_or_else(|| damaged_error("a change of an unknown grant"))?;
        let chain_hash = self.chain_hash_after(delta, encoded.id());
        let chain_hash = chain_hash.filter(|chain_hash| {
            chain::is_chain_proved(&key, (self.id, shard_id), delta.seq, chain_hash, &end_proof)
        });
        let chain_hash = chain_hash
            .ok_or_else(|| damaged_error("a change that is aside and that its author did not sign"))?;
        let depth = self.depth_above(&shard_id, &delta.deps);
        let change = UnacceptedChange {
            encoded,
            chain_id,
            author: key,
            chain_hash,
            end_proof,
            depth,
            is_replicated: true,
        };
        self.ensure_shard(shard_id);
        self.unaccepted.entry(shard_id).or_default().insert(change);
        Ok(())
    }

    /// What the store has to be told since the rows that it held say less, or otherwise, than what follows from them.
    pub fn take_repair_rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.repair_rows)
    }

    fn load_shard<R: RowReader>(&mut self, store: &R, root: ShardRoot) -> Result<(), LoadError> {
        let shard_id = root.shard_id();
        let end_proofs = load_end_proofs(store, self.id, shard_id)?;
        if end_proofs.is_empty() {
            return Ok(());
        }
        let shard = load_snapshot(store, &root)?.unwrap_or_else(|| Shard::new(root.clone()));
        let snapshot_len = shard.graph().len();
        self.shards.insert(shard_id, shard);
        let mut changes = Vec::new();
        for chain_id in end_proofs.keys() {
            let from =
                key::chain_from_seq(self.id, shard_id, *chain_id, self.accepted_len(&shard_id, chain_id) + 1);
            let mut decode_error = None;
            let mut on_row = |_: &[u8], value: &[u8]| match Delta::decode(value)
                .and_then(|delta| EncodedChange::new(&root, delta))
            {
                Ok(encoded) => changes.push(encoded),
                Err(error) => decode_error = Some(error.to_string()),
            };
            store
                .scan(Table::Changes, &key::for_chain(self.id, shard_id, *chain_id), Some(&from), &mut on_row)
                .map_err(|error| LoadError::Read(error.to_string()))?;
            if let Some(decode_error) = decode_error {
                return Err(LoadError::Damaged(decode_error));
            }
        }
        self.replay_changes(&root, changes)?;
        self.load_chain_proofs(store, shard_id, end_proofs)?;
        if let Some(shard) = self.shards.get_mut(&shard_id) {
            shard.flush();
            self.unsaved_counts.insert(shard_id, shard.graph().len() - snapshot_len);
        }
        Ok(())
    }

    /// Lets in changes that passed the gate before they were stored, in whatever order fits.
    fn replay_changes(&mut self, root: &ShardRoot, mut changes: Vec<EncodedChange>) -> Result<(), LoadError> {
        changes.sort_by_key(|encoded| (encoded.delta().start_op, encoded.delta().max_op()));
        while !changes.is_empty() {
            let before = changes.len();
            let mut pending = Vec::new();
            for encoded in changes {
                let Some(shard) = self.shards.get_mut(&root.shard_id()) else { break };
                match shard.validate(encoded) {
                    Validation::Valid(validated) => shard.apply_change(*validated),
                    Validation::Known(_) => {}
                    // A defect: the rest stays in the store, and the shard takes nothing until it can be read.
                    Validation::ShardFault(_) => return Ok(()),
                    Validation::MissingDeps { composed: encoded, .. } => pending.push(*encoded),
                    Validation::Rejected { id, fault } => {
                        return Err(LoadError::Damaged(format!(
                            "change {} of {}: {fault}",
                            id.short(),
                            root.name()
                        )));
                    }
                }
            }
            if pending.len() == before {
                return Err(LoadError::Damaged(format!(
                    "{before} changes of {} lack what they build on",
                    root.name()
                )));
            }
            changes = pending;
        }
        Ok(())
    }

    /// Reads the signatures of a shard, and checks each chain's newest one: it fixes the whole chain.
    fn load_chain_proofs<R: RowReader>(
        &mut self,
        store: &R,
        shard_id: ShardId,
        end_proofs: BTreeMap<ChainId, (u64, EndProof)>,
    ) -> Result<(), LoadError> {
        let group = self.id;
        if self.shards.get(&shard_id).is_some_and(|shard| shard.document().fault().is_some()) {
            return Ok(());
        }
        for (chain_id, (seq, end_proof)) in end_proofs {
            let checkpoint_rows =
                read_rows(store, Table::Checkpoints, &key::for_chain(group, shard_id, chain_id))?;
            let shard =
                self.shards.get_mut(&shard_id).ok_or_else(|| damaged_error("a shard without changes"))?;
            let chain = shard.chain_mut(&chain_id).filter(|chain| chain.len() == seq);
            let chain = chain
                .ok_or_else(|| damaged_error("a chain that is shorter or longer than what proves it"))?;
            for (nth, (_, checkpoint_bytes)) in (1..).zip(checkpoint_rows) {
                let checkpoint =
                    Sig::from_slice(&checkpoint_bytes).ok_or_else(|| damaged_error("a kept signature"))?;
                if !chain.add_checkpoint(nth * limits::CHECKPOINT_INTERVAL, checkpoint) {
                    return Err(damaged_error("a kept signature past the end of its chain"));
                }
            }
            let author = self.records.holder_and_role(&chain.grant).map(|(key, _)| key);
            let chain_hash = *chain.hash();
            let is_proved = author.is_some_and(|author| {
                chain::is_chain_proved(&author, (group, shard_id), seq, &chain_hash, &end_proof)
            });
            if !is_proved {
                return Err(damaged_error("a chain of changes that its author did not sign"));
            }
            chain.set_end_proof(end_proof);
        }
        Ok(())
    }

    /// Leaves every chain that this node wrote: its next change begins a new incarnation.
    pub fn abandon_own_chains(&mut self) -> Vec<Row> {
        let own_tips = std::mem::take(&mut self.own_tips);
        own_tips
            .keys()
            .map(|(shard_id, grant)| Row::remove(Table::OwnTips, key::own_tip(self.id, *shard_id, *grant)))
            .collect()
    }

    /// Rows that write out whole every shard that has grown enough since the last time.
    pub fn take_due_snapshots(&mut self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (shard_id, shard) in &mut self.shards {
            let unsaved = self.unsaved_counts.entry(*shard_id).or_default();
            let due_count = limits::SNAPSHOT_AFTER_CHANGES.max(shard.graph().len() / 4);
            if *unsaved < due_count {
                continue;
            }
            shard.flush();
            if shard.document().fault().is_some() || shard.document().is_rebuilding() {
                continue;
            }
            let chains =
                shard.graph().chains().map(|chain| (chain.grant, chain.incarnation, chain.len())).collect();
            let (heads, document) = (shard.graph().heads(), shard.document().save());
            let row = SnapshotRow::seal(&SnapshotBody { chains, heads, document });
            rows.push(Row::put_encoded(Table::Snapshots, key::for_shard(self.id, *shard_id), &row));
            shard.build_resource_index();
            if let Some(resource_index) = shard.resource_index() {
                let row = resource_index.to_row(shard.graph());
                rows.push(Row::put_encoded(Table::ResourceIndexes, key::for_shard(self.id, *shard_id), &row));
            }
            *unsaved = 0;
        }
        rows
    }

    /// All rows of a group that was just founded or joined, but the one that says it exists.
    pub fn initial_rows(&mut self) -> Vec<Row> {
        let mut rows = self.record_rows();
        self.journal_records(&mut rows);
        rows
    }

    /// Those of its records.
    pub(crate) fn record_rows(&self) -> Vec<Row> {
        let records = self.records.iter();
        records
            .map(|record| Row::put(Table::Records, key::record(self.id, record.id()), record.encode()))
            .collect()
    }
}

fn load_records<R: RowReader>(store: &R, id: GroupId, genesis: RecordId) -> Result<RecordSet, LoadError> {
    let mut stored = BTreeMap::new();
    for (_, value) in read_rows(store, Table::Records, &key::for_group(id))? {
        let record = SignedRecord::decode(&value).map_err(|error| LoadError::Damaged(error.to_string()))?;
        stored.insert(record.id(), record);
    }
    let genesis =
        stored.remove(&genesis).ok_or_else(|| damaged_error("a group without its Genesis record"))?;
    let mut records = RecordSet::from_genesis(genesis)
        .ok_or_else(|| damaged_error("a Genesis record that its founder did not sign"))?;
    if records.group() != id {
        return Err(damaged_error("a Genesis record of another group"));
    }
    let count = stored.len() + 1;
    for record in stored.into_values() {
        records.insert(record);
    }
    if records.len() != count {
        return Err(damaged_error("a membership record that is not signed or out of place"));
    }
    Ok(records)
}

fn load_end_proofs<R: RowReader>(
    store: &R,
    group: GroupId,
    shard_id: ShardId,
) -> Result<BTreeMap<ChainId, (u64, EndProof)>, LoadError> {
    let mut end_proofs = BTreeMap::new();
    for (row_key, value) in read_rows(store, Table::EndProofs, &key::for_shard(group, shard_id))? {
        let entry = key::parse_chain(&row_key)
            .map(|(_, chain_id)| chain_id)
            .zip(decode_layout::<(u64, EndProof)>(&value))
            .ok_or_else(|| damaged_error("a row of `covers`"))?;
        end_proofs.insert(entry.0, entry.1);
    }
    Ok(end_proofs)
}

/// The shard's snapshot, if there is one and it is sound. A lost or damaged one costs time, never history.
fn load_snapshot<R: RowReader>(store: &R, root: &ShardRoot) -> Result<Option<Shard>, LoadError> {
    let stored = read_rows(store, Table::Snapshots, &key::for_shard(root.group(), root.shard_id()))?;
    let body =
        stored.first().and_then(|(_, value)| decode_layout::<SnapshotRow>(value)).and_then(|row| row.open());
    let shard = body.and_then(|body| {
        let document = Document::load(&body.document, body.document.len())?;
        Shard::from_document(root.clone(), document, &body.chains, &body.heads)
    });
    let Some(mut shard) = shard else { return Ok(None) };
    let stored = read_rows(store, Table::ResourceIndexes, &key::for_shard(root.group(), root.shard_id()))?;
    let row = stored.first().and_then(|(_, value)| decode_layout::<ResourceIndexRow>(value));
    let resource_index = row.and_then(|row| ResourceIndex::from_row(&row, shard.graph()));
    shard.set_resource_index(resource_index);
    Ok(Some(shard))
}
