//! mDNS of libp2p, with a bound on its memory.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use libp2p::PeerId;
use libp2p::mdns;
use libp2p::swarm::behaviour::toggle::Toggle;
use socket2::{Domain, Protocol, Socket, Type};

use crate::limit_stats::SharedLimitStats;
use crate::limits;

/// The UDP port of multicast DNS (RFC 6762, section 3).
const MDNS_PORT: u16 = 5353;

/// The mDNS behaviour, or nothing where multicast is disabled or failed.
pub(crate) type MdnsBehaviour = Toggle<mdns::tokio::Behaviour>;

/// Creates mDNS with libp2p's default query interval of five minutes. A shorter interval makes every node
/// answer more often and still leaves pairs apart.
pub(crate) fn new_mdns_behaviour(is_enabled: bool, local_peer_id: PeerId) -> MdnsBehaviour {
    if !is_enabled {
        return Toggle::from(None);
    }
    let behaviour = mdns::tokio::Behaviour::new(mdns::Config::default(), local_peer_id);
    let behaviour =
        behaviour.inspect_err(|error| tracing::warn!(%error, "mDNS failed; discovery uses the beacon only"));
    Toggle::from(behaviour.ok())
}

/// Checks that this process could receive multicast DNS: `Err` if another program holds the port for itself.
///
/// mDNS of libp2p reports no error then, and finds no peer. The beacon still does.
pub fn check_mdns_port() -> io::Result<()> {
    check_shared_port(MDNS_PORT)
}

fn check_shared_port(port: u16) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())
}

/// Pauses mDNS when it holds too many records.
#[derive(Default)]
pub(crate) struct MdnsLimiter {
    paused_until: Option<Instant>,
}

impl MdnsLimiter {
    /// Turns mDNS off for a while if it holds too many records. Called after each mDNS event.
    pub(crate) fn pause_if_flooded(
        &mut self,
        mdns: &mut MdnsBehaviour,
        limit_stats: &SharedLimitStats,
        now: Instant,
    ) {
        let record_count = mdns.as_ref().map_or(0, |mdns| mdns.discovered_nodes().len());
        if record_count > limits::MAX_MDNS_RECORDS {
            tracing::warn!(record_count, "mDNS is flooded and paused; discovery uses the beacon");
            limit_stats.record("mDNS records", limits::MAX_MDNS_RECORDS);
            *mdns = Toggle::from(None);
            self.paused_until = Some(now + limits::MDNS_FLOOD_PAUSE);
        }
    }

    /// When mDNS is to be turned on again.
    pub(crate) fn resumes_at(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Turns mDNS on again after the pause. mDNS learns addresses only as they change, so it announces an
    /// interface only after its next change; that is acceptable after an attack.
    pub(crate) fn resume_if_due(&mut self, mdns: &mut MdnsBehaviour, local_peer_id: PeerId, now: Instant) {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            *mdns = new_mdns_behaviour(true, local_peer_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_port_that_another_program_holds_is_an_error() {
        let exclusive = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = exclusive.local_addr().unwrap().port();
        assert_eq!(check_shared_port(port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(exclusive);
        check_shared_port(port).unwrap();
    }
}
