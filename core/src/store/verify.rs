//! A group's stored history, gone through from the first row to the last: is every record and every change what its name
//! says, and did its author sign it?
//!
//! A start does not look at all of that. What stands in a snapshot is not composed again, and one signature proves a
//! chain. Here every delta is, and every kept signature is checked. Only the rows are looked at that are the truth;
//! whatever follows from them is left aside.

mod chain;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::{AsideRow, Rows, Table, key, layout};
use crate::delta::Delta;
use crate::delta::compose::Composed;
use crate::group::Group;
use crate::id::{Actor, ChangeId, EpochId, GroupId, RecordId, Sig};
use crate::limits;
use crate::record::{Placed, Records, SignedRecord};
use crate::shard::chain::{Cover, Link, first_link, is_covered, next_link};
use crate::shard::root::Root;
use chain::Walk;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Changes that were looked at, of all shards.
    pub changes: u64,
    /// Records that were looked at.
    pub records: u64,
    /// What is not as it was signed, at most [`limits::VERIFY_FAILED`] of it.
    pub failed: Vec<Failed>,
    /// How much else is not.
    pub more: u64,
}

/// One thing that is not as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The change or record, in hex.
    pub id: String,
    /// What is wrong with it.
    pub why: String,
}

/// The place of a chain: its shard, and who writes it.
type Place = (EpochId, Actor);

/// Goes through everything that `store` has of a group. `each` is called with how many changes were looked at so far.
pub fn verify<R: Rows>(store: &R, group: GroupId, each: &mut dyn FnMut(u64)) -> Result<Verified, R::Error> {
    let mut found = Verified::default();
    let Some(records) = read_records(store, group, &mut found)? else {
        found.fail(&group, "its Genesis record is missing, or its founder did not sign it");
        return Ok(found);
    };
    let group = Group::new(records);
    let mut pass = Pass::new(&group, found);
    pass.read_proofs(store)?;
    pass.read_aside(store)?;
    pass.walk(store, each)?;
    pass.prove_aside();
    Ok(pass.finish())
}

impl Verified {
    fn fail(&mut self, id: &impl ToString, why: &str) {
        if self.failed.len() < limits::VERIFY_FAILED {
            self.failed.push(Failed { id: id.to_string(), why: why.to_owned() });
        } else {
            self.more += 1;
        }
    }
}

/// The records that prove themselves; `None` without a first one.
fn read_records<R: Rows>(
    store: &R,
    group: GroupId,
    found: &mut Verified,
) -> Result<Option<Records>, R::Error> {
    let mut read: BTreeMap<RecordId, SignedRecord> = BTreeMap::new();
    for (row, value) in store.rows(Table::Records, &key::group(group))? {
        found.records += 1;
        let Some(id) = row.get(16..).and_then(RecordId::from_slice) else {
            found.fail(&group, "a record under a name that is none");
            continue;
        };
        match SignedRecord::decode(&value) {
            Ok(record) if record.id() == id => drop(read.insert(id, record)),
            Ok(_) => found.fail(&id, "the record has not the hash that it is kept under"),
            Err(error) => found.fail(&id, &error.to_string()),
        }
    }
    let genesis = read.values().find(|record| record.founds() == Some(group));
    let Some(mut records) = genesis.cloned().and_then(Records::begin) else { return Ok(None) };
    for (id, record) in &read {
        if let Placed::Refused(fault) = records.place(record.clone()) {
            found.fail(id, &fault.to_string());
        }
    }
    let told: BTreeSet<String> = found.failed.iter().map(|failed| failed.id.clone()).collect();
    for id in read.keys().filter(|id| records.get(id).is_none() && !told.contains(&id.to_string())) {
        found.fail(id, "the record follows from nothing here that may issue it");
    }
    Ok(Some(records))
}

/// Everything that is carried from one row to the next.
struct Pass<'a> {
    group: &'a Group,
    roots: BTreeMap<EpochId, &'a Root>,
    found: Verified,
    marks: BTreeMap<(Place, u64), Sig>,
    covers: BTreeMap<Place, (u64, Cover)>,
    /// The changes that are here, by shard: what others are built on.
    here: BTreeSet<(EpochId, ChangeId)>,
    /// What was built on and did not come by yet, with a change that was built on it.
    missed: BTreeMap<(EpochId, ChangeId), ChangeId>,
    /// Changes beside the document, in the order of their chains.
    aside: Vec<(Place, Composed, Cover)>,
    /// Where chains have got to before such a change: who stands there, and the link after.
    bases: BTreeMap<(Place, u64), Option<(ChangeId, Link)>>,
}

impl<'a> Pass<'a> {
    fn new(group: &'a Group, found: Verified) -> Self {
        Self {
            group,
            roots: group.roots().map(|root| (root.epoch(), root)).collect(),
            found,
            marks: BTreeMap::new(),
            covers: BTreeMap::new(),
            here: BTreeSet::new(),
            missed: BTreeMap::new(),
            aside: Vec::new(),
            bases: BTreeMap::new(),
        }
    }

    fn read_proofs<R: Rows>(&mut self, store: &R) -> Result<(), R::Error> {
        let prefix = key::group(self.group.id());
        for (row, value) in store.rows(Table::Marks, &prefix)? {
            match place(&row).zip(seq(&row)).zip(Sig::from_slice(&value)) {
                Some((at, mark)) => drop(self.marks.insert(at, mark)),
                None => self.found.fail(&self.group.id(), "a kept signature that is none"),
            }
        }
        for (row, value) in store.rows(Table::Covers, &prefix)? {
            match place(&row).zip(layout::<(u64, Cover)>(&value)) {
                Some((at, cover)) => drop(self.covers.insert(at, cover)),
                None => self.found.fail(&self.group.id(), "the newest signature of a chain cannot be read"),
            }
        }
        Ok(())
    }

