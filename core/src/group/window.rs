//! Windows of history: changes from others in bulk, chain by chain, each with the signatures that prove it.

use std::collections::{BTreeMap, BTreeSet};

use super::Group;
use super::admit::{Judged, Taken};
use super::orphans::Orphan;
use super::refused::Refusal;
use super::run::Run;
use crate::delta::columns::{self, Head, Proof};
use crate::delta::compose::Composed;
use crate::id::{Actor, EpochId};
use crate::limits;
use crate::shard::chain::first_link;

/// What a window brings, by chain.
type Runs = BTreeMap<Actor, Run>;

impl Group {
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
        let runs = self.runs_of(epoch, window.chains, &window.changes);
        // Each chain stands by its own signatures: one that proves nothing takes no other with it.
        let mut proved = BTreeSet::new();
        for (actor, run) in &runs {
            if self.is_run_proved(epoch, *actor, run, &mut taken) {
                proved.insert(*actor);
            }
        }
        for composed in window.changes {
            let actor = composed.delta().actor(self.id);
            let run = runs.get(&actor).filter(|_| proved.contains(&actor));
            self.take_from_window(composed, run, &mut taken);
            if self.asides.get(&epoch).is_some_and(|aside| aside.unsettled() >= limits::ASIDE_GATHER) {
                self.settle(epoch, &mut taken);
            }
        }
        self.finish(&mut taken);
        taken.stuck = self.stuck(epoch, &runs, &taken);
        let is_here = |run: &Run| run.last().is_some_and(|last| self.knows(&epoch, &last));
        let reached = runs.iter().filter(|(_, run)| is_here(run));
        taken.reached = reached.map(|(actor, run)| (*actor, run.end())).collect();
        let released: Vec<Orphan> = taken.new.iter().flat_map(|new| self.orphans.release(&new.id)).collect();
        for orphan in released {
            self.take_one(*orphan.composed, orphan.signature, &mut taken);
        }
        self.finish(&mut taken);
        taken
    }

    fn runs_of(&self, epoch: EpochId, chains: Vec<(Head, Proof)>, changes: &[Composed]) -> Runs {
        let mut runs = Runs::new();
        for (head, proof) in chains {
            let actor = Actor::of(self.id, epoch, head.grant, head.incarnation);
            runs.insert(actor, Run::new(head, proof));
        }
        for composed in changes {
            let actor = composed.delta().actor(self.id);
            if let Some(run) = runs.get_mut(&actor) {
                run.push(composed.id());
            }
        }
        runs
    }

    /// Chains of which nothing could be taken, and of which it is not known where else to begin.
    fn stuck(&self, epoch: EpochId, runs: &Runs, taken: &Taken) -> Vec<Actor> {
        let parted = |actor: &Actor| taken.parted.iter().any(|(parted, _)| parted == actor);
        let is_stuck = |(actor, run): &(&Actor, &Run)| {
            let has = run.last().is_none_or(|last| self.knows(&epoch, &last));
            !has && !taken.moved.contains(*actor) && !parted(actor)
        };
        runs.iter().filter(is_stuck).map(|(actor, _)| *actor).collect()
    }

    /// Checks every signature that came with a run. A run that begins on what is not here cannot be checked: a gap.
    fn is_run_proved(&self, epoch: EpochId, actor: Actor, run: &Run, taken: &mut Taken) -> bool {
        let Some((author, _)) = self.records.holder(&run.head.grant) else {
            taken.gap = true;
            return false;
        };
        let base = match run.head.after {
            0 => Some(first_link(self.id, epoch, actor)),
            after => self.link_at(&epoch, &actor, after, &run.head.base),
        };
        let Some(base) = base else {
            taken.gap = true;
            taken.parted.push((actor, run.head.after));
            return false;
        };
        match run.check(&author, (self.id, epoch), base) {
            Ok(()) => true,
            Err(why) => {
                taken.refused = Some(why);
                false
            }
        }
    }

    /// Takes in a change of a window. Where nothing proves it, it is only looked at for whether it builds on something
    /// refused, and so can never be let in.
    fn take_from_window(&mut self, composed: Composed, run: Option<&Run>, taken: &mut Taken) {
        let id = composed.id();
        if self.refused.contains(Refusal::Change(id)) {
            return;
        }
        let deps = &composed.delta().deps;
        if deps.iter().any(|dep| self.refused.contains(Refusal::Change(*dep))) {
            return self.refuse(id, "it builds on a refused change".to_owned(), taken);
        }
        let Some(run) = run else { return };
        let Some(author) = self.author_of(&composed, taken) else { return };
        match self.judge(composed) {
            Judged::Known => {}
            Judged::Waits(..) | Judged::Isolated => taken.gap = true,
            Judged::Rejected(id, fault) => self.refuse(id, fault.to_string(), taken),
            Judged::Valid(valid) => {
                let (seq, link) = (valid.delta().seq, self.link_of(&valid));
                if let Some((link, cover)) = link.zip(run.cover(seq)) {
                    self.admit(valid, author, link, cover, taken);
                }
            }
        }
    }
}
