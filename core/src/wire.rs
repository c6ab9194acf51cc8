//! The wire protocol between nodes.
//!
//! Two members share one *link*. A node that is not known as a member can open a *guest stream*, which is
//! short and serves only to join or to prove a membership. Both carry frames, distinguished by their first
//! byte:
//!
//! ```text
//! frame  = kind u8 | postcard of that kind's layout        (the transport puts a u32 length before it)
//! ```
//!
//! A frame of an unknown kind is ignored, so that newer versions can add kinds. A frame of a known kind that
//! cannot be decoded closes the link. Layouts of version 1 are frozen; golden vectors pin them.

pub mod guest;
pub mod invite_code;
pub mod member;
pub mod pairing;
pub mod presence;

use serde::{Serialize, de::DeserializeOwned};

/// The newest protocol version that this code speaks.
pub const PROTOCOL_VERSION: u16 = 1;
/// The oldest protocol version that this code still speaks.
pub const MIN_PROTOCOL_VERSION: u16 = 1;

/// Why bytes cannot be decoded as a frame. The sender is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame has no kind.
    #[error("an empty frame")]
    Empty,
    /// The frame is of a known kind and does not have its layout.
    #[error("a malformed frame of kind {0}")]
    Malformed(u8),
}

/// Encodes a frame.
fn encode_frame<T: Serialize>(kind: u8, body: &T) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(postcard::to_allocvec(body).unwrap_or_default());
    bytes
}

/// Decodes the body of a frame, which must end with the layout.
fn decode_layout<T: DeserializeOwned>(kind: u8, bytes: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(FrameError::Malformed(kind)),
    }
}

/// Encoded records, each followed by its signature.
pub type EncodedRecords = Vec<Vec<u8>>;
