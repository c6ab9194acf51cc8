//! Lists whose items live under keys of their own, so that appends on two sides unite.
//!
//! ```text
//! key    <field>#<hex of 16 bytes of BLAKE3("larder 1 list item", literal | 0 | k)>   k = equal items before it
//! value  "<rank> <literal>"                                                            null once taken out
//! ```
//!
//! Items are shown by rank, equal ranks by key; a rank is only an order and may repeat.

use crate::id::{Digest, hash16};
use crate::resource::literal::{self, Literal};
use crate::value::Value;

/// Distance between the ranks of neighbours, so that there is room between them.
pub const RANK_SPACING: i64 = 1024;

/// One item of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListItem {
    /// Its place among the others.
    pub rank: i64,
    /// What it is.
    pub value: Value,
}

impl ListItem {
    /// The stored form.
    pub fn encode(&self) -> Value {
        Value::Str(format!("{} {}", self.rank, literal::format_scalar(&self.value)))
    }

    /// Reads the stored form; `None` if it is no item (a newer version's, perhaps).
    pub fn decode(value: &Value) -> Option<Self> {
        let (rank, text) = value.as_str()?.split_once(' ')?;
        match literal::parse(text).ok()? {
            Literal::Scalar(value) => Some(Self { rank: rank.parse().ok()?, value }),
            Literal::List(_) => None,
        }
    }
}

/// The field part of the key of an item that has `nth` equal ones before it.
pub fn item_field(field: &str, value: &Value, nth: u64) -> String {
    let literal = literal::format_scalar(value);
    let digest = Digest(hash16("larder 1 list item", &[literal.as_bytes(), &[0], &nth.to_be_bytes()]));
    format!("{field}#{digest}")
}

/// Takes the field part of a key apart: the field's path, and whether it is an item of a list. A `#` in a path is
/// always inside quotes, so a bare one with 32 hex digits to the end is a mark.
pub fn split_item_field(field: &str) -> (&str, bool) {
    match field.rsplit_once('#') {
        Some((path, digest)) if digest.len() == 32 && Digest::parse(digest).is_some() => (path, true),
        _ => (field, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_item_decodes_to_what_was_encoded() {
        let item = ListItem { rank: -3, value: Value::from("a b") };
        assert_eq!(ListItem::decode(&item.encode()), Some(item.clone()));
        assert_eq!(item.encode(), Value::from("-3 \"a b\""));
    }

    #[test]
    fn item_fields_are_distinguished_from_quoted_paths() {
        let item_key = item_field("keys.a", &Value::from("x"), 0);
        assert_eq!(split_item_field(&item_key), ("keys.a", true));
        assert_ne!(item_key, item_field("keys.a", &Value::from("x"), 1));
        let quoted = format!("keys.\"a#{}\"", "0".repeat(32));
        assert_eq!(split_item_field(&quoted), (quoted.as_str(), false));
    }
}
