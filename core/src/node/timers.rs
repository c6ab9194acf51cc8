//! The node's timers: each has a name, and [`super::Node::next_wake_at`] is the earliest deadline.
//!
//! No timer is set or cancelled by hand. Each part of the node derives its deadline from its own state, so no
//! transition can forget a timer; a part that waits for nothing has no deadline, and an idle node sleeps.
//!
//! | timer | when it is due | what it does |
//! |---|---|---|
//! | `RangeTimeout` | a range request has no response for `RANGE_REQUEST_TIMEOUT_MS` | asks others |
//! | `Repair` | a neighbour's digest has differed for the repair delay | sends this node's digest |
//! | `Away` | a member without a link is silent for `AWAY_AFTER_MS` | reports it as away |
//! | `ResumeSending` | a link has room again and something waits for it | sends what waits |
//! | `ForwardedJoin` | a forwarded join has no answer for `FORWARDED_JOIN_TTL_MS` | forgets the join |
//! | `Snapshot` | `PRESENCE_INTERVAL_MS` after a change | writes out shards that have grown enough |
//! | `Presence` | `PRESENCE_INTERVAL_MS` after the last presence, or sooner after a change | sends presence |
//! | `Rebuild` | a document is under reconstruction | applies the next slice of changes |
//! | `ObservationWrite` | the debounce time of reported observations ended | writes one observed change |
//! | `LinkPing` | a link carried no frame for `PRESENCE_INTERVAL_MS` | pings the peer |
//! | `GuestRetry` | a join or pairing may contact a node again, or it ends | opens guest streams |
//! | `MembershipProof` | a nearby member has no link for `MEMBERSHIP_PROOF_DELAY_MS` | opens a guest stream |
//! | `GuestIdle` | a guest stream carried no frame for `GUEST_STREAM_IDLE_MS` | closes it |
//! | `IncomingPairing` | a pairing request was not repeated for `PAIRING_TIMEOUT_MS` | forgets the request |

use super::Node;
use super::group_state::GroupState;
use super::guest_opener::{self, GuestOpener};
use super::input::MonoTime;
use super::observed_writer;
use super::session::SyncSession;
use crate::id::GroupId;
use crate::limits;

/// One timer. Timers that are due together run in the order of the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    RangeTimeout(GroupId),
    Repair(GroupId),
    Away(GroupId),
    ResumeSending(GroupId),
    ForwardedJoin(GroupId),
    Snapshot(GroupId),
    Presence(GroupId),
    Rebuild(GroupId),
    ObservationWrite(GroupId),
    LinkPing,
    GuestRetry,
    MembershipProof,
    GuestIdle,
    IncomingPairing,
}

/// All timers that have a deadline.
#[derive(Debug, Default)]
pub(super) struct TimerTable(Vec<(Timer, MonoTime)>);

impl TimerTable {
    pub(super) fn set(&mut self, timer: Timer, due: Option<MonoTime>) {
        self.0.extend(due.map(|due| (timer, due)));
    }

    fn next_deadline(&self) -> Option<MonoTime> {
        self.0.iter().map(|(_, due)| *due).min()
    }

    fn due(self, now: MonoTime) -> Vec<Timer> {
        let mut due: Vec<Timer> =
            self.0.into_iter().filter(|(_, due)| *due <= now).map(|(timer, _)| timer).collect();
        due.sort_unstable();
        due
    }
}

impl Node {
    /// When [`super::Input::Tick`] is due at the latest; `None` while nothing waits for time to pass.
    pub fn next_wake_at(&self) -> Option<MonoTime> {
        timers(self).next_deadline().map(|due| due.max(self.now.mono))
    }
}

