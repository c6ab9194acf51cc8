//! `remove`, `role`, `leave`, `delete-group`, `recover`, `forget`, `rotate`: who is in a group, and by which key.

use std::path::{Path, PathBuf};

use clap::Args;

use super::write_request::MessageArgs;
use super::{CommandContext, CommandResult, print_stderr};
use crate::api::RequestUser;
use crate::api::admin::{AdminAction, AdminBody};
use crate::daemon;
use crate::data_dir::read_text_file;
use crate::dto::WriteResult;
use crate::error::CliError;
use crate::output::{escape, short_id};

/// Flags of `remove`.
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Alias or id
    node: String,
    /// The last of its changes that is to count [default: all that this node has]
    #[arg(long, value_name = "CHANGE")]
    keep_through: Option<String>,
    #[command(flatten)]
    message_args: MessageArgs,
}

/// Flags of `role`.
#[derive(Debug, Args)]
pub(super) struct RoleArgs {
    /// Alias or id
    node: String,
    /// admin, operator, node or reader
    role: String,
    #[command(flatten)]
    message_args: MessageArgs,
}

/// Flags of `leave`.
#[derive(Debug, Args)]
pub(super) struct LeaveArgs {
    /// Though no other admin is left
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    message_args: MessageArgs,
}

/// Flags of `delete-group`.
#[derive(Debug, Args)]
pub(super) struct DeleteGroupArgs {
    /// The group's name, to be sure
    name: String,
    /// The recovery key, where this node is not the founder
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    message_args: MessageArgs,
}

/// Flags of `recover`.
#[derive(Debug, Args)]
pub(super) struct RecoverArgs {
    /// The recovery key, as `init` wrote it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    message_args: MessageArgs,
}

/// Flags of `rotate`.
#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    message_args: MessageArgs,
}

/// Flags of `forget`.
#[derive(Debug, Args)]
pub(super) struct ForgetArgs {
    /// Alias or id of a node that left or was removed
    node: String,
    #[command(flatten)]
    message_args: MessageArgs,
}

/// Sends one act; says what it came to.
pub(super) fn send_admin_op(
    context: &CommandContext,
    op: AdminAction,
    message_args: MessageArgs,
    message: &str,
) -> CommandResult {
    let request = AdminBody { group: context.group.clone(), action: op, message: message_args.message };
    let written: WriteResult = context.client.post("/v1/govern", &request)?;
    context.print(&written, |_| String::new())?;
    if !context.json {
        print_stderr(message);
    }
    Ok(None)
}

pub(super) fn remove(context: &CommandContext, args: RemoveArgs) -> CommandResult {
    context.require_present("remove")?;
    let message = format!(
        "{} is no member any more. Nodes that cannot be reached now hear of it as soon as they are.",
        escape(&args.node)
    );
    send_admin_op(
        context,
        AdminAction::Remove { node: args.node, keep_through: args.keep_through },
        args.message_args,
        &message,
    )
}

pub(super) fn role(context: &CommandContext, args: RoleArgs) -> CommandResult {
    context.require_present("role")?;
    let message = format!("{} is {} now.", escape(&args.node), escape(&args.role));
    send_admin_op(
        context,
        AdminAction::Role { node: args.node, role: args.role },
        args.message_args,
        &message,
    )
}

pub(super) fn leave(context: &CommandContext, args: LeaveArgs) -> CommandResult {
    context.require_present("leave")?;
    let message = "This node left. What it applied stays as it is, and the group's data stays readable here.";
    send_admin_op(context, AdminAction::Leave { force: args.force }, args.message_args, message)
}

pub(super) fn delete_group(context: &CommandContext, args: DeleteGroupArgs) -> CommandResult {
    context.require_present("delete-group")?;
    if context.group.as_ref().is_some_and(|group| *group != args.name) {
        return Err(CliError::usage("--group names another group than the one that is to be deleted"));
    }
    let key = args.key.as_deref().map(read_recovery_key).transpose()?;
    let message = "The group is dissolved. Nodes that cannot be reached now hear of it as soon as they are.";
    let request = AdminBody {
        group: Some(args.name),
        action: AdminAction::DeleteGroup { key },
        message: args.message_args.message,
    };
    let written: WriteResult = context.client.post("/v1/govern", &request)?;
    context.print(&written, |_| String::new())?;
    if !context.json {
        print_stderr(message);
    }
    Ok(None)
}

pub(super) fn recover(context: &CommandContext, args: RecoverArgs) -> CommandResult {
    context.require_present("recover")?;
    let key = read_recovery_key(&args.key)?;
    send_admin_op(context, AdminAction::Recover { key }, args.message_args, "This node is admin now.")
}

pub(super) fn forget(context: &CommandContext, args: ForgetArgs) -> CommandResult {
    context.require_present("forget")?;
    let message = format!("{} is forgotten, with what it reported.", escape(&args.node));
    send_admin_op(context, AdminAction::Forget { node: args.node }, args.message_args, &message)
}

pub(super) fn rotate(context: &CommandContext, args: RotateArgs) -> CommandResult {
    context.require_present("rotate")?;
    if context.group.is_some() {
        return Err(CliError::usage("a node has one key in all its groups: --group has no meaning here"));
    }
    let rotated =
        daemon::rotate_key(&context.data_dir, &RequestUser::current_process().0, &args.message_args.message)?;
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

fn read_recovery_key(path: &Path) -> Result<String, CliError> {
    read_text_file(path).map_err(|error| CliError::usage(format!("cannot read {}: {error}", path.display())))
}
