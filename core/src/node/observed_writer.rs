//! Writes the observed state of this node's host to its observed shard: only transitions, debounced into few changes.

use std::collections::BTreeMap;

use super::Node;
use super::effect::{Effect, NodeEvent};
use crate::group::ChangeNote;
use crate::id::GroupId;
use crate::limits;
use crate::resource::ResourceName;
use crate::resource::observed::ObservedState;
use crate::shard::root::ShardName;
use crate::value::Value;

impl Node {
    pub(super) fn queue_observations(
        &mut self,
        group: GroupId,
        observations: Vec<(ResourceName, ObservedState)>,
    ) {
        if self.outbox.has_failed() {
            return;
        }
        let now = self.now.mono;
        let Some(state) = self.groups.get_mut(&group) else { return };
        state.observations.unwritten.extend(observations);
        if state.observations.unwritten.is_empty() {
            return;
        }
        let earliest =
            state.observations.last_write.map_or(now, |at| at.plus_ms(limits::OBSERVED_MIN_INTERVAL_MS));
        let due = now.plus_ms(limits::OBSERVED_DEBOUNCE_MS).max(earliest);
        state.observations.write_due.get_or_insert(due);
    }

    pub(super) fn write_due_observations(&mut self) {
        if self.outbox.has_failed() {
            return;
        }
        let now = self.now.mono;
        for group in self.groups.keys().copied().collect::<Vec<_>>() {
            let new_incarnation = self.rng.next_incarnation();
            let Some((state, mut ctx)) = self.group_with_context(group) else { continue };
            if state.refetching || state.observations.write_due.is_none_or(|due| due > now) {
                continue;
            }
            state.observations.write_due = None;
            state.observations.last_write = Some(now);
            let observations = std::mem::take(&mut state.observations.unwritten);
            let puts = changed_observations(state.group.observed_shard_of(&ctx.own_id), observations);
            let note = ChangeNote { time: ctx.now.unix_secs, ..ChangeNote::default() };
            // The grant in the name is a placeholder: the group picks this node's oldest grant that may observe.
            match state.group.write(
                ctx.secret,
                ShardName::Observed(crate::id::RecordId::ZERO),
                puts,
                &note,
                new_incarnation,
            ) {
                Ok(written) => state.on_written(&mut ctx, written),
                // A reader writes no observed state.
                Err(crate::group::WriteError::Role(_) | crate::group::WriteError::NotMember) => {}
                Err(error) => ctx
                    .outbox
                    .push(Effect::Event(NodeEvent::ShardIsolated { group, reason: error.to_string() })),
            }
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
