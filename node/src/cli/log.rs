//! `log`: the history of the group.

mod verify;

use std::fmt::Write as _;

use clap::Args;

use super::change_text::summarize_touches;
use super::context::{CommandContext, CommandResult, print_stderr};
use super::diff_text::render_edits;
use super::history_point::AtArgs;
use crate::dto::{self, ChangeEntry, ChangeSource};
use crate::error::CliError;
use crate::limits;
use crate::output::history_graph::{GraphCharset, GraphEntry, draw_graph};
use crate::output::{Style, Styler, author_name, escape, short_id};
use crate::time;

/// Arguments of `log`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  larder log config/ntp -p
  larder log --since \"2h ago\" --graph")]
pub(super) struct LogArgs {
    /// List only changes of this resource, as KIND/NAME
    resource: Option<String>,
    /// Draw the graph of changes
    #[arg(long)]
    graph: bool,
    /// Draw the graph in ASCII
    #[arg(long, requires = "graph")]
    ascii: bool,
    /// Show old and new values
    #[arg(short, long)]
    patch: bool,
    /// List only changes of this node
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// List only changes of this user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// List only changes since this time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// List only changes until this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Number of changes to list; 0 lists all
    #[arg(short = 'n', value_name = "N", default_value_t = limits::DEFAULT_LOG_ENTRIES)]
    number: usize,
    /// Also list observed state and membership
    #[arg(long)]
    all: bool,
    /// Check the hashes and signatures of all stored changes; exit with 1 if one is wrong
    #[arg(long, conflicts_with_all = ["resource", "graph", "patch", "node", "user", "since", "until"])]
    #[arg(conflicts_with_all = ["number", "all", "at"])]
    verify: bool,
    #[command(flatten)]
    at_args: AtArgs,
}

pub(super) fn log(context: &CommandContext, args: &LogArgs) -> CommandResult {
    if args.verify {
        return verify::verify(context);
    }
    // A plain list needs no later page, so each page is printed as it arrives.
    let is_streamable = !args.graph && !args.all && args.user.is_none() && !context.json;
    if args.number == 0 && is_streamable {
        return print_whole_log(context, args);
    }
    let limit = (args.number > 0).then_some(args.number);
    let log = fetch_log(context, args, args.at_args.point(), 0, limit)?;
    args.at_args.report(context, log.at.as_deref());
    let styler = context.styler;
    let charset = if args.ascii { GraphCharset::Ascii } else { GraphCharset::from_env() };
    context.print_paged(&log, |log| {
        if args.graph { render_graph(styler, charset, log) } else { render_log(styler, log) }
    })?;
    if !context.json && log.more {
        print_stderr(&format!(
            "There are older changes. List more with `-n {}`, or all with `-n 0`.",
            args.number.saturating_mul(4)
        ));
    }
    if !context.json && log.changes.is_empty() {
        print_stderr("No changes.");
    }
    Ok(None)
}

fn fetch_log(
    context: &CommandContext,
    args: &LogArgs,
    history_point: Option<&str>,
    skip: usize,
    limit: Option<usize>,
) -> Result<dto::ChangeLog, CliError> {
    let (skip, limit) = (skip.to_string(), limit.map(|limit| limit.to_string()));
    let query = [
        ("at", history_point),
        ("resource", args.resource.as_deref()),
        ("node", args.node.as_deref()),
        ("user", args.user.as_deref()),
        ("since", args.since.as_deref()),
        ("until", args.until.as_deref()),
        ("skip", Some(&skip)),
        ("limit", limit.as_deref()),
        ("all", args.all.then_some("true")),
        ("edits", args.patch.then_some("true")),
    ];
    context.client.get(&context.group_path(&["changes"]), &query)
}

/// Prints all pages as of the heads of the first one, so that new changes do not shift the pages.
fn print_whole_log(context: &CommandContext, args: &LogArgs) -> CommandResult {
    let mut page_size = limits::LOG_PAGE_ENTRIES;
    let first = fetch_log(context, args, args.at_args.point(), 0, Some(page_size))?;
    args.at_args.report(context, first.at.as_deref());
    if first.changes.is_empty() {
        print_stderr("No changes.");
    }
    let heads = first.heads.join(",");
    let (mut printed, mut next) = (0, Some(first));
    super::pager::page_chunks(&mut || {
        let Some(log) = next.take() else { return Ok(None) };
        printed += log.changes.len();
        let text = render_log(context.styler, &log);
        if log.more {
            page_size = page_size.saturating_mul(2);
            next = Some(fetch_log(context, args, Some(&heads), printed, Some(page_size))?);
        }
        Ok(Some(text))
    })?;
    Ok(None)
}

pub(super) fn render_log(styler: Styler, log: &dto::ChangeLog) -> String {
    let mut out = String::new();
    for row in &log.changes {
        for line in entry_lines(styler, row) {
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

pub(super) fn render_graph(styler: Styler, charset: GraphCharset, log: &dto::ChangeLog) -> String {
    let entries = log.changes.iter().map(|row| GraphEntry {
        id: &row.id,
        parents: row.parents.iter().map(String::as_str).collect(),
        text: entry_lines(styler, row).join("\n"),
    });
    draw_graph(entries.collect(), charset)
}

/// The lines of an entry: its summary, its message, and its values.
fn entry_lines(styler: Styler, row: &ChangeEntry) -> Vec<String> {
    let author = author_name(&row.user, row.node.as_ref());
    let time = time::local(row.time.0);
    let source = match &row.source {
        ChangeSource::Desired => String::new(),
        source => format!(" [{}]", escape(source.as_str())),
    };
    let unverified_mark = if row.verified { "" } else { "  (NOT verified)" };
    let clock_mark = if row.clock.is_some() { " (clock?)" } else { "" };
    let mut lines = vec![format!(
        "{}  {}{}  {author}{}  {}{}",
        styler.paint(Style::Id, &short_id(&row.id)),
        styler.paint(Style::Dim, &time),
        styler.paint(Style::Warning, clock_mark),
        styler.paint(Style::Dim, &source),
        summarize_entry(row),
        styler.paint(Style::Bad, unverified_mark)
    )];
    lines.extend(row.message.lines().map(|line| format!("    {}", escape(line))));
    lines.extend(render_edits(styler, &row.edits, false).lines().map(|line| format!("    {line}")));
    lines
}

fn summarize_entry(row: &ChangeEntry) -> String {
    if row.touches.is_empty() {
        let merges = row.source == ChangeSource::Desired && row.deps.len() > 1;
        return if merges { "(merge)".to_owned() } else { String::new() };
    }
    summarize_touches(&row.touches)
}
