//! The transport: TCP, Noise and Yamux, composed by hand so that every socket gets its options.
//!
//! QUIC could become a cargo feature here; no other module knows the transport.

pub(crate) mod port;
pub(crate) mod socket;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::tcp::tokio::{TcpStream, Transport as Tcp};
use libp2p::{PeerId, Transport as _, noise, tcp, yamux};

use crate::limits;

/// Builds the transport with the key `keypair`.
pub(crate) fn build_transport(keypair: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    let noise = noise::Config::new(keypair)?;
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(limits::MAX_STREAMS_PER_CONNECTION);
    let tuned = Tcp::new(tcp::Config::default()).map(|stream: TcpStream, _| {
        if let Err(error) = socket::set_loss_detection_options(&stream.0) {
            tracing::debug!(%error, "cannot set socket options; a lost connection is detected later");
        }
        stream
    });
    // Lazy negotiation assumes the protocol before the peer has answered, which saves a round trip.
    let secured = tuned.upgrade(Version::V1Lazy).authenticate(noise).multiplex(yamux);
    let secured = secured.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let inbound = TransportTimeout::with_ingoing_timeout(secured, limits::INBOUND_HANDSHAKE_TIMEOUT);
    Ok(TransportTimeout::with_outgoing_timeout(inbound, limits::LONG_DIAL_TIMEOUT).boxed())
}
