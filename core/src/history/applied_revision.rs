//! What a machine runs of a resource, as far as what it said of it tells.
//!
//! A machine says which change of a resource it saw last and how it stands since. What it applied last it said the last
//! time that it stood as wanted; where it does not now, that word is looked for in the history of its observed shard.

use std::collections::BTreeSet;

use super::past_state::{PastState, heads_at_time};
use crate::id::ChangeId;
use crate::limits;
use crate::resource::ResourceName;
use crate::resource::observed::{ObservedState, ResourceState};
use crate::resource::view::ResourceView;
use crate::shard::Shard;
use crate::shard::graph::Graph;

/// A point of `desired`, as near as it is known to what a machine saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedPoint {
    /// The heads.
    pub heads: Vec<ChangeId>,
    /// True if the resource is there just what the machine saw. Otherwise it is what the newest change that the machine
    /// named makes it, and the machine knew of more.
    pub is_exact: bool,
}

/// The last that the machine of an observed shard said when it had applied the resource; `None` if it never did, or not
/// within its last [`limits::MAX_OBSERVED_LOOKBACK_CHANGES`] words on it.
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

/// Where in `desired` the resource was what a machine saw when it said `told`; `None` if the change that it named is not
/// here.
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
    // What else it knew of the resource by then it does not say, but what that came to can be told apart.
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
