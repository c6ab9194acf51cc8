//! A group read back from its rows, and the snapshots that make that quick.

use std::collections::BTreeMap;

use super::{Beside, Group, Taken};
use crate::delta::Delta;
use crate::delta::compose::Composed;
use crate::id::{Actor, ChangeId, EpochId, GrantId, GroupId, RecordId, Sig};
use crate::limits;
use crate::record::{Records, SignedRecord};
use crate::shard::Shard;
use crate::shard::chain::{self, Cover};
use crate::shard::document::Document;
use crate::shard::gate::Verdict;
use crate::shard::root::Root;
use crate::shard::touched::{IndexRow, Touched};
use crate::store::{AsideRow, LAYOUT, Row, Rows, SnapshotBody, SnapshotRow, Table, key, layout, versioned};

/// Why a group could not be read back. The fault is the disk's, or that of whoever changed the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The rows could not be read.
    #[error("the store cannot be read: {0}")]
    Read(String),
    /// The rows are not what this node wrote.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// A newer version wrote the rows. They are whole; nothing was changed.
    #[error(
        "a newer version of larder wrote `{table}` in the store (layout {version}, and this one knows {LAYOUT})"
    )]
    Newer {
        /// Into which table.
        table: &'static str,
        /// The layout's version.
        version: u8,
    },
}

fn damaged(what: &str) -> LoadError {
    LoadError::Damaged(what.to_owned())
}

fn rows<R: Rows>(rows: &R, table: Table, prefix: &[u8]) -> Result<Vec<crate::store::Stored>, LoadError> {
    rows.rows(table, prefix).map_err(|error| LoadError::Read(error.to_string()))
}

impl Group {
    /// Reads a group back.
    pub fn load<R: Rows>(store: &R, id: GroupId, genesis: RecordId) -> Result<Self, LoadError> {
        let mut group = Self::new(load_records(store, id, genesis)?);
        for (row, value) in rows(store, Table::Own, &key::group(id))? {
            let (_, rest) = row.split_at_checked(16).ok_or_else(|| damaged("a row of `own`"))?;
            let (epoch, grant) = rest.split_at_checked(16).ok_or_else(|| damaged("a row of `own`"))?;
            let place = EpochId::from_slice(epoch).zip(GrantId::from_slice(grant));
            let place = place.ok_or_else(|| damaged("a row of `own`"))?;
            let own = versioned(Table::Own, &value)?;
            group.own.insert(place, own);
        }
        let roots: Vec<Root> = group.roots.values().cloned().collect();
        for root in &roots {
            group.load_shard(store, root.clone())?;
        }
        group.load_journal(store)?;
        for root in &roots {
            group.load_aside(store, root)?;
        }
        group.find_offered();
        let mut rows = Vec::new();
        group.note_records(&mut rows);
        group.mended.extend(rows);
        Ok(group)
    }

    /// Reads what is valid and not part of the document, and settles anew what counts: where nothing was removed and
    /// nothing forked, there is nothing to settle.
    fn load_aside<R: Rows>(&mut self, store: &R, root: &Root) -> Result<(), LoadError> {
        let mut left = Vec::new();
        for (_, value) in rows(store, Table::Aside, &key::epoch(self.id, root.epoch()))? {
            let row: AsideRow = versioned(Table::Aside, &value)?;
            let composed = Delta::decode(&row.delta).and_then(|delta| Composed::new(root, delta));
            left.push((composed.map_err(|error| LoadError::Damaged(error.to_string()))?, row.cover));
        }
        let ended = |chain: &chain::Chain| !self.members.is_live(&chain.grant);
        let touched = self.shards.get(&root.epoch()).is_some_and(|shard| shard.graph().chains().any(ended));
        if left.is_empty() && !touched {
            return Ok(());
        }
        left.sort_by_key(|(composed, _)| (composed.delta().start_op, composed.delta().max_op()));
        while !left.is_empty() {
            let before = left.len();
            let mut waits = Vec::new();
            for (composed, cover) in left {
                let here = |dep: &ChangeId| *dep == root.id() || self.knows(&root.epoch(), dep);
                match composed.delta().deps.iter().all(here) {
                    true => self.restore_aside(root, composed, cover)?,
                    false => waits.push((composed, cover)),
                }
            }
            if waits.len() == before {
                return Err(damaged("changes that are aside lack what they build on"));
            }
            left = waits;
        }
        let mut taken = Taken::default();
        self.settle(root.epoch(), &mut taken);
        self.finish_shards(&mut taken);
        self.mended.extend(taken.rows);
        Ok(())
    }

