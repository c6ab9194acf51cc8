//! Who may connect: budgets by address before the handshake, by key after it.
//!
//! libp2p asks twice: after `accept` and before Noise (denying costs 0.06 ms there), and once the key is known
//! (0.5 ms). Members always fit; strangers share a few places. What a connection may then *carry* is for the driver.

pub(crate) mod budget;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionId, DialFailure, FromSwarm, ListenFailure,
    NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use crate::gate::budget::{Budget, Rate};
use crate::tally::Tally;
use crate::{address, key, limits};

/// Why a connection was turned away. Nobody is told: the other side sees a closed connection.
#[derive(Debug, thiserror::Error)]
enum Denied {
    #[error("the source address is not one of TCP over IP")]
    Address,
    #[error("too many connections from one address, by rate")]
    Rate,
    #[error("too many handshakes are pending")]
    Pending,
    #[error("too many handshakes from one address are pending")]
    PendingHere,
    #[error("too many connections in all")]
    Full,
    #[error("too many connections of one key")]
    Key,
    #[error("too many connections of strangers")]
    Strangers,
    #[error("too many connections of strangers from one address")]
    StrangersHere,
    #[error("not an Ed25519 key")]
    Kind,
}

impl Denied {
    /// The bound that was reached, if it is one: of what, and how many there may be.
    fn bound(&self) -> Option<(&'static str, usize)> {
        Some(match self {
            Self::Address | Self::Kind => return None,
            Self::Rate => ("connections from one address at once", limits::ARRIVALS_BURST as usize),
            Self::Pending => ("handshakes at once", limits::PENDING),
            Self::PendingHere => ("handshakes from one address at once", limits::PENDING_PER_SOURCE),
            Self::Full => ("connections", limits::CONNECTIONS),
            Self::Key => ("connections of one key", limits::CONNECTIONS_PER_KEY),
            Self::Strangers => ("connections of strangers", limits::STRANGERS),
            Self::StrangersHere => {
                ("connections of strangers from one address", limits::STRANGERS_PER_SOURCE)
            }
        })
    }
}

struct Guest {
    peer: PeerId,
    source: Option<IpAddr>,
}

/// The behaviour that libp2p asks first.
#[derive(Default)]
pub(crate) struct Gate {
    members: HashSet<PeerId>,
    /// Where members were met: a bigger budget.
    homes: HashSet<IpAddr>,
    pending: HashMap<ConnectionId, IpAddr>,
    inside: HashMap<ConnectionId, Guest>,
    arrivals: Budget<IpAddr>,
    tally: Tally,
}

impl Gate {
    /// A gate that counts there whom it turned away.
    pub(crate) fn new(tally: Tally) -> Self {
        Self { tally, ..Self::default() }
    }

    /// From now on these keys are members.
    pub(crate) fn set_members(&mut self, members: HashSet<PeerId>) {
        self.members = members;
    }

    fn admit_pending(&mut self, id: ConnectionId, remote: &Multiaddr, now: Instant) -> Result<(), Denied> {
        let target = address::parse(remote).ok_or(Denied::Address)?;
        let source = budget::source(target.socket.ip());
        let from_here = self.pending.values().filter(|ip| **ip == source).count();
        if self.pending.len() >= limits::PENDING {
            return Err(Denied::Pending);
        }
        if from_here >= limits::PENDING_PER_SOURCE {
            return Err(Denied::PendingHere);
        }
        let mut rate = Rate::per_second(limits::ARRIVALS, limits::ARRIVALS_BURST);
        if self.homes.contains(&source) {
            rate = rate.times(limits::ARRIVALS_MEMBER);
        }
        if !self.arrivals.take(source, rate, now) {
            return Err(Denied::Rate);
        }
        self.pending.insert(id, source);
        Ok(())
    }

    fn admit(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        inbound: bool,
    ) -> Result<(), Denied> {
        self.pending.remove(&id);
        key::node(&peer).ok_or(Denied::Kind)?;
        let source = address::parse(remote).map(|target| budget::source(target.socket.ip()));
        if self.inside.len() >= limits::CONNECTIONS {
            return Err(Denied::Full);
        }
        if self.inside.values().filter(|guest| guest.peer == peer).count() >= limits::CONNECTIONS_PER_KEY {
            return Err(Denied::Key);
        }
        if self.members.contains(&peer) {
            self.add_home(source);
        } else if inbound {
            self.admit_stranger(source)?;
        }
        self.inside.insert(id, Guest { peer, source });
        Ok(())
    }

