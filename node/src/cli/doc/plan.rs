//! `doc plan`: what the values of an Automerge file would change.

use clap::Args;

use crate::api::doc::DocPlanBody;
use crate::cli::context::{CommandContext, CommandResult, print_stderr};
use crate::cli::diff_text::render_edits;
use crate::dto::WritePlan;
use crate::error::ExitKind;
use crate::output::pluralize;

#[derive(Debug, Args)]
pub(super) struct DocPlanArgs {
    /// Automerge file; `-` reads standard input
    file: String,
    /// Exit with 10 if a value would change
    #[arg(long)]
    exit_code: bool,
}

pub(super) fn plan(context: &CommandContext, args: &DocPlanArgs) -> CommandResult {
    let foreign_keys = super::foreign_reader::read_in_child(&args.file)?;
    let request = DocPlanBody { values: foreign_keys.keys };
    let plan: WritePlan =
        context.client.post_doc_plan(&context.group_path(&["document", "plan"]), &request)?;
    context.print(&plan, |plan| render_edits(context.styler, &plan.edits, true))?;
    if !context.json {
        if foreign_keys.skipped_keys > 0 {
            print_stderr(&format!(
                "{} left out: not a field, or not a value that a field can have.",
                pluralize(foreign_keys.skipped_keys, "key")
            ));
        }
        if plan.edits.is_empty() {
            print_stderr("Nothing would change.");
        }
    }
    Ok((args.exit_code && !plan.edits.is_empty()).then_some(ExitKind::Differs))
}
