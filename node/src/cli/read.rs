//! `list`, `get`, `export`, `conflicts`.

use std::fmt::Write as _;

use clap::Args;
use larder_core::resource::literal::Literal;
use larder_core::value::Value;

use super::write::raw;
use super::{Context, Outcome, talk};
use crate::failure::Exit;
use crate::render::{Style, Table, brief, cell, clean, count, plain, short, value, who};
use crate::time;
use crate::view::{self, Export as Manifest, Got, Plain};

/// Flags of `list`.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only this kind
    kind: Option<String>,
}

/// Flags of `get`.
#[derive(Debug, Args)]
pub(super) struct Get {
    /// KIND/NAME
    resource: String,
    /// One field, or all below it
    field: Option<String>,
}

/// Flags of `export`.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// KIND or KIND/NAME [default: all]
    resource: Option<String>,
}

/// Flags of `conflicts`.
#[derive(Debug, Args)]
pub(super) struct Conflicts {
    /// Exit with 10 if there is any
    #[arg(long)]
    exit_code: bool,
    /// Show too what was touched on both sides of a cut and does not clash
    #[arg(long)]
    review: bool,
}

pub(super) fn list(context: &Context, args: &List) -> Outcome {
    let query = [context.group(), context.at(), ("resource", args.kind.as_deref())];
    let list: view::List = context.client.get("/v1/list", &query)?;
    context.tell_at(list.at.as_deref());
    context.print(&list, |list| {
        if list.resources.is_empty() {
            return String::new();
        }
        let mut table = Table::new(&["RESOURCE", "PATH", "SELECT", "FIELDS", "CONFLICTS"]);
        for row in &list.resources {
            let conflicts = if row.conflicts == 0 { String::new() } else { row.conflicts.to_string() };
            table.row(vec![
                cell(&row.resource, Style::Bold),
                plain(row.path.as_deref().unwrap_or_default()),
                plain(row.select.as_deref().unwrap_or_default()),
                plain(row.fields.to_string()),
                cell(conflicts, Style::Care),
            ]);
        }
        table.draw(context.pen)
    })?;
    if !context.json && list.resources.is_empty() {
        talk("No resources. Make one with `larder set KIND/NAME FIELD=VALUE` or `larder apply FILE`.");
    }
    Ok(None)
}

pub(super) fn get(context: &Context, args: &Get) -> Outcome {
    let query = [
        context.group(),
        context.at(),
        ("resource", Some(args.resource.as_str())),
        ("field", args.field.as_deref()),
    ];
    let got: Got = context.client.get("/v1/get", &query)?;
    context.tell_at(got.at.as_deref());
    // One field that is one value is printed as it is, for scripts.
    if let (false, Some(_), 1, Some((path, only))) =
        (context.json, &args.field, got.fields.len(), got.fields.iter().next())
        && args.field.as_ref().is_some_and(|field| field == path || !path.starts_with(&format!("{field}.")))
    {
        if got.conflicted.contains(path) {
            talk(&format!(
                "warning: `{path}` is in conflict; this is the value that wins (see `larder conflicts`)"
            ));
        }
        return print_bare(only);
    }
    context.print(&got, |got| draw_got(context, got))?;
    Ok(None)
}

fn print_bare(plain: &Plain) -> Outcome {
    match &plain.0 {
        Literal::Scalar(Value::Str(text)) => {
            let end = if text.ends_with('\n') { "" } else { "\n" };
            // On a terminal nothing may steer it; into a file or pipe the value goes as it is.
            if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
                return raw(&text.lines().map(|line| clean(line) + "\n").collect::<String>());
            }
            raw(&format!("{text}{end}"))
        }
        _ => raw(&format!("{}\n", value(Some(plain)))),
    }
}

fn draw_got(context: &Context, got: &Got) -> String {
    let mut out = String::new();
    let width = got.fields.keys().map(|path| path.chars().count()).max().unwrap_or(0);
    for (path, plain) in &got.fields {
        let mark = if got.conflicted.contains(path) {
            context.pen.paint(Style::Care, "  (in conflict)")
        } else {
            String::new()
        };
        let _ = writeln!(out, "{:width$} = {}{mark}", clean(path), brief(Some(plain)));
    }
    for path in got.conflicted.iter().filter(|path| !got.fields.contains_key(*path)) {
        let mark = context.pen.paint(Style::Care, "  (in conflict)");
        let _ = writeln!(out, "{:width$} = (unset){mark}", clean(path));
    }
    out
}

pub(super) fn export(context: &Context, args: &Export) -> Outcome {
    let query = [context.group(), context.at(), ("resource", args.resource.as_deref())];
    let export: Manifest = context.client.get("/v1/export", &query)?;
    context.tell_at(export.at.as_deref());
    context.print(&export, |export| export.manifest.clone())?;
    if !context.json {
        for field in &export.conflicted {
            talk(&format!("warning: `{}` is in conflict; the value that wins was written", clean(field)));
        }
    }
    Ok(None)
}

pub(super) fn conflicts(context: &Context, args: &Conflicts) -> Outcome {
    let review = ("review", args.review.then_some("true"));
    let found: view::Conflicts =
        context.client.get("/v1/conflicts", &[context.group(), context.at(), review])?;
    let clashes = found.conflicts.iter().filter(|one| one.kind != "review").count();
    context.tell_at(found.at.as_deref());
    context.print(&found, |found| found.conflicts.iter().map(|one| draw_conflict(context, one)).collect())?;
    if !context.json {
        match clashes {
            0 => talk("No conflicts."),
            many => talk(&format!(
                "{}. Settle with `larder resolve RESOURCE FIELD --take TAG`, or `--value VALUE`.",
                count(many, "conflict")
            )),
        }
    }
    Ok((args.exit_code && clashes > 0).then_some(Exit::Differs))
}

fn draw_conflict(context: &Context, one: &view::Conflict) -> String {
    let pen = context.pen;
    let mut out = String::new();
    let title = format!("{} {}", clean(&one.resource), clean(&one.field));
    let _ = writeln!(
        out,
        "{}  {}  {}",
        pen.paint(Style::Bold, &title),
        pen.paint(Style::Care, &clean(&one.kind)),
        pen.paint(Style::Dim, &format!("id {}", short(&one.id)))
    );
    let mut table = Table::new(&["TAG", "VALUE", "NODE", "USER", "TIME", "CHANGE"]);
    for side in &one.values {
        table.row(vec![
            cell(&side.tag, Style::Bold),
            plain(brief(side.value.as_ref())),
            plain(who(side.node.as_ref())),
            plain(&side.user),
            plain(time::local(side.time.0)),
            cell(short(&side.change), Style::Id),
        ]);
    }
    for line in table.draw(pen).lines() {
        let _ = writeln!(out, "  {line}");
    }
    match one.kind.as_str() {
        "claim" => out.push_str("  they want one path: change it, `select` or remove all but one of them\n"),
        "review" => out.push_str("  both sides stand; the next change of it ends this\n"),
        _ => {}
    }
    if one.base.is_some() {
        let _ = writeln!(out, "  before: {}", brief(one.base.as_ref()));
    }
    if !one.held_on.is_empty() {
        let nodes: Vec<String> = one.held_on.iter().map(|node| who(Some(node))).collect();
        let _ = writeln!(out, "  held on: {}", nodes.join(", "));
    }
    out
}
