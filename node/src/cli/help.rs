//! The layout of help pages: commands below headings, and the global options on the first page only.

use std::fmt::Write as _;

use clap::{Args as _, Command, CommandFactory as _};

use super::arguments::{Cli, GLOBAL_OPTIONS, GlobalArgs};
use super::commands::headings;

/// The command line with its help pages.
pub(super) fn command() -> Command {
    let command = Cli::command().mut_args(|arg| arg.hide(true)).mut_subcommands(with_page);
    command.help_template(first_page())
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
    let _ = write!(page, "\n{GLOBAL_OPTIONS}:\n{}{{after-help}}", global.to_string().trim_end());
    page
}

/// The page of a command has one layout: `-h` prints the same as `--help`.
fn with_page(command: Command) -> Command {
    let description = command.get_long_about().or(command.get_about()).cloned().unwrap_or_default();
    let command = command.mut_subcommands(with_page).disable_help_subcommand(true);
    command.about(description).long_about(None).help_template(
        "{about-with-newline}\n{usage-heading} {usage}\n\n{all-args}\n\n\
         See `larder help` for global options.{after-help}",
    )
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
