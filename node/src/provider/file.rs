//! The provider of kind `file`: it writes whole files and their modes.

use larder_core::resource::literal::Literal;
use larder_core::resource::plan::{FieldValues, text_field};
use larder_core::value::Value;

use super::target_file::TargetFile;
use super::{ApplyError, Providers};

pub(super) fn apply(
    providers: &Providers,
    target: &TargetFile<'_>,
    fields: &FieldValues,
    applied: Option<&FieldValues>,
) -> Result<FieldValues, ApplyError> {
    let contents: &[u8] = match fields.get("content") {
        Some(Literal::Scalar(Value::Str(text))) => text.as_bytes(),
        Some(Literal::Scalar(Value::Bytes(bytes))) => bytes,
        Some(_) => return Err(ApplyError::BadSpec("`content` must be text or bytes".to_owned())),
        None => return Err(ApplyError::BadSpec("incomplete: content".to_owned())),
    };
    let mode = text_field(fields, "mode").map(parse_mode).transpose()?;
    let existing = target.read()?;
    if let (None, Some(found)) = (applied, &existing)
        && found.contents != contents
    {
        providers.save_previous_contents(target, &found.contents)?;
    }
    target.write(contents, mode, existing.as_ref())?;
    Ok(fields.clone())
}

/// Parses three or four octal digits.
pub(super) fn parse_mode(text: &str) -> Result<u32, ApplyError> {
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
    mode.ok_or_else(|| {
        ApplyError::BadSpec("`mode` must have three or four octal digits, for example \"0644\"".to_owned())
    })
}
