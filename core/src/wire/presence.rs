//! Presence: a member says that it lives. Signed by it, passed on by others, kept by nobody: a heartbeat is no history.
//!
//! ```text
//! presence = group [16] | node [32] | boot u64 | count u64 | software string | host string | addresses [string]
//!          | links [ [8] ] | digest [16] | changes u64
//! signed   = Ed25519 over "larder 1 presence\0" | presence
//! ```
//!
//! `boot` is drawn anew when a daemon starts and `count` rises with each message, so that what comes late over a long way
//! is told from what is new.

use serde::{Deserialize, Serialize};

use crate::id::{Digest, GroupId, NodeId, SecretKey, Sig};
use crate::limits;

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// In which group.
    pub group: GroupId,
    /// Who speaks.
    pub node: NodeId,
    /// Which start of its daemon this is.
    pub boot_id: u64,
    /// Rises with each message of one boot.
    pub sequence: u64,
    /// Its software.
    pub software: String,
    /// Its host name, which is only a label.
    pub host: String,
    /// Where it can be reached, as multiaddresses.
    pub addresses: Vec<String>,
    /// Whom it has links with in this group, see [`NodeId::hint`]; sorted.
    pub linked_peers: Vec<[u8; 8]>,
    /// All it has of the group.
    pub digest: Digest,
    /// How many changes that is.
    pub change_count: u64,
}

fn signed_message(presence: &[u8]) -> Vec<u8> {
    [b"larder 1 presence\0".as_slice(), presence].concat()
}

impl Presence {
    /// The presence's bytes and its author's signature of them.
    pub fn sign(&self, secret: &SecretKey) -> (Vec<u8>, Sig) {
        let bytes = postcard::to_allocvec(self).unwrap_or_default();
        let signature = secret.sign(&signed_message(&bytes));
        (bytes, signature)
    }

    /// Reads a presence. Whether the node that it names said so is another question: see [`Presence::is_signed`].
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

    /// True if the node that this names signed `bytes`, of which it was read.
    pub fn is_signed_by_node(&self, bytes: &[u8], signature: &Sig) -> bool {
        self.node.verify(&signed_message(bytes), signature)
    }
}
