//! Settling: which of a shard's valid changes the document is made of, when that may have changed.
//!
//! Most changes are let in as they come: their author is live, they are the next of their chain, and all below them is
//! accepted; then they are accepted, and nothing else is decided by them. Whenever that is not so (a record ended a
//! grant, a chain forked, a frontier names what came) [`crate::accept`] is asked about the whole shard, and the document
//! is made what it says. `needs_no_settling` is where the two meet.

use std::collections::BTreeSet;

use super::aside::Beside;
use super::{Admitted, Group, Taken};
use crate::accept::{Changes, accept};
use crate::delta::compose::Composed;
use crate::id::{Actor, ChangeId, EpochId, GrantId};
use crate::limits;
use crate::record::Members;
use crate::shard::Retracted;
use crate::shard::gate::{Checked, Verdict};
use crate::shard::root::ShardName;
use crate::store::{AsideRow, LAYOUT, Row, Table, key};

impl Group {
    /// True if this change, next in its chain and with all below it accepted, counts by itself.
    pub(super) fn counts_by_itself(&self, checked: &Checked, actor: &Actor) -> bool {
        let (delta, id) = (checked.delta(), checked.id());
        let below = |frontier: Option<&(u64, ChangeId)>| match frontier {
            // What is below a change that is here would be here too.
            Some((seq, named)) => *named == id || (delta.seq <= *seq && !self.knows(&delta.epoch, named)),
            None => false,
        };
        let endings = self.members.endings(&delta.grant);
        let counts = self.members.grant(&delta.grant).is_some();
        (counts && endings.iter().all(|ending| below(ending.changes.get(actor))))
            || self.members.admits().any(|(_, admitted)| below(admitted.get(actor)))
    }

    /// True if nothing but itself is decided by a change that counts and is let in: no frontier names it, its chain has
    /// no other branch, and no chain has so many that this one's support could bring one back.
    pub(super) fn needs_no_settling(&self, checked: &Checked, actor: &Actor) -> bool {
        let aside = self.asides.get(&checked.delta().epoch);
        let apart =
            aside.is_none_or(|aside| aside.is_empty() || !(aside.has_chain(actor) || aside.is_crowded()));
        apart && !self.members.named().contains(&checked.id())
    }

    /// Settles what records may have changed: shards with changes under these grants, named by these chains, or with
    /// anything aside.
    pub(super) fn settle_after(&mut self, before: &Members, taken: &mut Taken) {
        let moved = Moved::between(before, &self.members);
        let epochs: BTreeSet<EpochId> = self
            .shards
            .values()
            .filter(|shard| {
                let aside = self.asides.get(&shard.root().epoch()).is_some_and(|aside| !aside.is_empty());
                let concerned = |grant: &GrantId, actor: &Actor| {
                    moved.grants.contains(grant) || moved.actors.contains(actor)
                };
                aside
                    || self.is_forgotten(shard.root().shard())
                    || shard.graph().chains().any(|chain| concerned(&chain.grant, &chain.actor))
            })
            .map(|shard| shard.root().epoch())
            .collect();
        for epoch in epochs {
            self.settle(epoch, taken);
        }
    }

    /// True if members dropped what this shard held.
    pub(super) fn is_forgotten(&self, shard: ShardName) -> bool {
        matches!(shard, ShardName::Observed(grant) if self.members.is_forgotten(&grant))
    }

