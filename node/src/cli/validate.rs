//! `validate`: checks manifests without a daemon.

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stderr};
use super::manifests::{ManifestArgs, read_manifests};
use crate::dto;
use crate::output::pluralize;

/// Arguments of `validate`.
#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    #[command(flatten)]
    manifests: ManifestArgs,
}

pub(super) fn validate(context: &CommandContext, args: &ValidateArgs) -> CommandResult {
    let entries = read_manifests(&args.manifests)?;
    if context.json {
        return context.print(&dto::Acknowledged {}, |_| String::new()).map(|()| None);
    }
    print_stderr(&format!("{}, no errors.", pluralize(entries.len(), "resource")));
    Ok(None)
}
