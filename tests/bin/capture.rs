//! Writes the bytes of every packet that crosses this host's interfaces to a file, until it is stopped.

use std::fs::File;
use std::io::{Read as _, Write as _};

use socket2::{Domain, Protocol, Socket, Type};

/// All protocols, as `htons(ETH_P_ALL)`: packet sockets take the number in network order.
const ETH_P_ALL: u16 = 0x0003;
/// The longest packet that an interface delivers, with offloading.
const MAX_PACKET_BYTES: usize = 1 << 17;

fn main() -> std::io::Result<()> {
    let path =
        std::env::args_os().nth(1).ok_or_else(|| std::io::Error::other("usage: larder-capture FILE"))?;
    let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
    let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
    let mut file = File::create(path)?;
    let mut packet = vec![0; MAX_PACKET_BYTES];
    loop {
        let length = socket.read(&mut packet)?;
        file.write_all(packet.get(..length).unwrap_or_default())?;
    }
}
