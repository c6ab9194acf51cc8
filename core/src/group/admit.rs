//! Changes from others, one by one; [`super::window`] takes them in bulk.
//!
//! Whoever brings a change, it is judged by what it is: its author's grant and role, its author's signature of the chain
//! up to it, and the gate. What is valid is let in if it counts, and else laid aside.

use std::collections::BTreeSet;

use super::aside::{self, Beside};
use super::orphans::Orphan;
use super::refused::Refusal;
use super::{Aside, Group};
use crate::bounds::Bounds;
use crate::delta::compose::Composed;
use crate::delta::{Delta, DeltaError, SignedDelta};
use crate::id::{Actor, ChangeId, EpochId, NodeId, Sig};
use crate::limits;
use crate::shard::Shard;
use crate::shard::chain::{self, Cover, Link, first_link, next_link};
use crate::shard::gate::{Against, Checked, Fault, Verdict};
use crate::shard::root::{Root, ShardName};
use crate::store::{Row, Table, Told, key};

/// A change that is new here and is kept.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The shard it belongs to.
    pub epoch: EpochId,
    /// Its chain.
    pub actor: Actor,
    /// Its place in it.
    pub seq: u64,
    /// Its hash.
    pub id: ChangeId,
    /// Its bytes, to be passed on.
    pub delta: Vec<u8>,
    /// The keys it puts; none if it is not part of the document.
    pub keys: Vec<String>,
    /// The author's signature at it, if it came by itself.
    pub signature: Option<Sig>,
    /// True if it was here already, aside.
    pub returned: bool,
}

/// What came of changes that were offered.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// What is new here and kept, each after everything it depends on.
    pub new: Vec<Admitted>,
    /// What is to be made durable.
    pub rows: Vec<Row>,
    /// True if something waits for changes that are not here: the peer's positions should be asked for.
    pub gap: bool,
    /// Why something was refused; the peer that made or brought it is at fault.
    pub refused: Option<String>,
    /// Chains of which a window brought changes and none could be taken.
    pub stuck: Vec<Actor>,
    /// Chains of which a window begins on a change that is not here, and after which place: what came is another branch,
    /// and more of it has to be asked for.
    pub parted: Vec<(Actor, u64)>,
    /// How far the chains of a window reach of which all that came is here now.
    pub reached: Vec<(Actor, u64)>,
    /// What was taken out of the document again.
    pub retracted: BTreeSet<ChangeId>,
    /// The bounds that were reached.
    pub full: Bounds,
    /// What was laid aside just now.
    pub(super) laid: BTreeSet<ChangeId>,
    /// Chains of which something is here that was not.
    pub(super) moved: BTreeSet<Actor>,
    /// Shards of which it is to be settled what counts.
    pub(super) unsettled: BTreeSet<EpochId>,
    /// Chains whose end is proved by something else than before.
    pub(super) covered: BTreeSet<(EpochId, Actor)>,
}

impl Taken {
    /// True if nothing came of it.
    pub fn brought_nothing(&self) -> bool {
        self.new.is_empty() && self.moved.is_empty() && self.parted.is_empty()
    }
}

/// What the gate says of a change that builds on anything that is here.
pub(super) enum Judged {
    Known,
    Isolated,
    /// It builds on what is not here, or on too much that is aside.
    Waits(Box<Composed>, Vec<ChangeId>),
    Rejected(ChangeId, Fault),
    Valid(Valid),
}

/// A valid change, and where it stands.
pub(super) enum Valid {
    /// All below it is accepted, and it is the next of its chain.
    Next(Box<Checked>),
    /// Another branch, or built on one; so deep.
    Beside(Box<Composed>, u32),
}

impl Valid {
    pub(super) fn delta(&self) -> &Delta {
        match self {
            Self::Next(checked) => checked.delta(),
            Self::Beside(composed, _) => composed.delta(),
        }
    }

    fn id(&self) -> ChangeId {
        match self {
            Self::Next(checked) => checked.id(),
            Self::Beside(composed, _) => composed.id(),
        }
    }
}

impl Group {
    /// Takes in a change that a neighbour pushed.
    pub fn take_push(&mut self, epoch: EpochId, pushed: &SignedDelta) -> Taken {
        let mut taken = Taken::default();
        let composed = match self.compose(epoch, &pushed.delta) {
            Ok(Some(composed)) => composed,
            Ok(None) => {
                taken.gap = true;
                return taken;
            }
            Err(error) => {
                taken.refused = Some(error.to_string());
                return taken;
            }
        };
        self.take_one(composed, pushed.signature, &mut taken);
        self.finish(&mut taken);
        taken
    }

