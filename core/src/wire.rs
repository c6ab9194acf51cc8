//! What nodes say to each other.
//!
//! Two neighbours that count each other as members share one *link*; a stranger can open a *visit*, which is small and
//! answers only who one is and whether one may join. Each carries frames, told apart by their first byte:
//!
//! ```text
//! frame  = kind u8 | postcard of that kind's layout        (the transport puts a u32 length before it)
//! ```
//!
//! A kind that this version does not know is passed over, so that newer nodes can say more; a frame of a known kind that
//! does not parse ends the link. Layouts of version 1 are frozen, and golden vectors pin them.

pub mod guest;
pub mod invite_code;
pub mod member;
pub mod pairing;
pub mod presence;

use serde::{Serialize, de::DeserializeOwned};

/// The version of this protocol that this code speaks, and the oldest that it still understands.
pub const PROTOCOL_VERSION: u16 = 1;
/// The oldest version that it still understands.
pub const MIN_PROTOCOL_VERSION: u16 = 1;

/// Bytes that are no frame of a known kind. The fault is the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No kind.
    #[error("an empty frame")]
    Empty,
    /// A kind that this version knows, but not its layout.
    #[error("a frame of kind {0} that is not laid out as such")]
    Malformed(u8),
}

/// Joins kind and layout to a frame.
fn encode_frame<T: Serialize>(kind: u8, body: &T) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(postcard::to_allocvec(body).unwrap_or_default());
    bytes
}

/// Reads the layout of a frame, all of it.
fn decode_layout<T: DeserializeOwned>(kind: u8, bytes: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(FrameError::Malformed(kind)),
    }
}

/// A list of byte strings, as postcard writes it; `Vec<Vec<u8>>` spelled out for layouts.
pub type EncodedRecords = Vec<Vec<u8>>;
