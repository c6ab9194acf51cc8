//! The tree of commands. Each enum is one heading of `larder --help`.

use clap::Subcommand;

use super::context::{CommandContext, CommandResult};
use super::{
    alias, apply, approve, backup, blame, completions, conflicts, daemon, delete_group, demo, deny, diff,
    doc, doctor, edit, export, forget, get, groups, heads, init, invite, join, kept, label, leave, list, log,
    man, nodes, paths, pending, ping, plan, quarantine, recover, remove, replace, resolve, restore,
    restore_backup, revert, rm, role, rotate, set, show, status, sync, tag, undo, unset, up, validate, watch,
};

/// Every command.
#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
    #[command(flatten)]
    Start(StartCommand),
    #[command(flatten)]
    Members(MemberCommand),
    #[command(flatten)]
    Resources(ResourceCommand),
    #[command(flatten)]
    History(HistoryCommand),
    #[command(flatten)]
    Sync(SyncCommand),
    #[command(flatten)]
    Operations(OperationsCommand),
}

/// Commands that start a node and put it into a group.
#[derive(Debug, Subcommand)]
pub(super) enum StartCommand {
    /// Run the daemon in the foreground and create GROUP if it is new
    ///
    /// The first start creates the identity of this node. For a new GROUP, `up` creates the group and prints
    /// a command with which other nodes join it.
    Up(up::UpArgs),
    /// Run the daemon as a service
    ///
    /// `daemon` is like `up`, but it never creates a group.
    Daemon(daemon::DaemonArgs),
    /// Show a merge and a conflict with three temporary nodes
    ///
    /// The demo starts three daemons in a temporary directory, disconnects one, edits on both sides and
    /// reconnects it. It removes all its files at the end.
    Demo,
    /// Create a group
    ///
    /// This node becomes the first admin. The recovery key goes to a file in the data directory: move that
    /// file to another host.
    Init(init::InitArgs),
    /// List the groups of this node
    Groups,
    /// Create, list and revoke invite codes
    ///
    /// Without a subcommand, `invite` creates an invite and prints its code.
    Invite(invite::InviteArgs),
    /// Join a group, with an invite code or by comparing digits
    ///
    /// With an invite code, this node joins the group of the code. Without one, it sends a join request to
    /// the admins on the LAN. This node and the admin's node then show six digits. Compare them before you
    /// accept the request with `larder approve`.
    Join(join::JoinArgs),
}

/// Commands about nodes and membership.
#[derive(Debug, Subcommand)]
pub(super) enum MemberCommand {
    /// List the members of the group and other nodes on the LAN
    Nodes(nodes::NodesArgs),
    /// Measure the round-trip time to a node
    Ping(ping::PingArgs),
    /// Set or clear the alias of a node
    Alias(alias::AliasArgs),
    /// Set or remove labels of a node
    Label(label::LabelArgs),
    /// List pending join requests
    Pending,
    /// Accept a pending join request
    ///
    /// Compare the six digits on both screens first.
    Approve(approve::ApproveArgs),
    /// Reject a pending join request
    Deny(deny::DenyArgs),
    /// Change the role of a node
    ///
    /// A `reader` reads the group. A `node` also applies the desired state and reports its own state. An
    /// `operator` also changes the desired state. An `admin` also changes the membership.
    Role(role::RoleArgs),
    /// Take over the alias, labels and values of another node
    ///
    /// Run `replace` on a new node after the old one is lost. It moves the alias, the labels and the per-node
    /// values of the old node to this node, in one change.
    Replace(replace::ReplaceArgs),
    /// End the membership of a node
    ///
    /// The changes of the removed node that this node has still count, or those up to --keep-through. Changes
    /// that arrive later are quarantined.
    Remove(remove::RemoveArgs),
    /// Delete the status reports of a former member
    Forget(forget::ForgetArgs),
    /// List and readmit changes that do not count
    ///
    /// A change is quarantined if it is valid, but the membership of its author had ended, or if it is on a
    /// fork of its author's history.
    Quarantine(quarantine::QuarantineArgs),
    /// Leave the group
    ///
    /// The data of the group stays readable on this node, but is no longer updated.
    Leave(leave::LeaveArgs),
    /// Delete the group for all members
    ///
    /// The data of the group stays readable on each node, but nobody can change it. This cannot be undone.
    DeleteGroup(delete_group::DeleteGroupArgs),
    /// Make this node an admin with the recovery key
    ///
    /// Use the recovery key when the group has no admin left.
    Recover(recover::RecoverArgs),
    /// Give this node a new key while its daemon is stopped
    ///
    /// The old key is no longer a member afterwards. This node must be an admin in all its groups.
    Rotate(rotate::RotateArgs),
}