    fn read_aside<R: Rows>(&mut self, store: &R) -> Result<(), R::Error> {
        for (row, value) in store.rows(Table::Aside, &key::group(self.group.id()))? {
            self.found.changes += 1;
            let Some(aside) = layout::<AsideRow>(&value) else {
                self.found.fail(&self.group.id(), "a change beside the document that cannot be read");
                continue;
            };
            if let Some((at, composed)) = self.compose(&row, &aside.delta) {
                let seq = composed.delta().seq;
                self.bases.insert((at, seq - 1), None);
                self.aside.push((at, composed, aside.cover));
            }
        }
        Ok(())
    }

    fn walk<R: Rows>(&mut self, store: &R, each: &mut dyn FnMut(u64)) -> Result<(), R::Error> {
        let prefix = key::group(self.group.id());
        let mut walk: Option<Walk> = None;
        let mut row = |row: &[u8], value: &[u8]| {
            self.found.changes += 1;
            each(self.found.changes);
            let Some((at, id)) = place(row).zip(name(row)) else {
                self.found.fail(&self.group.id(), "a change under a name that is none");
                return;
            };
            if walk.as_ref().is_none_or(|walk| walk.at != at) {
                walk.take().into_iter().for_each(|walk| self.end(walk));
                walk = Some(self.begin(at));
            }
            let composed = self.compose(row, value);
            self.here.insert((at.0, id));
            if let (Some(walk), Some(seq)) = (&mut walk, seq(row)) {
                self.step(walk, seq, id, composed.map(|(_, composed)| composed));
            }
        };
        store.scan(Table::Changes, &prefix, None, &mut row)?;
        walk.into_iter().for_each(|walk| self.end(walk));
        Ok(())
    }

    /// The change that a row holds, if it is what its key says. What it is built on is to be here.
    fn compose(&mut self, row: &[u8], bytes: &[u8]) -> Option<(Place, Composed)> {
        let (at, id) = place(row).zip(name(row))?;
        let Some(root) = self.roots.get(&at.0) else {
            self.found.fail(&id, "it belongs to a shard that nobody may write to");
            return None;
        };
        let composed = match Delta::decode(bytes).and_then(|delta| Composed::new(root, delta)) {
            Ok(composed) => composed,
            Err(error) => {
                self.found.fail(&id, &format!("it cannot be read: {error}"));
                return None;
            }
        };
        let delta = composed.delta();
        if composed.id() != id {
            self.found.fail(&id, "what it says is not what its hash stands for");
            return None;
        }
        if (delta.actor(self.group.id()), Some(delta.seq)) != (at.1, seq(row)) {
            self.found.fail(&id, "it is kept in the place of another");
            return None;
        }
        self.here.insert((at.0, id));
        for dep in delta.deps.iter().filter(|dep| **dep != root.id()) {
            if !self.here.contains(&(at.0, *dep)) {
                self.missed.insert((at.0, *dep), id);
            }
        }
        Some((at, composed))
    }

    /// Proves the changes beside the document, each by the chain that it goes on.
    fn prove_aside(&mut self) {
        let mut links: BTreeMap<ChangeId, Link> = BTreeMap::new();
        let mut aside = std::mem::take(&mut self.aside);
        aside.sort_by_key(|(at, composed, _)| (*at, composed.delta().seq));
        for (at, composed, cover) in aside {
            let (id, delta) = (composed.id(), composed.delta());
            let base = self.bases.get(&(at, delta.seq - 1)).copied().flatten();
            let before = if delta.seq == 1 {
                Some(first_link(self.group.id(), at.0, at.1))
            } else {
                let beside = delta.deps.iter().find_map(|dep| links.get(dep).copied());
                let main = base.filter(|(base, _)| delta.deps.contains(base)).map(|(_, link)| link);
                main.or(beside)
            };
            let Some(before) = before else {
                self.found.fail(&id, "its author's previous change is missing");
                continue;
            };
            let link = next_link(&before, id);
            links.insert(id, link);
            let author = self.group.records().holder(&delta.grant).map(|(key, _)| key);
            let place = (self.group.id(), at.0);
            if !author.is_some_and(|author| is_covered(&author, place, delta.seq, &link, &cover)) {
                self.found.fail(&id, "its author did not sign it");
            }
        }
    }

    fn finish(mut self) -> Verified {
        for (at, (seq, _)) in std::mem::take(&mut self.covers) {
            self.found.fail(&at.1, &format!("{seq} changes of a chain are signed for, and none is here"));
        }
        for ((epoch, dep), id) in std::mem::take(&mut self.missed) {
            if !self.here.contains(&(epoch, dep)) {
                self.found.fail(&id, &format!("it is built on {}, which is not here", dep.short()));
            }
        }
        self.found
    }
}

/// The chain that a row is of.
fn place(row: &[u8]) -> Option<Place> {
    Some((EpochId::from_slice(row.get(16..32)?)?, Actor::from_slice(row.get(32..48)?)?))
}

/// The place in its chain.
fn seq(row: &[u8]) -> Option<u64> {
    row.get(48..56)?.try_into().ok().map(u64::from_be_bytes)
}

/// The id of the change.
fn name(row: &[u8]) -> Option<ChangeId> {
    row.get(56..).and_then(ChangeId::from_slice)
}
