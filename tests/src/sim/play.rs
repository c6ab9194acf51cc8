//! One run from plan to verdict.
//!
//! Phases: gather (groups are founded and joined) → trouble (the steps of the plan, under its faults) → heal (a connected
//! core, within a bound all must be equal) → quiet (nothing but signs of life) → cold restart (equal from disks alone).

use std::collections::{BTreeMap, BTreeSet};

use larder_core::id::GroupId;
use larder_core::machine::{Answer, Caller, Membership, Request, Standing};
use larder_core::record::Role;
use larder_core::resource::conflict::{ConflictKind, conflicts};
use larder_core::wire::code::Code;

use super::check::{Broken, Invariant, converged, describe, members, shown, verify};
use super::marks::Marks;
use super::plan::{Act, Part, Plan, SECOND};
use super::trace::Trace;
use super::world::World;

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Hash over every input and effect.
    pub trace: [u8; 16],
    /// Events handled.
    pub events: u64,
    /// Writes acknowledged.
    pub acknowledged: usize,
    /// Conflicts left at the end.
    pub conflicts: usize,
    /// Virtual microseconds from the heal to equality.
    pub healed: u64,
    /// Rare situations that were reached.
    pub marks: Marks,
    /// Hash over what every group shows in the end, without ids and times.
    pub values: [u8; 16],
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What did not hold.
    pub invariant: Invariant,
    /// How that showed.
    pub what: String,
    /// The last things that happened, if they were kept.
    pub last: Vec<String>,
    /// After how many steps of the plan.
    pub steps: usize,
}

/// After a heal, everything must be equal within this.
const HEAL: u64 = 60 * SECOND;
/// From then on, what still has to be written down is, within this,
const SETTLE: u64 = 10 * SECOND;
/// and after it nothing is said for so long but that one lives.
const QUIET: u64 = 20 * SECOND;
/// How long a rest is.
const REST: u64 = 2 * 3600 * SECOND;
/// How long the gathering may take.
const GATHER: u64 = 120 * SECOND;
/// The longest that anything stays down by itself.
const DOWN: u64 = 11 * SECOND;

pub(super) struct Play<'a> {
    pub(super) plan: &'a Plan,
    pub(super) world: World,
    pub(super) groups: Vec<GroupId>,
    /// A code for every role of every group, by index of the group.
    codes: BTreeMap<(usize, u8), Code>,
    step: usize,
    pub(super) settled: BTreeMap<larder_core::id::Digest, usize>,
    cut_since: Option<u64>,
}

/// Plays a plan.
pub fn play(plan: &Plan) -> Result<Outcome, Failure> {
    run(plan, Trace::default())
}

/// Plays a plan and keeps its last events for the report; `loud` prints them all.
pub fn play_telling(plan: &Plan, loud: bool) -> Result<Outcome, Failure> {
    run(plan, Trace::telling(loud))
}

fn run(plan: &Plan, trace: Trace) -> Result<Outcome, Failure> {
    let mut play = Play {
        plan,
        world: World::new(plan, trace),
        groups: Vec::new(),
        codes: BTreeMap::new(),
        step: 0,
        settled: BTreeMap::new(),
        cut_since: None,
    };
    play.whole().map_err(|(invariant, what)| Failure {
        invariant,
        what,
        last: play.world.trace.lines(),
        steps: play.step,
    })
}

