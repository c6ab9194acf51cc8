//! Connection admission: limits by address before the handshake, and by key after it.
//!
//! libp2p asks twice: after `accept` and before Noise (denying costs 0.06 ms there), and once the key is
//! known (0.5 ms). Members have room of their own; non-members share a few connections. The driver decides
//! which streams a connection may carry.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Instant;

use larder_core::rate_limiter::{KeyedRateLimiter, RateLimit};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionId, DialFailure, FromSwarm, ListenFailure,
    NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use crate::address::source_key;
use crate::limit_stats::SharedLimitStats;
use crate::{address, key, limits};

/// Why a connection was denied. The other side only sees a closed connection.
#[derive(Debug, thiserror::Error)]
enum DenyReason {
    #[error("the source address is not TCP over IP")]
    UnsupportedAddress,
    #[error("connections from one address come too fast")]
    SourceRate,
    #[error("too many handshakes are pending")]
    PendingHandshakes,
    #[error("too many handshakes from one address are pending")]
    PendingHandshakesFromSource,
    #[error("too many connections")]
    Connections,
    #[error("too many connections of one key")]
    ConnectionsOfKey,
    #[error("too many connections of non-members")]
    NonMemberConnections,
    #[error("too many connections of non-members from one address")]
    NonMemberConnectionsFromSource,
    #[error("the key is not an Ed25519 key")]
    UnsupportedKeyType,
}

impl DenyReason {
    /// The name and value of the reached limit, if a limit is the reason.
    fn exceeded_limit(&self) -> Option<(&'static str, usize)> {
        Some(match self {
            Self::UnsupportedAddress | Self::UnsupportedKeyType => return None,
            Self::SourceRate => {
                ("connections from one address at once", limits::MAX_INBOUND_BURST_PER_SOURCE as usize)
            }
            Self::PendingHandshakes => ("handshakes at once", limits::MAX_PENDING_HANDSHAKES),
            Self::PendingHandshakesFromSource => {
                ("handshakes from one address at once", limits::MAX_PENDING_HANDSHAKES_PER_SOURCE)
            }
            Self::Connections => ("connections", limits::MAX_CONNECTIONS),
            Self::ConnectionsOfKey => ("connections of one key", limits::MAX_CONNECTIONS_PER_KEY),
            Self::NonMemberConnections => ("connections of non-members", limits::MAX_NON_MEMBER_CONNECTIONS),
            Self::NonMemberConnectionsFromSource => {
                ("connections of non-members from one address", limits::MAX_NON_MEMBER_CONNECTIONS_PER_SOURCE)
            }
        })
    }
}

struct AdmittedConnection {
    peer: PeerId,
    source: Option<IpAddr>,
}

/// The first behaviour that libp2p asks about each connection.
pub(crate) struct AdmissionBehaviour {
    members: HashSet<PeerId>,
    /// Source addresses of members; they get a higher rate.
    member_addresses: HashSet<IpAddr>,
    pending: HashMap<ConnectionId, IpAddr>,
    admitted: HashMap<ConnectionId, AdmittedConnection>,
    inbound_rate: KeyedRateLimiter<IpAddr, Instant>,
    limit_stats: SharedLimitStats,
}

impl AdmissionBehaviour {
    /// Creates the behaviour; it counts denied connections in `limit_stats`.
    pub(crate) fn new(limit_stats: SharedLimitStats) -> Self {
        Self {
            members: HashSet::new(),
            member_addresses: HashSet::new(),
            pending: HashMap::new(),
            admitted: HashMap::new(),
            inbound_rate: KeyedRateLimiter::new(limits::MAX_RATE_LIMITED_SOURCES),
            limit_stats,
        }
    }

    /// Replaces the set of member keys.
    pub(crate) fn set_members(&mut self, members: HashSet<PeerId>) {
        self.members = members;
    }

    fn check_pending(
        &mut self,
        id: ConnectionId,
        remote: &Multiaddr,
        now: Instant,
    ) -> Result<(), DenyReason> {
        let target = address::parse_dial_target(remote).ok_or(DenyReason::UnsupportedAddress)?;
        let source = source_key(target.socket.ip());
        let pending_from_source = self.pending.values().filter(|ip| **ip == source).count();
        if self.pending.len() >= limits::MAX_PENDING_HANDSHAKES {
            return Err(DenyReason::PendingHandshakes);
        }
        if pending_from_source >= limits::MAX_PENDING_HANDSHAKES_PER_SOURCE {
            return Err(DenyReason::PendingHandshakesFromSource);
        }
        let mut rate = RateLimit::per_second(
            limits::MAX_INBOUND_PER_SOURCE_PER_SECOND,
            limits::MAX_INBOUND_BURST_PER_SOURCE,
        );
        if self.member_addresses.contains(&source) {
            rate = rate.scaled_by(limits::MEMBER_ADDRESS_RATE_FACTOR);
        }
        if !self.inbound_rate.try_take(source, rate, now) {
            return Err(DenyReason::SourceRate);
        }
        self.pending.insert(id, source);
        Ok(())
    }

    fn check_established(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        is_inbound: bool,
    ) -> Result<(), DenyReason> {
        self.pending.remove(&id);
        key::node_id_of(&peer).ok_or(DenyReason::UnsupportedKeyType)?;
        let source = address::parse_dial_target(remote).map(|target| source_key(target.socket.ip()));
        if self.admitted.len() >= limits::MAX_CONNECTIONS {
            return Err(DenyReason::Connections);
        }
        if self.admitted.values().filter(|connection| connection.peer == peer).count()
            >= limits::MAX_CONNECTIONS_PER_KEY
        {
            return Err(DenyReason::ConnectionsOfKey);
        }
        if self.members.contains(&peer) {
            self.add_member_address(source);
        } else if is_inbound {
            self.check_non_member(source)?;
        }
        self.admitted.insert(id, AdmittedConnection { peer, source });
        Ok(())
    }

