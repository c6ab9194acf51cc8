//! Runs one plan and checks the invariants.
//!
//! A run has these phases:
//! * set-up: groups are created and joined;
//! * steps: the operations of the plan, under its faults;
//! * heal: all nodes are connected again and must become equal within a limit;
//! * quiet: only presence frames may be sent;
//! * cold restart: every node starts from its disk alone and must be equal.

mod situations;

use std::collections::{BTreeMap, BTreeSet};

use larder_core::id::GroupId;
use larder_core::node::{GroupState, Request, RequestId, Response};
use larder_core::record::Role;
use larder_core::resource::conflict::conflicts;
use larder_core::wire::invite_code::InviteCode;

use super::convergence::{GroupSnapshot, describe_group, is_converged, largest_member_set, snapshot};
use super::coverage::Coverage;
use super::invariants::{Invariant, Violation, check_healed_group};
use super::plan::{Plan, PlanRole, PlannedOp, SECOND_US};
use super::trace::EventTrace;
use super::world::World;

/// The outcome of a run without a violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOutcome {
    /// The hash over every input and effect.
    pub trace: [u8; 16],
    /// The number of events handled.
    pub events: u64,
    /// The number of acknowledged writes.
    pub acknowledged: usize,
    /// The number of conflicts at the end.
    pub conflicts: usize,
    /// The virtual microseconds from the heal until all members were equal.
    pub healed_after_us: u64,
    /// The rare situations that were reached.
    pub coverage: Coverage,
    /// The hash over the values that every group shows at the end, without ids and times.
    pub values: [u8; 16],
}

/// The description of a failed run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFailure {
    /// The violated invariant.
    pub invariant: Invariant,
    /// A description of what was seen.
    pub detail: String,
    /// The last events, if they were kept.
    pub last_events: Vec<String>,
    /// The number of steps of the plan that were done.
    pub steps: usize,
}

/// The time after a heal within which all members must be equal.
const HEAL_LIMIT_US: u64 = 60 * SECOND_US;
/// The time after convergence in which remaining writes and frames are allowed.
const SETTLE_US: u64 = 10 * SECOND_US;
/// The time after that in which only presence frames are allowed.
const QUIET_US: u64 = 20 * SECOND_US;
/// The duration of an idle step.
const IDLE_US: u64 = 2 * 3600 * SECOND_US;
/// The longest wait for one response during the set-up.
const SETUP_LIMIT_US: u64 = 120 * SECOND_US;
/// A time after which every crashed node has restarted and every failed disk works again.
const MAX_DOWNTIME_US: u64 = 11 * SECOND_US;

pub(super) struct Runner<'a> {
    pub(super) plan: &'a Plan,
    pub(super) world: World,
    pub(super) groups: Vec<GroupId>,
    /// An invite code for each role of each group. The key is the index of the group and the role.
    codes: BTreeMap<(usize, u8), InviteCode>,
    steps_done: usize,
    pub(super) resolved_on: BTreeMap<larder_core::id::Digest, usize>,
    cut_since: Option<u64>,
}

/// Runs a plan.
pub fn run_plan(plan: &Plan) -> Result<RunOutcome, RunFailure> {
    run_with_trace(plan, EventTrace::default())
}

/// Runs a plan and keeps its last events for the report; `loud` prints all events.
pub fn run_plan_logged(plan: &Plan, loud: bool) -> Result<RunOutcome, RunFailure> {
    run_with_trace(plan, EventTrace::with_lines(loud))
}

fn run_with_trace(plan: &Plan, trace: EventTrace) -> Result<RunOutcome, RunFailure> {
    let mut runner = Runner {
        plan,
        world: World::new(plan, trace),
        groups: Vec::new(),
        codes: BTreeMap::new(),
        steps_done: 0,
        resolved_on: BTreeMap::new(),
        cut_since: None,
    };
    runner.run_all_phases().map_err(|(invariant, what)| RunFailure {
        invariant,
        detail: what,
        last_events: runner.world.trace.last_lines(),
        steps: runner.steps_done,
    })
}

