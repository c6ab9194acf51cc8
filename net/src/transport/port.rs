//! Claims a port, so that two daemons of one user do not share it.
//!
//! libp2p listens with `SO_REUSEPORT`: a second daemon of the same user would get the same port without an
//! error, and the kernel would distribute connections to both. A claim therefore makes two checks. A TCP
//! socket without that option cannot be bound to a port with a listener. A UDP socket on the same port, kept
//! open, decides between two daemons that start at the same moment.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

/// Reserves a port against other daemons on this host while it exists.
#[derive(Debug)]
pub(crate) struct PortClaim {
    _udp_guard: Option<UdpSocket>,
}

/// Claims the port of `socket`; an error of kind `AddrInUse` if it is taken.
pub(crate) fn claim_port(socket: SocketAddr) -> io::Result<PortClaim> {
    if socket.port() == 0 {
        return Ok(PortClaim { _udp_guard: None });
    }
    // A wildcard would overlap with the beacon socket on the same port number.
    let ip: IpAddr = match socket.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let udp_guard = match UdpSocket::bind(SocketAddr::new(ip, socket.port())) {
        Ok(udp) => Some(udp),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        // The address does not exist, for example because loopback is down; then a UDP claim is impossible.
        Err(_) => None,
    };
    check_tcp_port_is_free(socket)?;
    Ok(PortClaim { _udp_guard: udp_guard })
}

fn check_tcp_port_is_free(socket: SocketAddr) -> io::Result<()> {
    if socket.is_ipv6() {
        // The listener of std on `::` would take the IPv4 port too, which has its own claim.
        let probe = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None)?;
        probe.set_only_v6(true)?;
        probe.set_reuse_address(cfg!(unix))?;
        probe.bind(&socket.into())?;
        return probe.listen(1);
    }
    TcpListener::bind(socket).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_claimed_or_listened_on_cannot_be_claimed() {
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let port_claim = claim_port(addr).unwrap();
        assert_eq!(claim_port(addr).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(port_claim);
        let _listener = TcpListener::bind(addr).unwrap();
        assert_eq!(claim_port(addr).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(claim_port("127.0.0.1:0".parse().unwrap()).is_ok());
    }
}
