//! `list`, `get`, `export`, `conflicts`.

use std::fmt::Write as _;

use clap::Args;
use larder_core::resource::literal::Literal;
use larder_core::value::Value;

use super::write_request::print_raw;
use super::{CommandContext, CommandResult, print_stderr};
use crate::dto::{self, ExportedManifest as Manifest, JsonValue, ResourceValues};
use crate::error::ExitKind;
use crate::output::{
    Style, Table, escape, format_value, format_value_short, plain_cell, pluralize, short_id, styled_cell, who,
};
use crate::time;

/// Flags of `list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only this kind
    kind: Option<String>,
}

/// Flags of `get`.
#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// KIND/NAME
    resource: String,
    /// One field, or all below it
    field: Option<String>,
}

/// Flags of `export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// KIND or KIND/NAME [default: all]
    resource: Option<String>,
}

/// Flags of `conflicts`.
#[derive(Debug, Args)]
pub(super) struct ConflictsArgs {
    /// Exit with 10 if there is any
    #[arg(long)]
    exit_code: bool,
    /// Show too what was touched on both sides of a cut and does not clash
    #[arg(long)]
    review: bool,
}

pub(super) fn list(context: &CommandContext, args: &ListArgs) -> CommandResult {
    let query = [context.group_param(), context.at_param(), ("resource", args.kind.as_deref())];
    let list: dto::ResourceList = context.client.get("/v1/list", &query)?;
    context.report_history_point(list.at.as_deref());
    context.print(&list, |list| {
        if list.resources.is_empty() {
            return String::new();
        }
        let mut table = Table::new(&["RESOURCE", "PATH", "SELECT", "FIELDS", "CONFLICTS"]);
        for row in &list.resources {
            let conflicts = if row.conflicts == 0 { String::new() } else { row.conflicts.to_string() };
            table.push_row(vec![
                styled_cell(&row.resource, Style::Bold),
                plain_cell(row.path.as_deref().unwrap_or_default()),
                plain_cell(row.select.as_deref().unwrap_or_default()),
                plain_cell(row.fields.to_string()),
                styled_cell(conflicts, Style::Warning),
            ]);
        }
        table.render(context.styler)
    })?;
    if !context.json && list.resources.is_empty() {
        print_stderr(
            "No resources. Make one with `larder set KIND/NAME FIELD=VALUE` or `larder apply FILE`.",
        );
    }
    Ok(None)
}

pub(super) fn get(context: &CommandContext, args: &GetArgs) -> CommandResult {
    let query = [
        context.group_param(),
        context.at_param(),
        ("resource", Some(args.resource.as_str())),
        ("field", args.field.as_deref()),
    ];
    let resource: ResourceValues = context.client.get("/v1/get", &query)?;
    context.report_history_point(resource.at.as_deref());
    // One field that is one value is printed as it is, for scripts.
    if let (false, Some(_), 1, Some((path, single))) =
        (context.json, &args.field, resource.fields.len(), resource.fields.iter().next())
        && args.field.as_ref().is_some_and(|field| field == path || !path.starts_with(&format!("{field}.")))
    {
        if resource.conflicted.contains(path) {
            print_stderr(&format!(
                "warning: `{path}` is in conflict; this is the value that wins (see `larder conflicts`)"
            ));
        }
        return print_raw_value(single);
    }
    context.print(&resource, |resource| render_resource(context, resource))?;
    Ok(None)
}

fn print_raw_value(value: &JsonValue) -> CommandResult {
    match &value.0 {
        Literal::Scalar(Value::Str(text)) => {
            let newline = if text.ends_with('\n') { "" } else { "\n" };
            // On a terminal nothing may steer it; into a file or pipe the value goes as it is.
            if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
                return print_raw(&text.lines().map(|line| escape(line) + "\n").collect::<String>());
            }
            print_raw(&format!("{text}{newline}"))
        }
        _ => print_raw(&format!("{}\n", format_value(Some(value)))),
    }
}