    fn check_non_member(&self, source: Option<IpAddr>) -> Result<(), DenyReason> {
        let non_members =
            || self.admitted.values().filter(|connection| !self.members.contains(&connection.peer));
        let from_source = non_members().filter(|connection| connection.source == source).count();
        if non_members().count() >= limits::MAX_NON_MEMBER_CONNECTIONS {
            return Err(DenyReason::NonMemberConnections);
        }
        if from_source >= limits::MAX_NON_MEMBER_CONNECTIONS_PER_SOURCE {
            return Err(DenyReason::NonMemberConnectionsFromSource);
        }
        Ok(())
    }

    fn deny(&self, reason: DenyReason) -> ConnectionDenied {
        if let Some((subject, limit)) = reason.exceeded_limit() {
            self.limit_stats.record(subject, limit);
        }
        ConnectionDenied::new(reason)
    }

    fn add_member_address(&mut self, source: Option<IpAddr>) {
        if self.member_addresses.len() >= limits::MAX_RATE_LIMITED_SOURCES {
            self.member_addresses =
                self.admitted.values().filter_map(|connection| connection.source).collect();
        }
        self.member_addresses.extend(source);
    }
}

impl NetworkBehaviour for AdmissionBehaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.check_pending(id, remote, Instant::now()).map_err(|reason| self.deny(reason))
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check_established(id, peer, remote, true).map_err(|reason| self.deny(reason))?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check_established(id, peer, remote, false).map_err(|reason| self.deny(reason))?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.admitted.remove(&connection_id);
            }
            FromSwarm::ListenFailure(ListenFailure { connection_id, .. })
            | FromSwarm::DialFailure(DialFailure { connection_id, .. }) => {
                self.pending.remove(&connection_id);
                self.admitted.remove(&connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_core::id::SecretKey;
    use larder_core::limit_stats::LimitHit;

    fn peer_id_from_seed(seed: usize) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        key::peer_id_of(SecretKey::from_bytes(&bytes).node_id()).unwrap()
    }

    fn multiaddr_of_host(host: u8) -> Multiaddr {
        format!("/ip4/10.0.0.{host}/tcp/50000").parse().unwrap()
    }

    fn connection_id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    #[test]
    fn the_connection_rate_of_one_address_does_not_limit_another() {
        let mut admission = AdmissionBehaviour::new(SharedLimitStats::default());
        let now = Instant::now();
        let admitted_attempts = (0..200).filter(|n| {
            let is_admitted = admission.check_pending(connection_id(*n), &multiaddr_of_host(1), now).is_ok();
            admission.pending.clear();
            is_admitted
        });
        assert_eq!(admitted_attempts.count(), limits::MAX_INBOUND_BURST_PER_SOURCE as usize);
        let denied = admission.handle_pending_inbound_connection(
            connection_id(200),
            &multiaddr_of_host(1),
            &multiaddr_of_host(1),
        );
        assert!(denied.is_err());
        let hits: Vec<_> = admission.limit_stats.take().iter().map(|(_, hit)| hit).collect();
        assert_eq!(hits, [LimitHit { limit: limits::MAX_INBOUND_BURST_PER_SOURCE as usize, count: 1 }]);
        assert!(admission.check_pending(connection_id(201), &multiaddr_of_host(2), now).is_ok());
    }

    #[test]
    fn pending_handshakes_are_bounded() {
        let mut admission = AdmissionBehaviour::new(SharedLimitStats::default());
        let now = Instant::now();
        let pending = (0..=255).filter(|n| {
            let host = u8::try_from(*n).unwrap();
            admission.check_pending(connection_id(*n), &multiaddr_of_host(host), now).is_ok()
        });
        assert_eq!(pending.count(), limits::MAX_PENDING_HANDSHAKES);
        admission.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id: peer_id_from_seed(0),
            connection_id: connection_id(0),
            endpoint: &libp2p::core::ConnectedPoint::Listener {
                local_addr: multiaddr_of_host(1),
                send_back_addr: multiaddr_of_host(2),
            },
            cause: None,
            remaining_established: 0,
        }));
        admission.pending.remove(&connection_id(3));
        assert!(admission.check_pending(connection_id(300), &multiaddr_of_host(9), now).is_ok());
    }

    #[test]
    fn non_members_cannot_use_up_the_connections_of_members() {
        let mut admission = AdmissionBehaviour::new(SharedLimitStats::default());
        admission.set_members([peer_id_from_seed(1000)].into());
        let hosts =
            limits::MAX_NON_MEMBER_CONNECTIONS.div_ceil(limits::MAX_NON_MEMBER_CONNECTIONS_PER_SOURCE) + 2;
        let mut admitted = 0;
        for n in 0..200 {
            let host = u8::try_from(n % hosts).unwrap();
            admitted += usize::from(
                admission
                    .check_established(connection_id(n), peer_id_from_seed(n), &multiaddr_of_host(host), true)
                    .is_ok(),
            );
        }
        assert_eq!(admitted, limits::MAX_NON_MEMBER_CONNECTIONS);
        assert!(
            admission
                .check_established(connection_id(1000), peer_id_from_seed(1000), &multiaddr_of_host(1), true)
                .is_ok()
        );
        admission.set_members(HashSet::new());
        assert!(
            admission
                .check_established(
                    connection_id(1001),
                    peer_id_from_seed(1000),
                    &multiaddr_of_host(200),
                    true
                )
                .is_err(),
            "no longer a member"
        );
    }
}