    /// Makes a shard what [`accept`] says.
    pub(super) fn settle(&mut self, epoch: EpochId, taken: &mut Taken) {
        let Some(shard) = self.shards.get(&epoch).filter(|shard| shard.document().isolated().is_none())
        else {
            return;
        };
        if self.is_forgotten(shard.root().shard()) {
            return self.drop_shard(epoch, taken);
        }
        let mut changes = Changes::of(shard, &self.records);
        let aside = self.asides.entry(epoch).or_default();
        aside.iter().for_each(|beside| changes.insert(beside.id(), beside.valid()));
        let acceptance = accept(&self.members, &changes);
        let gone = acceptance.losing.iter().chain(&acceptance.outside);
        let lost: BTreeSet<ChangeId> = gone.filter(|id| shard.graph().contains(id)).copied().collect();
        let mut found: Vec<(u32, ChangeId)> = aside
            .iter()
            .filter(|beside| acceptance.is_accepted(&beside.id()))
            .map(|beside| (beside.depth, beside.id()))
            .collect();
        found.sort_unstable();
        if !lost.is_empty() {
            self.retract(epoch, &lost, taken);
        }
        for (_, id) in found {
            self.bring_in(epoch, &id, taken);
        }
        let aside = self.asides.entry(epoch).or_default();
        // What only moved from the document was told long ago.
        for id in aside.keep(|id| acceptance.is_kept(id)).iter().filter(|id| !lost.contains(id)) {
            let returned = !taken.laid.contains(id);
            taken.new.extend(aside.get(id).map(|beside| admitted(epoch, beside, returned)));
        }
        if let Some(shard) = self.shards.get_mut(&epoch) {
            shard.set_held(acceptance.held);
        }
        self.forks.insert(epoch, acceptance.forks);
        self.evict(epoch, taken);
        self.find_offered();
    }

    fn retract(&mut self, epoch: EpochId, lost: &BTreeSet<ChangeId>, taken: &mut Taken) {
        let Some(shard) = self.shards.get_mut(&epoch) else { return };
        let gone = shard.graph().top_first(lost);
        let retracted = shard.retract(lost);
        if !retracted.is_empty() {
            taken.rows.extend(self.journal.take_back(self.id, epoch, gone));
        }
        let chains: BTreeSet<Actor> = retracted.iter().map(|gone| gone.actor).collect();
        self.unsaved.insert(epoch, shard.graph().len());
        taken.rows.push(Row::remove(Table::Snapshots, key::epoch(self.id, epoch)));
        for gone in retracted {
            self.lay_aside(epoch, gone, taken);
        }
        taken.covered.extend(chains.into_iter().map(|actor| (epoch, actor)));
    }

    fn lay_aside(&mut self, epoch: EpochId, gone: Retracted, taken: &mut Taken) {
        let Some(root) = self.roots.get(&epoch) else { return };
        let (seq, actor) = (gone.delta.seq, gone.actor);
        let Some((key, _)) = self.records.holder(&gone.delta.grant) else { return };
        let Ok(composed) = Composed::new(root, gone.delta) else { return };
        let place = key::change(self.id, epoch, actor, seq, composed.id());
        taken.rows.push(Row::remove(Table::Changes, place));
        if seq.is_multiple_of(limits::SIGNED_EVERY) {
            taken.rows.push(Row::remove(Table::Marks, key::seq(self.id, epoch, actor, seq)));
        }
        taken.retracted.insert(composed.id());
        let Retracted { link, cover, depth, .. } = gone;
        let beside = Beside { composed, actor, key, link, cover, depth, kept: false };
        self.put_aside(epoch, beside, taken);
    }

    /// Keeps a valid change that is not part of the document, or not yet.
    pub(super) fn put_aside(&mut self, epoch: EpochId, beside: Beside, taken: &mut Taken) {
        let row = AsideRow {
            version: LAYOUT,
            cover: beside.cover.clone(),
            delta: beside.composed.bytes().to_vec(),
        };
        let place = key::change(self.id, epoch, beside.actor, beside.delta().seq, beside.id());
        taken.rows.push(Row::put_layout(Table::Aside, place, &row));
        taken.laid.insert(beside.id());
        self.asides.entry(epoch).or_default().insert(beside);
    }

    /// Lets a change in that was aside.
    fn bring_in(&mut self, epoch: EpochId, id: &ChangeId, taken: &mut Taken) {
        let Some(beside) = self.asides.get_mut(&epoch).and_then(|aside| aside.remove(id)) else { return };
        let Some(shard) = self.shard_mut(epoch) else { return };
        match shard.examine(beside.composed) {
            Verdict::Ready(checked) if shard.is_next(checked.delta()) => {
                let seq = checked.delta().seq;
                let signature = beside.cover.ahead.is_empty().then_some(beside.cover.signature);
                let place = key::change(self.id, epoch, beside.actor, seq, *id);
                self.let_in(*checked, signature, taken);
                taken.new.last_mut().into_iter().for_each(|new| new.returned = true);
                self.set_cover(epoch, beside.actor, beside.cover, taken);
                taken.rows.push(Row::remove(Table::Aside, place));
            }
            // It was valid, and everything below it is accepted.
            _ => shard.isolate("a valid change could not be let in"),
        }
    }

