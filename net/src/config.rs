//! How a network is started, and why it may not start.

use std::io;

use larder_core::id::{NodeId, SecretKey};
use libp2p::Multiaddr;

use crate::limits;

/// Everything the network needs to know at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's key.
    pub secret: SecretKey,
    /// Addresses to listen on, as the operator gave them: each must be free. Empty: all interfaces, IPv4 and, where
    /// there is any, IPv6, at [`NodeConfig::port`].
    pub listen_addrs: Vec<Multiaddr>,
    /// The port to prefer where `listen` is empty; if it is taken, a free one, which `NetEvent::Listening` reports and
    /// which should be passed here at the next start.
    pub preferred_port: u16,
    /// Addresses of nodes, `/ip4|ip6/…/tcp/…` with or without `/p2p/…`, dialled from the start. At most
    /// [`limits::MAX_STATIC_PEERS`].
    pub static_peers: Vec<Multiaddr>,
    /// Whether to find others, and be found, by mDNS and beacon.
    pub is_multicast_enabled: bool,
    /// Addresses remembered from earlier runs (`NetEvent::Address`), newest first.
    pub known_addresses: Vec<(NodeId, Vec<Multiaddr>)>,
}

impl Config {
    /// A network that listens everywhere at the usual port and finds others by multicast.
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
    /// Of the caller: libp2p does not take this key.
    #[error("this key cannot be used: {0}")]
    InvalidKey(String),
    /// Of the operator: not an address of TCP over IP.
    #[error("{0} is not an address of the form /ip4/A.B.C.D/tcp/PORT or /ip6/A::B/tcp/PORT")]
    UnsupportedAddress(Multiaddr),
    /// Of the operator: too many of them.
    #[error("{0} peers are named, at most {max} can be", max = limits::MAX_STATIC_PEERS)]
    TooManyStaticPeers(usize),
    /// Of the operator or the system: the address cannot be listened on.
    #[error("cannot listen on {addr}: {error} (is another program there? name another with --listen)")]
    ListenFailed {
        /// Which.
        addr: Multiaddr,
        /// What the system says.
        error: io::Error,
    },
}
