//! `export`: resources as a manifest.

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stderr};
use crate::dto::ExportedManifest as Manifest;
use crate::output::escape;

/// Flags of `export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// KIND or KIND/NAME [default: all]
    resource: Option<String>,
}

pub(super) fn export(context: &CommandContext, args: &ExportArgs) -> CommandResult {
    let query = [context.group_param(), context.at_param(), ("resource", args.resource.as_deref())];
    let export: Manifest = context.client.get("/v1/export", &query)?;
    context.report_history_point(export.at.as_deref());
    context.print(&export, |export| export.manifest.clone())?;
    if !context.json {
        for field in &export.conflicted {
            print_stderr(&format!(
                "warning: `{}` is in conflict; the value that wins was written",
                escape(field)
            ));
        }
    }
    Ok(None)
}
