//! Claims: two resources that want the same path on the same machine. Neither is wrong by itself, so no field of them is in
//! conflict; but a machine can do only one thing there, and does nothing until people say which.

use std::collections::{BTreeMap, BTreeSet};

use super::conflict::{Conflict, ConflictKind, Side, conflicts, tag};
use super::literal::Literal;
use super::name::ResourceName;
use super::target::{Intent, Target, is_selected, path_on, paths};
use super::view::{NodeLabels, ResourceView, resources};
use crate::id::{Digest, NodeId, hash16};
use crate::record::Members;
use crate::shard::Shard;
use crate::value::Value;

/// Where a path leads, for comparing: `a//b/./c` is `a/b/c`. What only a file system can tell, as links, is left to it.
pub(super) fn spot(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.collect::<Vec<_>>().join("/"))
}

/// Lets no two of a machine's targets be applied to one path: all that want it are left as they are.
pub(super) fn hold_claimed(targets: &mut [Target]) {
    let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
    let path_of = |target: &Target| match &target.intent {
        Intent::Apply { fields, .. } => super::target::text(fields, "path").map(spot),
        _ => None,
    };
    for path in targets.iter().filter_map(path_of) {
        *wanted.entry(path).or_default() += 1;
    }
    for target in targets {
        if path_of(target).is_some_and(|path| wanted.get(&path).is_some_and(|many| *many > 1)) {
            target.intent = Intent::Keep { held: vec!["path".to_owned()] };
        }
    }
}

/// All that people have to settle: the conflicts in each resource, then the claims of several.
pub fn unsettled(desired: &Shard, members: &Members) -> Vec<Conflict> {
    let mut all = conflicts(desired);
    all.extend(claims(desired, members));
    all
}

/// Every path that several resources want on some member, in order of the first of them. The sides are the resources.
pub fn claims(desired: &Shard, members: &Members) -> Vec<Conflict> {
    let views = rivals(desired);
    let mut claimed: BTreeSet<Vec<(ResourceName, String)>> = BTreeSet::new();
    for node in members.keys() {
        for (_, names) in wanted_by(&views, desired, members, &node) {
            if names.len() > 1 {
                claimed.insert(names);
            }
        }
    }
    claimed.into_iter().filter_map(|names| conflict(desired, &names)).collect()
}

/// The resources that name a path, be it for some nodes alone, that another one names too. Mostly there are none, and no
/// node has to be looked at.
fn rivals(desired: &Shard) -> Vec<ResourceView<'_>> {
    let views = resources(desired.state());
    let views = views.into_iter().filter(|view| view.name.is_managed() && !view.is_removed());
    let views: Vec<(ResourceView<'_>, BTreeSet<String>)> = views
        .map(|view| {
            let paths = paths(&view);
            (view, paths)
        })
        .collect();
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    for path in views.iter().flat_map(|(_, paths)| paths) {
        *named.entry(path).or_default() += 1;
    }
    let shared: BTreeSet<String> =
        named.into_iter().filter(|(_, many)| *many > 1).map(|(path, _)| path.to_owned()).collect();
    views.into_iter().filter(|(_, paths)| !paths.is_disjoint(&shared)).map(|(view, _)| view).collect()
}

/// Which resources want which path on a node, each with the field that says so.
fn wanted_by(
    views: &[ResourceView<'_>],
    desired: &Shard,
    members: &Members,
    node: &NodeId,
) -> BTreeMap<String, Vec<(ResourceName, String)>> {
    let labels = NodeLabels::read(desired.state(), members, node);
    let node = super::target::Node { id: *node, labels: &labels };
    let mut wanted: BTreeMap<String, Vec<(ResourceName, String)>> = BTreeMap::new();
    for view in views.iter().filter(|view| is_selected(view, &node)) {
        if let Some((field, path)) = path_on(view, &node) {
            wanted.entry(spot(&path)).or_default().push((view.name.clone(), field));
        }
    }
    wanted
}

fn conflict(desired: &Shard, names: &[(ResourceName, String)]) -> Option<Conflict> {
    let mut bytes = Vec::new();
    let mut sides = Vec::new();
    for (name, field) in names {
        let op = desired.state().get(&name.key(field)).last()?.op;
        let change = desired.graph().writer(&op)?.id;
        bytes.extend(name.key(field).into_bytes());
        bytes.extend(change.0);
        let value = Some(Literal::Scalar(Value::from(name.to_string().as_str())));
        sides.push(Side { tag: String::new(), value, change, winner: false });
    }
    sides.sort_by_key(|side| side.change);
    sides.iter_mut().enumerate().for_each(|(nth, side)| side.tag = tag(nth));
    let (resource, _) = names.first()?;
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
    use super::spot;

    #[test]
    fn one_place_has_one_name() {
        for (path, same) in
            [("a//b/./c", "a/b/c"), ("/etc//x/", "/etc/x"), ("./a", "a"), ("a/../b", "a/../b")]
        {
            assert_eq!(spot(path), same);
        }
        assert_ne!(spot("/a"), spot("a"));
    }
}
