//! The beacons of this node: where and when it sends them.

use std::net::SocketAddr;
use std::time::Instant;

use larder_core::id::NodeId;
use tokio::sync::mpsc;

use crate::connections::MissingMembers;
use crate::discovery::beacon_schedule::BeaconSchedule;
use crate::discovery::beacon_socket::{BeaconSockets, ReceivedBeacon};
use crate::limit_stats::SharedLimitStats;

/// The beacon sockets with their schedule.
pub(crate) struct Beacons {
    is_enabled: bool,
    sockets: BeaconSockets,
    schedule: BeaconSchedule,
}

impl Beacons {
    /// Creates the beacons without interfaces; received ones arrive at the receiver.
    pub(crate) fn new(
        is_enabled: bool,
        local_node: NodeId,
        limit_stats: SharedLimitStats,
    ) -> (Self, mpsc::Receiver<ReceivedBeacon>) {
        let (sockets, received) = BeaconSockets::new(local_node, limit_stats);
        (Self { is_enabled, sockets, schedule: BeaconSchedule::new() }, received)
    }

    /// Sends beacons on the interfaces of these listen addresses from now on. True if one was added.
    pub(crate) fn set_interfaces(&mut self, listen_addrs: &[SocketAddr], now: Instant) -> bool {
        if !self.is_enabled {
            return false;
        }
        let any_added = self.sockets.set_interfaces(listen_addrs);
        if any_added {
            self.schedule.start_burst(now);
        }
        if self.sockets.is_empty() {
            self.schedule.stop();
        }
        any_added
    }

    /// Sends beacons at once, because an interface regained its carrier.
    pub(crate) fn on_carrier_restored(&mut self, now: Instant) {
        if !self.sockets.is_empty() {
            self.schedule.start_burst(now);
        }
    }

    /// Sends a beacon soon, because others must learn of this node.
    pub(crate) fn announce(&mut self, now: Instant) {
        self.schedule.plan_soon(now);
    }

    /// When the next beacon is due.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.schedule.next_at()
    }

    /// Sends the beacon that is due.
    pub(crate) fn send_if_due(&mut self, missing_members: MissingMembers, now: Instant) {
        if self.next_at().is_some_and(|next| next <= now) {
            self.sockets.send_beacon();
            self.schedule.on_sent(now, missing_members, rand::random());
        }
    }

    /// Sends no further beacons and closes the sockets.
    pub(crate) fn stop(&mut self) {
        self.schedule.stop();
        self.sockets.set_interfaces(&[]);
    }
}
