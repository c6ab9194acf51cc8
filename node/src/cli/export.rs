//! `export`: resources as a manifest.

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stderr};
use super::history_point::AtArgs;
use crate::dto::ExportedManifest as Manifest;
use crate::output::escape;

/// Arguments of `export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// KIND or KIND/NAME [default: all resources]
    resource: Option<String>,
    #[command(flatten)]
    at_args: AtArgs,
}

pub(super) fn export(context: &CommandContext, args: &ExportArgs) -> CommandResult {
    let query = [args.at_args.query_param(), ("resource", args.resource.as_deref())];
    let export: Manifest = context.client.get(&context.group_path(&["manifest"]), &query)?;
    args.at_args.report(context, export.at.as_deref());
    context.print(&export, |export| export.manifest.clone())?;
    if !context.json {
        for field in &export.conflicted {
            print_stderr(&format!(
                "warning: `{}` is in conflict; the manifest has the winning value",
                escape(field)
            ));
        }
    }
    Ok(None)
}
