//! TCP, Noise and Yamux, put together by hand so that every socket can be tuned.
//!
//! QUIC could become a cargo feature here; nothing above this file knows the transport.

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

/// The transport under the key `keypair`.
pub(crate) fn build_transport(keypair: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    let noise = noise::Config::new(keypair)?;
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(limits::MAX_STREAMS_PER_CONNECTION);
    let tuned = Tcp::new(tcp::Config::default()).map(|stream: TcpStream, _| {
        if let Err(error) = socket::set_loss_detection_options(&stream.0) {
            tracing::debug!(%error, "a socket was not tuned: its loss is noticed later");
        }
        stream
    });
    // Lazy: a dial believes in the protocol before the other side has answered, which saves a round trip.
    let secured = tuned.upgrade(Version::V1Lazy).authenticate(noise).multiplex(yamux);
    let secured = secured.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let inbound = TransportTimeout::with_ingoing_timeout(secured, limits::INBOUND_HANDSHAKE_TIMEOUT);
    Ok(TransportTimeout::with_outgoing_timeout(inbound, limits::LONG_DIAL_TIMEOUT).boxed())
}