    /// Takes in a change with what proves it, as it was kept aside. False if it proves nothing, or builds on what is not
    /// here.
    pub(crate) fn take_proved(&mut self, epoch: EpochId, delta: &[u8], cover: Cover) -> Option<Taken> {
        let mut taken = Taken::default();
        let composed = self.compose(epoch, delta).ok().flatten()?;
        let author = self.author_of(&composed, &mut taken)?;
        match self.judge(composed) {
            Judged::Known => {}
            Judged::Valid(valid) => {
                let link =
                    self.link_of(&valid).filter(|link| self.is_covered(&author, &valid, link, &cover))?;
                self.admit(valid, author, link, cover, &mut taken);
            }
            Judged::Waits(..) | Judged::Rejected(..) | Judged::Isolated => return None,
        }
        self.finish(&mut taken);
        Some(taken)
    }

    /// `Ok(None)` where the shard is not known yet: the grant that makes it may be on its way.
    fn compose(&self, epoch: EpochId, bytes: &[u8]) -> Result<Option<Composed>, DeltaError> {
        let Some(root) = self.roots.get(&epoch) else { return Ok(None) };
        Composed::new(root, Delta::decode(bytes)?).map(Some)
    }

    pub(super) fn take_one(&mut self, composed: Composed, signature: Sig, taken: &mut Taken) {
        let mut next = vec![(composed, signature)];
        while let Some((composed, signature)) = next.pop() {
            let id = composed.id();
            if self.refused.contains(Refusal::Change(id)) {
                continue;
            }
            let Some(author) = self.author_of(&composed, taken) else { continue };
            match self.judge(composed) {
                Judged::Known => {}
                // It is asked for again, and let in once the shard can be read.
                Judged::Isolated => taken.gap = true,
                Judged::Waits(composed, on) => {
                    if on.iter().any(|dep| self.refused.contains(Refusal::Change(*dep))) {
                        self.refuse(id, "it builds on a refused change".to_owned(), taken);
                        continue;
                    }
                    taken.gap = true;
                    if let Some(on) = on.first() {
                        let forgotten = self.orphans.keep(Orphan { composed, signature }, *on);
                        let what = "bytes of changes that wait for others";
                        taken.full.hits(what, limits::ORPHAN_BYTES, forgotten);
                    }
                }
                Judged::Rejected(id, fault) => self.refuse(id, fault.to_string(), taken),
                Judged::Valid(valid) => {
                    let cover = Cover { ahead: Vec::new(), signature };
                    // A false signature says nothing of the change itself, which somebody else may bring with the
                    // right one: it must not be remembered as refused.
                    let link =
                        self.link_of(&valid).filter(|link| self.is_covered(&author, &valid, link, &cover));
                    let Some(link) = link else {
                        taken.refused = Some(format!("change {} has a false signature", id.short()));
                        continue;
                    };
                    self.admit(valid, author, link, cover, taken);
                    let released = self.orphans.release(&id);
                    next.extend(released.into_iter().map(|orphan| (*orphan.composed, orphan.signature)));
                }
            }
        }
    }

    /// The gate, for what builds on what is accepted or aside.
    pub(super) fn judge(&mut self, composed: Composed) -> Judged {
        let (epoch, id) = (composed.delta().epoch, composed.id());
        let Some(root) = self.roots.get(&epoch) else { return Judged::Waits(Box::new(composed), Vec::new()) };
        let shard = self.shards.entry(epoch).or_insert_with(|| Shard::new(root.clone()));
        let aside = self.asides.entry(epoch).or_default();
        if aside.contains(&id) {
            return Judged::Known;
        }
        if composed.delta().deps.iter().any(|dep| aside.contains(dep)) {
            return judge_beside(aside, shard, composed);
        }
        match shard.examine(composed) {
            Verdict::Known(_) => Judged::Known,
            Verdict::Isolated(_) => Judged::Isolated,
            Verdict::Waits { composed, on } => Judged::Waits(composed, on),
            Verdict::Rejected { id, fault } => Judged::Rejected(id, fault),
            Verdict::Ready(checked) if shard.is_next(checked.delta()) => Judged::Valid(Valid::Next(checked)),
            Verdict::Ready(checked) => {
                let depth = self.depth_of(&epoch, &checked.delta().deps);
                Judged::Valid(Valid::Beside(Box::new(checked.into_composed()), depth))
            }
        }
    }

