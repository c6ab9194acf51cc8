//! `paths`, `doctor`, `completions` and `man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use super::{Context, Outcome, say, talk};
use crate::api::groups::describe;
use crate::failure::{Exit, Failure};
use crate::render::{Style, Table, cell, plain};
use crate::view::{Doctor, Paths};

/// Flags of `completions`.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

/// Flags of `man`.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Where to; made if it is not there
    dir: PathBuf,
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

/// Exits with 1 if anything is bad.
pub(super) fn doctor(context: &Context) -> Outcome {
    context.only_now("doctor")?;
    let found: Doctor = context.client.get("/v1/doctor", &[])?;
    context.print(&found, |found| draw(context, found))?;
    Ok(found.checks.iter().any(|check| check.state == "bad").then_some(Exit::Failed))
}

fn draw(context: &Context, found: &Doctor) -> String {
    let mut table = Table::new(&["GROUP", "ABOUT", "STATE", "FOUND", "WHAT TO DO"]);
    for check in &found.checks {
        let style = match check.state.as_str() {
            "good" => Style::Good,
            "bad" => Style::Bad,
            _ => Style::Care,
        };
        table.row(vec![
            plain(check.group.as_deref().unwrap_or_default()),
            plain(&check.about),
            cell(&check.state, style),
            plain(&check.text),
            plain(check.hint.as_deref().unwrap_or_default()),
        ]);
    }
    table.draw(context.pen)
}

pub(super) fn completions(args: &Completions, command: &mut clap::Command) -> Outcome {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, command, "larder", &mut out);
    say(&String::from_utf8_lossy(&out))?;
    Ok(None)
}

/// Writes one page a command, as `larder-invite-list.1`.
pub(super) fn man(args: &Man, command: clap::Command) -> Outcome {
    let dir = args.dir.display();
    let fail =
        |error: std::io::Error| Failure::failed(format!("cannot write manual pages into {dir}: {error}"));
    std::fs::create_dir_all(&args.dir).map_err(fail)?;
    clap_mangen::generate_to(command, &args.dir).map_err(fail)?;
    talk(&format!(
        "The manual pages are in {dir}: see `man {dir}/larder.1`, or put them into a `man1` directory."
    ));
    Ok(None)
}
