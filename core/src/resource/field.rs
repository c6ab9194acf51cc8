//! Field paths: dotted TOML keys in one canonical form, so that one field has one key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::literal::quote;

/// The most segments of one path.
pub(super) const MAX_SEGMENTS: usize = 16;

/// The path of a field, such as `keys.url` or `overlay."role=plc".mode`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldPath(Vec<String>);

/// The error of parsing a field path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a field: expected dotted keys, such as keys.url or keys.\"a b\" ({reason})")]
pub struct FieldPathError {
    text: String,
    reason: String,
}

impl FieldPath {
    /// The path with these segments, or `None` if there are none, too many, or an empty one.
    pub fn new(segments: Vec<String>) -> Option<Self> {
        let is_valid = !segments.is_empty()
            && segments.len() <= MAX_SEGMENTS
            && segments.iter().all(|segment| !segment.is_empty() && !segment.contains('\0'));
        is_valid.then_some(Self(segments))
    }

    /// The segments, of which there is at least one.
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// The first segment.
    pub fn first(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// The path after the first segment, if there is one.
    pub fn rest(&self) -> Option<Self> {
        self.0.split_first().and_then(|(_, rest)| Self::new(rest.to_vec()))
    }

    /// The path with one more segment, or `None` if that would be too long.
    pub fn child(&self, segment: &str) -> Option<Self> {
        Self::new(self.0.iter().cloned().chain([segment.to_owned()]).collect())
    }

    /// All segments but the first, joined by dots: the key in a flat configuration format.
    pub fn dotted_rest(&self) -> String {
        self.0.iter().skip(1).cloned().collect::<Vec<_>>().join(".")
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, segment) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_str(".")?;
            }
            if segment.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
                f.write_str(segment)?;
            } else {
                f.write_str(&quote(segment))?;
            }
        }
        Ok(())
    }
}

impl From<FieldPath> for String {
    fn from(value: FieldPath) -> Self {
        value.to_string()
    }
}

impl TryFrom<String> for FieldPath {
    type Error = FieldPathError;

    fn try_from(text: String) -> Result<Self, FieldPathError> {
        text.parse()
    }
}

impl FromStr for FieldPath {
    type Err = FieldPathError;

    fn from_str(text: &str) -> Result<Self, FieldPathError> {
        let error = |reason: &str| FieldPathError { text: text.to_owned(), reason: reason.to_owned() };
        let keys = toml_edit::Key::parse(text).map_err(|parse_error| error(parse_error.message()))?;
        Self::new(keys.iter().map(|key| key.get().to_owned()).collect())
            .ok_or_else(|| error(&format!("a part is empty, or there are more than {MAX_SEGMENTS} parts")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equivalent_spellings_parse_to_one_canonical_path() {
        for (text, canonical) in [
            ("keys.url", "keys.url"),
            ("keys . url", "keys.url"),
            ("keys.\"url\"", "keys.url"),
            ("keys.'a b'", "keys.\"a b\""),
            ("overlay.\"role=plc\".mode", "overlay.\"role=plc\".mode"),
            ("keys.\"q\\\"\\n\"", "keys.\"q\\\"\\n\""),
        ] {
            let path: FieldPath = text.parse().unwrap();
            assert_eq!(path.to_string(), canonical);
            assert_eq!(path.to_string().parse::<FieldPath>().unwrap(), path);
        }
    }

    #[test]
    fn invalid_paths_are_rejected() {
        for text in ["", ".", "a..b", "a b", "a.", "keys.\"", "\"\""] {
            assert!(text.parse::<FieldPath>().is_err(), "{text:?}");
        }
    }
}