/// Commands about resources.
#[derive(Debug, Subcommand)]
pub(super) enum ResourceCommand {
    /// Show the state of each resource on each node
    Status(status::StatusArgs),
    /// List resources
    List(list::ListArgs),
    /// Print the fields of a resource
    Get(get::GetArgs),
    /// Set fields of a resource, and create it if it is new
    ///
    /// One command makes one change. A field is a dotted path such as keys.url.
    Set(set::SetArgs),
    /// Remove fields from a resource
    Unset(unset::UnsetArgs),
    /// Edit a resource in your editor
    Edit(edit::EditArgs),
    /// Remove resources
    Rm(rm::RmArgs),
    /// Check manifest files without a daemon
    Validate(validate::ValidateArgs),
    /// Show what `apply` would change
    Plan(plan::PlanArgs),
    /// Write manifest files to the group
    ///
    /// A manifest sets the fields that it names. Other fields and other resources stay as they are. All files
    /// together are one change.
    Apply(apply::ApplyArgs),
    /// Print resources as a manifest
    Export(export::ExportArgs),
    /// List unresolved conflicts
    ///
    /// A conflict exists if two nodes set one field to different values, and neither knew of the other's
    /// change. Each node keeps its applied value until `larder resolve` resolves the conflict.
    Conflicts(conflicts::ConflictsArgs),
    /// Resolve a conflict
    ///
    /// A conflict keeps all its values until an operator resolves it. Choose one of them with --take, or set
    /// another value with --value. Without these options, an editor shows all values. It merges texts of
    /// several lines. The resolution is a new change, and it applies to all nodes.
    Resolve(resolve::ResolveArgs),
}

/// Commands about the history.
#[derive(Debug, Subcommand)]
pub(super) enum HistoryCommand {
    /// List the changes of the group
    Log(log::LogArgs),
    /// Show one change
    Show(show::ShowArgs),
    /// Compare two points of the history
    Diff(diff::DiffArgs),
    /// Show who wrote each field and each line
    Blame(blame::BlameArgs),
    /// Take back the newest change of this node
    ///
    /// `undo` makes a new change; the history keeps both. It refuses if a later change overwrote a field.
    Undo(undo::UndoArgs),
    /// Take back changes of any node
    ///
    /// `revert` makes a new change; the history keeps all. It refuses if a later change overwrote a field.
    Revert(revert::RevertArgs),
    /// Restore resources to an earlier point of the history
    ///
    /// `restore` makes a new change that takes back everything since that point.
    Restore(restore::RestoreArgs),
    /// Give a name to a point of the history, or list the tags
    Tag(tag::TagArgs),
    /// Print events as they happen
    ///
    /// Every event has an id. `--since ID` continues right after that event, without a gap or a repetition.
    /// If the daemon restarts, `watch` reconnects and continues.
    Watch(watch::WatchArgs),
}

/// Commands about synchronisation.
#[derive(Debug, Subcommand)]
pub(super) enum SyncCommand {
    /// Show, trigger, pause or resume synchronisation
    Sync(sync::SyncArgs),
    /// Print the group digest and the current heads
    ///
    /// Two nodes with the same digest have the same data of the group.
    Heads(heads::HeadsArgs),
    /// Export the document to an Automerge file, or compare one
    Doc(doc::DocArgs),
}

/// Commands that keep a node running.
#[derive(Debug, Subcommand)]
pub(super) enum OperationsCommand {
    /// Check this node, and suggest how to fix problems
    Doctor,
    /// Print the paths of this node's files
    Paths,
    /// List, print or restore what Larder replaced on this host
    ///
    /// Before Larder replaces or removes contents that it did not write there last, it keeps them.
    Kept(kept::KeptArgs),
    /// Back up this node while its daemon runs
    ///
    /// The backup contains the private key of the node. Keep it secret.
    Backup(backup::BackupArgs),
    /// Restore a backup while the daemon is stopped
    ///
    /// The restored node fetches what it lacks from other members. Never run the same node twice.
    RestoreBackup(restore_backup::RestoreBackupArgs),
    /// Print a shell completion script
    Completions(completions::CompletionsArgs),
    /// Write manual pages, one for each command
    Man(man::ManArgs),
}

