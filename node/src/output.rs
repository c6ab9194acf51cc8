//! Text for terminals: styles, tables, escaped text and formatted values.

mod escape;
mod format;
pub mod history_graph;
mod style;
mod table;
pub mod unified_diff;

pub use escape::{escape, escape_line};
pub use format::{
    author_name, format_value, format_value_short, node_name, node_ref_name, pluralize, short_id,
};
pub use style::{Style, Styler, set_color};
pub use table::{Table, TableCell, plain_cell, styled_cell};
