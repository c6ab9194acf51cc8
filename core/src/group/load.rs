//! Loading a group from the rows of the store.

use std::collections::BTreeMap;

use super::Group;
use super::ingest::IngestPass;
use super::journal::Journal;
use super::shard_state::ShardState;
use super::unaccepted::UnacceptedChange;
use crate::delta::Delta;
use crate::delta::encoded_change::EncodedChange;
use crate::id::{ChainId, ChangeId, GroupId, RecordId, ShardId, Sig};
use crate::limits;
use crate::record::{RecordSet, SignedRecord};
use crate::shard::Shard;
use crate::shard::chain::{self, Chain, EndProof};
use crate::shard::document::Document;
use crate::shard::resource_index::{ResourceIndex, ResourceIndexRow};
use crate::shard::root::ShardRoot;
use crate::shard::validate::Validation;
use crate::store::{
    LoadError, Row, RowReader, SnapshotRow, StoredRow, Table, UnacceptedRow, decode_layout, decode_versioned,
    key,
};

fn damaged_error(description: &str) -> LoadError {
    LoadError::Damaged(description.to_owned())
}

fn read_rows<R: RowReader>(store: &R, table: Table, prefix: &[u8]) -> Result<Vec<StoredRow>, LoadError> {
    store.read_rows(table, prefix).map_err(|error| LoadError::Read(error.to_string()))
}

impl Group {
    /// Loads a group.
    pub fn load<R: RowReader>(store: &R, id: GroupId, genesis: RecordId) -> Result<Self, LoadError> {
        let mut group = Self::new(load_records(store, id, genesis)?);
        for (row_key, value) in read_rows(store, Table::OwnTips, &key::for_group(id))? {
            let shard_and_grant =
                key::parse_own_tip(&row_key).ok_or_else(|| damaged_error("a key of `own-tips`"))?;
            group.own_tips.insert(shard_and_grant, decode_versioned(Table::OwnTips, &value)?);
        }
        let roots: Vec<ShardRoot> = group.membership.roots().cloned().collect();
        for root in &roots {
            if let Some(state) = load_shard(store, root, group.records())? {
                group.shards.insert(state);
            }
        }
        let mut repair_rows = Vec::new();
        group.journal = Journal::load(store, id, &mut repair_rows)?;
        if group.journal.is_empty() {
            group.membership.update_offered(&group.shards);
            group.journal.append_records(&group.membership, &mut repair_rows);
        }
        group.journal.repair(store, id, &group.shards, &mut repair_rows)?;
        for root in &roots {
            repair_rows.extend(load_unaccepted(&mut group, store, root)?);
        }
        group.membership.update_offered(&group.shards);
        group.journal.append_records(&group.membership, &mut repair_rows);
        group.repair_rows = repair_rows;
        Ok(group)
    }

    /// The rows that make the store agree with what was loaded from it, where it lacked or contradicted what
    /// follows from its other rows.
    pub fn take_repair_rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.repair_rows)
    }

    /// Ends every chain that this node wrote: its next change begins a new incarnation.
    pub fn abandon_own_chains(&mut self) -> Vec<Row> {
        let own_tips = std::mem::take(&mut self.own_tips);
        let row_key = |(shard_id, grant): (ShardId, RecordId)| key::own_tip(self.id, shard_id, grant);
        own_tips.into_keys().map(|own_tip| Row::remove(Table::OwnTips, row_key(own_tip))).collect()
    }

    /// The snapshot of every shard that has grown enough since its last one.
    pub fn take_due_snapshots(&mut self) -> Vec<Row> {
        self.shards.iter_mut().flat_map(ShardState::take_due_snapshot).collect()
    }

    /// The rows of a group that was just created or joined, without the row that says that it exists.
    pub fn initial_rows(&mut self) -> Vec<Row> {
        let mut rows = self.membership.rows();
        self.journal.append_records(&self.membership, &mut rows);
        rows
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
        return Err(damaged_error("a membership record that is not signed or whose grant is missing"));
    }
    Ok(records)
}