    /// Lets go of what a quarantine has too much of.
    fn evict(&mut self, epoch: EpochId, taken: &mut Taken) {
        let others: usize =
            self.asides.iter().filter(|(of, _)| **of != epoch).map(|(_, aside)| aside.quarantined()).sum();
        let Some(aside) = self.asides.get_mut(&epoch) else { return };
        for id in aside.too_much(limits::QUARANTINE_BYTES.saturating_sub(others)) {
            let Some(beside) = aside.remove(&id) else { continue };
            let place = key::change(self.id, epoch, beside.actor, beside.delta().seq, id);
            taken.rows.push(Row::remove(Table::Aside, place));
            taken.full.hit("bytes of changes in quarantine", limits::QUARANTINE_BYTES);
        }
    }

    /// Forgets a shard with all that was in it.
    fn drop_shard(&mut self, epoch: EpochId, taken: &mut Taken) {
        let Some(shard) = self.shards.remove(&epoch) else { return };
        let graph = shard.graph();
        let all = graph.iter().map(|entry| entry.id).collect();
        taken.rows.extend(self.journal.take_back(self.id, epoch, graph.top_first(&all)));
        for entry in graph.iter() {
            let Some(chain) = graph.chain_of(entry) else { continue };
            let place = key::change(self.id, epoch, chain.actor, entry.seq, entry.id);
            taken.rows.push(Row::remove(Table::Changes, place));
            taken.retracted.insert(entry.id);
        }
        for chain in graph.chains() {
            taken.rows.push(Row::remove(Table::Covers, key::chain(self.id, epoch, chain.actor)));
            let marks = (1..=chain.len() / limits::SIGNED_EVERY).map(|nth| nth * limits::SIGNED_EVERY);
            let marks =
                marks.map(|seq| Row::remove(Table::Marks, key::seq(self.id, epoch, chain.actor, seq)));
            taken.rows.extend(marks);
        }
        taken.rows.push(Row::remove(Table::Snapshots, key::epoch(self.id, epoch)));
        for beside in self.asides.remove(&epoch).unwrap_or_default().iter() {
            let place = key::change(self.id, epoch, beside.actor, beside.delta().seq, beside.id());
            taken.rows.push(Row::remove(Table::Aside, place));
        }
        self.forks.remove(&epoch);
        self.unsaved.remove(&epoch);
    }
}

/// A change that is kept from now on, to be passed on like any other.
fn admitted(epoch: EpochId, beside: &Beside, returned: bool) -> Admitted {
    let delta = beside.delta();
    Admitted {
        epoch,
        actor: beside.actor,
        seq: delta.seq,
        id: beside.id(),
        delta: beside.composed.bytes().to_vec(),
        keys: Vec::new(),
        signature: beside.cover.ahead.is_empty().then_some(beside.cover.signature),
        returned,
    }
}

/// What a fold says otherwise than the one before.
struct Moved {
    /// Grants that count, or ended, otherwise.
    grants: BTreeSet<GrantId>,
    /// Chains that an Admit names.
    actors: BTreeSet<Actor>,
}

impl Moved {
    fn between(before: &Members, after: &Members) -> Self {
        let all = before.grants().chain(after.grants()).map(|standing| standing.grant);
        let moved = |grant: &GrantId| {
            before.grant(grant).is_some() != after.grant(grant).is_some()
                || before.endings(grant) != after.endings(grant)
        };
        let admitted = |members: &Members| -> BTreeSet<(crate::id::RecordId, Actor)> {
            members
                .admits()
                .flat_map(|(record, changes)| changes.keys().map(|actor| (*record, *actor)))
                .collect()
        };
        let (admitted_before, admitted_after) = (admitted(before), admitted(after));
        let actors = admitted_before.symmetric_difference(&admitted_after).map(|(_, actor)| *actor);
        Self { grants: all.filter(moved).collect(), actors: actors.collect() }
    }
}
