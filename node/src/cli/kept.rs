//! `kept`: contents that Larder replaced or removed on this host but had not written.

use std::io::Write as _;

use clap::{Args, Subcommand};
use data_encoding::BASE64;

use super::context::{CommandContext, CommandResult, print_stderr};
use crate::api::kept::RestoreKeptBody;
use crate::dto::{KeptContents, KeptList, RestoredKept};
use crate::error::CliError;
use crate::output::{Style, Table, escape, plain_cell, pluralize, styled_cell};
use crate::time;

/// Arguments of `kept`.
#[derive(Debug, Args)]
pub(super) struct KeptArgs {
    #[command(subcommand)]
    command: Option<KeptSubcommand>,
}

#[derive(Debug, Subcommand)]
enum KeptSubcommand {
    /// Print kept contents
    Show {
        /// Id of the contents, or its first digits
        id: String,
    },
    /// Write kept contents back to their file or to PATH, and keep what stands there
    Restore {
        /// Id of the contents, or its first digits
        id: String,
        /// Path below a root; a relative path is below the first root
        path: Option<String>,
    },
}

pub(super) fn kept(context: &CommandContext, args: KeptArgs) -> CommandResult {
    match args.command {
        None => list_kept(context),
        Some(KeptSubcommand::Show { id }) => show_kept(context, &id),
        Some(KeptSubcommand::Restore { id, path }) => {
            let path_of_api = format!("{}/restoration", kept_path(&id)?);
            let restored: RestoredKept = context.client.post(&path_of_api, &RestoreKeptBody { path })?;
            context.print(&restored, |restored| format!("{}\n", escape(&restored.path)))?;
            if let Some(replaced) = restored.replaced.as_ref().filter(|_| !context.json) {
                print_stderr(&format!("What stood there is kept as {replaced}."));
            }
            Ok(None)
        }
    }
}

fn kept_path(id: &str) -> Result<String, CliError> {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(CliError::usage(format!("`{id}` is not an id of kept contents"))
            .with_hint("`larder kept` lists the ids"));
    }
    Ok(format!("/v1/kept/{}", id.to_ascii_lowercase()))
}

fn list_kept(context: &CommandContext) -> CommandResult {
    let list: KeptList = context.client.get("/v1/kept", &[])?;
    context.print(&list, |list| render_list(context, list))?;
    if !context.json {
        let limits = format!(
            "Larder keeps at most {} MiB, for {} days. It drops the oldest first.",
            list.max_bytes >> 20,
            list.max_seconds / 86_400
        );
        match list.kept.len() {
            0 => print_stderr(&format!("No contents are kept. {limits}")),
            many => print_stderr(&format!(
                "{} kept. See `larder kept show ID`; put one back with `larder kept restore ID`. {limits}",
                pluralize(many, "version")
            )),
        }
    }
    Ok(None)
}

fn render_list(context: &CommandContext, list: &KeptList) -> String {
    if list.kept.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["ID", "TIME", "BYTES", "RESOURCE", "REASON", "PATH"]);
    for version in &list.kept {
        table.push_row(vec![
            styled_cell(&version.id, Style::Id),
            plain_cell(time::local(version.time.0)),
            plain_cell(version.size.to_string()),
            plain_cell(&version.resource),
            plain_cell(&version.reason),
            plain_cell(&version.path),
        ]);
    }
    table.render(context.styler)
}

fn show_kept(context: &CommandContext, id: &str) -> CommandResult {
    let kept: KeptContents = context.client.get(&kept_path(id)?, &[])?;
    if context.json {
        context.print(&kept, |_| String::new())?;
        return Ok(None);
    }
    let contents = BASE64
        .decode(kept.base64.as_bytes())
        .map_err(|_| CliError::failed("the daemon's answer is not base64; please report this"))?;
    let mut out = std::io::stdout().lock();
    match out.write_all(&contents).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(None),
    }
}
