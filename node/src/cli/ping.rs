//! `ping`: the round-trip time to a node.

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stdout};
use crate::dto;
use crate::error::CliError;
use crate::output::node_name;

/// Arguments of `ping`.
#[derive(Debug, Args)]
pub(super) struct PingArgs {
    /// Alias or id of the node
    node: String,
    /// Number of measurements
    #[arg(short, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

pub(super) fn ping(context: &CommandContext, args: &PingArgs) -> CommandResult {
    let path = context.group_path(&["members", &args.node, "ping"]);
    for nth in 1..=args.count {
        let answer: dto::PingResult = context.client.post(&path, &())?;
        if context.json {
            let line = serde_json::to_string(&dto::WithSchema::new(&answer));
            print_stdout(&(line.map_err(|error| CliError::failed(error.to_string()))? + "\n"))?;
        } else {
            let peer = node_name(&answer.id, answer.alias.as_deref());
            print_stdout(&format!("{nth}  {peer}  {:.2} ms\n", answer.ms))?;
        }
    }
    Ok(None)
}
