//! What was acknowledged and is not lost: shown, or aside for a reason, or with whoever alone ever had it.

use larder_core::group::{Group, Why};
use larder_core::id::{ChangeId, GroupId};

use super::check::{Broken, Invariant, Shown, members};
use super::world::World;

/// Every acknowledged change is in the history. Where members may be removed and chains fork, it may be aside, for a
/// reason; and what its author alone has is there.
pub(super) fn nothing_lost(world: &World, group: GroupId, shown: Option<&Shown>) -> Result<(), Broken> {
    let is_shown = |change: &ChangeId| shown.is_some_and(|shown| shown.history.contains(change));
    let lost = world
        .acknowledged
        .iter()
        .filter(|(change, by)| by.group == group && !is_shown(change) && !world.nodes[by.node].liar)
        .filter(|(change, by)| !world.churns || !is_elsewhere(world, group, change, by.node))
        .map(|(change, by)| {
            format!("{} of node {} ({})", change.short(), by.node, places(world, group, change))
        });
    let lost: Vec<_> = lost.collect();
    if lost.is_empty() {
        return Ok(());
    }
    Err((Invariant::Durable, format!("acknowledged changes are lost: {}", lost.join(", "))))
}

/// True if a change is where it may be: of a member whose grant is live, aside with all members since a chain forked;
/// of others, with anybody who has it, be it their author alone.
fn is_elsewhere(world: &World, group: GroupId, change: &ChangeId, author: usize) -> bool {
    let place = |group: &Group| {
        let desired = group.desired()?;
        let epoch = desired.root().epoch();
        let aside = group.aside(&epoch).and_then(|aside| aside.get(change));
        let live = aside.is_some_and(|beside| group.members().is_live(&beside.delta().grant));
        let forked = aside.is_some_and(|beside| {
            matches!(group.why(&epoch, beside), Why::Fork(_) | Why::BuiltOn(_) | Why::Crowded)
        });
        let here = desired.graph().contains(change);
        Some(here || aside.is_some_and(|_| !live || forked))
    };
    let members = members(world, group);
    let by_members: Vec<&Group> = members.iter().filter_map(|node| held_by(world, *node, group)).collect();
    if by_members.iter().any(|group| place(group) == Some(true)) {
        return true;
    }
    // Whoever lost a grant may have written under it what no member ever heard of; and where the author's own disk was
    // lost, or that of a member to whom it was told by one that left since, those that still have it may be members no
    // more. Nor does an author tell those of whom it alone knows that they are members no more.
    let key = world.nodes[author].secret.node();
    let lost_disk = |node: &usize| world.nodes[*node].damaged || world.nodes[*node].copied;
    let ended =
        |group: &Group| !group.members().contains(&key) || group.members().ended_of(&key).next().is_some();
    let unheard = held_by(world, author, group).is_some_and(|of| {
        members.iter().all(|node| !of.members().contains(&world.nodes[*node].secret.node()))
    });
    let outside = unheard
        || lost_disk(&author)
        || members.iter().any(lost_disk)
        || by_members.iter().all(|group| ended(group));
    let mut all = (0..world.nodes.len()).filter_map(|node| held_by(world, node, group));
    outside && all.any(|group| place(group) == Some(true))
}

fn held_by(world: &World, node: usize, group: GroupId) -> Option<&Group> {
    Some(&world.nodes[node].machine.as_ref()?.group(&group)?.group)
}

/// Where a change is, for the report of a run that failed.
fn places(world: &World, group: GroupId, change: &ChangeId) -> String {
    let mut out = Vec::new();
    for node in 0..world.nodes.len() {
        let Some(of) = held_by(world, node, group) else { continue };
        let Some(desired) = of.desired() else { continue };
        let epoch = desired.root().epoch();
        let key = world.nodes[node].secret.node();
        let standing = larder_core::machine::Standing::of(of.members(), &key).word();
        let aside = of.aside(&epoch).and_then(|aside| aside.get(change));
        let place = match (desired.graph().contains(change), aside) {
            (true, _) => "shown".to_owned(),
            (_, Some(beside)) => format!("aside, kept {}, {:?}", beside.kept, of.why(&epoch, beside)),
            _ => "nowhere".to_owned(),
        };
        out.push(format!("node {node}, {standing}: {place}"));
    }
    out.join("; ")
}
