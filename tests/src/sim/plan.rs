//! The plan of a run: everything that is decided before the run begins, as plain data.
//!
//! `plan_generator` derives a plan from a seed, and every host plays a plan in the same way. A plan that
//! failed is stored as JSON, reduced, and played in every test run from then on. It does not depend on later
//! changes of the generator.

use serde::{Deserialize, Serialize};

/// The number of microseconds of virtual time in a second.
pub const SECOND_US: u64 = 1_000_000;

/// Everything that is decided before a run begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The seed of the random streams that the world uses: for keys, delays and losses.
    pub seed: u64,
    /// The name of the workload, for the report.
    pub workload: String,
    /// The number of nodes.
    pub nodes: usize,
    /// The groups with their first members.
    pub groups: Vec<GroupPlan>,
    /// The faults that occur at random.
    pub faults: Faults,
    /// The operations, in order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// True if the run can change the membership, or can copy, roll back or forge.
    pub fn changes_membership(&self) -> bool {
        self.steps.iter().any(|step| step.op.changes_membership())
    }

    /// A summary of the plan in a few words, for the report of a failed run.
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

/// One group. Its members join before the first step, in this order. The first one is the founder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlan {
    /// The nodes and their roles.
    pub members: Vec<(usize, PlanRole)>,
}

/// A role, as plans spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanRole {
    /// The founder or another admin.
    Admin,
    /// An operator: it writes desired and observed state.
    Operator,
    /// A node: it writes observed state.
    Node,
    /// A reader: it writes nothing.
    Reader,
}

/// The faults that occur at random, and how often. Each class is off in half of all plans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Faults {
    /// The longest delay of a frame, in microseconds. Each direction of each pair has its own share of it.
    pub delay: u64,
    /// The longest duration of a commit, in microseconds.
    pub commit: u64,
    /// The number of frames in a thousand with which their stream breaks. The frame is lost, completely or in
    /// part.
    pub resets: u64,
    /// The number of frames in a thousand after which their stream stalls for a while.
    pub clogs: u64,
    /// The number of frames in a thousand that arrive twice.
    pub duplicates: u64,
    /// The number of frames in a thousand that overtake earlier ones.
    pub reorders: u64,
    /// The number of frames in a thousand after which an old frame of an earlier stream of the pair arrives
    /// again.
    pub replays: u64,
    /// The largest drift of the clocks, in millionths.
    pub drift: u64,
    /// The nodes that speak a later version: their hello has a larger version number, and they send frames of
    /// unknown kinds.
    pub later: Vec<usize>,
}

impl Faults {
    /// The faults that remain after the heal: delays, and the nodes with a later version.
    pub fn without_disorder(&self) -> Self {
        Self { resets: 0, clogs: 0, duplicates: 0, reorders: 0, replays: 0, ..self.clone() }
    }

    /// True if streams duplicate, reorder or replay frames. On a real wire, Noise prevents this. A node must
    /// stay sound, but it may blame its neighbour.
    pub fn breaks_stream_order(&self) -> bool {
        self.duplicates + self.reorders + self.replays > 0
    }
}

/// One operation and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The delay after the previous step, in microseconds.
    pub after: u64,
    /// The index of the node.
    pub node: usize,
    /// The operation.
    pub op: PlannedOp,
}

