//! Text for people: tables that align, colour on terminals only, and nothing that could steer a terminal.

pub mod hunk;

use std::fmt::Write as _;
use std::io::IsTerminal;

use larder_core::resource::literal::{self, Literal};

use crate::limits;
use crate::view::{Plain, Who};

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
    Care,
    /// Wrong.
    Bad,
    /// A word that makes a line as it should be, or makes it wrong.
    GoodWord,
    /// See there.
    BadWord,
    /// An id.
    Id,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Care => "33",
            Self::Bad => "31",
            Self::GoodWord => "7;32",
            Self::BadWord => "7;31",
            Self::Id => "36",
        }
    }
}

/// Whether to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// True if standard output is to be coloured.
    pub fn applies(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                !refused && std::io::stdout().is_terminal()
            }
        }
    }
}

/// A pen: writes text in a style, or plain.
#[derive(Clone, Copy, Debug)]
pub struct Pen {
    /// True if it colours.
    pub colors: bool,
}

impl Pen {
    /// A text in a style.
    pub fn paint(self, style: Style, text: &str) -> String {
        let code = style.code();
        if self.colors && !code.is_empty() && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// One cell.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

/// A cell in a style.
pub fn cell(text: impl AsRef<str>, style: Style) -> Cell {
    Cell { text: clean(text.as_ref()), style }
}

/// A plain cell.
pub fn plain(text: impl AsRef<str>) -> Cell {
    cell(text, Style::Plain)
}

/// A table: a header in capitals, columns as wide as they must be. A column without any text is left out.
#[derive(Clone, Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table as lines.
    pub fn draw(&self, pen: Pen) -> String {
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
        draw_row(&mut out, pen, &header);
        for row in &self.rows {
            let cells: Vec<(String, Style, usize)> = columns
                .iter()
                .map(|(nth, _, width)| {
                    let found = row.get(*nth);
                    let text = found.map(|cell| cell.text.clone()).unwrap_or_default();
                    (text, found.map_or(Style::Plain, |cell| cell.style), *width)
                })
                .collect();
            draw_row(&mut out, pen, &cells);
        }
        out
    }
}

fn draw_row(out: &mut String, pen: Pen, cells: &[(String, Style, usize)]) {
    let last = cells.iter().rposition(|(text, _, _)| !text.is_empty());
    for (nth, (text, style, width)) in cells.iter().enumerate() {
        if last.is_none_or(|last| nth > last) {
            break;
        }
        out.push_str(&pen.paint(*style, text));
        if last != Some(nth) {
            let pad = width.saturating_sub(text.chars().count()) + 2;
            out.extend(std::iter::repeat_n(' ', pad));
        }
    }
    out.push('\n');
}

/// A text with everything escaped that could steer a terminal or be mistaken for something else: control characters, and
/// those that turn the direction of writing.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// One line of a text, escaped like [`clean`] does; a tab stays what it is.
pub fn line(text: &str) -> String {
    text.split('\t').map(clean).collect::<Vec<_>>().join("\t")
}

/// A value as one line.
pub fn value(value: Option<&Plain>) -> String {
    let text = match value.map(|plain| &plain.0) {
        None => return "(unset)".to_owned(),
        Some(Literal::Scalar(value)) => literal::write(value),
        Some(Literal::List(values)) => literal::write_list(values),
    };
    clean(&text)
}

/// The same, cut short.
pub fn brief(plain: Option<&Plain>) -> String {
    let text = value(plain);
    if text.chars().count() <= limits::SHOWN {
        return text;
    }
    let cut: String = text.chars().take(limits::SHOWN - 3).collect();
    format!("{cut}...")
}

/// The first characters of an id.
pub fn short(id: &str) -> String {
    clean(&id.chars().take(7).collect::<String>())
}

/// A node by its alias, or else by its short id.
pub fn name(id: &str, alias: Option<&str>) -> String {
    alias.map_or_else(|| short(id), clean)
}

/// The same of a node that may not be known.
pub fn who(who: Option<&Who>) -> String {
    who.map_or_else(|| "(unknown)".to_owned(), |who| name(&who.id, who.alias.as_deref()))
}

/// A user at a node, as far as either is known.
pub fn by(user: &str, node: Option<&Who>) -> String {
    if user.is_empty() { who(node) } else { format!("{}@{}", clean(user), who(node)) }
}

/// `1 thing`, `2 things`.
pub fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_leave_out_what_is_empty() {
        let mut table = Table::new(&["NAME", "EMPTY", "STATE"]);
        table.row(vec![plain("a"), plain(""), cell("up", Style::Good)]);
        table.row(vec![plain("longer"), plain(""), plain("")]);
        assert_eq!(table.draw(Pen { colors: false }), "NAME    STATE\na       up\nlonger\n");
        assert!(table.draw(Pen { colors: true }).contains("\u{1b}[32mup\u{1b}[0m"));
    }

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(clean("a\u{1b}[31m\r\n\u{202e}b\u{7}é"), "a\\u{1b}[31m\\r\\n\\u{202e}b\\u{7}é");
    }
}