fn render_resource(context: &CommandContext, resource: &ResourceValues) -> String {
    let mut out = String::new();
    let width = resource.fields.keys().map(|path| path.chars().count()).max().unwrap_or(0);
    for (path, plain) in &resource.fields {
        let conflict_mark = if resource.conflicted.contains(path) {
            context.styler.paint(Style::Warning, "  (in conflict)")
        } else {
            String::new()
        };
        let _ = writeln!(out, "{:width$} = {}{conflict_mark}", escape(path), format_value_short(Some(plain)));
    }
    for path in resource.conflicted.iter().filter(|path| !resource.fields.contains_key(*path)) {
        let conflict_mark = context.styler.paint(Style::Warning, "  (in conflict)");
        let _ = writeln!(out, "{:width$} = (unset){conflict_mark}", escape(path));
    }
    out
}

pub(super) fn export(context: &CommandContext, args: &ExportArgs) -> CommandResult {
    let query = [context.group_param(), context.at_param(), ("resource", args.resource.as_deref())];
    let export: Manifest = context.client.get("/v1/export", &query)?;
    context.report_history_point(export.at.as_deref());
    context.print(&export, |export| export.manifest.clone())?;
    if !context.json {
        for field in &export.conflicted {
            print_stderr(&format!(
                "warning: `{}` is in conflict; the value that wins was written",
                escape(field)
            ));
        }
    }
    Ok(None)
}

pub(super) fn conflicts(context: &CommandContext, args: &ConflictsArgs) -> CommandResult {
    let review = ("review", args.review.then_some("true"));
    let found: dto::ConflictList =
        context.client.get("/v1/conflicts", &[context.group_param(), context.at_param(), review])?;
    let conflict_count = found.conflicts.iter().filter(|conflict| conflict.kind != "review").count();
    context.report_history_point(found.at.as_deref());
    context.print(&found, |found| {
        found.conflicts.iter().map(|conflict| render_conflict(context, conflict)).collect()
    })?;
    if !context.json {
        match conflict_count {
            0 => print_stderr("No conflicts."),
            many => print_stderr(&format!(
                "{}. Settle with `larder resolve RESOURCE FIELD --take TAG`, or `--value VALUE`.",
                pluralize(many, "conflict")
            )),
        }
    }
    Ok((args.exit_code && conflict_count > 0).then_some(ExitKind::Differs))
}

fn render_conflict(context: &CommandContext, conflict: &dto::ConflictEntry) -> String {
    let styler = context.styler;
    let mut out = String::new();
    let title = format!("{} {}", escape(&conflict.resource), escape(&conflict.field));
    let _ = writeln!(
        out,
        "{}  {}  {}",
        styler.paint(Style::Bold, &title),
        styler.paint(Style::Warning, &escape(&conflict.kind)),
        styler.paint(Style::Dim, &format!("id {}", short_id(&conflict.id)))
    );
    let mut table = Table::new(&["TAG", "VALUE", "NODE", "USER", "TIME", "CHANGE"]);
    for side in &conflict.values {
        table.push_row(vec![
            styled_cell(&side.tag, Style::Bold),
            plain_cell(format_value_short(side.value.as_ref())),
            plain_cell(who(side.node.as_ref())),
            plain_cell(&side.user),
            plain_cell(time::local(side.time.0)),
            styled_cell(short_id(&side.change), Style::Id),
        ]);
    }
    for line in table.render(styler).lines() {
        let _ = writeln!(out, "  {line}");
    }
    match conflict.kind.as_str() {
        "claim" => out.push_str("  they want one path: change it, `select` or remove all but one of them\n"),
        "review" => out.push_str("  both sides stand; the next change of it ends this\n"),
        _ => {}
    }
    if conflict.base.is_some() {
        let _ = writeln!(out, "  before: {}", format_value_short(conflict.base.as_ref()));
    }
    if !conflict.held_on.is_empty() {
        let nodes: Vec<String> = conflict.held_on.iter().map(|node| who(Some(node))).collect();
        let _ = writeln!(out, "  held on: {}", nodes.join(", "));
    }
    out
}
