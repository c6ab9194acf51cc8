//! What a villain does below the protocol: connections, and packets that anybody can send.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use larder_net::Multiaddr;

use super::Villain;

/// Connections that are kept open at most.
const SILENT: usize = 256;
/// Where beacons go to, and their first bytes: see `docs/protocol.md`.
const BEACONS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 255, 74, 40)), 7440);
const BEACON: &[u8; 5] = b"lrdr\x01";

/// The socket that an address of the form `/ip4/.../tcp/...` names.
pub(super) fn address(of: &Multiaddr) -> Option<SocketAddr> {
    let text = of.to_string();
    let mut parts = text.split('/').skip(2);
    let ip: IpAddr = parts.next()?.parse().ok()?;
    let port = parts.nth(1)?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

/// Opens connections and says nothing on them, or what means nothing.
pub(super) fn connections(villain: &mut Villain) {
    for victim in villain.victims.clone() {
        for nth in 0..100u8 {
            let Ok(mut stream) = TcpStream::connect_timeout(&victim, Duration::from_millis(50)) else {
                continue;
            };
            if nth % 2 == 0 {
                let _ = stream.write_all(&[nth; 400]);
            }
            villain.silent.push(stream);
        }
    }
    let over = villain.silent.len().saturating_sub(SILENT);
    villain.silent.drain(..over);
}

/// Sends beacons with keys that nobody has, and such as say that others are where nobody listens.
pub(super) fn beacons(villain: &mut Villain) {
    let others: Vec<_> = villain.everybody().into_iter().collect();
    for victim in villain.victims.clone() {
        let Some(socket) = towards(victim) else { continue };
        for nth in 0..500u16 {
            let made_up: Vec<u8> = (0..32).map(|_| u8::try_from(villain.roll(256)).unwrap_or(0)).collect();
            let key = others.get(usize::from(nth)).map_or(made_up, |other| other.0.to_vec());
            let packet = [BEACON.as_slice(), &key, &(nth + 1).to_be_bytes()].concat();
            let _ = socket.send_to(&packet, BEACONS);
        }
    }
}

/// A socket whose multicast leaves where the way to `victim` does.
fn towards(victim: SocketAddr) -> Option<UdpSocket> {
    let way = UdpSocket::bind("0.0.0.0:0").ok()?;
    way.connect(victim).ok()?;
    UdpSocket::bind((way.local_addr().ok()?.ip(), 0)).ok()
}
