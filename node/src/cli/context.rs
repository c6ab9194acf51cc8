//! What every command needs: the paths, the client, and how to print.

use std::io::Write as _;

use crate::client::ApiClient;
use crate::data_dir::DataDir;
use crate::dto::{HasSchema, WithSchema};
use crate::error::{CliError, ExitKind};
use crate::output::{Styler, escape, short_id};
use crate::time;

/// What every command needs.
#[derive(Debug)]
pub(super) struct CommandContext {
    pub(crate) data_dir: DataDir,
    pub(crate) client: ApiClient,
    pub(crate) group: Option<String>,
    pub(crate) history_point: Option<String>,
    pub(crate) json: bool,
    pub(crate) styler: Styler,
}

/// How a command that worked ends.
pub(super) type CommandResult = Result<Option<ExitKind>, CliError>;

impl CommandContext {
    pub(super) fn new(global: super::GlobalArgs) -> Self {
        let data_dir = DataDir::new(global.data, global.socket);
        Self {
            client: ApiClient::new(data_dir.socket.clone()),
            data_dir,
            group: global.group,
            history_point: global.at,
            json: global.json,
            styler: Styler { is_colored: !global.json && global.color.is_enabled() },
        }
    }

    /// Prints a view that may be long: as [`CommandContext::print`] does, on a terminal through the pager.
    pub(super) fn print_paged<V: HasSchema>(
        &self,
        view: &V,
        text: impl FnOnce(&V) -> String,
    ) -> Result<(), CliError> {
        if self.json { self.print(view, text) } else { super::pager::page_text(&text(view)) }
    }

    /// Says which point of the past a time stood for: `heads`, none if nothing was written by then.
    pub(super) fn report_history_point(&self, heads: Option<&[String]>) {
        let typed_time =
            self.history_point.as_deref().filter(|point| !self.json && time::looks_like_time(point));
        if let Some((point, heads)) = typed_time.zip(heads) {
            print_stderr(&format!("{}: {}", escape(point), describe_heads(heads)));
        }
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

    /// The point of the past, as a query parameter.
    pub(super) fn at_param(&self) -> (&'static str, Option<&str>) {
        ("at", self.history_point.as_deref())
    }

    /// Refuses `--at` where it makes no sense.
    pub(super) fn require_present(&self, command: &str) -> Result<(), CliError> {
        match self.history_point {
            Some(_) => Err(CliError::usage(format!("`{command}` knows only the present: leave out --at"))),
            None => Ok(()),
        }
    }
}

pub(super) fn describe_heads(heads: &[String]) -> String {
    match heads {
        [] => "before the first change".to_owned(),
        [one] => format!("as of change {}", short_id(one)),
        several => {
            let ids: Vec<String> = several.iter().map(|id| short_id(id)).collect();
            format!("as of changes {}, which had not been joined", ids.join(", "))
        }
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
