//! `diff`: two points of the history compared.

pub(super) mod nodes;

use clap::Args;

use super::context::{CommandContext, CommandResult, print_stderr};
use super::diff_text::render_edits;
use super::history_point::AtArgs;
use crate::dto;
use crate::error::CliError;
use crate::time;

/// Arguments of `diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  larder diff --since \"1h ago\"
  larder diff before-friday..now config/ntp")]
pub(super) struct DiffArgs {
    /// Range A..B of changes, times or tags [default: the whole history], and a resource KIND/NAME
    #[arg(num_args = 0..=2, value_name = "A..B|RESOURCE")]
    operands: Vec<String>,
    /// Compare this time with now
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Compare what each node has applied with what it should have
    #[arg(long, conflicts_with_all = ["since", "at"])]
    nodes: bool,
    #[command(flatten)]
    at_args: AtArgs,
}

pub(super) fn diff(context: &CommandContext, args: &DiffArgs) -> CommandResult {
    if args.nodes {
        return match args.operands.as_slice() {
            [] => nodes::diff_nodes(context, None),
            [resource] if !resource.contains("..") => nodes::diff_nodes(context, Some(resource)),
            _ => Err(CliError::usage("`diff --nodes` takes at most one resource KIND/NAME, and no range")),
        };
    }
    if args.at_args.point().is_some() && args.operands.iter().any(|operand| operand.contains("..")) {
        return Err(CliError::usage("`diff A..B` already names two points; omit --at"));
    }
    let range = args.operands.iter().find(|operand| operand.contains(".."));
    let resource = args.operands.iter().find(|operand| !operand.contains(".."));
    if args.operands.len() == 2 && (range.is_none() || resource.is_none()) {
        return Err(CliError::usage("`diff` takes at most one range A..B and one resource KIND/NAME"));
    }
    if range.is_some() && args.since.is_some() {
        return Err(CliError::usage("`diff` takes a range A..B or --since, not both"));
    }
    let (from, to) = range.and_then(|range| range.split_once("..")).unwrap_or_default();
    let non_empty = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
    let from = args
        .since
        .clone()
        .map_or_else(|| Ok(non_empty(from)), |since| time::parse_time(&since).map(|_| Some(since)))?;
    let to = non_empty(to).or_else(|| args.at_args.point().map(str::to_owned));
    // The daemon distinguishes times such as `1h ago` from change ids, so they are sent as typed.
    let query =
        [("from", from.as_deref()), ("to", to.as_deref()), ("resource", resource.map(String::as_str))];
    let diff: dto::DiffReport = context.client.get(&context.group_path(&["diff"]), &query)?;
    args.at_args.report(context, diff.at.as_deref());
    context.print_paged(&diff, |diff| render_edits(context.styler, &diff.edits, true))?;
    if !context.json && diff.edits.is_empty() {
        print_stderr("No differences.");
    }
    Ok(None)
}
