//! Converts a key between `SecretKey` and `NodeId` here and `Keypair` and `PeerId` of libp2p.

use larder_core::id::{NodeId, SecretKey};
use libp2p::PeerId;
use libp2p::identity::{DecodingError, Keypair};

/// The prefix of the `PeerId` of an Ed25519 key: identity multihash (code 0, 36 bytes) of a protobuf with key
/// type 1 and 32 bytes.
const PEER_ID_PREFIX: [u8; 6] = [0, 36, 8, 1, 18, 32];

/// Returns the libp2p key pair of `secret`.
pub(crate) fn keypair(secret: &SecretKey) -> Result<Keypair, DecodingError> {
    Keypair::ed25519_from_bytes(secret.to_bytes())
}

/// Returns the libp2p id of `node`. It always exists for a key of 32 bytes.
pub(crate) fn peer_id_of(node: NodeId) -> Option<PeerId> {
    let mut bytes = PEER_ID_PREFIX.to_vec();
    bytes.extend(node.0);
    PeerId::from_bytes(&bytes).ok()
}

/// Returns the node id of a libp2p id; `None` for other key types, which Larder does not support.
pub(crate) fn node_id_of(peer: &PeerId) -> Option<NodeId> {
    let bytes = peer.to_bytes();
    let key = bytes.strip_prefix(&PEER_ID_PREFIX)?;
    key.try_into().ok().map(NodeId)
}

/// True if `local` leads the pair: the node with the lower key dials, chooses which of two connections stays,
/// and opens the link. Only one node decides, so the two never close each other's choice.
pub(crate) fn is_leader(local: NodeId, remote: NodeId) -> bool {
    local < remote
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_id_and_peer_id_convert_both_ways() {
        for seed in 0..20 {
            let secret = SecretKey::from_bytes(&[seed; 32]);
            let peer_id = keypair(&secret).unwrap().public().to_peer_id();
            assert_eq!(peer_id_of(secret.node_id()), Some(peer_id));
            assert_eq!(node_id_of(&peer_id), Some(secret.node_id()));
        }
    }

    #[test]
    fn a_peer_id_of_another_key_type_is_no_node() {
        // The hash form of RSA keys.
        let peer = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse().unwrap();
        assert_eq!(node_id_of(&peer), None);
    }

    #[test]
    fn exactly_one_node_of_a_pair_is_the_leader() {
        let (a, b) = (NodeId([1; 32]), NodeId([2; 32]));
        assert!(is_leader(a, b) && !is_leader(b, a));
    }
}
