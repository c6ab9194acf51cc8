//! `doc export`: the document as an Automerge file.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::context::{CommandContext, CommandResult, print_stderr};
use crate::dto::DocExport;
use crate::error::{CliError, ExitKind};

#[derive(Debug, Args)]
pub(super) struct DocExportArgs {
    /// Output file; `-` writes to standard output
    file: String,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

pub(super) fn export(context: &CommandContext, args: &DocExportArgs) -> CommandResult {
    if args.file == "-" { export_to_stdout(context) } else { export_to_file(context, args) }
}

fn export_to_stdout(context: &CommandContext) -> CommandResult {
    if io::stdout().is_terminal() {
        return Err(CliError::usage("the document is binary and cannot be shown on a terminal")
            .with_hint("name a file, or use a pipe"));
    }
    if context.json {
        return Err(CliError::usage("the document goes to standard output; omit --json"));
    }
    let mut out = io::stdout().lock();
    context.client.download(&context.group_path(&["document"]), &[], &mut out)?;
    Ok(None)
}

fn export_to_file(context: &CommandContext, args: &DocExportArgs) -> CommandResult {
    let path = Path::new(&args.file);
    let already_exists = || {
        CliError::new(ExitKind::Refused, "exists", format!("{} already exists", path.display()))
            .with_hint("replace it with --force, or name another file")
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
    // After a rename the staging file no longer exists.
    drop(fs::remove_file(&staging_path));
    let export = DocExport { file: args.file.clone(), bytes: written? };
    if context.json {
        return context.print(&export, |_| String::new()).map(|()| None);
    }
    print_stderr(&format!(
        "Wrote {} ({} bytes). It contains every value and change of the group: keep it as safe as those.",
        args.file, export.bytes
    ));
    Ok(None)
}

/// The name in the same directory under which the file is written until it is complete.
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
    let bytes = context.client.download(&context.group_path(&["document"]), &[], &mut out)?;
    out.flush().map_err(write_error)?;
    out.get_ref().sync_all().map_err(write_error)?;
    Ok(bytes)
}
