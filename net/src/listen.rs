//! The listeners, and the addresses at which others can reach this node.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use libp2p::core::transport::ListenerId;
use libp2p::swarm::{NetworkBehaviour, Swarm};
use libp2p::{Multiaddr, TransportError};

use crate::address;
use crate::config::{Config, StartError};
use crate::limits;
use crate::transport::port::{PortClaim, claim_port};

/// All listeners of this node.
#[derive(Default)]
pub(crate) struct Listeners {
    configured: Vec<SocketAddr>,
    bound: HashSet<(ListenerId, SocketAddr)>,
    reachable: Vec<SocketAddr>,
    /// The time at which loopback alone is reported, if no other address appears before.
    report_loopback_at: Option<Instant>,
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

    /// Records a new listen address. True if the reachable addresses are to be reported now.
    pub(crate) fn on_listen_addr_added(
        &mut self,
        listener_id: ListenerId,
        addr: &Multiaddr,
        now: Instant,
    ) -> bool {
        if let Some(target) = address::parse_dial_target(addr) {
            self.bound.insert((listener_id, target.socket));
        }
        self.refresh_reachable(now)
    }

    /// Records removed listen addresses. True if the reachable addresses are to be reported now.
    pub(crate) fn on_listen_addrs_removed(
        &mut self,
        listener_id: ListenerId,
        addrs: &[Multiaddr],
        now: Instant,
    ) -> bool {
        for target in addrs.iter().filter_map(address::parse_dial_target) {
            self.bound.remove(&(listener_id, target.socket));
        }
        self.refresh_reachable(now)
    }

    /// The addresses at which others can reach this node.
    pub(crate) fn reachable(&self) -> &[SocketAddr] {
        &self.reachable
    }

    /// When loopback alone is reported.
    pub(crate) fn report_at(&self) -> Option<Instant> {
        self.report_loopback_at
    }

    /// True if loopback alone is to be reported now.
    pub(crate) fn take_due_report(&mut self, now: Instant) -> bool {
        self.report_loopback_at.take_if(|report_at| *report_at <= now).is_some()
    }

    /// True if loopback is the only address and the operator did not configure it: at the start, while the
    /// interfaces are still being listed, or on a host without a network.
    fn has_only_loopback(&self) -> bool {
        self.configured.is_empty() && self.reachable.iter().all(|socket| socket.ip().is_loopback())
    }

    /// True if loopback addresses of peers on this host are acceptable.
    pub(crate) fn accepts_loopback_peers(&self) -> bool {
        self.reachable.iter().chain(&self.configured).any(|socket| socket.ip().is_loopback())
    }

    /// Loopback alone is reported after a delay, other changes at once.
    fn refresh_reachable(&mut self, now: Instant) -> bool {
        let sockets: Vec<_> = self.bound.iter().map(|(_, socket)| *socket).collect();
        let reachable = address::reachable_addresses(&sockets, &self.configured);
        if reachable == self.reachable {
            return false;
        }
        self.reachable = reachable;
        let is_delayed = self.has_only_loopback();
        self.report_loopback_at = is_delayed.then_some(now + limits::LOOPBACK_REPORT_DELAY);
        !is_delayed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_alone_is_reported_after_a_delay_and_other_addresses_at_once() {
        let (mut listeners, now) = (Listeners::default(), Instant::now());
        let id = ListenerId::next();
        let addr = |text: &str| -> Multiaddr { text.parse().unwrap() };
        assert!(!listeners.on_listen_addr_added(id, &addr("/ip4/127.0.0.1/tcp/1"), now));
        let report_at = now + limits::LOOPBACK_REPORT_DELAY;
        assert_eq!(listeners.report_at(), Some(report_at));
        assert!(!listeners.take_due_report(now));
        assert!(listeners.on_listen_addr_added(id, &addr("/ip4/10.0.0.1/tcp/1"), now));
        assert!(!listeners.take_due_report(report_at), "it was reported with the other address");
        assert!(!listeners.on_listen_addr_added(id, &addr("/ip4/10.0.0.1/tcp/1"), now), "no change");
        assert!(!listeners.on_listen_addrs_removed(id, &[addr("/ip4/10.0.0.1/tcp/1")], now));
        assert!(listeners.take_due_report(report_at) && listeners.report_at().is_none());
    }
}
