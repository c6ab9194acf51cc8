//! `doc`: the group's document as a file for Automerge tools.

mod authors;
mod export;
mod foreign_reader;
mod plan;

use clap::{Args, Subcommand};

use super::context::{CommandContext, CommandResult};

/// Arguments of `doc`.
#[derive(Debug, Args)]
pub(super) struct DocArgs {
    #[command(subcommand)]
    command: DocSubcommand,
}

#[derive(Debug, Subcommand)]
enum DocSubcommand {
    /// Export the document with its history to an Automerge file
    Export(export::DocExportArgs),
    /// Show what the values of an Automerge file would change, and write nothing
    Plan(plan::DocPlanArgs),
    /// List the node behind each actor of the document
    Authors,
    /// Parse a file in the child process of `doc plan`
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
