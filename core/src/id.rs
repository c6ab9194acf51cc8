//! The types of all ids, and the hashes, keys and signatures behind them.
//!
//! | name          | is                                                               | shown as           |
//! |---------------|------------------------------------------------------------------|--------------------|
//! | `NodeId`      | the Ed25519 public key of a node                                 | base32 of its hash |
//! | `GroupId`     | hash of the group's Genesis record                               | hex                |
//! | `RecordId`    | hash of a membership record; a Grant's is also the grant's id    | hex                |
//! | `ChangeId`    | the Automerge hash of a change                                   | hex                |
//! | `ShardId`     | first half of the hash of a shard's root change                  | hex                |
//! | `Incarnation` | 128 random bits, durable before first use                        | -                  |
//! | `ChainId`     | hash of (group, shard, grant, incarnation): one chain of changes | hex                |
//!
//! Except for Automerge's own hashes, every hash is BLAKE3 in key-derivation mode with its own context, so
//! that no hash of one kind equals a hash of another.

pub mod base32;

use std::fmt;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// The number of characters of an id in its short form.
pub const SHORT_ID_CHARS: usize = 7;

/// BLAKE3 in key-derivation mode. `context` must be a constant of this code base, never data.
pub fn hash(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// The first half of [`hash`].
pub fn hash16(context: &str, parts: &[&[u8]]) -> [u8; 16] {
    let whole = hash(context, parts);
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(whole) {
        *to = from;
    }
    half
}

macro_rules! hex_id {
    ($(#[$meta:meta])* $name:ident, $len:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The id of zero bytes, used where there is no id.
            pub const ZERO: Self = Self([0; $len]);

            /// The id with these bytes, if `slice` has the right length.
            pub fn from_slice(slice: &[u8]) -> Option<Self> {
                slice.try_into().ok().map(Self)
            }

            /// Parses the full hex form, in lower or upper case.
            pub fn parse(text: &str) -> Option<Self> {
                HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().and_then(|bytes| Self::from_slice(&bytes))
            }

            /// The first [`SHORT_ID_CHARS`] characters of the id.
            pub fn short(&self) -> String {
                self.to_string().chars().take(SHORT_ID_CHARS).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
    };
}

hex_id! {
    /// The id of a group: the first 16 bytes of the hash of its Genesis record.
    GroupId, 16
}
hex_id! {
    /// The id of a membership record: the hash of its signed bytes.
    RecordId, 32
}
hex_id! {
    /// The id of a change: Automerge's own hash of it (SHA-256 of the encoded chunk).
    ChangeId, 32
}
hex_id! {
    /// The id of a shard: the first 16 bytes of the hash of its root change.
    ShardId, 16
}
hex_id! {
    /// The random bits that distinguish the chains of one grant: a node draws them when it starts a new
    /// chain, and stores them before the first change.
    Incarnation, 16
}
hex_id! {
    /// The id of a chain: all changes with one (group, shard, grant, incarnation). It is the Automerge actor.
    ChainId, 16
}
hex_id! {
    /// The hash of a whole state. Equal digests mean equal states.
    Digest, 16
}
hex_id! {
    /// The id of an invite: the public key that belongs to the invite's secret.
    InviteId, 32
}

/// The id of a grant, which is the id of its Grant record. The id of the founder's grant is that of the
/// Genesis record.
pub type GrantId = RecordId;

/// The id of one entry of a group's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HistoryEntryId {
    /// A change of the document.
    Change {
        /// The shard that the change belongs to.
        shard_id: ShardId,
        /// The change's id.
        id: ChangeId,
    },
    /// A membership record.
    Record(RecordId),
}

impl HistoryEntryId {
    /// The id of the change or record, in hex.
    pub fn hex_id(&self) -> String {
        match self {
            Self::Change { id, .. } => id.to_string(),
            Self::Record(id) => id.to_string(),
        }
    }
}

impl fmt::Display for HistoryEntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex_id())
    }
}

impl ChainId {
    /// The id of the chain of `grant` in `shard` for one incarnation.
    pub fn derive(group: GroupId, shard: ShardId, grant: GrantId, incarnation: Incarnation) -> Self {
        Self(hash16("larder 1 actor", &[&group.0, &shard.0, &grant.0, &incarnation.0]))
    }
}

/// The id of a node: its Ed25519 public key, which is also its libp2p identity and signs its changes.
///
/// It is shown as the first 20 bytes of the key's hash in base32 and three check characters, 35 in all.
/// Finding two keys with the same shown form takes 2^80 tries; the code always compares whole keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub [u8; 32]);

impl NodeId {
    /// The first [`SHORT_ID_CHARS`] characters of the shown form.
    pub fn short(&self) -> String {
        self.to_string().chars().take(SHORT_ID_CHARS).collect()
    }

