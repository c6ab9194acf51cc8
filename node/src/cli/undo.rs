//! `undo`: takes back the newest change of this node.

use clap::Args;
use larder_core::node::RevertTarget;

use super::context::{CommandContext, CommandResult};
use super::revert::{RevertCommonArgs, send_revert};

/// Arguments of `undo`.
#[derive(Debug, Args)]
pub(super) struct UndoArgs {
    #[command(flatten)]
    common: RevertCommonArgs,
}

pub(super) fn undo(context: &CommandContext, args: UndoArgs) -> CommandResult {
    send_revert(context, RevertTarget::Undo, args.common, "Undid")
}
