//! `doc`: the group's document as a file that any Automerge tool opens, and a look into such a file.

mod foreign;

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::edits::draw_edits;
use super::{Context, Outcome, say, talk};
use crate::api::doc::DocPlan;
use crate::failure::{Exit, Failure};
use crate::render::{Style, Table, cell, count, plain, who};
use crate::view::{DocAuthors, DocExport, Plan};

/// Flags of `doc`.
#[derive(Debug, Args)]
pub(super) struct Doc {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Write the whole document, with its history, as one Automerge file
    Export(Export),
    /// Look at what the values of an Automerge file would change here
    Import(Import),
    /// Say which node each actor of the document is
    Authors,
    /// What `import` runs apart from itself
    #[command(hide = true)]
    Keys,
}

#[derive(Debug, Args)]
struct Export {
    /// Where to; `-` is standard output
    file: String,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct Import {
    /// The file; `-` is standard input
    file: String,
    /// Show what would change; nothing is written
    #[arg(long)]
    plan: bool,
    /// Exit with 10 if anything would change
    #[arg(long)]
    exit_code: bool,
}

pub(super) fn doc(context: &Context, args: &Doc) -> Outcome {
    context.only_now("doc")?;
    match &args.act {
        Act::Export(args) if args.file == "-" => export_to_stdout(context),
        Act::Export(args) => export(context, args),
        Act::Import(args) => import(context, args),
        Act::Authors => authors(context),
        Act::Keys => context.print(&foreign::read_here()?, |_| String::new()).map(|()| None),
    }
}

fn export_to_stdout(context: &Context) -> Outcome {
    if io::stdout().is_terminal() {
        return Err(Failure::usage("a document is no text for a terminal").hint("name a file, or pipe it on"));
    }
    if context.json {
        return Err(Failure::usage("the document takes standard output; leave out --json"));
    }
    let mut out = io::stdout().lock();
    context.client.download("/v1/doc", &[context.group()], &mut out)?;
    Ok(None)
}

fn export(context: &Context, args: &Export) -> Outcome {
    let path = Path::new(&args.file);
    let taken = || {
        Failure::new(Exit::Refused, "exists", format!("{} is there already", path.display()))
            .hint("--force replaces it; or name another file")
    };
    if !args.force && path.symlink_metadata().is_ok() {
        return Err(taken());
    }
    let staged = beside(path);
    let written = write(context, &staged).and_then(|bytes| {
        let placed = if args.force { fs::rename(&staged, path) } else { fs::hard_link(&staged, path) };
        match placed {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(taken()),
            Err(error) => Err(Failure::failed(format!("cannot write {}: {error}", path.display()))),
        }
    });
    // After a rename it is not there, which is as well.
    drop(fs::remove_file(&staged));
    let export = DocExport { file: args.file.clone(), bytes: written? };
    if context.json {
        return context.print(&export, |_| String::new()).map(|()| None);
    }
    talk(&format!(
        "Wrote {} ({} bytes). It holds every value and every change: keep it as you keep those.",
        args.file, export.bytes
    ));
    Ok(None)
}

/// A name beside the file, under which it is written until it is whole.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.new", std::process::id()))
}

fn write(context: &Context, staged: &Path) -> Result<u64, Failure> {
    let cannot = |error: io::Error| Failure::failed(format!("cannot write {}: {error}", staged.display()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(staged).map_err(cannot)?;
    let mut out = BufWriter::new(file);
    let bytes = context.client.download("/v1/doc", &[context.group()], &mut out)?;
    out.flush().map_err(cannot)?;
    out.get_ref().sync_all().map_err(cannot)?;
    Ok(bytes)
}

fn import(context: &Context, args: &Import) -> Outcome {
    if !args.plan {
        return Err(Failure::usage("this version writes nothing of a foreign document")
            .hint("--plan shows what it would change; write that with `larder set` or `larder apply`"));
    }
    let found = foreign::read_apart(&args.file)?;
    let wanted = DocPlan { group: context.group.clone(), keys: found.keys };
    let plan: Plan = context.client.post_long("/v1/doc/plan", &wanted)?;
    context.print(&plan, |plan| draw_edits(context.pen, &plan.edits, true))?;
    if !context.json {
        if found.left_out > 0 {
            talk(&format!(
                "{} left out, for no field is called so or can hold that.",
                count(found.left_out, "key")
            ));
        }
        if plan.edits.is_empty() {
            talk("Nothing would change.");
        }
    }
    Ok((args.exit_code && !plan.edits.is_empty()).then_some(Exit::Differs))
}

fn authors(context: &Context) -> Outcome {
    let authors: DocAuthors = context.client.get("/v1/doc/authors", &[context.group()])?;
    if !context.json {
        return say(&draw(context, &authors)).map(|()| None);
    }
    context.print(&authors, |_| String::new()).map(|()| None)
}

fn draw(context: &Context, authors: &DocAuthors) -> String {
    let mut table = Table::new(&["ACTOR", "NODE", "CHANGES", "SHARD"]);
    for author in &authors.authors {
        let node = author.node.as_ref().map_or_else(|| "(the beginning)".to_owned(), |node| who(Some(node)));
        table.row(vec![
            cell(&author.actor, Style::Id),
            plain(node),
            plain(author.changes.to_string()),
            plain(&author.shard),
        ]);
    }
    table.draw(context.pen)
}