    /// Takes in a valid change whose signature was checked: into the document if it counts, else aside.
    pub(super) fn admit(
        &mut self,
        valid: Valid,
        author: NodeId,
        link: Link,
        cover: Cover,
        taken: &mut Taken,
    ) {
        let epoch = valid.delta().epoch;
        let actor = valid.delta().actor(self.id);
        taken.moved.insert(actor);
        let (composed, depth) = match valid {
            Valid::Next(checked) if self.counts_by_itself(&checked, &actor) => {
                if !self.needs_no_settling(&checked, &actor) {
                    taken.unsettled.insert(epoch);
                }
                let signature = cover.ahead.is_empty().then_some(cover.signature);
                self.let_in(*checked, signature, taken);
                return self.set_cover(epoch, actor, cover, taken);
            }
            Valid::Next(checked) => {
                let depth = self.depth_of(&epoch, &checked.delta().deps);
                (checked.into_composed(), depth)
            }
            Valid::Beside(composed, depth) => (*composed, depth),
        };
        taken.unsettled.insert(epoch);
        self.put_aside(
            epoch,
            Beside { composed, actor, key: author, link, cover, depth, kept: false },
            taken,
        );
    }

    /// The key behind a change, if its role may write to this shard. `None` if the change is refused or has to wait.
    pub(super) fn author_of(&mut self, composed: &Composed, taken: &mut Taken) -> Option<NodeId> {
        let delta = composed.delta();
        // Whether the grant counts decides what becomes of a change, not whether it is one.
        let Some((key, role)) = self.records.holder(&delta.grant) else {
            taken.gap = true;
            return None;
        };
        let shard = self.roots.get(&delta.epoch).map(Root::shard);
        if shard.is_some_and(|shard| self.is_forgotten(shard)) {
            return None;
        }
        let may = match shard {
            Some(ShardName::Desired) => role.writes_desired(),
            Some(ShardName::Observed(grant)) => grant == delta.grant && role.writes_observed(),
            None => false,
        };
        if may {
            return Some(key);
        }
        self.refuse(composed.id(), format!("its author is {role}, who may not write there"), taken);
        None
    }

    pub(super) fn refuse(&mut self, id: ChangeId, why: String, taken: &mut Taken) {
        taken.refused = Some(format!("change {}: {why}", id.short()));
        self.refused.note(Refusal::Change(id), why);
    }

    fn is_covered(&self, author: &NodeId, valid: &Valid, link: &Link, cover: &Cover) -> bool {
        let delta = valid.delta();
        chain::is_covered(author, (self.id, delta.epoch), delta.seq, link, cover)
    }

    pub(super) fn link_of(&self, valid: &Valid) -> Option<Link> {
        self.link_after(valid.delta(), valid.id())
    }

    /// The link of a chain at a change whose author's change before it is here.
    pub(super) fn link_after(&self, delta: &Delta, id: ChangeId) -> Option<Link> {
        let actor = delta.actor(self.id);
        let before = match delta.seq.checked_sub(1)? {
            0 => first_link(self.id, delta.epoch, actor),
            seq => delta.deps.iter().find_map(|dep| self.link_at(&delta.epoch, &actor, seq, dep))?,
        };
        Some(next_link(&before, id))
    }

    /// The link of a chain at `seq`, on the branch that has `id` there.
    pub(super) fn link_at(&self, epoch: &EpochId, actor: &Actor, seq: u64, id: &ChangeId) -> Option<Link> {
        if let Some(beside) = self.asides.get(epoch).and_then(|aside| aside.get(id)) {
            return (beside.actor == *actor && beside.delta().seq == seq).then_some(beside.link);
        }
        let graph = self.shards.get(epoch)?.graph();
        let chain = graph.chain(actor)?;
        graph.at(chain, seq).filter(|entry| entry.id == *id)?;
        if seq == chain.len() {
            return Some(*chain.link());
        }
        let ids = (1..=seq).filter_map(|seq| Some(graph.at(chain, seq)?.id));
        Some(ids.fold(first_link(self.id, *epoch, *actor), |link, id| next_link(&link, id)))
    }