/// Loads the accepted changes of a shard: its snapshot, and the changes after it. `None` if there are none.
fn load_shard<R: RowReader>(
    store: &R,
    root: &ShardRoot,
    records: &RecordSet,
) -> Result<Option<ShardState>, LoadError> {
    let end_proofs = load_end_proofs(store, root)?;
    if end_proofs.is_empty() {
        return Ok(None);
    }
    let mut shard = load_snapshot(store, root)?.unwrap_or_else(|| Shard::new(root.clone()));
    let snapshot_len = shard.graph().len();
    let mut changes = Vec::new();
    for chain_id in end_proofs.keys() {
        let loaded_len = shard.graph().chain(chain_id).map_or(0, Chain::len);
        load_changes(store, root, *chain_id, loaded_len + 1, &mut changes)?;
    }
    replay_changes(&mut shard, changes)?;
    if shard.document().fault().is_none() {
        load_chain_proofs(store, &mut shard, records, end_proofs)?;
    }
    shard.flush();
    let unsaved_count = shard.graph().len() - snapshot_len;
    Ok(Some(ShardState::from_shard(shard, unsaved_count)))
}

fn load_end_proofs<R: RowReader>(
    store: &R,
    root: &ShardRoot,
) -> Result<BTreeMap<ChainId, (u64, EndProof)>, LoadError> {
    let mut end_proofs = BTreeMap::new();
    for (row_key, value) in
        read_rows(store, Table::EndProofs, &key::for_shard(root.group(), root.shard_id()))?
    {
        let chain_id = key::parse_chain(&row_key).map(|(_, chain_id)| chain_id);
        let (chain_id, end_proof) = chain_id
            .zip(decode_layout::<(u64, EndProof)>(&value))
            .ok_or_else(|| damaged_error("a row of `end-proofs`"))?;
        end_proofs.insert(chain_id, end_proof);
    }
    Ok(end_proofs)
}

/// The shard's snapshot, if there is an intact one. A lost or damaged snapshot costs time, never history.
fn load_snapshot<R: RowReader>(store: &R, root: &ShardRoot) -> Result<Option<Shard>, LoadError> {
    let row_key = key::for_shard(root.group(), root.shard_id());
    let stored = read_rows(store, Table::Snapshots, &row_key)?;
    let body =
        stored.first().and_then(|(_, value)| decode_layout::<SnapshotRow>(value)).and_then(|row| row.open());
    let shard = body.and_then(|body| {
        let document = Document::load(&body.document, body.document.len())?;
        Shard::from_document(root.clone(), document, &body.chains, &body.heads)
    });
    let Some(mut shard) = shard else { return Ok(None) };
    let stored = read_rows(store, Table::ResourceIndexes, &row_key)?;
    let row = stored.first().and_then(|(_, value)| decode_layout::<ResourceIndexRow>(value));
    let resource_index = row.and_then(|row| ResourceIndex::from_row(&row, shard.graph()));
    shard.set_resource_index(resource_index);
    Ok(Some(shard))
}

/// Adds the stored changes of a chain, from the one with number `from_seq` on.
fn load_changes<R: RowReader>(
    store: &R,
    root: &ShardRoot,
    chain_id: ChainId,
    from_seq: u64,
    changes: &mut Vec<EncodedChange>,
) -> Result<(), LoadError> {
    let prefix = key::for_chain(root.group(), root.shard_id(), chain_id);
    let from = key::chain_from_seq(root.group(), root.shard_id(), chain_id, from_seq);
    let mut decode_error = None;
    let mut on_row = |_: &[u8], value: &[u8]| match Delta::decode(value)
        .and_then(|delta| EncodedChange::new(root, delta))
    {
        Ok(encoded) => changes.push(encoded),
        Err(error) => decode_error = Some(error.to_string()),
    };
    store
        .scan(Table::Changes, &prefix, Some(&from), &mut on_row)
        .map_err(|error| LoadError::Read(error.to_string()))?;
    decode_error.map_or(Ok(()), |error| Err(LoadError::Damaged(error)))
}

/// Applies changes that were validated before they were stored, each after its dependencies.
fn replay_changes(shard: &mut Shard, mut changes: Vec<EncodedChange>) -> Result<(), LoadError> {
    let name = shard.root().name();
    changes.sort_by_key(|encoded| (encoded.delta().start_op, encoded.delta().max_op()));
    while !changes.is_empty() {
        let before = changes.len();
        let mut pending = Vec::new();
        for encoded in changes {
            match shard.validate(encoded) {
                Validation::Valid(validated) => shard.apply_change(*validated),
                Validation::Known(_) => {}
                // A defect: the other changes stay in the store, and the shard takes none until it can be
                // read.
                Validation::ShardFault(_) => return Ok(()),
                Validation::MissingDeps { encoded, .. } => pending.push(*encoded),
                Validation::Rejected { id, fault } => {
                    let description = format!("change {} of {name}: {fault}", id.short());
                    return Err(LoadError::Damaged(description));
                }
            }
        }
        if pending.len() == before {
            let description = format!("dependencies of {before} changes of {name} are missing");
            return Err(LoadError::Damaged(description));
        }
        changes = pending;
    }
    Ok(())
}

