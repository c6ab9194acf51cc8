//! The commands: flags in, one request to the daemon, text out.

mod admin;
pub mod assignment;
mod backup;
mod blame;
mod conflict_file;
mod demo;
mod diff_text;
mod doc;
mod edit;
mod editor;
mod groups;
mod history;
mod join_requests;
mod node_diff;
mod nodes;
mod pager;
mod quarantine;
mod read;
mod resolve;
mod revert;
mod status;
mod sync;
#[cfg(test)]
mod tests;
mod tools;
mod up;
mod verify;
mod watch;
mod write_request;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::client::ApiClient;
use crate::data_dir::DataDir;
use crate::dto::{HasSchema, WithSchema};
use crate::error::{CliError, ExitKind};
use crate::output::{ColorMode, Style, Styler, escape, short_id};
use crate::time;

/// Keeps the provisions of a group of machines in order, with or without the network.
#[derive(Debug, Parser)]
#[command(
    name = "larder",
    bin_name = "larder",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 no daemon or no group, 4 nothing so called, \
    5 refused, 6 not done everywhere, 10 differences (with --exit-code)"
)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: CliCommand,
}

/// Flags of every command, before or after it.
#[derive(Debug, Args)]
struct GlobalArgs {
    /// Data directory of the node
    #[arg(
        long,
        global = true,
        env = "LARDER_DATA",
        hide_env_values = true,
        value_name = "DIR",
        help_heading = "Global options"
    )]
    data: Option<PathBuf>,
    /// Socket of the daemon [default: larder.sock in the data directory]
    #[arg(
        long,
        global = true,
        env = "LARDER_SOCKET",
        hide_env_values = true,
        value_name = "PATH",
        help_heading = "Global options"
    )]
    socket: Option<PathBuf>,
    /// Which group, by name or id [default: the only one]
    #[arg(
        short,
        long,
        global = true,
        env = "LARDER_GROUP",
        hide_env_values = true,
        value_name = "GROUP",
        help_heading = "Global options"
    )]
    group: Option<String>,
    /// Print one JSON document
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Whether to colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Global options")]
    color: ColorMode,
    /// Look at the document as it was at a time, change or tag
    #[arg(long, global = true, value_name = "TIME|CHANGE|TAG", help_heading = "Global options")]
    at: Option<String>,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run the daemon in the foreground; found GROUP if it is named and unknown
    Up(up::UpArgs),
    /// Run the daemon as a service
    Daemon(up::DaemonArgs),
    /// Play the whole story with three daemons on this machine, and leave nothing behind
    Demo,
    /// Found a group
    Init(groups::InitArgs),
    /// List the groups this node is in
    Groups,
    /// Make, list or revoke invite codes
    Invite(groups::InviteArgs),
    /// Join a group by an invite code, or ask to be let in without one
    Join(groups::JoinArgs),
    /// List the machines that ask to be let in
    Pending,
    /// Let a machine in that asks
    Approve(join_requests::ApproveArgs),
    /// Let a machine that asks not in
    Deny(join_requests::DenyArgs),
    /// List the nodes of the group, and those seen on the LAN
    Nodes(nodes::NodesArgs),
    /// Measure the way to another node
    Ping(nodes::PingArgs),
    /// Call a node something
    Alias(nodes::AliasArgs),
    /// Label a node
    Label(nodes::LabelArgs),
    /// Take the place of another node: its alias, its labels, and what is meant for it alone
    Replace(nodes::ReplaceArgs),
    /// End the membership of a node
    Remove(admin::RemoveArgs),
    /// Give a node another role
    Role(admin::RoleArgs),
    /// Drop what a node reported that left or was removed
    Forget(admin::ForgetArgs),
    /// Leave the group
    Leave(admin::LeaveArgs),
    /// End the group for everybody
    DeleteGroup(admin::DeleteGroupArgs),
    /// Become an admin by the recovery key
    Recover(admin::RecoverArgs),
    /// Give this node a new key; the daemon must be stopped
    Rotate(admin::RotateArgs),
    /// Look at what is kept aside, and bring it back
    Quarantine(quarantine::QuarantineArgs),
    /// Say what is wrong with this node, and what to do
    Doctor,
    /// Show how resources stand on the nodes
    Status(status::StatusArgs),
    /// Check manifests; needs no daemon
    Validate(write_request::ValidateArgs),
    /// Write what manifests say
    Apply(write_request::ApplyArgs),
    /// Show what `apply` would change
    Plan(write_request::PlanArgs),
    /// Set fields of a resource
    Set(write_request::SetArgs),
    /// Unset fields of a resource
    Unset(write_request::UnsetArgs),
    /// Remove a resource
    Rm(write_request::RmArgs),
    /// Edit a resource as a manifest, in $VISUAL or $EDITOR
    Edit(edit::EditArgs),
    /// Print fields of a resource
    Get(read::GetArgs),
    /// List resources
    List(read::ListArgs),
    /// Print resources as a manifest
    Export(read::ExportArgs),
    /// Show the history
    Log(history::LogArgs),
    /// Show one change
    Show(history::ShowArgs),
    /// Compare two points of the history
    Diff(history::DiffArgs),
    /// Take back the newest thing that this node did
    Undo(revert::UndoArgs),
    /// Take back what changes did, by a new change
    Revert(revert::RevertArgs),
    /// Make resources what they were at a point of the past (--at)
    Restore(revert::RestoreArgs),
    /// Name a point of the past, or list the names
    Tag(revert::TagArgs),
    /// Follow what happens, an event a line; goes on where it was left
    Watch(watch::WatchArgs),
    /// Show who wrote each field, and each line of a text
    Blame(blame::BlameArgs),
    /// Print what tells whether two nodes have the same
    Heads,
    /// List where people wanted different things
    Conflicts(read::ConflictsArgs),
    /// Settle a conflict
    Resolve(resolve::ResolveArgs),
    /// Write the document as an Automerge file, or look into one
    Doc(doc::DocArgs),
    /// Show, hurry, pause or resume syncing
    Sync(sync::SyncArgs),
    /// Copy everything this node has into a directory, while its daemon runs
    Backup(backup::BackupArgs),
    /// Put a backup in place of the data directory; the daemon must be stopped
    RestoreBackup(backup::RestoreBackupArgs),
    /// Print where this node keeps its things
    Paths,
    /// Print completions for a shell
    Completions(tools::CompletionsArgs),
    /// Write the manual pages, one for each command
    Man(tools::ManArgs),
}

