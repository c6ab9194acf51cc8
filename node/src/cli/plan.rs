//! `plan`: what `apply` would change.

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stderr};
use super::diff_text::render_edits;
use super::manifests::{ManifestArgs, manifest_edits, read_manifests};
use crate::api::writes::WriteBody;
use crate::dto;
use crate::error::ExitKind;

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    manifests: ManifestArgs,
    /// Remove the fields that a manifest does not name
    #[arg(long)]
    replace: bool,
    /// Exit with 10 if `apply` would change something
    #[arg(long)]
    exit_code: bool,
}

pub(super) fn plan(context: &CommandContext, args: PlanArgs) -> CommandResult {
    let edits = manifest_edits(read_manifests(&args.manifests)?, args.replace);
    let write = WriteBody { edits, allow_unknown: args.manifests.allow_unknown, ..WriteBody::default() };
    let plan: dto::WritePlan = context.client.post(&context.group_path(&["plan"]), &write)?;
    context.print(&plan, |plan| render_edits(context.styler, &plan.edits, true))?;
    if !context.json && plan.edits.is_empty() {
        print_stderr("Nothing would change.");
    }
    Ok((args.exit_code && !plan.edits.is_empty()).then_some(ExitKind::Differs))
}
