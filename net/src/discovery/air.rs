//! The sockets of the beacon: one for each interface that we listen on.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use larder_core::id::NodeId;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::discovery::beacon::{Beacon, SIZE};
use crate::gate::budget::{Budget, Rate};
use crate::limits;
use crate::tally::Tally;

/// A beacon that was heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) node: NodeId,
    pub(crate) socket: SocketAddr,
}

/// Sends and hears beacons.
pub(crate) struct Air {
    us: NodeId,
    interfaces: BTreeMap<Ipv4Addr, Interface>,
    heard: mpsc::Sender<Heard>,
    budgets: Arc<Mutex<Budgets>>,
}

struct Interface {
    port: u16,
    socket: Arc<UdpSocket>,
    listener: JoinHandle<()>,
}

impl Drop for Interface {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

#[derive(Default)]
struct Budgets {
    sources: Budget<IpAddr>,
    total: Budget<()>,
    tally: Tally,
}

impl Budgets {
    fn take(&mut self, source: IpAddr) -> bool {
        let now = Instant::now();
        let each = Rate::per_second(limits::BEACONS_PER_SOURCE, limits::BEACONS_PER_SOURCE);
        let all = Rate::per_second(limits::BEACONS_TOTAL, limits::BEACONS_TOTAL);
        if !self.sources.take(source, each, now) {
            self.tally.note("beacons from one address in a second", limits::BEACONS_PER_SOURCE as usize);
            return false;
        }
        let taken = self.total.take((), all, now);
        if !taken {
            self.tally.note("beacons in a second", limits::BEACONS_TOTAL as usize);
        }
        taken
    }
}

impl Air {
    /// No interface yet; what is heard arrives at the receiver, and what is too much is counted.
    pub(crate) fn new(us: NodeId, tally: Tally) -> (Self, mpsc::Receiver<Heard>) {
        let (heard, receiver) = mpsc::channel(limits::BEACONS_WAITING);
        let budgets = Arc::new(Mutex::new(Budgets { tally, ..Budgets::default() }));
        (Self { us, interfaces: BTreeMap::new(), heard, budgets }, receiver)
    }

    /// Sends from these addresses from now on, each naming its port. True if one is new.
    pub(crate) fn set(&mut self, listening: &[SocketAddr]) -> bool {
        let mut wanted = BTreeMap::new();
        for socket in listening {
            if let SocketAddr::V4(socket) = socket {
                wanted.entry(*socket.ip()).or_insert(socket.port());
            }
        }
        self.interfaces.retain(|ip, interface| wanted.get(ip) == Some(&interface.port));
        let mut news = false;
        for (ip, port) in wanted {
            if self.interfaces.contains_key(&ip) || self.interfaces.len() >= limits::INTERFACES {
                continue;
            }
            match self.join(ip) {
                Ok(socket) => {
                    let listener = tokio::spawn(self.listen(Arc::clone(&socket)));
                    self.interfaces.insert(ip, Interface { port, socket, listener });
                    news = true;
                }
                Err(error) => {
                    tracing::warn!(%ip, %error, "no beacon on this interface; peers there must be named")
                }
            }
        }
        news
    }

    /// True if there is nowhere to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.interfaces.is_empty()
    }

    /// Sends one beacon on each interface. Full buffers and unplugged cables lose it: another follows.
    pub(crate) fn send(&self) {
        for interface in self.interfaces.values() {
            let packet = Beacon { node: self.us, port: interface.port }.encode();
            let to = SocketAddr::from((limits::BEACON_GROUP, limits::BEACON_PORT));
            if let Err(error) = interface.socket.try_send_to(&packet, to) {
                tracing::debug!(%error, "beacon not sent");
            }
        }
    }

    fn join(&self, ip: Ipv4Addr) -> io::Result<Arc<UdpSocket>> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        // Several daemons of one machine share the port; each gets its own copy of every multicast.
        socket.set_reuse_address(true)?;
        #[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
        socket.set_reuse_port(true)?;
        // Bound to the group where that is possible, so that no unicast packet from afar can pose as a neighbour.
        let bound = if cfg!(unix) { limits::BEACON_GROUP } else { Ipv4Addr::UNSPECIFIED };
        socket.bind(&SocketAddrV4::new(bound, limits::BEACON_PORT).into())?;
        // Else each of these sockets would hear all interfaces.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.set_multicast_all_v4(false)?;
        socket.set_multicast_if_v4(&ip)?;
        socket.set_multicast_ttl_v4(1)?;
        socket.set_multicast_loop_v4(true)?;
        socket.join_multicast_v4(&limits::BEACON_GROUP, &ip)?;
        socket.set_nonblocking(true)?;
        Ok(Arc::new(UdpSocket::from_std(socket.into())?))
    }

    fn listen(&self, socket: Arc<UdpSocket>) -> impl Future<Output = ()> + Send + 'static {
        let (us, heard, budgets) = (self.us, self.heard.clone(), Arc::clone(&self.budgets));
        async move {
            let mut packet = [0; 2 * SIZE];
            loop {
                let Ok((size, from)) = socket.recv_from(&mut packet).await else {
                    // Only an error of an earlier send is reported here; taking it clears it.
                    tokio::time::sleep(limits::BEACON_SPACING).await;
                    continue;
                };
                if !budgets.lock().unwrap_or_else(PoisonError::into_inner).take(from.ip()) {
                    continue;
                }
                let Some(beacon) = packet.get(..size).and_then(Beacon::decode) else { continue };
                if beacon.node != us {
                    let socket = SocketAddr::new(from.ip(), beacon.port);
                    let _ = heard.try_send(Heard { node: beacon.node, socket });
                }
            }
        }
    }
}
