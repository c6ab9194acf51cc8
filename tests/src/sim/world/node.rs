//! One simulated node: its key, its disk, its clocks, and the core's node while it runs.

use std::collections::BTreeSet;

use larder_core::id::{NodeId, SecretKey};
use larder_core::node::{ClockReading, MonoTime, Node};
use larder_core::store::MemoryStore;
use larder_core::test_support::TestDisk;

use super::super::node_checks::CheckedState;

/// The wall-clock time at which every world begins.
const START_WALL_SECONDS: i64 = 1_700_000_000;
const PPM: i128 = 1_000_000;

/// One node, running or not.
pub(in super::super) struct SimNode {
    pub(in super::super) secret: SecretKey,
    /// The core's node, while it runs.
    pub(in super::super) core_node: Option<Node>,
    pub(in super::super) disk: TestDisk,
    /// The time until which every commit fails, and the reason.
    pub(super) disk_fails_until: Option<(u64, &'static str)>,
    /// The number of starts and crashes. An event of an earlier run of the node is ignored.
    pub(super) boot_count: u64,
    /// The members that the node wants links with.
    pub(super) linked_members: BTreeSet<NodeId>,
    /// The offset of the wall clock, in seconds.
    pub(in super::super) clock_offset: i64,
    /// The drift of both clocks, in millionths.
    pub(super) drift_ppm: i64,
    /// The time of the last start, at which the monotonic clock is zero.
    pub(super) started_at: u64,
    /// The time of the next tick.
    pub(super) next_tick: u64,
    /// True while a commit is pending.
    pub(super) is_syncing: bool,
    pub(super) frozen_until: u64,
    /// The number of effects until the planned crash, and the downtime after it.
    pub(super) dies_after: Option<(u32, u64)>,
    /// The state that was checked last.
    pub(super) checked: CheckedState,
    /// The latest wall-clock time that the node saw.
    pub(super) latest_wall: i64,
    /// True after its store was damaged. The node may receive its own earlier changes from others.
    pub(in super::super) was_damaged: bool,
    /// True after it ran from a disk other than its own newest one.
    pub(in super::super) was_copied: bool,
    /// True if the daemon will notice this at its next start.
    pub(super) copy_is_noticed: bool,
    /// True after its key was used for something that no honest node does.
    pub(in super::super) has_forged: bool,
    /// A copy of the disk for a later rollback.
    pub(super) disk_copy: Option<MemoryStore>,
    /// The other copy of the data directory.
    pub(super) other_disk: Option<MemoryStore>,
}

impl SimNode {
    pub(super) fn new(secret: SecretKey, drift: i64) -> Self {
        Self {
            secret,
            core_node: None,
            disk: TestDisk::default(),
            disk_fails_until: None,
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

    /// The readings of both clocks at the virtual time `now`.
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

    /// The virtual time at which the monotonic clock shows `moment`.
    pub(super) fn world_time_of(&self, moment: MonoTime) -> u64 {
        let since = i128::from(moment.0) * PPM / (PPM + i128::from(self.drift_ppm)) + 1;
        self.started_at.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// Cancels the planned crash.
    pub(in super::super) fn cancel_planned_crash(&mut self) {
        self.dies_after = None;
    }

    /// True if the node runs and is not frozen.
    pub(super) fn is_up(&self, now: u64) -> bool {
        self.core_node.is_some() && self.frozen_until <= now
    }
}