/// What every command needs.
#[derive(Debug)]
pub(crate) struct CommandContext {
    pub(crate) data_dir: DataDir,
    pub(crate) client: ApiClient,
    pub(crate) group: Option<String>,
    pub(crate) history_point: Option<String>,
    pub(crate) json: bool,
    pub(crate) styler: Styler,
}

/// How a command that worked ends.
type CommandResult = Result<Option<ExitKind>, CliError>;

impl CommandContext {
    fn new(global: GlobalArgs) -> Self {
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
    fn print_paged<V: HasSchema>(&self, view: &V, text: impl FnOnce(&V) -> String) -> Result<(), CliError> {
        if self.json { self.print(view, text) } else { pager::page_text(&text(view)) }
    }

    /// Says which point of the past a time stood for: `heads`, none if nothing was written by then.
    fn report_history_point(&self, heads: Option<&[String]>) {
        let typed_time =
            self.history_point.as_deref().filter(|point| !self.json && time::looks_like_time(point));
        if let Some((point, heads)) = typed_time.zip(heads) {
            print_stderr(&format!("{}: {}", escape(point), describe_heads(heads)));
        }
    }

    /// Prints a view: as JSON if that was asked for, else as `text` has it.
    fn print<V: HasSchema>(&self, view: &V, text: impl FnOnce(&V) -> String) -> Result<(), CliError> {
        if self.json {
            let json = serde_json::to_string_pretty(&WithSchema::new(view));
            return print_stdout(&(json.map_err(|error| CliError::failed(error.to_string()))? + "\n"));
        }
        print_stdout(&text(view))
    }

    /// The group, as a query parameter.
    fn group_param(&self) -> (&'static str, Option<&str>) {
        ("group", self.group.as_deref())
    }

    /// The point of the past, as a query parameter.
    fn at_param(&self) -> (&'static str, Option<&str>) {
        ("at", self.history_point.as_deref())
    }

    /// Refuses `--at` where it makes no sense.
    fn require_present(&self, command: &str) -> Result<(), CliError> {
        match self.history_point {
            Some(_) => Err(CliError::usage(format!("`{command}` knows only the present: leave out --at"))),
            None => Ok(()),
        }
    }
}

fn describe_heads(heads: &[String]) -> String {
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
fn print_stdout(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Talks to the operator, on standard error.
fn print_stderr(text: &str) {
    let mut err = std::io::stderr().lock();
    // There is nobody else to tell.
    drop(writeln!(err, "{text}"));
}

/// The whole command: parses the arguments, does what they say, answers with its exit code.
pub fn main() -> ExitCode {
    let is_json = std::env::args_os().any(|arg| arg == "--json");
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return report_parse_error(&error, is_json),
    };
    let context = CommandContext::new(cli.global);
    match dispatch(&context, cli.command) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(exit)) => ExitCode::from(u8::from(exit)),
        Err(failure) => {
            report_error(&failure, context.json);
            ExitCode::from(u8::from(failure.exit))
        }
    }
}