fn timers(node: &Node) -> TimerTable {
    let mut timers = TimerTable::default();
    if node.outbox.has_failed() {
        return timers;
    }
    for state in node.groups.values() {
        set_group_timers(node, state, &mut timers);
    }
    let last_sent = node.links.values().map(|link| link.last_sent_at).min();
    timers.set(Timer::LinkPing, last_sent.map(|at| at.plus_ms(limits::PRESENCE_INTERVAL_MS)));
    timers.set(Timer::GuestRetry, guest_opener::guest_retry_due(node));
    timers.set(Timer::MembershipProof, node.proof_due.values().min().copied());
    timers.set(Timer::GuestIdle, node.guest_streams.idle_due());
    timers.set(Timer::IncomingPairing, node.pairings.incoming.expiry_due());
    timers
}

fn set_group_timers(node: &Node, state: &GroupState, timers: &mut TimerTable) {
    let group = state.id();
    timers.set(Timer::RangeTimeout(group), state.requested_ranges.next_due());
    timers.set(Timer::Repair(group), state.sessions.values().filter_map(SyncSession::repair_due_at).min());
    timers.set(Timer::Away(group), state.liveness.away_due(&state.linked_peers()));
    let can_resume = state.sessions.iter().any(|(link, session)| {
        session.has_unsent() && node.links.get(link).is_some_and(|link| !link.is_backpressured())
    });
    timers.set(Timer::ResumeSending(group), can_resume.then_some(node.now.mono));
    timers.set(Timer::ForwardedJoin(group), state.admission.forwarded_due());
    timers.set(Timer::Snapshot(group), state.snapshot_due);
    let write_due = state.observations.write_due.filter(|_| !state.refetching);
    timers.set(Timer::ObservationWrite(group), write_due);
    timers.set(Timer::Presence(group), state.presence_due.filter(|_| !state.paused));
    timers.set(Timer::Rebuild(group), state.group.shard_states().is_rebuilding().then_some(node.now.mono));
}

/// Runs every timer that is due.
pub(super) fn run_due(node: &mut Node) {
    for timer in timers(node).due(node.now.mono) {
        run_timer(node, timer);
    }
}

fn run_timer(node: &mut Node, timer: Timer) {
    match timer {
        Timer::RangeTimeout(group)
        | Timer::Repair(group)
        | Timer::Away(group)
        | Timer::ResumeSending(group)
        | Timer::ForwardedJoin(group)
        | Timer::Snapshot(group)
        | Timer::Presence(group)
        | Timer::ObservationWrite(group) => run_group_timer(node, timer, group),
        // The node applies a slice after every input.
        Timer::Rebuild(_) => {}
        Timer::LinkPing => node.link_handler().ping_idle_links(),
        Timer::GuestRetry => GuestOpener { node }.open_due_guest_streams(),
        Timer::MembershipProof => GuestOpener { node }.schedule_membership_proofs(),
        Timer::GuestIdle => {
            let (guest_streams, mut ctx) = node.split();
            guest_streams.close_idle(&mut ctx);
        }
        Timer::IncomingPairing => node.pairings.incoming.expire(node.now.mono),
    }
}

fn run_group_timer(node: &mut Node, timer: Timer, group: GroupId) {
    let local_info = node.local_info.clone();
    let Some((state, mut ctx)) = node.group_with_context(group) else { return };
    match timer {
        Timer::RangeTimeout(_) => state.sync(&mut ctx).expire_range_requests(),
        Timer::Repair(_) => state.sync(&mut ctx).retry_mismatched_sessions(),
        Timer::Away(_) => state.expire_liveness(&mut ctx),
        Timer::ResumeSending(_) => state.sync(&mut ctx).resume_sending(),
        Timer::ForwardedJoin(_) => state.admission.expire_forwarded(ctx.now.mono),
        Timer::Snapshot(_) => state.write_due_snapshots(&mut ctx),
        Timer::Presence(_) => state.send_presence(&mut ctx, &local_info),
        Timer::ObservationWrite(_) => observed_writer::write_observations(state, &mut ctx),
        _ => {}
    }
}
