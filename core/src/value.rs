//! The values that a document holds: scalars only, no lists, texts or counters.

use serde::{Deserialize, Serialize};

use crate::limits;

/// The value of one key. Two values are equal if their types and bits are equal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Value {
    /// The value of a field that was unset.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A finite number other than minus zero.
    Float(f64),
    /// A text.
    Str(String),
    /// Bytes that are not text.
    Bytes(Vec<u8>),
}

/// The reason why no document may hold a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The text or the bytes are too long.
    #[error(
        "the value has {0} bytes, and a value has at most {max}; split it into several files or keys",
        max = limits::MAX_VALUE_BYTES
    )]
    TooLong(usize),
    /// The number is not finite, or minus zero.
    #[error("a number must be finite, and not minus zero")]
    InvalidNumber,
}

impl Value {
    /// Checks that a document may hold this value.
    pub fn check(&self) -> Result<(), ValueError> {
        let check_len = |len: usize| match len {
            0..=limits::MAX_VALUE_BYTES => Ok(()),
            _ => Err(ValueError::TooLong(len)),
        };
        match self {
            Self::Float(float) if !float.is_finite() || (*float == 0.0 && float.is_sign_negative()) => {
                Err(ValueError::InvalidNumber)
            }
            Self::Str(text) => check_len(text.len()),
            Self::Bytes(bytes) => check_len(bytes.len()),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => Ok(()),
        }
    }

    /// True if a document may hold this value.
    pub fn is_valid(&self) -> bool {
        self.check().is_ok()
    }

    /// True of [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a [`Value::Str`].
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Roughly the bytes that the value takes, for limits on memory and frames.
    pub fn size_estimate(&self) -> usize {
        match self {
            Self::Str(text) => text.len() + 8,
            Self::Bytes(bytes) => bytes.len() + 8,
            _ => 8,
        }
    }

    /// The name of the type, as shown to operators.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Float(_) => "float",
            Self::Str(_) => "string",
            Self::Bytes(_) => "bytes",
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
