//! `completions`: shell completions.

use clap::Args;
use clap_complete::Shell;

use super::context::{CommandResult, print_stdout};

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn completions(args: &CompletionsArgs, command: &mut clap::Command) -> CommandResult {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, command, "larder", &mut out);
    print_stdout(&String::from_utf8_lossy(&out))?;
    Ok(None)
}
