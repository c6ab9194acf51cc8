//! `up`: runs the daemon in the foreground and creates a group.

use clap::Args;

use super::context::{CommandContext, CommandResult, NO_GROUP_HINT, print_stderr, print_stdout};
use super::daemon::{DaemonArgs, run_daemon};
use crate::api::members::{InviteBody, create_invite};
use crate::daemon::Daemon;
use crate::error::CliError;
use crate::limits;
use crate::output::Style;

/// Arguments of `up`.
#[derive(Debug, Args)]
pub(super) struct UpArgs {
    /// Group to create if this node does not know it
    #[arg(value_name = "GROUP")]
    group_name: Option<String>,
    #[command(flatten)]
    daemon_args: DaemonArgs,
}

pub(super) fn up(context: &CommandContext, args: UpArgs) -> CommandResult {
    let options = args.daemon_args.into_options(context)?;
    run_daemon(options, async |daemon| print_welcome(context, daemon, args.group_name).await)
}

/// Prints the node id, the group, and for a new group a line with which other nodes join it.
async fn print_welcome(
    context: &CommandContext,
    daemon: &Daemon,
    group_name: Option<String>,
) -> Result<(), CliError> {
    let styler = context.styler;
    let group_names = daemon
        .handle
        .query(|node| node.groups().map(|state| state.group.name().to_owned()).collect::<Vec<_>>())
        .await?;
    print_stdout(&format!("node   {}\n", styler.paint(Style::Id, &daemon.node_id.to_string())))?;
    let Some(group_name) = group_name else {
        for group in &group_names {
            print_stdout(&format!("group  {}\n", crate::output::escape(group)))?;
        }
        if group_names.is_empty() {
            print_stderr(NO_GROUP_HINT);
        }
        return Ok(());
    };
    if group_names.contains(&group_name) {
        return print_stdout(&format!("group  {}\n", crate::output::escape(&group_name)));
    }
    let (group_id, recovery_key_path) = daemon.create_group(&group_name).await?;
    let request = InviteBody {
        role: "operator".to_owned(),
        uses: limits::UP_INVITE_USES,
        valid_seconds: limits::DEFAULT_INVITE_SECONDS,
    };
    let invited = create_invite(&daemon.handle, group_id.into(), &request).await?;
    print_stdout(&format!(
        "group  {} ({})\n",
        styler.paint(Style::Bold, &crate::output::escape(&group_name)),
        group_id.short()
    ))?;
    print_stderr(&format!(
        "\nThe recovery key of this group is in {}. Move it to another host.\n\
         On each other host run `larder up`, then run this line ({} uses, 1 hour):\n",
        recovery_key_path.display(),
        limits::UP_INVITE_USES
    ));
    print_stdout(&format!("larder join {}\n", invited.code))
}
