//! `recover`: makes this node admin with the recovery key.

use std::path::PathBuf;

use clap::Args;
use hyper::Method;

use super::admin_request::{read_recovery_key, send_admin_request};
use super::context::{CommandContext, CommandResult};
use super::write_request::MessageArgs;
use crate::api::admin::RecoveryKeyBody;

/// Arguments of `recover`.
#[derive(Debug, Args)]
pub(super) struct RecoverArgs {
    /// File with the recovery key, which `init` wrote
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn recover(context: &CommandContext, args: RecoverArgs) -> CommandResult {
    let key = read_recovery_key(&args.key)?;
    let body = RecoveryKeyBody { recovery_key: Some(key), message: args.message_args.into_text() };
    send_admin_request(context, (Method::POST, &["recovery"]), &body, "This node is now an admin.")
}
