//! Claims: two resources that want the same path on the same machine. Neither is wrong by itself, so no field of them is in
//! conflict; but a machine can do only one thing there, and does nothing until people say which.

use std::collections::{BTreeMap, BTreeSet};

use super::conflict::{Conflict, ConflictKind, ConflictSide, conflicts, side_tag};
use super::literal::Literal;
use super::name::ResourceName;
use super::plan::{Action, Target, is_selected, path_for_node, possible_paths};
use super::view::{NodeLabels, ResourceView, resources};
use crate::id::{Digest, NodeId, hash16};
use crate::record::Membership;
use crate::shard::Shard;
use crate::value::Value;

/// Where a path leads, for comparing: `a//b/./c` is `a/b/c`. What only a file system can tell, as links, is left to it.
pub(super) fn normalize_path(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.collect::<Vec<_>>().join("/"))
}

/// Lets no two of a machine's targets be applied to one path: all that want it are left as they are.
pub(super) fn keep_conflicting_paths(targets: &mut [Target]) {
    let mut targets_by_path: BTreeMap<String, usize> = BTreeMap::new();
    let path_of = |target: &Target| match &target.action {
        Action::Apply { fields, .. } => super::plan::text_field(fields, "path").map(normalize_path),
        _ => None,
    };
    for path in targets.iter().filter_map(path_of) {
        *targets_by_path.entry(path).or_default() += 1;
    }
    for target in targets {
        if path_of(target).is_some_and(|path| targets_by_path.get(&path).is_some_and(|count| *count > 1)) {
            target.action = Action::Keep { conflicted: vec!["path".to_owned()] };
        }
    }
}

/// All that people have to settle: the conflicts in each resource, then the claims of several.
pub fn all_conflicts(desired: &Shard, members: &Membership) -> Vec<Conflict> {
    let mut all = conflicts(desired);
    all.extend(path_conflicts(desired, members));
    all
}

/// Every path that several resources want on some member, in order of the first of them. The sides are the resources.
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

/// The resources that name a path, be it for some nodes alone, that another one names too. Mostly there are none, and no
/// node has to be looked at.
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

/// Which resources want which path on a node, each with the field that says so.
fn paths_wanted_on(
    views: &[ResourceView<'_>],
    desired: &Shard,
    members: &Membership,
    node: &NodeId,
) -> BTreeMap<String, Vec<(ResourceName, String)>> {
    let labels = NodeLabels::read(desired.state(), members, node);
    let node = super::plan::LabelledNode { id: *node, labels: &labels };
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

#[cfg(test)]
mod tests {
    use super::normalize_path;

    #[test]
    fn equivalent_paths_normalize_to_the_same_text() {
        for (path, normalized) in
            [("a//b/./c", "a/b/c"), ("/etc//x/", "/etc/x"), ("./a", "a"), ("a/../b", "a/../b")]
        {
            assert_eq!(normalize_path(path), normalized);
        }
        assert_ne!(normalize_path("/a"), normalize_path("a"));
    }
}
