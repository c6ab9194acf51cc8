//! Why a valid change is not part of the document.

use super::{Group, UnacceptedChange};
use crate::id::{ChangeId, RecordId, ShardId};

/// Why a valid change is not part of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnacceptedReason {
    /// Its author's grant was ended by this record, and it is not among what that lets count.
    GrantEnded(RecordId),
    /// Its author's grant does not count: whoever granted it could not do so any more.
    GrantIneffective,
    /// Its chain forked, and this change is the first of the branch that stays.
    LostFork(ChangeId),
    /// It was built on this one, which is not part of the document either.
    BuiltOnUnaccepted(ChangeId),
    /// Its chain has more branches than are kept.
    TooManyBranches,
}

impl Group {
    /// Why `beside` is kept aside.
    pub fn unaccepted_reason(&self, shard_id: &ShardId, change: &UnacceptedChange) -> UnacceptedReason {
        let (id, delta) = (change.id(), change.delta());
        if self.members.grant(&delta.grant).is_none() {
            return UnacceptedReason::GrantIneffective;
        }
        let is_past = |frontier: Option<&(u64, ChangeId)>| frontier.is_none_or(|(seq, _)| *seq < delta.seq);
        let revocations = self.members.revocations(&delta.grant).iter();
        if let Some(revocation) =
            revocations.clone().find(|revocation| is_past(revocation.frontier.get(&change.chain_id)))
        {
            return UnacceptedReason::GrantEnded(revocation.record);
        }
        let lost_fork =
            self.forks().find(|(fork_shard_id, fork)| fork_shard_id == shard_id && fork.losers.contains(&id));
        if let Some((_, fork)) = lost_fork {
            return UnacceptedReason::LostFork(fork.winner);
        }
        let unaccepted = self.unaccepted.get(shard_id);
        let unaccepted_dep =
            delta.deps.iter().find(|dep| unaccepted.is_some_and(|unaccepted| unaccepted.contains(dep)));
        match (unaccepted_dep, revocations.map(|revocation| revocation.record).next()) {
            (Some(unaccepted_dep), _) => UnacceptedReason::BuiltOnUnaccepted(*unaccepted_dep),
            // At a place that a frontier reaches, on another branch.
            (None, Some(record_id)) => UnacceptedReason::GrantEnded(record_id),
            (None, None) => UnacceptedReason::TooManyBranches,
        }
    }
}
