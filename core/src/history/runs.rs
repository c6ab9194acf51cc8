//! What a machine runs of a resource, as far as what it said of it tells.
//!
//! A machine says which change of a resource it saw last and how it stands since. What it applied last it said the last
//! time that it stood as wanted; where it does not now, that word is looked for in the history of its observed shard.

use std::collections::BTreeSet;

use super::past::{Past, heads_at_time};
use crate::id::ChangeId;
use crate::limits;
use crate::resource::ResourceName;
use crate::resource::observed::{Condition, Observed};
use crate::resource::view::ResourceView;
use crate::shard::Shard;
use crate::shard::graph::Graph;

/// A point of `desired`, as near as it is known to what a machine saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The heads.
    pub heads: Vec<ChangeId>,
    /// True if the resource is there just what the machine saw. Otherwise it is what the newest change that the machine
    /// named makes it, and the machine knew of more.
    pub exact: bool,
}

/// The last that the machine of an observed shard said when it had applied the resource; `None` if it never did, or not
/// within its last [`limits::OBSERVED_BACK`] words on it.
pub fn last_applied(observed: &Shard, resource: &ResourceName) -> Option<Observed> {
    let (graph, key) = (observed.graph(), resource.to_string());
    let mut told = observed.state().get(&key).last().cloned();
    for _ in 0..limits::OBSERVED_BACK {
        let word = told?;
        if let Some(word) = Observed::decode(&word.value).filter(|word| word.condition == Condition::Applied)
        {
            return Some(word);
        }
        let deps: Vec<ChangeId> = graph.deps(graph.writer(&word.op)?).map(|dep| dep.id).collect();
        told = Past::at(observed, &deps).visible(&key).pop();
    }
    None
}

/// Where in `desired` the resource was what a machine saw when it said `told`; `None` if the change that it named is not
/// here.
pub fn seen_at(desired: &Shard, resource: &ResourceName, told: &Observed) -> Option<Seen> {
    let found = if told.change.is_empty() { Vec::new() } else { desired.graph().with_prefix(&told.change) };
    let [named] = found.as_slice() else { return None };
    // What else it knew of the resource by then it does not say, but what that came to can be told apart.
    let by_time = heads_at_time(desired, told.since);
    let both: BTreeSet<ChangeId> = by_time.iter().copied().chain([*named]).collect();
    let points = [vec![*named], heads(desired.graph(), &both), by_time];
    let fits = |heads: &Vec<ChangeId>| revision(desired, resource, heads) == told.revision;
    let exact = points.into_iter().find(fits).map(|heads| Seen { heads, exact: true });
    Some(exact.unwrap_or_else(|| Seen { heads: vec![*named], exact: false }))
}

fn heads(graph: &Graph, all: &BTreeSet<ChangeId>) -> Vec<ChangeId> {
    graph.heads_of(&graph.clock(all))
}

fn revision(desired: &Shard, resource: &ResourceName, heads: &[ChangeId]) -> String {
    let keys = desired.state().range_with_prefix(&resource.prefix());
    let state = Past::at(desired, heads).gather(keys);
    ResourceView::read(&state, resource).map(|view| view.revision()).unwrap_or_default()
}
