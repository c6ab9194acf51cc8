//! The configuration of the network, and the errors of its start.

use std::io;

use larder_core::id::{NodeId, SecretKey};
use libp2p::Multiaddr;

use crate::limits;

/// The configuration of the network.
#[derive(Clone, Debug)]
pub struct Config {
    /// The secret key of this node.
    pub secret: SecretKey,
    /// The addresses to listen on, from the operator; each must be free. If empty, the node listens on all
    /// interfaces, IPv4 and, where available, IPv6, at [`Config::preferred_port`].
    pub listen_addrs: Vec<Multiaddr>,
    /// The preferred port if `listen_addrs` is empty. If it is taken, the node uses a free port, which
    /// `NetEvent::Listening` reports and the caller should pass at the next start.
    pub preferred_port: u16,
    /// Peer addresses to dial from the start, `/ip4|ip6/…/tcp/…` with or without `/p2p/…`. At most
    /// [`limits::MAX_STATIC_PEERS`].
    pub static_peers: Vec<Multiaddr>,
    /// True if mDNS and the beacon are enabled.
    pub is_multicast_enabled: bool,
    /// The addresses from earlier runs (`NetEvent::AddressConfirmed`), newest first.
    pub known_addresses: Vec<(NodeId, Vec<Multiaddr>)>,
}

impl Config {
    /// The default configuration: listens on all interfaces and uses multicast discovery.
    pub fn new(secret: SecretKey) -> Self {
        Self {
            secret,
            listen_addrs: Vec::new(),
            preferred_port: limits::DEFAULT_TCP_PORT,
            static_peers: Vec::new(),
            is_multicast_enabled: true,
            known_addresses: Vec::new(),
        }
    }
}

/// Why the network did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// libp2p rejects the key.
    #[error("this key cannot be used: {0}")]
    InvalidKey(String),
    /// An address is not TCP over IP.
    #[error("{0} is not an address of the form /ip4/A.B.C.D/tcp/PORT or /ip6/A::B/tcp/PORT")]
    UnsupportedAddress(Multiaddr),
    /// There are too many peer addresses.
    #[error("{0} peer addresses are given; the limit is {max}", max = limits::MAX_STATIC_PEERS)]
    TooManyStaticPeers(usize),
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {addr}: {error} (another program may use it; choose another address with --listen)"
    )]
    ListenFailed {
        /// The listen address.
        addr: Multiaddr,
        /// The error of the operating system.
        error: io::Error,
    },
}