impl Play<'_> {
    fn whole(&mut self) -> Result<Outcome, Broken> {
        self.gather()?;
        for (nth, step) in self.plan.steps.iter().enumerate() {
            self.step = nth + 1;
            let until = self.world.now + step.after;
            self.world.run(until, |_| false);
            self.sound()?;
            self.act(step.node % self.plan.nodes, &step.act);
            self.look();
            self.sound()?;
        }
        let healed = self.heal()?;
        self.quiet()?;
        self.restart()?;
        Ok(self.outcome(healed))
    }

    /// The first thing that did not hold, if any.
    fn sound(&mut self) -> Result<(), Broken> {
        match self.world.violations.first() {
            Some(broken) => Err(broken.clone()),
            None => Ok(()),
        }
    }

    fn wait(&mut self, caller: Caller, what: &str) -> Result<Answer, Broken> {
        let until = self.world.now + GATHER;
        self.world.run(until, |world| world.answers.contains_key(&caller));
        self.sound()?;
        match self.world.answers.remove(&caller) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err((Invariant::Sound, format!("{what}: {error}"))),
            None => Err((Invariant::Sound, format!("{what}: no answer"))),
        }
    }

    /// Groups are founded, and joined by code, without trouble but what the plan's faults make.
    fn gather(&mut self) -> Result<(), Broken> {
        let wrong = |what: &str| (Invariant::Sound, format!("another answer to {what}"));
        for (at, group) in self.plan.groups.iter().enumerate() {
            let founder = group.members[0].0;
            self.world.founding = Some(founder);
            let caller = self.world.ask(founder, Request::Found { name: format!("sim{at}") });
            self.world.founding = None;
            let Answer::Founded { group: id, .. } = self.wait(caller, "found")? else {
                return Err(wrong("found"));
            };
            self.groups.push(id);
            for part in [Part::Admin, Part::Operator, Part::Node, Part::Reader] {
                let role = role(part);
                let request = Request::Invite { group: id, role, uses: 32, expires: i64::MAX };
                let caller = self.world.ask(founder, request);
                let Answer::Invited(code) = self.wait(caller, "invite")? else { return Err(wrong("invite")) };
                self.codes.insert((at, role.byte()), code);
            }
            for (node, part) in &group.members[1..] {
                let Some(caller) = self.join(*node, at, *part) else { continue };
                let Answer::Joined(_) = self.wait(caller, "join")? else { return Err(wrong("join")) };
            }
        }
        Ok(())
    }

    /// Asks a node to join a group, unless it is in it.
    pub(super) fn join(&mut self, node: usize, at: usize, part: Part) -> Option<Caller> {
        let (at, group) = (at % self.groups.len(), self.groups[at % self.groups.len()]);
        let machine = self.world.nodes[node].machine.as_ref()?;
        let is_in = |of: &Membership| of.group.members().contains(&machine.me());
        if machine.group(&group).is_some_and(is_in) {
            return None;
        }
        let code = self.codes.get(&(at, role(part).byte()))?.clone();
        self.world.invited.entry(group).or_default().insert(node);
        let request = Request::Join { code, alias: format!("n{node}"), labels: Vec::new() };
        Some(self.world.ask(node, request))
    }

    /// Which directions a cut closes; all at once.
    pub(super) fn cut(&mut self, parts: impl Fn(usize, usize) -> bool) {
        self.cut_since.get_or_insert(self.world.now);
        for a in 0..self.plan.nodes {
            for b in 0..self.plan.nodes {
                if a != b && parts(a, b) {
                    self.world.cut(a, b);
                }
            }
        }
    }

    pub(super) fn mend(&mut self) {
        self.world.wire.cut.clear();
        if let Some(since) = self.cut_since.take()
            && self.world.now - since > 3600 * SECOND
        {
            self.world.marks.reach("cut-long");
        }
    }

    pub(super) fn rest(&mut self) {
        let until = self.world.now + REST;
        self.world.run(until, |_| false);
    }

    /// Notes rare situations that only looking at the nodes shows.
    fn look(&mut self) {
        let mut reached = BTreeSet::new();
        for group in &self.groups {
            let mut sizes = Vec::new();
            for node in &self.world.nodes {
                let Some(of) = node.machine.as_ref().and_then(|machine| machine.group(group)) else {
                    continue;
                };
                sizes.push((of.group.changes(), of.paused));
                if of.group.waiting() > 0 {
                    reached.insert("waited");
                }
                reached.extend(outside(of));
            }
            let most = sizes.iter().map(|(size, _)| *size).max().unwrap_or(0);
            if sizes.iter().any(|(size, paused)| *paused && size + 5 < most) {
                reached.insert("paused-behind");
            }
            if sizes.iter().any(|(size, _)| size + 1000 < most) {
                reached.insert("backlog");
            }
        }
        reached.into_iter().for_each(|name| self.world.marks.reach(name));
    }

    /// Faults end, and what is up is connected: all with all, or in a line. All must become equal.
    fn heal(&mut self) -> Result<u64, Broken> {
        self.mend();
        if self.world.faults.unruly() {
            // What a stream turned round while it kept no promise may still be on its way: new ones begin.
            self.world.end_links();
        }
        self.world.faults = self.world.faults.healed();
        self.world.nodes.iter_mut().for_each(|node| node.spare());
        let up = self.world.now + DOWN;
        self.world.run(up, |_| false);
        self.sound()?;
        for node in 0..self.plan.nodes {
            for group in self.groups.clone() {
                self.world.ask(node, Request::Pause { group, paused: false });
            }
        }
        self.join_again();
        let line = self.line();
        if line {
            self.cut_to_line();
        }
        let from = self.world.now;
        for group in self.groups.clone() {
            let until = from + HEAL;
            if !self.world.run(until, |world| converged(world, group)) {
                self.sound()?;
                let state = describe(&self.world, group);
                let words = format!("not equal within {} s after the heal\n{state}", HEAL / SECOND);
                return Err((Invariant::Converged, words));
            }
        }
        if line {
            self.world.marks.reach("line-healed");
        }
        Ok(self.world.now - from)
    }

    /// A node that was granted while it lost its store does not know; its operator asks once more.
    fn join_again(&mut self) {
        for (at, group) in self.groups.clone().into_iter().enumerate() {
            for node in 0..self.plan.nodes {
                let key = self.world.nodes[node].secret.node();
                let counts = |of: &super::world::Node| {
                    let of = of.machine.as_ref().and_then(|machine| machine.group(&group));
                    of.is_some_and(|of| of.group.members().contains(&key))
                };
                if self.world.nodes.iter().any(counts) && self.join(node, at, Part::Reader).is_some() {
                    self.world.marks.reach("joined-again");
                }
            }
        }
    }

    /// True if this run heals to a line and not to a mesh: in half of those in which all know each other.
    fn line(&self) -> bool {
        let joins = self.plan.steps.iter().any(|step| matches!(step.act, Act::Join { .. }));
        self.plan.seed.is_multiple_of(2) && !joins && !self.world.churns && self.plan.nodes > 2
    }

    /// Leaves only the ways between neighbours in the order in which each group was joined.
    fn cut_to_line(&mut self) {
        let groups = self.plan.groups.iter();
        let ways: BTreeSet<(usize, usize)> = groups
            .flat_map(|group| group.members.windows(2).map(|pair| (pair[0].0, pair[1].0)))
            .flat_map(|(a, b)| [(a, b), (b, a)])
            .collect();
        self.cut(|a, b| !ways.contains(&(a, b)));
        self.cut_since = None;
    }

    /// What was still to be written is; then nothing is said but that one lives, and all is as the history gives.
    fn quiet(&mut self) -> Result<(), Broken> {
        // Who was removed may hear of it, or be told that it was not, with the next visit to prove itself.
        let longer = if self.world.churns { 45 * SECOND } else { 0 };
        let settled = self.world.now + SETTLE + longer;
        self.world.run(settled, |_| false);
        self.sound()?;
        self.world.noise = 0;
        let until = self.world.now + QUIET;
        self.world.run(until, |_| false);
        self.sound()?;
        if self.world.noise > 0 {
            let noise = self.world.noise;
            return Err((
                Invariant::Quiet,
                format!("{noise} frames and batches while there was nothing to say"),
            ));
        }
        self.look();
        for (at, group) in self.groups.clone().into_iter().enumerate() {
            verify(&mut self.world, group)?;
            let Some(node) = members(&self.world, group).first().copied() else { continue };
            let found = self.desired(node, at).map(conflicts).unwrap_or_default();
            self.mark_conflicts(&found);
            self.added(at, group)?;
        }
        Ok(())
    }

    /// What was added to a list is in it, if nobody took anything out or removed the list.
    fn added(&mut self, at: usize, group: GroupId) -> Result<(), Broken> {
        let takes = |act: &Act| match act {
            Act::Take { group, .. } | Act::Remove { group, .. } => group % self.groups.len() == at,
            Act::Settle { .. } => true,
            _ => false,
        };
        if self.world.churns || self.plan.steps.iter().any(|step| takes(&step.act)) {
            return Ok(());
        }
        let node = members(&self.world, group)[0];
        let of = self.world.nodes[node].machine.as_ref().and_then(|machine| machine.group(&group));
        let Some(desired) = of.and_then(|of| of.group.desired()) else { return Ok(()) };
        let resources = larder_core::resource::view::resources(desired.state());
        for by in self.world.acknowledged.values().filter(|by| by.group == group) {
            let Some((resource, value)) = &by.adds else { continue };
            let name = format!("config/r{resource}");
            let view = resources.iter().find(|view| view.name.to_string() == name);
            let list = view.and_then(|view| view.fields.get("keys.list")).map(|field| field.list());
            if !list.is_some_and(|list| list.contains(&larder_core::value::Value::from(value.as_str()))) {
                return Err((
                    Invariant::Added,
                    format!("{value}, added to {name} by node {}, is not in it", by.node),
                ));
            }
        }
        Ok(())
    }

    /// Every node is started from its disk alone, and shows what it showed before it hears of anybody.
    fn restart(&mut self) -> Result<(), Broken> {
        let before: Vec<_> = self.everything();
        self.cut(|_, _| true);
        for node in 0..self.plan.nodes {
            self.world.crash(node, 1, u64::MAX);
        }
        let restarted = self.world.now + SECOND;
        self.world.run(restarted, |_| false);
        self.sound()?;
        if self.everything() != before {
            return Err((Invariant::Restart, "a node shows something else after a cold restart".to_owned()));
        }
        for group in self.groups.clone() {
            verify(&mut self.world, group)?;
        }
        Ok(())
    }

    fn everything(&mut self) -> Vec<Option<super::check::Shown>> {
        let mut all = Vec::new();
        for group in self.groups.clone() {
            all.extend((0..self.plan.nodes).map(|node| shown(&mut self.world, node, group)));
        }
        all
    }

    fn outcome(&mut self, healed: u64) -> Outcome {
        let mut left = 0;
        let mut values = Vec::new();
        for group in self.groups.clone() {
            let Some(node) = members(&self.world, group).first().copied() else { continue };
            let of = self.world.nodes[node].machine.as_ref().and_then(|machine| machine.group(&group));
            let Some(desired) = of.and_then(|of| of.group.desired()) else { continue };
            left += conflicts(desired).len();
            for (key, visible) in desired.state().iter() {
                values.push(format!("{key}={:?}", visible.iter().map(|one| &one.value).collect::<Vec<_>>()));
            }
        }
        let world = &self.world;
        Outcome {
            trace: world.trace.hash(),
            events: world.events,
            acknowledged: world.acknowledged.len(),
            conflicts: left,
            healed,
            marks: world.marks.clone(),
            values: larder_core::id::hash16("larder sim values", &[values.join("\n").as_bytes()]),
        }
    }

    /// Notes what sorts of conflicts a node sees.
    pub(super) fn mark_conflicts(&mut self, found: &[larder_core::resource::conflict::Conflict]) {
        for conflict in found {
            let name = match conflict.kind {
                ConflictKind::EditRemove => "edit-remove",
                ConflictKind::RemovedAuthor => "removed-author",
                ConflictKind::Value if conflict.field == "keys.list" => "conflict-list",
                ConflictKind::Value => "conflict",
                // Of several resources, and none that is asked for here.
                ConflictKind::Claim | ConflictKind::Review => continue,
            };
            self.world.marks.reach(name);
            if conflict.sides.len() > 2 {
                self.world.marks.reach("conflict-three");
            }
        }
    }
}

pub(super) fn role(part: Part) -> Role {
    match part {
        Part::Admin => Role::Admin,
        Part::Operator => Role::Operator,
        Part::Node => Role::Node,
        Part::Reader => Role::Reader,
    }
}

/// What a node shows of members that are none any more, and of what does not count.
fn outside(of: &Membership) -> Vec<&'static str> {
    let (group, members) = (&of.group, of.group.members());
    let mut seen = Vec::new();
    if members.former().iter().any(|key| Standing::of(members, key) == Standing::Removed) {
        seen.push("removed");
    }
    if members.former().iter().any(|key| Standing::of(members, key) == Standing::Left) {
        seen.push("left");
    }
    if members.keys().any(|key| members.ended_of(&key).next().is_some()) {
        seen.push("grant-ended");
    }
    if group.shards().any(|shard| !shard.held().is_empty()) {
        seen.push("held");
    }
    for beside in group.asides().flat_map(|(_, aside)| aside.iter()) {
        seen.push(if beside.kept { "kept-aside" } else { "quarantined" });
    }
    if group.forks().next().is_some() {
        seen.push("forked");
    }
    if members.admits().next().is_some() {
        seen.push("readmitted");
    }
    if of.twin {
        seen.push("twin");
    }
    seen
}
