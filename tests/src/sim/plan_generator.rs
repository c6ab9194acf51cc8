//! Derives a plan from random numbers: groups, faults, workload and steps.

use super::plan::{DamageExtent, Faults, GroupPlan, NetworkCut, Plan, PlanRole, PlannedOp, SECOND_US, Step};
use crate::rng::TestRng;

/// The operations that the writers of a plan mostly do, with their shares.
struct Workload {
    name: &'static str,
    op_shares: &'static [(OpKind, u64)],
}

/// The kinds of operations that workloads distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OpKind {
    Set,
    Add,
    Take,
    Unset,
    Remove,
    SetUnknown,
    Backlog,
    Resolve,
    Observe,
    Pause,
    Join,
    Cut,
    HealCuts,
    Crash,
    CrashMidway,
    Freeze,
    Disk,
    Damage,
    Clock,
    Idle,
    RemoveMember,
    ChangeRole,
    Leave,
    Readmit,
    Rewrite,
    Restore,
    Swap,
    Forge,
    RevokeTwice,
}

use OpKind::{
    Add, Backlog, Clock, Crash, CrashMidway, Damage, Disk, Freeze, HealCuts, Idle, Join, Observe, Pause,
    Remove, Resolve, Set, SetUnknown, Take, Unset,
};

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "everything",
        op_shares: &[
            (Set, 20),
            (Add, 6),
            (Take, 3),
            (Unset, 4),
            (Remove, 4),
            (SetUnknown, 2),
            (Resolve, 8),
            (Observe, 8),
            (Pause, 6),
        ],
    },
    Workload { name: "unique-set", op_shares: &[(Add, 40), (Observe, 4)] },
    Workload { name: "contended", op_shares: &[(Set, 40), (Unset, 4), (Resolve, 4)] },
    Workload { name: "provisioning", op_shares: &[(Set, 10), (Observe, 40), (SetUnknown, 2), (Pause, 2)] },
    Workload { name: "lists", op_shares: &[(Add, 20), (Take, 20), (Resolve, 3)] },
    Workload { name: "backlog", op_shares: &[(Set, 10), (Backlog, 6), (Add, 4)] },
    Workload { name: "resolve-races", op_shares: &[(Set, 20), (Resolve, 30), (Remove, 4)] },
    Workload {
        name: "remove-recreate",
        op_shares: &[(Remove, 20), (Set, 20), (Add, 10), (Take, 6), (Unset, 8)],
    },
    Workload {
        name: "restart-storm",
        op_shares: &[(Set, 20), (Add, 6), (Observe, 8), (Crash, 30), (CrashMidway, 20)],
    },
    Workload {
        name: "clock-chaos",
        op_shares: &[(Set, 20), (Resolve, 8), (Remove, 4), (Observe, 8), (Clock, 20)],
    },
];

/// The faults that a plan may have beside its workload.
const FAULT_OPS: &[(OpKind, u64)] = &[
    (OpKind::Cut, 8),
    (Crash, 4),
    (CrashMidway, 4),
    (Freeze, 3),
    (Disk, 2),
    (Damage, 2),
    (Clock, 3),
    (Join, 3),
];

/// The operations that change the membership, or copy, roll back or forge. Half of all plans have none of
/// them.
const MEMBERSHIP_FAULT_OPS: &[(OpKind, u64)] = &[
    (OpKind::RemoveMember, 3),
    (OpKind::ChangeRole, 2),
    (OpKind::Readmit, 3),
    (OpKind::Rewrite, 2),
    (OpKind::Restore, 4),
    (OpKind::Swap, 1),
    (OpKind::Forge, 2),
    (OpKind::RevokeTwice, 1),
    (Join, 5),
];

const RESOURCES: u64 = 4;
const KEYS: u64 = 4;
/// One plan in this many has hours in which nothing happens.
const REST_PLAN_ONE_IN: u64 = 40;
/// One backlog in this many has the size of several days alone. Each costs as much as a hundred plans.
const LONG_BACKLOG_ONE_IN: u64 = 400;

struct PlanGenerator<'a> {
    rng: &'a mut TestRng,
    nodes: usize,
    groups: Vec<GroupPlan>,
    ops_with_shares: Vec<(OpKind, u64)>,
    written: u64,
}

