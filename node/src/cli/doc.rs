//! `doc`: the group's document as a file for Automerge tools.

mod authors;
mod export;
mod foreign_reader;
mod plan;

use clap::{Args, Subcommand};

use super::context::{CommandContext, CommandResult};

/// Flags of `doc`.
#[derive(Debug, Args)]
pub(super) struct DocArgs {
    #[command(subcommand)]
    command: DocSubcommand,
}

#[derive(Debug, Subcommand)]
enum DocSubcommand {
    /// Write the whole document, with its history, as one Automerge file
    Export(export::DocExportArgs),
    /// Show what the values of an Automerge file would change
    Plan(plan::DocPlanArgs),
    /// Say which node each actor of the document is
    Authors,
    /// What `import` runs apart from itself
    #[command(hide = true)]
    Keys,
}

pub(super) fn doc(context: &CommandContext, args: &DocArgs) -> CommandResult {
    match &args.command {
        DocSubcommand::Export(args) => export::export(context, args),
        DocSubcommand::Plan(args) => plan::plan(context, args),
        DocSubcommand::Authors => authors::list_authors(context),
        DocSubcommand::Keys => {
            context.print(&foreign_reader::read_stdin_limited()?, |_| String::new()).map(|()| None)
        }
    }
}
