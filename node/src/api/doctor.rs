//! What is wrong with this node, and what to do about it.

use std::collections::BTreeSet;

use axum::extract::State;
use larder_core::id::NodeId;
use larder_core::machine::{Machine, Membership, NodeState};
use larder_core::resource::claim::unsettled;

use super::{Api, Reply, Shown, warnings};
use crate::failure::REFETCHING;
use crate::render::count;
use crate::view::{Check, Doctor};

pub(super) async fn doctor(State(api): State<Api>) -> Reply<Doctor> {
    Ok(Shown(Doctor { checks: api.handle.look(|machine| examine(machine)).await? }))
}

/// A list of findings under way.
struct Findings {
    group: Option<String>,
    checks: Vec<Check>,
}

impl Findings {
    fn add(&mut self, about: &str, state: &str, text: impl Into<String>, hint: Option<&str>) {
        self.checks.push(Check {
            group: self.group.clone(),
            about: about.to_owned(),
            state: state.to_owned(),
            text: text.into(),
            hint: hint.map(str::to_owned),
        });
    }
}

fn examine(machine: &Machine) -> Vec<Check> {
    let mut found = Findings { group: None, checks: Vec::new() };
    match machine.storage_failure() {
        None => found.add("store", "good", "takes writes", None),
        Some(why) => found.add(
            "store",
            "bad",
            format!("takes no writes: {why}"),
            Some("free or repair the disk; the daemon goes on by itself"),
        ),
    }
    network(machine, &mut found);
    for (what, bound) in machine.bounds().iter() {
        let text = format!("{what}: there were {} at once, and {} more were put off", bound.most, bound.hits);
        found.add("bound", "care", text, Some("with log = \"debug\" the daemon's log says who does this"));
    }
    if machine.groups().count() == 0 {
        let hint = "found one with `larder init NAME`, or join one with `larder join`";
        found.add("group", "care", "this node is in no group", Some(hint));
    }
    for of in machine.groups() {
        found.group = Some(of.group.name().to_owned());
        group(machine, of, &mut found);
    }
    found.checks
}

fn network(machine: &Machine, found: &mut Findings) {
    let addresses = machine.myself().addresses;
    if addresses.is_empty() {
        let hint = "is the machine on a network? See `larder logs`, or the daemon's output";
        found.add("network", "bad", "this node listens nowhere", Some(hint));
    } else {
        found.add("network", "good", format!("listens on {}", addresses.join(" ")), None);
    }
    let others = |of: &Membership| machine.members(of).iter().any(|view| !view.is_self);
    let strangers = machine.strangers().into_iter().map(|view| view.id);
    let heard: BTreeSet<NodeId> = machine.groups().flat_map(|of| up(machine, of)).chain(strangers).collect();
    let heard = heard.len();
    if heard == 0 && (machine.groups().count() == 0 || machine.groups().any(others)) {
        let hint = "where multicast (UDP port 5353) is blocked, start the daemon with --peer ADDRESS of another node";
        found.add("neighbours", "care", "no other node is heard on this network", Some(hint));
    } else {
        found.add("neighbours", "good", format!("{} heard", count(heard, "other node")), None);
    }
}

/// The other members that can be heard.
fn up(machine: &Machine, of: &Membership) -> Vec<NodeId> {
    let members = machine.members(of).into_iter();
    members.filter(|view| !view.is_self && view.state == NodeState::Up).map(|view| view.id).collect()
}

fn group(machine: &Machine, of: &Membership, found: &mut Findings) {
    match warnings::outside(machine, of) {
        None => {
            let role = of.group.members().role(&machine.me());
            let role = role.map(|role| role.to_string()).unwrap_or_default();
            found.add("membership", "good", format!("member, as {role}"), None);
        }
        Some(text) => found.add("membership", "care", text, Some("come back with `larder join CODE`")),
    }
    document(machine, of, found);
    if of.twin {
        // To be expected of what was put back; the other side of a copy has no such excuse.
        let state = if of.reborn { "care" } else { "bad" };
        found.add("copies", state, warnings::TWIN, Some(warnings::TWIN_HINT));
    }
    if of.reborn {
        found.add("copies", "care", warnings::REBORN, Some(warnings::REBORN_HINT));
    }
    for text in warnings::forked(of) {
        found.add("copies", "care", text, Some("stop the copy; see `larder quarantine list`"));
    }
    let aside = warnings::wishes_aside(of);
    if aside > 0 {
        let text = format!("{} kept aside, without effect", count(aside, "change"));
        found.add("quarantine", "care", text, Some("see `larder quarantine list`"));
    }
    if !of.group.members().unsupported().is_empty() {
        let text = "there are membership records that this version does not understand";
        found.add("version", "care", text, Some("upgrade this node"));
    }
}

fn document(machine: &Machine, of: &Membership, found: &mut Findings) {
    if of.refetching {
        found.add("copy", "bad", "this node's copy was damaged", Some(REFETCHING));
    }
    for epoch in of.group.isolated() {
        let what = of.group.shard_of(&epoch).and_then(|shard| shard.document().isolated().cloned());
        let text = what.map(|what| what.to_string()).unwrap_or_default();
        found.add("defect", "bad", text, Some("restart the daemon, and report this"));
    }
    if of.group.is_rebuilding() {
        found.add("document", "care", "is made anew without what it gave up; this takes seconds", None);
    }
    if of.paused && of.group.members().contains(&machine.me()) {
        found.add("sync", "care", "is paused", Some("go on with `larder sync resume`"));
    }
    let many = of.group.desired().map_or(0, |desired| unsettled(desired, of.group.members()).len());
    if many > 0 {
        found.add("conflicts", "care", count(many, "conflict"), Some("see `larder conflicts`"));
    }
}
