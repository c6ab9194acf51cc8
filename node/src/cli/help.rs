//! The layout of help pages: commands below headings, and the global options on the first page only.

use std::fmt::Write as _;

use clap::{Args as _, Command, CommandFactory as _};

use super::arguments::{Cli, GLOBAL_OPTIONS, GlobalArgs};
use super::commands::headings;

/// The command line with its help pages.
pub(super) fn command() -> Command {
    let commands = Cli::command().mut_subcommands(with_command_template);
    commands.help_template(first_page())
}

fn first_page() -> String {
    let mut page = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (heading, commands) in headings() {
        let _ = writeln!(page, "\n{heading}:");
        for command in commands.get_subcommands() {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(page, "  {:14}  {about}", command.get_name());
        }
    }
    let global = GlobalArgs::augment_args(Command::new("larder").disable_help_flag(true));
    let global = global.mut_args(|arg| arg.help_heading(None)).help_template("{options}").render_help();
    let _ = write!(page, "\n{GLOBAL_OPTIONS}:\n{global}\n{{after-help}}");
    page
}

/// `{options}` leaves out options below a heading, which are the global ones.
fn with_command_template(command: Command) -> Command {
    let mut page = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    if command.has_subcommands() {
        page.push_str("\nCommands:\n{subcommands}\n");
    }
    if command.get_positionals().next().is_some() {
        page.push_str("\nArguments:\n{positionals}\n");
    }
    page.push_str("\nOptions:\n{options}\n\nSee `larder help` for global options.{after-help}");
    command.mut_subcommands(with_command_template).help_template(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_summary_fits_on_one_line() {
        for (_, commands) in headings() {
            for command in commands.get_subcommands() {
                let about = command.get_about().map(ToString::to_string).unwrap_or_default();
                assert!((1..=62).contains(&about.len()), "{}: {about}", command.get_name());
            }
        }
    }

    #[test]
    fn global_options_are_on_the_first_page_only() {
        let mut command = command();
        command.build();
        assert!(command.render_help().to_string().contains("--socket"));
        let page = command.find_subcommand_mut("resolve").unwrap().render_help().to_string();
        assert!(!page.contains("--socket") && page.contains("--take"), "{page}");
    }
}