    /// Lays aside a change that passed the gate before it was stored.
    fn restore_aside(&mut self, root: &Root, composed: Composed, cover: Cover) -> Result<(), LoadError> {
        let delta = composed.delta();
        let (epoch, actor) = (root.epoch(), delta.actor(self.id));
        let (key, _) =
            self.records.holder(&delta.grant).ok_or_else(|| damaged("a change of an unknown grant"))?;
        let link = self.link_after(delta, composed.id());
        let link = link.filter(|link| chain::is_covered(&key, (self.id, epoch), delta.seq, link, &cover));
        let link = link.ok_or_else(|| damaged("a change that is aside and that its author did not sign"))?;
        let depth = self.depth_of(&epoch, &delta.deps);
        let beside = Beside { composed, actor, key, link, cover, depth, kept: true };
        self.shard_mut(epoch);
        self.asides.entry(epoch).or_default().insert(beside);
        Ok(())
    }

    /// What the store has to be told since the rows that it held say less, or otherwise, than what follows from them.
    pub fn take_mended(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.mended)
    }

    fn load_shard<R: Rows>(&mut self, store: &R, root: Root) -> Result<(), LoadError> {
        let epoch = root.epoch();
        let covers = load_covers(store, self.id, epoch)?;
        if covers.is_empty() {
            return Ok(());
        }
        let shard = load_snapshot(store, &root)?.unwrap_or_else(|| Shard::new(root.clone()));
        let saved = shard.graph().len();
        self.shards.insert(epoch, shard);
        let mut tail = Vec::new();
        for actor in covers.keys() {
            let from = key::seq(self.id, epoch, *actor, self.reach(&epoch, actor) + 1);
            let mut fault = None;
            let mut each = |_: &[u8], value: &[u8]| match Delta::decode(value)
                .and_then(|delta| Composed::new(&root, delta))
            {
                Ok(composed) => tail.push(composed),
                Err(error) => fault = Some(error.to_string()),
            };
            store
                .scan(Table::Changes, &key::chain(self.id, epoch, *actor), Some(&from), &mut each)
                .map_err(|error| LoadError::Read(error.to_string()))?;
            if let Some(fault) = fault {
                return Err(LoadError::Damaged(fault));
            }
        }
        self.replay(&root, tail)?;
        self.load_proofs(store, epoch, covers)?;
        if let Some(shard) = self.shards.get_mut(&epoch) {
            shard.flush();
            self.unsaved.insert(epoch, shard.graph().len() - saved);
        }
        Ok(())
    }

    /// Lets in changes that passed the gate before they were stored, in whatever order fits.
    fn replay(&mut self, root: &Root, mut tail: Vec<Composed>) -> Result<(), LoadError> {
        tail.sort_by_key(|composed| (composed.delta().start_op, composed.delta().max_op()));
        while !tail.is_empty() {
            let before = tail.len();
            let mut left = Vec::new();
            for composed in tail {
                let Some(shard) = self.shards.get_mut(&root.epoch()) else { break };
                match shard.examine(composed) {
                    Verdict::Ready(checked) => shard.accept(*checked),
                    Verdict::Known(_) => {}
                    // A defect: the rest stays in the store, and the shard takes nothing until it can be read.
                    Verdict::Isolated(_) => return Ok(()),
                    Verdict::Waits { composed, .. } => left.push(*composed),
                    Verdict::Rejected { id, fault } => {
                        return Err(LoadError::Damaged(format!(
                            "change {} of {}: {fault}",
                            id.short(),
                            root.shard()
                        )));
                    }
                }
            }
            if left.len() == before {
                return Err(LoadError::Damaged(format!(
                    "{before} changes of {} lack what they build on",
                    root.shard()
                )));
            }
            tail = left;
        }
        Ok(())
    }

    /// Reads the signatures of a shard, and checks each chain's newest one: it fixes the whole chain.
    fn load_proofs<R: Rows>(
        &mut self,
        store: &R,
        epoch: EpochId,
        covers: BTreeMap<Actor, (u64, Cover)>,
    ) -> Result<(), LoadError> {
        let group = self.id;
        if self.shards.get(&epoch).is_some_and(|shard| shard.document().isolated().is_some()) {
            return Ok(());
        }
        for (actor, (seq, cover)) in covers {
            let marks = rows(store, Table::Marks, &key::chain(group, epoch, actor))?;
            let shard = self.shards.get_mut(&epoch).ok_or_else(|| damaged("a shard without changes"))?;
            let chain = shard.chain_mut(&actor).filter(|chain| chain.len() == seq);
            let chain =
                chain.ok_or_else(|| damaged("a chain that is shorter or longer than what proves it"))?;
            for (nth, (_, mark)) in (1..).zip(marks) {
                let mark = Sig::from_slice(&mark).ok_or_else(|| damaged("a kept signature"))?;
                if !chain.mark(nth * limits::SIGNED_EVERY, mark) {
                    return Err(damaged("a kept signature past the end of its chain"));
                }
            }
            let author = self.records.holder(&chain.grant).map(|(key, _)| key);
            let link = *chain.link();
            let proved =
                author.is_some_and(|author| chain::is_covered(&author, (group, epoch), seq, &link, &cover));
            if !proved {
                return Err(damaged("a chain of changes that its author did not sign"));
            }
            chain.set_cover(cover);
        }
        Ok(())
    }

    /// Leaves every chain that this node wrote: its next change begins a new incarnation.
    pub fn forget_lives(&mut self) -> Vec<Row> {
        let lives = std::mem::take(&mut self.own);
        lives
            .keys()
            .map(|(epoch, grant)| Row::remove(Table::Own, key::own(self.id, *epoch, *grant)))
            .collect()
    }

    /// Rows that write out whole every shard that has grown enough since the last time.
    pub fn snapshots(&mut self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (epoch, shard) in &mut self.shards {
            let unsaved = self.unsaved.entry(*epoch).or_default();
            let due = limits::SNAPSHOT_CHANGES.max(shard.graph().len() / 4);
            if *unsaved < due {
                continue;
            }
            shard.flush();
            if shard.document().isolated().is_some() || shard.document().is_rebuilding() {
                continue;
            }
            let chains =
                shard.graph().chains().map(|chain| (chain.grant, chain.incarnation, chain.len())).collect();
            let (heads, document) = (shard.graph().heads(), shard.document().save());
            let row = SnapshotRow::seal(&SnapshotBody { chains, heads, document });
            rows.push(Row::put_layout(Table::Snapshots, key::epoch(self.id, *epoch), &row));
            shard.index();
            if let Some(touched) = shard.touched() {
                let row = touched.seal(shard.graph());
                rows.push(Row::put_layout(Table::Index, key::epoch(self.id, *epoch), &row));
            }
            *unsaved = 0;
        }
        rows
    }

    /// All rows of a group that was just founded or joined, but the one that says it exists.
    pub fn rows(&mut self) -> Vec<Row> {
        let mut rows = self.record_rows();
        self.note_records(&mut rows);
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

fn load_records<R: Rows>(store: &R, id: GroupId, genesis: RecordId) -> Result<Records, LoadError> {
    let mut stored = BTreeMap::new();
    for (_, value) in rows(store, Table::Records, &key::group(id))? {
        let record = SignedRecord::decode(&value).map_err(|error| LoadError::Damaged(error.to_string()))?;
        stored.insert(record.id(), record);
    }
    let genesis = stored.remove(&genesis).ok_or_else(|| damaged("a group without its Genesis record"))?;
    let mut records =
        Records::begin(genesis).ok_or_else(|| damaged("a Genesis record that its founder did not sign"))?;
    if records.group() != id {
        return Err(damaged("a Genesis record of another group"));
    }
    let count = stored.len() + 1;
    for record in stored.into_values() {
        records.place(record);
    }
    if records.len() != count {
        return Err(damaged("a membership record that is not signed or out of place"));
    }
    Ok(records)
}

fn load_covers<R: Rows>(
    store: &R,
    group: GroupId,
    epoch: EpochId,
) -> Result<BTreeMap<Actor, (u64, Cover)>, LoadError> {
    let mut covers = BTreeMap::new();
    for (row, value) in rows(store, Table::Covers, &key::epoch(group, epoch))? {
        let actor = row.split_at_checked(32).and_then(|(_, actor)| Actor::from_slice(actor));
        let cover = actor.zip(layout::<(u64, Cover)>(&value)).ok_or_else(|| damaged("a row of `covers`"))?;
        covers.insert(cover.0, cover.1);
    }
    Ok(covers)
}

/// The shard's snapshot, if there is one and it is sound. A lost or damaged one costs time, never history.
fn load_snapshot<R: Rows>(store: &R, root: &Root) -> Result<Option<Shard>, LoadError> {
    let stored = rows(store, Table::Snapshots, &key::epoch(root.group(), root.epoch()))?;
    let body = stored.first().and_then(|(_, value)| layout::<SnapshotRow>(value)).and_then(|row| row.open());
    let shard = body.and_then(|body| {
        let document = Document::load(&body.document, body.document.len())?;
        Shard::restore(root.clone(), document, &body.chains, &body.heads)
    });
    let Some(mut shard) = shard else { return Ok(None) };
    let stored = rows(store, Table::Index, &key::epoch(root.group(), root.epoch()))?;
    let row = stored.first().and_then(|(_, value)| layout::<IndexRow>(value));
    let touched = row.and_then(|row| Touched::open(&row, shard.graph()));
    shard.set_touched(touched);
    Ok(Some(shard))
}
