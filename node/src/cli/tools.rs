//! `paths` and `completions`.

use clap::Args;
use clap_complete::Shell;

use super::{Context, Outcome, say};
use crate::api::groups::describe;
use crate::failure::Exit;
use crate::view::Paths;

/// Flags of `completions`.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

/// Prints what is known with and without a daemon; says by its exit code which it was.
pub(super) fn paths(context: &Context) -> Outcome {
    context.only_now("paths")?;
    let told = context.client.get::<Paths>("/v1/paths", &[]);
    let paths = told.unwrap_or_else(|_| describe(&context.place, false));
    context.print(&paths, |paths| {
        let running = if paths.running { "yes" } else { "no" };
        format!(
            "data      {}\nsocket    {}\nkey       {}\nstore     {}\nsettings  {}\nrunning   {running}\n",
            paths.data, paths.socket, paths.key, paths.store, paths.settings
        )
    })?;
    Ok((!paths.running).then_some(Exit::Unreachable))
}

pub(super) fn completions(args: &Completions, command: &mut clap::Command) -> Outcome {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, command, "larder", &mut out);
    say(&String::from_utf8_lossy(&out))?;
    Ok(None)
}
