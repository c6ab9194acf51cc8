//! One group, as this node holds it: its records, what they mean, and the shards of its document.
//!
//! Nothing here knows of links or time; what changes is answered as [`Row`]s to be made durable and as the list of what
//! is new, and the machine around it decides whom to tell.

mod admit;
mod aside;
mod author;
mod frontier;
mod journal;
mod load;
mod orphans;
mod refused;
mod run;
mod serve;
mod settle;
#[cfg(test)]
mod tests;
mod why;
mod window;

use std::collections::{BTreeMap, BTreeSet};

pub use admit::{Admitted, Taken};
pub use aside::{Aside, Beside};
pub use author::{AuthorError, Note, Written};
pub use load::LoadError;
pub use refused::{Refusal, RefusedItem};
pub use serve::{Position, Tip, Want};
pub use why::Why;

use crate::accept::Fork;
use crate::delta::Delta;
use crate::id::{ChangeId, Digest, EpochId, GrantId, GroupId, NodeId, RecordId, hash16};
use crate::limits;
use crate::record::{Members, Placed, RecordFault, RecordTip, Records, Role, SignedRecord};
use crate::shard::Shard;
use crate::shard::root::{Root, ShardName};
use crate::store::{OwnRow, Row, Table, key};
use journal::Journal;
use orphans::Orphans;
use refused::Refused;

/// One group in memory.
#[derive(Clone, Debug)]
pub struct Group {
    id: GroupId,
    records: Records,
    members: Members,
    /// How often the records' meaning was read.
    folds: u64,
    /// The roots of all shards that can be: `desired`, and one for every grant that may write observed state.
    roots: BTreeMap<EpochId, Root>,
    by_name: BTreeMap<ShardName, EpochId>,
    /// The shards that hold a change. `desired` always stands.
    shards: BTreeMap<EpochId, Shard>,
    /// Valid changes that they are not made of.
    asides: BTreeMap<EpochId, Aside>,
    /// The forks among what is kept of them.
    forks: BTreeMap<EpochId, Vec<Fork>>,
    /// The records that members pass on: those that count, with all that is needed to understand them.
    offered: BTreeSet<RecordId>,
    orphans: Orphans,
    refused: Refused,
    /// What this node wrote last, by epoch and grant.
    own: BTreeMap<(EpochId, GrantId), OwnRow>,
    /// Changes of each shard since it was last written out whole.
    unsaved: BTreeMap<EpochId, usize>,
    /// In which order all of that came to count.
    journal: Journal,
    /// Rows that are to be written, after a load found that others follow from the rest.
    mended: Vec<Row>,
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
    /// What became of changes because of them.
    pub taken: Taken,
}

