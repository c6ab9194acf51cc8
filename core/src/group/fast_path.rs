//! The fast path of acceptance: accepting a change without computing acceptance for its shard.
//!
//! [`crate::acceptance::compute_acceptance`] costs time in proportion to the history of a shard, so a group
//! does not call it for every change. The group may accept a change at once, and leave everything else as it
//! is, if both functions here say so. **What has to hold for that**, given that the shard was as
//! `compute_acceptance` says before: after the change is added to the accepted ones, `compute_acceptance`
//! would return
//!
//! 1. *the change as accepted*: [`is_anchor`] is true only if `compute_acceptance` makes it an anchor. All
//!    its dependencies are accepted, and it has the next position of its chain, so it is in no fork with an
//!    accepted change;
//! 2. *everything else as before*: [`can_skip_reacceptance`] is true only if the change is no end of a
//!    frontier, so no reach of a frontier changes; if its chain has no unaccepted change, so it is in no fork
//!    at all; and if no chain has so many unaccepted branches that some were dropped as weak, which the
//!    change's support could bring back. Forks stay decided: all dependencies of the change are accepted, so
//!    it supports only branches that won.
//!
//! The simulator compares the group with `compute_acceptance` after every step, so a mistake here is found.

use super::shard_state::ShardState;
use crate::id::{ChainId, ChangeId};
use crate::record::Membership;
use crate::shard::validate::ValidatedChange;

/// True if a change counts by itself: its grant is live, or the change is at or below the frontiers of all
/// revokes that ended the grant, or of an effective Admit. The change is the next of its chain, and its
/// dependencies are accepted.
pub(super) fn is_anchor(
    members: &Membership,
    state: &ShardState,
    validated: &ValidatedChange,
    chain_id: &ChainId,
) -> bool {
    let (delta, id) = (validated.delta(), validated.id());
    let is_below = |frontier: Option<&(u64, ChangeId)>| match frontier {
        // If the frontier's change were here, everything below it would be here too.
        Some((seq, frontier_id)) => *frontier_id == id || (delta.seq <= *seq && !state.contains(frontier_id)),
        None => false,
    };
    let revocations = members.revocations(&delta.grant);
    let is_live = members.grant(&delta.grant).is_some();
    (is_live && revocations.iter().all(|revocation| is_below(revocation.frontier.get(chain_id))))
        || members.admitted_frontiers().any(|(_, admitted)| is_below(admitted.get(chain_id)))
}

/// True if an anchor changes nothing but itself: no frontier names it, its chain has no other branch, and no
/// chain has so many unaccepted branches that the support of this change could bring one back.
pub(super) fn can_skip_reacceptance(
    members: &Membership,
    state: &ShardState,
    validated: &ValidatedChange,
    chain_id: &ChainId,
) -> bool {
    let unaccepted = &state.unaccepted;
    let is_alone =
        unaccepted.is_empty() || !(unaccepted.contains_chain(chain_id) || unaccepted.has_too_many_branches());
    is_alone && !members.frontier_changes().contains(&validated.id())
}
