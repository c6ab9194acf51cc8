//! Changes from others: pushed one by one, or in windows of history.
//!
//! Whoever brings a change, it is judged by what it is: its author's grant and role, its author's signature of the chain
//! up to it, and the gate.

use std::collections::{BTreeMap, BTreeSet};

use super::Group;
use super::orphans::Orphan;
use super::refused::Refusal;
use crate::delta::columns::{self, Head, Proof};
use crate::delta::compose::Composed;
use crate::delta::{Delta, DeltaError, SignedDelta};
use crate::id::{Actor, ChangeId, EpochId, NodeId, Sig};
use crate::limits;
use crate::shard::Shard;
use crate::shard::chain::{self, Cover, first_link, next_link};
use crate::shard::gate::{Checked, Fault, Verdict};
use crate::shard::root::{Root, ShardName};
use crate::store::{Row, Table, key};

/// A change that is new here and was let in.
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
    /// The keys it puts.
    pub keys: Vec<String>,
    /// The author's signature at it, if it came by itself.
    pub signature: Option<Sig>,
}

/// What came of changes that were offered.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// What is new here, each after everything it depends on.
    pub new: Vec<Admitted>,
    /// What is to be made durable.
    pub rows: Vec<Row>,
    /// True if something waits for changes that are not here: the peer's positions should be asked for.
    pub gap: bool,
    /// Why something was refused; the peer that made or brought it is at fault.
    pub refused: Option<String>,
    /// Chains of which a window brought changes and none could be let in.
    pub stuck: Vec<Actor>,
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
        taken
    }

    /// `Ok(None)` where the shard is not known yet: the grant that makes it may be on its way.
    fn compose(&self, epoch: EpochId, bytes: &[u8]) -> Result<Option<Composed>, DeltaError> {
        let Some(root) = self.roots.get(&epoch) else { return Ok(None) };
        Composed::new(root, Delta::decode(bytes)?).map(Some)
    }

    fn take_one(&mut self, composed: Composed, signature: Sig, taken: &mut Taken) {
        let mut next = vec![(composed, signature)];
        while let Some((composed, signature)) = next.pop() {
            let id = composed.id();
            if self.refused.contains(Refusal::Change(id)) {
                continue;
            }
            let Some(author) = self.author_of(&composed, taken) else { continue };
            match self.shard_mut(composed.delta().epoch).map(|shard| shard.examine(composed)) {
                None | Some(Verdict::Known(_)) => {}
                // It is asked for again, and let in once the shard can be read.
                Some(Verdict::Isolated(_)) => taken.gap = true,
                Some(Verdict::Waits { composed, on }) => {
                    if on.iter().any(|dep| self.refused.contains(Refusal::Change(*dep))) {
                        self.refuse(id, "it builds on a refused change".to_owned(), taken);
                        continue;
                    }
                    taken.gap = true;
                    if let Some(on) = on.first() {
                        self.orphans.keep(Orphan { composed, signature }, *on);
                    }
                }
                Some(Verdict::Rejected { id, fault }) => self.refuse(id, fault.to_string(), taken),
                Some(Verdict::Ready(checked)) => {
                    // A false signature says nothing of the change itself, which somebody else may bring with the
                    // right one: it must not be remembered as refused.
                    if !self.is_signed(&author, &checked, &signature) {
                        taken.refused = Some(format!("change {} has a false signature", id.short()));
                        continue;
                    }
                    let epoch = checked.delta().epoch;
                    let actor = checked.delta().actor(self.id);
                    self.let_in(*checked, Some(signature), taken);
                    self.set_cover(epoch, actor, Cover { ahead: Vec::new(), signature }, taken);
                    let released = self.orphans.release(&id);
                    next.extend(released.into_iter().map(|orphan| (*orphan.composed, orphan.signature)));
                }
            }
        }
    }

    /// The key behind a change, if its role may write to this shard. `None` if the change is refused or has to wait.
    fn author_of(&mut self, composed: &Composed, taken: &mut Taken) -> Option<NodeId> {
        let delta = composed.delta();
        let Some(standing) = self.members.grant(&delta.grant) else {
            taken.gap = true;
            return None;
        };
        let shard = self.roots.get(&delta.epoch).map(Root::shard);
        let may = match shard {
            Some(ShardName::Desired) => standing.role.writes_desired(),
            Some(ShardName::Observed(grant)) => grant == delta.grant && standing.role.writes_observed(),
            None => false,
        };
        let (key, role) = (standing.key, standing.role);
        if may {
            return Some(key);
        }
        self.refuse(composed.id(), format!("its author is {role}, who may not write there"), taken);
        None
    }

    fn refuse(&mut self, id: ChangeId, why: String, taken: &mut Taken) {
        taken.refused = Some(format!("change {}: {why}", id.short()));
        self.refused.note(Refusal::Change(id), why);
    }

    fn is_signed(&self, author: &NodeId, checked: &Checked, signature: &Sig) -> bool {
        let delta = checked.delta();
        let actor = delta.actor(self.id);
        let chain = self.shards.get(&delta.epoch).and_then(|shard| shard.graph().chain(&actor));
        let link = chain.map_or_else(|| first_link(self.id, delta.epoch, actor), |chain| *chain.link());
        let link = next_link(&link, checked.id());
        chain::verify(author, self.id, delta.epoch, delta.seq, &link, signature)
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
        taken.new.push(Admitted { epoch, actor, seq, id, delta: bytes, keys, signature });
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
        taken.rows.push(Row::put_layout(Table::Covers, key::chain(group, epoch, actor), &(seq, &cover)));
        chain.set_cover(cover);
    }

    /// Takes in a window of history that a neighbour sent.
    pub fn take_window(&mut self, epoch: EpochId, sent: &[u8]) -> Taken {
        let mut taken = Taken::default();
        let Some(root) = self.roots.get(&epoch) else {
            taken.gap = true;
            return taken;
        };
        let window = match columns::decode(root, sent) {
            Ok(window) => window,
            Err(error) => {
                taken.refused = Some(error.to_string());
                return taken;
            }
        };
        let mut runs = BTreeMap::new();
        for (head, proof) in window.chains {
            let actor = Actor::of(self.id, epoch, head.grant, head.incarnation);
            runs.insert(actor, Run { head, proof, ids: Vec::new() });
        }
        for composed in &window.changes {
            let actor = composed.delta().actor(self.id);
            if let Some(run) = runs.get_mut(&actor) {
                run.ids.push(composed.id());
            }
        }
        // Each chain stands by its own signatures: one that proves nothing takes no other with it.
        let mut unproved = BTreeSet::new();
        for (actor, run) in &runs {
            if !self.is_run_proved(epoch, *actor, run, &mut taken) {
                unproved.insert(*actor);
            }
        }
        for composed in window.changes {
            let actor = composed.delta().actor(self.id);
            let parted = runs.get(&actor).is_some_and(|run| self.is_parted(epoch, actor, run, &composed));
            if parted {
                self.refuse(composed.id(), Fault::Forked.to_string(), &mut taken);
            } else {
                self.take_from_window(composed, !unproved.contains(&actor), &mut taken);
            }
        }
        for (actor, run) in runs.iter().filter(|(actor, _)| !unproved.contains(actor)) {
            self.keep_proof(epoch, *actor, run, &mut taken);
        }
        let moved: BTreeSet<Actor> = taken.new.iter().map(|new| new.actor).collect();
        let stuck =
            |actor: &Actor, run: &Run| self.reach(&epoch, actor) < run.end() && !moved.contains(actor);
        taken.stuck = runs.iter().filter(|(actor, run)| stuck(actor, run)).map(|(actor, _)| *actor).collect();
        let released: Vec<Orphan> = taken.new.iter().flat_map(|new| self.orphans.release(&new.id)).collect();
        for orphan in released {
            self.take_one(*orphan.composed, orphan.signature, &mut taken);
        }
        taken
    }

    /// Checks every signature that came with a run. A run that begins past what is here cannot be checked: a gap.
    fn is_run_proved(&self, epoch: EpochId, actor: Actor, run: &Run, taken: &mut Taken) -> bool {
        let Some(author) = self.members.grant(&run.head.grant).map(|standing| standing.key) else {
            taken.gap = true;
            return false;
        };
        let graph = self.shards.get(&epoch).map(Shard::graph);
        let chain = graph.and_then(|graph| graph.chain(&actor));
        let len = chain.map_or(0, chain::Chain::len);
        if run.head.after > len {
            taken.gap = true;
            return false;
        }
        let known = (1..=run.head.after).filter_map(|seq| Some(graph?.at(chain?, seq)?.id));
        let mut link = match chain {
            Some(chain) if run.head.after == len => *chain.link(),
            _ => known.fold(first_link(self.id, epoch, actor), |link, id| next_link(&link, id)),
        };
        let mut marks = run.proof.marks.iter();
        for (seq, id) in (run.head.after + 1..).zip(&run.ids) {
            link = next_link(&link, *id);
            let marked = seq.is_multiple_of(limits::SIGNED_EVERY);
            let good = !marked
                || marks.next().is_some_and(|mark| chain::verify(&author, self.id, epoch, seq, &link, mark));
            if !good {
                taken.refused =
                    Some(format!("a window of history without the signature at {seq} of a chain"));
                return false;
            }
        }
        let end = run.end();
        // Signatures past the end prove nothing here, and a cover ends at the next kept signature at the latest: if only a
        // part of the run is let in, what is left of the cover must still be one.
        let next_mark = end.next_multiple_of(limits::SIGNED_EVERY);
        let proved = !run.ids.is_empty()
            && marks.next().is_none()
            && end + run.proof.cover.ahead.len() as u64 <= next_mark
            && chain::is_covered(&author, (self.id, epoch), end, &link, &run.proof.cover);
        if !proved {
            taken.refused = Some("a window of history with a false signature".to_owned());
        }
        proved
    }

    /// True if a change goes on from another one than is here in that place of its chain. That needs no signature to
    /// be told: the change itself names what it follows, and can never follow what is here.
    fn is_parted(&self, epoch: EpochId, actor: Actor, run: &Run, composed: &Composed) -> bool {
        let (delta, graph) = (composed.delta(), self.shards.get(&epoch).map(Shard::graph));
        let here = graph.and_then(|graph| graph.at(graph.chain(&actor)?, run.head.after));
        delta.seq == run.head.after + 1
            && here.is_some_and(|here| here.id != run.head.base && !delta.deps.contains(&here.id))
    }

    /// Takes in a change of a window. Where nothing proves it, it is only looked at for whether it builds on something
    /// refused, and so can never be let in.
    fn take_from_window(&mut self, composed: Composed, proved: bool, taken: &mut Taken) {
        let id = composed.id();
        if self.refused.contains(Refusal::Change(id)) {
            return;
        }
        let deps = &composed.delta().deps;
        if deps.iter().any(|dep| self.refused.contains(Refusal::Change(*dep))) {
            return self.refuse(id, "it builds on a refused change".to_owned(), taken);
        }
        if !proved || self.author_of(&composed, taken).is_none() {
            return;
        }
        match self.shard_mut(composed.delta().epoch).map(|shard| shard.examine(composed)) {
            None | Some(Verdict::Known(_)) => {}
            Some(Verdict::Waits { .. } | Verdict::Isolated(_)) => taken.gap = true,
            Some(Verdict::Rejected { id, fault }) => self.refuse(id, fault.to_string(), taken),
            Some(Verdict::Ready(checked)) => self.let_in(*checked, None, taken),
        }
    }

    /// Keeps the signatures of a run as far as it was let in: marks on the way, and at its end whatever covers it. What is
    /// here of the chain may be another branch than what came: then nothing of the run speaks of it.
    fn keep_proof(&mut self, epoch: EpochId, actor: Actor, run: &Run, taken: &mut Taken) {
        let group = self.id;
        let Some(shard) = self.shards.get_mut(&epoch) else { return };
        let tip = |shard: &Shard| {
            let chain = shard.graph().chain(&actor)?;
            Some((chain.len(), shard.graph().at(chain, chain.len())?.id))
        };
        let Some((len, tip)) = tip(shard) else { return };
        let past = len.checked_sub(run.head.after).and_then(|past| usize::try_from(past).ok()).unwrap_or(0);
        let (here, ahead) = run.ids.split_at_checked(past).unwrap_or_default();
        if here.last() != Some(&tip) {
            return;
        }
        let Some(chain) = shard.chain_mut(&actor) else { return };
        let first = run.head.after / limits::SIGNED_EVERY + 1;
        let marks = (first..).map(|nth| nth * limits::SIGNED_EVERY).zip(&run.proof.marks);
        for (seq, signature) in marks.clone().filter(|(seq, _)| *seq <= len) {
            if chain.mark(seq, *signature) {
                let row = Row::put(Table::Marks, key::seq(group, epoch, actor, seq), signature.0.to_vec());
                taken.rows.push(row);
            }
        }
        let cover = match marks.clone().find(|(seq, _)| *seq >= len) {
            Some((seq, signature)) => {
                let upto = usize::try_from(seq - len).unwrap_or(usize::MAX);
                Cover { ahead: ahead.iter().take(upto).copied().collect(), signature: *signature }
            }
            None => Cover {
                ahead: ahead.iter().chain(&run.proof.cover.ahead).copied().collect(),
                signature: run.proof.cover.signature,
            },
        };
        self.set_cover(epoch, actor, cover, taken);
    }
}

/// What a window brings of one chain.
struct Run {
    head: Head,
    proof: Proof,
    ids: Vec<ChangeId>,
}

impl Run {
    /// The seq of its last change.
    fn end(&self) -> u64 {
        self.head.after.saturating_add(self.ids.len() as u64)
    }
}
