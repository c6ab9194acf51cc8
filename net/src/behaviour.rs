//! The parts of the swarm, in the order in which libp2p asks them.

use libp2p::swarm::NetworkBehaviour;

use crate::admission::AdmissionBehaviour;
use crate::discovery::mdns::MdnsBehaviour;
use crate::link::stream::StreamBehaviour;

/// Gate first: what it denies, nobody else sees.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(crate) struct Behaviour {
    pub(crate) admission: AdmissionBehaviour,
    pub(crate) mdns: MdnsBehaviour,
    pub(crate) streams: StreamBehaviour,
}
