//! `log`, `show`, `diff`.

use std::fmt::Write as _;

use clap::Args;
use larder_core::history;

use super::diff_text::render_edits;
use super::{CommandContext, CommandResult, node_diff, pager, print_stderr};
use crate::dto::{self, ChangeEntry, TouchedResource};
use crate::error::CliError;
use crate::limits;
use crate::output::{Style, Styler, author_name, escape, short_id, who};
use crate::time;

/// Flags of `log`.
#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// Only changes of this resource: KIND/NAME
    resource: Option<String>,
    /// Draw how changes were built on each other
    #[arg(long)]
    graph: bool,
    /// With old and new values
    #[arg(short, long)]
    patch: bool,
    /// Only changes written by this node
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Only changes of this user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Not older than this
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Not newer than this
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// At most so many; 0 for all
    #[arg(short = 'n', value_name = "N", default_value_t = limits::DEFAULT_LOG_ENTRIES)]
    number: usize,
    /// With what nodes observed, and membership
    #[arg(long)]
    all: bool,
    /// Check all that is stored, of every shard, against its hashes and signatures; exits with 1 if anything fails
    #[arg(long, conflicts_with_all = ["resource", "graph", "patch", "node", "user", "since", "until", "number", "all"])]
    verify: bool,
}

/// Flags of `show`.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// A change, or KIND/NAME for the newest change of that
    what: String,
}

/// Flags of `diff`.
#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// A..B of changes or times [default: everything until now], and KIND/NAME
    #[arg(num_args = 0..=2, value_name = "A..B|RESOURCE")]
    operands: Vec<String>,
    /// From this time until now
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// What each node runs against what is wanted [KIND/NAME]
    #[arg(long, conflicts_with = "since")]
    nodes: bool,
}

