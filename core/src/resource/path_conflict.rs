//! Path conflicts (claims): two resources with the same path on one node. Their fields are not in conflict,
//! but a node can apply only one of them, so it applies neither until an operator decides.

use std::collections::{BTreeMap, BTreeSet};

use super::assignment::{LabelledNode, is_selected, normalize_path, path_for_node, possible_paths};
use super::conflict::{Conflict, ConflictKind, ConflictSide, conflicts, side_tag};
use super::literal::Literal;
use super::name::ResourceName;
use super::view::{NodeLabels, ResourceView, resources};
use crate::id::{Digest, NodeId, hash16};
use crate::record::Membership;
use crate::shard::Shard;
use crate::value::Value;

/// All conflicts: those within single resources, then the path conflicts.
pub fn all_conflicts(desired: &Shard, members: &Membership) -> Vec<Conflict> {
    let mut all = conflicts(desired);
    all.extend(path_conflicts(desired, members));
    all
}

/// Every path that several resources have on some member, in order of the first resource. The sides are the
/// resources.
pub fn path_conflicts(desired: &Shard, members: &Membership) -> Vec<Conflict> {
    let candidates = views_sharing_a_path(desired);
    let mut conflicting: BTreeSet<Vec<(ResourceName, String)>> = BTreeSet::new();
    for node in members.nodes() {
        for (_, claimants) in paths_wanted_on(&candidates, desired, members, &node) {
            if claimants.len() > 1 {
                conflicting.insert(claimants);
            }
        }
    }
    conflicting.into_iter().filter_map(|claimants| build_path_conflict(desired, &claimants)).collect()
}

/// The resources with a path that another resource also has, on any node. Usually there are none, and no node
/// has to be examined.
fn views_sharing_a_path(desired: &Shard) -> Vec<ResourceView<'_>> {
    let views = resources(desired.state());
    let views = views.into_iter().filter(|view| view.name.is_managed() && !view.is_removed());
    let views: Vec<(ResourceView<'_>, BTreeSet<String>)> = views
        .map(|view| {
            let paths = possible_paths(&view);
            (view, paths)
        })
        .collect();
    let mut resources_by_path: BTreeMap<&str, usize> = BTreeMap::new();
    for path in views.iter().flat_map(|(_, paths)| paths) {
        *resources_by_path.entry(path).or_default() += 1;
    }
    let shared: BTreeSet<String> = resources_by_path
        .into_iter()
        .filter(|(_, many)| *many > 1)
        .map(|(path, _)| path.to_owned())
        .collect();
    views.into_iter().filter(|(_, paths)| !paths.is_disjoint(&shared)).map(|(view, _)| view).collect()
}

/// The resources that have each path on the node, with the field that sets it.
fn paths_wanted_on(
    views: &[ResourceView<'_>],
    desired: &Shard,
    members: &Membership,
    node: &NodeId,
) -> BTreeMap<String, Vec<(ResourceName, String)>> {
    let labels = NodeLabels::read(desired.state(), members, node);
    let node = LabelledNode { id: *node, labels: &labels };
    let mut claimants_by_path: BTreeMap<String, Vec<(ResourceName, String)>> = BTreeMap::new();
    for view in views.iter().filter(|view| is_selected(view, &node)) {
        if let Some((field, path)) = path_for_node(view, &node) {
            claimants_by_path.entry(normalize_path(&path)).or_default().push((view.name.clone(), field));
        }
    }
    claimants_by_path
}

fn build_path_conflict(desired: &Shard, claimants: &[(ResourceName, String)]) -> Option<Conflict> {
    let mut bytes = Vec::new();
    let mut sides = Vec::new();
    for (name, field) in claimants {
        let op = desired.state().get(&name.field_key(field)).last()?.op;
        let change = desired.graph().entry_of_op(&op)?.id;
        bytes.extend(name.field_key(field).into_bytes());
        bytes.extend(change.0);
        let value = Some(Literal::Scalar(Value::from(name.to_string().as_str())));
        sides.push(ConflictSide { tag: String::new(), value, change, is_winner: false });
    }
    sides.sort_by_key(|side| side.change);
    sides.iter_mut().enumerate().for_each(|(nth, side)| side.tag = side_tag(nth));
    let (resource, _) = claimants.first()?;
    Some(Conflict {
        id: Digest(hash16("larder 1 claim", &[&bytes])),
        kind: ConflictKind::Claim,
        resource: resource.clone(),
        field: "path".to_owned(),
        base: None,
        sides,
    })
}
