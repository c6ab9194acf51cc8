//! Tables with aligned columns.

use unicode_width::UnicodeWidthStr as _;

use super::escape::escape;
use super::style::{Style, Styler};

/// A cell of a table.
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

/// A table with a header in capitals. It leaves out a column without text.
#[derive(Clone, Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<TableCell>>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Missing cells at its end are empty.
    pub fn push_row(&mut self, cells: Vec<TableCell>) {
        self.rows.push(cells);
    }

    /// The table as lines.
    pub fn render(&self, styler: Styler) -> String {
        let content_width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.text.width()).max().unwrap_or(0)
        };
        let columns: Vec<(usize, &str, usize)> = (0..)
            .zip(&self.header)
            .map(|(column, name)| (column, *name, content_width(column)))
            .filter(|(_, _, width)| *width > 0)
            .map(|(column, name, width)| (column, name, width.max(name.width())))
            .collect();
        let mut out = String::new();
        let header = columns.iter().map(|(_, name, width)| (*name, Style::Dim, *width));
        push_row(&mut out, styler, &header.collect::<Vec<_>>());
        for row in &self.rows {
            let cells = columns.iter().map(|(column, _, width)| match row.get(*column) {
                Some(cell) => (cell.text.as_str(), cell.style, *width),
                None => ("", Style::Plain, *width),
            });
            push_row(&mut out, styler, &cells.collect::<Vec<_>>());
        }
        out
    }
}

fn push_row(out: &mut String, styler: Styler, cells: &[(&str, Style, usize)]) {
    // The last text of a row is not padded.
    let last = cells.iter().rposition(|(text, _, _)| !text.is_empty());
    for (column, (text, style, width)) in cells.iter().enumerate().take(last.map_or(0, |last| last + 1)) {
        out.push_str(&styler.paint(*style, text));
        if last != Some(column) {
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(text.width()) + 2));
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_aligns_columns_and_leaves_out_empty_ones() {
        let mut table = Table::new(&["NAME", "EMPTY", "STATE"]);
        table.push_row(vec![plain_cell("a"), plain_cell(""), styled_cell("up", Style::Good)]);
        table.push_row(vec![plain_cell("longer"), plain_cell(""), plain_cell("")]);
        table.push_row(vec![plain_cell("日本"), plain_cell(""), plain_cell("away")]);
        assert_eq!(table.render(Styler::PLAIN), "NAME    STATE\na       up\nlonger\n日本    away\n");
        assert!(table.render(Styler { is_colored: true }).contains("\u{1b}[32mup\u{1b}[0m"));
    }
}
