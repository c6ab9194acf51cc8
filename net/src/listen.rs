//! The listeners, and the addresses at which others can reach this node.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libp2p::core::transport::ListenerId;
use libp2p::swarm::{NetworkBehaviour, Swarm};
use libp2p::{Multiaddr, TransportError};

use crate::address;
use crate::config::{Config, StartError};
use crate::transport::port::{PortClaim, claim_port};

/// All listeners of this node.
#[derive(Default)]
pub(crate) struct Listeners {
    configured: Vec<SocketAddr>,
    bound: HashSet<(ListenerId, SocketAddr)>,
    reachable: Vec<SocketAddr>,
    port_claims: BTreeMap<SocketAddr, PortClaim>,
}

impl Listeners {
    /// Opens the listeners of `config`.
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

    /// Listens on IPv4 and IPv6 at `port`, or at free ports. A host without IPv6 uses IPv4 only.
    fn listen_everywhere(
        &mut self,
        swarm: &mut Swarm<impl NetworkBehaviour>,
        port: u16,
    ) -> Result<(), StartError> {
        let mut listen_or_fallback = |ip: IpAddr| {
            let preferred = SocketAddr::new(ip, port);
            self.listen_on(swarm, preferred).or_else(|error| {
                tracing::info!(%preferred, %error, "cannot listen on the preferred port; using a free port");
                self.listen_on(swarm, SocketAddr::new(ip, 0))
            })
        };
        let ipv4_result = listen_or_fallback(Ipv4Addr::UNSPECIFIED.into());
        let ipv6_result = listen_or_fallback(Ipv6Addr::UNSPECIFIED.into());
        if let Err(error) = &ipv6_result {
            tracing::debug!(%error, "cannot listen on IPv6");
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

    /// Records a new listen address. True if the reachable addresses changed.
    pub(crate) fn on_listen_addr_added(&mut self, listener_id: ListenerId, addr: &Multiaddr) -> bool {
        if let Some(target) = address::parse_dial_target(addr) {
            self.bound.insert((listener_id, target.socket));
        }
        self.refresh_reachable()
    }

    /// Records removed listen addresses. True if the reachable addresses changed.
    pub(crate) fn on_listen_addrs_removed(&mut self, listener_id: ListenerId, addrs: &[Multiaddr]) -> bool {
        for target in addrs.iter().filter_map(address::parse_dial_target) {
            self.bound.remove(&(listener_id, target.socket));
        }
        self.refresh_reachable()
    }

    /// The addresses at which others can reach this node.
    pub(crate) fn reachable(&self) -> &[SocketAddr] {
        &self.reachable
    }

    /// True if loopback is the only address and the operator did not configure it: at the start, while the
    /// interfaces are still being listed, or on a host without a network.
    pub(crate) fn has_only_loopback(&self) -> bool {
        self.configured.is_empty() && self.reachable.iter().all(|socket| socket.ip().is_loopback())
    }

    /// True if loopback addresses of peers on this host are acceptable.
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
