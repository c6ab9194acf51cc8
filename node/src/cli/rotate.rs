//! `rotate`: gives this node a new key.

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stderr};
use super::write_request::MessageArgs;
use crate::api::RequestUser;
use crate::daemon;
use crate::error::CliError;
use crate::output::{escape, short_id};

/// Flags of `rotate`.
#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn rotate(context: &CommandContext, args: RotateArgs) -> CommandResult {
    if context.group.is_some() {
        return Err(CliError::usage("a node has one key in all its groups: --group has no meaning here"));
    }
    let rotated = daemon::rotate_key(
        &context.data_dir,
        &RequestUser::current_process().0,
        &args.message_args.into_text(),
    )?;
    if context.json {
        return context.print(&rotated, |_| String::new()).map(|()| None);
    }
    print_stderr(&format!("This node is {} now; it was {}.", short_id(&rotated.new), short_id(&rotated.old)));
    for group in &rotated.groups {
        print_stderr(&format!(
            "  group {}: the new key is admin, and the old one no member any more",
            escape(group)
        ));
    }
    print_stderr(
        "Start the daemon: members take the new key as soon as they meet it. Codes that this node gave out are void, \
         and backups of it hold the old key: make new ones.",
    );
    Ok(None)
}