/// Derives a plan from a seed. From [`FIRST_SMALL_SEED`] on, the plan is small and its membership changes.
pub fn generate_plan(seed: u64) -> Plan {
    let rng = &mut TestRng::new(seed, "plan");
    if seed >= FIRST_SMALL_SEED { generate_small_plan(seed, rng) } else { generate_plan_with(seed, rng) }
}

/// From this seed on, plans have two to four nodes and few steps, in which membership changes, nodes are
/// copied, and keys are misused. A hundred thousand of them take minutes.
pub const FIRST_SMALL_SEED: u64 = 1 << 40;

fn generate_small_plan(seed: u64, rng: &mut TestRng) -> Plan {
    let nodes = 2 + rng.index(3);
    let mut group = GroupPlan { members: vec![(0, PlanRole::Admin)] };
    group.members.extend((1..nodes).map(|node| (node, [PlanRole::Operator, PlanRole::Admin][rng.index(2)])));
    let mut table =
        vec![(Set, 24), (Unset, 2), (Resolve, 3), (OpKind::Cut, 6), (HealCuts, 4), (Crash, 2), (Join, 4)];
    table.extend(MEMBERSHIP_FAULT_OPS);
    let faults = Faults { delay: 5_000, commit: 3_000, ..Faults::default() };
    let count = rng.between(8, 30);
    let mut generator = PlanGenerator { rng, nodes, groups: vec![group], ops_with_shares: table, written: 0 };
    let steps = (0..count).map(|_| generator.step()).collect();
    Plan { seed, workload: "small".to_owned(), nodes, groups: generator.groups, faults, steps }
}

/// Derives a small plan from the bytes of a fuzzer. Each byte makes a decision.
pub fn generate_plan_from_bytes(bytes: &[u8]) -> Plan {
    let mut rng = TestRng::from_bytes(bytes);
    let mut plan = generate_plan_with(rng.below(1 << 16), &mut rng);
    plan.steps.truncate(MAX_SMALL_STEPS);
    for step in &mut plan.steps {
        if let PlannedOp::Backlog { count, .. } = &mut step.op {
            *count = (*count).min(100);
        }
    }
    plan
}

/// The largest number of steps of a plan that is derived from bytes.
const MAX_SMALL_STEPS: usize = 40;

/// Derives a plan from any stream of random numbers.
fn generate_plan_with(seed: u64, rng: &mut TestRng) -> Plan {
    // Few nodes find most faults, and find them fast.
    let nodes = [2, 3, 3, 4, 4, 5, 6, 7, 8, 9][rng.index(10)];
    let groups = (0..[1, 1, 2, 3][rng.index(4)]).map(|_| group(rng, nodes)).collect();
    let faults = faults(rng, nodes);
    let workload = &WORKLOADS[rng.index(WORKLOADS.len())];
    let mut table = workload.op_shares.to_vec();
    for (kind, share) in FAULT_OPS {
        if rng.below(2) == 0 {
            table.push((*kind, *share));
            if *kind == OpKind::Cut {
                table.push((HealCuts, share / 2));
            }
        }
    }
    if rng.below(2) == 0 {
        table.extend(MEMBERSHIP_FAULT_OPS.iter().filter(|_| rng.below(2) == 0));
        if rng.below(4) == 0 {
            table.push((OpKind::Leave, 1));
        }
    }
    if rng.below(REST_PLAN_ONE_IN) == 0 {
        table.push((OpKind::Idle, 1));
    }
    let max_steps = [30, 60, 120][rng.index(3)];
    let count = rng.between(10, max_steps);
    let mut generator = PlanGenerator { rng, nodes, groups, ops_with_shares: table, written: 0 };
    let steps = (0..count).map(|_| generator.step()).collect();
    Plan { seed, workload: workload.name.to_owned(), nodes, groups: generator.groups, faults, steps }
}

fn group(rng: &mut TestRng, nodes: usize) -> GroupPlan {
    let founder = rng.index(nodes);
    let all = rng.below(2) == 0;
    let mut members = vec![(founder, PlanRole::Admin)];
    for node in (0..nodes).filter(|node| *node != founder) {
        let part = [
            PlanRole::Operator,
            PlanRole::Operator,
            PlanRole::Operator,
            PlanRole::Admin,
            PlanRole::Node,
            PlanRole::Reader,
        ][rng.index(6)];
        if all || rng.below(3) > 0 {
            members.push((node, part));
        }
    }
    GroupPlan { members }
}

