//! One key, three shapes: `Secret` and `NodeId` here, `Keypair` and `PeerId` in libp2p.

use larder_core::id::{NodeId, Secret};
use libp2p::PeerId;
use libp2p::identity::{DecodingError, Keypair};

/// A `PeerId` of an Ed25519 key: identity multihash (code 0, 36 bytes) of a protobuf of key type 1 and 32 bytes.
const HEAD: [u8; 6] = [0, 36, 8, 1, 18, 32];

/// The libp2p identity that `secret` makes.
pub(crate) fn keypair(secret: &Secret) -> Result<Keypair, DecodingError> {
    Keypair::ed25519_from_bytes(secret.to_bytes())
}

/// The libp2p name of `node`. `None` never happens for a key of 32 bytes.
pub(crate) fn peer(node: NodeId) -> Option<PeerId> {
    let mut bytes = HEAD.to_vec();
    bytes.extend(node.0);
    PeerId::from_bytes(&bytes).ok()
}

/// The node behind a libp2p name; `None` for keys of another kind, which Larder does not speak to.
pub(crate) fn node(peer: &PeerId) -> Option<NodeId> {
    let bytes = peer.to_bytes();
    let key = bytes.strip_prefix(&HEAD)?;
    key.try_into().ok().map(NodeId)
}

/// True if `us` leads the pair: the node with the lower key dials, chooses which of two connections stays, and opens
/// the link. One node decides alone, so the two can never close each other's choice.
pub(crate) fn leads(us: NodeId, them: NodeId) -> bool {
    us < them
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_and_its_peer_id_name_each_other() {
        for seed in 0..20 {
            let secret = Secret::from_bytes(&[seed; 32]);
            let peer_id = keypair(&secret).unwrap().public().to_peer_id();
            assert_eq!(peer(secret.node()), Some(peer_id));
            assert_eq!(node(&peer_id), Some(secret.node()));
        }
    }

    #[test]
    fn other_kinds_of_key_are_nobody() {
        // The hash form that RSA keys have.
        let peer = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse().unwrap();
        assert_eq!(node(&peer), None);
    }

    #[test]
    fn one_of_a_pair_leads() {
        let (a, b) = (NodeId([1; 32]), NodeId([2; 32]));
        assert!(leads(a, b) && !leads(b, a));
    }
}
