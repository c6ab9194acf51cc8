//! `heads`: the digest and the heads of the group.

use std::fmt::Write as _;

use clap::Args;

use super::context::{CommandContext, CommandResult};
use super::history_point::AtArgs;
use crate::dto::GroupHeads;
use crate::output::{escape, node_name};

/// Arguments of `heads`.
#[derive(Debug, Args)]
pub(super) struct HeadsArgs {
    #[command(flatten)]
    at_args: AtArgs,
}

pub(super) fn heads(context: &CommandContext, args: &HeadsArgs) -> CommandResult {
    let heads: GroupHeads =
        context.client.get(&context.group_path(&["heads"]), &[args.at_args.query_param()])?;
    context.print(&heads, |heads| {
        let mut out = format!("digest   {}\n", escape(&heads.digest));
        for head in &heads.heads {
            let _ = writeln!(out, "desired  {}", escape(head));
        }
        for (node, heads) in &heads.observed {
            for head in heads {
                let _ = writeln!(out, "observed {}  by {}", escape(head), node_name(node, None));
            }
        }
        out
    })?;
    Ok(None)
}
