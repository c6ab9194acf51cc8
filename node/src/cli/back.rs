//! `undo`, `revert`, `restore`, `tag`.

use clap::Args;

use super::edits::draw_edits;
use super::write::{Why, send};
use super::{Context, Outcome, talk};
use crate::api::back::{PutBack, What};
use crate::api::writes::Say;
use crate::failure::Failure;
use crate::render::{Style, Table, cell, clean, count, plain, short, who};
use crate::time;
use crate::view::{self, Tags};

/// Flags of `undo`.
#[derive(Debug, Args)]
pub(super) struct Undo {
    #[command(flatten)]
    how: How,
}

/// Flags of `revert`.
#[derive(Debug, Args)]
pub(super) struct Revert {
    /// The changes, by any node
    #[arg(required = true, value_name = "CHANGE")]
    changes: Vec<String>,
    #[command(flatten)]
    how: How,
}

/// Flags of `restore`.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// KIND or KIND/NAME [default: everything]
    path: Option<String>,
    #[command(flatten)]
    how: How,
}

/// Flags of every command that puts something back.
#[derive(Debug, Args)]
struct How {
    /// Only show what would differ
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    why: Why,
}

/// Flags of `tag`.
#[derive(Debug, Args)]
pub(super) struct Tag {
    /// The name [default: list all tags]
    name: Option<String>,
    /// A change, time or tag [default: the present]
    #[arg(requires = "name")]
    change: Option<String>,
    /// Take the tag away
    #[arg(short, long, requires = "name", conflicts_with = "change")]
    delete: bool,
    /// Move a tag that is there
    #[arg(short, long, requires = "name")]
    force: bool,
    #[command(flatten)]
    why: Why,
}

pub(super) fn undo(context: &Context, args: Undo) -> Outcome {
    context.only_now("undo")?;
    put_back(context, What::Undo, args.how, "Undid")
}

pub(super) fn revert(context: &Context, args: Revert) -> Outcome {
    context.only_now("revert")?;
    put_back(context, What::Revert(args.changes), args.how, "Reverted")
}

pub(super) fn restore(context: &Context, args: Restore) -> Outcome {
    let Some(at) = context.at.clone() else {
        return Err(Failure::usage(
            "`restore` takes --at TIME, CHANGE or TAG: how it was then is wanted again",
        )
        .hint(
            "see `larder log` and `larder tag`; `larder restore --at 2h ago -n` only shows what would differ",
        ));
    };
    put_back(context, What::Restore { at, path: args.path }, args.how, "Restored as at")
}

fn put_back(context: &Context, what: What, how: How, did: &str) -> Outcome {
    let group = context.group.clone();
    let asked = PutBack { group, what, message: how.why.message, dry_run: how.dry_run };
    let back: view::Back = context.client.post("/v1/back", &asked)?;
    let of = back.of.iter().map(|id| short(id)).collect::<Vec<_>>().join(" ");
    context.print(&back, |back| match &back.change {
        Some(change) => format!("{}\n", context.pen.paint(Style::Id, &short(change))),
        None => draw_edits(context.pen, &back.edits, false),
    })?;
    if context.json {
        return Ok(None);
    }
    match &back.change {
        Some(change) => talk(&format!(
            "{did} {of}: {} put back. `larder show {}` tells, `larder revert {}` takes that back.",
            count(back.edits.len(), "field"),
            short(change),
            short(change)
        )),
        None if back.edits.is_empty() => talk("All is so already; nothing was written."),
        None => talk(&format!("This would be put back of {of}; nothing was written.")),
    }
    Ok(None)
}

pub(super) fn tag(context: &Context, args: Tag) -> Outcome {
    context.only_now("tag")?;
    let Some(name) = args.name else { return list(context) };
    let mut command = format!("tag {name}");
    for (flag, word) in [(args.delete, " --delete"), (args.force, " --force")] {
        command.push_str(if flag { word } else { "" });
    }
    command.extend(args.change.iter().map(|change| format!(" {change}")));
    let say = Say::Tag { name, at: args.change, delete: args.delete, force: args.force };
    send(context, vec![say], args.why, command)
}

fn list(context: &Context) -> Outcome {
    let tags: Tags = context.client.get("/v1/tags", &[context.group()])?;
    context.print(&tags, |tags| draw(context, tags))?;
    if !context.json && tags.tags.is_empty() {
        talk("No tags. Name the present with `larder tag NAME`, or a change with `larder tag NAME CHANGE`.");
    }
    Ok(None)
}

fn draw(context: &Context, tags: &Tags) -> String {
    if tags.tags.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["TAG", "CHANGES", "MADE", "BY", "WHY"]);
    for row in &tags.tags {
        let heads = row.heads.iter().map(|id| short(id)).collect::<Vec<_>>().join(" ");
        table.row(vec![
            cell(clean(&row.name), Style::Bold),
            cell(heads, Style::Id),
            plain(time::local(row.time.0)),
            plain(format!("{}@{}", clean(&row.user), who(row.node.as_ref()))),
            plain(clean(row.message.lines().next().unwrap_or_default())),
        ]);
    }
    table.draw(context.pen)
}
