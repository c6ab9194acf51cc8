//! Writes the observed state of this node's host to its observed shard: only transitions, debounced into few
//! changes.

use std::collections::BTreeMap;

use super::effect::NodeEvent;
use super::group_state::{GroupContext, GroupState};
use crate::group::{ChangeNote, WriteError};
use crate::id::RecordId;
use crate::resource::ResourceName;
use crate::resource::observed::ObservedState;
use crate::shard::root::ShardName;
use crate::value::Value;

/// Writes the pending observations of a group as one change.
pub(super) fn write_observations(state: &mut GroupState, ctx: &mut GroupContext<'_>) {
    let observations = state.observations.take(ctx.now.mono);
    let puts = changed_observations(state.group.observed_shard_of(&ctx.own_id), observations);
    let note = ChangeNote { time: ctx.now.unix_secs, ..ChangeNote::default() };
    // The grant in the name is a placeholder: the group picks this node's oldest grant that may observe.
    let shard = ShardName::Observed(RecordId::ZERO);
    match state.group.write(ctx.secret, shard, puts, &note, ctx.rng.next_incarnation()) {
        Ok(written) => state.on_written(ctx, written),
        // A reader writes no observed state.
        Err(WriteError::Role(_) | WriteError::NotMember) => {}
        Err(error) => {
            ctx.emit_event(NodeEvent::ShardIsolated { group: ctx.group, reason: error.to_string() });
        }
    }
}

/// The observations that differ from those written before, apart from their time.
fn changed_observations(
    shard: Option<&crate::shard::Shard>,
    observations: BTreeMap<ResourceName, ObservedState>,
) -> BTreeMap<String, Value> {
    let written_before =
        |key: &str| shard.and_then(|shard| shard.state().winner(key)).and_then(ObservedState::decode);
    let mut puts = BTreeMap::new();
    for (resource, observed) in observations {
        let key = resource.to_string();
        let is_unchanged = written_before(&key)
            .is_some_and(|before| ObservedState { since: observed.since, ..before } == observed);
        if !is_unchanged {
            puts.insert(key, observed.encode());
        }
    }
    puts
}
