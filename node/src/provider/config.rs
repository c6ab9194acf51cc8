//! Kind `config`: keys of a file that others may write too.
//!
//! Each key is set by itself; comments, order and the keys of others stay. What Larder put there and no longer wants is
//! taken out again, and nothing else.

use std::collections::BTreeMap;

use larder_core::resource::field::FieldPath;
use larder_core::resource::literal::{self, Literal};
use larder_core::resource::target::{Fields, text};
use larder_core::value::Value;

use super::properties::Properties;
use super::spot::Spot;
use super::{Providers, Refusal};

/// Kept with what this machine runs: Larder made the file, and takes it away when nothing is left in it. No field of
/// a resource is called so.
const CREATED: &str = "created by larder";

pub(super) fn apply(
    providers: &Providers,
    spot: &Spot<'_>,
    fields: &Fields,
    runs: Option<&Fields>,
) -> Result<Fields, Refusal> {
    match text(fields, "format") {
        None | Some("properties") => {}
        Some(other) => return Err(Refusal::Wish(format!("this version cannot write format `{other}`"))),
    }
    let before = spot.read()?;
    let mut file = Properties::parse(before.as_ref().map_or(&[], |found| found.contents.as_slice()));
    let wanted = keys(fields);
    for key in runs.map(keys).unwrap_or_default().keys().filter(|key| !wanted.contains_key(*key)) {
        file.remove(key);
    }
    for (key, value) in &wanted {
        file.set(key, value);
    }
    let contents = file.to_bytes();
    if let (None, Some(found)) = (runs, &before)
        && found.contents != contents
    {
        providers.keep_previous(spot, &found.contents)?;
    }
    spot.write(&contents, None, before.as_ref())?;
    let mut now = fields.clone();
    let created = before.is_none() || runs.is_some_and(|runs| runs.contains_key(CREATED));
    if created {
        now.insert(CREATED.to_owned(), Literal::Scalar(Value::Bool(true)));
    }
    Ok(now)
}

/// Takes out the keys that Larder put there; and the file, if Larder made it and nothing is left.
pub(super) fn remove(spot: &Spot<'_>, runs: &Fields) -> Result<(), Refusal> {
    let Some(found) = spot.read()? else { return Ok(()) };
    let mut file = Properties::parse(&found.contents);
    for key in keys(runs).keys() {
        file.remove(key);
    }
    let contents = file.to_bytes();
    if runs.contains_key(CREATED) && contents.trim_ascii().is_empty() {
        return spot.remove();
    }
    spot.write(&contents, None, Some(&found))
}

/// The keys that a resource names, as the file has them.
fn keys(fields: &Fields) -> BTreeMap<String, String> {
    let flat = |path: &str| {
        let path: FieldPath = path.parse().ok().filter(|path: &FieldPath| path.first() == "keys")?;
        Some(path.flat()).filter(|key| !key.is_empty())
    };
    fields.iter().filter_map(|(path, value)| Some((flat(path)?, plain(value)))).collect()
}

/// A value as flat formats have it: text as it is, a list with commas between its items.
fn plain(value: &Literal) -> String {
    let one = |value: &Value| match value {
        Value::Str(text) => text.clone(),
        other => literal::write(other),
    };
    match value {
        Literal::Scalar(value) => one(value),
        Literal::List(values) => values.iter().map(one).collect::<Vec<_>>().join(","),
    }
}
