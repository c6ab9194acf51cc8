//! Helpers for stored values: the postcard encoding, the checksum, and cutting text to a number of bytes.

use serde::{Serialize, de::DeserializeOwned};

use crate::id::hash;

/// Encodes a value in postcard.
pub fn encode_layout<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).unwrap_or_default()
}

/// Decodes a value that [`encode_layout`] wrote; `None` if the bytes hold anything else.
pub fn decode_layout<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

/// The BLAKE3 checksum of a stored body. `context` says what kind of body it is.
pub fn checksum(context: &str, body: &[u8]) -> [u8; 32] {
    hash(context, &[body])
}

/// The longest prefix of `text` that takes at most `max_bytes` and ends between two characters.
pub fn truncate_utf8(text: &str, max_bytes: usize) -> &str {
    let end = (0..=max_bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}
