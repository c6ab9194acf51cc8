//! The revision of a resource that a node applied, found from the states that the node reported.
//!
//! A node reports which change of a resource it saw last, and the resource's state. If its present state is
//! not `applied`, the last applied revision is searched in the history of its observed shard.

use std::collections::BTreeSet;

use super::past_state::{PastState, heads_at_time};
use crate::id::ChangeId;
use crate::limits;
use crate::resource::ResourceName;
use crate::resource::observed::{ObservedState, ResourceState};
use crate::resource::view::ResourceView;
use crate::shard::Shard;
use crate::shard::graph::Graph;

/// The point of `desired` that a node saw when it reported a state, as exactly as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedPoint {
    /// The heads of the point.
    pub heads: Vec<ChangeId>,
    /// True if the resource has the reported revision at this point. Otherwise the point is the newest change
    /// that the node named, and the node knew of more.
    pub is_exact: bool,
}

/// The newest state `applied` that the node of an observed shard reported for the resource. `None` if it
/// never reported one, or not within the newest [`limits::MAX_OBSERVED_LOOKBACK_CHANGES`] changes about it.
pub fn last_applied_state(observed: &Shard, resource: &ResourceName) -> Option<ObservedState> {
    let (graph, key) = (observed.graph(), resource.to_string());
    let mut visible = observed.state().get(&key).last().cloned();
    for _ in 0..limits::MAX_OBSERVED_LOOKBACK_CHANGES {
        let candidate = visible?;
        if let Some(state) =
            ObservedState::decode(&candidate.value).filter(|word| word.state == ResourceState::Applied)
        {
            return Some(state);
        }
        let deps: Vec<ChangeId> = graph.deps(graph.entry_of_op(&candidate.op)?).map(|dep| dep.id).collect();
        visible = PastState::at(observed, &deps).visible(&key).pop();
    }
    None
}

/// The point of `desired` that a node saw when it reported `observed`. `None` if this node does not hold the
/// change that it names.
pub fn find_observed_point(
    desired: &Shard,
    resource: &ResourceName,
    observed: &ObservedState,
) -> Option<ObservedPoint> {
    let matches = if observed.change.is_empty() {
        Vec::new()
    } else {
        desired.graph().ids_with_prefix(&observed.change)
    };
    let [named_change] = matches.as_slice() else { return None };
    // The report does not name the other changes that the node knew, but the revision tells which of these
    // candidates is right.
    let by_time = heads_at_time(desired, observed.since);
    let both: BTreeSet<ChangeId> = by_time.iter().copied().chain([*named_change]).collect();
    let points = [vec![*named_change], heads_of_all(desired.graph(), &both), by_time];
    let matches_revision = |heads: &Vec<ChangeId>| revision_at(desired, resource, heads) == observed.revision;
    let exact =
        points.into_iter().find(matches_revision).map(|heads| ObservedPoint { heads, is_exact: true });
    Some(exact.unwrap_or_else(|| ObservedPoint { heads: vec![*named_change], is_exact: false }))
}

fn heads_of_all(graph: &Graph, all: &BTreeSet<ChangeId>) -> Vec<ChangeId> {
    graph.heads_of_version(&graph.version_of(all))
}

fn revision_at(desired: &Shard, resource: &ResourceName, heads: &[ChangeId]) -> String {
    let keys = desired.state().range_with_prefix(&resource.key_prefix());
    let state = PastState::at(desired, heads).read_keys(keys);
    ResourceView::read(&state, resource).map(|view| view.revision()).unwrap_or_default()
}