/// Arguments that cannot be understood, or a wish for help.
fn report_parse_error(error: &clap::Error, is_json: bool) -> ExitCode {
    use clap::error::ErrorKind;
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if is_json && !is_help {
        let text = error.to_string();
        let first_line = text.lines().next().unwrap_or_default();
        report_error(
            &CliError::usage(first_line.trim_start_matches("error: ")).with_hint("see `larder --help`"),
            true,
        );
    } else {
        drop(error.print());
    }
    let is_missing_command = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if is_help && !is_missing_command { ExitCode::SUCCESS } else { ExitCode::from(u8::from(ExitKind::Usage)) }
}

fn report_error(failure: &CliError, is_json: bool) {
    if is_json {
        print_stderr(&serde_json::to_string(&WithSchema::new(failure)).unwrap_or_default());
        return;
    }
    let styler = Styler {
        is_colored: std::io::IsTerminal::is_terminal(&std::io::stderr())
            && std::env::var_os("NO_COLOR").is_none(),
    };
    print_stderr(&format!("{} {}", styler.paint(Style::Bad, "larder:"), failure.text));
    if let Some(hint) = &failure.hint {
        print_stderr(&format!("{} {hint}", styler.paint(Style::Dim, "hint:")));
    }
}

fn dispatch(context: &CommandContext, command: CliCommand) -> CommandResult {
    match command {
        CliCommand::Up(args) => up::up(context, args),
        CliCommand::Daemon(args) => up::daemon(context, args),
        CliCommand::Demo => demo::run_demo(context),
        CliCommand::Init(args) => groups::init(context, args),
        CliCommand::Groups => groups::list_groups(context),
        CliCommand::Invite(args) => groups::invite(context, args),
        CliCommand::Join(args) => groups::join(context, args),
        CliCommand::Pending => join_requests::pending(context),
        CliCommand::Approve(args) => join_requests::approve(context, args),
        CliCommand::Deny(args) => join_requests::deny(context, args),
        CliCommand::Replace(args) => nodes::replace(context, args),
        CliCommand::Remove(args) => admin::remove(context, args),
        CliCommand::Role(args) => admin::role(context, args),
        CliCommand::Forget(args) => admin::forget(context, args),
        CliCommand::Leave(args) => admin::leave(context, args),
        CliCommand::DeleteGroup(args) => admin::delete_group(context, args),
        CliCommand::Recover(args) => admin::recover(context, args),
        CliCommand::Rotate(args) => admin::rotate(context, args),
        CliCommand::Quarantine(args) => quarantine::quarantine(context, args),
        CliCommand::Doctor => tools::doctor(context),
        CliCommand::Nodes(args) => nodes::nodes(context, &args),
        CliCommand::Ping(args) => nodes::ping(context, &args),
        CliCommand::Alias(args) => nodes::alias(context, args),
        CliCommand::Label(args) => nodes::label(context, args),
        CliCommand::Status(args) => status::status(context, &args),
        CliCommand::Validate(args) => write_request::validate(context, &args),
        CliCommand::Apply(args) => write_request::apply(context, args),
        CliCommand::Plan(args) => write_request::plan(context, args),
        CliCommand::Set(args) => write_request::set(context, args),
        CliCommand::Unset(args) => write_request::unset(context, args),
        CliCommand::Rm(args) => write_request::rm(context, args),
        CliCommand::Edit(args) => edit::edit(context, args),
        CliCommand::Get(args) => read::get(context, &args),
        CliCommand::List(args) => read::list(context, &args),
        CliCommand::Export(args) => read::export(context, &args),
        CliCommand::Log(args) => history::log(context, &args),
        CliCommand::Show(args) => history::show(context, &args),
        CliCommand::Diff(args) => history::diff(context, &args),
        CliCommand::Undo(args) => revert::undo(context, args),
        CliCommand::Revert(args) => revert::revert(context, args),
        CliCommand::Restore(args) => revert::restore(context, args),
        CliCommand::Tag(args) => revert::tag(context, args),
        CliCommand::Watch(args) => watch::watch(context, &args),
        CliCommand::Blame(args) => blame::blame(context, &args),
        CliCommand::Heads => sync::heads(context),
        CliCommand::Conflicts(args) => read::conflicts(context, &args),
        CliCommand::Resolve(args) => resolve::resolve(context, args),
        CliCommand::Doc(args) => doc::doc(context, &args),
        CliCommand::Sync(args) => sync::sync(context, &args),
        CliCommand::Backup(args) => backup::backup(context, &args),
        CliCommand::RestoreBackup(args) => backup::restore_backup(context, &args),
        CliCommand::Paths => tools::paths(context),
        CliCommand::Completions(args) => tools::completions(&args, &mut Cli::command()),
        CliCommand::Man(args) => tools::man(&args, Cli::command()),
    }
}
