//! Kind `file`: whole contents, and permissions.

use larder_core::resource::literal::Literal;
use larder_core::resource::target::{Fields, text};
use larder_core::value::Value;

use super::spot::Spot;
use super::{Providers, Refusal};

pub(super) fn apply(
    providers: &Providers,
    spot: &Spot<'_>,
    fields: &Fields,
    runs: Option<&Fields>,
) -> Result<Fields, Refusal> {
    let contents: &[u8] = match fields.get("content") {
        Some(Literal::Scalar(Value::Str(text))) => text.as_bytes(),
        Some(Literal::Scalar(Value::Bytes(bytes))) => bytes,
        Some(_) => return Err(Refusal::Wish("`content` must be text or bytes".to_owned())),
        None => return Err(Refusal::Wish("incomplete: content".to_owned())),
    };
    let mode = text(fields, "mode").map(parse_mode).transpose()?;
    let before = spot.read()?;
    if let (None, Some(found)) = (runs, &before)
        && found.contents != contents
    {
        providers.keep_previous(spot, &found.contents)?;
    }
    spot.write(contents, mode, before.as_ref())?;
    Ok(fields.clone())
}

/// Three or four octal digits.
pub(super) fn parse_mode(text: &str) -> Result<u32, Refusal> {
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| digits);
    mode.ok_or_else(|| Refusal::Wish("`mode` must be three or four octal digits, as \"0644\"".to_owned()))
}
