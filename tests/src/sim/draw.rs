//! Drawing a plan from chance: which groups, which faults, which workload, which steps.

use super::dice::Dice;
use super::plan::{Act, Cut, Faults, GroupPlan, Hits, Part, Plan, SECOND, Step};

/// What the writers are mostly at. Each is a table of acts with their weights.
struct Workload {
    name: &'static str,
    acts: &'static [(Kind, u64)],
}

/// Sorts of acts, as far as workloads tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Set,
    Add,
    Take,
    Unset,
    Remove,
    Later,
    Backlog,
    Settle,
    Observe,
    Pause,
    Join,
    Cut,
    Mend,
    Crash,
    Die,
    Freeze,
    Disk,
    Damage,
    Clock,
    Rest,
    Expel,
    Rank,
    Depart,
    Readmit,
    Rewrite,
    Restore,
    Swap,
    Lie,
    Disown,
}

use Kind::{
    Add, Backlog, Clock, Crash, Damage, Die, Disk, Freeze, Join, Later, Mend, Observe, Pause, Remove, Rest,
    Set, Settle, Take, Unset,
};

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "everything",
        acts: &[
            (Set, 20),
            (Add, 6),
            (Take, 3),
            (Unset, 4),
            (Remove, 4),
            (Later, 2),
            (Settle, 8),
            (Observe, 8),
            (Pause, 6),
        ],
    },
    Workload { name: "unique-set", acts: &[(Add, 40), (Observe, 4)] },
    Workload { name: "contended", acts: &[(Set, 40), (Unset, 4), (Settle, 4)] },
    Workload { name: "provisioning", acts: &[(Set, 10), (Observe, 40), (Later, 2), (Pause, 2)] },
    Workload { name: "lists", acts: &[(Add, 20), (Take, 20), (Settle, 3)] },
    Workload { name: "backlog", acts: &[(Set, 10), (Backlog, 6), (Add, 4)] },
    Workload { name: "resolve-races", acts: &[(Set, 20), (Settle, 30), (Remove, 4)] },
    Workload { name: "remove-recreate", acts: &[(Remove, 20), (Set, 20), (Add, 10), (Take, 6), (Unset, 8)] },
    Workload { name: "restart-storm", acts: &[(Set, 20), (Add, 6), (Observe, 8), (Crash, 30), (Die, 20)] },
    Workload { name: "clock-chaos", acts: &[(Set, 20), (Settle, 8), (Remove, 4), (Observe, 8), (Clock, 20)] },
];

/// What may happen besides, in a plan that has it at all.
const TROUBLE: &[(Kind, u64)] =
    &[(Kind::Cut, 8), (Crash, 4), (Die, 4), (Freeze, 3), (Disk, 2), (Damage, 2), (Clock, 3), (Join, 3)];

/// What changes who is in a group, or sets machines back; in half of all plans none of it.
const CHURN: &[(Kind, u64)] = &[
    (Kind::Expel, 3),
    (Kind::Rank, 2),
    (Kind::Readmit, 3),
    (Kind::Rewrite, 2),
    (Kind::Restore, 4),
    (Kind::Swap, 1),
    (Kind::Lie, 2),
    (Kind::Disown, 1),
    (Join, 5),
];

const RESOURCES: u64 = 4;
const KEYS: u64 = 4;
/// One plan in so many has hours in which nothing happens,
const RARELY: u64 = 40;
/// and one backlog in so many is that of days alone: each costs as much as a hundred plans.
const SELDOM: u64 = 400;

struct Draw<'a> {
    dice: &'a mut Dice,
    nodes: usize,
    groups: Vec<GroupPlan>,
    table: Vec<(Kind, u64)>,
    written: u64,
}

/// Draws a plan; from [`SMALL`] on, a small one in which members change.
pub fn draw(seed: u64) -> Plan {
    let dice = &mut Dice::new(seed, "plan");
    if seed >= SMALL { draw_small(seed, dice) } else { draw_with(seed, dice) }
}

/// From this seed on, worlds are small and short: two to four nodes whose membership changes, copies, lies. A hundred
/// thousand of them take minutes.
pub const SMALL: u64 = 1 << 40;

fn draw_small(seed: u64, dice: &mut Dice) -> Plan {
    let nodes = 2 + dice.index(3);
    let mut group = GroupPlan { members: vec![(0, Part::Admin)] };
    group.members.extend((1..nodes).map(|node| (node, [Part::Operator, Part::Admin][dice.index(2)])));
    let mut table =
        vec![(Set, 24), (Unset, 2), (Settle, 3), (Kind::Cut, 6), (Mend, 4), (Crash, 2), (Join, 4)];
    table.extend(CHURN);
    let faults = Faults { delay: 5_000, commit: 3_000, ..Faults::default() };
    let count = dice.between(8, 30);
    let mut draw = Draw { dice, nodes, groups: vec![group], table, written: 0 };
    let steps = (0..count).map(|_| draw.step()).collect();
    Plan { seed, workload: "small".to_owned(), nodes, groups: draw.groups, faults, steps }
}

