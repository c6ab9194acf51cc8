//! Finding out whether a port is free.
//!
//! libp2p listens with `SO_REUSEPORT`: a second daemon of the same user would get the same port without an error, and
//! the kernel would deal connections out to both. So a port is claimed first, by two signs:
//! a TCP socket without that option cannot be bound where anybody listens; and a UDP socket on the same port, kept for
//! life, settles who comes first of two daemons that start in the same moment.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

/// Holds a port against other daemons of this machine.
#[derive(Debug)]
pub(crate) struct Claim {
    _udp: Option<UdpSocket>,
}

/// Claims `socket`'s port; an error of kind `AddrInUse` if somebody has it.
pub(crate) fn claim(socket: SocketAddr) -> io::Result<Claim> {
    if socket.port() == 0 {
        return Ok(Claim { _udp: None });
    }
    // A wildcard would overlap with the beacon's socket on the same port number.
    let ip: IpAddr = match socket.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let udp = match UdpSocket::bind(SocketAddr::new(ip, socket.port())) {
        Ok(udp) => Some(udp),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        // No such address, as where loopback is down: then there is nothing to claim by.
        Err(_) => None,
    };
    free(socket)?;
    Ok(Claim { _udp: udp })
}

fn free(socket: SocketAddr) -> io::Result<()> {
    if socket.is_ipv6() {
        // std's listener on `::` would take the IPv4 port too, which is claimed by another call.
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
    fn a_port_is_claimed_once() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let held = claim(free).unwrap();
        assert_eq!(claim(free).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(held);
        let _listener = TcpListener::bind(free).unwrap();
        assert_eq!(claim(free).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(claim("127.0.0.1:0".parse().unwrap()).is_ok());
    }
}
