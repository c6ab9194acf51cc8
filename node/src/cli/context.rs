//! The paths, the client and the output of a command.

pub(super) use super::standard_streams::{print_stderr, print_stdout};
use crate::api::params::parse_resource;
use crate::client::ApiClient;
use crate::data_dir::DataDir;
use crate::dto::{HasSchema, WithSchema};
use crate::error::{CliError, ExitKind};
use crate::output::Styler;

/// The notice of a command that finds no group.
pub(super) const NO_GROUP_HINT: &str =
    "This node is in no group. Create one with `larder init NAME`, or join one with `larder join CODE`.";

/// The paths, the client and the output options that a command uses.
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

/// The exit code of a command that did not fail. `None` is 0.
pub(super) type CommandResult = Result<Option<ExitKind>, CliError>;

impl CommandContext {
    /// Prints a long answer as [`CommandContext::print`] does. On a terminal it goes through the pager.
    pub(super) fn print_paged<V: HasSchema>(
        &self,
        view: &V,
        text: impl FnOnce(&V) -> String,
    ) -> Result<(), CliError> {
        if self.json { self.print(view, text) } else { super::pager::page_text(&text(view)) }
    }

    /// Prints an answer: as JSON with `--json`, and as `text` formats it otherwise.
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

    /// The path of a resource in the API, or of a part of it. `resource` is `KIND/NAME`.
    pub(super) fn resource_path(&self, resource: &str, rest: &[&str]) -> Result<String, CliError> {
        let name = parse_resource(resource)?;
        let segments = ["resources", name.kind(), name.name()];
        Ok(self.group_path(&[&segments, rest].concat()))
    }

    /// A path of the API in the group of the command.
    pub(super) fn group_path(&self, segments: &[&str]) -> String {
        crate::client::group_path(self.group.as_deref(), segments)
    }
}

/// Prints a text as it is, and ends the command.
pub(super) fn print_raw(text: &str) -> CommandResult {
    print_stdout(text).map(|()| None)
}
