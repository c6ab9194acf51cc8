//! Attacks below the protocol: raw connections and forged packets.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use larder_net::Multiaddr;

use super::Adversary;

/// The largest number of connections that are kept open.
const MAX_IDLE_CONNECTIONS: usize = 256;
/// The multicast address of beacons. `docs/protocol.md` describes it and the first bytes of a beacon.
const BEACON_GROUP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 255, 74, 40)), 7440);
const BEACON_MAGIC: &[u8; 5] = b"lrdr\x01";

/// The socket address that an address of the form `/ip4/.../tcp/...` names.
pub(super) fn socket_addr(address: &Multiaddr) -> Option<SocketAddr> {
    let text = address.to_string();
    let mut parts = text.split('/').skip(2);
    let ip: IpAddr = parts.next()?.parse().ok()?;
    let port = parts.nth(1)?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

/// Opens connections, and sends nothing or meaningless bytes on them.
pub(super) fn open_idle_connections(adversary: &mut Adversary) {
    for victim in adversary.victims.clone() {
        for nth in 0..100u8 {
            let Ok(mut stream) = TcpStream::connect_timeout(&victim, Duration::from_millis(50)) else {
                continue;
            };
            if nth % 2 == 0 {
                let _ = stream.write_all(&[nth; 400]);
            }
            adversary.idle_connections.push(stream);
        }
    }
    let over = adversary.idle_connections.len().saturating_sub(MAX_IDLE_CONNECTIONS);
    adversary.idle_connections.drain(..over);
}

/// Sends beacons with made-up keys, and beacons with other nodes' keys and a wrong port.
pub(super) fn send_false_beacons(adversary: &mut Adversary) {
    let known: Vec<_> = adversary.known_nodes().into_iter().collect();
    for victim in adversary.victims.clone() {
        let Some(socket) = multicast_socket_towards(victim) else { continue };
        for nth in 0..500u16 {
            let made_up: Vec<u8> =
                (0..32).map(|_| u8::try_from(adversary.rng.below(256)).unwrap_or(0)).collect();
            let key = known.get(usize::from(nth)).map_or(made_up, |other| other.0.to_vec());
            let packet = [BEACON_MAGIC.as_slice(), &key, &(nth + 1).to_be_bytes()].concat();
            let _ = socket.send_to(&packet, BEACON_GROUP);
        }
    }
}

/// A socket that sends multicast on the interface from which `victim` is reached.
fn multicast_socket_towards(victim: SocketAddr) -> Option<UdpSocket> {
    let route = UdpSocket::bind("0.0.0.0:0").ok()?;
    route.connect(victim).ok()?;
    UdpSocket::bind((route.local_addr().ok()?.ip(), 0)).ok()
}
