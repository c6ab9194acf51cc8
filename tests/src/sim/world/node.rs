//! One node of the world: its key, its disk, its clock, and its machine while it runs.

use std::collections::BTreeSet;

use larder_core::id::{NodeId, SecretKey};
use larder_core::node::{ClockReading, MonoTime, Node};
use larder_core::store::MemoryStore;

use super::super::disk::SimDisk;
use super::super::invariants::CheckedState;

/// Wall-clock time at which every world begins.
const START_WALL_SECONDS: i64 = 1_700_000_000;
const PPM: i128 = 1_000_000;

/// One node, running or not.
pub(in super::super) struct SimNode {
    /// Its key.
    pub(in super::super) secret: SecretKey,
    /// The machine, while it runs.
    pub(in super::super) core_node: Option<Node>,
    /// What it stored.
    pub(in super::super) disk: SimDisk,
    /// Which of its lives this is.
    pub(super) boot_count: u64,
    /// Whom it keeps links with.
    pub(super) linked_members: BTreeSet<NodeId>,
    /// How far its clock is off, in seconds.
    pub(in super::super) clock_offset: i64,
    /// How fast its clocks run off, in millionths.
    pub(super) drift_ppm: i64,
    /// When its machine was opened: its monotonic clock begins there.
    pub(super) started_at: u64,
    /// When its next tick is due.
    pub(super) next_tick: u64,
    /// True while a commit is under way.
    pub(super) is_syncing: bool,
    /// Until when it stands still.
    pub(super) frozen_until: u64,
    /// After how many more effects it dies, and for how long.
    pub(super) dies_after: Option<(u32, u64)>,
    /// What was judged already.
    pub(super) checked: CheckedState,
    /// The latest wall-clock second it ever saw.
    pub(super) latest_wall: i64,
    /// True once its store was damaged: what it wrote before may come back to it from others.
    pub(in super::super) was_damaged: bool,
    /// True once it ran from another disk than its own newest one.
    pub(in super::super) was_copied: bool,
    /// True if its daemon will notice that at its next start.
    pub(super) copy_is_noticed: bool,
    /// True once its keys were used for what no honest node does.
    pub(in super::super) has_forged: bool,
    /// A copy of its disk, to be set back to.
    pub(super) disk_copy: Option<MemoryStore>,
    /// The other copy of its directory.
    pub(super) other_disk: Option<MemoryStore>,
}

impl SimNode {
    pub(super) fn new(secret: SecretKey, drift: i64) -> Self {
        Self {
            secret,
            core_node: None,
            disk: SimDisk::default(),
            boot_count: 0,
            linked_members: BTreeSet::new(),
            clock_offset: 0,
            drift_ppm: drift,
            started_at: 0,
            next_tick: u64::MAX,
            is_syncing: false,
            frozen_until: 0,
            dies_after: None,
            checked: CheckedState::default(),
            latest_wall: 0,
            was_damaged: false,
            was_copied: false,
            copy_is_noticed: false,
            has_forged: false,
            disk_copy: None,
            other_disk: None,
        }
    }

    /// What its clocks say when it is `now`.
    pub(super) fn clocks_at(&self, now: u64) -> ClockReading {
        let passed = i64::try_from(now / 1_000_000).unwrap_or(i64::MAX);
        let off = passed.saturating_mul(self.drift_ppm) / 1_000_000;
        let wall = START_WALL_SECONDS
            .saturating_add(passed)
            .saturating_add(off)
            .saturating_add(self.clock_offset)
            .max(0);
        let since = i128::from(now.saturating_sub(self.started_at));
        let mono = since * (PPM + i128::from(self.drift_ppm)) / PPM;
        ClockReading { mono: MonoTime(u64::try_from(mono).unwrap_or(0)), unix_secs: wall }
    }

    /// When its monotonic clock says `moment`.
    pub(super) fn world_time_of(&self, moment: MonoTime) -> u64 {
        let since = i128::from(moment.0) * PPM / (PPM + i128::from(self.drift_ppm)) + 1;
        self.started_at.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// Does not let it die of what was planned for it.
    pub(in super::super) fn cancel_planned_crash(&mut self) {
        self.dies_after = None;
    }

    /// True if it runs, and does not stand still.
    pub(super) fn is_up(&self, now: u64) -> bool {
        self.core_node.is_some() && self.frozen_until <= now
    }
}
