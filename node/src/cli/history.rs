//! `log`, `show`, `diff`.

use std::fmt::Write as _;

use clap::Args;
use larder_core::history;

use super::edits::draw_edits;
use super::{Context, Outcome, nodediff, pager, talk};
use crate::failure::Failure;
use crate::limits;
use crate::render::{Pen, Style, by, clean, short, who};
use crate::time;
use crate::view::{self, LogRow, TouchRow};

/// Flags of `log`.
#[derive(Debug, Args)]
pub(super) struct Log {
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
    #[arg(short = 'n', value_name = "N", default_value_t = limits::LOG)]
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
pub(super) struct Show {
    /// A change, or KIND/NAME for the newest change of that
    what: String,
}

/// Flags of `diff`.
#[derive(Debug, Args)]
pub(super) struct Diff {
    /// A..B of changes or times [default: everything until now], and KIND/NAME
    #[arg(num_args = 0..=2, value_name = "A..B|RESOURCE")]
    what: Vec<String>,
    /// From this time until now
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// What each node runs against what is wanted [KIND/NAME]
    #[arg(long, conflicts_with = "since")]
    nodes: bool,
}

pub(super) fn log(context: &Context, args: &Log) -> Outcome {
    if args.verify {
        return super::verify::verify(context);
    }
    // What is listed and not drawn or searched for needs nothing of what comes later, and is printed as it comes.
    let is_listed = !args.graph && !args.all && args.user.is_none() && !context.json;
    if args.number == 0 && is_listed {
        return log_by_pages(context, args);
    }
    let limit = (args.number > 0).then_some(args.number);
    let log = ask_log(context, args, context.at.as_deref(), 0, limit)?;
    context.tell_at(log.at.as_deref());
    let pen = context.pen;
    context.print_long(&log, |log| if args.graph { draw_graph(pen, log) } else { draw_log(pen, log) })?;
    if !context.json && log.more {
        talk(&format!(
            "There are older changes: see `-n 0` for all, or `-n {}`.",
            args.number.saturating_mul(4)
        ));
    }
    if !context.json && log.changes.is_empty() {
        talk("No changes.");
    }
    Ok(None)
}

fn ask_log(
    context: &Context,
    args: &Log,
    at: Option<&str>,
    skip: usize,
    limit: Option<usize>,
) -> Result<view::Log, Failure> {
    let (skip, limit) = (skip.to_string(), limit.map(|limit| limit.to_string()));
    let query = [
        context.group(),
        ("at", at),
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
fn log_by_pages(context: &Context, args: &Log) -> Outcome {
    let mut size = limits::LOG_PAGE;
    let first = ask_log(context, args, context.at.as_deref(), 0, Some(size))?;
    context.tell_at(first.at.as_deref());
    if first.changes.is_empty() {
        talk("No changes.");
    }
    let heads = first.heads.join(",");
    let (mut shown, mut next) = (0, Some(first));
    pager::page_by(&mut || {
        let Some(log) = next.take() else { return Ok(None) };
        shown += log.changes.len();
        let text = draw_log(context.pen, &log);
        if log.more {
            size = size.saturating_mul(2);
            next = Some(ask_log(context, args, Some(&heads), shown, Some(size))?);
        }
        Ok(Some(text))
    })?;
    Ok(None)
}

pub(super) fn draw_log(pen: Pen, log: &view::Log) -> String {
    let mut out = String::new();
    for row in &log.changes {
        for line in entry(pen, row) {
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

pub(super) fn draw_graph(pen: Pen, log: &view::Log) -> String {
    let entries: Vec<_> = log.changes.iter().map(|row| (row.id.clone(), row.parents.clone())).collect();
    let mut out = String::new();
    for (row, lanes) in log.changes.iter().zip(history::draw(&entries)) {
        for (nth, line) in entry(pen, row).into_iter().enumerate() {
            let lane = if nth == 0 { &lanes.prefix } else { &lanes.body };
            let _ = writeln!(out, "{}", format!("{lane}{line}").trim_end());
        }
        for joint in &lanes.after {
            let _ = writeln!(out, "{joint}");
        }
    }
    out
}

/// One entry as lines: what, who, when; then why; then values, if there are any.
fn entry(pen: Pen, row: &LogRow) -> Vec<String> {
    let by = by(&row.user, row.node.as_ref());
    let time = time::local(row.time.0);
    let source = if row.source == "desired" { String::new() } else { format!(" [{}]", row.source) };
    let doubt = if row.verified { "" } else { "  (not verified!)" };
    let clock = if row.clock.is_some() { " (clock?)" } else { "" };
    let mut lines = vec![format!(
        "{}  {}{}  {by}{}  {}{}",
        pen.paint(Style::Id, &short(&row.id)),
        pen.paint(Style::Dim, &time),
        pen.paint(Style::Care, clock),
        pen.paint(Style::Dim, &source),
        touches(row),
        pen.paint(Style::Bad, doubt)
    )];
    lines.extend(row.message.lines().map(|line| format!("    {}", clean(line))));
    lines.extend(draw_edits(pen, &row.edits, false).lines().map(|line| format!("    {line}")));
    lines
}

fn touches(row: &LogRow) -> String {
    if row.touches.is_empty() {
        let merges = row.source == "desired" && row.deps.len() > 1;
        return if merges { "(merges)".to_owned() } else { String::new() };
    }
    name_touches(&row.touches)
}

/// What a change touches, in a few words.
pub(super) fn name_touches(touches: &[TouchRow]) -> String {
    let one = |touch: &TouchRow| {
        let name = match touch.resource.strip_prefix("node/") {
            Some(id) => format!("node/{}", short(id)),
            None => clean(&touch.resource),
        };
        match (touch.op.as_str(), touch.fields.as_slice()) {
            ("remove", _) => format!("{name} removed"),
            (_, []) => name,
            (op, fields) => {
                let shown: Vec<String> = fields.iter().take(4).map(|field| clean(field)).collect();
                let more = if fields.len() > 4 { ", ..." } else { "" };
                let op = if op == "unset" { " unset" } else { "" };
                format!("{name}{op} {}{more}", shown.join(", "))
            }
        }
    };
    let shown: Vec<String> = touches.iter().take(3).map(one).collect();
    let more = touches.len().saturating_sub(3);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    shown.join("; ") + &rest
}

pub(super) fn show(context: &Context, args: &Show) -> Outcome {
    let query = [context.group(), context.at(), ("what", Some(args.what.as_str()))];
    let shown: view::Show = context.client.get("/v1/show", &query)?;
    context.tell_at(shown.at.as_deref());
    context.print_long(&shown, |shown| draw_show(context.pen, &shown.change))?;
    Ok(None)
}

pub(super) fn draw_show(pen: Pen, row: &LogRow) -> String {
    let mut out = String::new();
    let mut fact = |name: &str, text: String| {
        if !text.is_empty() {
            let _ = writeln!(out, "{} {text}", pen.paint(Style::Dim, &format!("{name:9}")));
        }
    };
    fact("change", pen.paint(Style::Id, &clean(&row.id)));
    fact("source", row.source.clone());
    fact(
        "node",
        row.node
            .as_ref()
            .map(|node| format!("{} ({})", who(Some(node)), clean(&node.id)))
            .unwrap_or_default(),
    );
    fact("user", clean(&row.user));
    let clock = match row.clock.as_deref() {
        Some("behind") => "  (clock? it is earlier than what this was built on)",
        Some("ahead") => "  (clock? it is still to come)",
        _ => "",
    };
    fact("time", time::local(row.time.0) + &pen.paint(Style::Care, clock));
    fact("command", clean(&row.command));
    fact("built on", row.deps.iter().map(|dep| short(dep)).collect::<Vec<_>>().join(" "));
    fact("signature", if row.verified { "verified".to_owned() } else { "NOT verified".to_owned() });
    if !row.message.is_empty() {
        out.push('\n');
    }
    for line in row.message.lines() {
        let _ = writeln!(out, "    {}", clean(line));
    }
    if !row.edits.is_empty() {
        out.push('\n');
        out.push_str(&draw_edits(pen, &row.edits, false));
    }
    out
}

pub(super) fn diff(context: &Context, args: &Diff) -> Outcome {
    if args.nodes {
        return match args.what.as_slice() {
            [] => nodediff::nodes(context, None),
            [resource] if !resource.contains("..") => nodediff::nodes(context, Some(resource)),
            _ => {
                Err(Failure::usage("`diff --nodes` knows only the present; it takes one resource KIND/NAME"))
            }
        };
    }
    if context.at.is_some() && args.what.iter().any(|what| what.contains("..")) {
        return Err(Failure::usage("`diff A..B` says already which two points; leave out --at"));
    }
    let range = args.what.iter().find(|what| what.contains(".."));
    let resource = args.what.iter().find(|what| !what.contains(".."));
    if args.what.len() == 2 && (range.is_none() || resource.is_none()) {
        return Err(Failure::usage("`diff` takes one range A..B and one resource KIND/NAME"));
    }
    if range.is_some() && args.since.is_some() {
        return Err(Failure::usage("`diff` takes a range A..B or --since, not both"));
    }
    let (from, to) = range.and_then(|range| range.split_once("..")).unwrap_or_default();
    let given = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
    let from = args
        .since
        .clone()
        .map_or_else(|| Ok(given(from)), |since| time::parse_moment(&since).map(|_| Some(since)))?;
    let to = given(to).or_else(|| context.at.clone());
    // A bare `1h ago` and the like must be told from a change: times are passed on as they were typed.
    let query = [
        context.group(),
        ("from", from.as_deref()),
        ("to", to.as_deref()),
        ("resource", resource.map(String::as_str)),
    ];
    let diff: view::Diff = context.client.get("/v1/diff", &query)?;
    context.tell_at(diff.at.as_deref());
    context.print_long(&diff, |diff| draw_edits(context.pen, &diff.edits, true))?;
    if !context.json && diff.edits.is_empty() {
        talk("No differences.");
    }
    Ok(None)
}
