//! `paths`: the files of this node.

use super::context::{CommandContext, CommandResult};
use crate::api::groups::node_paths;
use crate::dto::NodePaths;
use crate::error::ExitKind;

/// Prints the paths. The exit code is 3 if no daemon answers.
pub(super) fn paths(context: &CommandContext) -> CommandResult {
    let response = context.client.get::<NodePaths>("/v1/paths", &[]);
    let paths = response.unwrap_or_else(|_| node_paths(&context.data_dir, false));
    context.print(&paths, |paths| {
        let running = if paths.running { "yes" } else { "no" };
        format!(
            "data      {}\nsocket    {}\nkey       {}\nstore     {}\nsettings  {}\nrunning   {running}\n",
            paths.data, paths.socket, paths.key, paths.store, paths.settings
        )
    })?;
    Ok((!paths.running).then_some(ExitKind::Unreachable))
}
