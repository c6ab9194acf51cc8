//! The commands: flags in, one request to the daemon, text out.

mod back;
mod backup;
mod blame;
mod demo;
mod doc;
mod edit;
mod editor;
mod edits;
mod entry;
pub mod fields;
mod govern;
mod groups;
mod history;
mod nodediff;
mod nodes;
mod pager;
mod quarantine;
mod read;
mod run;
mod settle;
mod sides;
mod status;
mod sync;
#[cfg(test)]
mod tests;
mod tools;
mod verify;
mod watch;
mod write;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::place::Place;
use crate::render::{Color, Pen, Style, clean, short};
use crate::time;
use crate::view::{Tagged, View};

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
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command, before or after it.
#[derive(Debug, Args)]
struct Global {
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
    color: Color,
    /// Look at the document as it was at a time, change or tag
    #[arg(long, global = true, value_name = "TIME|CHANGE|TAG", help_heading = "Global options")]
    at: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground; found GROUP if it is named and unknown
    Up(run::Up),
    /// Run the daemon as a service
    Daemon(run::Run),
    /// Play the whole story with three daemons on this machine, and leave nothing behind
    Demo,
    /// Found a group
    Init(groups::Init),
    /// List the groups this node is in
    Groups,
    /// Make, list or revoke invite codes
    Invite(groups::Invite),
    /// Join a group by an invite code, or ask to be let in without one
    Join(groups::Join),
    /// List the machines that ask to be let in
    Pending,
    /// Let a machine in that asks
    Approve(entry::Approve),
    /// Let a machine that asks not in
    Deny(entry::Deny),
    /// List the nodes of the group, and those seen on the LAN
    Nodes(nodes::Nodes),
    /// Measure the way to another node
    Ping(nodes::Ping),
    /// Call a node something
    Alias(nodes::Alias),
    /// Label a node
    Label(nodes::Label),
    /// Take the place of another node: its alias, its labels, and what is meant for it alone
    Replace(nodes::Replace),
    /// End the membership of a node
    Remove(govern::Remove),
    /// Give a node another role
    Role(govern::Role),
    /// Drop what a node reported that left or was removed
    Forget(govern::Forget),
    /// Leave the group
    Leave(govern::Leave),
    /// End the group for everybody
    DeleteGroup(govern::DeleteGroup),
    /// Become an admin by the recovery key
    Recover(govern::Recover),
    /// Give this node a new key; the daemon must be stopped
    Rotate(govern::Rotate),
    /// Look at what is kept aside, and bring it back
    Quarantine(quarantine::Quarantine),
    /// Say what is wrong with this node, and what to do
    Doctor,
    /// Show how resources stand on the nodes
    Status(status::Status),
    /// Check manifests; needs no daemon
    Validate(write::Validate),
    /// Write what manifests say
    Apply(write::Apply),
    /// Show what `apply` would change
    Plan(write::Plan),
    /// Set fields of a resource
    Set(write::Set),
    /// Unset fields of a resource
    Unset(write::Unset),
    /// Remove a resource
    Rm(write::Rm),
    /// Edit a resource as a manifest, in $VISUAL or $EDITOR
    Edit(edit::Edit),
    /// Print fields of a resource
    Get(read::Get),
    /// List resources
    List(read::List),
    /// Print resources as a manifest
    Export(read::Export),
    /// Show the history
    Log(history::Log),
    /// Show one change
    Show(history::Show),
    /// Compare two points of the history
    Diff(history::Diff),
    /// Take back the newest thing that this node did
    Undo(back::Undo),
    /// Take back what changes did, by a new change
    Revert(back::Revert),
    /// Make resources what they were at a point of the past (--at)
    Restore(back::Restore),
    /// Name a point of the past, or list the names
    Tag(back::Tag),
    /// Follow what happens, an event a line; goes on where it was left
    Watch(watch::Watch),
    /// Show who wrote each field, and each line of a text
    Blame(blame::Blame),
    /// Print what tells whether two nodes have the same
    Heads,
    /// List where people wanted different things
    Conflicts(read::Conflicts),
    /// Settle a conflict
    Resolve(settle::Resolve),
    /// Write the document as an Automerge file, or look into one
    Doc(doc::Doc),
    /// Show, hurry, pause or resume syncing
    Sync(sync::Sync),
    /// Copy everything this node has into a directory, while its daemon runs
    Backup(backup::Backup),
    /// Put a backup in place of the data directory; the daemon must be stopped
    RestoreBackup(backup::Restore),
    /// Print where this node keeps its things
    Paths,
    /// Print completions for a shell
    Completions(tools::Completions),
    /// Write the manual pages, one for each command
    Man(tools::Man),
}

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) place: Place,
    pub(crate) client: Client,
    pub(crate) group: Option<String>,
    pub(crate) at: Option<String>,
    pub(crate) json: bool,
    pub(crate) pen: Pen,
}

