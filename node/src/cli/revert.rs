//! `revert`: takes back changes. `undo` and `restore` send the same request.

use clap::Args;
use larder_core::node::RevertTarget;
use larder_core::typed_name::ChangeName;

use super::context::{CommandContext, CommandResult, print_stderr};
use super::diff_text::render_edits;
use super::write_request::MessageArgs;
use crate::api::revert::RevertBody;
use crate::dto;
use crate::output::{Style, pluralize, short_id};

/// Arguments of `revert`.
#[derive(Debug, Args)]
pub(super) struct RevertArgs {
    /// Ids of the changes
    #[arg(required = true, value_name = "CHANGE")]
    changes: Vec<String>,
    #[command(flatten)]
    common: RevertCommonArgs,
}

/// Arguments of `undo`, `revert` and `restore`.
#[derive(Debug, Args)]
pub(super) struct RevertCommonArgs {
    /// Show what would change, and write nothing
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) message_args: MessageArgs,
}

pub(super) fn revert(context: &CommandContext, args: RevertArgs) -> CommandResult {
    send_revert(
        context,
        RevertTarget::Revert(args.changes.into_iter().map(ChangeName::from).collect()),
        args.common,
        "Reverted",
    )
}

pub(super) fn send_revert(
    context: &CommandContext,
    target: RevertTarget,
    common: RevertCommonArgs,
    past_verb: &str,
) -> CommandResult {
    let (message, command) = (common.message_args.into_text(), String::new());
    let request = RevertBody { target, message, command, dry_run: common.dry_run };
    send_revert_body(context, &request, past_verb)
}

/// Sends the request, and prints the result.
pub(super) fn send_revert_body(
    context: &CommandContext,
    request: &RevertBody,
    past_verb: &str,
) -> CommandResult {
    let reverted: dto::RevertResult = context.client.post(&context.group_path(&["reverts"]), request)?;
    let source_ids = reverted.sources.iter().map(|id| short_id(id)).collect::<Vec<_>>().join(" ");
    context.print(&reverted, |reverted| match &reverted.change {
        Some(change) => format!("{}\n", context.styler.paint(Style::Id, &short_id(change))),
        None => render_edits(context.styler, &reverted.edits, false),
    })?;
    if context.json {
        return Ok(None);
    }
    match &reverted.change {
        Some(change) => print_stderr(&format!(
            "{past_verb} {source_ids}: {} changed. See `larder show {}`; undo it with `larder revert {}`.",
            pluralize(reverted.edits.len(), "field"),
            short_id(change),
            short_id(change)
        )),
        None if reverted.edits.is_empty() => print_stderr("Nothing differs; nothing was written."),
        None => print_stderr(&format!("These fields would change, from {source_ids}; nothing was written.")),
    }
    Ok(None)
}
