//! The provider of kind `file`: it writes whole files and their modes.

use larder_core::resource::literal::Literal;
use larder_core::resource::plan::{FieldValues, text_field};
use larder_core::value::Value;

use super::error::ApplyError;

/// Returns the contents that a file resource wants.
pub(super) fn contents(fields: &FieldValues) -> Result<&[u8], ApplyError> {
    match fields.get("content") {
        Some(Literal::Scalar(Value::Str(text))) => Ok(text.as_bytes()),
        Some(Literal::Scalar(Value::Bytes(bytes))) => Ok(bytes),
        Some(_) => Err(ApplyError::BadSpec("`content` must be text or bytes".to_owned())),
        None => Err(ApplyError::BadSpec("incomplete: content".to_owned())),
    }
}

/// Returns the mode that a file resource wants, from three or four octal digits.
pub(super) fn mode(fields: &FieldValues) -> Result<Option<u32>, ApplyError> {
    let Some(text) = text_field(fields, "mode") else { return Ok(None) };
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
    mode.map(Some).ok_or_else(|| {
        ApplyError::BadSpec("`mode` must have three or four octal digits, for example \"0644\"".to_owned())
    })
}