/// Draws a small plan out of bytes, as a fuzzer gives them: every byte decides something.
pub fn draw_from(bytes: &[u8]) -> Plan {
    let mut dice = Dice::of(bytes);
    let mut plan = draw_with(dice.roll(1 << 16), &mut dice);
    plan.steps.truncate(STEPS);
    for step in &mut plan.steps {
        if let Act::Backlog { count, .. } = &mut step.act {
            *count = (*count).min(100);
        }
    }
    plan
}

/// Most steps of a small plan.
const STEPS: usize = 40;

/// Draws a plan out of any chance.
fn draw_with(seed: u64, dice: &mut Dice) -> Plan {
    // Few nodes find most of what there is to be found, and fast.
    let nodes = [2, 3, 3, 4, 4, 5, 6, 7, 8, 9][dice.index(10)];
    let groups = (0..[1, 1, 2, 3][dice.index(4)]).map(|_| group(dice, nodes)).collect();
    let faults = faults(dice, nodes);
    let workload = &WORKLOADS[dice.index(WORKLOADS.len())];
    let mut table = workload.acts.to_vec();
    for (kind, weight) in TROUBLE {
        if dice.roll(2) == 0 {
            table.push((*kind, *weight));
            if *kind == Kind::Cut {
                table.push((Mend, weight / 2));
            }
        }
    }
    if dice.roll(2) == 0 {
        table.extend(CHURN.iter().filter(|_| dice.roll(2) == 0));
        if dice.roll(4) == 0 {
            table.push((Kind::Depart, 1));
        }
    }
    if dice.roll(RARELY) == 0 {
        table.push((Kind::Rest, 1));
    }
    let most = [30, 60, 120][dice.index(3)];
    let count = dice.between(10, most);
    let mut draw = Draw { dice, nodes, groups, table, written: 0 };
    let steps = (0..count).map(|_| draw.step()).collect();
    Plan { seed, workload: workload.name.to_owned(), nodes, groups: draw.groups, faults, steps }
}

fn group(dice: &mut Dice, nodes: usize) -> GroupPlan {
    let founder = dice.index(nodes);
    let all = dice.roll(2) == 0;
    let mut members = vec![(founder, Part::Admin)];
    for node in (0..nodes).filter(|node| *node != founder) {
        let part = [Part::Operator, Part::Operator, Part::Operator, Part::Admin, Part::Node, Part::Reader]
            [dice.index(6)];
        if all || dice.roll(3) > 0 {
            members.push((node, part));
        }
    }
    GroupPlan { members }
}

fn faults(dice: &mut Dice, nodes: usize) -> Faults {
    let coin = |dice: &mut Dice| dice.roll(2) == 0;
    let some =
        |dice: &mut Dice, most: &[u64]| if dice.roll(2) == 0 { most[dice.index(most.len())] } else { 0 };
    let unruly = dice.roll(4) == 0;
    let unruly = |dice: &mut Dice| if unruly { some(dice, &[2, 20, 100]) } else { 0 };
    let few = |dice: &mut Dice| -> Vec<usize> {
        if coin(dice) { Vec::new() } else { (0..nodes).filter(|_| coin(dice)).collect() }
    };
    Faults {
        delay: [500, 5_000, 200_000][dice.index(3)],
        commit: [100, 3_000, 100_000][dice.index(3)],
        resets: some(dice, &[1, 5, 30]),
        clogs: some(dice, &[1, 5, 20]),
        duplicates: unruly(dice),
        reorders: unruly(dice),
        replays: unruly(dice),
        drift: some(dice, &[50, 10_000]),
        later: few(dice),
    }
}

