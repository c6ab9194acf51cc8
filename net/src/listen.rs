//! Where this node listens, and what of it others should be told.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libp2p::core::transport::ListenerId;
use libp2p::swarm::{NetworkBehaviour, Swarm};
use libp2p::{Multiaddr, TransportError};

use crate::address;
use crate::config::{Config, StartError};
use crate::transport::port::{Claim, claim};

/// All addresses we listen on.
#[derive(Default)]
pub(crate) struct Listeners {
    asked: Vec<SocketAddr>,
    sockets: HashSet<(ListenerId, SocketAddr)>,
    reachable: Vec<SocketAddr>,
    claims: BTreeMap<SocketAddr, Claim>,
}

impl Listeners {
    /// Begins to listen where `config` says.
    pub(crate) fn open(
        swarm: &mut Swarm<impl NetworkBehaviour>,
        config: &Config,
    ) -> Result<Self, StartError> {
        let mut listeners = Self::default();
        if config.listen.is_empty() {
            listeners.open_everywhere(swarm, config.port)?;
        }
        for addr in &config.listen {
            let socket = address::parse(addr).ok_or_else(|| StartError::Address(addr.clone()))?.socket;
            listeners.asked.push(socket);
            let opened = listeners.listen(swarm, socket);
            opened.map_err(|error| StartError::Listen { addr: addr.clone(), error })?;
        }
        Ok(listeners)
    }

    /// Both families at `port`, or at free ports. A machine without IPv6 has just IPv4.
    fn open_everywhere(
        &mut self,
        swarm: &mut Swarm<impl NetworkBehaviour>,
        port: u16,
    ) -> Result<(), StartError> {
        let mut open = |ip: IpAddr| {
            let wished = SocketAddr::new(ip, port);
            self.listen(swarm, wished).or_else(|error| {
                tracing::info!(%wished, %error, "this port cannot be had, a free one is taken");
                self.listen(swarm, SocketAddr::new(ip, 0))
            })
        };
        let four = open(Ipv4Addr::UNSPECIFIED.into());
        let six = open(Ipv6Addr::UNSPECIFIED.into());
        if let Err(error) = &six {
            tracing::debug!(%error, "no IPv6 here");
        }
        let addr = address::plain(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
        four.or(six).map_err(|error| StartError::Listen { addr, error })
    }

    fn listen(&mut self, swarm: &mut Swarm<impl NetworkBehaviour>, socket: SocketAddr) -> io::Result<()> {
        let claim = claim(socket)?;
        swarm.listen_on(address::plain(socket)).map_err(|error| match error {
            TransportError::Other(error) => error,
            TransportError::MultiaddrNotSupported(_) => io::ErrorKind::Unsupported.into(),
        })?;
        self.claims.insert(socket, claim);
        Ok(())
    }

    /// libp2p listens on `addr` now. True if what is reachable changed.
    pub(crate) fn add(&mut self, listener: ListenerId, addr: &Multiaddr) -> bool {
        if let Some(target) = address::parse(addr) {
            self.sockets.insert((listener, target.socket));
        }
        self.changed()
    }

    /// libp2p no longer listens there. True if what is reachable changed.
    pub(crate) fn remove(&mut self, listener: ListenerId, addrs: &[Multiaddr]) -> bool {
        for target in addrs.iter().filter_map(address::parse) {
            self.sockets.remove(&(listener, target.socket));
        }
        self.changed()
    }

    /// What others may reach us at.
    pub(crate) fn reachable(&self) -> &[SocketAddr] {
        &self.reachable
    }

    /// True if loopback is all there is and nobody asked for it: as at the start, while the interfaces are still being
    /// listed, or on a machine without a network.
    pub(crate) fn is_alone(&self) -> bool {
        self.asked.is_empty() && self.reachable.iter().all(|socket| socket.ip().is_loopback())
    }

    /// True if peers on this very machine may name loopback addresses to us.
    pub(crate) fn on_loopback(&self) -> bool {
        self.reachable.iter().chain(&self.asked).any(|socket| socket.ip().is_loopback())
    }

    fn changed(&mut self) -> bool {
        let sockets: Vec<_> = self.sockets.iter().map(|(_, socket)| *socket).collect();
        let reachable = address::reachable(&sockets, &self.asked);
        let changed = reachable != self.reachable;
        self.reachable = reachable;
        changed
    }
}
