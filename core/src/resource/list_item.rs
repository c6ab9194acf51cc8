//! List items, each under its own key, so that concurrent appends merge.
//!
//! ```text
//! key    <field>#<hex of 16 bytes of BLAKE3("larder 1 list item", literal | 0 | k)>, after k equal items
//! value  "<rank> <literal>", or null after the item is removed
//! ```
//!
//! Items are sorted by rank, and items of equal rank by key. A rank may repeat.

use std::collections::BTreeMap;

use super::name::ResourceName;
use crate::id::{Digest, hash16};
use crate::resource::literal::{self, Literal};
use crate::value::Value;

/// The distance between the ranks of appended items, which leaves room for items in between.
pub const RANK_SPACING: i64 = 1024;

/// One item of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListItem {
    /// The rank that sorts the item.
    pub rank: i64,
    /// The value of the item.
    pub value: Value,
}

impl ListItem {
    /// The form in which the document stores the item.
    pub fn encode(&self) -> Value {
        Value::Str(format!("{} {}", self.rank, literal::format_scalar(&self.value)))
    }

    /// Decodes the stored form, or returns `None` if this version cannot read it.
    pub fn decode(value: &Value) -> Option<Self> {
        let (rank, text) = value.as_str()?.split_once(' ')?;
        match literal::parse(text).ok()? {
            Literal::Scalar(value) => Some(Self { rank: rank.parse().ok()?, value }),
            Literal::List(_) => None,
        }
    }
}

/// The field part of the key of an item with `nth` equal items before it.
pub fn item_field(field: &str, value: &Value, nth: u64) -> String {
    let literal = literal::format_scalar(value);
    let digest = Digest(hash16("larder 1 list item", &[literal.as_bytes(), &[0], &nth.to_be_bytes()]));
    format!("{field}#{digest}")
}

/// The keys and values of a list. Items that were in it keep their rank while that keeps the order.
pub(super) fn ranked_items(
    resource: &ResourceName,
    path: &str,
    values: &[Value],
    ranks: &BTreeMap<String, i64>,
) -> BTreeMap<String, Value> {
    let mut equal_counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut last_rank = 0i64;
    let mut out = BTreeMap::new();
    for value in values {
        let nth = equal_counts.entry(literal::format_scalar(value)).or_default();
        let key = resource.field_key(&item_field(path, value, *nth));
        *nth += 1;
        let old_rank = ranks.get(&key).copied().filter(|rank| *rank > last_rank);
        last_rank = old_rank.unwrap_or(last_rank.saturating_add(RANK_SPACING));
        out.insert(key, ListItem { rank: last_rank, value: value.clone() }.encode());
    }
    out
}

/// Splits the field part of a key into the field's path and a flag that is true for a list item. Within a
/// path, `#` occurs only in quotes, so a `#` with 32 hex digits at the end marks an item.
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
