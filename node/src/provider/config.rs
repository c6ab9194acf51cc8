//! The provider of kind `config`: it sets keys in a file that other programs may write too.
//!
//! It sets each key separately. Comments, the order of lines, and other keys stay. A key that the resource no
//! longer has gets back what stood there before, unless another program changed it since.

use std::collections::BTreeMap;
use std::path::Path;

use larder_core::resource::field::FieldPath;
use larder_core::resource::literal::{self, Literal};
use larder_core::resource::plan::{FieldValues, text_field};
use larder_core::value::Value;

use super::error::ApplyError;
use super::managed_keys::ManagedKeys;
use super::properties::Properties;
use super::target_file::TargetFile;

/// Names of other formats, as file names end with them.
const OTHER_FORMATS: [&str; 6] = ["ini", "json", "toml", "xml", "yaml", "yml"];

/// The new contents of a file, and its keys.
pub(super) struct EditedFile {
    pub(super) contents: Vec<u8>,
    /// The keys to record before the write.
    pub(super) keys: ManagedKeys,
    /// The keys to record after it.
    pub(super) keys_after: ManagedKeys,
    /// True if no line of others is in the file.
    pub(super) is_whole: bool,
}

/// Computes the file with the keys of a resource. `recorded` holds the keys that Larder set before.
pub(super) fn edit(
    target: &TargetFile,
    fields: &FieldValues,
    existing: &[u8],
    recorded: &ManagedKeys,
) -> Result<EditedFile, ApplyError> {
    check_format(target, fields)?;
    check_text(target, existing)?;
    let wanted = flat_keys(fields)?;
    let (mut properties, mut keys) = (Properties::parse(existing), recorded.clone());
    keys.apply(&mut properties, &wanted).map_err(|repeated| {
        ApplyError::Obstacle(format!(
            "`{}` stands on {} lines, and one must be meant; use a resource of kind file: {}",
            repeated.key,
            repeated.lines,
            target.display_path()
        ))
    })?;
    let contents = properties.to_bytes();
    let mut keys_after = keys.clone();
    keys_after.retain(&wanted);
    keys_after.clone().take_back_all(&mut properties);
    let is_whole = properties.to_bytes().trim_ascii().is_empty();
    Ok(EditedFile { contents, keys, keys_after, is_whole })
}

/// Computes the file without the keys that Larder set.
pub(super) fn take_back(existing: &[u8], recorded: &ManagedKeys) -> Vec<u8> {
    let mut properties = Properties::parse(existing);
    recorded.clone().take_back_all(&mut properties);
    properties.to_bytes()
}

fn check_format(target: &TargetFile, fields: &FieldValues) -> Result<(), ApplyError> {
    match text_field(fields, "format") {
        Some("properties") => return Ok(()),
        Some(format) => {
            return Err(ApplyError::BadSpec(format!("this version cannot write format `{format}`")));
        }
        None => {}
    }
    let path = target.display_path();
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_ascii_lowercase) {
        Some(extension) if OTHER_FORMATS.contains(&extension.as_str()) => Err(ApplyError::BadSpec(format!(
            "the name says {extension}; set format=properties if it is not, or use kind file: {path}"
        ))),
        _ => Ok(()),
    }
}

/// Refuses contents that are no text of single bytes or UTF-8.
fn check_text(target: &TargetFile, existing: &[u8]) -> Result<(), ApplyError> {
    let is_utf16 = existing.starts_with(b"\xff\xfe") || existing.starts_with(b"\xfe\xff");
    let problem = match () {
        () if is_utf16 => "the file is UTF-16",
        () if existing.contains(&0) => "the file holds NUL bytes",
        () => return Ok(()),
    };
    Err(ApplyError::Obstacle(format!("{problem}; use a resource of kind file: {}", target.display_path())))
}

/// Returns the keys and values of a resource as the file holds them.
fn flat_keys(fields: &FieldValues) -> Result<BTreeMap<String, String>, ApplyError> {
    let flat_key = |path: &str| {
        let path: FieldPath = path.parse().ok().filter(|path: &FieldPath| path.first() == "keys")?;
        Some(path.dotted_rest()).filter(|key| !key.is_empty())
    };
    let keys = fields.iter().filter_map(|(path, value)| Some((flat_key(path)?, value)));
    keys.map(|(key, value)| {
        let text = flat_value(value)
            .ok_or_else(|| ApplyError::BadSpec(format!("bytes cannot be the value of a key: keys.{key}")))?;
        Ok((key, text))
    })
    .collect()
}

/// Formats a value for a flat file: text unchanged, a list with commas between its items. Bytes have no form.
fn flat_value(value: &Literal) -> Option<String> {
    let format_scalar = |value: &Value| match value {
        Value::Str(text) => Some(text.clone()),
        Value::Bytes(_) => None,
        other => Some(literal::format_scalar(other)),
    };
    match value {
        Literal::Scalar(value) => format_scalar(value),
        Literal::List(values) => {
            values.iter().map(format_scalar).collect::<Option<Vec<_>>>().map(|items| items.join(","))
        }
    }
}
