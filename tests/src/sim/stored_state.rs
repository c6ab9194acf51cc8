//! The stored state of a node, read from its rows alone: the records, the membership, and every valid change.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use larder_core::acceptance::{Candidate, CandidateSet};
use larder_core::delta::Delta;
use larder_core::id::{ChangeId, GroupId, RecordId, ShardId, hash16};
use larder_core::record::{Membership, RecordSet, SignedRecord};
use larder_core::store::{MemoryStore, RowReader, Table, UnacceptedRow, decode_layout, key};

/// A reader that remembers what it decoded. Decoding every change and checking every signature again at each
/// step would take most of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct StoredStateReader {
    /// The membership, by the hash of all stored records.
    members: BTreeMap<[u8; 16], (RecordSet, Membership)>,
    /// The decoded changes, by their bytes.
    decoded_changes: BTreeMap<Vec<u8>, (ShardId, Candidate)>,
}

impl StoredStateReader {
    pub(super) fn read_members(
        &mut self,
        disk: &MemoryStore,
        group: GroupId,
        genesis: RecordId,
    ) -> Result<(RecordSet, Membership), String> {
        let rows =
            disk.read_rows(Table::Records, &key::for_group(group)).map_err(|error| error.to_string())?;
        let parts: Vec<&[u8]> = rows.iter().flat_map(|(key, value)| [key.as_slice(), value]).collect();
        match self.members.entry(hash16("larder sim records", &parts)) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(new) => {
                let records = read_records(&rows, genesis)?;
                let members = Membership::evaluate(&records);
                Ok(new.insert((records, members)).clone())
            }
        }
    }

    /// Reads every valid stored change, accepted or not.
    pub(super) fn read_changes(
        &mut self,
        disk: &MemoryStore,
        records: &RecordSet,
    ) -> Result<BTreeMap<ShardId, CandidateSet>, String> {
        let mut stored: BTreeMap<ShardId, CandidateSet> = BTreeMap::new();
        for table in [Table::Changes, Table::Unaccepted] {
            let rows =
                disk.read_rows(table, &key::for_group(records.group())).map_err(|error| error.to_string())?;
            for (row, value) in rows {
                let id = row.len().checked_sub(32).and_then(|at| ChangeId::from_slice(&row[at..]));
                let id = id.ok_or("a row of a change without an id")?;
                let (shard_id, valid) = self.decode_change(table, value, records)?;
                stored.entry(shard_id).or_default().insert(id, valid);
            }
        }
        Ok(stored)
    }

    fn decode_change(
        &mut self,
        table: Table,
        value: Vec<u8>,
        records: &RecordSet,
    ) -> Result<(ShardId, Candidate), String> {
        let new = match self.decoded_changes.entry(value) {
            Entry::Occupied(known) => return Ok(known.get().clone()),
            Entry::Vacant(new) => new,
        };
        let unaccepted_row = (table == Table::Unaccepted)
            .then(|| decode_layout::<UnacceptedRow>(new.key()).ok_or("a damaged row of `unaccepted`"));
        let unaccepted_delta = unaccepted_row.transpose()?.map(|row| row.delta);
        let delta = Delta::decode(unaccepted_delta.as_ref().unwrap_or(new.key()))
            .map_err(|error| error.to_string())?;
        let (key, _) =
            records.holder_and_role(&delta.grant).ok_or("a change of a grant that is not stored")?;
        let actor = delta.chain_id(records.group());
        let valid =
            Candidate { chain_id: actor, seq: delta.seq, grant: delta.grant, author: key, deps: delta.deps };
        Ok(new.insert((delta.shard_id, valid)).clone())
    }
}

fn read_records(rows: &[(Vec<u8>, Vec<u8>)], genesis: RecordId) -> Result<RecordSet, String> {
    let read = |(_, value): &(Vec<u8>, Vec<u8>)| SignedRecord::decode(value).map_err(|e| e.to_string());
    let stored = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let first = stored.iter().find(|record| record.id() == genesis).ok_or("no Genesis is stored")?;
    let mut records = RecordSet::from_genesis(first.clone()).ok_or("the stored Genesis is none")?;
    for record in stored {
        records.insert(record);
    }
    Ok(records)
}
