//! The reason why a valid change is not accepted.

use super::Group;
use super::unaccepted::UnacceptedChange;
use crate::id::{ChangeId, RecordId, ShardId};

/// The reason why a valid change is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnacceptedReason {
    /// This record ended the author's grant, and its frontiers do not include the change.
    GrantEnded(RecordId),
    /// The author's grant is not effective: the admin who issued it had lost that right.
    GrantIneffective,
    /// The change's chain forked, and this change is the first of the branch that won.
    LostFork(ChangeId),
    /// The change depends on this one, which is not accepted either.
    BuiltOnUnaccepted(ChangeId),
    /// The change's chain has more branches than members keep.
    TooManyBranches,
}

impl Group {
    /// The reason why a change is not accepted.
    pub fn unaccepted_reason(&self, shard_id: &ShardId, change: &UnacceptedChange) -> UnacceptedReason {
        let (id, delta, members) = (change.id(), change.delta(), self.members());
        if members.grant(&delta.grant).is_none() {
            return UnacceptedReason::GrantIneffective;
        }
        let is_past = |frontier: Option<&(u64, ChangeId)>| frontier.is_none_or(|(seq, _)| *seq < delta.seq);
        let mut revocations = members.revocations(&delta.grant).iter();
        let ended_by =
            revocations.clone().find(|revocation| is_past(revocation.frontier.get(&change.chain_id)));
        if let Some(revocation) = ended_by {
            return UnacceptedReason::GrantEnded(revocation.record);
        }
        let state = self.shards.get(shard_id);
        let mut forks = state.into_iter().flat_map(|state| state.forks());
        if let Some(fork) = forks.find(|fork| fork.losers.contains(&id)) {
            return UnacceptedReason::LostFork(fork.winner);
        }
        let is_unaccepted = |dep: &&ChangeId| state.is_some_and(|state| state.unaccepted().contains(dep));
        if let Some(dep) = delta.deps.iter().find(is_unaccepted) {
            return UnacceptedReason::BuiltOnUnaccepted(*dep);
        }
        match revocations.next() {
            // The frontier reaches this position of the chain, but on another branch.
            Some(revocation) => UnacceptedReason::GrantEnded(revocation.record),
            None => UnacceptedReason::TooManyBranches,
        }
    }
}
