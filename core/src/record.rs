//! The signed records of a group, and the membership that follows from them.
//!
//! Records are stored beside the document, not in it. The records of one issuer form a hash chain. Each
//! record names the grant under which it acts and the key that signed it, so any node can validate it at any
//! later time.
//!
//! ```text
//! record = version u8 | group [16] | grant [32] | signer u8 | seq varint | prev [32] | tag varint | body
//!          (postcard: varints are LEB128, `bytes` carry their length before them)
//! body   = the layout that the tag names, see `body`; or, with tag 6, a note and such a body:
//!          time zigzag | user string | message string | tag varint | body bytes
//! signed = record bytes | signature [64] over "larder 1 record\0" | record
//! id     = BLAKE3("larder 1 record id", record)
//! group  = first 16 bytes of BLAKE3("larder 1 group", Genesis record); zero in a Genesis, as grant and prev
//! ```
//!
//! The id does not cover the signature. A key can sign the same bytes in several valid ways, and those
//! signatures must not make several records.

pub mod body;
pub mod membership;
pub mod record_set;

use serde::{Deserialize, Serialize};

pub use body::{Admit, Forget, Frontiers, Genesis, Grant, RecordBody, Revoke, RevokeTarget, Role};
pub use membership::{EffectiveGrant, Membership, Revocation};
pub use record_set::{RecordFault, RecordInsertion, RecordSet, RecordTip};

use crate::id::{GrantId, GroupId, NodeId, RecordId, SecretKey, Sig, hash, hash16};
use crate::limits;

/// Which key of a grant signed a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signer {
    /// The key that holds the grant.
    Holder,
    /// The group's recovery key, which acts under Genesis with a chain of its own.
    Recovery,
}

impl Signer {
    /// The byte that encodes this signer in a record.
    pub fn to_byte(self) -> u8 {
        match self {
            Self::Holder => 0,
            Self::Recovery => 1,
        }
    }

    /// Decodes the byte that [`Signer::to_byte`] returns.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Holder),
            1 => Some(Self::Recovery),
            _ => None,
        }
    }
}

/// Information for people that goes with a record. Nothing is decided by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordNote {
    /// The time by the author's clock, in seconds since 1970.
    pub time: i64,
    /// The operator's local user.
    pub user: String,
    /// The operator's reason.
    pub message: String,
}

impl RecordNote {
    fn is_within_limits(&self) -> bool {
        (0..=limits::MAX_TIME_SECONDS).contains(&self.time)
            && self.user.len() <= limits::MAX_RECORD_NOTE_BYTES
            && self.message.len() <= limits::MAX_RECORD_NOTE_BYTES
    }
}

/// One decoded membership record. Only the records of a [`RecordSet`] have a verified signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The record's group, or zero for a Genesis, whose hash is the group's id.
    pub group: GroupId,
    /// The grant under which the author acts, or zero for a Genesis.
    pub grant: GrantId,
    /// The key that signed the record.
    pub signer: Signer,
    /// The position in the author's chain, from 1; 0 for a Genesis.
    pub seq: u64,
    /// The author's previous record under this grant, or zero for the first.
    pub prev: RecordId,
    /// The statement that the record makes.
    pub body: RecordBody,
    /// The author's note, if there is one.
    pub note: Option<RecordNote>,
}

/// The tag of a body that comes with a note.
const NOTED_BODY_TAG: u16 = 6;

#[derive(Serialize, Deserialize)]
struct NotedBody<'a> {
    note: RecordNote,
    tag: u16,
    #[serde(borrow)]
    body: &'a [u8],
}

#[derive(Serialize, Deserialize)]
struct RecordEnvelope<'a> {
    version: u8,
    group: GroupId,
    grant: GrantId,
    signer: u8,
    seq: u64,
    prev: RecordId,
    tag: u16,
    #[serde(borrow)]
    body: &'a [u8],
}

/// The error of decoding a record: the sender is at fault, or runs a newer version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordDecodeError {
    /// The bytes are longer than a record may be.
    #[error("a membership record of {0} bytes is longer than the limit of {limit}",
        limit = limits::MAX_RECORD_BYTES)]
    TooLong(usize),
    /// The bytes do not have the layout of a record, or are not its canonical encoding.
    #[error("these bytes are not a membership record")]
    Malformed,
    /// The record has a newer format than this version understands.
    #[error("a membership record of format {0}; this version understands up to {known}; upgrade this node",
        known = limits::FORMAT_VERSION)]
    NewerFormat(u8),
}

impl Record {
    /// The bytes of the record that are signed and hashed.
    pub fn encode(&self) -> Vec<u8> {
        let (mut tag, mut body) = (self.body.tag(), self.body.encode());
        if let Some(note) = &self.note {
            let noted = NotedBody { note: note.clone(), tag, body: &body };
            (tag, body) = (NOTED_BODY_TAG, postcard::to_allocvec(&noted).unwrap_or_default());
        }
        let envelope = RecordEnvelope {
            version: limits::FORMAT_VERSION,
            group: self.group,
            grant: self.grant,
            signer: self.signer.to_byte(),
            seq: self.seq,
            prev: self.prev,
            tag,
            body: &body,
        };
        postcard::to_allocvec(&envelope).unwrap_or_default()
    }