pub(super) fn log(context: &CommandContext, args: &LogArgs) -> CommandResult {
    if args.verify {
        return super::verify::verify(context);
    }
    // What is listed and not drawn or searched for needs nothing of what comes later, and is printed as it comes.
    let is_streamable = !args.graph && !args.all && args.user.is_none() && !context.json;
    if args.number == 0 && is_streamable {
        return print_whole_log(context, args);
    }
    let limit = (args.number > 0).then_some(args.number);
    let log = fetch_log(context, args, context.history_point.as_deref(), 0, limit)?;
    context.report_history_point(log.at.as_deref());
    let styler = context.styler;
    context.print_paged(&log, |log| {
        if args.graph { render_graph(styler, log) } else { render_log(styler, log) }
    })?;
    if !context.json && log.more {
        print_stderr(&format!(
            "There are older changes: see `-n 0` for all, or `-n {}`.",
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
        context.group_param(),
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
    context.client.get("/v1/log", &query)
}

/// The whole log of what the first answer was about, whatever is written meanwhile.
fn print_whole_log(context: &CommandContext, args: &LogArgs) -> CommandResult {
    let mut page_size = limits::LOG_PAGE_ENTRIES;
    let first = fetch_log(context, args, context.history_point.as_deref(), 0, Some(page_size))?;
    context.report_history_point(first.at.as_deref());
    if first.changes.is_empty() {
        print_stderr("No changes.");
    }
    let heads = first.heads.join(",");
    let (mut printed, mut next) = (0, Some(first));
    pager::page_chunks(&mut || {
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

pub(super) fn render_graph(styler: Styler, log: &dto::ChangeLog) -> String {
    let entries: Vec<_> = log.changes.iter().map(|row| (row.id.clone(), row.parents.clone())).collect();
    let mut out = String::new();
    for (row, lanes) in log.changes.iter().zip(history::render_graph(&entries)) {
        for (nth, line) in entry_lines(styler, row).into_iter().enumerate() {
            let lane = if nth == 0 { &lanes.prefix } else { &lanes.body };
            let _ = writeln!(out, "{}", format!("{lane}{line}").trim_end());
        }
        for connector in &lanes.after {
            let _ = writeln!(out, "{connector}");
        }
    }
    out
}

/// One entry as lines: what, who, when; then why; then values, if there are any.
fn entry_lines(styler: Styler, row: &ChangeEntry) -> Vec<String> {
    let author = author_name(&row.user, row.node.as_ref());
    let time = time::local(row.time.0);
    let source = if row.source == "desired" { String::new() } else { format!(" [{}]", row.source) };
    let unverified_mark = if row.verified { "" } else { "  (not verified!)" };
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
        let merges = row.source == "desired" && row.deps.len() > 1;
        return if merges { "(merges)".to_owned() } else { String::new() };
    }
    summarize_touches(&row.touches)
}

/// What a change touches, in a few words.
pub(super) fn summarize_touches(touches: &[TouchedResource]) -> String {
    let summarize_touch = |touch: &TouchedResource| {
        let name = match touch.resource.strip_prefix("node/") {
            Some(id) => format!("node/{}", short_id(id)),
            None => escape(&touch.resource),
        };
        match (touch.op.as_str(), touch.fields.as_slice()) {
            ("remove", _) => format!("{name} removed"),
            (_, []) => name,
            (op, fields) => {
                let parts: Vec<String> = fields.iter().take(4).map(|field| escape(field)).collect();
                let more = if fields.len() > 4 { ", ..." } else { "" };
                let op = if op == "unset" { " unset" } else { "" };
                format!("{name}{op} {}{more}", parts.join(", "))
            }
        }
    };
    let parts: Vec<String> = touches.iter().take(3).map(summarize_touch).collect();
    let more = touches.len().saturating_sub(3);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    parts.join("; ") + &rest
}

pub(super) fn show(context: &CommandContext, args: &ShowArgs) -> CommandResult {
    let query = [context.group_param(), context.at_param(), ("what", Some(args.what.as_str()))];
    let shown: dto::ChangeDetail = context.client.get("/v1/show", &query)?;
    context.report_history_point(shown.at.as_deref());
    context.print_paged(&shown, |shown| render_change(context.styler, &shown.change))?;
    Ok(None)
}

pub(super) fn render_change(styler: Styler, row: &ChangeEntry) -> String {
    let mut out = String::new();
    let mut push_fact = |name: &str, text: String| {
        if !text.is_empty() {
            let _ = writeln!(out, "{} {text}", styler.paint(Style::Dim, &format!("{name:9}")));
        }
    };
    push_fact("change", styler.paint(Style::Id, &escape(&row.id)));
    push_fact("source", row.source.clone());
    push_fact(
        "node",
        row.node
            .as_ref()
            .map(|node| format!("{} ({})", who(Some(node)), escape(&node.id)))
            .unwrap_or_default(),
    );
    push_fact("user", escape(&row.user));
    let clock_remark = match row.clock.as_deref() {
        Some("behind") => "  (clock? it is earlier than what this was built on)",
        Some("ahead") => "  (clock? it is still to come)",
        _ => "",
    };
    push_fact("time", time::local(row.time.0) + &styler.paint(Style::Warning, clock_remark));
    push_fact("command", escape(&row.command));
    push_fact("built on", row.deps.iter().map(|dep| short_id(dep)).collect::<Vec<_>>().join(" "));
    push_fact("signature", if row.verified { "verified".to_owned() } else { "NOT verified".to_owned() });
    if !row.message.is_empty() {
        out.push('\n');
    }
    for line in row.message.lines() {
        let _ = writeln!(out, "    {}", escape(line));
    }
    if !row.edits.is_empty() {
        out.push('\n');
        out.push_str(&render_edits(styler, &row.edits, false));
    }
    out
}

pub(super) fn diff(context: &CommandContext, args: &DiffArgs) -> CommandResult {
    if args.nodes {
        return match args.operands.as_slice() {
            [] => node_diff::diff_nodes(context, None),
            [resource] if !resource.contains("..") => node_diff::diff_nodes(context, Some(resource)),
            _ => {
                Err(CliError::usage("`diff --nodes` knows only the present; it takes one resource KIND/NAME"))
            }
        };
    }
    if context.history_point.is_some() && args.operands.iter().any(|operand| operand.contains("..")) {
        return Err(CliError::usage("`diff A..B` says already which two points; leave out --at"));
    }
    let range = args.operands.iter().find(|operand| operand.contains(".."));
    let resource = args.operands.iter().find(|operand| !operand.contains(".."));
    if args.operands.len() == 2 && (range.is_none() || resource.is_none()) {
        return Err(CliError::usage("`diff` takes one range A..B and one resource KIND/NAME"));
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
    let to = non_empty(to).or_else(|| context.history_point.clone());
    // A bare `1h ago` and the like must be told from a change: times are passed on as they were typed.
    let query = [
        context.group_param(),
        ("from", from.as_deref()),
        ("to", to.as_deref()),
        ("resource", resource.map(String::as_str)),
    ];
    let diff: dto::DiffReport = context.client.get("/v1/diff", &query)?;
    context.report_history_point(diff.at.as_deref());
    context.print_paged(&diff, |diff| render_edits(context.styler, &diff.edits, true))?;
    if !context.json && diff.edits.is_empty() {
        print_stderr("No differences.");
    }
    Ok(None)
}
