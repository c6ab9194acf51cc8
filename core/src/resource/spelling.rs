//! The one spelling of each field.
//!
//! A key of a flat format, such as `server.port` of a properties file, can be written as `keys.server.port`,
//! as `keys."server.port"`, or with nested tables in a manifest. All of these are one field. Its canonical
//! path has one segment for each part between dots, or a single quoted segment if a part would be empty or
//! there are too many.

use super::field::{FieldPath, FieldPathError, MAX_SEGMENTS};
use super::list_item::split_item_field;
use super::name::{NODE_KIND, ResourceName};
use super::schema::find_schema;

/// The most parts of a flat key that become segments. With them, the path in an overlay has [`MAX_SEGMENTS`].
const MAX_FLAT_KEY_PARTS: usize = MAX_SEGMENTS - 3;

/// The canonical path of a field of this kind.
pub fn canonical_path(kind: &str, path: FieldPath) -> FieldPath {
    let table_index = if path.first() == "overlay" { 2 } else { 0 };
    let (Some(table), Some(key_parts)) =
        (path.segments().get(table_index), path.segments().get(table_index + 1..))
    else {
        return path;
    };
    if !is_flat_table(kind, table) || key_parts.is_empty() {
        return path;
    }
    let key = key_parts.join(".");
    let parts: Vec<&str> = key.split('.').collect();
    let can_split = parts.len() <= MAX_FLAT_KEY_PARTS && parts.iter().all(|part| !part.is_empty());
    let parts = if can_split { parts } else { vec![key.as_str()] };
    let prefix = path.segments().iter().take(table_index + 1).cloned();
    let segments = prefix.chain(parts.into_iter().map(str::to_owned)).collect();
    FieldPath::new(segments).unwrap_or(path)
}

/// The canonical path of the field of `resource` that `text` names.
pub fn parse_path(resource: &ResourceName, text: &str) -> Result<FieldPath, FieldPathError> {
    text.parse().map(|path| canonical_path(resource.kind(), path))
}

/// The canonical spelling of a key of the document. `None` if the key has it already, or if this version
/// cannot parse the key.
pub(crate) fn canonical_key(key: &str) -> Option<String> {
    let (resource, field) = key.split_once(' ')?;
    let (kind, _) = resource.split_once('/')?;
    let (path, _) = split_item_field(field);
    if is_bare(path) {
        return None;
    }
    let canonical = canonical_path(kind, path.parse().ok()?).to_string();
    let item_mark = field.strip_prefix(path).unwrap_or_default();
    (canonical != path).then(|| format!("{resource} {canonical}{item_mark}"))
}

/// True if the path consists of bare segments, few enough to be canonical for every kind.
fn is_bare(path: &str) -> bool {
    let is_bare_segment = |segment: &str| {
        !segment.is_empty() && segment.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    path.split('.').count() <= MAX_FLAT_KEY_PARTS && path.split('.').all(is_bare_segment)
}

/// True if the keys of this table are flat: a dot in them is a part of the key.
fn is_flat_table(kind: &str, table: &str) -> bool {
    let has_table = |tables: &[(&str, _)]| tables.iter().any(|(name, _)| *name == table);
    (kind == NODE_KIND && table == "labels")
        || find_schema(kind).is_some_and(|schema| has_table(schema.tables))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(kind: &str, path: &str) -> String {
        canonical_path(kind, path.parse().unwrap()).to_string()
    }

    #[test]
    fn all_spellings_of_a_flat_key_have_one_canonical_path() {
        let deep = ["a"; 20].join(".");
        for (path, expected) in [
            ("keys.server.port", "keys.server.port"),
            ("keys.\"server.port\"", "keys.server.port"),
            ("keys.'server' . \"port\"", "keys.server.port"),
            ("keys.\"a b.c\"", "keys.\"a b\".c"),
            ("keys.\"a..b\"", "keys.\"a..b\""),
            ("keys.\".a\".b", "keys.\".a.b\""),
            ("overlay.\"role=till\".keys.\"server.port\"", "overlay.\"role=till\".keys.server.port"),
            (&format!("keys.\"{deep}\""), &format!("keys.\"{deep}\"")),
            (&format!("keys.{}", ["a"; 14].join(".")), &format!("keys.\"{}\"", ["a"; 14].join("."))),
            ("path", "path"),
            ("other.\"a.b\"", "other.\"a.b\""),
        ] {
            assert_eq!(canonical("config", path), expected, "{path}");
            assert_eq!(canonical("config", expected), expected, "the canonical path is stable");
        }
        assert_eq!(canonical("novel", "keys.\"a.b\""), "keys.\"a.b\"", "the schema is not known");
        assert_eq!(canonical("node", "labels.\"site.name\""), "labels.site.name");
    }

    #[test]
    fn flat_key_has_the_same_canonical_path_in_an_overlay() {
        for parts in 1..=20 {
            let key = vec!["k"; parts].join(".");
            let plain = canonical("config", &format!("keys.\"{key}\""));
            let in_overlay = canonical("config", &format!("overlay.\"role=till\".keys.\"{key}\""));
            assert_eq!(in_overlay, format!("overlay.\"role=till\".{plain}"));
        }
    }

    #[test]
    fn only_keys_in_another_spelling_have_a_different_canonical_key() {
        let mark = "#".to_owned() + &"0f".repeat(16);
        for (key, expected) in [
            ("config/a keys.server.port".to_owned(), None),
            ("config/a keys.\"server.port\"".to_owned(), Some("config/a keys.server.port".to_owned())),
            ("config/a keys.\"a b\"".to_owned(), None),
            (format!("config/a keys.\"a.b\"{mark}"), Some(format!("config/a keys.a.b{mark}"))),
            (format!("config/a keys.a.b{mark}"), None),
            ("config/a keys..x".to_owned(), None),
            ("config/a".to_owned(), None),
        ] {
            assert_eq!(canonical_key(&key), expected, "{key}");
        }
    }
}