    /// How deep a change stands that builds on these.
    pub(super) fn depth_of(&self, epoch: &EpochId, deps: &[ChangeId]) -> u32 {
        let graph = self.shards.get(epoch).map(Shard::graph);
        let aside = self.asides.get(epoch);
        let depth = |dep: &ChangeId| {
            let accepted = graph.and_then(|graph| graph.get(dep)).map(|entry| entry.depth);
            accepted.or_else(|| aside?.get(dep).map(|beside| beside.depth))
        };
        deps.iter().filter_map(depth).max().unwrap_or(0).saturating_add(1)
    }

    /// The shard of an epoch, begun if need be.
    pub(crate) fn shard_mut(&mut self, epoch: EpochId) -> Option<&mut Shard> {
        let root = self.roots.get(&epoch)?;
        Some(self.shards.entry(epoch).or_insert_with(|| Shard::new(root.clone())))
    }

    pub(super) fn let_in(&mut self, checked: Checked, signature: Option<Sig>, taken: &mut Taken) {
        let delta = checked.delta();
        let (epoch, actor, seq, id) = (delta.epoch, delta.actor(self.id), delta.seq, checked.id());
        let keys = delta.puts.iter().map(|put| put.key.clone()).collect();
        let bytes = checked.bytes().to_vec();
        taken.rows.push(Row::put(Table::Changes, key::change(self.id, epoch, actor, seq, id), bytes.clone()));
        taken.rows.push(self.journal.note(self.id, Told::Change { epoch, id }, true));
        taken.new.push(Admitted { epoch, actor, seq, id, delta: bytes, keys, signature, returned: false });
        *self.unsaved.entry(epoch).or_default() += 1;
        if let Some(shard) = self.shard_mut(epoch) {
            shard.accept(checked);
        }
    }

    /// Notes what proves the end of a chain. A signature at a 64th change is kept for ever.
    pub(super) fn set_cover(&mut self, epoch: EpochId, actor: Actor, cover: Cover, taken: &mut Taken) {
        let group = self.id;
        let Some(chain) = self.shards.get_mut(&epoch).and_then(|shard| shard.chain_mut(&actor)) else {
            return;
        };
        let seq = chain.len();
        if cover.ahead.is_empty() && seq.is_multiple_of(limits::SIGNED_EVERY) {
            let row = Row::put(Table::Marks, key::seq(group, epoch, actor, seq), cover.signature.0.to_vec());
            taken.rows.push(row);
        }
        taken.covered.insert((epoch, actor));
        chain.set_cover(cover);
    }

    /// Settles what is not settled, and writes down what follows.
    pub(super) fn finish(&mut self, taken: &mut Taken) {
        self.finish_shards(taken);
        self.note_records(&mut taken.rows);
    }

    /// Settles what is not settled, and writes down what proves the ends of chains that moved: once, however far.
    pub(super) fn finish_shards(&mut self, taken: &mut Taken) {
        for epoch in std::mem::take(&mut taken.unsettled) {
            self.settle(epoch, taken);
        }
        for (epoch, actor) in std::mem::take(&mut taken.covered) {
            let chain = self.shards.get(&epoch).and_then(|shard| shard.graph().chain(&actor));
            let place = key::chain(self.id, epoch, actor);
            taken.rows.push(match chain.and_then(|chain| Some((chain.len(), chain.cover()?))) {
                Some(proof) => Row::put_layout(Table::Covers, place, &proof),
                None => Row::remove(Table::Covers, place),
            });
        }
    }
}

/// The gate for what builds on something that is aside.
fn judge_beside(aside: &Aside, shard: &mut Shard, composed: Composed) -> Judged {
    if shard.document().isolated().is_some() {
        return Judged::Isolated;
    }
    let here = |dep: &&ChangeId| shard.graph().contains(dep) || aside.contains(dep);
    let on: Vec<ChangeId> = composed.delta().deps.iter().filter(|dep| !here(dep)).copied().collect();
    if !on.is_empty() {
        return Judged::Waits(Box::new(composed), on);
    }
    match aside::check(aside, shard, composed.delta()) {
        Ok(Some(depth)) => Judged::Valid(Valid::Beside(Box::new(composed), depth)),
        Ok(None) => Judged::Waits(Box::new(composed), Vec::new()),
        Err(Against::Fault(fault)) => Judged::Rejected(composed.id(), fault),
        Err(Against::Defect(isolated)) => {
            shard.isolate(&isolated.what);
            Judged::Isolated
        }
    }
}
