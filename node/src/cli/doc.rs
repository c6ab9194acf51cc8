//! `doc`: the group's document as a file that any Automerge tool opens, and a look into such a file.

mod foreign_reader;

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::diff_text::render_edits;
use super::{CommandContext, CommandResult, print_stderr, print_stdout};
use crate::api::doc::DocPlanBody;
use crate::dto::{DocAuthorList, DocExport, WritePlan};
use crate::error::{CliError, ExitKind};
use crate::output::{Style, Table, plain_cell, pluralize, styled_cell, who};

/// Flags of `doc`.
#[derive(Debug, Args)]
pub(super) struct DocArgs {
    #[command(subcommand)]
    command: DocSubcommand,
}

#[derive(Debug, Subcommand)]
enum DocSubcommand {
    /// Write the whole document, with its history, as one Automerge file
    Export(DocExportArgs),
    /// Look at what the values of an Automerge file would change here
    Import(DocImportArgs),
    /// Say which node each actor of the document is
    Authors,
    /// What `import` runs apart from itself
    #[command(hide = true)]
    Keys,
}

#[derive(Debug, Args)]
struct DocExportArgs {
    /// Where to; `-` is standard output
    file: String,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct DocImportArgs {
    /// The file; `-` is standard input
    file: String,
    /// Show what would change; nothing is written
    #[arg(long)]
    plan: bool,
    /// Exit with 10 if anything would change
    #[arg(long)]
    exit_code: bool,
}

pub(super) fn doc(context: &CommandContext, args: &DocArgs) -> CommandResult {
    context.require_present("doc")?;
    match &args.command {
        DocSubcommand::Export(args) if args.file == "-" => export_to_stdout(context),
        DocSubcommand::Export(args) => export_to_file(context, args),
        DocSubcommand::Import(args) => plan_import(context, args),
        DocSubcommand::Authors => list_authors(context),
        DocSubcommand::Keys => {
            context.print(&foreign_reader::read_stdin_limited()?, |_| String::new()).map(|()| None)
        }
    }
}

fn export_to_stdout(context: &CommandContext) -> CommandResult {
    if io::stdout().is_terminal() {
        return Err(
            CliError::usage("a document is no text for a terminal").with_hint("name a file, or pipe it on")
        );
    }
    if context.json {
        return Err(CliError::usage("the document takes standard output; leave out --json"));
    }
    let mut out = io::stdout().lock();
    context.client.download("/v1/doc", &[context.group_param()], &mut out)?;
    Ok(None)
}

fn export_to_file(context: &CommandContext, args: &DocExportArgs) -> CommandResult {
    let path = Path::new(&args.file);
    let already_exists = || {
        CliError::new(ExitKind::Refused, "exists", format!("{} is there already", path.display()))
            .with_hint("--force replaces it; or name another file")
    };
    if !args.force && path.symlink_metadata().is_ok() {
        return Err(already_exists());
    }
    let staging_path = staging_path_for(path);
    let written = write_staged(context, &staging_path).and_then(|bytes| {
        let move_result =
            if args.force { fs::rename(&staging_path, path) } else { fs::hard_link(&staging_path, path) };
        match move_result {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(already_exists()),
            Err(error) => Err(CliError::failed(format!("cannot write {}: {error}", path.display()))),
        }
    });
    // After a rename it is not there, which is as well.
    drop(fs::remove_file(&staging_path));
    let export = DocExport { file: args.file.clone(), bytes: written? };
    if context.json {
        return context.print(&export, |_| String::new()).map(|()| None);
    }
    print_stderr(&format!(
        "Wrote {} ({} bytes). It holds every value and every change: keep it as you keep those.",
        args.file, export.bytes
    ));
    Ok(None)
}

/// A name beside the file, under which it is written until it is whole.
fn staging_path_for(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.new", std::process::id()))
}

fn write_staged(context: &CommandContext, staging_path: &Path) -> Result<u64, CliError> {
    let write_error =
        |error: io::Error| CliError::failed(format!("cannot write {}: {error}", staging_path.display()));
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(staging_path)
        .map_err(write_error)?;
    let mut out = BufWriter::new(file);
    let bytes = context.client.download("/v1/doc", &[context.group_param()], &mut out)?;
    out.flush().map_err(write_error)?;
    out.get_ref().sync_all().map_err(write_error)?;
    Ok(bytes)
}

fn plan_import(context: &CommandContext, args: &DocImportArgs) -> CommandResult {
    if !args.plan {
        return Err(CliError::usage("this version writes nothing of a foreign document")
            .with_hint("--plan shows what it would change; write that with `larder set` or `larder apply`"));
    }
    let foreign_keys = foreign_reader::read_in_child(&args.file)?;
    let request = DocPlanBody { group: context.group.clone(), values: foreign_keys.keys };
    let plan: WritePlan = context.client.post_doc_plan("/v1/doc/plan", &request)?;
    context.print(&plan, |plan| render_edits(context.styler, &plan.edits, true))?;
    if !context.json {
        if foreign_keys.skipped_keys > 0 {
            print_stderr(&format!(
                "{} left out, for no field is called so or can hold that.",
                pluralize(foreign_keys.skipped_keys, "key")
            ));
        }
        if plan.edits.is_empty() {
            print_stderr("Nothing would change.");
        }
    }
    Ok((args.exit_code && !plan.edits.is_empty()).then_some(ExitKind::Differs))
}

fn list_authors(context: &CommandContext) -> CommandResult {
    let authors: DocAuthorList = context.client.get("/v1/doc/authors", &[context.group_param()])?;
    if !context.json {
        return print_stdout(&render_authors(context, &authors)).map(|()| None);
    }
    context.print(&authors, |_| String::new()).map(|()| None)
}

fn render_authors(context: &CommandContext, authors: &DocAuthorList) -> String {
    let mut table = Table::new(&["ACTOR", "NODE", "CHANGES", "SHARD"]);
    for author in &authors.authors {
        let node = author.node.as_ref().map_or_else(|| "(the beginning)".to_owned(), |node| who(Some(node)));
        table.push_row(vec![
            styled_cell(&author.actor, Style::Id),
            plain_cell(node),
            plain_cell(author.changes.to_string()),
            plain_cell(&author.shard),
        ]);
    }
    table.render(context.styler)
}
