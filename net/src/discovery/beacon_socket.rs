//! The beacon sockets: one for each interface with a listen address.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use larder_core::id::NodeId;
use larder_core::rate_limiter::{KeyedRateLimiter, RateLimit};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::discovery::beacon::{Beacon, PACKET_BYTES};
use crate::limit_stats::SharedLimitStats;
use crate::limits;

/// A received beacon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceivedBeacon {
    pub(crate) node: NodeId,
    pub(crate) socket: SocketAddr,
}

/// Sends and receives beacons.
pub(crate) struct BeaconSockets {
    local_node: NodeId,
    interfaces: BTreeMap<Ipv4Addr, BeaconInterface>,
    sender: mpsc::Sender<ReceivedBeacon>,
    rate_limits: Arc<Mutex<BeaconRateLimits>>,
}

struct BeaconInterface {
    port: u16,
    socket: Arc<UdpSocket>,
    receive_task: JoinHandle<()>,
}

impl Drop for BeaconInterface {
    fn drop(&mut self) {
        self.receive_task.abort();
    }
}

struct BeaconRateLimits {
    per_source: KeyedRateLimiter<IpAddr, Instant>,
    total: KeyedRateLimiter<(), Instant>,
    limit_stats: SharedLimitStats,
}

impl BeaconRateLimits {
    fn try_take(&mut self, source: IpAddr) -> bool {
        let now = Instant::now();
        let source_rate = RateLimit::per_second(
            limits::MAX_BEACONS_PER_SOURCE_PER_SECOND,
            limits::MAX_BEACONS_PER_SOURCE_PER_SECOND,
        );
        let total_rate =
            RateLimit::per_second(limits::MAX_BEACONS_PER_SECOND, limits::MAX_BEACONS_PER_SECOND);
        if !self.per_source.try_take(source, source_rate, now) {
            self.limit_stats.record(
                "beacons from one address in a second",
                limits::MAX_BEACONS_PER_SOURCE_PER_SECOND as usize,
            );
            return false;
        }
        let is_allowed = self.total.try_take((), total_rate, now);
        if !is_allowed {
            self.limit_stats.record("beacons in a second", limits::MAX_BEACONS_PER_SECOND as usize);
        }
        is_allowed
    }
}

impl BeaconSockets {
    /// Creates the sockets without interfaces. Received beacons arrive at the receiver; excess ones are
    /// counted.
    pub(crate) fn new(
        local_node: NodeId,
        limit_stats: SharedLimitStats,
    ) -> (Self, mpsc::Receiver<ReceivedBeacon>) {
        let (sender, receiver) = mpsc::channel(limits::BEACON_CHANNEL_CAPACITY);
        let rate_limits = BeaconRateLimits {
            per_source: KeyedRateLimiter::new(limits::MAX_RATE_LIMITED_SOURCES),
            total: KeyedRateLimiter::new(1),
            limit_stats,
        };
        let rate_limits = Arc::new(Mutex::new(rate_limits));
        (Self { local_node, interfaces: BTreeMap::new(), sender, rate_limits }, receiver)
    }

    /// Replaces the interfaces; each beacon names the port of its interface. True if one was added.
    pub(crate) fn set_interfaces(&mut self, listen_addrs: &[SocketAddr]) -> bool {
        let mut wanted = BTreeMap::new();
        for socket in listen_addrs {
            if let SocketAddr::V4(socket) = socket {
                wanted.entry(*socket.ip()).or_insert(socket.port());
            }
        }
        self.interfaces.retain(|ip, interface| wanted.get(ip) == Some(&interface.port));
        let mut any_added = false;
        for (ip, port) in wanted {
            if self.interfaces.contains_key(&ip) || self.interfaces.len() >= limits::MAX_BEACON_INTERFACES {
                continue;
            }
            match self.open_socket(ip) {
                Ok(socket) => {
                    let receive_task = tokio::spawn(self.receive_loop(Arc::clone(&socket)));
                    self.interfaces.insert(ip, BeaconInterface { port, socket, receive_task });
                    any_added = true;
                }
                Err(error) => {
                    tracing::warn!(%ip, %error, "no beacon on this interface; give its peers with `peers`")
                }
            }
        }
        any_added
    }

    /// True if there is no interface to send on.
    pub(crate) fn is_empty(&self) -> bool {
        self.interfaces.is_empty()
    }

    /// Sends one beacon on each interface. A lost beacon does no harm, because another follows.
    pub(crate) fn send_beacon(&self) {
        for interface in self.interfaces.values() {
            let packet = Beacon { node: self.local_node, port: interface.port }.encode();
            let destination = SocketAddr::from((limits::BEACON_MULTICAST_GROUP, limits::BEACON_UDP_PORT));
            if let Err(error) = interface.socket.try_send_to(&packet, destination) {
                tracing::debug!(%error, "beacon not sent");
            }
        }
    }

    fn open_socket(&self, ip: Ipv4Addr) -> io::Result<Arc<UdpSocket>> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        // Several daemons on one host share the port; each receives every multicast packet.
        socket.set_reuse_address(true)?;
        #[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
        socket.set_reuse_port(true)?;
        // Bind to the group where possible, so that a unicast packet from outside the LAN is not received.
        let bind_ip = if cfg!(unix) { limits::BEACON_MULTICAST_GROUP } else { Ipv4Addr::UNSPECIFIED };
        socket.bind(&SocketAddrV4::new(bind_ip, limits::BEACON_UDP_PORT).into())?;
        // Without this, each socket would receive from all interfaces.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.set_multicast_all_v4(false)?;
        socket.set_multicast_if_v4(&ip)?;
        socket.set_multicast_ttl_v4(1)?;
        socket.set_multicast_loop_v4(true)?;
        socket.join_multicast_v4(&limits::BEACON_MULTICAST_GROUP, &ip)?;
        socket.set_nonblocking(true)?;
        Ok(Arc::new(UdpSocket::from_std(socket.into())?))
    }

    fn receive_loop(&self, socket: Arc<UdpSocket>) -> impl Future<Output = ()> + Send + 'static {
        let (local_node, sender, rate_limits) =
            (self.local_node, self.sender.clone(), Arc::clone(&self.rate_limits));
        async move {
            let mut packet = [0; 2 * PACKET_BYTES];
            loop {
                let Ok((size, sender_addr)) = socket.recv_from(&mut packet).await else {
                    // This can only be the error of an earlier send; reading it clears it.
                    tokio::time::sleep(limits::MIN_BEACON_INTERVAL).await;
                    continue;
                };
                if !rate_limits.lock().unwrap_or_else(PoisonError::into_inner).try_take(sender_addr.ip()) {
                    continue;
                }
                let Some(beacon) = packet.get(..size).and_then(Beacon::decode) else { continue };
                if beacon.node != local_node {
                    let socket = SocketAddr::new(sender_addr.ip(), beacon.port);
                    let _ = sender.try_send(ReceivedBeacon { node: beacon.node, socket });
                }
            }
        }
    }
}
