//! The plan of a run: everything that is decided before it begins, as plain data.
//!
//! A seed draws a plan (see [`super::draw`]), and the plan plays the same everywhere. A plan that failed is
//! written down as JSON, cut down, and played on every change for ever: it does not depend on how plans are
//! drawn later on.

use serde::{Deserialize, Serialize};

/// One microsecond of virtual time, times so many.
pub const SECOND_US: u64 = 1_000_000;

/// Everything that is decided before a run begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Of the streams of chance that the world itself draws from: keys, delays, what is lost.
    pub seed: u64,
    /// What the writers are mostly at; for the report.
    pub workload: String,
    /// How many nodes there are.
    pub nodes: usize,
    /// Which groups there are, and who is in them.
    pub groups: Vec<GroupPlan>,
    /// What goes wrong by itself.
    pub faults: Faults,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// True if who is in a group may change, or machines are not what they were.
    pub fn changes_membership(&self) -> bool {
        self.steps.iter().any(|step| step.op.changes_membership())
    }

    /// What it is in a few words, for the report of a run that failed.
    pub fn summary(&self) -> String {
        let groups: Vec<String> = self.groups.iter().map(|group| format!("{:?}", group.members)).collect();
        format!(
            "seed {}, workload {}, {} nodes, groups {}, {} steps, {:?}",
            self.seed,
            self.workload,
            self.nodes,
            groups.join(" "),
            self.steps.len(),
            self.faults
        )
    }
}

/// One group. Its members join before the first step, in this order; the first one founds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlan {
    /// Nodes with their roles.
    pub members: Vec<(usize, PlanRole)>,
}

/// A role, as a plan spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanRole {
    /// Founder or admin.
    Admin,
    /// Writes desired and observed state.
    Operator,
    /// Writes observed state.
    Node,
    /// Writes nothing.
    Reader,
}

/// What goes wrong by itself, and how often. Each class is off in half of all plans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Faults {
    /// Longest delay of a frame, in microseconds; each direction of each pair has a share of it.
    pub delay: u64,
    /// Longest time a commit takes, in microseconds.
    pub commit: u64,
    /// Frames out of a thousand with which their stream breaks: they are lost, wholly or in the middle.
    pub resets: u64,
    /// Frames out of a thousand behind which their stream is stuck for a while.
    pub clogs: u64,
    /// Frames out of a thousand that arrive twice.
    pub duplicates: u64,
    /// Frames out of a thousand that overtake those before them.
    pub reorders: u64,
    /// Frames out of a thousand after which an old one, of any earlier stream of the pair, comes again.
    pub replays: u64,
    /// How far clocks run off, in millionths.
    pub drift: u64,
    /// Nodes that speak a later version: one greater in every hello, with frames of kinds that nobody knows
    /// yet.
    pub later: Vec<usize>,
}

impl Faults {
    /// What is left of them once everything works again: how slow things are, and who speaks what.
    pub fn without_disorder(&self) -> Self {
        Self { resets: 0, clogs: 0, duplicates: 0, reorders: 0, replays: 0, ..self.clone() }
    }

    /// True if streams break the promise that frames come whole, once and in order. Noise keeps it on a real
    /// wire; a node must stay sound all the same, though it may blame its neighbour.
    pub fn breaks_stream_order(&self) -> bool {
        self.duplicates + self.reorders + self.replays > 0
    }
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// How long after the step before it, in microseconds.
    pub after: u64,
    /// To which node.
    pub node: usize,
    /// What.
    pub op: PlannedOp,
}