    /// Decodes a record. Bytes that differ from the record's own encoding are rejected.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordDecodeError> {
        if bytes.len() > limits::MAX_RECORD_BYTES {
            return Err(RecordDecodeError::TooLong(bytes.len()));
        }
        match bytes.first() {
            Some(&version) if version > limits::FORMAT_VERSION => {
                return Err(RecordDecodeError::NewerFormat(version));
            }
            Some(&limits::FORMAT_VERSION) => {}
            _ => return Err(RecordDecodeError::Malformed),
        }
        let (envelope, rest) = postcard::take_from_bytes::<RecordEnvelope<'_>>(bytes)
            .map_err(|_| RecordDecodeError::Malformed)?;
        let (note, tag, body) = match envelope.tag {
            NOTED_BODY_TAG => {
                let (noted, rest) = postcard::take_from_bytes::<NotedBody<'_>>(envelope.body)
                    .map_err(|_| RecordDecodeError::Malformed)?;
                if !rest.is_empty() || !noted.note.is_within_limits() || noted.tag == NOTED_BODY_TAG {
                    return Err(RecordDecodeError::Malformed);
                }
                (Some(noted.note), noted.tag, noted.body)
            }
            tag => (None, tag, envelope.body),
        };
        let body = RecordBody::decode(tag, body).ok_or(RecordDecodeError::Malformed)?;
        let record = Self {
            group: envelope.group,
            grant: envelope.grant,
            signer: Signer::from_byte(envelope.signer).ok_or(RecordDecodeError::Malformed)?,
            seq: envelope.seq,
            prev: envelope.prev,
            body,
            note,
        };
        if !rest.is_empty() || record.encode() != bytes || !record.has_valid_chain_position() {
            return Err(RecordDecodeError::Malformed);
        }
        Ok(record)
    }

    /// True if the record is a well-formed Genesis, or a later record with a plausible position.
    fn has_valid_chain_position(&self) -> bool {
        if matches!(self.body, RecordBody::Genesis(_)) {
            return self.group == GroupId::ZERO
                && self.grant == GrantId::ZERO
                && self.prev == RecordId::ZERO
                && self.seq == 0
                && self.note.is_none()
                && self.signer == Signer::Holder;
        }
        self.seq > 0 && self.seq <= limits::MAX_SEQ && (self.seq == 1) == (self.prev == RecordId::ZERO)
    }

    /// Signs the record.
    pub fn sign(self, secret: &SecretKey) -> SignedRecord {
        let bytes = self.encode();
        let signature = secret.sign(&signed_message(&bytes));
        SignedRecord::from_parts(self, bytes, signature)
    }
}

/// A record with its bytes and signature. Only the records of a [`RecordSet`] have a verified signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    id: RecordId,
    bytes: Vec<u8>,
    signature: Sig,
    record: Record,
}

impl SignedRecord {
    fn from_parts(record: Record, bytes: Vec<u8>, signature: Sig) -> Self {
        Self { id: RecordId(hash("larder 1 record id", &[&bytes])), bytes, signature, record }
    }

    /// Decodes record bytes followed by a signature of 64 bytes, without verifying the signature.
    pub fn decode(signed: &[u8]) -> Result<Self, RecordDecodeError> {
        let signature_start = signed.len().checked_sub(64).ok_or(RecordDecodeError::Malformed)?;
        let (bytes, signature) =
            signed.split_at_checked(signature_start).ok_or(RecordDecodeError::Malformed)?;
        let signature = Sig::from_slice(signature).ok_or(RecordDecodeError::Malformed)?;
        Ok(Self::from_parts(Record::decode(bytes)?, bytes.to_vec(), signature))
    }

    /// The record's bytes followed by its signature: the form that is stored and sent.
    pub fn encode(&self) -> Vec<u8> {
        [self.bytes.as_slice(), &self.signature.0].concat()
    }

    /// The length of the encoded record with its signature, in bytes.
    pub fn encoded_len(&self) -> usize {
        self.bytes.len() + self.signature.0.len()
    }

    /// The record's id.
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// The decoded record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The id of the group that a Genesis creates, or `None` for another record.
    pub fn genesis_group_id(&self) -> Option<GroupId> {
        matches!(self.record.body, RecordBody::Genesis(_))
            .then(|| GroupId(hash16("larder 1 group", &[&self.bytes])))
    }

    /// True if `key` signed this record.
    pub fn is_signed_by(&self, key: &NodeId) -> bool {
        key.verify(&signed_message(&self.bytes), &self.signature)
    }
}

fn signed_message(record: &[u8]) -> Vec<u8> {
    [b"larder 1 record\0".as_slice(), record].concat()
}

/// Makes and signs the Genesis record of a new group. The caller draws `nonce` and the recovery key, because
/// this crate has no source of randomness.
pub fn create_genesis(
    founder: &SecretKey,
    name: &str,
    nonce: [u8; 16],
    recovery_key: NodeId,
) -> SignedRecord {
    let body = RecordBody::Genesis(Genesis {
        founder: founder.node_id(),
        name: name.to_owned(),
        nonce,
        recovery_key,
    });
    Record {
        group: GroupId::ZERO,
        grant: GrantId::ZERO,
        signer: Signer::Holder,
        seq: 0,
        prev: RecordId::ZERO,
        body,
        note: None,
    }
    .sign(founder)
}