/// Loads the signatures of a shard, and verifies the newest of each chain: it vouches for the whole chain.
fn load_chain_proofs<R: RowReader>(
    store: &R,
    shard: &mut Shard,
    records: &RecordSet,
    end_proofs: BTreeMap<ChainId, (u64, EndProof)>,
) -> Result<(), LoadError> {
    let (group, shard_id) = (shard.root().group(), shard.root().shard_id());
    for (chain_id, (seq, end_proof)) in end_proofs {
        let checkpoint_rows =
            read_rows(store, Table::Checkpoints, &key::for_chain(group, shard_id, chain_id))?;
        let chain = shard
            .chain_mut(&chain_id)
            .filter(|chain| chain.len() == seq)
            .ok_or_else(|| damaged_error("a chain whose length differs from its end proof"))?;
        for (nth, (_, checkpoint_bytes)) in (1..).zip(checkpoint_rows) {
            let checkpoint = Sig::from_slice(&checkpoint_bytes)
                .ok_or_else(|| damaged_error("a checkpoint's signature"))?;
            if !chain.add_checkpoint(nth * limits::CHECKPOINT_INTERVAL, checkpoint) {
                return Err(damaged_error("a checkpoint past the end of its chain"));
            }
        }
        let author = records.holder_and_role(&chain.grant).map(|(key, _)| key);
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

/// Loads the unaccepted changes of a shard, and computes acceptance if there are any or a chain's grant has
/// ended. Returns the rows that this changes.
fn load_unaccepted<R: RowReader>(
    group: &mut Group,
    store: &R,
    root: &ShardRoot,
) -> Result<Vec<Row>, LoadError> {
    let mut pending = Vec::new();
    for (_, value) in read_rows(store, Table::Unaccepted, &key::for_shard(group.id, root.shard_id()))? {
        let row: UnacceptedRow = decode_versioned(Table::Unaccepted, &value)?;
        let encoded = Delta::decode(&row.delta).and_then(|delta| EncodedChange::new(root, delta));
        pending.push((encoded.map_err(|error| LoadError::Damaged(error.to_string()))?, row.end_proof));
    }
    let is_ended = |chain: &Chain| !group.members().is_live(&chain.grant);
    let state = group.shards.get(&root.shard_id());
    let has_ended_chain = state.is_some_and(|state| state.shard().graph().chains().any(is_ended));
    if pending.is_empty() && !has_ended_chain {
        return Ok(Vec::new());
    }
    let state = group.shards.ensure(root);
    pending.sort_by_key(|(encoded, _)| (encoded.delta().start_op, encoded.delta().max_op()));
    while !pending.is_empty() {
        let before = pending.len();
        let mut waiting = Vec::new();
        for (encoded, end_proof) in pending {
            let is_here = |dep: &ChangeId| state.contains(dep);
            match encoded.delta().deps.iter().all(is_here) {
                true => restore_unaccepted(state, group.membership.records(), encoded, end_proof)?,
                false => waiting.push((encoded, end_proof)),
            }
        }
        if waiting.len() == before {
            return Err(damaged_error("dependencies of unaccepted changes are missing"));
        }
        pending = waiting;
    }
    let mut pass = IngestPass::new(group);
    pass.reaccept(root.shard_id());
    pass.reaccept_pending();
    Ok(pass.outcome.rows)
}

/// Adds an unaccepted change that was validated before it was stored.
fn restore_unaccepted(
    state: &mut ShardState,
    records: &RecordSet,
    encoded: EncodedChange,
    end_proof: EndProof,
) -> Result<(), LoadError> {
    let delta = encoded.delta();
    let root = state.shard().root();
    let (group, shard_id, chain_id) = (root.group(), root.shard_id(), delta.chain_id(root.group()));
    let holder = records.holder_and_role(&delta.grant);
    let (author, _) = holder.ok_or_else(|| damaged_error("a change of an unknown grant"))?;
    let is_proved =
        |hash: &_| chain::is_chain_proved(&author, (group, shard_id), delta.seq, hash, &end_proof);
    let chain_hash = state
        .chain_hash_after(delta, encoded.id())
        .filter(is_proved)
        .ok_or_else(|| damaged_error("an unaccepted change that its author did not sign"))?;
    let (depth, is_replicated) = (state.depth_above(&delta.deps), true);
    let change = UnacceptedChange { encoded, chain_id, author, chain_hash, end_proof, depth, is_replicated };
    state.unaccepted.insert(change);
    Ok(())
}
