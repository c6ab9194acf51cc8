//! `rotate`: gives this node a new key.

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stderr};
use super::write_request::MessageArgs;
use crate::api::RequestUser;
use crate::daemon;
use crate::error::CliError;
use crate::output::{escape, short_id};

/// Arguments of `rotate`.
#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn rotate(context: &CommandContext, args: RotateArgs) -> CommandResult {
    if context.group.is_some() {
        return Err(CliError::usage("a node has one key for all its groups: omit --group"));
    }
    let rotated = daemon::rotate_key(
        &context.data_dir,
        &RequestUser::current_process().0,
        &args.message_args.into_text(),
    )?;
    if context.json {
        return context.print(&rotated, |_| String::new()).map(|()| None);
    }
    print_stderr(&format!(
        "This node has the new id {}; it was {}.",
        short_id(&rotated.new),
        short_id(&rotated.old)
    ));
    for group in &rotated.groups {
        print_stderr(&format!(
            "  group {}: the new key is an admin, and the old key is no longer a member",
            escape(group)
        ));
    }
    print_stderr(
        "Start the daemon. Other members accept the new key when they connect. Invite codes of this node are \
         no longer valid. Its backups contain the old key: make a new backup.",
    );
    Ok(None)
}