/// An operation. Each operation of a plan writes a different value, so that every value can be traced to it.
/// The exception is one list item that is added and removed again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedOp {
    /// Assigns a value to a key of a `config`.
    Set {
        /// The index of the group.
        group: usize,
        /// The index of the resource.
        resource: u8,
        /// The index of the key.
        key: u8,
        /// The value to assign.
        value: String,
    },
    /// Adds an item to the list of a `config`.
    Add {
        /// The index of the group.
        group: usize,
        /// The index of the resource.
        resource: u8,
        /// The item to add.
        value: String,
    },
    /// Removes the oldest item from the list of a `config`.
    Take {
        /// The index of the group.
        group: usize,
        /// The index of the resource.
        resource: u8,
    },
    /// Unsets a key.
    Unset {
        /// The index of the group.
        group: usize,
        /// The index of the resource.
        resource: u8,
        /// The index of the key.
        key: u8,
    },
    /// Removes a resource.
    Remove {
        /// The index of the group.
        group: usize,
        /// The index of the resource.
        resource: u8,
    },
    /// Writes a kind and a field that this version does not know, as a later version would.
    SetUnknown {
        /// The index of the group.
        group: usize,
        /// The value of both fields.
        value: String,
    },
    /// Makes many writes at once.
    Backlog {
        /// The index of the group.
        group: usize,
        /// The number of writes.
        count: u32,
        /// The length of each value.
        bytes: u32,
    },
    /// Resolves one of the conflicts that the node sees.
    Resolve {
        /// The index of the group.
        group: usize,
        /// The choice of the conflict and of the side.
        pick: u64,
    },
    /// Lets the providers report.
    Observe {
        /// The index of the group.
        group: usize,
        /// The index of the resource.
        resource: u8,
        /// True for `applied`, false for `failed`.
        applied: bool,
        /// The applied revision.
        revision: u64,
    },
    /// Pauses or resumes the sync of a group.
    Pause {
        /// The index of the group.
        group: usize,
        /// True to pause, false to resume.
        paused: bool,
    },
    /// Joins a group, through any node that is in it.
    Join {
        /// The index of the group.
        group: usize,
        /// The role of the invite code.
        part: PlanRole,
    },
    /// Cuts some directions of the network.
    Cut {
        /// The directions to cut.
        cut: NetworkCut,
    },
    /// Restores every direction.
    HealCuts,
    /// Crashes the node between two batches.
    Crash {
        /// The time until it restarts, in microseconds.
        pause: u64,
        /// The choice of how many pending batches became durable: this number modulo the possible counts.
        kept: u64,
    },
    /// Crashes the node after a number of effects, possibly within one call.
    CrashMidway {
        /// The number of effects.
        effects: u32,
        /// The time until it restarts, in microseconds.
        pause: u64,
    },
    /// Freezes the node. Afterwards it continues as if no time had passed.
    Freeze {
        /// The duration, in microseconds.
        pause: u64,
    },
    /// Makes every commit fail.
    Disk {
        /// True for a full disk, false for a broken one.
        full: bool,
        /// The duration, in microseconds. Afterwards the daemon opens its store again.
        pause: u64,
    },
    /// Crashes the node. When it restarts, rows of its store are missing or wrong.
    Damage {
        /// The extent of the damage.
        hits: DamageExtent,
        /// The seed that chooses the damaged rows.
        seed: u64,
        /// The time until it restarts, in microseconds.
        pause: u64,
    },
    /// Sets the wall clock forward or back.
    Clock {
        /// The number of seconds.
        by: i64,
    },
    /// Lets a long time pass without an operation.
    Idle,
    /// Lets an admin remove another node from a group.
    RemoveMember {
        /// The index of the group.
        group: usize,
        /// The index of the node to remove.
        target: usize,
    },
    /// Lets an admin change the role of another node.
    ChangeRole {
        /// The index of the group.
        group: usize,
        /// The index of the node.
        target: usize,
        /// The new role.
        part: PlanRole,
    },
    /// Lets the node leave a group.
    Leave {
        /// The index of the group.
        group: usize,
    },
    /// Lets an admin readmit an unaccepted change.
    Readmit {
        /// The index of the group.
        group: usize,
        /// The choice of the change.
        pick: u64,
    },
    /// Lets an operator write the edits of an unaccepted change again.
    Rewrite {
        /// The index of the group.
        group: usize,
        /// The choice of the change.
        pick: u64,
    },
    /// The first time, copies the disk. The next time, starts the node from that copy.
    Restore {
        /// True if the daemon notices the rollback.
        noticed: bool,
        /// The time until the node restarts, in microseconds.
        pause: u64,
    },
    /// Crashes the node and continues with a copy of its data directory. The next time, the first directory
    /// continues.
    Swap {
        /// The time until the node restarts, in microseconds.
        pause: u64,
    },
    /// Uses the node's key for something that no honest node does.
    Forge {
        /// The index of the group.
        group: usize,
        /// The choice of the forgery and of its target.
        pick: u64,
    },
    /// Ends the grant of the last writer twice, with an admin's key. One Revoke has the known frontier, the
    /// other is one change earlier. The last change then does not count, but an effective record names it.
    RevokeTwice {
        /// The index of the group.
        group: usize,
    },
}

impl PlannedOp {
    /// True if the operation can change the membership, or what counts of a member.
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

/// The extent of damage to a store. The membership backup, which names the node's groups, survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DamageExtent {
    /// Some rows of one table are wrong or missing, and all rows can still be read.
    OneTable,
    /// Some rows of any table are wrong or missing, and ranges between them cannot be read.
    Anything,
    /// The whole store is lost.
    Everything,
}

/// A set of directions that carry nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkCut {
    /// The nodes of one side are cut from the rest.
    Sides {
        /// One bit for each node of the side.
        side: u32,
        /// True if only the direction from that side to the rest is cut.
        one_way: bool,
    },
    /// One node is cut from all others.
    Alone {
        /// The index of the node.
        node: usize,
    },
    /// Two sides are cut from each other, and one node reaches both.
    Bridge {
        /// One bit for each node of one side.
        side: u32,
        /// The index of the node that reaches both sides.
        bridge: usize,
    },
    /// The nodes form a ring, and each reaches only some neighbours to its left and right.
    Ring {
        /// The number of neighbours on each side.
        reach: usize,
    },
}

impl NetworkCut {
    /// True if frames of `a` do not reach `b`, in a world of `nodes` nodes.
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
