//! Parses addresses, and decides which can be dialed and which are reported to others.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use larder_core::id::NodeId;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::key;

/// An address that can be dialed: TCP over IP, with the expected node if the address names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DialTarget {
    pub(crate) socket: SocketAddr,
    pub(crate) node: Option<NodeId>,
}

/// Parses `/ip4|ip6/…/tcp/…` with or without `/p2p/…`; `None` for anything else.
pub(crate) fn parse_dial_target(addr: &Multiaddr) -> Option<DialTarget> {
    let mut parts = addr.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    let Protocol::Tcp(port) = parts.next()? else { return None };
    let node = match parts.next() {
        None => None,
        Some(Protocol::P2p(peer)) => Some(key::node_id_of(&peer)?),
        Some(_) => return None,
    };
    parts.next().is_none().then_some(DialTarget { socket: SocketAddr::new(ip, port), node })
}

/// Returns `/ip4|ip6/…/tcp/…` without a node id.
pub(crate) fn to_multiaddr(socket: SocketAddr) -> Multiaddr {
    Multiaddr::empty().with(socket.ip().into()).with(Protocol::Tcp(socket.port()))
}

/// True if one host may listen at this address. IPv6 link-local addresses need an interface name, which a TCP
/// multiaddr cannot carry.
pub(crate) fn is_dialable(socket: SocketAddr) -> bool {
    let is_unicast = match socket.ip() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local(),
    };
    is_unicast && socket.port() != 0
}

/// Selects the addresses at which others can reach this node. Leaves out loopback and link-local addresses,
/// unless there is no other or the operator configured them.
pub(crate) fn reachable_addresses(listening: &[SocketAddr], configured: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_configured = |socket: &SocketAddr| configured.iter().any(|a| a.ip() == socket.ip());
    let mut reachable: Vec<_> = listening
        .iter()
        .copied()
        .filter(|s| is_configured(s) || (is_dialable(*s) && !s.ip().is_loopback()))
        .collect();
    if reachable.is_empty() {
        reachable = listening.iter().copied().filter(|s| is_dialable(*s)).collect();
    }
    reachable.sort_unstable();
    reachable.dedup();
    reachable
}

/// The source that shares a rate: an IPv4 address, or an IPv6 /64, from which one host can choose freely.
pub(crate) fn source_key(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_dial_target_is_ip_tcp_and_an_optional_node_id() {
        let target = parse_dial_target(&"/ip4/10.0.0.1/tcp/7440".parse().unwrap()).unwrap();
        assert_eq!((target.socket, target.node), (parse_socket("10.0.0.1:7440"), None));
        let node = NodeId([3; 32]);
        let with_node_id =
            to_multiaddr(parse_socket("[fd00::1]:1")).with(Protocol::P2p(key::peer_id_of(node).unwrap()));
        assert_eq!(
            parse_dial_target(&with_node_id),
            Some(DialTarget { socket: parse_socket("[fd00::1]:1"), node: Some(node) })
        );
        for unsupported in
            ["/ip4/10.0.0.1", "/ip4/10.0.0.1/udp/1", "/dns4/host/tcp/1", "/ip4/10.0.0.1/tcp/1/ws"]
        {
            assert_eq!(parse_dial_target(&unsupported.parse().unwrap()), None, "{unsupported}");
        }
    }

    #[test]
    fn loopback_is_reachable_only_if_nothing_else_is_or_it_was_configured() {
        let loopback = parse_socket("127.0.0.1:1");
        let lan = parse_socket("10.0.0.1:1");
        let link_local = parse_socket("[fe80::1]:1");
        assert_eq!(reachable_addresses(&[loopback, lan, link_local], &[]), [lan]);
        assert_eq!(reachable_addresses(&[loopback, link_local], &[]), [loopback]);
        assert_eq!(reachable_addresses(&[loopback, lan], &[parse_socket("127.0.0.1:0")]), [lan, loopback]);
    }

    #[test]
    fn all_addresses_of_one_ipv6_prefix_are_one_source() {
        let key_of = |text: &str| source_key(text.parse().unwrap());
        assert_eq!(key_of("fd00::1"), key_of("fd00::ffff:1"));
        assert_ne!(key_of("fd00::1"), key_of("fd00:0:0:1::1"));
    }
}
