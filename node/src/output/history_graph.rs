//! The graph that `log --graph` draws beside the entries of the log.

use std::collections::BTreeMap;
use std::env;

use renderdag::{Ancestor, GraphRowRenderer, Renderer};

/// The characters of which the graph is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphCharset {
    /// `|`, `-`, `+` and the like.
    Ascii,
    /// The box-drawing characters of Unicode.
    BoxDrawing,
}

impl GraphCharset {
    /// Box-drawing characters if the locale is UTF-8 and the terminal is not `dumb`, ASCII otherwise.
    pub fn from_env() -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
        let is_utf8 = locale.is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        let is_dumb = env::var("TERM").is_ok_and(|term| term == "dumb");
        if is_utf8 && !is_dumb { Self::BoxDrawing } else { Self::Ascii }
    }
}

/// One entry of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphEntry<'a> {
    /// The entry's id.
    pub id: &'a str,
    /// The ids of the entries on which it builds. Ids of entries that are not drawn further down are ignored.
    pub parents: Vec<&'a str>,
    /// The lines that describe the entry.
    pub text: String,
}

/// Draws entries, given newest first: each entry stands before those on which it builds.
pub fn draw_graph(entries: Vec<GraphEntry<'_>>, charset: GraphCharset) -> String {
    let renderer = GraphRowRenderer::new().output().with_min_row_height(1);
    match charset {
        GraphCharset::Ascii => draw_rows(entries, renderer.build_ascii(), "*"),
        GraphCharset::BoxDrawing => draw_rows(entries, renderer.build_box_drawing(), "○"),
    }
}

fn draw_rows(
    entries: Vec<GraphEntry<'_>>,
    mut renderer: impl Renderer<usize, Output = String>,
    glyph: &str,
) -> String {
    let indexes: BTreeMap<&str, usize> =
        entries.iter().enumerate().map(|(index, entry)| (entry.id, index)).collect();
    let mut out = String::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let drawn_parents = entry.parents.iter().filter_map(|id| indexes.get(id).copied());
        let parents = drawn_parents.filter(|parent| *parent > index).map(Ancestor::Parent).collect();
        out.push_str(&renderer.next_row(index, parents, glyph.to_owned(), entry.text));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws `a:b,c` as an entry `a` that builds on `b` and `c`, with a second line of text under `m`.
    fn draw(spec: &str, charset: GraphCharset) -> String {
        let entry = |word| {
            let (id, parents) = str::split_once(word, ':').unwrap();
            let text = if id == "m" { "m\nmessage".to_owned() } else { id.to_owned() };
            GraphEntry { id, parents: parents.split_terminator(',').collect(), text }
        };
        draw_graph(spec.split_whitespace().map(entry).collect(), charset)
    }

    #[test]
    fn fork_and_merge_are_drawn_in_both_charsets() {
        let spec = "m:a2,b2 a2:a1 b2:b1 a1:base b1:base base:";
        let ascii = "*    m\n|\\   message\n* |  a2\n| *  b2\n* |  a1\n| *  b1\n|/\n*  base\n";
        assert_eq!(draw(spec, GraphCharset::Ascii), ascii);
        let boxes = "○    m\n├─╮  message\n○ │  a2\n│ ○  b2\n○ │  a1\n│ ○  b1\n├─╯\n○  base\n";
        assert_eq!(draw(spec, GraphCharset::BoxDrawing), boxes);
    }

    #[test]
    fn parents_that_are_not_drawn_are_ignored() {
        assert_eq!(draw("c:gone,b b:a", GraphCharset::Ascii), "*  c\n*  b\n");
    }
}
