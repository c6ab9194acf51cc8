//! `man`: manual pages.

use std::path::PathBuf;

use clap::Args;

use super::context::{CommandResult, print_stderr};
use crate::error::CliError;

/// Flags of `man`.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Where to; made if it is not there
    dir: PathBuf,
}

/// Writes one page a command, as `larder-invite-list.1`.
pub(super) fn man(args: &ManArgs, command: clap::Command) -> CommandResult {
    let dir = args.dir.display();
    let write_error =
        |error: std::io::Error| CliError::failed(format!("cannot write manual pages into {dir}: {error}"));
    std::fs::create_dir_all(&args.dir).map_err(write_error)?;
    clap_mangen::generate_to(command, &args.dir).map_err(write_error)?;
    print_stderr(&format!(
        "The manual pages are in {dir}: see `man {dir}/larder.1`, or put them into a `man1` directory."
    ));
    Ok(None)
}
