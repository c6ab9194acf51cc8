//! Addresses: what may be dialled, what is worth telling others.

use std::net::{IpAddr, SocketAddr};

use larder_core::id::NodeId;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::key;

/// An address that can be dialled: TCP over IP, and the node expected there if the address names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) socket: SocketAddr,
    pub(crate) node: Option<NodeId>,
}

/// Reads `/ip4|ip6/…/tcp/…` with or without `/p2p/…`; `None` for anything else.
pub(crate) fn parse(addr: &Multiaddr) -> Option<Target> {
    let mut parts = addr.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    let Protocol::Tcp(port) = parts.next()? else { return None };
    let node = match parts.next() {
        None => None,
        Some(Protocol::P2p(peer)) => Some(key::node(&peer)?),
        Some(_) => return None,
    };
    parts.next().is_none().then_some(Target { socket: SocketAddr::new(ip, port), node })
}

/// The address without a name: `/ip4|ip6/…/tcp/…`.
pub(crate) fn plain(socket: SocketAddr) -> Multiaddr {
    Multiaddr::empty().with(socket.ip().into()).with(Protocol::Tcp(socket.port()))
}

/// True if one machine may listen there. IPv6 link-local addresses mean nothing without an interface's name, which
/// a multiaddr of TCP cannot carry.
pub(crate) fn dialable(socket: SocketAddr) -> bool {
    let unicast = match socket.ip() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local(),
    };
    unicast && socket.port() != 0
}

/// What others may reach us at, out of all addresses we listen on: no loopback and nothing link-local, unless there
/// is nothing else or the operator `asked` for just that one.
pub(crate) fn reachable(listening: &[SocketAddr], asked: &[SocketAddr]) -> Vec<SocketAddr> {
    let named = |socket: &SocketAddr| asked.iter().any(|a| a.ip() == socket.ip());
    let mut found: Vec<_> =
        listening.iter().copied().filter(|s| named(s) || (dialable(*s) && !s.ip().is_loopback())).collect();
    if found.is_empty() {
        found = listening.iter().copied().filter(|s| dialable(*s)).collect();
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_ip_and_tcp_and_perhaps_a_name() {
        let target = parse(&"/ip4/10.0.0.1/tcp/7440".parse().unwrap()).unwrap();
        assert_eq!((target.socket, target.node), (socket("10.0.0.1:7440"), None));
        let node = NodeId([3; 32]);
        let named = plain(socket("[fd00::1]:1")).with(Protocol::P2p(key::peer(node).unwrap()));
        assert_eq!(parse(&named), Some(Target { socket: socket("[fd00::1]:1"), node: Some(node) }));
        for bad in ["/ip4/10.0.0.1", "/ip4/10.0.0.1/udp/1", "/dns4/host/tcp/1", "/ip4/10.0.0.1/tcp/1/ws"] {
            assert_eq!(parse(&bad.parse().unwrap()), None, "{bad}");
        }
    }

    #[test]
    fn loopback_is_told_only_where_nothing_else_is() {
        let lo = socket("127.0.0.1:1");
        let lan = socket("10.0.0.1:1");
        let local = socket("[fe80::1]:1");
        assert_eq!(reachable(&[lo, lan, local], &[]), [lan]);
        assert_eq!(reachable(&[lo, local], &[]), [lo]);
        assert_eq!(reachable(&[lo, lan], &[socket("127.0.0.1:0")]), [lan, lo]);
    }
}
