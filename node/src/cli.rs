//! The commands: flags in, one request to the daemon, text out.

mod admin_request;
mod alias;
mod apply;
mod approve;
pub mod assignment;
mod backup;
mod blame;
mod change_text;
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
mod init;
mod invite;
mod join;
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

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use context::{CommandContext, CommandResult, print_stderr};

use crate::dto::WithSchema;
use crate::error::{CliError, ExitKind};
use crate::output::{ColorMode, Style, Styler};

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
    Daemon(daemon::DaemonArgs),
    /// Play the whole story with three daemons on this machine, and leave nothing behind
    Demo,
    /// Found a group
    Init(init::InitArgs),
    /// List the groups this node is in
    Groups,
    /// Make, list or revoke invite codes
    Invite(invite::InviteArgs),
    /// Join a group by an invite code, or ask to be let in without one
    Join(join::JoinArgs),
    /// List the machines that ask to be let in
    Pending,
    /// Let a machine in that asks
    Approve(approve::ApproveArgs),
    /// Let a machine that asks not in
    Deny(deny::DenyArgs),
    /// List the nodes of the group, and those seen on the LAN
    Nodes(nodes::NodesArgs),
    /// Measure the way to another node
    Ping(ping::PingArgs),
    /// Call a node something
    Alias(alias::AliasArgs),
    /// Label a node
    Label(label::LabelArgs),
    /// Take the place of another node: its alias, its labels, and what is meant for it alone
    Replace(replace::ReplaceArgs),
    /// End the membership of a node
    Remove(remove::RemoveArgs),
    /// Give a node another role
    Role(role::RoleArgs),
    /// Drop what a node reported that left or was removed
    Forget(forget::ForgetArgs),
    /// Leave the group
    Leave(leave::LeaveArgs),
    /// End the group for everybody
    DeleteGroup(delete_group::DeleteGroupArgs),
    /// Become an admin by the recovery key
    Recover(recover::RecoverArgs),
    /// Give this node a new key; the daemon must be stopped
    Rotate(rotate::RotateArgs),
    /// Look at what is kept aside, and bring it back
    Quarantine(quarantine::QuarantineArgs),
    /// Say what is wrong with this node, and what to do
    Doctor,
    /// Show how resources stand on the nodes
    Status(status::StatusArgs),
    /// Check manifests; needs no daemon
    Validate(validate::ValidateArgs),
    /// Write what manifests say
    Apply(apply::ApplyArgs),
    /// Show what `apply` would change
    Plan(plan::PlanArgs),
    /// Set fields of a resource
    Set(set::SetArgs),
    /// Unset fields of a resource
    Unset(unset::UnsetArgs),
    /// Remove a resource
    Rm(rm::RmArgs),
    /// Edit a resource as a manifest, in $VISUAL or $EDITOR
    Edit(edit::EditArgs),
    /// Print fields of a resource
    Get(get::GetArgs),
    /// List resources
    List(list::ListArgs),
    /// Print resources as a manifest
    Export(export::ExportArgs),
    /// Show the history
    Log(log::LogArgs),
    /// Show one change
    Show(show::ShowArgs),
    /// Compare two points of the history
    Diff(diff::DiffArgs),
    /// Take back the newest thing that this node did
    Undo(undo::UndoArgs),
    /// Take back what changes did, by a new change
    Revert(revert::RevertArgs),
    /// Make resources what they were at a point of the past (--at)
    Restore(restore::RestoreArgs),
    /// Name a point of the past, or list the names
    Tag(tag::TagArgs),
    /// Follow what happens, an event a line; goes on where it was left
    Watch(watch::WatchArgs),
    /// Show who wrote each field, and each line of a text
    Blame(blame::BlameArgs),
    /// Print what tells whether two nodes have the same
    Heads,
    /// List where people wanted different things
    Conflicts(conflicts::ConflictsArgs),
    /// Settle a conflict
    Resolve(resolve::ResolveArgs),
    /// Write the document as an Automerge file, or look into one
    Doc(doc::DocArgs),
    /// Show, hurry, pause or resume syncing
    Sync(sync::SyncArgs),
    /// Copy everything this node has into a directory, while its daemon runs
    Backup(backup::BackupArgs),
    /// Put a backup in place of the data directory; the daemon must be stopped
    RestoreBackup(restore_backup::RestoreBackupArgs),
    /// Print where this node keeps its things
    Paths,
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
    /// Write the manual pages, one for each command
    Man(man::ManArgs),
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
        CliCommand::Daemon(args) => daemon::daemon(context, args),
        CliCommand::Demo => demo::demo(context),
        CliCommand::Init(args) => init::init(context, args),
        CliCommand::Groups => groups::groups(context),
        CliCommand::Invite(args) => invite::invite(context, args),
        CliCommand::Join(args) => join::join(context, args),
        CliCommand::Pending => pending::pending(context),
        CliCommand::Approve(args) => approve::approve(context, args),
        CliCommand::Deny(args) => deny::deny(context, args),
        CliCommand::Replace(args) => replace::replace(context, args),
        CliCommand::Remove(args) => remove::remove(context, args),
        CliCommand::Role(args) => role::role(context, args),
        CliCommand::Forget(args) => forget::forget(context, args),
        CliCommand::Leave(args) => leave::leave(context, args),
        CliCommand::DeleteGroup(args) => delete_group::delete_group(context, args),
        CliCommand::Recover(args) => recover::recover(context, args),
        CliCommand::Rotate(args) => rotate::rotate(context, args),
        CliCommand::Quarantine(args) => quarantine::quarantine(context, args),
        CliCommand::Doctor => doctor::doctor(context),
        CliCommand::Nodes(args) => nodes::nodes(context, &args),
        CliCommand::Ping(args) => ping::ping(context, &args),
        CliCommand::Alias(args) => alias::alias(context, args),
        CliCommand::Label(args) => label::label(context, args),
        CliCommand::Status(args) => status::status(context, &args),
        CliCommand::Validate(args) => validate::validate(context, &args),
        CliCommand::Apply(args) => apply::apply(context, args),
        CliCommand::Plan(args) => plan::plan(context, args),
        CliCommand::Set(args) => set::set(context, args),
        CliCommand::Unset(args) => unset::unset(context, args),
        CliCommand::Rm(args) => rm::rm(context, args),
        CliCommand::Edit(args) => edit::edit(context, args),
        CliCommand::Get(args) => get::get(context, &args),
        CliCommand::List(args) => list::list(context, &args),
        CliCommand::Export(args) => export::export(context, &args),
        CliCommand::Log(args) => log::log(context, &args),
        CliCommand::Show(args) => show::show(context, &args),
        CliCommand::Diff(args) => diff::diff(context, &args),
        CliCommand::Undo(args) => undo::undo(context, args),
        CliCommand::Revert(args) => revert::revert(context, args),
        CliCommand::Restore(args) => restore::restore(context, args),
        CliCommand::Tag(args) => tag::tag(context, args),
        CliCommand::Watch(args) => watch::watch(context, &args),
        CliCommand::Blame(args) => blame::blame(context, &args),
        CliCommand::Heads => heads::heads(context),
        CliCommand::Conflicts(args) => conflicts::conflicts(context, &args),
        CliCommand::Resolve(args) => resolve::resolve(context, args),
        CliCommand::Doc(args) => doc::doc(context, &args),
        CliCommand::Sync(args) => sync::sync(context, &args),
        CliCommand::Backup(args) => backup::backup(context, &args),
        CliCommand::RestoreBackup(args) => restore_backup::restore_backup(context, &args),
        CliCommand::Paths => paths::paths(context),
        CliCommand::Completions(args) => completions::completions(&args, &mut Cli::command()),
        CliCommand::Man(args) => man::man(&args, Cli::command()),
    }
}
