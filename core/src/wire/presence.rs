//! Presence: the message by which a member says that it is alive. The member signs it, others forward it, and
//! no node stores it.
//!
//! ```text
//! presence = group [16] | node [32] | boot u64 | count u64 | software string | host string
//!          | addresses [string] | links [ [8] ] | digest [16] | changes u64
//! signed   = Ed25519 over "larder 1 presence\0" | presence
//! ```
//!
//! `boot` is drawn at random when a daemon starts and `count` rises with each message, so that a delayed
//! message is recognised as old.

use serde::{Deserialize, Serialize};

use crate::id::{Digest, GroupId, NodeId, SecretKey, Sig};
use crate::limits;

/// What a member announces of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The group of the member.
    pub group: GroupId,
    /// The node id of the member.
    pub node: NodeId,
    /// The id of this run of its daemon.
    pub boot_id: u64,
    /// The number of this message; it rises with each message of one boot.
    pub sequence: u64,
    /// The software that the member runs.
    pub software: String,
    /// The name of the member's host, for display.
    pub host: String,
    /// The multiaddresses at which the member listens.
    pub addresses: Vec<String>,
    /// The fingerprints of the neighbours in this group, see [`NodeId::fingerprint8`]; sorted.
    pub linked_peers: Vec<[u8; 8]>,
    /// The digest of all that the member holds of the group.
    pub digest: Digest,
    /// The number of changes that the member holds.
    pub change_count: u64,
}

fn signed_message(presence: &[u8]) -> Vec<u8> {
    [b"larder 1 presence\0".as_slice(), presence].concat()
}

impl Presence {
    /// Encodes and signs the presence.
    pub fn sign(&self, secret: &SecretKey) -> (Vec<u8>, Sig) {
        let bytes = postcard::to_allocvec(self).unwrap_or_default();
        let signature = secret.sign(&signed_message(&bytes));
        (bytes, signature)
    }

    /// Decodes a presence. It is not authentic before [`Presence::is_signed_by_node`] is true.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (presence, rest) = postcard::take_from_bytes::<Self>(bytes).ok()?;
        let is_valid = rest.is_empty()
            && presence.software.len() <= limits::MAX_NODE_TEXT_BYTES
            && presence.host.len() <= limits::MAX_NODE_TEXT_BYTES
            && presence.addresses.len() <= limits::MAX_ADDRESSES_PER_NODE
            && presence.addresses.iter().all(|address| address.len() <= limits::MAX_NODE_TEXT_BYTES)
            && presence.linked_peers.len() <= limits::MAX_PRESENCE_LINKS
            && presence.linked_peers.is_sorted();
        is_valid.then_some(presence)
    }

    /// True if the named node signed `bytes`, the encoded form of this presence.
    pub fn is_signed_by_node(&self, bytes: &[u8], signature: &Sig) -> bool {
        self.node.verify(&signed_message(bytes), signature)
    }
}
