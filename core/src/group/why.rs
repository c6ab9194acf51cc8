//! Why a valid change is not part of the document.

use super::{Beside, Group};
use crate::id::{ChangeId, EpochId, RecordId};

/// Why a valid change is not part of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its author's grant was ended by this record, and it is not among what that lets count.
    Ended(RecordId),
    /// Its author's grant does not count: whoever granted it could not do so any more.
    Grant,
    /// Its chain forked, and this change is the first of the branch that stays.
    Fork(ChangeId),
    /// It was built on this one, which is not part of the document either.
    BuiltOn(ChangeId),
    /// Its chain has more branches than are kept.
    Crowded,
}

impl Group {
    /// Why `beside` is kept aside.
    pub fn why(&self, epoch: &EpochId, beside: &Beside) -> Why {
        let (id, delta) = (beside.id(), beside.delta());
        if self.members.grant(&delta.grant).is_none() {
            return Why::Grant;
        }
        let past = |frontier: Option<&(u64, ChangeId)>| frontier.is_none_or(|(seq, _)| *seq < delta.seq);
        let endings = self.members.endings(&delta.grant).iter();
        if let Some(ending) = endings.clone().find(|ending| past(ending.changes.get(&beside.actor))) {
            return Why::Ended(ending.record);
        }
        let lost = self.forks().find(|(of, fork)| of == epoch && fork.losers.contains(&id));
        if let Some((_, fork)) = lost {
            return Why::Fork(fork.winner);
        }
        let aside = self.asides.get(epoch);
        let below = delta.deps.iter().find(|dep| aside.is_some_and(|aside| aside.contains(dep)));
        match (below, endings.map(|ending| ending.record).next()) {
            (Some(below), _) => Why::BuiltOn(*below),
            // At a place that a frontier reaches, on another branch.
            (None, Some(ending)) => Why::Ended(ending),
            (None, None) => Why::Crowded,
        }
    }
}
