//! `man`: manual pages.

use std::path::PathBuf;

use clap::Args;

use super::context::{CommandResult, print_stderr};
use crate::error::CliError;

/// Arguments of `man`.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Output directory (created if missing)
    dir: PathBuf,
}

/// Writes one page for each command, for example `larder-invite-list.1`.
pub(super) fn man(args: &ManArgs, command: clap::Command) -> CommandResult {
    let dir = args.dir.display();
    let write_error =
        |error: std::io::Error| CliError::failed(format!("cannot write manual pages into {dir}: {error}"));
    std::fs::create_dir_all(&args.dir).map_err(write_error)?;
    clap_mangen::generate_to(command, &args.dir).map_err(write_error)?;
    print_stderr(&format!(
        "Wrote manual pages to {dir}. Read one with `man {dir}/larder.1`, or copy them to a `man1` folder."
    ));
    Ok(None)
}