/// What can happen. Values are different in every act of a plan, so that each can be found again, but for one
/// item that is added to lists and taken out of them again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedOp {
    /// Assigns a value to a key of a `config`.
    Set {
        /// In which group.
        group: usize,
        /// Of which resource.
        resource: u8,
        /// Which key.
        key: u8,
        /// What.
        value: String,
    },
    /// Adds an item to the list of a `config`.
    Add {
        /// In which group.
        group: usize,
        /// Of which resource.
        resource: u8,
        /// Which.
        value: String,
    },
    /// Takes the oldest item out of the list of a `config`.
    Take {
        /// In which group.
        group: usize,
        /// Of which resource.
        resource: u8,
    },
    /// Unsets a key.
    Unset {
        /// In which group.
        group: usize,
        /// Of which resource.
        resource: u8,
        /// Which key.
        key: u8,
    },
    /// Removes a resource.
    Remove {
        /// In which group.
        group: usize,
        /// Which.
        resource: u8,
    },
    /// Writes a kind and a field that this version does not know, as a later one would.
    SetUnknown {
        /// In which group.
        group: usize,
        /// What.
        value: String,
    },
    /// Many writes at once.
    Backlog {
        /// In which group.
        group: usize,
        /// How many.
        count: u32,
        /// How long each value is.
        bytes: u32,
    },
    /// Settles one of the conflicts that the node sees.
    Resolve {
        /// In which group.
        group: usize,
        /// Which, and by which side.
        pick: u64,
    },
    /// The providers report.
    Observe {
        /// In which group.
        group: usize,
        /// On which resource.
        resource: u8,
        /// Applied, or failed.
        applied: bool,
        /// What it runs.
        revision: u64,
    },
    /// Stops or goes on syncing a group.
    Pause {
        /// Which.
        group: usize,
        /// True to stop.
        paused: bool,
    },
    /// Joins a group, through any node that is in it.
    Join {
        /// Which.
        group: usize,
        /// As what.
        part: PlanRole,
    },
    /// Some directions carry nothing any more.
    Cut {
        /// Which.
        cut: NetworkCut,
    },
    /// Everything carries again.
    HealCuts,
    /// The node dies between two batches.
    Crash {
        /// For how long, in microseconds.
        pause: u64,
        /// How many of the batches under way reached the disk, of as many as there are.
        kept: u64,
    },
    /// The node dies after so many more effects, wherever that is.
    CrashMidway {
        /// How many.
        effects: u32,
        /// For how long, in microseconds.
        pause: u64,
    },
    /// The node stands still, and goes on as if nothing had been.
    Freeze {
        /// For how long, in microseconds.
        pause: u64,
    },
    /// The disk takes no more.
    Disk {
        /// Because it is full, or broken.
        full: bool,
        /// For how long, in microseconds; then the daemon opens its store anew.
        pause: u64,
    },
    /// The node dies, and its store is found damaged when it starts again: some rows are gone or wrong.
    Damage {
        /// What is hit.
        hits: DamageExtent,
        /// Of which chance.
        seed: u64,
        /// For how long it is down, in microseconds.
        pause: u64,
    },
    /// The clock steps.
    Clock {
        /// By so many seconds.
        by: i64,
    },
    /// Nothing happens for a long time.
    Idle,
    /// An admin ends the membership of another node.
    RemoveMember {
        /// In which group.
        group: usize,
        /// Whose.
        target: usize,
    },
    /// An admin gives another node another role.
    ChangeRole {
        /// In which group.
        group: usize,
        /// To whom.
        target: usize,
        /// Which.
        part: PlanRole,
    },
    /// The node leaves a group.
    Leave {
        /// Which.
        group: usize,
    },
    /// An admin brings in a change that is kept aside.
    Readmit {
        /// In which group.
        group: usize,
        /// Which of them.
        pick: u64,
    },
    /// An operator writes once more what a change says that is kept aside.
    Rewrite {
        /// In which group.
        group: usize,
        /// Which of them.
        pick: u64,
    },
    /// The first time, the disk is copied; the next time, the node starts from that copy.
    Restore {
        /// True if its daemon notices.
        noticed: bool,
        /// For how long it is down, in microseconds.
        pause: u64,
    },
    /// The node dies, and a copy of its directory goes on in its place; the next time, the first one does
    /// again.
    Swap {
        /// For how long it is down, in microseconds.
        pause: u64,
    },
    /// The node's keys are used for what no honest node does.
    Forge {
        /// In which group.
        group: usize,
        /// What, and to whom.
        pick: u64,
    },
    /// An admin's keys end the grant of whoever wrote last, twice: as far as is known, and as if the last
    /// change had not been. So that one counts no more, and is named by a record that does.
    RevokeTwice {
        /// In which group.
        group: usize,
    },
}

impl PlannedOp {
    /// True if it can change who is in a group, or what of theirs counts.
    pub fn changes_membership(&self) -> bool {
        matches!(
            self,
            Self::RemoveMember { .. }
                | Self::ChangeRole { .. }
                | Self::Leave { .. }
                | Self::Readmit { .. }
                | Self::Rewrite { .. }
                | Self::Restore { .. }
                | Self::Swap { .. }
                | Self::Forge { .. }
                | Self::RevokeTwice { .. }
        )
    }
}

/// What damage hits of a store. Beside it lies the roster, which says which groups the node is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DamageExtent {
    /// Rows of one table, here and there, and all can still be read.
    OneTable,
    /// Rows of any table, and what is between them cannot be read.
    Anything,
    /// All of it.
    Everything,
}

/// Which directions carry nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkCut {
    /// The nodes of one side against the rest.
    Sides {
        /// A bit for each node.
        side: u32,
        /// Only from that side to the rest.
        one_way: bool,
    },
    /// One node against all.
    Alone {
        /// Which.
        node: usize,
    },
    /// Two sides, and one node that reaches both.
    Bridge {
        /// A bit for each node of one side.
        side: u32,
        /// Who reaches both.
        bridge: usize,
    },
    /// In a ring, each reaches only so many neighbours to the left and to the right.
    Ring {
        /// How many.
        reach: usize,
    },
}

impl NetworkCut {
    /// True if it keeps frames of `a` from `b`, of so many nodes.
    pub fn separates(&self, nodes: usize, a: usize, b: usize) -> bool {
        let at = |side: u32, node: usize| side >> (node % 32) & 1 == 1;
        match *self {
            Self::Sides { side, one_way } => at(side, a) != at(side, b) && (!one_way || at(side, a)),
            Self::Alone { node } => a == node || b == node,
            Self::Bridge { side, bridge } => a != bridge && b != bridge && at(side, a) != at(side, b),
            Self::Ring { reach } => {
                let apart = a.abs_diff(b);
                apart.min(nodes - apart) > reach.max(1)
            }
        }
    }
}
