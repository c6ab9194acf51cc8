//! Text for people: tables that align, colour on terminals only, and nothing that could steer a terminal.

pub mod unified_diff;

use std::fmt::Write as _;
use std::io::IsTerminal;

use larder_core::resource::literal::{self, Literal};

use crate::dto::{JsonValue, NodeRef};
use crate::limits;

/// How something is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Not at all.
    Plain,
    /// What matters most.
    Bold,
    /// What matters least.
    Dim,
    /// As it should be.
    Good,
    /// To be looked at.
    Warning,
    /// Wrong.
    Bad,
    /// A word that makes a line as it should be, or makes it wrong.
    InsertedWord,
    /// See there.
    DeletedWord,
    /// An id.
    Id,
}

impl Style {
    fn ansi_code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
            Self::InsertedWord => "7;32",
            Self::DeletedWord => "7;31",
            Self::Id => "36",
        }
    }
}

/// Whether to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorMode {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorMode {
    /// True if standard output is to be coloured.
    pub fn is_enabled(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                !is_refused && std::io::stdout().is_terminal()
            }
        }
    }
}

/// A pen: writes text in a style, or plain.
#[derive(Clone, Copy, Debug)]
pub struct Styler {
    /// True if it colours.
    pub is_colored: bool,
}

impl Styler {
    /// A text in a style.
    pub fn paint(self, style: Style, text: &str) -> String {
        let code = style.ansi_code();
        if self.is_colored && !code.is_empty() && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// One cell.
#[derive(Clone, Debug)]
pub struct TableCell {
    text: String,
    style: Style,
}

/// A cell in a style.
pub fn styled_cell(text: impl AsRef<str>, style: Style) -> TableCell {
    TableCell { text: escape(text.as_ref()), style }
}

/// A plain cell.
pub fn plain_cell(text: impl AsRef<str>) -> TableCell {
    styled_cell(text, Style::Plain)
}

/// A table: a header in capitals, columns as wide as they must be. A column without any text is left out.
#[derive(Clone, Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<TableCell>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push_row(&mut self, cells: Vec<TableCell>) {
        self.rows.push(cells);
    }

    /// The table as lines.
    pub fn render(&self, styler: Styler) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        let columns: Vec<(usize, &str, usize)> = self
            .header
            .iter()
            .enumerate()
            .map(|(nth, name)| (nth, *name, width(nth)))
            .filter(|(_, _, width)| *width > 0)
            .map(|(nth, name, width)| (nth, name, width.max(name.chars().count())))
            .collect();
        let mut out = String::new();
        let header: Vec<(String, Style, usize)> =
            columns.iter().map(|(_, name, width)| ((*name).to_owned(), Style::Dim, *width)).collect();
        render_row(&mut out, styler, &header);
        for row in &self.rows {
            let cells: Vec<(String, Style, usize)> = columns
                .iter()
                .map(|(nth, _, width)| {
                    let found = row.get(*nth);
                    let text = found.map(|cell| cell.text.clone()).unwrap_or_default();
                    (text, found.map_or(Style::Plain, |cell| cell.style), *width)
                })
                .collect();
            render_row(&mut out, styler, &cells);
        }
        out
    }
}

fn render_row(out: &mut String, styler: Styler, cells: &[(String, Style, usize)]) {
    let last = cells.iter().rposition(|(text, _, _)| !text.is_empty());
    for (nth, (text, style, width)) in cells.iter().enumerate() {
        if last.is_none_or(|last| nth > last) {
            break;
        }
        out.push_str(&styler.paint(*style, text));
        if last != Some(nth) {
            let pad = width.saturating_sub(text.chars().count()) + 2;
            out.extend(std::iter::repeat_n(' ', pad));
        }
    }
    out.push('\n');
}

/// A text with everything escaped that could steer a terminal or be mistaken for something else: control characters, and
/// those that turn the direction of writing.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let is_direction_mark =
            matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || is_direction_mark {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// One line of a text, escaped like [`clean`] does; a tab stays what it is.
pub fn escape_line(text: &str) -> String {
    text.split('\t').map(escape).collect::<Vec<_>>().join("\t")
}

/// A value as one line.
pub fn format_value(value: Option<&JsonValue>) -> String {
    let text = match value.map(|value| &value.0) {
        None => return "(unset)".to_owned(),
        Some(Literal::Scalar(value)) => literal::format_scalar(value),
        Some(Literal::List(values)) => literal::format_list(values),
    };
    escape(&text)
}

/// The same, cut short.
pub fn format_value_short(value: Option<&JsonValue>) -> String {
    let text = format_value(value);
    if text.chars().count() <= limits::MAX_TABLE_VALUE_CHARS {
        return text;
    }
    let cut: String = text.chars().take(limits::MAX_TABLE_VALUE_CHARS - 3).collect();
    format!("{cut}...")
}

/// The first characters of an id.
pub fn short_id(id: &str) -> String {
    escape(&id.chars().take(7).collect::<String>())
}

/// A node by its alias, or else by its short id.
pub fn node_name(id: &str, alias: Option<&str>) -> String {
    alias.map_or_else(|| short_id(id), escape)
}

/// The same of a node that may not be known.
pub fn who(node: Option<&NodeRef>) -> String {
    node.map_or_else(|| "(unknown)".to_owned(), |node| node_name(&node.id, node.alias.as_deref()))
}

/// A user at a node, as far as either is known.
pub fn author_name(user: &str, node: Option<&NodeRef>) -> String {
    if user.is_empty() { who(node) } else { format!("{}@{}", escape(user), who(node)) }
}

/// `1 thing`, `2 things`.
pub fn pluralize(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_aligns_columns_and_leaves_out_empty_ones() {
        let mut table = Table::new(&["NAME", "EMPTY", "STATE"]);
        table.push_row(vec![plain_cell("a"), plain_cell(""), styled_cell("up", Style::Good)]);
        table.push_row(vec![plain_cell("longer"), plain_cell(""), plain_cell("")]);
        assert_eq!(table.render(Styler { is_colored: false }), "NAME    STATE\na       up\nlonger\n");
        assert!(table.render(Styler { is_colored: true }).contains("\u{1b}[32mup\u{1b}[0m"));
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape("a\u{1b}[31m\r\n\u{202e}b\u{7}é"), "a\\u{1b}[31m\\r\\n\\u{202e}b\\u{7}é");
    }
}
