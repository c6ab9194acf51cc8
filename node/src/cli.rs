//! The command line. A command parses its arguments, sends a request to the daemon and prints the answer.
//!
//! Each command has a file of its own. `commands` is the list of them.

mod admin_request;
mod alias;
mod apply;
mod approve;
mod arguments;
pub mod assignment;
mod backup;
mod blame;
mod change_text;
mod commands;
mod completions;
mod conflict_file;
mod conflicts;
mod context;
mod daemon;
mod delete_group;
mod demo;
mod deny;
mod diff;
mod diff_text;
mod doc;
mod doctor;
mod edit;
mod editor;
mod export;
mod forget;
mod get;
mod groups;
mod heads;
mod help;
mod history_point;
mod init;
mod invite;
mod join;
mod kept;
mod label;
mod leave;
mod list;
mod log;
mod man;
mod manifests;
mod nodes;
mod pager;
mod paths;
mod pending;
mod ping;
mod plan;
mod progress;
mod prompt;
mod quarantine;
mod recover;
mod remove;
mod replace;
mod resolve;
mod restore;
mod restore_backup;
mod revert;
mod rm;
mod role;
mod rotate;
mod set;
mod show;
mod standard_streams;
mod status;
mod sync;
mod tag;
#[cfg(test)]
mod tests;
mod undo;
mod unset;
mod up;
mod validate;
mod watch;
mod write_request;

use std::process::ExitCode;

use clap::FromArgMatches as _;
use clap::error::ErrorKind;

pub use arguments::Cli;
use arguments::GlobalArgs;
use context::{CommandContext, print_stderr};

use crate::client::ApiClient;
use crate::data_dir::DataDir;
use crate::dto::WithSchema;
use crate::error::{CliError, ExitKind};
use crate::output::{self, Style, Styler};

/// Runs the command that the process was started with, and returns its exit code.
pub fn main() -> ExitCode {
    let parsed = help::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return report_parse_error(&error),
    };
    let context = build_context(cli.global);
    match cli.command.run(&context) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(exit)) => ExitCode::from(u8::from(exit)),
        Err(failure) => {
            report_error(&failure, context.json);
            ExitCode::from(u8::from(failure.exit))
        }
    }
}

fn build_context(global: GlobalArgs) -> CommandContext {
    output::set_color(global.color);
    let data_dir = DataDir::new(global.data, global.socket);
    CommandContext {
        client: ApiClient::new(data_dir.socket.clone()),
        data_dir,
        group: global.group,
        json: global.json,
        styler: if global.json { Styler::PLAIN } else { Styler::for_stdout() },
        build_parser: <Cli as clap::CommandFactory>::command,
    }
}

/// Prints what is wrong with the arguments, or the help that they ask for.
fn report_parse_error(error: &clap::Error) -> ExitCode {
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let is_help_instead = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    // What cannot be parsed still says how to print the error.
    if !is_help && !is_help_instead && std::env::args_os().any(|arg| arg == "--json") {
        let text = error.to_string();
        let first_line = text.lines().next().unwrap_or_default();
        let failure = CliError::usage(first_line.trim_start_matches("error: "));
        report_error(&failure.with_hint("see `larder --help`"), true);
    } else {
        drop(error.print());
    }
    if is_help { ExitCode::SUCCESS } else { ExitCode::from(u8::from(ExitKind::Usage)) }
}

fn report_error(failure: &CliError, is_json: bool) {
    if is_json {
        print_stderr(&serde_json::to_string(&WithSchema::new(failure)).unwrap_or_default());
        return;
    }
    let styler = Styler::for_stderr();
    print_stderr(&format!("{} {}", styler.paint(Style::Bad, "larder:"), failure.text));
    if let Some(hint) = &failure.hint {
        print_stderr(&format!("{} {hint}", styler.paint(Style::Dim, "hint:")));
    }
}