    fn admit_stranger(&self, source: Option<IpAddr>) -> Result<(), Denied> {
        let strangers = || self.inside.values().filter(|guest| !self.members.contains(&guest.peer));
        let from_there = strangers().filter(|guest| guest.source == source).count();
        if strangers().count() >= limits::STRANGERS {
            return Err(Denied::Strangers);
        }
        if from_there >= limits::STRANGERS_PER_SOURCE {
            return Err(Denied::StrangersHere);
        }
        Ok(())
    }

    fn deny(&self, why: Denied) -> ConnectionDenied {
        if let Some((of, most)) = why.bound() {
            self.tally.note(of, most);
        }
        ConnectionDenied::new(why)
    }

    fn add_home(&mut self, source: Option<IpAddr>) {
        if self.homes.len() >= limits::SOURCES {
            self.homes = self.inside.values().filter_map(|guest| guest.source).collect();
        }
        self.homes.extend(source);
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.admit_pending(id, remote, Instant::now()).map_err(|why| self.deny(why))
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(id, peer, remote, true).map_err(|why| self.deny(why))?;
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
        self.admit(id, peer, remote, false).map_err(|why| self.deny(why))?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.inside.remove(&connection_id);
            }
            FromSwarm::ListenFailure(ListenFailure { connection_id, .. })
            | FromSwarm::DialFailure(DialFailure { connection_id, .. }) => {
                self.pending.remove(&connection_id);
                self.inside.remove(&connection_id);
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
    use crate::tally::Reached;
    use larder_core::id::Secret;

    fn peer(seed: usize) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        key::peer(Secret::from_bytes(&bytes).node()).unwrap()
    }

    fn from(host: u8) -> Multiaddr {
        format!("/ip4/10.0.0.{host}/tcp/50000").parse().unwrap()
    }

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    #[test]
    fn one_address_cannot_spend_what_another_needs() {
        let mut gate = Gate::default();
        let now = Instant::now();
        let let_in = (0..200).filter(|n| {
            let admitted = gate.admit_pending(id(*n), &from(1), now).is_ok();
            gate.pending.clear();
            admitted
        });
        assert_eq!(let_in.count(), limits::ARRIVALS_BURST as usize);
        let denied = gate.handle_pending_inbound_connection(id(200), &from(1), &from(1));
        assert!(denied.is_err());
        let [Reached { most, hits, .. }] = gate.tally.take()[..] else { panic!("no bound is told of") };
        assert_eq!((most, hits), (limits::ARRIVALS_BURST as usize, 1));
        assert!(gate.admit_pending(id(201), &from(2), now).is_ok());
    }

    #[test]
    fn silent_handshakes_are_bounded() {
        let mut gate = Gate::default();
        let now = Instant::now();
        let pending = (0..=255).filter(|n| {
            let host = u8::try_from(*n).unwrap();
            gate.admit_pending(id(*n), &from(host), now).is_ok()
        });
        assert_eq!(pending.count(), limits::PENDING);
        gate.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id: peer(0),
            connection_id: id(0),
            endpoint: &libp2p::core::ConnectedPoint::Listener {
                local_addr: from(1),
                send_back_addr: from(2),
            },
            cause: None,
            remaining_established: 0,
        }));
        gate.pending.remove(&id(3));
        assert!(gate.admit_pending(id(300), &from(9), now).is_ok());
    }

    #[test]
    fn strangers_leave_room_for_members() {
        let mut gate = Gate::default();
        gate.set_members([peer(1000)].into());
        let hosts = limits::STRANGERS.div_ceil(limits::STRANGERS_PER_SOURCE) + 2;
        let mut admitted = 0;
        for n in 0..200 {
            let host = u8::try_from(n % hosts).unwrap();
            admitted += usize::from(gate.admit(id(n), peer(n), &from(host), true).is_ok());
        }
        assert_eq!(admitted, limits::STRANGERS);
        assert!(gate.admit(id(1000), peer(1000), &from(1), true).is_ok());
        gate.set_members(HashSet::new());
        assert!(gate.admit(id(1001), peer(1000), &from(200), true).is_err(), "no longer a member");
    }
}
