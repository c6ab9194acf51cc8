//! Where this node listens, and what of it others should be told.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libp2p::core::transport::ListenerId;
use libp2p::swarm::{NetworkBehaviour, Swarm};
use libp2p::{Multiaddr, TransportError};

use crate::address;
use crate::config::{Config, StartError};
use crate::transport::port::{PortClaim, claim_port};

/// All addresses we listen on.
#[derive(Default)]
pub(crate) struct Listeners {
    configured: Vec<SocketAddr>,
    bound: HashSet<(ListenerId, SocketAddr)>,
    reachable: Vec<SocketAddr>,
    port_claims: BTreeMap<SocketAddr, PortClaim>,
}

impl Listeners {
    /// Begins to listen where `config` says.
    pub(crate) fn open(
        swarm: &mut Swarm<impl NetworkBehaviour>,
        config: &Config,
    ) -> Result<Self, StartError> {
        let mut listeners = Self::default();
        if config.listen_addrs.is_empty() {
            listeners.listen_everywhere(swarm, config.preferred_port)?;
        }
        for addr in &config.listen_addrs {
            let socket = address::parse_dial_target(addr)
                .ok_or_else(|| StartError::UnsupportedAddress(addr.clone()))?
                .socket;
            listeners.configured.push(socket);
            let listen_result = listeners.listen_on(swarm, socket);
            listen_result.map_err(|error| StartError::ListenFailed { addr: addr.clone(), error })?;
        }
        Ok(listeners)
    }

    /// Both families at `port`, or at free ports. A machine without IPv6 has just IPv4.
    fn listen_everywhere(
        &mut self,
        swarm: &mut Swarm<impl NetworkBehaviour>,
        port: u16,
    ) -> Result<(), StartError> {
        let mut listen_or_fallback = |ip: IpAddr| {
            let preferred = SocketAddr::new(ip, port);
            self.listen_on(swarm, preferred).or_else(|error| {
                tracing::info!(%preferred, %error, "this port cannot be had, a free one is taken");
                self.listen_on(swarm, SocketAddr::new(ip, 0))
            })
        };
        let ipv4_result = listen_or_fallback(Ipv4Addr::UNSPECIFIED.into());
        let ipv6_result = listen_or_fallback(Ipv6Addr::UNSPECIFIED.into());
        if let Err(error) = &ipv6_result {
            tracing::debug!(%error, "no IPv6 here");
        }
        let addr = address::to_multiaddr(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
        ipv4_result.or(ipv6_result).map_err(|error| StartError::ListenFailed { addr, error })
    }

    fn listen_on(&mut self, swarm: &mut Swarm<impl NetworkBehaviour>, socket: SocketAddr) -> io::Result<()> {
        let claim = claim_port(socket)?;
        swarm.listen_on(address::to_multiaddr(socket)).map_err(|error| match error {
            TransportError::Other(error) => error,
            TransportError::MultiaddrNotSupported(_) => io::ErrorKind::Unsupported.into(),
        })?;
        self.port_claims.insert(socket, claim);
        Ok(())
    }

    /// libp2p listens on `addr` now. True if what is reachable changed.
    pub(crate) fn on_listen_addr_added(&mut self, listener_id: ListenerId, addr: &Multiaddr) -> bool {
        if let Some(target) = address::parse_dial_target(addr) {
            self.bound.insert((listener_id, target.socket));
        }
        self.refresh_reachable()
    }

    /// libp2p no longer listens there. True if what is reachable changed.
    pub(crate) fn on_listen_addrs_removed(&mut self, listener_id: ListenerId, addrs: &[Multiaddr]) -> bool {
        for target in addrs.iter().filter_map(address::parse_dial_target) {
            self.bound.remove(&(listener_id, target.socket));
        }
        self.refresh_reachable()
    }

    /// What others may reach us at.
    pub(crate) fn reachable(&self) -> &[SocketAddr] {
        &self.reachable
    }

    /// True if loopback is all there is and nobody asked for it: as at the start, while the interfaces are still being
    /// listed, or on a machine without a network.
    pub(crate) fn has_only_loopback(&self) -> bool {
        self.configured.is_empty() && self.reachable.iter().all(|socket| socket.ip().is_loopback())
    }

    /// True if peers on this very machine may name loopback addresses to us.
    pub(crate) fn accepts_loopback_peers(&self) -> bool {
        self.reachable.iter().chain(&self.configured).any(|socket| socket.ip().is_loopback())
    }

    fn refresh_reachable(&mut self) -> bool {
        let sockets: Vec<_> = self.bound.iter().map(|(_, socket)| *socket).collect();
        let reachable = address::reachable_addresses(&sockets, &self.configured);
        let is_changed = reachable != self.reachable;
        self.reachable = reachable;
        is_changed
    }
}