impl Draw<'_> {
    fn step(&mut self) -> Step {
        let pause = [0, 1_000, 1_000, 50_000, 50_000, SECOND, SECOND, 10 * SECOND][self.dice.index(8)];
        let after = self.dice.roll(pause + 1);
        let kind = self.kind();
        let node = self.dice.index(self.nodes);
        Step { after, node, act: self.act(kind, node) }
    }

    fn kind(&mut self) -> Kind {
        let whole = self.table.iter().map(|(_, weight)| weight).sum();
        let mut at = self.dice.roll(whole);
        for (kind, weight) in &self.table {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return *kind,
            }
        }
        Set
    }

    /// A value that no other act of the plan writes.
    fn value(&mut self) -> String {
        self.written += 1;
        format!("v{}", self.written)
    }

    /// An item for a list. Where items are taken out too, one that is added again and again.
    fn item(&mut self) -> String {
        let taken = self.table.iter().find(|(kind, _)| *kind == Take).map_or(0, |(_, weight)| *weight);
        if self.dice.roll(30) < taken.min(20) { "again".to_owned() } else { self.value() }
    }

    fn small(&mut self, sides: u64) -> u8 {
        u8::try_from(self.dice.roll(sides)).unwrap_or(0)
    }

    /// A group that the node is in from the beginning, mostly.
    fn group(&mut self, node: usize) -> usize {
        let is_in = |group: &GroupPlan| group.members.iter().any(|(member, _)| *member == node);
        let own: Vec<usize> = (0..self.groups.len()).filter(|at| is_in(&self.groups[*at])).collect();
        if own.is_empty() { self.dice.index(self.groups.len()) } else { own[self.dice.index(own.len())] }
    }

    fn act(&mut self, kind: Kind, node: usize) -> Act {
        let (group, resource) = (self.group(node), self.small(RESOURCES));
        match kind {
            Set => Act::Set { group, resource, key: self.small(KEYS), value: self.value() },
            Add => Act::Add { group, resource, value: self.item() },
            Take => Act::Take { group, resource },
            Unset => Act::Unset { group, resource, key: self.small(KEYS) },
            Remove => Act::Remove { group, resource },
            Later => Act::Later { group, value: self.value() },
            Backlog => self.backlog(group),
            Settle => Act::Settle { group, pick: self.dice.roll(1 << 20) },
            Observe => {
                let (applied, revision) = (self.dice.roll(2) == 0, self.dice.bits());
                Act::Observe { group, resource, applied, revision }
            }
            Pause => Act::Pause { group, paused: self.dice.roll(3) == 0 },
            Join => {
                let part = [Part::Operator, Part::Admin, Part::Node, Part::Reader][self.dice.index(4)];
                Act::Join { group: self.dice.index(self.groups.len()), part }
            }
            Kind::Cut => Act::Cut { cut: self.cut() },
            Mend => Act::Mend,
            Crash => Act::Crash { pause: self.short(), kept: self.dice.roll(8) },
            Die => {
                let effects = u32::try_from(self.dice.roll(40)).unwrap_or(0);
                Act::Die { effects, pause: self.short() }
            }
            Freeze => Act::Freeze { pause: self.short() },
            Disk => Act::Disk { full: self.dice.roll(2) == 0, pause: self.short() },
            Damage => {
                let hits = [Hits::OneTable, Hits::Anything, Hits::Everything][self.dice.index(3)];
                Act::Damage { hits, seed: self.dice.bits(), pause: self.short() }
            }
            Clock => Act::Clock { by: self.jump() },
            Rest => Act::Rest,
            _ => self.churn(kind, group),
        }
    }

    fn churn(&mut self, kind: Kind, group: usize) -> Act {
        let target = self.dice.index(self.nodes);
        match kind {
            Kind::Expel => Act::Expel { group, target },
            Kind::Rank => {
                let part = [Part::Operator, Part::Admin, Part::Node, Part::Reader][self.dice.index(4)];
                Act::Rank { group, target, part }
            }
            Kind::Depart => Act::Depart { group },
            Kind::Readmit => Act::Readmit { group, pick: self.dice.bits() },
            Kind::Rewrite => Act::Rewrite { group, pick: self.dice.bits() },
            Kind::Restore => Act::Restore { noticed: self.dice.roll(2) == 0, pause: self.short() },
            Kind::Swap => Act::Swap { pause: self.short() },
            Kind::Disown => Act::Disown { group },
            _ => Act::Lie { group, pick: self.dice.bits() },
        }
    }

    fn backlog(&mut self, group: usize) -> Act {
        let long = self.dice.roll(SELDOM) == 0;
        let count = if long { 10_000 } else { self.dice.between(5, 120) };
        let bytes = if long { 8 } else { [8, 200, 20_000][self.dice.index(3)] };
        Act::Backlog { group, count: u32::try_from(count).unwrap_or(1), bytes }
    }

    fn short(&mut self) -> u64 {
        let longest = [1_000, SECOND, 10 * SECOND][self.dice.index(3)];
        self.dice.between(1, longest)
    }

    fn cut(&mut self) -> Cut {
        let side = u32::try_from(self.dice.roll(1 << self.nodes)).unwrap_or(1);
        match self.dice.roll(5) {
            0 => Cut::Alone { node: self.dice.index(self.nodes) },
            1 => Cut::Bridge { side, bridge: self.dice.index(self.nodes) },
            2 => Cut::Ring { reach: 1 + self.dice.index(self.nodes / 2) },
            3 => Cut::Sides { side, one_way: true },
            _ => Cut::Sides { side, one_way: false },
        }
    }

    /// A step of the clock: seconds, a day, or years, forward or back.
    fn jump(&mut self) -> i64 {
        let far = [10, 86_400, 40 * 31_557_600][self.dice.index(3)];
        i64::try_from(self.dice.roll(2 * far)).unwrap_or(0) - i64::try_from(far).unwrap_or(0)
    }
}