/// How a command that worked ends.
type Outcome = Result<Option<Exit>, Failure>;

impl Context {
    fn new(global: Global) -> Self {
        let place = Place::new(global.data, global.socket);
        Self {
            client: Client::new(place.socket.clone()),
            place,
            group: global.group,
            at: global.at,
            json: global.json,
            pen: Pen { colors: !global.json && global.color.applies() },
        }
    }

    /// Prints a view that may be long: as [`Context::print`] does, on a terminal through the pager.
    fn print_long<V: View>(&self, view: &V, text: impl FnOnce(&V) -> String) -> Result<(), Failure> {
        if self.json { self.print(view, text) } else { pager::page(&text(view)) }
    }

    /// Says which point of the past a time stood for: `heads`, none if nothing was written by then.
    fn tell_at(&self, heads: Option<&[String]>) {
        let named = self.at.as_deref().filter(|at| !self.json && time::looks_like_time(at));
        if let Some((at, heads)) = named.zip(heads) {
            talk(&format!("{}: {}", clean(at), name_heads(heads)));
        }
    }

    /// Prints a view: as JSON if that was asked for, else as `text` has it.
    fn print<V: View>(&self, view: &V, text: impl FnOnce(&V) -> String) -> Result<(), Failure> {
        if self.json {
            let json = serde_json::to_string_pretty(&Tagged::new(view));
            return say(&(json.map_err(|error| Failure::failed(error.to_string()))? + "\n"));
        }
        say(&text(view))
    }

    /// The group, as a query parameter.
    fn group(&self) -> (&'static str, Option<&str>) {
        ("group", self.group.as_deref())
    }

    /// The point of the past, as a query parameter.
    fn at(&self) -> (&'static str, Option<&str>) {
        ("at", self.at.as_deref())
    }

    /// Refuses `--at` where it makes no sense.
    fn only_now(&self, command: &str) -> Result<(), Failure> {
        match self.at {
            Some(_) => Err(Failure::usage(format!("`{command}` knows only the present: leave out --at"))),
            None => Ok(()),
        }
    }
}

fn name_heads(heads: &[String]) -> String {
    match heads {
        [] => "before the first change".to_owned(),
        [one] => format!("as of change {}", short(one)),
        several => {
            let ids: Vec<String> = several.iter().map(|id| short(id)).collect();
            format!("as of changes {}, which had not been joined", ids.join(", "))
        }
    }
}

/// Writes to standard output. A reader that has gone is no failure.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Talks to the operator, on standard error.
fn talk(text: &str) {
    let mut err = std::io::stderr().lock();
    // There is nobody else to tell.
    drop(writeln!(err, "{text}"));
}

/// The whole command: parses the arguments, does what they say, answers with its exit code.
pub fn main() -> ExitCode {
    let wants_json = std::env::args_os().any(|arg| arg == "--json");
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, wants_json),
    };
    let context = Context::new(cli.global);
    match run(&context, cli.command) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(exit)) => ExitCode::from(u8::from(exit)),
        Err(failure) => {
            tell(&failure, context.json);
            ExitCode::from(u8::from(failure.exit))
        }
    }
}

