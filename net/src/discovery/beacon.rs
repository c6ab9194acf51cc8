//! The beacon: one UDP packet with a node id and the TCP port on which that node listens.
//!
//! ```text
//! +--------------+---------+----------------+------------------+
//! | "lrdr", 4 B  | 1, 1 B  | key, 32 B      | TCP port, u16 BE |
//! +--------------+---------+----------------+------------------+
//! ```
//!
//! The beacon is not signed: it is a hint to dial a known member, whose key the handshake then proves. The
//! address is the source address of the packet, so a forger cannot name a third host without forging that
//! too. Readers ignore extra bytes of version 1.

use larder_core::id::NodeId;

const MAGIC: [u8; 4] = *b"lrdr";
const VERSION: u8 = 1;

/// The length of a beacon packet.
pub(crate) const PACKET_BYTES: usize = 39;

/// The content of a beacon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beacon {
    pub(crate) node: NodeId,
    pub(crate) port: u16,
}

impl Beacon {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(PACKET_BYTES);
        packet.extend(MAGIC);
        packet.push(VERSION);
        packet.extend(self.node.0);
        packet.extend(self.port.to_be_bytes());
        packet
    }

    /// Decodes a packet; `None` for other packets and unknown versions.
    pub(crate) fn decode(packet: &[u8]) -> Option<Self> {
        let rest = packet.strip_prefix(&MAGIC)?.strip_prefix(&[VERSION])?;
        let (key, rest) = rest.split_first_chunk::<32>()?;
        let (port, _) = rest.split_first_chunk::<2>()?;
        let port = u16::from_be_bytes(*port);
        (port != 0).then_some(Self { node: NodeId(*key), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beacon_decodes_to_what_was_encoded_and_other_packets_are_rejected() {
        let beacon = Beacon { node: NodeId([9; 32]), port: 7440 };
        let packet = beacon.encode();
        assert_eq!(packet.len(), PACKET_BYTES);
        assert_eq!(Beacon::decode(&packet), Some(beacon));
        let longer = [packet.as_slice(), b"later"].concat();
        assert_eq!(Beacon::decode(&longer), Some(beacon));
        for length in 0..PACKET_BYTES {
            assert_eq!(Beacon::decode(&packet[..length]), None);
        }
        let mut malformed = packet.clone();
        malformed[4] = 2;
        assert_eq!(Beacon::decode(&malformed), None, "another version");
        malformed = packet;
        malformed[37..39].fill(0);
        assert_eq!(Beacon::decode(&malformed), None, "no port");
    }
}