impl Group {
    /// The group that a set of records describes, with an empty document.
    pub fn new(records: Records) -> Self {
        let id = records.group();
        let mut group = Self {
            id,
            members: Members::default(),
            folds: 0,
            records,
            roots: BTreeMap::new(),
            by_name: BTreeMap::new(),
            shards: BTreeMap::new(),
            asides: BTreeMap::new(),
            forks: BTreeMap::new(),
            offered: BTreeSet::new(),
            orphans: Orphans::default(),
            refused: Refused::default(),
            own: BTreeMap::new(),
            unsaved: BTreeMap::new(),
            journal: Journal::default(),
            mended: Vec::new(),
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
        self.folds += 1;
        // What is written under a grant is valid whether it counts or not.
        let observes = |id: &GrantId| self.records.role(id).is_some_and(Role::writes_observed);
        let missing: Vec<ShardName> = self
            .records
            .iter()
            .map(SignedRecord::id)
            .filter(observes)
            .map(ShardName::Observed)
            .filter(|name| !self.by_name.contains_key(name))
            .collect();
        for name in missing {
            self.add_root(Root::derive(self.id, name));
        }
        self.find_offered();
    }

    /// Looks anew at which records members pass on.
    fn find_offered(&mut self) {
        let kept = self.asides.values().flat_map(|aside| aside.kept()).map(|beside| beside.delta().grant);
        let shown = self.shards.values().flat_map(|shard| shard.graph().chains()).map(|chain| chain.grant);
        let grants: BTreeSet<GrantId> = kept.chain(shown).collect();
        self.offered = self.records.with_foundations(self.members.speaking().chain(grants));
    }

    /// The records that members pass on, by id.
    pub fn offered(&self) -> impl Iterator<Item = &SignedRecord> {
        self.offered.iter().filter_map(|id| self.records.get(id))
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

    /// How often the records' meaning was read: while this stays, so does everything in [`Group::members`].
    pub fn folds(&self) -> u64 {
        self.folds
    }

    /// True while a document is made anew without what it has given up.
    pub fn is_rebuilding(&self) -> bool {
        self.shards.values().any(|shard| shard.document().is_rebuilding())
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

    /// True if a change was refused for good.
    pub fn is_refused(&self, id: &ChangeId) -> bool {
        self.refused.contains(Refusal::Change(*id))
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

    /// Finds out which changes touched what, where that is not known. To be called before somebody asks for the history
    /// of one resource, after [`Group::flush`].
    pub fn index(&mut self) {
        self.shards.values_mut().for_each(Shard::index);
    }

    /// The newest of them in every chain.
    pub fn record_tips(&self) -> Vec<RecordTip> {
        self.records.tips(&self.offered)
    }

    /// Those that a peer with these tips lacks, in an order in which each can be placed at once.
    pub fn missing_records(&self, theirs: &[RecordTip]) -> Vec<SignedRecord> {
        self.records.missing(&self.offered, theirs)
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
                Placed::Delayed if self.records.len() >= limits::RECORDS => {
                    out.taken.full.hit("membership records", limits::RECORDS);
                }
                Placed::Full => {
                    out.taken.full.hit("membership records that wait for others", limits::ORPHAN_RECORDS);
                }
                Placed::Known | Placed::Delayed => {}
            }
        }
        if !out.new.is_empty() {
            let before = std::mem::take(&mut self.members);
            self.fold();
            // A grant is told before what is written under it.
            self.note_records(&mut out.rows);
            self.settle_after(&before, &mut out.taken);
            self.finish(&mut out.taken);
            self.find_offered();
            self.note_records(&mut out.rows);
            self.evict_records(&mut out);
            out.new.retain(|record| self.offered.contains(&record.id()));
        }
        out
    }

    /// Lets go of records that came just now and do not count, if there are too many of those.
    fn evict_records(&mut self, out: &mut Recorded) {
        let mut outside = self.records.len() - self.offered.len();
        for record in out.new.iter().rev() {
            if outside <= limits::QUARANTINE_RECORDS {
                return;
            }
            if !self.offered.contains(&record.id()) {
                let what = "membership records without effect";
                out.taken.full.hit(what, limits::QUARANTINE_RECORDS);
                self.records.forget(&record.id());
                out.rows.retain(|row| row.key != key::record(self.id, record.id()));
                outside -= 1;
            }
        }
    }

    /// Stands for everything the group holds: records and changes of every shard. Equal digests, equal groups. Shards in
    /// `without` are left out.
    pub fn digest(&self, without: &[EpochId]) -> Digest {
        let mut parts: Vec<&[u8]> = vec![&self.id.0];
        parts.extend(self.offered.iter().map(AsRef::as_ref));
        let shards: Vec<_> = self.digests().filter(|(epoch, _)| !without.contains(epoch)).collect();
        for (epoch, digest) in &shards {
            parts.extend([epoch.as_ref(), digest.as_ref()]);
        }
        Digest(hash16("larder 1 group digest", &parts))
    }

    /// What stands for all that is kept of each shard that holds a change, by epoch.
    pub fn digests(&self) -> impl Iterator<Item = (EpochId, Digest)> {
        self.shards.iter().filter_map(|(epoch, shard)| {
            let heads = self.kept_heads(epoch, shard);
            let parts: Vec<&[u8]> = heads.iter().map(AsRef::as_ref).collect();
            let empty = heads.iter().eq([&shard.root().id()]);
            (!empty).then(|| (*epoch, Digest(hash16("larder 1 shard digest", &parts))))
        })
    }

    /// The kept changes that nothing kept was built on.
    fn kept_heads(&self, epoch: &EpochId, shard: &Shard) -> BTreeSet<ChangeId> {
        let mut heads: BTreeSet<ChangeId> = shard.graph().heads().into_iter().collect();
        for beside in self.asides.get(epoch).map(Aside::kept).unwrap_or_default() {
            for dep in &beside.delta().deps {
                heads.remove(dep);
            }
            heads.insert(beside.id());
        }
        heads
    }

    /// What is valid and not part of a shard's document.
    pub fn aside(&self, epoch: &EpochId) -> Option<&Aside> {
        self.asides.get(epoch).filter(|aside| !aside.is_empty())
    }

    /// All of that, by shard.
    pub fn asides(&self) -> impl Iterator<Item = (&EpochId, &Aside)> {
        self.asides.iter()
    }

    /// The forks among what is kept, by shard, as they were settled.
    pub fn forks(&self) -> impl Iterator<Item = (EpochId, &Fork)> {
        self.forks.iter().flat_map(|(epoch, forks)| forks.iter().map(|fork| (*epoch, fork)))
    }

    /// True if a chain of that key forked: whoever wrote under it was copied or set back, or means harm.
    pub fn is_forked(&self, key: &NodeId) -> bool {
        let by = |epoch: &EpochId, id: &ChangeId| {
            let shard = self.shards.get(epoch)?;
            let chain = shard.graph().chain_of(shard.graph().get(id)?)?;
            Some(self.records.holder(&chain.grant)?.0)
        };
        let aside = |epoch: &EpochId, id: &ChangeId| Some(self.asides.get(epoch)?.get(id)?.key);
        self.forks().any(|(epoch, fork)| {
            by(&epoch, &fork.winner).or_else(|| aside(&epoch, &fork.winner)) == Some(*key)
        })
    }

    /// True if a change is here, wherever: accepted, kept aside or in quarantine.
    pub fn knows(&self, epoch: &EpochId, id: &ChangeId) -> bool {
        self.shards.get(epoch).is_some_and(|shard| shard.graph().contains(id))
            || self.asides.get(epoch).is_some_and(|aside| aside.contains(id))
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
