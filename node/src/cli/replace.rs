//! `replace`: this node takes over alias, labels and per-node values of another.

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stderr};
use super::write_request::MessageArgs;
use crate::api::replace;
use crate::dto;
use crate::output::{Style, escape, short_id};

/// Arguments of `replace`.
#[derive(Debug, Args)]
pub(super) struct ReplaceArgs {
    /// Alias or id of the node to replace
    old: String,
    #[command(flatten)]
    message_args: MessageArgs,
}

pub(super) fn replace(context: &CommandContext, args: ReplaceArgs) -> CommandResult {
    let command = format!("replace {}", args.old);
    let request = replace::ReplaceBody { message: args.message_args.into_text(), command };
    let path = context.group_path(&["members", &args.old, "replacement"]);
    let replaced: dto::ReplaceResult = context.client.post(&path, &request)?;
    context.print(&replaced, |replaced| match &replaced.change {
        Some(change) => format!("{}\n", context.styler.paint(Style::Id, &short_id(change))),
        None => String::new(),
    })?;
    if !context.json {
        print_replaced(&replaced);
    }
    Ok(None)
}

fn print_replaced(replaced: &dto::ReplaceResult) {
    let old = short_id(&replaced.old);
    match &replaced.change {
        Some(_) => print_stderr(&format!("This node has replaced {old}.")),
        None => print_stderr(&format!("This node has already replaced {old}; nothing was written.")),
    }
    if let Some(alias) = &replaced.alias {
        print_stderr(&format!("  alias: {}", escape(alias)));
    }
    let labels = replaced.labels.iter().map(|(key, value)| escape(&format!("{key}={value}")));
    let resources = replaced.resources.iter().map(|resource| escape(resource));
    for (title, items) in
        [("labels", labels.collect::<Vec<_>>()), ("values moved to this node", resources.collect())]
    {
        if !items.is_empty() {
            print_stderr(&format!("  {title}: {}", items.join(" ")));
        }
    }
    if replaced.is_member {
        print_stderr(&format!(
            "{old} is still a member. To end that, run `larder remove {old}` on an admin node."
        ));
    }
}
