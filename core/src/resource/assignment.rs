//! Which resources a node is selected for, and which of their fields and paths count on it.

use std::collections::BTreeSet;

use super::field::FieldPath;
use super::selector::{SelectableNode, Selector};
use super::view::{NodeLabels, ResourceView};
use crate::id::{NodeId, SHORT_ID_CHARS};

/// A node with what selectors are matched against.
#[derive(Clone, Debug)]
pub struct LabelledNode<'a> {
    /// The node's id.
    pub id: NodeId,
    /// The node's alias and labels.
    pub labels: &'a NodeLabels,
}

impl SelectableNode for LabelledNode<'_> {
    fn label(&self, key: &str) -> Option<String> {
        self.labels.labels.get(key).cloned()
    }

    fn has_name(&self, text: &str) -> bool {
        let is_id_prefix =
            text.len() >= SHORT_ID_CHARS && self.id.to_string().starts_with(&text.to_ascii_lowercase());
        is_id_prefix || self.labels.alias.as_deref() == Some(text)
    }
}

/// True if the resource applies to the node. A selector that this version cannot parse selects no node.
pub fn is_selected(view: &ResourceView<'_>, node: &LabelledNode<'_>) -> bool {
    match view.text("select") {
        None => true,
        Some(text) => text.parse::<Selector>().is_ok_and(|select| select.matches(node)),
    }
}

/// Splits the path `overlay."SELECTOR".FIELD` into its selector and its field.
pub(super) fn parse_overlay(path: &str) -> Option<(Selector, String)> {
    let path: FieldPath = path.strip_prefix("overlay.").and(path.parse().ok())?;
    let inner = path.rest()?;
    Some((inner.first().parse().ok()?, inner.rest()?.to_string()))
}

/// The normalized file paths that the resource sets for any node.
pub(super) fn possible_paths(view: &ResourceView<'_>) -> BTreeSet<String> {
    let is_path_field =
        |field: &str| field == "path" || parse_overlay(field).is_some_and(|(_, inner)| inner == "path");
    let fields = view.fields.keys().filter(|field| is_path_field(field));
    fields.filter_map(|field| view.text(field)).map(|path| normalize_path(&path)).collect()
}

/// The field that sets the resource's file path on the node, and that path.
pub(super) fn path_for_node(view: &ResourceView<'_>, node: &LabelledNode<'_>) -> Option<(String, String)> {
    let text = |field: &str| view.text(field).map(|path| (field.to_owned(), path));
    let overlays = view.fields.keys().filter(|field| {
        parse_overlay(field).is_some_and(|(select, inner)| inner == "path" && select.matches(node))
    });
    overlays.filter_map(|field| text(field)).next_back().or_else(|| text("path"))
}

/// The form of a file path that is compared: `a//b/./c` becomes `a/b/c`. Links are not followed.
pub(super) fn normalize_path(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::normalize_path;

    #[test]
    fn equivalent_paths_normalize_to_the_same_text() {
        for (path, normalized) in
            [("a//b/./c", "a/b/c"), ("/etc//x/", "/etc/x"), ("./a", "a"), ("a/../b", "a/../b")]
        {
            assert_eq!(normalize_path(path), normalized);
        }
        assert_ne!(normalize_path("/a"), normalize_path("a"));
    }
}
