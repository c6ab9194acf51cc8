//! `doc authors`: the node behind each actor of the document.

use crate::cli::context::{CommandContext, CommandResult, print_stdout};
use crate::dto::DocAuthorList;
use crate::output::{Style, Table, node_ref_name, plain_cell, styled_cell};

pub(super) fn list_authors(context: &CommandContext) -> CommandResult {
    let authors: DocAuthorList = context.client.get(&context.group_path(&["document", "authors"]), &[])?;
    if !context.json {
        return print_stdout(&render_authors(context, &authors)).map(|()| None);
    }
    context.print(&authors, |_| String::new()).map(|()| None)
}

fn render_authors(context: &CommandContext, authors: &DocAuthorList) -> String {
    let mut table = Table::new(&["ACTOR", "NODE", "CHANGES", "SHARD"]);
    for author in &authors.authors {
        let node =
            author.node.as_ref().map_or_else(|| "(shard root)".to_owned(), |node| node_ref_name(Some(node)));
        table.push_row(vec![
            styled_cell(&author.actor, Style::Id),
            plain_cell(node),
            plain_cell(author.changes.to_string()),
            plain_cell(&author.shard),
        ]);
    }
    table.render(context.styler)
}
