//! Values, ids and names as text.

use larder_core::resource::literal::{self, Literal};

use super::escape::escape;
use crate::dto::{JsonValue, NodeRef};
use crate::limits;

/// A value as one escaped line. A list or a single value is written in TOML.
pub fn format_value(value: Option<&JsonValue>) -> String {
    let text = match value.map(|value| &value.0) {
        None => return "(unset)".to_owned(),
        Some(Literal::Scalar(value)) => literal::format_scalar(value),
        Some(Literal::List(values)) => literal::format_list(values),
    };
    escape(&text)
}

/// A value as one line of at most [`limits::MAX_TABLE_VALUE_CHARS`] characters.
pub fn format_value_short(value: Option<&JsonValue>) -> String {
    let text = format_value(value);
    if text.chars().count() <= limits::MAX_TABLE_VALUE_CHARS {
        return text;
    }
    let cut: String = text.chars().take(limits::MAX_TABLE_VALUE_CHARS - 3).collect();
    format!("{cut}...")
}

/// The first 7 characters of an id.
pub fn short_id(id: &str) -> String {
    escape(&id.chars().take(7).collect::<String>())
}

/// The alias of a node, or its short id if it has none.
pub fn node_name(id: &str, alias: Option<&str>) -> String {
    alias.map_or_else(|| short_id(id), escape)
}

/// The name of a node, as [`node_name`] forms it, or `(unknown)`.
pub fn node_ref_name(node: Option<&NodeRef>) -> String {
    node.map_or_else(|| "(unknown)".to_owned(), |node| node_name(&node.id, node.alias.as_deref()))
}

/// `user@node`, or the node alone if the user is not known.
pub fn author_name(user: &str, node: Option<&NodeRef>) -> String {
    if user.is_empty() { node_ref_name(node) } else { format!("{}@{}", escape(user), node_ref_name(node)) }
}

/// A number with its noun: `1 thing`, `2 things`.
pub fn pluralize(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