/// Arguments that cannot be understood, or a wish for help.
fn refuse(error: &clap::Error, json: bool) -> ExitCode {
    use clap::error::ErrorKind;
    let wish = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if json && !wish {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        tell(&Failure::usage(first.trim_start_matches("error: ")).hint("see `larder --help`"), true);
    } else {
        drop(error.print());
    }
    let missing = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if wish && !missing { ExitCode::SUCCESS } else { ExitCode::from(u8::from(Exit::Usage)) }
}

fn tell(failure: &Failure, json: bool) {
    if json {
        talk(&serde_json::to_string(&Tagged::new(failure)).unwrap_or_default());
        return;
    }
    let pen = Pen {
        colors: std::io::IsTerminal::is_terminal(&std::io::stderr())
            && std::env::var_os("NO_COLOR").is_none(),
    };
    talk(&format!("{} {}", pen.paint(Style::Bad, "larder:"), failure.text));
    if let Some(hint) = &failure.hint {
        talk(&format!("{} {hint}", pen.paint(Style::Dim, "hint:")));
    }
}

fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Up(args) => run::up(context, args),
        Command::Daemon(args) => run::daemon(context, args),
        Command::Demo => demo::run(context),
        Command::Init(args) => groups::init(context, args),
        Command::Groups => groups::list(context),
        Command::Invite(args) => groups::invite(context, args),
        Command::Join(args) => groups::join(context, args),
        Command::Pending => entry::pending(context),
        Command::Approve(args) => entry::approve(context, args),
        Command::Deny(args) => entry::deny(context, args),
        Command::Replace(args) => nodes::replace(context, args),
        Command::Remove(args) => govern::remove(context, args),
        Command::Role(args) => govern::role(context, args),
        Command::Forget(args) => govern::forget(context, args),
        Command::Leave(args) => govern::leave(context, args),
        Command::DeleteGroup(args) => govern::delete_group(context, args),
        Command::Recover(args) => govern::recover(context, args),
        Command::Rotate(args) => govern::rotate(context, args),
        Command::Quarantine(args) => quarantine::quarantine(context, args),
        Command::Doctor => tools::doctor(context),
        Command::Nodes(args) => nodes::nodes(context, &args),
        Command::Ping(args) => nodes::ping(context, &args),
        Command::Alias(args) => nodes::alias(context, args),
        Command::Label(args) => nodes::label(context, args),
        Command::Status(args) => status::status(context, &args),
        Command::Validate(args) => write::validate(context, &args),
        Command::Apply(args) => write::apply(context, args),
        Command::Plan(args) => write::plan(context, args),
        Command::Set(args) => write::set(context, args),
        Command::Unset(args) => write::unset(context, args),
        Command::Rm(args) => write::rm(context, args),
        Command::Edit(args) => edit::edit(context, args),
        Command::Get(args) => read::get(context, &args),
        Command::List(args) => read::list(context, &args),
        Command::Export(args) => read::export(context, &args),
        Command::Log(args) => history::log(context, &args),
        Command::Show(args) => history::show(context, &args),
        Command::Diff(args) => history::diff(context, &args),
        Command::Undo(args) => back::undo(context, args),
        Command::Revert(args) => back::revert(context, args),
        Command::Restore(args) => back::restore(context, args),
        Command::Tag(args) => back::tag(context, args),
        Command::Watch(args) => watch::watch(context, &args),
        Command::Blame(args) => blame::blame(context, &args),
        Command::Heads => sync::heads(context),
        Command::Conflicts(args) => read::conflicts(context, &args),
        Command::Resolve(args) => settle::resolve(context, args),
        Command::Doc(args) => doc::doc(context, &args),
        Command::Sync(args) => sync::sync(context, &args),
        Command::Backup(args) => backup::backup(context, &args),
        Command::RestoreBackup(args) => backup::restore_backup(context, &args),
        Command::Paths => tools::paths(context),
        Command::Completions(args) => tools::completions(&args, &mut Cli::command()),
        Command::Man(args) => tools::man(&args, Cli::command()),
    }
}
