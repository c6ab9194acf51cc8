//! The provider of kind `config`: it sets keys in a file that other programs may write too.
//!
//! It sets each key separately. Comments, the order of lines, and other keys stay. It removes a key only if
//! Larder set it and the resource no longer has it.

use std::collections::BTreeMap;

use larder_core::resource::field::FieldPath;
use larder_core::resource::literal::{self, Literal};
use larder_core::resource::plan::{FieldValues, text_field};
use larder_core::value::Value;

use super::properties::Properties;
use super::target_file::TargetFile;
use super::{ApplyError, Providers};

/// An entry among the applied fields: Larder created the file, and removes it when no content is left. No
/// field of a resource can have this name.
const CREATED_FIELD: &str = "created by larder";

pub(super) fn apply(
    providers: &Providers,
    target: &TargetFile<'_>,
    fields: &FieldValues,
    applied: Option<&FieldValues>,
) -> Result<FieldValues, ApplyError> {
    match text_field(fields, "format") {
        None | Some("properties") => {}
        Some(format) => {
            return Err(ApplyError::BadSpec(format!("this version cannot write format `{format}`")));
        }
    }
    let existing = target.read()?;
    let mut properties = Properties::parse(existing.as_ref().map_or(&[], |found| found.contents.as_slice()));
    let wanted_keys = flat_keys(fields);
    for key in applied.map(flat_keys).unwrap_or_default().keys().filter(|key| !wanted_keys.contains_key(*key))
    {
        properties.remove(key);
    }
    for (key, value) in &wanted_keys {
        properties.set(key, value);
    }
    let contents = properties.to_bytes();
    if let (None, Some(found)) = (applied, &existing)
        && found.contents != contents
    {
        providers.save_previous_contents(target, &found.contents)?;
    }
    target.write(&contents, None, existing.as_ref())?;
    let mut new_fields = fields.clone();
    let is_created_here = existing.is_none() || applied.is_some_and(|runs| runs.contains_key(CREATED_FIELD));
    if is_created_here {
        new_fields.insert(CREATED_FIELD.to_owned(), Literal::Scalar(Value::Bool(true)));
    }
    Ok(new_fields)
}

/// Removes the keys that Larder set, and the file if Larder created it and no content is left.
pub(super) fn remove_keys(target: &TargetFile<'_>, applied: &FieldValues) -> Result<(), ApplyError> {
    let Some(existing) = target.read()? else { return Ok(()) };
    let mut properties = Properties::parse(&existing.contents);
    for key in flat_keys(applied).keys() {
        properties.remove(key);
    }
    let contents = properties.to_bytes();
    if applied.contains_key(CREATED_FIELD) && contents.trim_ascii().is_empty() {
        return target.remove();
    }
    target.write(&contents, None, Some(&existing))
}

/// Returns the keys and values of a resource as the file holds them.
fn flat_keys(fields: &FieldValues) -> BTreeMap<String, String> {
    let flat_key = |path: &str| {
        let path: FieldPath = path.parse().ok().filter(|path: &FieldPath| path.first() == "keys")?;
        Some(path.dotted_rest()).filter(|key| !key.is_empty())
    };
    fields.iter().filter_map(|(path, value)| Some((flat_key(path)?, flat_value(value)))).collect()
}

/// Formats a value for a flat file: text unchanged, a list with commas between its items.
fn flat_value(value: &Literal) -> String {
    let format_scalar = |value: &Value| match value {
        Value::Str(text) => text.clone(),
        other => literal::format_scalar(other),
    };
    match value {
        Literal::Scalar(value) => format_scalar(value),
        Literal::List(values) => values.iter().map(format_scalar).collect::<Vec<_>>().join(","),
    }
}
