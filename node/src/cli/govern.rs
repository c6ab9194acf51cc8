//! `remove`, `role`, `leave`, `delete-group`, `recover`, `forget`, `rotate`: who is in a group, and by which key.

use std::path::{Path, PathBuf};

use clap::Args;

use super::write::Why;
use super::{Context, Outcome, talk};
use crate::api::User;
use crate::api::govern::{Act, Govern};
use crate::daemon;
use crate::failure::Failure;
use crate::place::read_text;
use crate::render::{clean, short};
use crate::view::Written;

/// Flags of `remove`.
#[derive(Debug, Args)]
pub(super) struct Remove {
    /// Alias or id
    node: String,
    /// The last of its changes that is to count [default: all that this node has]
    #[arg(long, value_name = "CHANGE")]
    keep_through: Option<String>,
    #[command(flatten)]
    why: Why,
}

/// Flags of `role`.
#[derive(Debug, Args)]
pub(super) struct Role {
    /// Alias or id
    node: String,
    /// admin, operator, node or reader
    role: String,
    #[command(flatten)]
    why: Why,
}

/// Flags of `leave`.
#[derive(Debug, Args)]
pub(super) struct Leave {
    /// Though no other admin is left
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    why: Why,
}

/// Flags of `delete-group`.
#[derive(Debug, Args)]
pub(super) struct DeleteGroup {
    /// The group's name, to be sure
    name: String,
    /// The recovery key, where this node is not the founder
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    why: Why,
}

/// Flags of `recover`.
#[derive(Debug, Args)]
pub(super) struct Recover {
    /// The recovery key, as `init` wrote it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    why: Why,
}

/// Flags of `rotate`.
#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    why: Why,
}

/// Flags of `forget`.
#[derive(Debug, Args)]
pub(super) struct Forget {
    /// Alias or id of a node that left or was removed
    node: String,
    #[command(flatten)]
    why: Why,
}

/// Sends one act; says what it came to.
pub(super) fn govern(context: &Context, act: Act, why: Why, done: &str) -> Outcome {
    let govern = Govern { group: context.group.clone(), act, message: why.message };
    let written: Written = context.client.post("/v1/govern", &govern)?;
    context.print(&written, |_| String::new())?;
    if !context.json {
        talk(done);
    }
    Ok(None)
}

pub(super) fn remove(context: &Context, args: Remove) -> Outcome {
    context.only_now("remove")?;
    let done = format!(
        "{} is no member any more. Nodes that cannot be reached now hear of it as soon as they are.",
        clean(&args.node)
    );
    govern(context, Act::Remove { node: args.node, keep_through: args.keep_through }, args.why, &done)
}

pub(super) fn role(context: &Context, args: Role) -> Outcome {
    context.only_now("role")?;
    let done = format!("{} is {} now.", clean(&args.node), clean(&args.role));
    govern(context, Act::Role { node: args.node, role: args.role }, args.why, &done)
}

pub(super) fn leave(context: &Context, args: Leave) -> Outcome {
    context.only_now("leave")?;
    let done = "This node left. What it applied stays as it is, and the group's data stays readable here.";
    govern(context, Act::Leave { force: args.force }, args.why, done)
}

pub(super) fn delete_group(context: &Context, args: DeleteGroup) -> Outcome {
    context.only_now("delete-group")?;
    if context.group.as_ref().is_some_and(|group| *group != args.name) {
        return Err(Failure::usage("--group names another group than the one that is to be deleted"));
    }
    let key = args.key.as_deref().map(read_key).transpose()?;
    let done = "The group is dissolved. Nodes that cannot be reached now hear of it as soon as they are.";
    let govern = Govern { group: Some(args.name), act: Act::Dissolve { key }, message: args.why.message };
    let written: Written = context.client.post("/v1/govern", &govern)?;
    context.print(&written, |_| String::new())?;
    if !context.json {
        talk(done);
    }
    Ok(None)
}

pub(super) fn recover(context: &Context, args: Recover) -> Outcome {
    context.only_now("recover")?;
    let key = read_key(&args.key)?;
    govern(context, Act::Recover { key }, args.why, "This node is admin now.")
}

pub(super) fn forget(context: &Context, args: Forget) -> Outcome {
    context.only_now("forget")?;
    let done = format!("{} is forgotten, with what it reported.", clean(&args.node));
    govern(context, Act::Forget { node: args.node }, args.why, &done)
}

pub(super) fn rotate(context: &Context, args: Rotate) -> Outcome {
    context.only_now("rotate")?;
    if context.group.is_some() {
        return Err(Failure::usage("a node has one key in all its groups: --group has no meaning here"));
    }
    let rotated = daemon::rotate(&context.place, &User::here().0, &args.why.message)?;
    if context.json {
        return context.print(&rotated, |_| String::new()).map(|()| None);
    }
    talk(&format!("This node is {} now; it was {}.", short(&rotated.new), short(&rotated.old)));
    for group in &rotated.groups {
        talk(&format!("  group {}: the new key is admin, and the old one no member any more", clean(group)));
    }
    talk(
        "Start the daemon: members take the new key as soon as they meet it. Codes that this node gave out are void, \
         and backups of it hold the old key: make new ones.",
    );
    Ok(None)
}

fn read_key(path: &Path) -> Result<String, Failure> {
    read_text(path).map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
}
