//! The size of a write request: how many keys one change may set, and how many bytes.

use super::edit::EditError;
use crate::limits;
use crate::value::Value;

/// The size of the keys and values that a request sets.
#[derive(Debug, Default)]
pub(super) struct WriteSize {
    keys: usize,
    bytes: usize,
}

impl WriteSize {
    /// Adds a put that replaces this many values.
    pub(super) fn add_put(&mut self, key_bytes: usize, value: &Value, replaced: usize) {
        self.keys += 1;
        self.bytes += key_bytes + value.size_estimate() + limits::PUT_OVERHEAD_BYTES * replaced.max(1);
    }

    /// Checks that the puts fit in one change.
    pub(super) fn check(&self) -> Result<(), EditError> {
        match self {
            Self { keys, .. } if *keys > limits::MAX_EDITS_PER_REQUEST => {
                Err(EditError::TooManyFields(*keys))
            }
            Self { bytes, .. } if *bytes > limits::MAX_WRITE_BYTES => Err(EditError::TooLarge(*bytes)),
            _ => Ok(()),
        }
    }
}
