//! Finds the next deadline and runs what is due.

use std::time::{Duration, Instant};

use larder_core::id::NodeId;

use crate::discovery::beacon_schedule::MissingMembers;
use crate::driver::Driver;
use crate::event::{DownReason, GuestStreamError};
use crate::limits;
use crate::peer::{OutgoingGuestState, PeerConnection, PeerState};

/// The longest sleep of the driver when nothing is planned.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

impl Driver {
    /// The time at which the driver has something to do.
    pub(super) fn next_deadline(&self, now: Instant) -> Instant {
        let peers = self.peers.iter().filter_map(|(node, peer)| peer.next_deadline(self.is_member(*node)));
        let other_deadlines = [
            self.report_loopback_at,
            self.beacon_schedule.next_at(),
            self.static_peers.next_dial_at(),
            self.mdns_limiter.resumes_at(),
            self.next_guest_slot_at(),
            self.shutdown.deadline(),
        ];
        let deadline = if self.shutdown.is_shutting_down() {
            self.shutdown.deadline()
        } else {
            peers.chain(other_deadlines.into_iter().flatten()).min()
        };
        deadline.unwrap_or(now + MAX_SLEEP).min(now + MAX_SLEEP)
    }

    /// Runs everything that is due.
    pub(super) fn run_due(&mut self, now: Instant) {
        if self.shutdown.is_shutting_down() {
            self.advance_shutdown(now);
            return;
        }
        if self.beacon_schedule.next_at().is_some_and(|next| next <= now) {
            self.beacon_sockets.send_beacon();
            self.beacon_schedule.on_sent(now, self.missing_members(now), rand::random());
        }
        if self.report_loopback_at.is_some_and(|report_at| report_at <= now) {
            self.report_listening(now);
        }
        self.dial_static_peers(now);
        let local_peer_id = *self.swarm.local_peer_id();
        self.mdns_limiter.resume_if_due(&mut self.swarm.behaviour_mut().mdns, local_peer_id, now);
        let is_due = |node: &NodeId, peer: &PeerState| {
            peer.next_deadline(self.is_member(*node)).is_some_and(|due| due <= now)
        };
        let due_nodes: Vec<NodeId> =
            self.peers.iter().filter(|(node, peer)| is_due(node, peer)).map(|(node, _)| *node).collect();
        for node in due_nodes {
            self.run_peer_due(node, now);
        }
        self.start_waiting_guest_streams(now);
    }

    fn run_peer_due(&mut self, node: NodeId, now: Instant) {
        self.run_due_dial(node, now);
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.relink_at.is_some_and(|relink_at| relink_at <= now) {
            peer.relink_at = None;
            self.reconcile_member_link(node);
        }
        self.expire_guest_setup(node, now);
        if !self.is_member(node) {
            self.close_idle_connections(node, now);
            self.forget_if_unused(node);
        }
    }

    /// Fails a requested guest stream that did not open in time.
    fn expire_guest_setup(&mut self, node: NodeId, now: Instant) {
        let Some(peer) = self.peers.get(&node) else { return };
        match peer.outgoing_guest {
            OutgoingGuestState::Dialing(deadline) if deadline <= now => {
                self.fail_guest_stream(node, GuestStreamError::Unreachable)
            }
            OutgoingGuestState::Opening(deadline) if deadline <= now => {
                self.fail_guest_stream(node, GuestStreamError::Declined)
            }
            _ => {}
        }
    }

    /// Closes connections of a non-member that carried no guest stream for too long. A held link does not
    /// count, or it would occupy a connection without end.
    fn close_idle_connections(&mut self, node: NodeId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let is_idle = |c: &PeerConnection| c.last_used_at + limits::NON_MEMBER_IDLE_TIMEOUT <= now;
        let idle_ids: Vec<_> = peer
            .open_connections()
            .filter(|c| is_idle(c) && !peer.has_guest_stream_on(c.id))
            .map(|c| c.id)
            .collect();
        for id in idle_ids {
            if peer.link_connection() == Some(id) {
                peer.end_link(DownReason::Removed);
            }
            if let Some(connection) = peer.connection_mut(id) {
                connection.is_closing = true;
            }
            self.swarm.close_connection(id);
        }
        peer.mark_missing_if_disconnected(now);
    }

    /// Returns the number of members and how long the newest missing one has been missing.
    pub(super) fn missing_members(&self, now: Instant) -> MissingMembers {
        let missing_since = self.members.iter().filter_map(|node| self.peers.get(node)?.missing_since);
        MissingMembers {
            member_count: self.members.len(),
            newest_missing_for: missing_since.map(|since| now.saturating_duration_since(since)).min(),
        }
    }
}