impl Runner<'_> {
    fn run_all_phases(&mut self) -> Result<RunOutcome, Violation> {
        self.set_up_groups()?;
        for (nth, step) in self.plan.steps.iter().enumerate() {
            self.steps_done = nth + 1;
            let until = self.world.now + step.after;
            self.world.run_until(until, |_| false);
            self.check_violations()?;
            self.apply_op(step.node % self.plan.nodes, &step.op);
            self.record_coverage();
            self.check_violations()?;
        }
        let healed = self.heal_and_converge()?;
        self.check_quiet()?;
        self.check_cold_restart()?;
        Ok(self.make_outcome(healed))
    }

    /// Fails with the first recorded violation, if there is one.
    fn check_violations(&mut self) -> Result<(), Violation> {
        match self.world.violations.first() {
            Some(broken) => Err(broken.clone()),
            None => Ok(()),
        }
    }

    fn wait_for_response(&mut self, request_id: RequestId, what: &str) -> Result<Response, Violation> {
        let until = self.world.now + SETUP_LIMIT_US;
        self.world.run_until(until, |world| world.answers.contains_key(&request_id));
        self.check_violations()?;
        match self.world.answers.remove(&request_id) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err((Invariant::Sound, format!("{what}: {error}"))),
            None => Err((Invariant::Sound, format!("{what}: no answer"))),
        }
    }

    /// Creates the groups and lets their first members join. Only the plan's faults disturb this.
    fn set_up_groups(&mut self) -> Result<(), Violation> {
        let wrong = |what: &str| (Invariant::Sound, format!("another answer to {what}"));
        for (group_index, group) in self.plan.groups.iter().enumerate() {
            let founder = group.members[0].0;
            self.world.founding_node = Some(founder);
            let request_id =
                self.world.send_request(founder, Request::CreateGroup { name: format!("sim{group_index}") });
            self.world.founding_node = None;
            let Response::GroupCreated { group: id, .. } = self.wait_for_response(request_id, "found")?
            else {
                return Err(wrong("found"));
            };
            self.groups.push(id);
            for part in [PlanRole::Admin, PlanRole::Operator, PlanRole::Node, PlanRole::Reader] {
                let role = core_role(part);
                let request = Request::CreateInvite {
                    group: id.into(),
                    role,
                    max_uses: 32,
                    expires_unix_secs: i64::MAX,
                };
                let request_id = self.world.send_request(founder, request);
                let Response::InviteCreated(code) = self.wait_for_response(request_id, "invite")? else {
                    return Err(wrong("invite"));
                };
                self.codes.insert((group_index, role.to_byte()), code);
            }
            for (node, part) in &group.members[1..] {
                let Some(request_id) = self.join_group(*node, group_index, *part) else { continue };
                let Response::Joined(_) = self.wait_for_response(request_id, "join")? else {
                    return Err(wrong("join"));
                };
            }
        }
        Ok(())
    }

    /// Requests that a node joins a group, unless it is a member.
    pub(super) fn join_group(
        &mut self,
        node: usize,
        group_index: usize,
        role: PlanRole,
    ) -> Option<RequestId> {
        let (group_index, group) =
            (group_index % self.groups.len(), self.groups[group_index % self.groups.len()]);
        let core_node = self.world.nodes[node].core_node.as_ref()?;
        let is_in = |state: &GroupState| state.group.members().is_member(&core_node.own_id());
        if core_node.group(&group).is_some_and(is_in) {
            return None;
        }
        let code = self.codes.get(&(group_index, core_role(role).to_byte()))?.clone();
        self.world.invited_nodes.entry(group).or_default().insert(node);
        let request = Request::Join { code, alias: format!("n{node}"), labels: Vec::new() };
        Some(self.world.send_request(node, request))
    }

    /// Cuts the directions that `parts` selects, all at once.
    pub(super) fn cut_directions(&mut self, parts: impl Fn(usize, usize) -> bool) {
        self.cut_since.get_or_insert(self.world.now);
        for a in 0..self.plan.nodes {
            for b in 0..self.plan.nodes {
                if a != b && parts(a, b) {
                    self.world.cut_direction(a, b);
                }
            }
        }
    }

    pub(super) fn heal_cuts(&mut self) {
        self.world.network.cut_directions.clear();
        if let Some(since) = self.cut_since.take()
            && self.world.now - since > 3600 * SECOND_US
        {
            self.world.coverage.record("cut-long");
        }
    }

    pub(super) fn idle(&mut self) {
        let until = self.world.now + IDLE_US;
        self.world.run_until(until, |_| false);
    }

    /// Ends the faults and connects all nodes: with each other, or in a line. All members must become equal.
    fn heal_and_converge(&mut self) -> Result<u64, Violation> {
        self.heal_cuts();
        if self.world.faults.breaks_stream_order() {
            // A frame that was reordered before the heal may still be on its way, so new links start from
            // here.
            self.world.break_all_links();
        }
        self.world.faults = self.world.faults.without_disorder();
        self.world.nodes.iter_mut().for_each(|node| node.cancel_planned_crash());
        let up = self.world.now + MAX_DOWNTIME_US;
        self.world.run_until(up, |_| false);
        self.check_violations()?;
        for node in 0..self.plan.nodes {
            for group in self.groups.clone() {
                self.world.send_request(node, Request::SetPaused { group: group.into(), paused: false });
            }
        }
        self.join_again();
        let line = self.heals_to_line();
        if line {
            self.cut_to_line();
        }
        let from = self.world.now;
        for group in self.groups.clone() {
            let until = from + HEAL_LIMIT_US;
            if !self.world.run_until(until, |world| is_converged(world, group)) {
                self.check_violations()?;
                let state = describe_group(&self.world, group);
                let detail =
                    format!("not equal within {} s after the heal\n{state}", HEAL_LIMIT_US / SECOND_US);
                return Err((Invariant::Converged, detail));
            }
        }
        if line {
            self.world.coverage.record("line-healed");
        }
        Ok(self.world.now - from)
    }

    /// Lets nodes join again. A node that lost its store while it was admitted does not know of its grant.
    fn join_again(&mut self) {
        for (group_index, group) in self.groups.clone().into_iter().enumerate() {
            for node in 0..self.plan.nodes {
                let key = self.world.nodes[node].secret.node_id();
                let counts = |sim_node: &super::world::SimNode| {
                    let state = sim_node.core_node.as_ref().and_then(|core_node| core_node.group(&group));
                    state.is_some_and(|state| state.group.members().is_member(&key))
                };
                if self.world.nodes.iter().any(counts)
                    && self.join_group(node, group_index, PlanRole::Reader).is_some()
                {
                    self.world.coverage.record("joined-again");
                }
            }
        }
    }

    /// True if this run heals to a line instead of a mesh. This is half of the runs in which all nodes know
    /// each other.
    fn heals_to_line(&self) -> bool {
        let joins = self.plan.steps.iter().any(|step| matches!(step.op, PlannedOp::Join { .. }));
        self.plan.seed.is_multiple_of(2) && !joins && !self.world.changes_membership && self.plan.nodes > 2
    }

    /// Keeps only the connections between neighbours in the join order of each group.
    fn cut_to_line(&mut self) {
        let groups = self.plan.groups.iter();
        let ways: BTreeSet<(usize, usize)> = groups
            .flat_map(|group| group.members.windows(2).map(|pair| (pair[0].0, pair[1].0)))
            .flat_map(|(a, b)| [(a, b), (b, a)])
            .collect();
        self.cut_directions(|a, b| !ways.contains(&(a, b)));
        self.cut_since = None;
    }

    /// Waits for remaining writes, then checks that only presence frames are sent and that every group equals
    /// its history.
    fn check_quiet(&mut self) -> Result<(), Violation> {
        // A removed node may still learn of its removal, or of its readmission, at its next membership proof.
        let longer = if self.world.changes_membership { 45 * SECOND_US } else { 0 };
        let settled = self.world.now + SETTLE_US + longer;
        self.world.run_until(settled, |_| false);
        self.check_violations()?;
        self.world.traffic = 0;
        let until = self.world.now + QUIET_US;
        self.world.run_until(until, |_| false);
        self.check_violations()?;
        if self.world.traffic > 0 {
            let noise = self.world.traffic;
            return Err((
                Invariant::Quiet,
                format!("{noise} frames and batches while there was nothing to say"),
            ));
        }
        self.record_coverage();
        for (group_index, group) in self.groups.clone().into_iter().enumerate() {
            check_healed_group(&mut self.world, group)?;
            let Some(node) = largest_member_set(&self.world, group).first().copied() else { continue };
            let found = self.desired(node, group_index).map(conflicts).unwrap_or_default();
            self.mark_conflicts(&found);
            self.check_list_items_kept(group_index, group)?;
        }
        Ok(())
    }

    /// Checks that every item that was added to a list is in it, if no operation removed an item or the list.
    fn check_list_items_kept(&mut self, group_index: usize, group: GroupId) -> Result<(), Violation> {
        let takes = |op: &PlannedOp| match op {
            PlannedOp::Take { group, .. } | PlannedOp::Remove { group, .. } => {
                group % self.groups.len() == group_index
            }
            PlannedOp::Resolve { .. } => true,
            _ => false,
        };
        if self.world.changes_membership || self.plan.steps.iter().any(|step| takes(&step.op)) {
            return Ok(());
        }
        let node = largest_member_set(&self.world, group)[0];
        let state = self.world.nodes[node].core_node.as_ref().and_then(|core_node| core_node.group(&group));
        let Some(desired) = state.and_then(|state| state.group.desired()) else { return Ok(()) };
        let resources = larder_core::resource::view::resources(desired.state());
        for write in self.world.acknowledged_writes.values().filter(|by| by.group == group) {
            let Some((resource, value)) = &write.list_item else { continue };
            let name = format!("config/r{resource}");
            let view = resources.iter().find(|view| view.name.to_string() == name);
            let list = view.and_then(|view| view.fields.get("keys.list")).map(|field| field.list());
            if !list.is_some_and(|list| list.contains(&larder_core::value::Value::from(value.as_str()))) {
                return Err((
                    Invariant::ListItemsKept,
                    format!("{value}, added to {name} by node {}, is not in it", write.node),
                ));
            }
        }
        Ok(())
    }

    /// Restarts every node from its disk alone. Without any connection, each must show what it showed before.
    fn check_cold_restart(&mut self) -> Result<(), Violation> {
        let before: Vec<_> = self.all_snapshots();
        self.cut_directions(|_, _| true);
        for node in 0..self.plan.nodes {
            self.world.crash_node(node, 1, u64::MAX);
        }
        let restarted = self.world.now + SECOND_US;
        self.world.run_until(restarted, |_| false);
        self.check_violations()?;
        if self.all_snapshots() != before {
            return Err((Invariant::Restart, "a node shows something else after a cold restart".to_owned()));
        }
        for group in self.groups.clone() {
            check_healed_group(&mut self.world, group)?;
        }
        Ok(())
    }

    fn all_snapshots(&mut self) -> Vec<Option<GroupSnapshot>> {
        let mut all = Vec::new();
        for group in self.groups.clone() {
            all.extend((0..self.plan.nodes).map(|node| snapshot(&mut self.world, node, group)));
        }
        all
    }

    fn make_outcome(&mut self, healed: u64) -> RunOutcome {
        let mut left = 0;
        let mut values = Vec::new();
        for group in self.groups.clone() {
            let Some(node) = largest_member_set(&self.world, group).first().copied() else { continue };
            let state =
                self.world.nodes[node].core_node.as_ref().and_then(|core_node| core_node.group(&group));
            let Some(desired) = state.and_then(|state| state.group.desired()) else { continue };
            left += conflicts(desired).len();
            for (key, visible) in desired.state().iter() {
                values.push(format!("{key}={:?}", visible.iter().map(|one| &one.value).collect::<Vec<_>>()));
            }
        }
        let world = &self.world;
        RunOutcome {
            trace: world.trace.hash(),
            events: world.events,
            acknowledged: world.acknowledged_writes.len(),
            conflicts: left,
            healed_after_us: healed,
            coverage: world.coverage.clone(),
            values: larder_core::id::hash16("larder sim values", &[values.join("\n").as_bytes()]),
        }
    }
}

pub(super) fn core_role(role: PlanRole) -> Role {
    match role {
        PlanRole::Admin => Role::Admin,
        PlanRole::Operator => Role::Operator,
        PlanRole::Node => Role::Node,
        PlanRole::Reader => Role::Reader,
    }
}
