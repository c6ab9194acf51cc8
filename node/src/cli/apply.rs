//! `apply`: writes manifests to the group.

use clap::Args;
use larder_core::typed_name::ChangeName;

use super::context::{CommandContext, CommandResult, print_stderr};
use super::manifests::{ManifestArgs, manifest_edits, read_manifests};
use super::write_request::{MessageArgs, send_write};
use crate::api::writes::WriteBody;

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    manifests: ManifestArgs,
    /// Remove the fields that a manifest does not name
    #[arg(long)]
    replace: bool,
    /// Refuse if the heads of the desired state are not these (see `larder heads`)
    #[arg(long, value_name = "CHANGE", value_delimiter = ',')]
    base: Vec<String>,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn apply(context: &CommandContext, args: ApplyArgs) -> CommandResult {
    let edits = manifest_edits(read_manifests(&args.manifests)?, args.replace);
    if edits.is_empty() {
        print_stderr("The manifests contain no resource; nothing was written.");
    }
    let flag = if args.replace { " --replace" } else { "" };
    let command = format!("apply{flag} {}", args.manifests.files.join(" "));
    let base = args.base.into_iter().map(ChangeName::from).collect::<Vec<_>>();
    let write = WriteBody {
        edits,
        expected_heads: (!base.is_empty()).then_some(base),
        message: args.message_args.into_text(),
        command,
        allow_unknown: args.manifests.allow_unknown,
    };
    send_write(context, &write)
}
