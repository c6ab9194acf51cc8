//! The parts of the swarm, in the order in which libp2p asks them.

use libp2p::swarm::NetworkBehaviour;

use crate::discovery::mdns::Mdns;
use crate::gate::Gate;
use crate::link::stream::Streams;

/// Gate first: what it denies, nobody else sees.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(crate) struct Behaviour {
    pub(crate) gate: Gate,
    pub(crate) mdns: Mdns,
    pub(crate) streams: Streams,
}
