//! One node of the world: its key, its disk, its clock, and its machine while it runs.

use std::collections::BTreeSet;

use larder_core::id::{NodeId, Secret};
use larder_core::machine::{Machine, Moment, Now};
use larder_core::store::Memory;

use super::super::check::Held;
use super::super::disk::Disk;

/// Wall-clock time at which every world begins.
const EPOCH: i64 = 1_700_000_000;
const MILLION: i128 = 1_000_000;

/// One node, running or not.
pub(in super::super) struct Node {
    /// Its key.
    pub(in super::super) secret: Secret,
    /// The machine, while it runs.
    pub(in super::super) machine: Option<Machine>,
    /// What it stored.
    pub(in super::super) disk: Disk,
    /// Which of its lives this is.
    pub(super) boot: u64,
    /// Whom it keeps links with.
    pub(super) members: BTreeSet<NodeId>,
    /// How far its clock is off, in seconds.
    pub(in super::super) clock: i64,
    /// How fast its clocks run off, in millionths.
    pub(super) drift: i64,
    /// When its machine was opened: its monotonic clock begins there.
    pub(super) started: u64,
    /// When its next tick is due.
    pub(super) wake: u64,
    /// True while a commit is under way.
    pub(super) syncing: bool,
    /// Until when it stands still.
    pub(super) frozen: u64,
    /// After how many more effects it dies, and for how long.
    pub(super) dies: Option<(u32, u64)>,
    /// What was judged already.
    pub(super) judged: Held,
    /// The latest wall-clock second it ever saw.
    pub(super) latest: i64,
    /// True once its store was damaged: what it wrote before may come back to it from others.
    pub(in super::super) damaged: bool,
    /// True once it ran from another disk than its own newest one.
    pub(in super::super) copied: bool,
    /// True if its daemon will notice that at its next start.
    pub(super) reborn: bool,
    /// True once its keys were used for what no honest node does.
    pub(in super::super) liar: bool,
    /// A copy of its disk, to be set back to.
    pub(super) backup: Option<Memory>,
    /// The other copy of its directory.
    pub(super) twin: Option<Memory>,
}

impl Node {
    pub(super) fn new(secret: Secret, drift: i64) -> Self {
        Self {
            secret,
            machine: None,
            disk: Disk::default(),
            boot: 0,
            members: BTreeSet::new(),
            clock: 0,
            drift,
            started: 0,
            wake: u64::MAX,
            syncing: false,
            frozen: 0,
            dies: None,
            judged: Held::default(),
            latest: 0,
            damaged: false,
            copied: false,
            reborn: false,
            liar: false,
            backup: None,
            twin: None,
        }
    }

    /// What its clocks say when it is `now`.
    pub(super) fn now(&self, now: u64) -> Now {
        let passed = i64::try_from(now / 1_000_000).unwrap_or(i64::MAX);
        let off = passed.saturating_mul(self.drift) / 1_000_000;
        let wall = EPOCH.saturating_add(passed).saturating_add(off).saturating_add(self.clock).max(0);
        let since = i128::from(now.saturating_sub(self.started));
        let mono = since * (MILLION + i128::from(self.drift)) / MILLION;
        Now { mono: Moment(u64::try_from(mono).unwrap_or(0)), wall }
    }

    /// When its monotonic clock says `moment`.
    pub(super) fn at(&self, moment: Moment) -> u64 {
        let since = i128::from(moment.0) * MILLION / (MILLION + i128::from(self.drift)) + 1;
        self.started.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// Does not let it die of what was planned for it.
    pub(in super::super) fn spare(&mut self) {
        self.dies = None;
    }

    /// True if it runs, and does not stand still.
    pub(super) fn is_up(&self, now: u64) -> bool {
        self.machine.is_some() && self.frozen <= now
    }
}