    /// A hash of eight bytes that identifies the node where a collision does no harm, such as in presence
    /// messages and invites.
    pub fn fingerprint8(&self) -> [u8; 8] {
        let whole = hash16("larder 1 node hint", &[&self.0]);
        let mut fingerprint = [0; 8];
        for (to, from) in fingerprint.iter_mut().zip(whole) {
            *to = from;
        }
        fingerprint
    }

    /// True if `signature` is this node's signature of `message`, see [`verify`].
    pub fn verify(&self, message: &[u8], signature: &Sig) -> bool {
        verify(&self.0, message, signature)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = hash("larder 1 node id", &[&self.0]);
        let (head, _) = hash.split_at(20);
        let text = base32::encode(head);
        let check = base32::encode(&hash16("larder 1 node id check", &[text.as_bytes()]));
        let check: String = check.chars().take(3).collect();
        write!(f, "{text}{check}")
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.short())
    }
}

/// True if `text` has the length of a full node id but wrong check characters: a typing mistake and not an
/// unknown node.
pub fn is_mistyped_node_id(text: &str) -> bool {
    let Some(normalized) = text.chars().map(base32::normalize_char).collect::<Option<String>>() else {
        return true;
    };
    let Some((head, check)) = normalized.split_at_checked(32) else { return false };
    if check.len() != 3 {
        return false;
    }
    !base32::encode(&hash16("larder 1 node id check", &[head.as_bytes()])).starts_with(check)
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sig(pub [u8; 64]);

impl Sig {
    /// The signature with these bytes, if there are 64.
    pub fn from_slice(slice: &[u8]) -> Option<Self> {
        slice.try_into().ok().map(Self)
    }
}

impl fmt::Debug for Sig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sig(..)")
    }
}

impl Serialize for Sig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (left, right) = self.0.split_at(32);
        (<[u8; 32]>::try_from(left).unwrap_or_default(), <[u8; 32]>::try_from(right).unwrap_or_default())
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let halves = <([u8; 32], [u8; 32])>::deserialize(deserializer)?;
        let mut whole = [0; 64];
        for (to, from) in whole.iter_mut().zip(halves.0.into_iter().chain(halves.1)) {
            *to = from;
        }
        Ok(Self(whole))
    }
}

/// True if `signature` is the signature of `message` by `key`. The check is strict (RFC 8032 with the checks
/// of "Taming the many EdDSAs": no small-order keys, canonical S). Batch verification is never used, because
/// it accepts other signatures for crafted keys.
pub fn verify(key: &[u8; 32], message: &[u8], signature: &Sig) -> bool {
    VerifyingKey::from_bytes(key)
        .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(&signature.0)).is_ok())
}

/// A secret Ed25519 key: that of a node, of an invite or of a group's recovery. It is never shown or
/// serialised.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key with these secret bytes.
    pub fn from_bytes(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The secret bytes. They may be written only to a file that only its owner can read.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The public key as a node id.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.public_key())
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Sig {
        Sig(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_id_has_35_characters_and_detects_typos() {
        let id = SecretKey::from_bytes(&[7; 32]).node_id();
        let text = id.to_string();
        assert_eq!(text.len(), 35);
        assert!(!is_mistyped_node_id(&text));
        assert!(!is_mistyped_node_id(&text.to_uppercase()));
        let mut slipped = text.clone();
        let c = if slipped.remove(4) == 'a' { 'b' } else { 'a' };
        slipped.insert(4, c);
        assert!(is_mistyped_node_id(&slipped));
        assert!(!is_mistyped_node_id(id.short().as_str()), "a prefix has nothing to check");
    }

    #[test]
    fn hex_ids_parse_back_from_their_displayed_form() {
        let id = ChangeId(std::array::from_fn(|i| i as u8));
        assert_eq!(ChangeId::parse(&id.to_string()), Some(id));
        assert_eq!(id.short(), "0001020");
        assert_eq!(ChangeId::parse("00"), None);
        assert_eq!(ChangeId::parse("é0"), None);
    }

    #[test]
    fn signature_verifies_only_for_its_own_key_and_message() {
        let secret = SecretKey::from_bytes(&[1; 32]);
        let sig = secret.sign(b"m");
        assert!(secret.node_id().verify(b"m", &sig));
        assert!(!secret.node_id().verify(b"n", &sig));
        assert!(!SecretKey::from_bytes(&[2; 32]).node_id().verify(b"m", &sig));
        let bytes = postcard::to_allocvec(&sig).unwrap();
        assert_eq!(bytes.len(), 64);
        assert_eq!(postcard::from_bytes::<Sig>(&bytes).unwrap(), sig);
    }
}
