//! The behaviours of the swarm, in the order in which libp2p asks them.

use libp2p::swarm::NetworkBehaviour;

use crate::admission::AdmissionBehaviour;
use crate::discovery::mdns::MdnsBehaviour;
use crate::link::stream::StreamBehaviour;

/// Admission comes first: the others never see what it denies.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(crate) struct Behaviour {
    pub(crate) admission: AdmissionBehaviour,
    pub(crate) mdns: MdnsBehaviour,
    pub(crate) streams: StreamBehaviour,
}
