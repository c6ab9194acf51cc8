//! What a node has stored, read from its rows alone: its records with what they mean, and every valid change.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use larder_core::accept::{Changes, Valid};
use larder_core::delta::Delta;
use larder_core::id::{ChangeId, EpochId, GroupId, RecordId, hash16};
use larder_core::record::{Members, Records, SignedRecord};
use larder_core::store::{AsideRow, Memory, Rows, Table, key, layout};

/// What was read of rows before: to check the signatures of a whole set of records again at every step, and to read
/// every change, would take most of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    /// Who is a member, by the hash of all stored records.
    members: BTreeMap<[u8; 16], (Records, Members)>,
    /// Changes, by their bytes.
    valid: BTreeMap<Vec<u8>, (EpochId, Valid)>,
}

impl Stored {
    pub(super) fn members(
        &mut self,
        disk: &Memory,
        group: GroupId,
        genesis: RecordId,
    ) -> Result<(Records, Members), String> {
        let rows = disk.rows(Table::Records, &key::group(group)).map_err(|error| error.to_string())?;
        let parts: Vec<&[u8]> = rows.iter().flat_map(|(key, value)| [key.as_slice(), value]).collect();
        match self.members.entry(hash16("larder sim records", &parts)) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(new) => {
                let records = read_records(&rows, genesis)?;
                let members = Members::fold(&records);
                Ok(new.insert((records, members)).clone())
            }
        }
    }

    /// Every stored change that is valid, whether the document is made of it or not.
    pub(super) fn changes(
        &mut self,
        disk: &Memory,
        records: &Records,
    ) -> Result<BTreeMap<EpochId, Changes>, String> {
        let mut stored: BTreeMap<EpochId, Changes> = BTreeMap::new();
        for table in [Table::Changes, Table::Aside] {
            let rows = disk.rows(table, &key::group(records.group())).map_err(|error| error.to_string())?;
            for (row, value) in rows {
                let id = row.len().checked_sub(32).and_then(|at| ChangeId::from_slice(&row[at..]));
                let id = id.ok_or("a row of a change without an id")?;
                let (epoch, valid) = self.valid(table, value, records)?;
                stored.entry(epoch).or_default().insert(id, valid);
            }
        }
        Ok(stored)
    }

    fn valid(&mut self, table: Table, value: Vec<u8>, records: &Records) -> Result<(EpochId, Valid), String> {
        let new = match self.valid.entry(value) {
            Entry::Occupied(known) => return Ok(known.get().clone()),
            Entry::Vacant(new) => new,
        };
        let aside =
            (table == Table::Aside).then(|| layout::<AsideRow>(new.key()).ok_or("a damaged row of `aside`"));
        let aside = aside.transpose()?.map(|row| row.delta);
        let delta = Delta::decode(aside.as_ref().unwrap_or(new.key())).map_err(|error| error.to_string())?;
        let (key, _) = records.holder(&delta.grant).ok_or("a change of a grant that is not stored")?;
        let actor = delta.actor(records.group());
        let valid = Valid { actor, seq: delta.seq, grant: delta.grant, key, deps: delta.deps };
        Ok(new.insert((delta.epoch, valid)).clone())
    }
}

fn read_records(rows: &[(Vec<u8>, Vec<u8>)], genesis: RecordId) -> Result<Records, String> {
    let read = |(_, value): &(Vec<u8>, Vec<u8>)| SignedRecord::decode(value).map_err(|e| e.to_string());
    let stored = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let first = stored.iter().find(|record| record.id() == genesis).ok_or("no Genesis is stored")?;
    let mut records = Records::begin(first.clone()).ok_or("the stored Genesis is none")?;
    for record in stored {
        records.place(record);
    }
    Ok(records)
}
