//! What every command needs: the paths, the client, and how to print.

use std::io::Write as _;

use crate::client::ApiClient;
use crate::data_dir::DataDir;
use crate::dto::{HasSchema, WithSchema};
use crate::error::{CliError, ExitKind};
use crate::output::Styler;

/// What every command needs.
#[derive(Debug)]
pub(super) struct CommandContext {
    pub(super) data_dir: DataDir,
    pub(super) client: ApiClient,
    pub(super) group: Option<String>,
    pub(super) json: bool,
    pub(super) styler: Styler,
    /// Builds the command line, for `completions` and `man`.
    pub(super) build_parser: fn() -> clap::Command,
}

/// How a command that worked ends.
pub(super) type CommandResult = Result<Option<ExitKind>, CliError>;

impl CommandContext {
    /// Prints a view that may be long: as [`CommandContext::print`] does, on a terminal through the pager.
    pub(super) fn print_paged<V: HasSchema>(
        &self,
        view: &V,
        text: impl FnOnce(&V) -> String,
    ) -> Result<(), CliError> {
        if self.json { self.print(view, text) } else { super::pager::page_text(&text(view)) }
    }

    /// Prints a view: as JSON if that was asked for, else as `text` has it.
    pub(super) fn print<V: HasSchema>(
        &self,
        view: &V,
        text: impl FnOnce(&V) -> String,
    ) -> Result<(), CliError> {
        if self.json {
            let json = serde_json::to_string_pretty(&WithSchema::new(view));
            return print_stdout(&(json.map_err(|error| CliError::failed(error.to_string()))? + "\n"));
        }
        print_stdout(&text(view))
    }

    /// The group, as a query parameter.
    pub(super) fn group_param(&self) -> (&'static str, Option<&str>) {
        ("group", self.group.as_deref())
    }
}

/// Writes to standard output. A reader that has gone is no failure.
pub(super) fn print_stdout(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Talks to the operator, on standard error.
pub(super) fn print_stderr(text: &str) {
    let mut err = std::io::stderr().lock();
    // There is nobody else to tell.
    drop(writeln!(err, "{text}"));
}

/// Nothing to print but a text.
pub(super) fn print_raw(text: &str) -> CommandResult {
    print_stdout(text).map(|()| None)
}
