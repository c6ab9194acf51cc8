//! `paths`, `doctor`, `completions` and `man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use super::{CommandContext, CommandResult, print_stderr, print_stdout};
use crate::api::groups::node_paths;
use crate::dto::{DoctorReport, NodePaths};
use crate::error::{CliError, ExitKind};
use crate::output::{Style, Table, plain_cell, styled_cell};

/// Flags of `completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Flags of `man`.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Where to; made if it is not there
    dir: PathBuf,
}

/// Prints what is known with and without a daemon; says by its exit code which it was.
pub(super) fn paths(context: &CommandContext) -> CommandResult {
    context.require_present("paths")?;
    let response = context.client.get::<NodePaths>("/v1/paths", &[]);
    let paths = response.unwrap_or_else(|_| node_paths(&context.data_dir, false));
    context.print(&paths, |paths| {
        let running = if paths.running { "yes" } else { "no" };
        format!(
            "data      {}\nsocket    {}\nkey       {}\nstore     {}\nsettings  {}\nrunning   {running}\n",
            paths.data, paths.socket, paths.key, paths.store, paths.settings
        )
    })?;
    Ok((!paths.running).then_some(ExitKind::Unreachable))
}

/// Exits with 1 if anything is bad.
pub(super) fn doctor(context: &CommandContext) -> CommandResult {
    context.require_present("doctor")?;
    let report: DoctorReport = context.client.get("/v1/doctor", &[])?;
    context.print(&report, |report| render_doctor(context, report))?;
    Ok(report.checks.iter().any(|check| check.state == "bad").then_some(ExitKind::Failed))
}

fn render_doctor(context: &CommandContext, report: &DoctorReport) -> String {
    let mut table = Table::new(&["GROUP", "ABOUT", "STATE", "FOUND", "WHAT TO DO"]);
    for check in &report.checks {
        let style = match check.state.as_str() {
            "good" => Style::Good,
            "bad" => Style::Bad,
            _ => Style::Warning,
        };
        table.push_row(vec![
            plain_cell(check.group.as_deref().unwrap_or_default()),
            plain_cell(&check.topic),
            styled_cell(&check.state, style),
            plain_cell(&check.text),
            plain_cell(check.hint.as_deref().unwrap_or_default()),
        ]);
    }
    table.render(context.styler)
}

pub(super) fn completions(args: &CompletionsArgs, command: &mut clap::Command) -> CommandResult {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, command, "larder", &mut out);
    print_stdout(&String::from_utf8_lossy(&out))?;
    Ok(None)
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