fn faults(rng: &mut TestRng, nodes: usize) -> Faults {
    let next_bool = |rng: &mut TestRng| rng.below(2) == 0;
    let some = |rng: &mut TestRng, options: &[u64]| {
        if rng.below(2) == 0 { options[rng.index(options.len())] } else { 0 }
    };
    let breaks_order = rng.below(4) == 0;
    let disorder_rate = |rng: &mut TestRng| if breaks_order { some(rng, &[2, 20, 100]) } else { 0 };
    let random_nodes = |rng: &mut TestRng| -> Vec<usize> {
        if next_bool(rng) { Vec::new() } else { (0..nodes).filter(|_| next_bool(rng)).collect() }
    };
    Faults {
        delay: [500, 5_000, 200_000][rng.index(3)],
        commit: [100, 3_000, 100_000][rng.index(3)],
        resets: some(rng, &[1, 5, 30]),
        clogs: some(rng, &[1, 5, 20]),
        duplicates: disorder_rate(rng),
        reorders: disorder_rate(rng),
        replays: disorder_rate(rng),
        drift: some(rng, &[50, 10_000]),
        later: random_nodes(rng),
    }
}

impl PlanGenerator<'_> {
    fn step(&mut self) -> Step {
        let pause =
            [0, 1_000, 1_000, 50_000, 50_000, SECOND_US, SECOND_US, 10 * SECOND_US][self.rng.index(8)];
        let after = self.rng.below(pause + 1);
        let kind = self.pick_kind();
        let node = self.rng.index(self.nodes);
        Step { after, node, op: self.make_op(kind, node) }
    }

    fn pick_kind(&mut self) -> OpKind {
        let total = self.ops_with_shares.iter().map(|(_, share)| share).sum();
        let mut remaining = self.rng.below(total);
        for (kind, share) in &self.ops_with_shares {
            match remaining.checked_sub(*share) {
                Some(rest) => remaining = rest,
                None => return *kind,
            }
        }
        Set
    }

    /// A value that no other operation of the plan writes.
    fn unique_value(&mut self) -> String {
        self.written += 1;
        format!("v{}", self.written)
    }

    /// A list item. In a plan that also removes items, it is often one that is added again and again.
    fn list_item(&mut self) -> String {
        let taken =
            self.ops_with_shares.iter().find(|(kind, _)| *kind == Take).map_or(0, |(_, share)| *share);
        if self.rng.below(30) < taken.min(20) { "again".to_owned() } else { self.unique_value() }
    }

    fn random_u8(&mut self, sides: u64) -> u8 {
        u8::try_from(self.rng.below(sides)).unwrap_or(0)
    }

    /// A group whose first members include the node, if there is one.
    fn pick_group(&mut self, node: usize) -> usize {
        let is_in = |group: &GroupPlan| group.members.iter().any(|(member, _)| *member == node);
        let own: Vec<usize> = (0..self.groups.len()).filter(|at| is_in(&self.groups[*at])).collect();
        if own.is_empty() { self.rng.index(self.groups.len()) } else { own[self.rng.index(own.len())] }
    }

    fn make_op(&mut self, kind: OpKind, node: usize) -> PlannedOp {
        let (group, resource) = (self.pick_group(node), self.random_u8(RESOURCES));
        match kind {
            Set => PlannedOp::Set { group, resource, key: self.random_u8(KEYS), value: self.unique_value() },
            Add => PlannedOp::Add { group, resource, value: self.list_item() },
            Take => PlannedOp::Take { group, resource },
            Unset => PlannedOp::Unset { group, resource, key: self.random_u8(KEYS) },
            Remove => PlannedOp::Remove { group, resource },
            SetUnknown => PlannedOp::SetUnknown { group, value: self.unique_value() },
            Backlog => self.make_backlog(group),
            Resolve => PlannedOp::Resolve { group, pick: self.rng.below(1 << 20) },
            Observe => {
                let (applied, revision) = (self.rng.below(2) == 0, self.rng.next_u64());
                PlannedOp::Observe { group, resource, applied, revision }
            }
            Pause => PlannedOp::Pause { group, paused: self.rng.below(3) == 0 },
            Join => {
                let part = [PlanRole::Operator, PlanRole::Admin, PlanRole::Node, PlanRole::Reader]
                    [self.rng.index(4)];
                PlannedOp::Join { group: self.rng.index(self.groups.len()), part }
            }
            OpKind::Cut => PlannedOp::Cut { cut: self.make_cut() },
            HealCuts => PlannedOp::HealCuts,
            Crash => PlannedOp::Crash { pause: self.short_pause(), kept: self.rng.below(8) },
            CrashMidway => {
                let effects = u32::try_from(self.rng.below(40)).unwrap_or(0);
                PlannedOp::CrashMidway { effects, pause: self.short_pause() }
            }
            Freeze => PlannedOp::Freeze { pause: self.short_pause() },
            Disk => PlannedOp::Disk { full: self.rng.below(2) == 0, pause: self.short_pause() },
            Damage => {
                let hits = [DamageExtent::OneTable, DamageExtent::Anything, DamageExtent::Everything]
                    [self.rng.index(3)];
                PlannedOp::Damage { hits, seed: self.rng.next_u64(), pause: self.short_pause() }
            }
            Clock => PlannedOp::Clock { by: self.clock_jump() },
            Idle => PlannedOp::Idle,
            _ => self.make_membership_fault(kind, group),
        }
    }

    fn make_membership_fault(&mut self, kind: OpKind, group: usize) -> PlannedOp {
        let target = self.rng.index(self.nodes);
        match kind {
            OpKind::RemoveMember => PlannedOp::RemoveMember { group, target },
            OpKind::ChangeRole => {
                let part = [PlanRole::Operator, PlanRole::Admin, PlanRole::Node, PlanRole::Reader]
                    [self.rng.index(4)];
                PlannedOp::ChangeRole { group, target, part }
            }
            OpKind::Leave => PlannedOp::Leave { group },
            OpKind::Readmit => PlannedOp::Readmit { group, pick: self.rng.next_u64() },
            OpKind::Rewrite => PlannedOp::Rewrite { group, pick: self.rng.next_u64() },
            OpKind::Restore => {
                PlannedOp::Restore { noticed: self.rng.below(2) == 0, pause: self.short_pause() }
            }
            OpKind::Swap => PlannedOp::Swap { pause: self.short_pause() },
            OpKind::RevokeTwice => PlannedOp::RevokeTwice { group },
            _ => PlannedOp::Forge { group, pick: self.rng.next_u64() },
        }
    }

    fn make_backlog(&mut self, group: usize) -> PlannedOp {
        let long = self.rng.below(LONG_BACKLOG_ONE_IN) == 0;
        let count = if long { 10_000 } else { self.rng.between(5, 120) };
        let bytes = if long { 8 } else { [8, 200, 20_000][self.rng.index(3)] };
        PlannedOp::Backlog { group, count: u32::try_from(count).unwrap_or(1), bytes }
    }

    fn short_pause(&mut self) -> u64 {
        let longest = [1_000, SECOND_US, 10 * SECOND_US][self.rng.index(3)];
        self.rng.between(1, longest)
    }

    fn make_cut(&mut self) -> NetworkCut {
        let side = u32::try_from(self.rng.below(1 << self.nodes)).unwrap_or(1);
        match self.rng.below(5) {
            0 => NetworkCut::Alone { node: self.rng.index(self.nodes) },
            1 => NetworkCut::Bridge { side, bridge: self.rng.index(self.nodes) },
            2 => NetworkCut::Ring { reach: 1 + self.rng.index(self.nodes / 2) },
            3 => NetworkCut::Sides { side, one_way: true },
            _ => NetworkCut::Sides { side, one_way: false },
        }
    }

    /// An adjustment of the clock: seconds, a day or years, forward or back.
    fn clock_jump(&mut self) -> i64 {
        let far = [10, 86_400, 40 * 31_557_600][self.rng.index(3)];
        i64::try_from(self.rng.below(2 * far)).unwrap_or(0) - i64::try_from(far).unwrap_or(0)
    }
}
