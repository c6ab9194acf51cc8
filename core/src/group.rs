//! One group, as this node holds it: its records, what they mean, and the shards of its document.
//!
//! Nothing here knows of links or time; what changes is answered as [`Row`]s to be made durable and as the list of what
//! is new, and the machine around it decides whom to tell.

mod admit;
mod author;
mod load;
mod orphans;
mod refused;
mod serve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use admit::{Admitted, Taken};
pub use author::{AuthorError, Note, Written};
pub use load::LoadError;
pub use refused::{Refusal, RefusedItem};
pub use serve::{Position, Tip, Want};

use crate::delta::Delta;
use crate::id::{ChangeId, Digest, EpochId, GrantId, GroupId, NodeId, hash16};
use crate::record::{Members, Placed, RecordFault, Records, SignedRecord};
use crate::shard::Shard;
use crate::shard::root::{Root, ShardName};
use crate::store::{OwnRow, Row, Table, key};
use orphans::Orphans;
use refused::Refused;

/// One group in memory.
#[derive(Clone, Debug)]
pub struct Group {
    id: GroupId,
    records: Records,
    members: Members,
    /// The roots of all shards that can be: `desired`, and one for every grant that may write observed state.
    roots: BTreeMap<EpochId, Root>,
    by_name: BTreeMap<ShardName, EpochId>,
    /// The shards that hold a change. `desired` always stands.
    shards: BTreeMap<EpochId, Shard>,
    orphans: Orphans,
    refused: Refused,
    /// What this node wrote last, by epoch and grant.
    own: BTreeMap<(EpochId, GrantId), OwnRow>,
    /// Changes of each shard since it was last written out whole.
    unsaved: BTreeMap<EpochId, usize>,
    /// Contents read for a neighbour's next window.
    served: BTreeMap<ChangeId, Delta>,
}

/// What became of offered records.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Those that are new here, in an order in which each can be placed at once.
    pub new: Vec<SignedRecord>,
    /// The first that can never be placed, and why.
    pub fault: Option<RecordFault>,
    /// What is to be made durable.
    pub rows: Vec<Row>,
}

impl Group {
    /// The group that a set of records describes, with an empty document.
    pub fn new(records: Records) -> Self {
        let id = records.group();
        let mut group = Self {
            id,
            members: Members::default(),
            records,
            roots: BTreeMap::new(),
            by_name: BTreeMap::new(),
            shards: BTreeMap::new(),
            orphans: Orphans::default(),
            refused: Refused::default(),
            own: BTreeMap::new(),
            unsaved: BTreeMap::new(),
            served: BTreeMap::new(),
        };
        let desired = Root::derive(id, ShardName::Desired);
        group.shards.insert(desired.epoch(), Shard::new(desired.clone()));
        group.add_root(desired);
        group.fold();
        group
    }

    /// Reads the records' meaning anew.
    fn fold(&mut self) {
        self.members = Members::fold(&self.records);
        let missing: Vec<ShardName> = self
            .members
            .grants()
            .filter(|standing| standing.role.writes_observed())
            .map(|standing| ShardName::Observed(standing.grant))
            .filter(|name| !self.by_name.contains_key(name))
            .collect();
        for name in missing {
            self.add_root(Root::derive(self.id, name));
        }
    }

    fn add_root(&mut self, root: Root) {
        self.by_name.insert(root.shard(), root.epoch());
        self.roots.insert(root.epoch(), root);
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
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Who is a member, with which role.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The desired state.
    pub fn desired(&self) -> Option<&Shard> {
        self.shard(ShardName::Desired)
    }

    /// A shard by name; `None` if nobody has written to it.
    pub fn shard(&self, name: ShardName) -> Option<&Shard> {
        self.by_name.get(&name).and_then(|epoch| self.shards.get(epoch))
    }

    /// A shard by epoch.
    pub fn shard_of(&self, epoch: &EpochId) -> Option<&Shard> {
        self.shards.get(epoch)
    }

    /// All shards that hold a change, `desired` in any case, by epoch.
    pub fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.values()
    }

    /// The observed shards that hold a change.
    pub fn observed(&self) -> impl Iterator<Item = (GrantId, &Shard)> {
        self.shards.values().filter_map(|shard| match shard.root().shard() {
            ShardName::Observed(grant) => Some((grant, shard)),
            ShardName::Desired => None,
        })
    }

    /// The shard in which a node observes: that of its oldest live grant.
    pub fn observed_by(&self, node: &NodeId) -> Option<&Shard> {
        let grant = self.members.grant_for(node, crate::record::Role::writes_observed)?;
        self.shard(ShardName::Observed(grant))
    }

    /// What was refused and is not asked for again.
    pub fn refused(&self) -> impl Iterator<Item = &RefusedItem> {
        self.refused.iter()
    }

    /// How many changes wait for one they build on.
    pub fn waiting(&self) -> usize {
        self.orphans.len()
    }

    /// How many changes the document holds.
    pub fn changes(&self) -> u64 {
        self.shards.values().map(|shard| shard.graph().len() as u64).sum()
    }

    /// Brings every Automerge document up to date. To be called before anybody reads.
    pub fn flush(&mut self) {
        for shard in self.shards.values_mut() {
            shard.flush();
        }
    }

    /// Takes in records.
    pub fn record(&mut self, records: impl IntoIterator<Item = SignedRecord>) -> Recorded {
        let mut out = Recorded::default();
        for record in records {
            let id = record.id();
            match self.records.place(record) {
                Placed::New(placed) => {
                    for id in placed {
                        let Some(record) = self.records.get(&id) else { continue };
                        out.rows.push(Row::put(Table::Records, key::record(self.id, id), record.encode()));
                        out.new.push(record.clone());
                    }
                }
                Placed::Refused(fault) => {
                    self.refused.note(Refusal::Record(id), fault.to_string());
                    out.fault = out.fault.or(Some(fault));
                }
                Placed::Known | Placed::Delayed => {}
            }
        }
        if !out.new.is_empty() {
            self.fold();
        }
        out
    }

    /// Stands for everything the group holds: records and changes of every shard. Equal digests, equal groups. Shards in
    /// `without` are left out.
    pub fn digest(&self, without: &[EpochId]) -> Digest {
        let mut parts: Vec<&[u8]> = vec![&self.id.0];
        let records: Vec<_> = self.records.iter().map(SignedRecord::id).collect();
        parts.extend(records.iter().map(AsRef::as_ref));
        let shards: Vec<_> = self
            .shards
            .values()
            .filter(|shard| !shard.graph().is_empty() && !without.contains(&shard.root().epoch()))
            .map(|shard| (shard.root().epoch(), shard.digest()))
            .collect();
        for (epoch, digest) in &shards {
            parts.extend([epoch.as_ref(), digest.as_ref()]);
        }
        Digest(hash16("larder 1 group digest", &parts))
    }

    /// The roots of all shards that can be, by epoch.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &Root> {
        self.roots.values()
    }

    /// Shards that are isolated by a defect, and so left out of every digest.
    pub fn isolated(&self) -> Vec<EpochId> {
        let isolated = self.shards.values().filter(|shard| shard.document().isolated().is_some());
        isolated.map(|shard| shard.root().epoch()).collect()
    }
}
