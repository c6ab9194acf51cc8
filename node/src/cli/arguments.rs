//! The arguments of `larder`: a command, and the options that every command takes.

use std::path::PathBuf;

use clap::{Args, ColorChoice, Parser};

use super::commands::CliCommand;

/// The heading of the options that every command takes.
pub(super) const GLOBAL_OPTIONS: &str = "Global options";

/// Keep files and configuration in order on a group of hosts, with or without a network
#[derive(Debug, Parser)]
#[command(name = "larder", bin_name = "larder", version, arg_required_else_help = true)]
#[command(after_help = "\
`larder help COMMAND` describes a command.

Exit codes:
   0  done
   1  failed
   2  wrong usage: an option, value or manifest is not valid
   3  the daemon cannot be reached, or this node is in no group
   4  not found, or an ambiguous name
   5  refused: the role, a conflict, or an option such as --base does not allow it
   6  accepted, but not complete yet
  10  differences exist (with --exit-code)")]
pub struct Cli {
    #[command(flatten)]
    pub(super) global: GlobalArgs,
    #[command(subcommand)]
    pub(super) command: CliCommand,
}

/// Options that every command takes, before or after its name.
#[derive(Debug, Args)]
#[command(next_help_heading = GLOBAL_OPTIONS)]
pub(super) struct GlobalArgs {
    /// Data directory of the node
    #[arg(long, global = true, env = "LARDER_DATA", hide_env_values = true, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Socket of the daemon [default: larder.sock in the data directory]
    #[arg(long, global = true, env = "LARDER_SOCKET", hide_env_values = true, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// Name or id of the group [default: the node's only group]
    #[arg(short, long, global = true, env = "LARDER_GROUP", hide_env_values = true, value_name = "GROUP")]
    pub(super) group: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Colour the output
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: ColorChoice,
}