/// The headings of `larder --help`, each with the commands below it.
pub(super) fn headings() -> [(&'static str, clap::Command); 6] {
    fn commands<T: Subcommand>(heading: &'static str) -> (&'static str, clap::Command) {
        (heading, T::augment_subcommands(clap::Command::new("larder")))
    }
    [
        commands::<StartCommand>("Start"),
        commands::<MemberCommand>("Members"),
        commands::<ResourceCommand>("Resources"),
        commands::<HistoryCommand>("History"),
        commands::<SyncCommand>("Sync"),
        commands::<OperationsCommand>("Operations"),
    ]
}

impl CliCommand {
    /// Runs the command.
    pub(super) fn run(self, context: &CommandContext) -> CommandResult {
        match self {
            Self::Start(command) => command.run(context),
            Self::Members(command) => command.run(context),
            Self::Resources(command) => command.run(context),
            Self::History(command) => command.run(context),
            Self::Sync(command) => command.run(context),
            Self::Operations(command) => command.run(context),
        }
    }
}

impl StartCommand {
    fn run(self, context: &CommandContext) -> CommandResult {
        match self {
            Self::Up(args) => up::up(context, args),
            Self::Daemon(args) => daemon::daemon(context, args),
            Self::Demo => demo::demo(context),
            Self::Init(args) => init::init(context, args),
            Self::Groups => groups::groups(context),
            Self::Invite(args) => invite::invite(context, args),
            Self::Join(args) => join::join(context, args),
        }
    }
}

impl MemberCommand {
    fn run(self, context: &CommandContext) -> CommandResult {
        match self {
            Self::Nodes(args) => nodes::nodes(context, &args),
            Self::Ping(args) => ping::ping(context, &args),
            Self::Alias(args) => alias::alias(context, args),
            Self::Label(args) => label::label(context, args),
            Self::Pending => pending::pending(context),
            Self::Approve(args) => approve::approve(context, args),
            Self::Deny(args) => deny::deny(context, args),
            Self::Role(args) => role::role(context, args),
            Self::Replace(args) => replace::replace(context, args),
            Self::Remove(args) => remove::remove(context, args),
            Self::Forget(args) => forget::forget(context, args),
            Self::Quarantine(args) => quarantine::quarantine(context, args),
            Self::Leave(args) => leave::leave(context, args),
            Self::DeleteGroup(args) => delete_group::delete_group(context, args),
            Self::Recover(args) => recover::recover(context, args),
            Self::Rotate(args) => rotate::rotate(context, args),
        }
    }
}

impl ResourceCommand {
    fn run(self, context: &CommandContext) -> CommandResult {
        match self {
            Self::Status(args) => status::status(context, &args),
            Self::List(args) => list::list(context, &args),
            Self::Get(args) => get::get(context, &args),
            Self::Set(args) => set::set(context, args),
            Self::Unset(args) => unset::unset(context, args),
            Self::Edit(args) => edit::edit(context, args),
            Self::Rm(args) => rm::rm(context, args),
            Self::Validate(args) => validate::validate(context, &args),
            Self::Plan(args) => plan::plan(context, args),
            Self::Apply(args) => apply::apply(context, args),
            Self::Export(args) => export::export(context, &args),
            Self::Conflicts(args) => conflicts::conflicts(context, &args),
            Self::Resolve(args) => resolve::resolve(context, args),
        }
    }
}

impl HistoryCommand {
    fn run(self, context: &CommandContext) -> CommandResult {
        match self {
            Self::Log(args) => log::log(context, &args),
            Self::Show(args) => show::show(context, &args),
            Self::Diff(args) => diff::diff(context, &args),
            Self::Blame(args) => blame::blame(context, &args),
            Self::Undo(args) => undo::undo(context, args),
            Self::Revert(args) => revert::revert(context, args),
            Self::Restore(args) => restore::restore(context, args),
            Self::Tag(args) => tag::tag(context, args),
            Self::Watch(args) => watch::watch(context, &args),
        }
    }
}

impl SyncCommand {
    fn run(self, context: &CommandContext) -> CommandResult {
        match self {
            Self::Sync(args) => sync::sync(context, &args),
            Self::Heads(args) => heads::heads(context, &args),
            Self::Doc(args) => doc::doc(context, &args),
        }
    }
}

impl OperationsCommand {
    fn run(self, context: &CommandContext) -> CommandResult {
        match self {
            Self::Doctor => doctor::doctor(context),
            Self::Paths => paths::paths(context),
            Self::Kept(args) => kept::kept(context, args),
            Self::Backup(args) => backup::backup(context, &args),
            Self::RestoreBackup(args) => restore_backup::restore_backup(context, &args),
            Self::Completions(args) => completions::completions(&args, &mut (context.build_parser)()),
            Self::Man(args) => man::man(&args, (context.build_parser)()),
        }
    }
}
